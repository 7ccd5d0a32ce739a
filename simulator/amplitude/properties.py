"""User and group property operations on plain dictionaries.

Source: Amplitude docs, Identify API and HTTP V2 API, User property operations.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

ORDER = (
    "$clearAll",
    "$unset",
    "$set",
    "$setOnce",
    "$add",
    "$append",
    "$prepend",
    "$preInsert",
    "$postInsert",
    "$remove",
)
MAX_APPENDED = 10_000
"""Characters that an array may reach in all by appending."""
MAX_INITIAL = 1024
"""Characters that an array may hold in all when it is first given."""


def apply(current: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The properties after ``given``, a plain object or operations.

    Where operations and plain keys are mixed the operations count; a property named by several operations obeys
    the first in :data:`ORDER`. What cannot be done (``$add`` to text) leaves the property as it was.
    """
    operations = {name: given[name] for name in ORDER if name in given}
    if not operations:
        return {**current, **{key: _initial(value) for key, value in given.items()}}
    result = dict(current)
    if "$clearAll" in operations:
        result = {}
    taken: set[str] = set()
    for name, values in operations.items():
        if name == "$clearAll" or not isinstance(values, Mapping):
            continue
        for key, value in values.items():
            if key not in taken:
                taken.add(key)
                _one(result, name, key, value)
    return result


def _one(result: dict[str, Any], operation: str, key: str, value: Any) -> None:
    if operation == "$unset":
        result.pop(key, None)
    elif operation == "$set":
        result[key] = _initial(value)
    elif operation == "$setOnce":
        result.setdefault(key, _initial(value))
    elif operation == "$add":
        amount, base = _number(value), _number(result.get(key, 0))
        total = None if amount is None or base is None else _storable(base + amount)
        if total is not None:
            result[key] = total
    else:
        _list(result, operation, key, value if isinstance(value, list) else [value])


def _list(result: dict[str, Any], operation: str, key: str, values: list[Any]) -> None:
    if operation == "$remove":
        if key in result:
            held = result[key] if isinstance(result[key], list) else [result[key]]
            result[key] = [each for each in held if each not in values]
        return
    known = key in result
    held = result.get(key, [])
    held = list(held) if isinstance(held, list) else [held]
    if operation in ("$preInsert", "$postInsert"):
        fresh: list[Any] = []
        for each in values:
            if each not in held and each not in fresh:
                fresh.append(each)
        values = fresh
    joined = values + held if operation in ("$prepend", "$preInsert") else held + values
    result[key] = _fitting(joined, MAX_APPENDED if known else MAX_INITIAL)


def _initial(value: Any) -> Any:
    return _fitting(value, MAX_INITIAL) if isinstance(value, list) else value


def _fitting(values: list[Any], most: int) -> list[Any]:
    """The leading values whose texts fit into ``most`` characters together."""
    total = 0
    for position, each in enumerate(values):
        total += len(each) if isinstance(each, str) else len(str(each))
        if total > most:
            return values[:position]
    return values


def merged(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of two Amplitude IDs that became one: values of the newer id overwrite the older one's.

    Source: Amplitude docs, Track unique users, Merged users.
    """
    return {**older, **newer}


def _storable(number: int | float) -> int | float | None:
    """A sum as JSON can hold it: beyond 64 bits as a float, None when it is no finite number."""
    if isinstance(number, int) and -(2**63) <= number < 2**64:
        return number
    return float(number) if abs(number) <= sys.float_info.max else None


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            return int(value) if value.isascii() and value.lstrip("-").isdigit() else float(value)
        except ValueError:
            return None
    return None
