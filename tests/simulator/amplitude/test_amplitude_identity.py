"""Who an event belongs to. Source: Amplitude docs, Track unique users (its worked sequence)."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulator.amplitude.identity import People, assign


def test_the_documented_sequence() -> None:
    people, ids = People(), iter(["four", "six", "seven", "eight", "nine"])
    sequence = [
        ("G", None, "four"), ("G", "John", "four"), ("R", "Jane", "six"), ("R", None, "six"), ("R", "Mary", "seven"),
        ("R", None, "seven"), ("Y", "David", "eight"), ("Z", None, "nine"), ("Z", "David", "eight"),
        ("Z", None, "eight"),
    ]  # fmt: skip
    found = [assign(people, device, user, ids) for device, user, _ in sequence]  # type: ignore[arg-type]
    assert found == [expected for _, _, expected in sequence]
    assert people.merges == [("nine", "eight")]


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from([None, "x", "y", "z"])), max_size=40))
def test_users_have_one_id_each_and_never_share_it(steps: list[tuple[str, str | None]]) -> None:
    people, ids = People(), itertools.count(1)
    for device, user in steps:
        found = assign(people, device, user, ids)
        if user is not None:
            assert people.users[user] == found
    assert len(set(people.users.values())) == len(people.users)
    gone = [gone for gone, _ in people.merges]
    assert len(set(gone)) == len(gone)
    assert not set(gone) & set(people.users.values())


def test_merges_are_visible_and_rows_stay(tank: Any) -> None:
    tank.upload([{"device_id": "device-z", "event_type": "a"}])
    tank.upload([{"device_id": "device-y", "user_id": "david", "event_type": "a"}])
    tank.upload([{"device_id": "device-z", "user_id": "david", "event_type": "a"}])
    anonymous, known, later = (event["amplitude_id"] for event in tank.events())
    assert anonymous != known == later
    merges = tank.control("GET", "/amplitude/merges").json()["merges"]
    assert [(m["amplitude_id"], m["merged_amplitude_id"]) for m in merges] == [(anonymous, known)]
    person = tank.control("GET", "/amplitude/users").json()["users"][0]
    assert (person["user_id"], person["merged_amplitude_ids"]) == ("david", [anonymous])
    assert tank.events()[0]["amplitude_id"] == anonymous


def test_device_ids_are_derived_and_stable(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "a"}])
    tank.upload([{"user_id": "person-1", "event_type": "a"}, {"user_id": "person-2", "event_type": "a"}])
    first, second, other = (event["device_id"] for event in tank.events())
    assert first == second != other
    assert first[14] == "5"  # the shape of a version 5 UUID
