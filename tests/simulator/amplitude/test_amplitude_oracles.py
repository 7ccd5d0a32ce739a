"""Identity and user properties against naive models, written apart from the code and on another plan.

The models answer each question by looking through the whole history again; the code keeps running state.
Sources: Amplitude docs, Track unique users; Identify API.
"""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

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


VALUES = st.one_of(
    st.integers(-5, 5), st.sampled_from(["a", "b", "7"]), st.lists(st.sampled_from(["a", "b", 1]), max_size=3)
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


@settings(max_examples=2000)
@given(st.lists(st.tuples(st.sampled_from(OPERATIONS), st.sampled_from("pq"), VALUES), max_size=12))
def test_operations_agree_with_the_table(steps: list[tuple[str, str, Any]]) -> None:
    real: dict[str, Any] = {}
    model: dict[str, Any] = {}
    for operation, name, value in steps:
        real = apply(real, {operation: {name: value}})
        after = naive(model.get(name), operation, value)
        if after is None:
            model.pop(name, None)
        else:
            model[name] = after
    assert real == model
