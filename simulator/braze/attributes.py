"""What a write does to one custom attribute: plain functions over its value, no store, no clock.

Source: Braze docs, Custom attributes; Nested custom attributes; Array of objects; Data points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator.braze import dates

MAX_TEXT = 255
MAX_ELEMENTS = 500
MAX_NESTED_BYTES = 102_400
_MAX_INTEGER = 2**63
_OBJECT_OPERATIONS = {"$add", "$remove", "$update"}
_MISSING: Any = object()
REMOVED: Any = object()
"""The attribute is gone after the write."""


@dataclass(frozen=True)
class Rules:
    """What a workspace decides about attributes.

    ``forced`` is the type that the dashboard forces, by name; ``truncate`` cuts texts that are too long, otherwise
    the write of such a text is dropped.
    """

    forced: Mapping[str, str] = field(default_factory=dict)
    truncate: bool = True


@dataclass(frozen=True)
class Change:
    """``value``: the attribute after the write, or :data:`REMOVED`; ``applied`` False leaves it as it was.
    ``points`` is what the write costs, applied or not."""

    value: Any
    points: int
    applied: bool = True


def change(name: str, old: Any, new: Any, merge: bool, rules: Rules) -> Change:
    """The attribute ``name`` after a write of ``new``.

    :param old: its value before, None when it is not there.
    :param merge: ``_merge_objects`` of the attribute object.
    """
    if new is None:
        return Change(REMOVED, 1)
    forced = rules.forced.get(name)
    if forced is not None and not _is_of(forced, new):
        new = _coerced(forced, new)
        return Change(old, 0, applied=False) if new is None else Change(new, 1)
    if isinstance(new, dict):
        return _object(old, new, merge)
    if isinstance(new, list):
        return _list(new)
    if isinstance(new, str):
        return _text(old, new, rules.truncate)
    return Change(new, 1)


def kind(value: Any) -> str:
    """The type that Braze detects for a stored value."""
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, int | float):
        return "Number"
    if isinstance(value, str):
        return "Time" if is_date(value) else "String"
    if isinstance(value, list):
        return "Object Array" if any(isinstance(each, dict) for each in value) else "Array"
    return "Object"


def is_date(value: Any) -> bool:
    """Whether a stored value is a date: those are kept in the one form that exports show."""
    return isinstance(value, str) and len(value) == 24 and value[-1] == "Z" and dates.parse(value) is not None


def _text(old: Any, new: str, truncate: bool) -> Change:
    at_ms = dates.parse(new)
    if at_ms is not None:
        return Change(dates.shown(at_ms), 1)
    if len(new) > MAX_TEXT:
        return Change(new[:MAX_TEXT], 1) if truncate else Change(old, 0, applied=False)
    return Change(new, 1)


def _is_of(forced: str, new: Any) -> bool:
    """Whether a list or an object is a write of the forced type; everything else has to be coerced."""
    if isinstance(new, list):
        return forced in ("Array", "Object Array")
    if not isinstance(new, dict):
        return False
    if set(new) == {"inc"}:
        return forced == "Number"
    if set(new) == {"$time"}:
        return forced == "Time"
    return forced in ("Array", "Object Array", "Object")


def _coerced(forced: str, value: Any) -> Any:
    if forced == "Boolean":
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        return True if word in ("1", "true", "t") else False if word in ("0", "false", "f") else None
    if forced == "Number":
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.\d{1,18})?", value):
            return float(value) if "." in value else int(value)
        return None
    if forced == "String":
        if isinstance(value, str):
            return value[:MAX_TEXT]
        return None if isinstance(value, bool | list | dict) else str(value)
    if forced == "Time" and isinstance(value, str):
        at_ms = dates.parse(value)
        return None if at_ms is None else dates.shown(at_ms)
    return None


# -- objects as values


def _object(old: Any, new: Mapping[str, Any], merge: bool) -> Change:
    names = set(new)
    if names == {"inc"}:
        return _increment(old, new["inc"])
    if names and names <= {"add", "remove"} and all(isinstance(each, list) for each in new.values()):
        return _array(old, new.get("add", []), new.get("remove", []))
    if names and names <= _OBJECT_OPERATIONS:
        return _object_array(old, new, merge)
    value = nested(new)
    if value is None:
        return Change(old, 0, applied=False)
    if "$time" in new:
        return Change(value, 1)
    merged = _deep(old, value) if merge and isinstance(old, dict) else value
    return _sized(old, merged, _leaves(value))


def _increment(old: Any, by: Any) -> Change:
    fits = isinstance(by, int) and not isinstance(by, bool)
    known = old is None or (isinstance(old, int | float) and not isinstance(old, bool))
    if not fits or not known:
        return Change(old, 0, applied=False)
    value = (old or 0) + by
    return Change(value, 1) if abs(value) < _MAX_INTEGER else Change(old, 0, applied=False)


def nested(value: Any) -> Any:
    """A nested value as it is stored, None when anything in it is not valid: then all of it is dropped."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else None
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, list):
        items = [nested(each) for each in value]
        return None if any(each is None for each in items) else items
    if not isinstance(value, dict):
        return None
    if set(value) == {"$time"}:
        at_ms = dates.parse(value["$time"]) if isinstance(value["$time"], str) else None
        return None if at_ms is None else dates.shown(at_ms)
    found = {}
    for key, each in value.items():
        one = nested(each)
        if one is None or not key or len(key) > MAX_TEXT or any(c in key for c in ".$ "):
            return None
        found[key] = one
    return found


def _deep(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = _deep(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _leaves(value: Any) -> int:
    """Keys written: every leaf of a nested object is one."""
    if isinstance(value, dict):
        return max(1, sum(_leaves(each) for each in value.values()))
    return 1


def _sized(old: Any, value: Any, points: int) -> Change:
    if len(orjson.dumps(value)) > MAX_NESTED_BYTES:
        return Change(old, 0, applied=False)
    return Change(value, points)


# -- arrays


def _list(new: list[Any]) -> Change:
    if any(isinstance(each, dict) for each in new):
        value = nested(new)
        if value is None:
            return Change(REMOVED, 0, applied=False)
        return _sized(REMOVED, value, sum(_leaves(each) for each in value))
    if not _scalars(new):
        return Change(REMOVED, 0, applied=False)
    return _sized(REMOVED, _united([], new), 1)


def _scalars(values: list[Any]) -> bool:
    return all(isinstance(each, str | int | float) for each in values)


def _same(value: Any) -> bytes:
    return orjson.dumps(value)  # tells 1 from true


def _united(old: list[Any], add: list[Any]) -> list[Any]:
    """Elements are unique, a repeated one goes to the end; beyond the most, the oldest leave."""
    found = {_same(each): each for each in old}
    for each in add:
        key = _same(each)
        found.pop(key, None)
        found[key] = each[:MAX_TEXT] if isinstance(each, str) else each
    return list(found.values())[-MAX_ELEMENTS:]


def _array(old: Any, add: list[Any], remove: list[Any]) -> Change:
    if not _scalars(add) or not _scalars(remove):
        return Change(old, 0, applied=False)
    united = _united(old if isinstance(old, list) else [], add)
    gone = {_same(each) for each in remove}
    kept = [each for each in united if _same(each) not in gone]
    return _sized(old, kept, max(1, len(add) + len(remove)))


def _object_array(old: Any, new: Mapping[str, Any], merge: bool) -> Change:
    """$add, then $remove, then $update, whatever their order in the request."""
    parts = {name: new.get(name, []) for name in ("$add", "$remove", "$update")}
    if not all(isinstance(each, list) and all(isinstance(one, dict) for one in each) for each in parts.values()):
        return Change(old, 0, applied=False)
    items = [dict(each) if isinstance(each, dict) else each for each in (old if isinstance(old, list) else [])]
    added = nested(parts["$add"])
    if added is None:
        return Change(old, 0, applied=False)
    items += added
    points = sum(_leaves(each) for each in added)
    for each in parts["$remove"]:
        if not {"$identifier_key", "$identifier_value"} <= set(each):
            return Change(old, 0, applied=False)
        items = [item for item in items if not _matches(item, each)]
        points += 1
    for each in parts["$update"]:
        value = nested(each.get("$new_object"))
        if not isinstance(value, dict) or not {"$identifier_key", "$identifier_value"} <= set(each):
            return Change(old, 0, applied=False)
        for index, item in enumerate(items):
            if _matches(item, each):
                items[index] = _deep(item, value) if merge else value
        points += _leaves(value)
    return _sized(old, items, max(1, points))


def _matches(item: Any, criterion: Mapping[str, Any]) -> bool:
    if not isinstance(item, dict):
        return False
    value = item.get(criterion["$identifier_key"], _MISSING)
    return value is not _MISSING and _same(value) == _same(criterion["$identifier_value"])
