"""Throttling, quotas and property updates against counters that keep everything and count anew each time.

The counters are written from Amplitude docs, HTTP V2 API, Limits; Batch Event Upload API, Limits (1,000 a second
averaged over 30 s, 500,000 in rolling 24 hours counted by the hour, per device and per user); Amplitude for
Currents. They know nothing of the code's bookkeeping. That a caller should pause 30 s after a 429 is advice of the
documents to callers and changes no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from simulator.amplitude import throttle

START_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
SEQUENCES = 2600
WINDOWS_S = (1.0, 5.0, 30.0)

# What the documents say: route → events per second per device, per user; per day and device, user; seconds averaged.
DOCUMENTED: Mapping[str, Mapping[str, tuple[int | None, int | None, int | None, int | None, int]]] = {
    "currents-2021": {"/2/httpapi": (60, None, None, None, 1), "/batch": (60, None, None, None, 1)},
    "currents-2025": {"/2/httpapi": (30, None, 500_000, None, 1), "/batch": (30, None, 500_000, None, 1)},
    "http-v2": {"/2/httpapi": (30, 30, None, None, 5), "/batch": (1000, 1000, 500_000, 500_000, 30)},
    "batch": {
        "/2/httpapi": (1000, 1000, 500_000, 500_000, 30),
        "/batch": (1000, 1000, 500_000, 500_000, 30),
    },
}
SHARED = {"currents-2021", "currents-2025", "batch"}
"""Profiles whose two routes are one limit and so are counted together."""

Event = tuple[str | None, str | None]


@dataclass
class Counter:
    """Every event that was ever taken, per route's count and id: instants in ms, with how many came at each."""

    taken: dict[tuple[str, str, str], list[tuple[int, int]]] = field(default_factory=dict)

    def since(self, count: str, kind: str, value: str, after_ms: int) -> int:
        return sum(n for at, n in self.taken.get((count, kind, value), []) if at > after_ms)

    def of_day(self, count: str, kind: str, value: str, now_ms: int) -> int:
        first_hour = now_ms // HOUR_MS - 23
        return sum(n for at, n in self.taken.get((count, kind, value), []) if at // HOUR_MS >= first_hour)

    def take(self, count: str, kind: str, value: str, now_ms: int, many: int) -> None:
        self.taken.setdefault((count, kind, value), []).append((now_ms, many))


@dataclass
class Expected:
    rates: dict[tuple[str, str], int] = field(default_factory=dict)
    quotas: dict[tuple[str, str], int] = field(default_factory=dict)
    events: set[int] = field(default_factory=set)


def ids(events: Iterable[Event]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for index, (device, user) in enumerate(events):
        for kind, value in (("device", device), ("user", user)):
            if value is not None:
                found.setdefault((kind, value), []).append(index)
    return found


def count_anew(counter: Counter, count: str, rule: Any, events: list[Event], now_ms: int) -> Expected:
    """What the document says of this request. Within an id, what still fits in order is not named."""
    expected = Expected()
    for (kind, value), mine in ids(events).items():
        eps, day = (rule[0], rule[2]) if kind == "device" else (rule[1], rule[3])
        of_day = counter.of_day(count, kind, value, now_ms) + len(mine)
        if day is not None and of_day > day:
            expected.quotas[(kind, value)] = of_day
            expected.events.update(mine)
            continue
        if eps is None:
            continue
        before = counter.since(count, kind, value, now_ms - rule[4] * 1000)
        if before + len(mine) > eps * rule[4]:
            expected.rates[(kind, value)] = (before + len(mine)) // rule[4]
            expected.events.update(mine[max(0, eps * rule[4] - before) :])
    return expected


class Sequence:
    """Requests on both routes of a profile, given to the code and to the counter side by side."""

    def __init__(self, rng: Random, profile: str, grain_ms: int) -> None:
        self.rng, self.profile, self.grain_ms = rng, profile, grain_ms
        self.now_ms = START_MS
        self.counter = Counter()
        self.uses: dict[tuple[str, str, str], throttle.Use] = {}

    def pause(self) -> None:
        steps = self.rng.choice([0, 0, 1, 2, 33, 166, 167, 333, 999, 1000, 1001, 20_000, 110_000, 119_999, 900_000])
        self.now_ms += steps * self.grain_ms

    def events(self, route: str) -> list[Event]:
        if DOCUMENTED[self.profile][route][0] == 1000 and self.rng.random() < 0.015:
            return [("d1", "u1")] * self.rng.choice([15_000, 29_849, 29_999, 30_000, 30_001])
        found: list[Event] = []
        for _ in range(self.rng.randint(1, 3)):
            one = (self.rng.choice(["d1", "d2", None]), self.rng.choice(["u1", "u2", None]))
            found += [one] * self.rng.choice([1, 1, 2, 14, 29, 30, 31, 59, 60, 61, 149, 150, 151])
        self.rng.shuffle(found)
        return found

    def spent(self, route: str) -> None:
        """As if somebody had sent almost a day's events before."""
        rule, count = DOCUMENTED[self.profile][route], self.count(route)
        limits = self.limits(route)
        for kind, day in (("device", rule[2]), ("user", rule[3])):
            if day is not None:
                value, many = f"{kind[0]}1", day - self.rng.choice([0, 1, 30, 100, 400])
                at = self.now_ms - self.rng.choice([1, 2, 22, 23]) * HOUR_MS
                self.counter.take(count, kind, value, at, many)
                use = self.uses.get((limits.bucket, kind, value), ([], []))
                self.uses[(limits.bucket, kind, value)] = throttle.add(use, many, at, limits.window_ms, True)

    def count(self, route: str) -> str:
        return "both" if self.profile in SHARED else route

    def limits(self, route: str) -> throttle.Limits:
        return throttle.limits(self.profile, route, WINDOWS_S)

    def judge(self, route: str, events: list[Event], now_ms: int) -> throttle.Verdict:
        limits = self.limits(route)
        mine = {key: found for key, found in ids(events).items() if key[0] in limits.kinds()}
        uses = {key: self.uses[(limits.bucket, *key)] for key in mine if (limits.bucket, *key) in self.uses}
        return throttle.judge(mine, uses, now_ms, limits)

    def take(self, route: str, events: list[Event]) -> None:
        limits = self.limits(route)
        for (kind, value), mine in ids(events).items():
            self.counter.take(self.count(route), kind, value, self.now_ms, len(mine))
            daily = limits.day(kind) is not None
            use = self.uses.get((limits.bucket, kind, value), ([], []))
            self.uses[(limits.bucket, kind, value)] = throttle.add(use, len(mine), self.now_ms, limits.window_ms, daily)


def test_the_figures_are_the_documents() -> None:
    for profile, routes in DOCUMENTED.items():
        for route, rule in routes.items():
            limits = throttle.limits(profile, route, WINDOWS_S)
            assert (limits.device_eps, limits.user_eps, limits.device_day, limits.user_day) == rule[:4]
            assert limits.window_ms == rule[4] * 1000


@pytest.mark.parametrize("profile", sorted(DOCUMENTED))
def test_every_verdict_is_the_counters(profile: str) -> None:
    """Instants are thousandths of a window apart, the finest that the code tells apart."""
    refused = quotas = rates = 0
    for seed in range(SEQUENCES // len(DOCUMENTED)):
        rng = Random(f"{profile} {seed}")
        sequence = Sequence(rng, profile, 30)
        if rng.random() < 0.3:
            sequence.spent(rng.choice(["/2/httpapi", "/batch"]))
        for step in range(rng.randint(5, 18)):
            sequence.pause()
            route = rng.choice(["/2/httpapi", "/batch"])
            rule, events = DOCUMENTED[profile][route], sequence.events(route)
            expected = count_anew(sequence.counter, sequence.count(route), rule, events, sequence.now_ms)
            verdict = sequence.judge(route, events, sequence.now_ms)
            where = (profile, seed, step, route)
            assert (verdict.rates, verdict.quotas) == (expected.rates, expected.quotas), where
            assert verdict.events == sorted(expected.events), where
            assert verdict.over is bool(expected.rates or expected.quotas), where
            if verdict.over:
                refused, quotas, rates = refused + 1, quotas + bool(verdict.quotas), rates + bool(verdict.rates)
                check_next_free(sequence, route, rule, events, verdict.free_ms, where)
            else:
                sequence.take(route, events)
    assert refused > SEQUENCES // 50
    assert rates > 10
    assert quotas > 10 or profile == "currents-2021"


def check_next_free(sequence: Sequence, route: str, rule: Any, events: list[Event], free_ms: int, where: Any) -> None:
    """The instant at which the refused request would fit, and never before; 0 when it is too large by itself."""

    def fits(at_ms: int) -> bool:
        found = count_anew(sequence.counter, sequence.count(route), rule, events, at_ms)
        return not (found.rates or found.quotas)

    if free_ms:
        assert fits(free_ms), where
        assert not fits(free_ms - 1), where
    else:
        assert not fits(sequence.now_ms + 48 * HOUR_MS), where


def test_between_the_steps_the_error_is_a_thousandth_of_the_window() -> None:
    """At any millisecond: taken when the counter of a slightly longer window says so, refused when its own does."""
    limits = throttle.Limits(3, None, None, None, 5000, "test")
    for seed in range(500):
        rng = Random(seed)
        taken: list[tuple[int, int]] = []
        use: throttle.Use = ([], [])
        now_ms = START_MS
        for _ in range(60):
            now_ms += rng.choice([0, 1, 2, 3, 7, 100, 333, 1000, 4990, 5000])
            many = rng.randint(1, 6)
            own = sum(n for at, n in taken if at > now_ms - 5000)
            longer = sum(n for at, n in taken if at > now_ms - 5005)
            over = throttle.judge({("device", "d"): list(range(many))}, {("device", "d"): use}, now_ms, limits).over
            assert not over or longer + many > 15, seed
            assert over or own + many <= 15, seed
            if not over:
                taken.append((now_ms, many))
                use = throttle.add(use, many, now_ms, limits.window_ms, False)


def test_property_updates_of_an_hour(make_project: Any) -> None:
    """Beyond the hour's updates of an Amplitude ID the event stays and its update is dropped, silently."""
    project = make_project(limits="batch")
    project.set(property_updates_per_hour=5)
    rng = Random(3)
    expected: dict[str, int] = {}
    updates: dict[tuple[str, int], int] = {}
    ms = events = 0
    for turn in range(500):
        ms += rng.choice([0, 0, 1000, HOUR_MS // 3, HOUR_MS // 2, HOUR_MS])
        project.at(ms)
        names = [f"person-{turn // 50}-{n}" for n in range(2)]
        wanted = [(rng.choice(names), rng.random() < 0.8) for _ in range(rng.randint(1, 4))]
        sent = [
            {"user_id": who, "event_type": "a", **({"user_properties": {"$add": {"n": 1}}} if updating else {})}
            for who, updating in wanted
        ]
        assert project.post(sent, "/batch").status_code == 200
        events += len(sent)
        for who, updating in wanted:
            hour = (who, (START_MS + ms) // HOUR_MS)
            if updating and updates.get(hour, 0) < 5:
                updates[hour] = updates.get(hour, 0) + 1
                expected[who] = expected.get(who, 0) + 1
    assert max(updates.values()) == 5
    assert {user["user_id"]: user["user_properties"]["n"] for user in project.users()} == expected
    assert len(project.events()) == events


def test_eighteen_hundred_property_updates(make_project: Any) -> None:
    """The documented figure itself. Amplitude docs, HTTP V2 API, Limits."""
    project = make_project(limits="batch")
    event = {"user_id": "person-1", "event_type": "a", "user_properties": {"$add": {"n": 1}}}
    assert project.post([event] * 1801, "/batch").json["events_ingested"] == 1801
    assert (len(project.events()), project.users()[0]["user_properties"]) == (1801, {"n": 1800})
    project.at(HOUR_MS)
    project.post([event], "/batch")
    assert project.users()[0]["user_properties"] == {"n": 1801}
