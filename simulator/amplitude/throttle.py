"""Throttling per device and per user: rates over a window and quotas over rolling 24 hours.

Plain functions over the use so far; no clock, no store. Source: Amplitude docs, HTTP V2 API and Batch Event
Upload API, Limits; Braze docs, Amplitude for Currents, Rate Limits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml

HOUR_MS = 3_600_000
DAY_HOURS = 24
_STEPS = 1000

Use = tuple[list[list[int]], list[list[int]]]
"""What one id has used: ``([[instant ms, events], …], [[hour number, events], …])``, oldest first."""

Key = tuple[str, str]
"""``("device" | "user", id)``."""


@dataclass(frozen=True)
class Limits:
    """The limits of one profile on one route; None is not enforced. ``window_ms`` averages the rates."""

    device_eps: int | None
    user_eps: int | None
    device_day: int | None
    user_day: int | None
    window_ms: int
    source: str
    bucket: str = ""
    """Routes of one bucket are counted together; others have windows, and so counts, of their own."""

    def eps(self, kind: str) -> int | None:
        return self.device_eps if kind == "device" else self.user_eps

    def day(self, kind: str) -> int | None:
        return self.device_day if kind == "device" else self.user_day

    @property
    def threshold(self) -> int:
        """``eps_threshold`` of the answers."""
        return self.device_eps or self.user_eps or 0

    def kinds(self) -> tuple[str, ...]:
        """Which kinds of id are limited at all."""
        return tuple(kind for kind in ("device", "user") if self.eps(kind) or self.day(kind))


@cache
def _profiles() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("limits.yaml").read_text("utf-8"))
    return loaded


@cache
def limits(profile: str, route: str, windows_s: tuple[float, float, float]) -> Limits:
    """The limits of a named profile on a route; ``windows_s`` are the currents, http_v2 and batch windows."""
    found = _profiles()[profile]
    rates = found["routes"][route]
    window = dict(zip(("currents", "http_v2", "batch"), windows_s, strict=True))[rates["window"]]
    return Limits(
        rates.get("device_eps"),
        rates.get("user_eps"),
        rates.get("device_day"),
        rates.get("user_day"),
        max(1, round(window * 1000)),
        found["source"],
        rates["window"],
    )


def buckets(profile: str) -> set[str]:
    """The buckets in which a profile counts devices and users."""
    return {rates["window"] for rates in _profiles()[profile]["routes"].values()}


def recent(use: Use, now_ms: int, window_ms: int) -> int:
    """Events in the window that ends now (an event leaves it ``window_ms`` after it came)."""
    return sum(map(_COUNT, _within(use[0], now_ms - window_ms)))


def _within(pairs: list[list[int]], after: int) -> list[list[int]]:
    """The pairs whose instant is later; they are in order, and a busy project has a thousand."""
    return pairs if not pairs or pairs[0][0] > after else pairs[bisect_right(pairs, after, key=_AT) :]


_AT, _COUNT = itemgetter(0), itemgetter(1)


def today(use: Use, now_ms: int) -> int:
    """Events in the current hour and the 23 before it."""
    hour = now_ms // HOUR_MS
    return sum(n for at, n in use[1] if at > hour - DAY_HOURS)


def add(use: Use, count: int, now_ms: int, window_ms: int, daily: bool) -> Use:
    """The use after ``count`` more events; what no window reaches any more is forgotten."""
    step = max(1, window_ms // _STEPS)
    rate = list(_within(use[0], now_ms - window_ms))
    if rate and rate[-1][0] // step >= now_ms // step:
        rate[-1] = [max(now_ms, rate[-1][0]), rate[-1][1] + count]
    else:
        rate.append([now_ms, count])
    hours = use[1]
    if daily:
        hour = now_ms // HOUR_MS
        hours = [pair for pair in hours if pair[0] > hour - DAY_HOURS]
        if hours and hours[-1][0] == hour:
            hours[-1] = [hour, hours[-1][1] + count]
        else:
            hours.append([hour, count])
    return rate, hours


@dataclass
class Verdict:
    """Who is over which limit. ``events`` are the indexes beyond what still fits, in request order."""

    rates: dict[Key, int] = field(default_factory=dict)
    quotas: dict[Key, int] = field(default_factory=dict)
    events: list[int] = field(default_factory=list)
    free_ms: int = 0
    """When the whole request would fit again, if nothing else came (0 when it never does as it is)."""

    @property
    def over(self) -> bool:
        return bool(self.rates or self.quotas)


def judge(indexes: Mapping[Key, list[int]], uses: Mapping[Key, Use], now_ms: int, limits: Limits) -> Verdict:
    """Whether the request of these ids fits. ``indexes`` lists each id's events in request order."""
    verdict = Verdict()
    named: set[int] = set()
    free: list[int] = []
    for key, mine in indexes.items():
        use, day, eps = uses.get(key, ([], [])), limits.day(key[0]), limits.eps(key[0])
        of_day = today(use, now_ms) + len(mine)
        of_window = recent(use, now_ms, limits.window_ms) + len(mine)
        room = None if eps is None else eps * limits.window_ms // 1000
        if day is not None and of_day > day:
            verdict.quotas[key] = of_day
            named.update(mine)
            free.append(_quota_free(use, len(mine), now_ms, day))
        if eps is None or room is None or of_window <= room:
            continue
        free.append(_rate_free(use, len(mine), limits, eps))
        if key not in verdict.quotas:
            verdict.rates[key] = of_window * 1000 // limits.window_ms
            named.update(mine[max(0, room - of_window + len(mine)) :])
    verdict.events = sorted(named)
    # An id that never fits keeps the whole request out for ever.
    verdict.free_ms = max(free) if free and all(free) else 0
    return verdict


def _rate_free(use: Use, count: int, limits: Limits, eps: int) -> int:
    room = eps * limits.window_ms // 1000
    left = sum(n for _, n in use[0])
    for at, n in use[0]:
        left -= n
        if left + count <= room:
            return at + limits.window_ms
    return 0


def _quota_free(use: Use, count: int, now_ms: int, day: int) -> int:
    left = today(use, now_ms)
    for hour, n in use[1]:
        if hour <= now_ms // HOUR_MS - DAY_HOURS:
            continue
        left -= n
        if left + count <= day:
            return (hour + DAY_HOURS) * HOUR_MS
    return 0
