"""Custom attributes: types, arrays, nested objects, increments, dates. Source: Braze docs, Custom attributes; Nested
custom attributes; Array of objects."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.braze import dates, profile_store
from simulator.braze.attributes import REMOVED, Rules, change

PETS = [{"id": 1, "name": "Gus"}, {"id": 2, "name": "Gus"}, {"id": 3, "name": "Bo"}]


def written(old: Any, new: Any, merge: bool = False, **rules: Any) -> Any:
    done = change("x", old, new, merge, Rules(**rules))
    return done.value if done.applied else old


@pytest.mark.parametrize(
    ("old", "new", "after"),
    [
        (None, True, True),
        (None, 5, 5),
        (None, 1.5, 1.5),
        (1, "text", "text"),
        (1, "", ""),
        (None, {"inc": 3}, 3),
        (4, {"inc": -6}, -2),
        (4, {"inc": 1.5}, 4),
        ("text", {"inc": 1}, "text"),
        (None, "x" * 300, "x" * 255),
    ],
)
def test_scalars(old: Any, new: Any, after: Any) -> None:
    assert written(old, new) == after


def test_null_removes() -> None:
    assert change("x", 5, None, False, Rules()).value is REMOVED


def test_texts_that_are_too_long_may_be_dropped() -> None:
    assert written("old", "x" * 256, truncate=False) == "old"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-09-15", "2026-09-15T00:00:00.000Z"),
        ("2026-09-15T10:20:30", "2026-09-15T10:20:30.000Z"),
        ("2026-09-15 10:20:30", "2026-09-15T10:20:30.000Z"),
        ("2026-09-15T10:20:30:123Z", "2026-09-15T10:20:30.123Z"),
        ("2026-09-15T10:20:30.123+02:00", "2026-09-15T08:20:30.123Z"),
        ("2026-09-15T10:20:30 Nowhere", "2026-09-15T10:20:30.000Z"),
        ("2019-02-15 00:00:00 -0500", "2019-02-15T05:00:00.000Z"),
        ("09/15/2026", "2026-09-15T00:00:00.000Z"),
        ("Tue 09 15 10:20:30.UTC 2026", "2026-09-15T10:20:30.000Z"),
    ],
)
def test_texts_that_look_like_dates_become_dates(text: str, shown: str) -> None:
    assert written(None, text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Mar 26 2026 06:12 PM",
        "3001-01-01",
        "2026-13-01",
        "2026-09",
        "20260915",
        "15/09/2026",
        "2026-09-15x",
        "0000-01-01",
    ],
)
def test_other_texts_stay_texts(text: str) -> None:
    assert dates.parse(text) is None
    assert written(None, text) == text


@pytest.mark.parametrize(
    ("forced", "new", "after"),
    [
        ("Boolean", "T", True),
        ("Boolean", 0, False),
        ("Boolean", "yes", "old"),
        ("Number", "12", 12),
        ("Number", "1.5", 1.5),
        ("Number", "a", "old"),
        ("String", 12, "12"),
        ("String", "2026-01-01", "2026-01-01"),
        ("String", ["a"], "old"),
        ("Boolean", [True], "old"),
        ("Number", {"n": 1}, "old"),
        ("Time", {"$time": "2026-01-01"}, "2026-01-01T00:00:00.000Z"),
    ],
)
def test_forced_types_coerce_or_ignore(forced: str, new: Any, after: Any) -> None:
    assert written("old", new, forced={"x": forced}) == after


# -- arrays


@pytest.mark.parametrize(
    ("old", "new", "after"),
    [
        (None, ["a", "b", "a"], ["b", "a"]),
        (["a"], ["b"], ["b"]),
        (["a", "b"], {"add": ["a"]}, ["b", "a"]),
        (["a", "b"], {"remove": ["a", "z"]}, ["b"]),
        (["a"], {"add": ["b"], "remove": ["a"]}, ["b"]),
        ([1, "1", True], {"remove": [1]}, ["1", True]),
        (None, {"add": ["a"]}, ["a"]),
        (list(range(500)), {"add": [500, 501]}, list(range(2, 502))),
        (["a"], [["nested"]], ["a"]),
        (["a"], {"add": [None]}, ["a"]),
    ],
)
def test_arrays(old: Any, new: Any, after: Any) -> None:
    assert written(old, new) == after


# -- nested objects


def test_nested_objects_replace_unless_they_are_merged() -> None:
    old = {"a": 1, "deep": {"b": 2, "c": 3}}
    assert written(old, {"deep": {"c": 4}}) == {"deep": {"c": 4}}
    assert written(old, {"deep": {"c": 4}, "d": 5}, merge=True) == {"a": 1, "deep": {"b": 2, "c": 4}, "d": 5}
    assert written("text", {"d": 5}, merge=True) == {"d": 5}


def test_nested_dates_need_time() -> None:
    given = {"when": {"$time": "2026-09-15"}, "text": "2026-09-15"}
    assert written(None, given) == {"when": "2026-09-15T00:00:00.000Z", "text": "2026-09-15"}


@pytest.mark.parametrize(
    "bad",
    [
        {"a": 1, "when": {"$time": "soon"}},
        {"a": 1, "when": {"$time": None}},
        {"a": None},
        {"a.b": 1},
        {"$a": 1},
        {"a b": 1},
        {"a": "x" * 256},
        {"x" * 256: 1},
        {"a": ["x" * 250] * 500},
        [{"a": None}],
    ],
)
def test_anything_invalid_drops_the_whole_nested_write(bad: Any) -> None:
    assert written({"old": 1}, bad) == {"old": 1}


# -- arrays of objects


def test_operations_run_add_remove_update_whatever_their_order() -> None:
    given = {
        "$update": [{"$identifier_key": "id", "$identifier_value": 4, "$new_object": {"age": 2}}],
        "$remove": [{"$identifier_key": "name", "$identifier_value": "Gus"}],
        "$add": [{"id": 4, "name": "Max"}],
    }
    assert written(PETS, given, merge=True) == [{"id": 3, "name": "Bo"}, {"id": 4, "name": "Max", "age": 2}]
    assert written(PETS, given) == [{"id": 3, "name": "Bo"}, {"age": 2}]


def test_remove_takes_every_match_and_tells_types_apart() -> None:
    assert written(PETS, {"$remove": [{"$identifier_key": "id", "$identifier_value": "1"}]}) == PETS
    assert written([{"id": 1}, {"id": True}], {"$remove": [{"$identifier_key": "id", "$identifier_value": 1}]}) == [
        {"id": True}
    ]


def test_bad_operations_change_nothing() -> None:
    for bad in (
        {"$add": [5]},
        {"$add": [{"id": None}]},
        {"$remove": [{"$identifier_key": "id"}]},
        {"$update": [{"$identifier_key": "id", "$identifier_value": 1}]},
        {"$add": {"id": 9}},
    ):
        assert written(PETS, bad) == PETS


def test_beyond_100_kb_the_write_is_dropped_though_the_call_succeeds(workspace: Any) -> None:
    big = [{"id": n, "text": "x" * 250} for n in range(400)]
    workspace.attributes({"external_id": "a", "pets": PETS})
    answer = workspace.attributes({"external_id": "a", "pets": {"$add": big}, "other": 1})
    assert answer.json == {"attributes_processed": 1, "message": "success"}
    assert workspace.person("a")["custom_attributes"] == {"pets": PETS, "other": 1}


# -- over the API


def test_names_are_trimmed_and_case_sensitive(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", " plan ": 1, "Plan": 2})
    assert workspace.person("a")["custom_attributes"] == {"plan": 1, "Plan": 2}
    assert workspace.attributes({"external_id": "a", "x" * 256: 1}).status_code == 400


def test_merge_objects_is_said_beside_the_attributes(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "home": {"city": "Oslo", "zip": 1}})
    workspace.attributes({"external_id": "a", "_merge_objects": True, "home": {"zip": 2}})
    assert workspace.person("a")["custom_attributes"] == {"home": {"city": "Oslo", "zip": 2}}


def test_exports_show_dates_and_leave_missing_values_out(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "d": "2026-09-15", "gone": 1}, {"external_id": "a", "gone": None})
    (user,) = workspace.export(["custom_attributes", "email", "external_id"], external_ids=["a"])["users"]
    assert user == {"custom_attributes": {"d": "2026-09-15T00:00:00.000Z"}, "external_id": "a"}


def test_the_type_first_seen_is_noted(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "n": 1, "s": "x", "d": "2026-01-01", "b": True, "l": [1], "o": {"k": 1}})
    workspace.attributes({"external_id": "a", "n": "text"})
    with workspace.tank.store.read() as conn:
        types = {each["name"]: each["type"] for each in profile_store.listed_names(conn)}
    assert types == {"n": "Number", "s": "String", "d": "Time", "b": "Boolean", "l": "Array", "o": "Object"}
