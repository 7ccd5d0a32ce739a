"""Each kind of expectation can hold and can fail."""

from __future__ import annotations

from typing import Any

import pytest

from scenarios.comparing import diff, holds, same
from scenarios.expectations import KINDS, judge
from scenarios.instants import duration_ms, instant_ms
from scenarios.verdict import Verdict

START = 1_767_225_600_000


def event(insert_id: str, **more: Any) -> dict[str, Any]:
    stored = {"event_type": "E", "event_properties": {"a": 1}, **more.pop("event", {})}
    return {
        "amplitude_id": 1, "user_id": "u", "device_id": "d", "event_type": "E", "time": START, "insert_id": insert_id,
        "server_upload_time": START + 60_000, "event": stored, **more,
    }  # fmt: skip


def request(status: int | None, at_s: int = 0, **more: Any) -> dict[str, Any]:
    body = '{"api_key":"k","events":[{"insert_id":"a"},{"insert_id":"b"}]}'
    return {
        "id": "t.1", "platform": "amplitude", "path": "/2/httpapi", "status": status, "tank_ms": START + at_s * 1000,
        "tank_time": "", "request_body": body, "response_body": "{}", "outcome": "answered",
        "request_headers": {"Content-Type": "application/json", "Content-Length": str(len(body))}, **more,
    }  # fmt: skip


TRACK = '{"events":[{"external_id":"u","name":"E","properties":{"a":[1]}}],"attributes":[{"external_id":"v"}]}'


class View:
    """A read-back that never saw a server."""

    start_ms = START
    events = [event("a"), event("b", amplitude_id=2, event={"event_properties": {"a": "1"}})]
    totals = {
        "emitted": 2, "delivered": 2, "dropped": 0, "pending": 0, "refused": 0, "stored_twice": 0, "balanced": True,
        "reasons": {"dropped: why": 1},
    }  # fmt: skip
    entries = [
        {"event_id": "a", "emitted": "2026-01-01T00:00:00Z"},
        {"event_id": "b", "emitted": "2026-01-01T00:00:00Z"},
    ]
    journal = [
        request(429, 0, response_body='{"throttled_events":[1]}'),
        request(200, 20),
        request(201, 30, platform="braze", path="/users/track", request_body=TRACK),
    ]
    users = [{"user_id": "u", "devices": ["d"]}]
    reports = {"emitted": 3, "delivered": 2, "pending": 0, "given_up": 1, "not_selected": 0}
    merges = [{"amplitude_id": 1}]
    feed = {"status": "running", "counters": {"taken": 2}, "queues": {"t": {"pending": 3}}}
    answers = [{"status": 401, "headers": {"x-a": "b"}, "text": "no", "body": {"error": "no", "list": [1, 2]}}]
    health = {"status": "ok", "outbox": {"sent": 2}}
    braze_users = [{"external_id": "u", "custom_attributes": {"tier": "gold"}, "event_counts": {"E": 1}}]
    braze_cohorts = {"c1": {"cohort_id": "c1", "title": "[Amplitude] C: c1", "size": 1, "members": ["u"]}}
    data_points = {"total": 5, "by_source": {"api": 3, "cohort_import": 2}}


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("amplitude_events", {"where": {"insert_id": "a"}, "count": 1}, {"where": {"insert_id": "a"}, "count": 2}),
        ("amplitude_events", {"where": {"insert_id": "a"}, "equal": {"event_properties": {"a": 1}}},
         {"where": {"insert_id": "b"}, "equal": {"event_properties": {"a": 1}}}),
        ("amplitude_events", {"where": {"insert_id": "a"}, "equal": {"event_type": {"$matches": "E|F"}}},
         {"where": {"insert_id": "a"}, "equal": {"event_type": {"$matches": "F"}}}),
        ("amplitude_events", {"where": {"insert_id": "a"}, "exactly": {"event_properties": {"a": 1}}},
         {"where": {"insert_id": "a"}, "exactly": {"event_properties": {}}}),
        ("amplitude_events", {"where": {"insert_id": "a"}, "absent": ["price"]},
         {"where": {"insert_id": "a"}, "absent": ["event_properties.a"]}),
        ("amplitude_events", {"ids": ["b", "a"]}, {"ids": ["a"]}),
        ("amplitude_events", {"users": 2}, {"users": 1}),
        ("amplitude_events", {"where": {"user_id": "nobody"}, "count": 0}, {"where": {"user_id": "nobody"}, "equal": {}}),
        ("ledger", {"delivered": 2}, {"delivered": 1}),
        ("ledger", {"delivered": {"at_least": 1}}, {"delivered": {"at_most": 1}}),
        ("ledger", {"reasons": {"dropped: why": 1}}, {"reasons": {"dropped: else": 1}}),
        ("requests", {"where": {"status": 429}, "count": 1}, {"where": {"status": "5xx"}, "count": 1}),
        ("requests", {"where": {"since": "+10s"}, "count": 1}, {"where": {"until": "+10s"}, "count": 2}),
        ("requests", {"each": {"body_absent": ["options"]}}, {"each": {"body_absent": ["api_key"]}}),
        ("requests", {"each": {"headers": {"content-type": "application/json"}}}, {"each": {"headers": {"X": "1"}}}),
        ("requests", {"events_per_request": {"at_most": 2}}, {"events_per_request": {"at_most": 1}}),
        ("requests", {"bytes": {"at_most": 500}}, {"bytes": {"at_most": 10}}),
        ("arrival", {"within": "1m"}, {"within": "59s"}),
        ("arrival", {"after": "1m"}, {"after": "2m"}),
        ("answers", {"status": [400, 401]}, {"status": "2xx"}),
        ("answers", {"body": {"error": "no"}}, {"body": {"error": "yes"}}),
        ("answers", {"text": "no"}, {"text": {"$matches": "n"}}),
        ("answers", {"headers": {"X-A": "b", "X-B": None}}, {"headers": {"X-A": None}}),
        ("answers", {"at": {"/list/1": 2, "/error": {"$not": "yes"}}}, {"at": {"/list/1": {"$not": 2}}}),
        ("answers", {"at": {"/list": [1, 2]}}, {"at": {"/list/2": None}}),
        ("answers", {"absent": ["/list/2", "/none"]}, {"absent": ["/list/0"]}),
        ("answers", {"count": {"": 2, "/list": {"at_least": 1}}}, {"count": {"/error": 2}}),
        ("feed", {"status": "running", "queued": 3}, {"queued": 0}),
        ("feed", {"counters": {"taken": 2}}, {"counters": {"taken": 3}}),
        ("reports", {"delivered": 2, "given_up": {"at_most": 1}}, {"delivered": {"at_least": 3}}),
        ("amplitude_events", {"where": {"insert_id": "a"}, "equal": {"event_properties": {"a": {"$any": [2, 1]}}}},
         {"where": {"insert_id": "a"}, "equal": {"event_properties": {"a": {"$any": [2, "1"]}}}}),
        ("users", {"where": {"user_id": "u"}, "equal": {"devices": ["d"]}}, {"where": {"user_id": "v"}, "equal": {}}),
        ("merges", {"count": 1}, {"count": 0}),
        ("connector", {"healthy": True}, {"healthy": False}),
        ("connector", {"at": {"/outbox/sent": 2}}, {"at": {"/outbox/sent": 3}}),
        ("rate", {"kind": "device", "id": "d", "window": "1s", "at_most": 2},
         {"kind": "device", "id": "d", "window": "1s", "at_most": 1}),
        ("requests", {"platform": "braze", "each": {"body_absent": ["events.1"]}},
         {"platform": "braze", "each": {"body_absent": ["events.0.name"]}}),
        ("braze_users", {"where": {"external_id": "u"}, "count": 1, "equal": {"event_counts": {"E": 1}}},
         {"where": {"external_id": "u"}, "equal": {"custom_attributes": {"tier": "iron"}}}),
        ("braze_users", {"where": {"external_id": "v"}, "count": 0}, {"where": {"external_id": "v"}}),
        ("braze_users", {"absent": ["custom_attributes.age"]}, {"absent": ["custom_attributes.tier"]}),
        ("braze_objects", {"array": "events", "where": {"name": "E"}, "equal": {"external_id": "u"}},
         {"array": "events", "where": {"name": "E"}, "equal": {"external_id": "v"}}),
        ("braze_objects", {"array": "attributes", "count": 1}, {"array": "attributes", "count": 2}),
        ("braze_objects", {"array": "events", "absent": ["properties.b"]},
         {"array": "events", "absent": ["properties.a"]}),
        ("braze_cohort", {"cohort_id": "c1", "title": "[Amplitude] C: c1", "size": 1},
         {"cohort_id": "c1", "title": "C"}),
        ("braze_cohort", {"cohort_id": "c1", "members": ["u"]}, {"cohort_id": "c1", "members": []}),
        ("braze_cohort", {"cohort_id": "c2", "exists": False}, {"cohort_id": "c2"}),
        ("braze_cohort", {"cohort_id": "c1", "size": {"at_least": 1}}, {"cohort_id": "c1", "exists": False}),
        ("data_points", {"total": 5, "cohort_import": 2}, {"cohort_import": 3}),
        ("pause", {"after_status": 429, "at_least": "15s"}, {"after_status": 429, "at_least": "30s"}),
    ],
)  # fmt: skip
def test_kinds(kind: str, good: Any, bad: Any) -> None:
    assert KINDS[kind](good, View()) == []  # type: ignore[arg-type]
    assert KINDS[kind](bad, View()) != []  # type: ignore[arg-type]


def test_every_kind_is_tried() -> None:
    tried = {each[0] for each in test_kinds.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert tried == set(KINDS)


def test_a_rule_is_judged_by_its_own_expectations_only() -> None:
    verdict = Verdict()
    judge({"merges": {"count": 1}, "rule": "CUR-001"}, ("CUR-001", "CUR-002"), View(), verdict)  # type: ignore[arg-type]
    judge({"merges": {"count": 7}, "rule": "CUR-002"}, ("CUR-001", "CUR-002"), View(), verdict)  # type: ignore[arg-type]
    assert verdict.judged == {"CUR-001", "CUR-002"}
    assert [failure.rules for failure in verdict.failures] == [("CUR-002",)]


def test_equality_is_strict_about_json_types() -> None:
    assert same(1, 1.0)
    assert not same(1, True)
    assert not same("1", 1)
    assert not same({"a": 1}, {"a": 1, "b": 2})
    assert holds({"a": 1}, {"a": 1, "b": 2})
    assert not holds({"a": {"b": 1}}, {"a": {"b": 2}})
    assert diff({"a": 1}, {"a": 2})


def test_durations_and_instants() -> None:
    assert duration_ms("1h30m") == 5_400_000
    assert duration_ms("250ms") == 250
    assert instant_ms("+5m", START) == START + 300_000
    assert instant_ms("2026-01-01T00:00:00Z", 0) == START
    with pytest.raises(ValueError, match="48h"):
        duration_ms("soon")
