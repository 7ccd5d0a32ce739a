"""Streams out of a project, and their metrics. Sources: Amplitude docs, Webhooks; Event Streaming Metrics Summary API."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

# Amplitude docs, Webhooks: the default body is the event in the form of the Export API.
DEPENDABLE = {
    "user_id",
    "event_type",
    "event_time",
    "event_properties",
    "user_properties",
    "amplitude_id",
    "$insert_id",
}


def stream(tank: Any, kind: str, **config: Any) -> dict[str, Any]:
    answer = tank.control("PUT", f"/feeds/amplitude/{kind}", config)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def metrics(tank: Any, **query: str) -> requests.Response:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    path = "/api/2/event-streaming/delivery-metrics-summary"
    return requests.get(f"{tank.amplitude}{path}", params=query, auth=pair, timeout=30)


def test_every_event_after_the_set_up_is_sent_once_in_export_form(tank: Any, hook: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "before", "insert_id": "i0"}])
    stream(tank, "events", url=hook.url)
    event = {"user_id": "person-1", "event_type": "Bought", "insert_id": "i1", "event_properties": {"n": 1}}
    tank.upload([event, event, {**event, "insert_id": "i2", "event_type": "$identify"}])
    tank.advance("1m")
    assert [body["$insert_id"] for body in hook.bodies] == ["i1"]
    headers, body = hook.seen[0]
    assert set(body) >= DEPENDABLE
    assert (body["event_type"], body["event_properties"], body["user_id"]) == ("Bought", {"n": 1}, "person-1")
    assert headers["User-Agent"] == "Amplitude/Webhook/1.0"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == f"Bearer {tank.ready['amplitude']['feed_token']}"


def test_only_selected_events_and_nothing_while_disabled(tank: Any, hook: Any) -> None:
    stream(tank, "events", url=hook.url, events=["Bought"], headers={"X-Mine": "yes"})
    tank.upload([{"user_id": "person-1", "event_type": name} for name in ("Bought", "Looked")])
    tank.advance("1m")
    assert [body["event_type"] for body in hook.bodies] == ["Bought"]
    assert hook.seen[0][0]["X-Mine"] == "yes"
    assert "Authorization" not in hook.seen[0][0]
    stream(tank, "events", enabled=False)
    tank.upload([{"user_id": "person-1", "event_type": "Bought"}])
    stream(tank, "events", enabled=True)
    tank.advance("1m")
    assert len(hook.seen) == 1


def test_users_are_sent_as_the_caller_named_them(tank: Any, hook: Any) -> None:
    stream(tank, "users", url=hook.url)
    tank.upload([{"user_id": "person-1", "event_type": "a"}])
    tank.upload([{"device_id": "device-1", "event_type": "a", "user_properties": {"plan": "pro"}}])
    identification = {"user_id": "person-2", "user_properties": {"$set": {"tier": "gold"}}}
    form = {"api_key": tank.key, "identification": json.dumps(identification)}
    requests.post(f"{tank.amplitude}/identify", data=form, timeout=30)
    tank.advance("1m")
    expected = [{"device_id": "device-1", "user_properties": {"plan": "pro"}}, identification]
    assert sorted(hook.bodies, key=str) == sorted(expected, key=str)


def test_failures_are_retried_and_counted(tank: Any, hook: Any) -> None:
    sync = stream(tank, "events", url=hook.url)["sync_id"]
    hook.statuses = [503, 503, 503, 400]
    tank.upload([{"user_id": "person-1", "event_type": "a", "insert_id": "i1"}])
    tank.advance("10s")
    assert len(hook.seen) == 3
    tank.advance("30s")
    assert len(hook.seen) == 4
    tank.advance("1m")
    assert [body["$insert_id"] for body in hook.bodies] == ["i1"] * 5
    tank.upload([{"user_id": "person-1", "event_type": "a", "insert_id": "i2"}])
    tank.advance("10s")
    found = metrics(tank, sync_id=sync, time_period="ONE_HOUR").json()
    assert (found["successOnFirstAttempt"], found["successAfterRetry"], found["eventsDelivered"]) == (1, 1, 2)
    assert (found["eventsExpired"], found["eventsDiscarded"], found["deliveryRate"]) == (0, 0, 1)
    assert list(found) == [
        "timePeriod", "eventsDelivered", "eventsNotDelivered", "deliveryRate", "latencyInSeconds", "timePeriodStart",
        "timePeriodEnd", "successOnFirstAttempt", "successAfterRetry", "eventsExpired", "eventsDiscarded",
    ]  # fmt: skip


def test_after_ten_attempts_in_four_hours_a_payload_has_expired(tank: Any, hook: Any) -> None:
    sync = stream(tank, "events", url=hook.url)["sync_id"]
    hook.statuses = [400] * 100
    tank.upload([{"user_id": "person-1", "event_type": "a"}])
    tank.advance("5h")
    assert len(hook.seen) == 10
    found = metrics(tank, sync_id=sync, time_period="ONE_DAY").json()
    assert (found["eventsDelivered"], found["eventsNotDelivered"], found["eventsExpired"]) == (0, 1, 1)
    assert tank.control("GET", "/feeds/amplitude/events").json()["pending"] == 0


def test_what_does_not_fit_is_told_in_one_line(tank: Any) -> None:
    for config, words in (
        ({}, "no url"),
        ({"url": "ftp://x"}, "not an http"),
        ({"url": "http://127.0.0.1:9/x", "body": "${input.user_id}"}, "FreeMarker"),
    ):
        answer = tank.control("PUT", "/feeds/amplitude/events", config)
        assert answer.status_code == 400
        assert words in answer.json()["error"]["what"]
    assert tank.control("PUT", "/feeds/amplitude/plants", {"url": "http://127.0.0.1:9/x"}).status_code == 404


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 400),
        ({"time_period": "ONE_HOUR"}, 400),
        ({"sync_id": "{sync}", "time_period": "YEAR"}, 400),
        ({"sync_id": "another", "time_period": "ONE_HOUR"}, 403),
        ({"sync_id": "{sync}", "time_period": "CUSTOM"}, 400),
        ({"sync_id": "{sync}", "time_period": "CUSTOM", "start": "2026-01-01T00:00:00Z", "end": "2026-01-01"}, 400),
        ({"sync_id": "{sync}", "time_period": "CUSTOM", "start": "2025-01-01T00:00:00Z", "end": "2025-01-02T00:00:00Z"},
         500),
        ({"sync_id": "{sync}", "time_period": "CUSTOM", "start": "2025-12-01T00:00:00+01:00",
          "end": "2026-01-02T00:00:00Z"}, 200),
    ],
)  # fmt: skip
def test_the_summary_refuses_what_the_document_refuses(tank: Any, query: dict[str, str], status: int) -> None:
    sync = stream(tank, "events", url="http://127.0.0.1:9/x")["sync_id"]
    given = {name: value.replace("{sync}", sync) for name, value in query.items()}
    assert metrics(tank, **given).status_code == status


def test_twelve_summaries_a_minute(tank: Any) -> None:
    sync = stream(tank, "events", url="http://127.0.0.1:9/x")["sync_id"]
    found = [metrics(tank, sync_id=sync, time_period="ONE_HOUR").status_code for _ in range(13)]
    assert found == [200] * 12 + [429]
