"""What judging finds: failures, and which rules were judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scenarios.comparing import diff


@dataclass(frozen=True)
class Failure:
    """One thing that is not as expected."""

    text: str
    expected: Any = None
    received: Any = None
    rules: tuple[str, ...] = ()
    because: str = ""

    def shown(self) -> dict[str, Any]:
        return {
            "rules": list(self.rules),
            "text": self.text,
            "because": self.because,
            "expected": self.expected,
            "received": self.received,
            "diff": diff(self.expected, self.received),
        }


@dataclass
class Verdict:
    """What the expectations say: failures, and which rules were judged."""

    failures: list[Failure] = field(default_factory=list)
    judged: set[str] = field(default_factory=set)
