"""The readings of Currents' failure table, as data: which answer of a connector leads to what, and when."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

HOUR_MS = 3_600_000
DEFAULT = "late"
Act = Literal["deliver", "split", "halve", "retry", "halt", "halt_lossy"]


@dataclass(frozen=True)
class Profile:
    """One version of the documents. Spans are in ms; None means never."""

    name: str
    source: str
    statuses: Mapping[str, Act]
    retry_lost_ms: int
    retry_disable_ms: int | None
    halt_lost_ms: int
    halt_disable_ms: int | None
    email: str
    alert_ms: int | None
    stretch_ms: int | None


@cache
def profiles() -> Mapping[str, Profile]:
    """The profiles by name: ``2021``, ``late``, ``2026``."""
    loaded = yaml.safe_load(Path(__file__).with_name("profiles.yaml").read_text("utf-8"))
    return {name: _profile(name, each) for name, each in loaded.items()}


def _profile(name: str, each: Mapping[str, Any]) -> Profile:
    def span(hours: int | None) -> int | None:
        return None if hours is None else hours * HOUR_MS

    return Profile(
        name,
        each["source"],
        each["statuses"],
        each["retry"]["lost_h"] * HOUR_MS,
        span(each["retry"].get("disable_h")),
        each["halt"]["lost_h"] * HOUR_MS,
        span(each["halt"].get("disable_h")),
        each["email"],
        span(each.get("alert_h")),
        span(each.get("stretch_h")),
    )


@dataclass(frozen=True)
class Rules:
    """A profile with the figures that no document gives (named settings) and the connector's batch size.

    ``counts_from`` is ``first_refusal`` or ``last_success``; ``after_loss`` is ``halt`` or ``start_over``;
    ``loss_after_ms`` replaces the 48 hours of a profile that probes, 0 does not.
    """

    profile: Profile
    batch_size: int = 100
    batch_wait_ms: int = 300_000
    backoff_base_ms: int = 10_000
    backoff_cap_ms: int = 900_000
    backoff_jitter: float = 0.2
    probe_min_ms: int = 120_000
    probe_max_ms: int = 300_000
    counts_from: str = "first_refusal"
    after_loss: str = "halt"
    stretch: bool = False
    loss_after_ms: int = 0

    def act(self, status: int | None) -> Act:
        """What an answer of this status earns; None is no answer at all."""
        statuses = self.profile.statuses
        if status is None:
            return statuses["none"]
        found = statuses.get(str(status)) or statuses.get(f"{status // 100}xx")
        return found or statuses["other"]

    @property
    def probes(self) -> bool:
        """Whether a halted connector is tried again by itself."""
        return "halt" in self.profile.statuses.values()

    def retry_lost_ms(self, status: int | None) -> int:
        """How long an event is re-sent after an answer of this status."""
        stretched = self._stretched(status)
        return max(self.profile.retry_lost_ms, stretched)

    def halt_lost_ms(self) -> int:
        """How long a connector may refuse the credentials before its events are lost."""
        own_ms = self.loss_after_ms if self.probes and self.loss_after_ms else self.profile.halt_lost_ms
        return max(own_ms, self._stretched(401))

    def _stretched(self, status: int | None) -> int:
        applies = self.stretch and status is not None and 400 <= status < 500
        return (self.profile.stretch_ms or 0) if applies else 0

    def backoff_ms(self, attempts: int, rng: random.Random) -> int:
        """The pause after so many failed attempts: it doubles up to the cap, and jitter makes it shorter."""
        longest = min(float(self.backoff_cap_ms), self.backoff_base_ms * 2.0 ** min(attempts - 1, 40))
        return max(1, round(longest * (1 - self.backoff_jitter * rng.random())))

    def probe_ms(self, rng: random.Random) -> int:
        """The pause before a halted connector is tried again: 2 to 5 minutes in the documents."""
        return max(1, round(rng.uniform(self.probe_min_ms, self.probe_max_ms)))


def rules(profile: str, batch_size: int, settings: Mapping[str, Any]) -> Rules:
    """The rules of a connector from its profile and the tank's named settings."""

    def ms(name: str) -> int:
        return round(float(settings[f"braze.currents.{name}"]) * 1000)

    return Rules(
        profiles()[profile],
        batch_size,
        ms("batch_wait_s"),
        ms("backoff_base_s"),
        ms("backoff_cap_s"),
        min(1.0, max(0.0, float(settings["braze.currents.backoff_jitter"]))),
        ms("probe_min_s"),
        ms("probe_max_s"),
        settings["braze.currents.loss_counts_from"],
        settings["braze.currents.after_loss"],
        settings["braze.currents.stretch_retention"],
        round(float(settings["braze.currents.loss_after_h"]) * HOUR_MS),
    )
