"""The parts of a load run: timetables, shares, tallies, measures, reconciliation, profiles."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import dealing, measures, paths, profiles, reconciling
from loadtests.profiles import BadProfile, Group, Profile, Threshold
from loadtests.tally import Tally, percentile, received
from loadtests.timetable import Stage, Timetable
from loadtests.watching import Seen

_rate = st.floats(0, 50, allow_nan=False)
_stage = st.builds(Stage, st.floats(0.5, 60), _rate, _rate)


@given(st.lists(_stage, min_size=1, max_size=4))
def test_the_area_under_the_rates_is_the_number_of_requests(stages: list[Stage]) -> None:
    timetable = Timetable(stages)
    area = sum((each.start + each.end) / 2 * each.seconds for each in stages)
    assert timetable.total == math.floor(area + 1e-6)
    instants = [timetable.instant(k) for k in range(min(timetable.total, 300))]
    assert instants == sorted(instants)
    assert all(0 <= at <= timetable.seconds + 1e-9 for at in instants)


def test_a_steady_rate_and_a_ramp() -> None:
    steady = Timetable([Stage(10, 2, 2)])
    assert (steady.total, [steady.instant(k) for k in (0, 1, 19)]) == (20, [0, 0.5, 9.5])
    ramp = Timetable([Stage(10, 0, 10)])
    # At rate t the k-th request comes when t²/2 = k.
    assert (ramp.total, ramp.instant(8), ramp.rate(5)) == (50, pytest.approx(4.0), 5.0)
    with pytest.raises(IndexError):
        steady.instant(20)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 5), min_size=1), min_size=1, max_size=4))
def test_every_request_is_dealt_to_one_user(hosts: list[dict[str, int]]) -> None:
    dealt = dealing.shares({f"host-{n}": counts for n, counts in enumerate(hosts)})
    for group in ("a", "b"):
        sent: list[int] = []
        for shares in dealt.values():
            if group in shares:
                first, users, of = shares[group]
                sent += [k for user in range(first, first + users) for k in range(user, 100, of)]
        assert sorted(sent) == (list(range(100)) if any(group in each for each in hosts) else [])


def _tally() -> Tally:
    mine = Tally()
    for k in range(4):
        mine.attempt("g", k, "throttled" if k == 3 else "accepted", 10, 5 + k)
        if k < 3:
            mine.end("g", "accepted", k)
    return mine


def test_tallies_of_workers_add_up_whatever_their_order() -> None:
    one, other = _tally(), Tally()
    other.attempt("g", 3, "accepted", 10, 9)
    other.end("g", "accepted", 3)
    forth, back = Tally(), Tally()
    for each in (one, other):
        forth.add(received(each.sent()))
    for each in (other, one):
        back.add(received(each.sent()))
    assert forth.sent() == back.sent()
    assert forth.accepted == {"g": {0, 1, 2, 3}}
    assert forth.seconds["g", 3, "offered"] == 20


def test_percentiles() -> None:
    assert [percentile(dict(Counter(range(1, 101))), share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert percentile({}, 0.5) == 0


def _profile(into: str = "connector", path: str = "currents", *expect: Threshold) -> Profile:
    group = Group("g", path, (Stage(4, 1, 1),), users=1, events=10, people=5)
    return Profile("p", "A profile", into, (group,), expect)


def _all_seen() -> Seen:
    seen = Seen(0)
    for k in range(3):
        for j in range(10):
            seen.arrived[paths.event_id("g", k, j)] += 1
            seen.travels.setdefault("g", []).append((k * 1000, k * 1000 + 500))
            seen.devices["device-g", k] += 1
    seen.health = {"outbox": {"pending": 0, "sent": 30, "dead": 0, "dropped": 0, "skipped": 0}}
    return seen


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lost", 0), ("stored_twice", 0), ("given_up", 0), ("arrived", 30), ("answered_2xx_share", 0.75),
        ("delay_p95_s", 0.5), ("latency_p50_ms", 6), ("latency_p99_ms", 8), ("accepted_per_device_s", 6),
        ("accepted_per_s", 15), ("recovery_s", None), ("retry_pause_s", None), ("throttled_requests", 0),
    ],
)  # fmt: skip
def test_measures(name: str, value: float | None) -> None:
    assert measures.measure(name, None, _profile(), _tally(), _all_seen()) == value


def test_measures_of_trouble_and_throttling() -> None:
    seen = _all_seen()
    seen.troubles = [(0.2, 1.5)]
    seen.throttled, seen.pauses_ms = 2, [31_000, 30_000]
    seen.requests = Counter({0: 1, 1: 5, 2: 3})
    # What had happened by 1.5 s are requests 0 and 1; the last of it arrived at 1.5 s.
    assert measures.measure("recovery_s", None, _profile(), _tally(), seen) == 0
    seen.travels["g"][10] = (1000, 9500)
    assert measures.measure("recovery_s", None, _profile(), _tally(), seen) == 8
    assert measures.measure("retry_pause_s", None, _profile(), _tally(), seen) == 30
    assert measures.measure("throttled_requests", None, _profile(), _tally(), seen) == 2
    assert measures.measure("busiest_to_mean", None, _profile(), _tally(), seen) == round(5 / 3, 3)


def test_every_measure_of_the_schema_can_be_taken() -> None:
    import json

    known = json.loads((profiles.FOLDER.parent / "profile.schema.json").read_text("utf-8"))
    for name in known["$defs"]["threshold"]["properties"]["measure"]["enum"]:
        measures.measure(name, "g", _profile(), _tally(), _all_seen())


@pytest.mark.parametrize(
    ("value", "bounds", "kept"),
    [
        (5, {"at_most": 5}, True), (5.1, {"at_most": 5}, False), (5, {"at_least": 5}, True),
        (4.9, {"at_least": 5}, False), (None, {"at_most": 5}, False), (None, {"at_least": 0}, False),
    ],
)  # fmt: skip
def test_thresholds(value: float | None, bounds: dict[str, float], kept: bool) -> None:
    assert measures.Judged(Threshold("lost", **bounds), value).kept is kept


class _Tank:
    path = "/tanks/t"

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    def call(self, _method: str, path: str, **_query: object) -> Any:
        return self.answers[path]


def _differences(profile: Profile, tally: Tally, seen: Seen, tank: Any = None, lost: int = 0) -> list[str]:
    return reconciling.differences(profile, tally, seen, tank, lost)


def test_what_agrees_has_no_differences() -> None:
    tally = _tally()
    tally.end("g", "refused", 3)
    assert _differences(_profile(), tally, _all_seen()) == []


@pytest.mark.parametrize("spoil", ["missing", "not taken", "strange", "count", "held", "unfinished", "worker"])
def test_a_difference_of_a_single_event_is_told(spoil: str) -> None:
    tally, seen = _tally(), _all_seen()
    if spoil != "unfinished":
        tally.end("g", "refused", 3)
    box = dict(seen.health["outbox"])
    if spoil == "missing":
        del seen.arrived[paths.event_id("g", 2, 9)]
        box["sent"] = 29
    elif spoil == "not taken":
        seen.arrived[paths.event_id("g", 3, 0)] += 1
        box["sent"] = 31
    elif spoil == "strange":
        seen.arrived["made-up"] += 1
    elif spoil == "count":
        box["dead"] = 1
    elif spoil == "held":
        box.update(pending=1, sent=29)
    seen.health = {"outbox": box}
    assert _differences(_profile(), tally, seen, lost=1 if spoil == "worker" else 0)


def test_braze_and_identify_are_counted_again() -> None:
    tally = Tally()
    tally.end("g", "accepted", 0)
    for k in (1, 2, 3):
        tally.end("g", "refused", k)
    who = [f"load-g-{n:07d}" for n in range(5)]
    users = [{"external_id": each, "custom_events": [{"count": 2}]} for each in who]
    tank = _Tank({"/tanks/t/braze/users": {"users": users}})
    assert _differences(_profile("braze", "track"), tally, Seen(), tank) == []
    users[3]["custom_events"] = [{"count": 1}]
    assert "1 profile " in _differences(_profile("braze", "track"), tally, Seen(), tank)[0]
    members = {"members": [{"external_id": each} for each in who]}
    tank = _Tank({f"/tanks/t/braze/cohorts/amplitude/{paths.COHORT}": members})
    assert _differences(_profile("braze", "cohort_import"), tally, Seen(), tank) == []
    members["members"].pop()
    assert _differences(_profile("braze", "cohort_import"), tally, Seen(), tank)
    people = [{"user_id": each, "user_properties": {"visit": paths.event_id("g", 0, n)}} for n, each in enumerate(who)]
    tank = _Tank({"/tanks/t/amplitude/users": {"users": people}})
    assert _differences(_profile("amplitude", "identify"), tally, Seen(), tank) == []
    people[0]["user_properties"] = {"visit": "load.g.3.0"}
    assert _differences(_profile("amplitude", "identify"), tally, Seen(), tank)


def test_the_profiles_that_come_with_the_project_are_right() -> None:
    assert {
        "steady",
        "ramp",
        "burst",
        "hot-device",
        "daily-quota",
        "misconfigured-sdk",
        "backlog",
        "thundering-herd",
    } <= {*profiles.names()}
    for name in profiles.names():
        assert profiles.load(name).expect


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"groups": []}, "groups"),
        ({"into": "nowhere"}, "into"),
        ({"into": "amplitude"}, "does not lead into amplitude"),
        ({"expect": [{"measure": "lost"}]}, "expect/0"),
        ({"expect": [{"measure": "lost", "at_most": 0, "group": "x"}]}, "no group 'x'"),
        ({"held": ["x"]}, "no group 'x'"),
        ({"groups": [{"name": "g", "path": "currents", "stages": [{"for": 1}]}]}, "groups/0/stages/0"),
    ],
)
def test_a_bad_profile_is_told_in_one_line(change: dict[str, Any], words: str) -> None:
    group = {"name": "g", "path": "currents", "stages": [{"for": 1, "rate": 1}]}
    good = {"title": "t", "into": "connector", "groups": [group], "expect": [{"measure": "lost", "at_most": 0}]}
    profiles.read("p", good)
    with pytest.raises(BadProfile) as error:
        profiles.read("p", {**good, **change})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_outcomes_of_answers() -> None:
    request = paths.Request("/x", b"", {}, 7)
    assert paths.outcome("http_v2", 200, request, {}, 0) == paths.Outcome("accepted", 7)
    assert paths.outcome("http_v2", 429, request, {}, 0) == paths.Outcome("throttled", 0, 30.0)
    assert paths.outcome("batch", 429, request, {}, 0) == paths.Outcome("throttled", 0, 15.0)
    assert paths.outcome("track", 429, request, {"X-RateLimit-Reset": "12"}, 10_000).wait_s == 2
    assert paths.outcome("batch", 400, request, {}, 0).final
    assert not paths.outcome("currents", 400, request, {}, 0).final
    assert [paths.outcome("batch", status, request, {}, 0).kind for status in (0, 408, 503)] == ["failed"] * 3


def test_a_signed_report_is_what_the_vendor_documents() -> None:
    group = Group("g", "customerio", (Stage(1, 1, 1),), people=3)
    made = paths.BUILDERS["customerio"](group, 0, paths.Target("", {"customerio_signing_key": "sk_demo_3f9a"}), 5000)
    import hashlib
    import hmac

    signed = hmac.new(b"sk_demo_3f9a", b"v0:5:" + made.body, hashlib.sha256).hexdigest()
    assert (made.headers["X-CIO-Timestamp"], made.headers["X-CIO-Signature"]) == ("5", signed)


def test_the_document_lists_every_profile_and_whom_it_loads() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "load.md").read_text("utf-8")
    rows = {line.split("`")[1]: line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| `")}
    whom = {"connector": "a connector", "amplitude": "Amplitude", "braze": "Braze"}
    assert rows == {name: whom[profiles.load(name).into] for name in profiles.names()}
