"""Identity and user properties against naive models, written apart from the code and on another plan.

The models answer each question by looking through the whole history again; the code keeps running state.
Sources: Amplitude docs, Track unique users; Identify API.
"""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.amplitude import state
from simulator.amplitude.identity import People, assign
from simulator.amplitude.properties import apply

Step = tuple[str, str | None]


def naive_ids(history: list[Step]) -> tuple[list[str], list[tuple[str, str]]]:
    """Whose id each event gets, as a name, and which names were merged into which.

    A name is the event that made the id: ``#0`` for the first event of the history.
    """
    names: list[str] = []
    merges: list[tuple[str, str]] = []
    for position, (device, user) in enumerate(history):
        before = list(zip(history[:position], names, strict=True))
        users_here = [name for (d, u), name in before if d == device and u is not None]
        anonymous = [name for (d, u), name in before if d == device and u is None]
        mine = [name for (_, u), name in before if u == user and user is not None]
        nobody_yet = not users_here
        if user is None:
            if users_here:
                names.append(users_here[-1])
            else:
                names.append(anonymous[-1] if anonymous else f"#{position}")
        elif mine:
            names.append(mine[-1])
            if nobody_yet and anonymous:
                merges.append((anonymous[-1], mine[-1]))
        elif nobody_yet and anonymous:
            names.append(anonymous[-1])
        else:
            names.append(f"#{position}")
    return names, merges


@settings(max_examples=2000)
@given(st.lists(st.tuples(st.sampled_from("ABCD"), st.sampled_from([None, None, "x", "y", "z"])), max_size=30))
def test_identity_agrees_with_the_history(history: list[Step]) -> None:
    people, ids = People(), itertools.count()
    found = [assign(people, device, user, ids) for device, user in history]
    names, merges = naive_ids(history)
    numbered: dict[str, int] = {}
    for name, number in zip(names, found, strict=True):
        assert numbered.setdefault(name, number) == number
    assert len(set(numbered.values())) == len(numbered)
    assert people.merges == [(numbered[gone], numbered[now]) for gone, now in merges]


@pytest.mark.parametrize("part", range(10))
def test_stored_identity_agrees_with_the_history(make_project: Any, part: int) -> None:
    """Ten times 200 sequences, mixed with each other in uploads of any size; some events name a user only.

    A device id that is derived from a user id is that user's alone, so the history holds a device of its own for it.
    """
    rng = Random(part)
    project = make_project(limits="batch")
    histories: dict[int, list[Step]] = {n: [] for n in range(200)}
    pending: list[tuple[int, Step]] = []
    for n in histories:
        for _ in range(rng.randint(1, 25)):
            user = rng.choice([None, None, "x", "y", "z"])
            device = rng.choice("ABCD") if user is None or rng.random() < 0.8 else f"of {user}"
            pending.append((n, (device, user)))
    rng.shuffle(pending)
    while pending:
        size = rng.choice([1, 7, 300, 1000])
        sent, pending = pending[:size], pending[size:]
        events = []
        for n, (device, user) in sent:
            histories[n].append((device, user))
            event = {"event_type": "a", "event_properties": {"n": n}}
            events.append(event if user is None else {**event, "user_id": f"user-{n}-{user}"})
            if not device.startswith("of"):
                events[-1]["device_id"] = f"device-{n}-{device}"
        project.at(10**8 - len(pending) * 1000)
        assert project.post(events, "/batch").status_code == 200
    found: dict[int, list[int]] = {n: [] for n in histories}
    for event in project.events():
        found[event["event"]["event_properties"]["n"]].append(event["amplitude_id"])
    expected: set[tuple[int, int]] = set()
    everybody: list[int] = []
    for n, history in histories.items():
        names, merges = naive_ids(history)
        numbered: dict[str, int] = {}
        for name, number in zip(names, found[n], strict=True):
            assert numbered.setdefault(name, number) == number
        everybody += numbered.values()
        expected.update((numbered[gone], numbered[now]) for gone, now in merges)
    assert len(set(everybody)) == len(everybody)
    with project.tank.store.read() as conn:
        stored = state.merges(conn)["merges"]
    assert {(each["amplitude_id"], each["merged_amplitude_id"]) for each in stored} == expected
    assert len(stored) == len(expected) > 0


VALUES = st.one_of(
    st.integers(-5, 5),
    st.sampled_from(["a", "b", "7", "x" * 400]),
    st.lists(st.sampled_from(["a", "b", 1, "x" * 400, "y" * 700]), max_size=4),
)
OPERATIONS = ("$set", "$setOnce", "$add", "$append", "$prepend", "$preInsert", "$postInsert", "$remove", "$unset")


def naive(current: Any, operation: str, value: Any) -> Any:
    """One operation on one property; ``None`` is no property."""
    values = value if isinstance(value, list) else [value]
    held = [] if current is None else current if isinstance(current, list) else [current]
    new = [v for i, v in enumerate(values) if v not in held and v not in values[:i]]
    if operation == "$add":
        try:
            amount = value if isinstance(value, int) else int(value)
            base = 0 if current is None else current if isinstance(current, int) else int(current)
        except (TypeError, ValueError):
            return current
        return base + amount
    return {
        "$set": value,
        "$setOnce": value if current is None else current,
        "$append": held + values,
        "$prepend": values + held,
        "$preInsert": new + held,
        "$postInsert": held + new,
        "$remove": None if current is None else [v for v in held if v not in values],
        "$unset": None,
    }[operation]


def held_to(values: Any, most: int) -> Any:
    """An array ends before the value with which its texts would pass ``most`` characters."""
    if not isinstance(values, list):
        return values
    ends = itertools.accumulate(len(str(each)) for each in values)
    return [each for each, end in zip(values, ends, strict=True) if end <= most]


def naive_object(current: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A whole object: plain keys, or operations of which a property obeys one."""
    ordered = ["$unset", "$set", "$setOnce", "$add", "$append", "$prepend", "$preInsert", "$postInsert", "$remove"]
    if not any(name.startswith("$") for name in given):
        given = {"$set": given}
    before = {} if "$clearAll" in given else current
    after = dict(before)
    for name in {key for operation in ordered for key in given.get(operation, {})}:
        operation = next(each for each in ordered if name in given.get(each, {}))
        value = naive(before.get(name), operation, given[operation][name])
        grows = operation in ("$append", "$prepend", "$preInsert", "$postInsert")
        if operation != "$remove" and value != before.get(name):
            value = held_to(value, 10_000 if grows and name in before else 1024)
        after[name] = value
    return {name: value for name, value in after.items() if value is not None}


PROPERTIES = st.dictionaries(st.sampled_from("pqr"), VALUES, min_size=1, max_size=3)
OBJECTS = st.one_of(
    PROPERTIES,
    st.dictionaries(st.sampled_from(OPERATIONS), PROPERTIES, min_size=1, max_size=3),
    st.fixed_dictionaries({"$clearAll": st.just("-")}),
    # Plain keys beside operations are passed over.
    st.tuples(st.sampled_from(OPERATIONS), PROPERTIES, PROPERTIES).map(lambda each: {each[0]: each[1], **each[2]}),
)


@settings(max_examples=2500)
@given(st.lists(OBJECTS, max_size=12))
def test_operations_agree_with_the_table(steps: list[dict[str, Any]]) -> None:
    real: dict[str, Any] = {}
    model: dict[str, Any] = {}
    for given_ in steps:
        real, model = apply(real, given_), naive_object(model, given_)
        assert real == model


def test_sums_stay_within_json() -> None:
    """A sum beyond 64 bits becomes a float; one beyond every float leaves the property as it was."""
    held = apply(apply({}, {"$add": {"n": 2**63 - 1}}), {"$add": {"n": 2**63 - 1}})
    held = apply(held, {"$add": {"n": "1" + "0" * 20}})
    assert held == {"n": float(2**64 - 2 + 10**20)}
    for value in ("nan", "inf", "1e400", "1" + "0" * 400):
        assert apply({"n": 1}, {"$add": {"n": value}}) == {"n": 1}
    assert apply({"n": 1.7e308}, {"$add": {"n": 1.7e308}}) == {"n": 1.7e308}
