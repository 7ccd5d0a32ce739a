"""Answers to uploads. Expectations: Amplitude docs, HTTP V2 API and Batch Event Upload API."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import requests

A = {"device_id": "device-1", "event_type": "a"}


def keys(answer: requests.Response) -> list[str]:
    return list(json.loads(answer.text))


def test_success_body_and_key_order(tank: Any) -> None:
    body = json.dumps({"api_key": tank.key, "events": [A]}).encode()
    answer = requests.post(f"{tank.amplitude}/2/httpapi", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200
    assert keys(answer) == ["code", "server_upload_time", "payload_size_bytes", "events_ingested"]
    assert answer.json() == {
        "code": 200,
        "server_upload_time": 1_767_225_600_000,
        "payload_size_bytes": len(body),
        "events_ingested": 1,
    }
    assert ": " not in answer.text  # compact JSON
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Wavetank-Request"].startswith(tank.id + ".")


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
def test_gzip_counts_bytes_as_received(tank: Any, path: str) -> None:
    body = gzip.compress(json.dumps({"api_key": tank.key, "events": [A]}).encode())
    answer = requests.post(f"{tank.amplitude}{path}", data=body, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["payload_size_bytes"]) == (200, len(body))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {"code": 400, "error": "Missing request body"}),
        (b"{", {"code": 400, "error": "Invalid JSON request body"}),
        (b"[]", {"code": 400, "error": "Invalid JSON request body"}),
        (b'{"api_key":"\xff"}', {"code": 400, "error": "Invalid JSON request body"}),
        (b'{"a":' * 3000, {"code": 400, "error": "Invalid JSON request body"}),
        (
            b'{"events":[]}',
            {"code": 400, "error": "Request missing required field", "missing_field": "api_key"},
        ),
        (
            b'{"api_key":"","events":[]}',
            {"code": 400, "error": "Request missing required field", "missing_field": "api_key"},
        ),
        (
            b'{"api_key":"k"}',
            {"code": 400, "error": "Request missing required field", "missing_field": "events"},
        ),
        (
            b'{"api_key":"k","events":{}}',
            {"code": 400, "error": "Request missing required field", "missing_field": "events"},
        ),
        (b'{"api_key":"nobody","events":[]}', {"code": 400, "error": "Invalid API key: nobody"}),
    ],
)
def test_refusals_before_a_project_is_known(tank: Any, body: bytes, expected: dict[str, Any]) -> None:
    answer = requests.post(f"{tank.amplitude}/2/httpapi", data=body)
    assert answer.status_code == 400
    assert answer.json() == expected
    assert keys(answer) == list(expected)


@pytest.mark.parametrize(
    ("events", "error", "members"),
    [
        ([A, 3], "Invalid event JSON", {}),
        ([A, {"event_type": "a"}], "Request missing required field",
         {"events_with_missing_fields": {"user_id": [1], "device_id": [1]}}),
        ([{"device_id": "device-1"}, A, {"device_id": "device-1", "event_type": ""}],
         "Request missing required field", {"events_with_missing_fields": {"event_type": [0, 2]}}),
        ([A, {**A, "time": "2026-01-01T00:00:00Z"}], "Invalid field values on some events",
         {"events_with_invalid_fields": {"time": [1]}}),
        ([{**A, "event_properties": "x", "price": "1"}], "Invalid field values on some events",
         {"events_with_invalid_fields": {"event_properties": [0], "price": [0]}}),
        ([{**A, "session_id": True}], "Invalid field values on some events",
         {"events_with_invalid_fields": {"session_id": [0]}}),
        ([{**A, "user_id": "NULL"}], "Invalid field values on some events",
         {"events_with_invalid_fields": {"user_id": [0]}}),
        ([{**A, "user_id": "x" * 1025}], "Invalid field values on some events",
         {"events_with_invalid_fields": {"user_id": [0]}}),
        ([{"user_id": "abcd", "device_id": "device-1", "event_type": "a"}],
         "Invalid id length for user_id or device_id", {"events_with_invalid_id_lengths": {"user_id": [0]}}),
        ([{"user_id": 1234, "event_type": "a"}], "Invalid id length for user_id or device_id",
         {"events_with_invalid_id_lengths": {"user_id": [0]}}),
    ],
)  # fmt: skip
def test_refused_events_change_nothing(tank: Any, events: Any, error: str, members: dict[str, Any]) -> None:
    before = tank.digest()
    answer = tank.upload(events, "/batch")
    assert (answer.status_code, answer.json()) == (400, {"code": 400, "error": error, **members})
    assert keys(answer) == ["code", "error", *members]
    assert tank.events() == []
    assert tank.digest() == before


def test_http_v2_names_the_first_offender_only(tank: Any) -> None:
    events = [{**A, "time": "x"}, {**A, "time": "x"}]
    assert tank.upload(events).json()["events_with_invalid_fields"] == {"time": [0]}
    assert tank.upload(events, "/batch").json()["events_with_invalid_fields"] == {"time": [0, 1]}


def test_numeric_ids_are_their_text(tank: Any) -> None:
    assert tank.upload([{"user_id": 1234567, "event_type": "a"}]).status_code == 200
    assert tank.events()[0]["user_id"] == "1234567"


def test_min_id_length(tank: Any) -> None:
    assert tank.upload([{"user_id": "x", "event_type": "a"}], options={"min_id_length": 1}).status_code == 200
    assert tank.upload([{"user_id": "sixsix", "event_type": "a"}], options={"min_id_length": 7}).status_code == 400


def test_null_members_are_absent(tank: Any) -> None:
    assert tank.upload([{**A, "user_id": None, "time": None}]).status_code == 200
    assert tank.events()[0]["user_id"] is None


def test_long_texts_are_cut_and_depth_is_bounded(tank: Any) -> None:
    deep: Any = 1
    for _ in range(39):
        deep = {"d": deep}
    good = {**A, "event_properties": {"long": "ü" * 1025, "list": ["y" * 2000], "deep": deep}}
    assert tank.upload([good]).status_code == 200
    kept = tank.events()[0]["event"]["event_properties"]
    assert (len(kept["long"]), len(kept["list"][0])) == (1024, 1024)
    answer = tank.upload([{**A, "event_properties": {"deep": {"d": deep}}}])
    assert answer.json()["events_with_invalid_fields"] == {"event_properties": [0]}


def test_body_limits(make_tank: Any) -> None:
    tank = make_tank(limits="batch")
    head = json.dumps({"api_key": tank.key, "events": [A]}).encode()
    for path, limit in (("/2/httpapi", 1_000_000), ("/batch", 20_000_000)):
        url = f"{tank.amplitude}{path}"
        assert requests.post(url, data=head + b" " * (limit - len(head))).status_code == 200
        refused = requests.post(url, data=head + b" " * (limit - len(head) + 1))
        assert (refused.status_code, refused.json()) == (413, {"code": 413, "error": "Payload too large"})
    many = [{"device_id": f"device-{n}", "event_type": "a"} for n in range(2001)]
    assert tank.upload(many[:2000]).status_code == 200
    assert tank.upload(many).json() == {"code": 413, "error": "Payload too large"}


def test_gzip_bomb_is_refused(tank: Any) -> None:
    bomb = gzip.compress(b" " * 90_000_000)
    answer = requests.post(f"{tank.amplitude}/2/httpapi", data=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code in (400, 413)


def test_other_region_and_revoked_key(tank: Any) -> None:
    other = tank.ready["amplitude"]["other_region_url"]
    body = {"api_key": tank.key, "events": [A]}
    expected = {"code": 400, "error": f"Invalid API key: {tank.key}"}
    assert requests.post(f"{other}/2/httpapi", json=body).json() == expected
    tank.control("PUT", "/credentials/amplitude_api_key", {"status": "revoked"})
    assert tank.upload([A]).json() == expected
    tank.control("PUT", "/credentials/amplitude_api_key", {"status": "valid"})
    assert tank.upload([A]).status_code == 200


def test_silenced_device_body(tank: Any) -> None:
    tank.control("PUT", "/amplitude/silenced", {"device_ids": ["device-s"]})
    answer = tank.upload([A, {"device_id": "device-s", "event_type": "a"}])
    assert answer.status_code == 400
    assert keys(answer) == [
        "code", "error", "eps_threshold", "exceeded_daily_quota_devices", "silenced_devices", "silenced_events",
        "throttled_devices", "throttled_events",
    ]  # fmt: skip
    assert answer.json()["silenced_devices"] == ["device-s"]
    assert answer.json()["silenced_events"] == [1]


def test_unknown_path_method_and_absent_endpoint(tank: Any) -> None:
    assert requests.post(f"{tank.amplitude}/3/nowhere").json() == {"code": 400, "error": "Invalid request path"}
    assert requests.get(f"{tank.amplitude}/2/httpapi").status_code == 405
    absent = requests.get(f"{tank.amplitude}/api/2/funnels", auth=(tank.key, "secret"))
    assert absent.status_code == 501
    assert "Funnel analysis" in absent.json()["error"]


@pytest.mark.parametrize("value", [2**63, -(2**70), 1e308, 1.5, [], {}, "1", True])
def test_odd_times_are_refused_and_nothing_breaks(tank: Any, value: Any) -> None:
    answer = tank.upload([{**A, "time": value}])
    assert answer.status_code == 400
    assert answer.json()["error"] in ("Invalid field values on some events", "Invalid JSON request body")


def test_user_properties_follow_their_operations(tank: Any) -> None:
    who = {"user_id": "person-1", "event_type": "a"}
    tank.upload([{**who, "user_properties": {"$setOnce": {"first": 1}, "$add": {"n": 2}, "$append": {"l": [1, 2]}}}])
    tank.upload([{**who, "user_properties": {"$setOnce": {"first": 9}, "$add": {"n": "3"}, "$postInsert": {"l": 2}}}])
    tank.upload([{**who, "user_properties": {"plain": True}}])
    tank.upload([who])
    people = tank.control("GET", "/amplitude/users").json()["users"]
    expected = {"first": 1, "n": 5, "l": [1, 2], "plain": True}
    assert people[0]["user_properties"] == expected
    assert tank.events()[-1]["user_properties"] == expected
    tank.upload([{"user_id": "person-1", "event_type": "$identify", "user_properties": {"$unset": {"l": "-"}}}])
    assert len(tank.events()) == 4  # an identify is no event
    assert "l" not in tank.control("GET", "/amplitude/users").json()["users"][0]["user_properties"]


def test_every_answer_explains_itself(tank: Any) -> None:
    refused = tank.upload([A] * 31)
    found = requests.get(f"{tank.lab.control_url}/explain/{refused.headers['X-Wavetank-Request']}").json()
    reason = found["reasons"][0]
    assert refused.status_code == 429
    assert reason["detail"]["in_this_request"] == 31
    assert reason["detail"]["threshold_per_second"] == 30
    assert reason["source"].startswith("Amplitude docs")
    assert found["advice"]
