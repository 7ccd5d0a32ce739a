"""What the load generator itself counted: per group and second, and the end of every request.

Each worker keeps a tally and sends what is new with Locust's reports; the master adds them up. Merging is a sum and a
union, so the order of reports does not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

COLUMNS = ("offered", "accepted", "throttled", "refused", "failed", "requests")


@dataclass
class Tally:
    """``seconds`` maps ``(group, second, column)`` to objects (requests in the last column); ``latencies`` maps
    ``(group, ms)`` to how often an answer took so long; ``accepted`` and ``refused`` hold request numbers."""

    seconds: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    latencies: Counter[tuple[str, int]] = field(default_factory=Counter)
    accepted: dict[str, set[int]] = field(default_factory=dict)
    refused: dict[str, set[int]] = field(default_factory=dict)
    late_ms: int = 0
    """The most that a request was sent after it was due: the generator's own delay."""
    done: dict[str, bool] = field(default_factory=dict)
    """Whether each user has sent its share, by its name."""

    def attempt(self, group: str, second: int, kind: str, objects: int, latency_ms: int) -> None:
        """Count one request that was answered (or failed)."""
        self.seconds[group, second, "offered"] += objects
        self.seconds[group, second, kind] += objects
        self.seconds[group, second, "requests"] += 1
        self.latencies[group, latency_ms] += 1

    def end(self, group: str, kind: str, k: int) -> None:
        """Request ``k`` has come to its end: ``accepted`` or ``refused``."""
        (self.accepted if kind == "accepted" else self.refused).setdefault(group, set()).add(k)

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.seconds.update(other.seconds)
        self.latencies.update(other.latencies)
        for mine, theirs in ((self.accepted, other.accepted), (self.refused, other.refused)):
            for group, numbers in theirs.items():
                mine.setdefault(group, set()).update(numbers)
        self.late_ms = max(self.late_ms, other.late_ms)
        self.done.update(other.done)

    def sent(self) -> dict[str, Any]:
        """As plain lists, for a report or a file."""
        return {
            "seconds": [[*key, n] for key, n in sorted(self.seconds.items())],
            "latencies": [[*key, n] for key, n in sorted(self.latencies.items())],
            "accepted": {group: sorted(numbers) for group, numbers in self.accepted.items()},
            "refused": {group: sorted(numbers) for group, numbers in self.refused.items()},
            "late_ms": self.late_ms,
            "done": self.done,
        }


def received(data: Mapping[str, Any]) -> Tally:
    """The tally of :meth:`Tally.sent`."""
    return Tally(
        Counter({(group, second, column): n for group, second, column, n in data["seconds"]}),
        Counter({(group, ms): n for group, ms, n in data["latencies"]}),
        {group: set(numbers) for group, numbers in data["accepted"].items()},
        {group: set(numbers) for group, numbers in data["refused"].items()},
        data["late_ms"],
        dict(data["done"]),
    )


def percentile(latencies: Mapping[int, int], share: float) -> int:
    """The value below which ``share`` of the counted values lie; 0 when there are none."""
    left = share * sum(latencies.values())
    for value in sorted(latencies):
        left -= latencies[value]
        if left <= 1e-9:
            return value
    return 0


def of_group(latencies: Iterable[tuple[tuple[str, int], int]], group: str | None) -> dict[int, int]:
    """Counts by value, of one group or of all."""
    found: Counter[int] = Counter()
    for (name, value), n in latencies:
        if group in (None, name):
            found[value] += n
    return dict(found)
