"""Throttling, quotas and deduplication, also against oracles that know nothing of the code's bookkeeping."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.amplitude import throttle

KEY = ("device", "d")


def test_exact_429_body_and_recovery(tank: Any) -> None:
    """Amplitude docs, HTTP V2 API, Responses; the 30 per second of Amplitude docs, Braze source."""
    events = [{"device_id": "device-hot", "event_type": "a"}] * 33 + [{"device_id": "device-cool", "event_type": "a"}]
    refused = tank.upload(events)
    assert refused.status_code == 429
    assert refused.text == (
        '{"code":429,"error":"Too many requests for some devices and users","eps_threshold":30,'
        '"throttled_devices":{"device-hot":33},"throttled_users":{},"throttled_events":[30,31,32]}'
    )
    assert tank.events() == []
    assert tank.upload(events[:30]).status_code == 200
    assert tank.upload(events[:1]).status_code == 429
    tank.advance("999ms")
    assert tank.upload(events[:1]).status_code == 429
    tank.advance("1ms")
    assert tank.upload(events[:30]).status_code == 200


@pytest.mark.parametrize(
    ("limits", "path", "most"),
    [("currents-2021", "/2/httpapi", 60), ("http-v2", "/2/httpapi", 150), ("currents-2025", "/batch", 30)],
)
def test_profiles(make_tank: Any, limits: str, path: str, most: int) -> None:
    tank = make_tank(limits=limits)
    event = {"device_id": "device-hot", "event_type": "a"}
    assert tank.upload([event] * (most + 1), path).status_code == 429
    assert tank.upload([event] * most, path).status_code == 200


def test_users_are_throttled_where_the_documents_say_so(make_tank: Any) -> None:
    tank = make_tank(limits="http-v2")
    events = [{"user_id": "person-hot", "device_id": f"device-{n}", "event_type": "a"} for n in range(151)]
    answer = tank.upload(events).json()
    assert (answer["throttled_users"], answer["throttled_events"]) == ({"person-hot": 30}, [150])


def test_daily_quota_is_counted_in_hours(make_tank: Any) -> None:
    tank = make_tank(clock={"mode": "stepped", "start": "2026-01-01T12:00:00Z"})
    event = {"device_id": "device-q", "event_type": "a"}
    usage = {"devices": [{"id": "device-q", "events": 499_999, "at": "2026-01-01T12:30:00Z"}]}
    tank.control("PUT", "/amplitude/usage", usage)
    assert tank.upload([event]).status_code == 200
    refused = tank.upload([event])
    assert refused.status_code == 429
    assert refused.json()["exceeded_daily_quota_devices"] == {"device-q": 500_001}
    assert refused.json()["throttled_events"] == [0]
    tank.advance("23h59m")
    assert tank.upload([event]).status_code == 429
    tank.advance("1m")
    assert tank.upload([event]).status_code == 200


def test_deduplication_for_seven_days(tank: Any) -> None:
    event = {"device_id": "device-1", "event_type": "a", "insert_id": "i"}
    assert tank.upload([event, event]).json()["events_ingested"] == 2
    tank.upload([{**event, "device_id": "device-2"}])
    assert len(tank.events()) == 2
    tank.advance("167h59m59s")
    tank.upload([event])
    assert len(tank.events()) == 2
    tank.advance("1s")
    tank.upload([event])
    assert len(tank.events()) == 3


def test_insert_id_alone_without_device(tank: Any) -> None:
    tank.upload([{"device_id": "device-1", "user_id": "person-1", "event_type": "a", "insert_id": "i"}])
    tank.upload([{"user_id": "person-2", "event_type": "a", "insert_id": "i"}])
    assert len(tank.events()) == 1


def test_same_event_id_time_and_device(tank: Any) -> None:
    event = {"device_id": "device-1", "event_type": "a", "event_id": 7, "time": 5}
    tank.upload([event])
    tank.upload([event, {**event, "time": 6}])
    assert len(tank.events()) == 2


def test_project_rate_of_the_starter_plan(make_tank: Any) -> None:
    tank = make_tank(limits="batch", settings={"amplitude.plan": "starter"})
    events = [{"device_id": f"device-{n}", "event_type": "a"} for n in range(1001)]
    assert tank.upload(events).status_code == 429
    assert tank.upload(events[:1000]).status_code == 200


LIMITS = throttle.Limits(3, None, 10, None, 2000, "test")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 5)), min_size=1, max_size=60))
def test_judge_agrees_with_a_naive_oracle(requests_: list[tuple[int, int]]) -> None:
    """The oracle keeps every accepted event's instant and counts anew each time."""
    use: throttle.Use = ([], [])
    accepted: list[int] = []
    now = 1_767_225_600_000
    for pause, count in requests_:
        now += pause
        in_window = sum(1 for at in accepted if at > now - 2000)
        hour = now // 3_600_000
        in_day = sum(1 for at in accepted if at // 3_600_000 > hour - 24)
        verdict = throttle.judge({KEY: list(range(count))}, {KEY: use}, now, LIMITS)
        fits = in_window + count <= 6 and in_day + count <= 10
        assert verdict.over is not fits
        if in_day + count > 10:
            assert verdict.events == list(range(count))
        elif not fits:
            assert verdict.events == list(range(max(0, 6 - in_window), count))
        if fits:
            use = throttle.add(use, count, now, LIMITS.window_ms, True)
            accepted += [now] * count


def test_batch_and_http_v2_count_apart(make_tank: Any) -> None:
    """Each endpoint has a window of its own; one must not shorten the other's memory."""
    tank = make_tank(limits="http-v2", settings={"amplitude.project_eps_batch": 10**9})

    def batch(first: int, count: int) -> int:
        events = [{"device_id": "device-b", "event_type": "a"} for _ in range(count)]
        status: int = tank.upload(events, "/batch").status_code
        return status

    assert {batch(n, 2000) for n in range(10)} == {200}
    tank.advance("6s")
    assert tank.upload([{"device_id": "device-b", "event_type": "a"}]).status_code == 200
    assert {batch(n, 2000) for n in range(5)} == {200}
    assert batch(0, 1) == 429
    tank.advance("24s")
    assert batch(0, 2000) == 200
