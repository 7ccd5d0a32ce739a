"""Field rules, identifiers, lengths and boundaries. Source: Amplitude docs, HTTP V2 API (keys, limits, responses)."""

from __future__ import annotations

import gzip
import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

A: dict[str, Any] = {"device_id": "device-1", "event_type": "a"}
INVALID = "Invalid field values on some events"
LISTED = [
    "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "",
    "00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "0", "-1",
]  # fmt: skip


@pytest.mark.parametrize("name", ["user_id", "device_id"])
@pytest.mark.parametrize("value", [*LISTED, "Anonymous", "NULL"])
def test_placeholder_ids_are_refused(project: Any, name: str, value: str) -> None:
    events = [{**A, "user_id": "person-1", name: value}]
    answer = project.post(events, options={"min_id_length": 1})
    assert answer.status_code == 400
    assert answer.json == {"code": 400, "error": INVALID, "events_with_invalid_fields": {name: [0]}}
    assert project.events() == []


def test_placeholder_ids_in_other_case_may_pass(project: Any) -> None:
    project.set(invalid_ids_any_case=False)
    assert project.post([{**A, "user_id": "Anonymous"}]).status_code == 200


@pytest.mark.parametrize(
    ("options", "user_id", "status"),
    [
        ({}, "abcd", 400), ({}, "abcde", 200), ({"min_id_length": 1}, "x", 200), ({"min_id_length": 7}, "sixsix", 400),
        ({"min_id_length": 7}, "seven77", 200), ({"min_id_length": "1"}, "abcd", 400), ({"min_id_length": None}, "abcde", 200),
    ],
)  # fmt: skip
def test_minimum_length(project: Any, options: Any, user_id: str, status: int) -> None:
    answer = project.post([{"user_id": user_id, "event_type": "a"}], options=options)
    assert answer.status_code == status
    if status == 400:
        assert answer.json == {
            "code": 400,
            "error": "Invalid id length for user_id or device_id",
            "events_with_invalid_id_lengths": {"user_id": [0]},
        }


def test_short_ids_may_be_removed_as_documented(project: Any) -> None:
    project.set(short_ids="remove")
    assert project.post([{**A, "user_id": "abcd"}]).status_code == 200
    assert project.events()[0]["user_id"] is None
    answer = project.post([A, {"user_id": "abcd", "event_type": "a"}])
    assert answer.json["events_with_invalid_id_lengths"] == {"user_id": [1]}


@pytest.mark.parametrize(("value", "stored"), [(12345, "12345"), (9007199254740993, "9007199254740993")])
def test_numeric_ids_are_read_as_text(project: Any, value: int, stored: str) -> None:
    assert project.post([{"user_id": value, "event_type": "a"}]).status_code == 200
    assert project.events()[0]["user_id"] == stored
    project.set(numeric_ids="refuse")
    assert project.post([{"user_id": value, "event_type": "a"}]).json["error"] == INVALID


@pytest.mark.parametrize("value", [1.5, True, [], {}, ["person-1"]])
def test_other_types_of_ids_are_refused(project: Any, value: Any) -> None:
    answer = project.post([{**A, "user_id": value}])
    assert answer.json == {"code": 400, "error": INVALID, "events_with_invalid_fields": {"user_id": [0]}}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time", "2026-01-01T00:00:00Z"), ("time", 1.5), ("time", True), ("event_properties", []),
        ("user_properties", "x"), ("groups", ["a"]), ("$skip_user_properties_sync", "true"), ("app_version", 1),
        ("platform", {}), ("price", "1.5"), ("quantity", 1.5), ("revenue", "x"), ("productId", 3),
        ("location_lat", "52"), ("event_id", "7"), ("session_id", "1"), ("insert_id", 5), ("plan", "x"), ("ip", 1),
        ("event_type", 7),
    ],
)  # fmt: skip
def test_wrong_types_are_named(project: Any, name: str, value: Any) -> None:
    answer = project.post([A, {**A, name: value}], "/batch")
    assert answer.json == {"code": 400, "error": INVALID, "events_with_invalid_fields": {name: [1]}}
    assert list(answer.json) == ["code", "error", "events_with_invalid_fields"]


def test_missing_fields_come_before_invalid_ones(project: Any) -> None:
    answer = project.post([{**A, "time": "x"}, {"device_id": "device-1"}])
    assert answer.json == {
        "code": 400,
        "error": "Request missing required field",
        "events_with_missing_fields": {"event_type": [1]},
    }


def test_missing_ids_may_be_named_as_device_id_only(project: Any) -> None:
    project.set(missing_ids_named="device_id")
    assert project.post([{"event_type": "a"}]).json["events_with_missing_fields"] == {"device_id": [0]}


@pytest.mark.parametrize("time", [0, -62135596800000, 253402300800000, 1])
def test_any_time_is_accepted(project: Any, time: int) -> None:
    """No document rejects past or future times."""
    assert project.post([{**A, "time": time}]).status_code == 200
    assert project.events()[0]["time"] == time


def test_time_defaults_to_the_upload(project: Any) -> None:
    project.at(5000)
    project.post([A])
    assert project.events()[0]["time"] == 1_767_225_605_000


@pytest.mark.parametrize("length", [1023, 1024, 1025])
def test_strings_are_cut_at_1024_characters(project: Any, length: int) -> None:
    text = "ß" * length
    event = {**A, "event_properties": {"a": text, "b": [text], "c": {"d": {"e": text}}}, "city": text}
    assert project.post([event]).status_code == 200
    kept = project.events()[0]["event"]
    found = [kept["event_properties"]["a"], kept["event_properties"]["b"][0], kept["event_properties"]["c"]["d"]["e"]]
    assert {len(each) for each in [*found, kept["city"]]} == {min(length, 1024)}


@pytest.mark.parametrize(("length", "status"), [(1024, 200), (1025, 400)])
def test_long_ids(project: Any, length: int, status: int) -> None:
    assert project.post([{**A, "user_id": "u" * length}]).status_code == status
    project.set(long_ids="truncate")
    assert project.post([{**A, "user_id": "v" * length}]).status_code == 200
    assert len(project.events()[-1]["user_id"]) == 1024


def _nested(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = {"d": value}
    return value


@pytest.mark.parametrize(
    "name", ["event_properties", "user_properties", "groups", "plan", "ingestion_metadata", "extra"]
)
@pytest.mark.parametrize("levels", [41, 253, 254, 255, 1000])
def test_too_deep_objects_are_refused_and_never_break(project: Any, name: str, levels: int) -> None:
    answer = project.post([{**A, name: _nested(2)}]) if name not in ("groups", "plan") else None
    assert answer is None or answer.status_code == 200
    body = b'{"api_key":"%s","events":[{"device_id":"device-1","event_type":"a","%s":%s"leaf"%s}]}' % (
        project.key.encode(), name.encode(), b'{"d":' * levels, b"}" * levels,
    )  # fmt: skip
    refused = project.send(body)
    assert refused.status_code == 400
    assert refused.json["error"] == INVALID
    assert refused.json["events_with_invalid_fields"] == {name: [0]}


def test_forty_levels_pass_and_deeper_ones_may_be_cut(project: Any) -> None:
    assert project.post([{**A, "event_properties": _nested(40)}]).status_code == 200
    project.set(deep_objects="cut")
    assert project.post([{**A, "event_properties": _nested(60)}]).status_code == 200
    kept = project.events()[1]["event"]["event_properties"]
    for _ in range(40):
        kept = kept["d"]
    assert kept is None


def test_groups_beyond_the_limits_are_dropped_silently(project: Any) -> None:
    """At most 5 group types and 10 values in all."""
    many = {f"type-{n}": [f"v{n}-{m}" for m in range(3)] for n in range(7)}
    assert project.post([{**A, "groups": many}]).status_code == 200
    kept = project.events()[0]["event"]["groups"]
    assert len(kept) <= 5
    assert sum(len(values) for values in kept.values()) == 10


def test_group_properties_count_only_on_group_identify(project: Any) -> None:
    project.post([{**A, "group_properties": {"size": 3}, "groups": {"org": "acme"}}])
    assert "group_properties" not in project.events()[0]["event"]
    group = {**A, "event_type": "$groupidentify", "group_properties": {"$set": {"size": 3}}, "groups": {"org": "acme"}}
    assert project.post([group]).status_code == 200
    assert len(project.events()) == 1


def test_tracking_plan_keeps_three_texts(project: Any) -> None:
    plan = {"branch": "main", "source": "web", "version": "2", "versionId": "x", "other": {"a": 1}}
    project.post([{**A, "plan": plan}])
    assert project.events()[0]["event"]["plan"] == {"branch": "main", "source": "web", "version": "2"}


@pytest.mark.parametrize(("tag", "name"), [("en-US", "English"), ("AA", "Afar"), ("de_AT", "German"), ("xx-Q", "xx-Q")])
def test_language_tags_become_names(project: Any, tag: str, name: str) -> None:
    project.post([{**A, "language": tag}])
    assert project.events()[0]["event"]["language"] == name


def test_price_times_quantity_beats_revenue(project: Any) -> None:
    project.post([{**A, "price": 2.5, "quantity": 4, "revenue": 99}, {**A, "revenue": 99}])
    assert [event["event"]["revenue"] for event in project.events()] == [10, 99]


def test_unknown_and_undocumented_fields(project: Any) -> None:
    sent = {**A, "library": "x/1", "partner_id": "p", "ingestion_metadata": {"source_name": "s"}, "receipt": "r"}
    project.post([{**sent, "made_up": 1}])
    assert project.events()[0]["event"] == sent
    project.set(unknown_fields="refuse")
    assert project.post([{**sent, "made_up": 1}]).json["events_with_invalid_fields"] == {"made_up": [0]}


def test_reserved_event_types(project: Any) -> None:
    event = {**A, "event_type": "[Amplitude] Revenue"}
    assert project.post([event]).status_code == 200
    project.set(reserved_event_types="refuse")
    assert project.post([A, event]).json["events_with_invalid_fields"] == {"event_type": [1]}


def test_remote_address(project: Any) -> None:
    project.post([{**A, "ip": "$remote"}, {**A, "ip": "10.1.2.3"}])
    assert [event["event"]["ip"] for event in project.events()] == ["127.0.0.1", "10.1.2.3"]


def test_numbers_of_events(make_project: Any) -> None:
    project = make_project(limits="batch")
    many = [{"device_id": f"device-{n}", "event_type": "a"} for n in range(2001)]
    assert project.post(many, "/batch").json == {"code": 413, "error": "Payload too large"}
    assert project.post(many[:2000], "/batch").json["events_ingested"] == 2000
    assert project.post([], "/batch").json == {
        "code": 400,
        "error": "Request missing required field",
        "missing_field": "events",
    }
    project.set(empty_events="accept")
    assert project.post([]).json["events_ingested"] == 0


@pytest.mark.parametrize(("path", "limit"), [("/2/httpapi", 1_000_000), ("/batch", 20_000_000)])
def test_sizes_count_unpacked_bytes(project: Any, path: str, limit: int) -> None:
    head = project.body([A])
    for extra, status in ((0, 200), (1, 413)):
        body = head + b" " * (limit - len(head) + extra)
        assert project.send(body, path).status_code == status
        assert project.send(gzip.compress(body, 1), path, headers={"Content-Encoding": "gzip"}).status_code == status


@pytest.mark.parametrize("cut", [1, 10, 25])
def test_broken_gzip_is_no_json(project: Any, cut: int) -> None:
    packed = gzip.compress(project.body([A]))
    for body in (packed[:-cut], b"not gzip", packed[:5] + b"\x00" + packed[6:-20]):
        answer = project.send(body, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json["error"]) == (400, "Invalid JSON request body")


def test_gzip_of_several_members(project: Any) -> None:
    body = project.body([A])
    packed = gzip.compress(body[:20]) + gzip.compress(body[20:])
    answer = project.send(packed, headers={"Content-Encoding": "gzip"})
    assert answer.json["payload_size_bytes"] == len(packed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20) | st.sampled_from(LISTED),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip
FIELDS = [
    "user_id", "device_id", "event_type", "time", "event_properties", "user_properties", "groups", "group_properties",
    "$skip_user_properties_sync", "language", "price", "quantity", "revenue", "event_id", "session_id", "insert_id",
    "plan", "ip", "extra", "made_up",
]  # fmt: skip
PROPERTIES = st.dictionaries(
    st.sampled_from(["$set", "$add", "$append", "$remove", "$clearAll", "$unset", "plain"]), JSON
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=8)
        | st.fixed_dictionaries(
            {"device_id": st.just("device-1"), "event_type": st.sampled_from(["a", "$identify", "$groupidentify"])},
            optional={"user_properties": PROPERTIES, "group_properties": PROPERTIES, "groups": JSON, "language": JSON},
        )
        | JSON,
        max_size=3,
    )
    | JSON,
    JSON,
)
def test_no_input_breaks_it(project: Any, events: Any, options: Any) -> None:
    body = json.dumps({"api_key": project.key, "events": events, "options": options}).encode()
    before = project.tank.store.digest()
    answer = project.send(body)
    assert answer.status_code in (200, 400, 413, 429)
    assert answer.json["code"] == answer.status_code
    if answer.status_code != 200:
        assert project.tank.store.digest() == before


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.sampled_from(["", "gzip", "deflate"]))
def test_no_bytes_break_it(project: Any, body: bytes, encoding: str) -> None:
    for sent in (body, project.body([A])[:-2] + body, gzip.compress(body)):
        answer = project.send(sent, headers={"Content-Encoding": encoding})
        assert answer.status_code in (200, 400)


@pytest.mark.parametrize(
    "text", [b'{"a":"\xff\xfe"}', b'"\\ud800"', b"1e999", b"[" * 100_000, b"\x00", b"NaN", b'{"api_key":1e400}']
)
def test_unreadable_bodies(project: Any, text: bytes) -> None:
    answer = project.send(text)
    assert answer.status_code == 400
    assert list(answer.json)[:2] == ["code", "error"]


def test_lone_surrogates_and_control_characters(project: Any) -> None:
    good = orjson.dumps({"api_key": project.key, "events": [{**A, "event_properties": {"\u0000": "\u0000\u2028"}}]})
    assert project.send(good).status_code == 200
    bad = b'{"api_key":"%s","events":[{"device_id":"device-1","event_type":"\\ud800"}]}' % project.key.encode()
    assert project.send(bad).status_code == 400
