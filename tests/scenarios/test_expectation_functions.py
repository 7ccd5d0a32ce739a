"""Each expectation has a read-back that satisfies it and one that does not, written by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scenarios.expectations import CHECKS, judge
from scenarios.readback import NEEDS, Answer, Emission, Reading

START = 1_767_225_600_000


def stored(insert_id: str, after_ms: int = 0, **members: Any) -> dict[str, Any]:
    event = {"insert_id": insert_id, "event_type": "[Appboy] Purchase", **members}
    return {
        "n": 1,
        "amplitude_id": 7,
        "user_id": members.get("user_id"),
        "device_id": members.get("device_id"),
        "event_type": event["event_type"],
        "time": START,
        "insert_id": insert_id,
        "server_upload_time": START + after_ms,
        "route": "/2/httpapi",
        "event": event,
    }


def entry(
    number: int,
    events: list[dict[str, Any]] | None,
    status: int | None = 200,
    after_ms: int = 0,
    platform: str = "amplitude",
    answer: dict[str, Any] | None = None,
    **members: Any,
) -> dict[str, Any]:
    body = {"api_key": "****", **members}
    if events is not None:
        body["events"] = events
    return {
        "id": f"t.{number}",
        "n": number,
        "platform": platform,
        "direction": "out" if platform == "connector" else "in",
        "method": "POST",
        "path": "/2/httpapi" if platform == "amplitude" else "/feeds/currents",
        "query": "",
        "request_headers": {"Content-Type": "application/json"},
        "request_body": json.dumps(body),
        "status": status,
        "response_headers": {},
        "response_body": json.dumps(answer or {}),
        "latency_ms": 1.0,
        "tank_ms": START + after_ms,
        "tank_time": "",
        "fault": None,
        "outcome": "answered",
    }


def ledger(*ids: str, **totals: Any) -> dict[str, Any]:
    entries = [{"event_id": each, "emitted": "2026-01-01T00:00:00.000Z"} for each in ids]
    return {"totals": {"balanced": True, **totals}, "entries": entries}


def reading(**parts: Any) -> Reading:
    return Reading(start_ms=START, now_ms=START + 60_000, **parts)


PURCHASE = stored("e1", 5_000, user_id="ann", device_id="phone", event_properties={"color": "red", "size": 4})
SENT = {"insert_id": "e1", "device_id": "phone"}

CASES: list[tuple[str, dict[str, Any], Reading, Reading]] = [
    (
        "count",
        {"amplitude_events": {"where": {"user_id": "ann"}, "count": 1}},
        reading(events=[PURCHASE]),
        reading(),
    ),
    (
        "number is not text",
        {"amplitude_events": {"equal": {"event_properties": {"size": 4.0}}}},
        reading(events=[PURCHASE]),
        reading(events=[stored("e1", event_properties={"size": "4"})]),
    ),
    (
        "true is not one",
        {"amplitude_events": {"equal": {"event_properties.flag": 1}}},
        reading(events=[stored("e1", event_properties={"flag": 1})]),
        reading(events=[stored("e1", event_properties={"flag": True})]),
    ),
    (
        "exactly",
        {"amplitude_events": {"exactly": {"event_properties": {"color": "red", "size": 4}}}},
        reading(events=[PURCHASE]),
        reading(events=[stored("e1", event_properties={"color": "red", "size": 4, "more": 1})]),
    ),
    (
        "absent",
        {"amplitude_events": {"absent": ["event.ip", "user_id"]}},
        reading(events=[stored("e1")]),
        reading(events=[stored("e1", ip="127.0.0.1")]),
    ),
    (
        "ids",
        {"amplitude_events": {"ids": ["e2", "e1"]}},
        reading(events=[stored("e1"), stored("e2")]),
        reading(events=[stored("e1"), stored("e1")]),
    ),
    (
        "ledger",
        {"ledger": {"delivered": 3, "dropped": {"at_most": 1}, "reasons": {"dropped: credentials *": 1}}},
        reading(ledger=ledger(delivered=3, dropped=1, reasons={"dropped: credentials refused": 1})),
        reading(ledger=ledger(delivered=3, dropped=1, reasons={"dropped: too old": 1})),
    ),
    (
        "ledger must balance",
        {"ledger": {"delivered": 1}},
        reading(ledger=ledger(delivered=1)),
        reading(
            ledger={"totals": {"balanced": False, "delivered": 1, "mismatch": "2 entries"}, "entries": []}
        ),
    ),
    (
        "request bodies",
        {"requests": {"platform": "amplitude", "count": 1, "each": {"body_absent": ["options"]}}},
        reading(journal=[entry(1, [SENT])]),
        reading(journal=[entry(1, [SENT], options={"min_id_length": 1})]),
    ),
    (
        "every event of a request",
        {"requests": {"platform": "amplitude", "each": {"body": {"events.*.device_id": "phone"}}}},
        reading(journal=[entry(1, [SENT])]),
        reading(journal=[entry(1, [SENT, {"insert_id": "e2"}])]),
    ),
    (
        "events per request",
        {"requests": {"platform": "connector", "events_per_request": {"at_most": 1}}},
        reading(journal=[entry(1, [SENT], platform="connector")]),
        reading(journal=[entry(1, [SENT, SENT], platform="connector")]),
    ),
    (
        "none since",
        {"requests": {"platform": "amplitude", "where": {"since": "+10s"}, "count": 0}},
        reading(journal=[entry(1, [SENT], after_ms=9_999)]),
        reading(journal=[entry(1, [SENT], after_ms=10_000)]),
    ),
    (
        "request headers",
        {
            "requests": {
                "platform": "amplitude",
                "each": {"headers": {"content-type": "application/json", "X": None}},
            }
        },
        reading(journal=[entry(1, [SENT])]),
        reading(journal=[{**entry(1, [SENT]), "request_headers": {"Content-Type": "text/plain", "X": "y"}}]),
    ),
    (
        "arrival",
        {"arrival": {"where": {}, "within": "5s"}},
        reading(events=[PURCHASE], ledger=ledger("e1")),
        reading(events=[stored("e1", 5_001)], ledger=ledger("e1")),
    ),
    (
        "never arrived is not in time",
        {"arrival": {"where": {"device_id": "phone"}, "within": "1h"}},
        reading(events=[PURCHASE], ledger=ledger("e1"), emissions=[Emission("e1", "phone")]),
        reading(ledger=ledger("e1"), emissions=[Emission("e1", "phone")]),
    ),
    (
        "share in time",
        {"arrival": {"where": {}, "within": "1s", "share": 0.5}},
        reading(events=[stored("e1"), stored("e2", 9_000)], ledger=ledger("e1", "e2")),
        reading(events=[stored("e1"), stored("e2", 9_000)], ledger=ledger("e1", "e2", "e3")),
    ),
    (
        "answers",
        {"answers": {"status": [401, 403], "which": "last"}},
        reading(answers=[Answer(200, ""), Answer(401, "")]),
        reading(answers=[Answer(401, ""), Answer(200, "")]),
    ),
    (
        "answer body",
        {"answers": {"of": "bad", "status": "4xx", "body": {"error": "Invalid API key"}}},
        reading(answers=[Answer(400, '{"code": 400, "error": "Invalid API key"}', {}, "bad")]),
        reading(answers=[Answer(400, '{"code": 400, "error": "other"}', {}, "bad")]),
    ),
    ("no answer at all", {"answers": {"status": None}}, reading(answers=[Answer(None, "")]), reading()),
    (
        "feed",
        {"feed": {"status": "running", "pending": 0, "counters": {"posted": {"at_least": 2}}}},
        reading(feed={"status": "running", "queues": {}, "counters": {"posted": 2}}),
        reading(feed={"status": "running", "queues": {"x": {"pending": 1}}, "counters": {"posted": 2}}),
    ),
    (
        "users",
        {"users": {"where": {"user_id": "ann"}, "equal": {"user_properties.plan": "pro"}}},
        reading(users=[{"amplitude_id": 1, "user_id": "ann", "user_properties": {"plan": "pro"}}]),
        reading(users=[{"amplitude_id": 1, "user_id": "ann", "user_properties": {}}]),
    ),
    ("merges", {"merges": {"count": 1}}, reading(merges=[{"amplitude_id": 1}]), reading()),
    (
        "rate",
        {"rate": {"device": "phone", "window": "1s", "at_most": 2}},
        reading(events=[stored(f"e{ms}", ms, device_id="phone") for ms in (0, 999, 1000, 2000)]),
        reading(events=[stored(f"e{ms}", ms, device_id="phone") for ms in (0, 998, 999, 5000)]),
    ),
    (
        "pause",
        {"pause": {"after_status": 429, "device": "phone", "at_least": "1s"}},
        reading(
            journal=[entry(1, [SENT], 429), entry(2, [{"insert_id": "e9"}]), entry(3, [SENT], after_ms=1_000)]
        ),
        reading(journal=[entry(1, [SENT], 429), entry(2, [SENT], after_ms=999)]),
    ),
    (
        "pause of the named events only",
        {"pause": {"after_status": 429, "at_least": "30s"}},
        reading(
            journal=[
                entry(1, [{"insert_id": "cool"}, SENT], 429, answer={"throttled_events": [1]}),
                entry(2, [{"insert_id": "cool"}], after_ms=5),
                entry(3, [SENT], after_ms=30_000),
            ]
        ),
        reading(
            journal=[
                entry(1, [{"insert_id": "cool"}, SENT], 429, answer={"throttled_events": [0]}),
                entry(2, [{"insert_id": "cool"}], after_ms=5),
            ]
        ),
    ),
    ("healthy", {"healthy": True}, reading(health=200), reading(health=None)),
]


@pytest.mark.parametrize(
    ("wanted", "good", "bad"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_an_expectation_holds_or_says_what_differs(
    wanted: dict[str, Any], good: Reading, bad: Reading
) -> None:
    assert judge(wanted, good) is None
    failure = judge({**wanted, "because": "the document says so"}, bad, ("CUR-001",))
    assert failure is not None
    assert failure.diff
    assert failure.because == "the document says so"
    assert failure.rules == ("CUR-001",)


def test_every_kind_of_expectation_is_among_the_cases() -> None:
    covered = {next(iter(case[1])) for case in CASES}
    assert covered == set(CHECKS) == set(NEEDS)


def test_a_diff_names_the_member_and_both_values() -> None:
    failure = judge(
        {"amplitude_events": {"equal": {"event_properties": {"[Purchase property] color": "blue"}}}},
        reading(events=[stored("e1", event_properties={"[Purchase property] color": "red"})]),
    )
    assert failure is not None
    assert failure.diff == (
        'event e1: event_properties["[Purchase property] color"]: expected "blue", received "red"',
    )
