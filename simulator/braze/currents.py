"""What Currents decides about a connector's answers. No clock, no store, no sockets.

Source: Braze docs, Currents integration for partners; Custom HTTP connector for Currents; see ``profiles.yaml``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

HOUR_MS = 3_600_000
Action = Literal["deliver", "split", "halve", "retry", "halt", "halt_lossy"]


@dataclass(frozen=True)
class Profile:
    """One reading of the documents. Spans are in ms; None means never."""

    name: str
    source: str
    statuses: Mapping[str, Action]
    retry_give_up_ms: int
    retry_disable_ms: int | None
    halt_give_up_ms: int
    halt_disable_ms: int | None


@cache
def profiles() -> Mapping[str, Profile]:
    """The failure tables by name: ``2021``, ``late``, ``2026``."""
    loaded = yaml.safe_load(Path(__file__).with_name("profiles.yaml").read_text("utf-8"))
    return {name: _profile(name, each) for name, each in loaded.items()}


def _profile(name: str, each: Mapping[str, Any]) -> Profile:
    def hours(span: str, key: str) -> int | None:
        return None if key not in each[span] else each[span][key] * HOUR_MS

    retry, halt = hours("retry", "give_up_h"), hours("halt", "give_up_h")
    assert retry is not None
    assert halt is not None
    return Profile(
        name, each["source"], each["statuses"], retry, hours("retry", "disable_h"), halt, hours("halt", "disable_h")
    )


def action(profile: Profile, status: int | None) -> Action:
    """What an answer of this status earns; None is no answer at all."""
    if status is None:
        return profile.statuses["none"]
    found = profile.statuses.get(str(status)) or profile.statuses.get(f"{status // 100}xx")
    return found or profile.statuses["other"]


def pause_ms(attempt: int, rng: random.Random, base_s: float, cap_s: float, jitter: float) -> int:
    """The pause before attempt ``attempt`` (2 is the first repetition), in ms."""
    longest: float = min(cap_s, base_s * 2.0 ** min(attempt - 2, 30))
    return round(longest * (1 - jitter * rng.random()) * 1000)
