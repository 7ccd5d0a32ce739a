"""Letting events happen: what is filled in, checked, counted. Source: Braze docs, Custom HTTP connector for
Currents (event object); Event delivery semantics (ids).
"""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from simulator.braze import currents_feed, generator

OPEN = "users.messages.email.Open"
GOOD = {
    "event_type": OPEN,
    "id": "one",
    "time": 1767225600,
    "user": {"user_id": "0123456789abcdef01234567", "external_user_id": "ann"},
    "properties": {"campaign_id": "c", "email_address": None, "new_member": 1},
}


def test_what_is_absent_is_filled_in(feed: Any, receiver: Any) -> None:
    (id_,) = feed.emit({"event_type": OPEN, "user": {"external_user_id": "ann"}})
    feed.advance(300_000)
    (event,) = receiver.got[0].events
    assert uuid.UUID(id_).version == 4
    assert (event["id"], event["time"], event["properties"]) == (id_, 1767225600, {})
    assert event["user"]["external_user_id"] == "ann"
    assert re.fullmatch("[0-9a-f]{24}", event["user"]["user_id"])


def test_ids_are_never_made_twice(feed: Any, receiver: Any) -> None:
    ids = []
    for _ in range(3):
        ids += feed.emit_many(100)
        feed.settle()
    assert len(set(ids)) == 300


def test_an_id_emitted_before_is_the_same_event_once_more(feed: Any, receiver: Any) -> None:
    feed.emit(GOOD, GOOD)
    feed.emit(GOOD)
    feed.advance(300_000)
    assert receiver.ids() == ["one", "one", "one"]
    assert feed.totals()["emitted"] == 1


@pytest.mark.parametrize(
    "hostile",
    [
        {"event_type": None},
        {"event_type": 5, "id": 7, "time": "yesterday", "user": [], "properties": "none"},
        {"user": None},
        {"id": None, "time": -1},
        {"event_type": OPEN, "user": {"user_id": None, "external_user_id": 0, "device_id": {"a": [1]}}},
        {
            "event_type": "users.messages.rcs.Send",
            "properties": {"a": "\x00", "b": [[[[]]]], "c": "🙂" * 2000},
        },
        {},
    ],
)
def test_hostile_events_go_out_as_they_are(feed: Any, receiver: Any, hostile: dict[str, Any]) -> None:
    feed.emit(hostile)
    feed.advance(300_000)
    (event,) = receiver.got[0].events
    for name, value in hostile.items():
        assert event[name] == value
    assert feed.totals()["balanced"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"event_type": "users.messages.email.Opened"},
            "event_type: 'users.messages.email.Opened' is not a Currents event type",
        ),
        ({"time": 1767225600000}, "time: 1767225600000 is greater than the maximum"),
        ({"time": "2026"}, "time: '2026' is not of type 'integer'"),
        ({"id": 5}, "id: 5 is not of type 'string'"),
        ({"user": {"user_id": "short"}}, "user.user_id: 'short' does not match"),
        ({"user": "ann"}, "user: 'ann' is not of type 'object'"),
        ({"user": {"user_id": "0" * 24, "device_id": 5}}, "user.device_id: 5 is not of type"),
        ({"properties": {"campaign_id": 5}}, "properties.campaign_id: 5 is not of type"),
        ({"properties": {"price": "5"}}, "properties.price: '5' is not of type"),
        ({"properties": {"in_control_group": "no"}}, "properties.in_control_group: 'no' is not of type"),
        (
            {"properties": {"conversion_behavior_index": 4}},
            "properties.conversion_behavior_index: 4 is greater",
        ),
        ({"properties": {"platform": "iOS"}}, "properties.platform: 'iOS' is not one of"),
        ({"properties": {"custom_properties": []}}, "properties.custom_properties: [] is not of type"),
    ],
)
def test_strict_names_the_event_and_the_field(feed: Any, change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"^events\[1\]\." + re.escape(text)) as caught:
        feed.emit(GOOD, {**GOOD, **change}, strict=True)
    assert "\n" not in str(caught.value)
    assert feed.totals()["emitted"] == 0


def test_strict_takes_new_and_empty_members(feed: Any) -> None:
    assert feed.emit(GOOD, strict=True) == ["one"]


def test_what_is_no_json_is_refused(feed: Any) -> None:
    with pytest.raises(ValueError, match=r"^events\[0\]: not JSON"):
        feed.emit({"event_type": OPEN, "properties": {"a": object()}})


def test_events_may_happen_later_at_a_rate(feed: Any, receiver: Any) -> None:
    feed.configure(batch_size=1)
    start = feed.now()
    with feed.tank.store.write() as conn:
        events = [{"event_type": OPEN, "user": {"external_user_id": "ann"}} for _ in range(10)]
        assert currents_feed.emit_later(conn, events, start, rate=2) == 10
    feed.advance(1_499)
    assert feed.totals()["emitted"] == 3
    feed.advance(10_000)
    assert [each.events[0]["time"] - start // 1000 for each in receiver.got] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_generated_traffic_all_at_once(feed: Any, receiver: Any) -> None:
    with feed.tank.store.write() as conn:
        done = currents_feed.generate(conn, feed.tank, feed.now(), events=1000, users=20)
    feed.advance(300_000)
    assert done == {"emitted": 1000, "scheduled": 0}
    assert len(set(receiver.ids())) == 1000
    assert len({type_ for each in receiver.got for type_ in each.types}) == 40
    app_ids = {one["properties"].get("app_id") for each in receiver.got for one in each.events} - {None}
    assert app_ids == {feed.tank.credential("braze_app_id")}


def test_generated_traffic_as_a_stream(feed: Any, receiver: Any) -> None:
    with feed.tank.store.write() as conn:
        done = currents_feed.generate(conn, feed.tank, feed.now(), events=200, users=5, rate=50, types=["Email Open"])
    assert done == {"emitted": 0, "scheduled": 200}
    feed.advance(2_000)
    assert abs(feed.totals()["emitted"] - 100) <= 5
    feed.advance(300_000)
    assert len(receiver.ids()) == 200
    assert {type_ for each in receiver.got for type_ in each.types} == {OPEN}
    for request in receiver.got:
        assert all(0 <= one["time"] - 1767225600 <= 4 for one in request.events)


def test_a_second_call_goes_on_with_the_same_people(feed: Any, receiver: Any) -> None:
    for _ in range(2):
        with feed.tank.store.write() as conn:
            currents_feed.generate(conn, feed.tank, feed.now(), events=300, users=3)
    feed.advance(300_000)
    ids = receiver.ids()
    assert len(set(ids)) == 600
    people = {one["user"].get("external_user_id") for each in receiver.got for one in each.events} - {None}
    assert len(people) == 3


def test_the_same_seed_gives_the_same_traffic(feed: Any, receiver: Any) -> None:
    def made() -> list[Any]:
        world = generator.World("7:", "app")
        return generator.generate(feed.tank.rng("generate", "", 0), 500, 10, feed.now(), state=world)

    assert made() == made()


def test_an_unknown_type_is_refused(feed: Any) -> None:
    with feed.tank.store.write() as conn, pytest.raises(ValueError, match="'Email' is not exported"):
        currents_feed.generate(conn, feed.tank, feed.now(), events=3, types=["Email"])
