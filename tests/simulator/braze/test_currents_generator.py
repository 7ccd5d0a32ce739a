"""Generated traffic. Source: Braze docs, Amplitude for Currents (properties, who is sent); Currents event
glossary (a first session is also a session start).
"""

from __future__ import annotations

import itertools
import random
import re
from collections import defaultdict
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.braze import generator
from simulator.braze.catalogue import event_types, kinds, unfit

NOW_MS = 1_767_225_600_500
NOW_S = NOW_MS // 1000
# Effect: what has to come before it, by what ties the two together.
CAUSES = {
    "users.messages.email.Delivery": ("users.messages.email.Send", "dispatch_id"),
    "users.messages.email.Open": ("users.messages.email.Delivery", "dispatch_id"),
    "users.messages.email.Click": ("users.messages.email.Open", "dispatch_id"),
    "users.messages.email.Unsubscribe": ("users.messages.email.Open", "dispatch_id"),
    "users.messages.email.MarkAsSpam": ("users.messages.email.Open", "dispatch_id"),
    "users.messages.email.Bounce": ("users.messages.email.Send", "dispatch_id"),
    "users.messages.email.SoftBounce": ("users.messages.email.Send", "dispatch_id"),
    "users.messages.pushnotification.Open": ("users.messages.pushnotification.Send", "dispatch_id"),
    "users.messages.pushnotification.Bounce": ("users.messages.pushnotification.Send", "dispatch_id"),
    "users.messages.pushnotification.IosForeground": ("users.messages.pushnotification.Send", "dispatch_id"),
    "users.messages.sms.CarrierSend": ("users.messages.sms.Send", "dispatch_id"),
    "users.messages.sms.Delivery": ("users.messages.sms.CarrierSend", "dispatch_id"),
    "users.messages.sms.Rejection": ("users.messages.sms.CarrierSend", "dispatch_id"),
    "users.messages.sms.DeliveryFailure": ("users.messages.sms.CarrierSend", "dispatch_id"),
    "users.messages.contentcard.Impression": ("users.messages.contentcard.Send", "content_card_id"),
    "users.messages.contentcard.Click": ("users.messages.contentcard.Impression", "content_card_id"),
    "users.messages.contentcard.Dismiss": ("users.messages.contentcard.Impression", "content_card_id"),
    "users.messages.newsfeedcard.Click": ("users.messages.newsfeedcard.Impression", "card_id"),
    "users.behaviors.app.SessionEnd": ("users.behaviors.app.SessionStart", "session_id"),
}


def made(seed: int, n: int, users: int, **more: Any) -> list[dict[str, Any]]:
    return generator.generate(random.Random(seed), n, users, NOW_MS, **more)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 700), st.integers(1, 40))
def test_no_effect_comes_before_its_cause_and_nothing_lies_ahead(seed: int, n: int, users: int) -> None:
    events = made(seed, n, users)
    assert len(events) == n
    seen: set[tuple[str, str]] = set()
    known_on: dict[str, set[str]] = defaultdict(set)
    campaigns: set[tuple[str, str]] = set()
    last = 0
    for event in events:
        assert unfit(event) is None
        assert last <= event["time"] <= NOW_S
        last = event["time"]
        type_, properties, user = event["event_type"], event["properties"], event["user"]
        if type_ in CAUSES:
            cause, tie = CAUSES[type_]
            assert (cause, properties[tie]) in seen, f"{type_} without {cause}"
        for tie in ("dispatch_id", "content_card_id", "card_id", "session_id"):
            if tie in properties:
                seen.add((type_, properties[tie]))
        person = user.get("external_user_id")
        if type_ == "users.campaigns.Conversion":
            assert (user["user_id"], properties["campaign_id"]) in campaigns
        elif type_ == "users.canvas.Conversion":
            assert (user["user_id"], properties["canvas_id"]) in campaigns
        campaigns.add((user["user_id"], properties.get("campaign_id", properties.get("canvas_id", ""))))
        device = user.get("device_id")
        assert person or device, "Currents exports neither to Amplitude"
        if device is not None:
            if person is None:
                assert not known_on[device], "nobody becomes anonymous again on a device"
            else:
                known_on[device].add(person)
                assert len(known_on[device]) == 1
    assert events[-1]["time"] == NOW_S
    assert len({event["id"] for event in events}) == n


def test_every_kind_of_event_appears() -> None:
    for seed in range(20):
        assert {each["event_type"] for each in made(seed, 200, 10)} == set(event_types())


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert orjson.dumps(made(5, 2000, 50)) == orjson.dumps(made(5, 2000, 50))
    assert made(5, 100, 50) != made(6, 100, 50)


def test_people_start_anonymous_sign_up_and_get_a_second_device() -> None:
    devices: dict[str, set[str]] = defaultdict(set)
    anonymous: set[str] = set()
    became_known: set[str] = set()
    stays: dict[str, set[str]] = defaultdict(set)
    for event in made(3, 5000, 20):
        user = event["user"]
        device, person = user.get("device_id"), user.get("external_user_id")
        if person is None:
            anonymous.add(device)
        elif device is not None:
            devices[person].add(device)
            stays[person].add(user["user_id"])
            if device in anonymous:
                became_known.add(person)
    assert len(devices) == 20
    assert set(devices) == became_known
    assert sum(len(each) >= 2 for each in devices.values()) > 10
    assert all(len(each) == 1 for each in stays.values()), "Braze's own id of a known person stays"


def test_first_sessions_are_session_starts_too() -> None:
    events = made(4, 3000, 30)
    starts = {(e["properties"]["session_id"], e["time"]) for e in events if e["event_type"].endswith("SessionStart")}
    firsts = [(e["properties"]["session_id"], e["time"]) for e in events if e["event_type"].endswith("FirstSession")]
    assert firsts
    assert set(firsts[:-1]) <= starts


def test_values_look_like_what_they_are_and_are_there_under_their_condition() -> None:
    for event in made(8, 5000, 60):
        described = event_types()[event["event_type"]]
        properties = event["properties"]
        for name, each in described.properties.items():
            if name in properties:
                value, kind = properties[name], kinds()[each.kind]
                if isinstance(kind, str):
                    assert re.match(kind, value), (event["event_type"], name, value)
                else:
                    assert kind[0] <= value <= kind[1]
                wanted = {"float": float, "int": int, "boolean": bool, "string": str}[each.type]
                assert type(value) is wanted
            else:
                assert each.only_if is not None, (event["event_type"], name)
        assert set(properties) <= set(described.properties) | set(described.own)
        assert not ("campaign_id" in properties and "canvas_id" in properties)
        assert ("timezone" in event["user"]) == described.timezone


def test_a_quantity_is_so_many_purchases() -> None:
    purchases = [each for each in made(9, 5000, 50) if each["event_type"] == "users.behaviors.Purchase"]
    pairs = [(a, b) for a, b in itertools.pairwise(purchases) if a["properties"] == b["properties"]]
    same = [(a, b) for a, b in pairs if a["user"] == b["user"] and a["time"] == b["time"]]
    assert same
    assert all(a["id"] != b["id"] for a, b in same)
    assert not any("quantity" in each["properties"] for each in purchases)


def test_session_end_carries_its_length() -> None:
    starts: dict[str, int] = {}
    for event in made(10, 2000, 20):
        session = event["properties"].get("session_id")
        if event["event_type"].endswith("SessionStart"):
            starts[session] = event["time"]
        elif event["event_type"].endswith("SessionEnd"):
            assert abs(event["properties"]["duration"] - (event["time"] - starts[session])) <= 2.5


@pytest.mark.parametrize("type_", list(event_types()))
def test_one_event_has_every_property(type_: str) -> None:
    event = generator.one(random.Random(1), type_, NOW_MS)
    described = event_types()[type_]
    assert list(event["properties"]) == [*described.properties, *described.own]
    assert None not in event["properties"].values()
    assert unfit(event) is None
    assert event["time"] == NOW_S
    assert event["user"]["external_user_id"]
    assert event["user"]["device_id"]
    assert generator.one(random.Random(1), type_, NOW_MS) == event


def test_a_rate_spreads_events_from_now_on() -> None:
    times = [each["time"] - NOW_S for each in made(1, 10, 3, rate=2)]
    assert times == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]


def test_only_wanted_types_with_their_chains_whole() -> None:
    wanted = {"users.messages.email.MarkAsSpam", "users.behaviors.Uninstall"}
    events = made(2, 300, 5, types=wanted)
    assert len(events) == 300
    assert {each["event_type"] for each in events} == wanted
    assert made(2, 10, 5, types=set()) == []


def test_times_stay_positive_in_a_tank_at_the_beginning_of_time() -> None:
    events = generator.generate(random.Random(1), 500, 2, 5_000)
    assert all(0 <= each["time"] <= 5 for each in events)


def test_the_stages_of_people_can_be_carried_on() -> None:
    world = generator.World("w")
    generator.generate(random.Random(1), 400, 4, NOW_MS, state=world)
    later = generator.World("w")
    later.load(world.dump())
    assert later.stages == world.stages
    assert later.person(2) == world.person(2)
    more = generator.generate(random.Random(2), 300, 4, NOW_MS, state=later)
    assert {each["user"].get("external_user_id") for each in more} & {world.person(n).external_id for n in range(4)}


def test_test_events_fit_in_kind_and_mean_nothing() -> None:
    event = generator.test_event(random.Random(1), "users.messages.sms.Rejection", NOW_MS)
    text = re.compile(kinds()["uuid"])
    assert text.match(event["user"]["timezone"])
    assert all(text.match(value) for value in event["properties"].values())
