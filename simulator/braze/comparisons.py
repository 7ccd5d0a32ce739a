"""Comparisons of segment filters with one stored value, as SQL. Source: Braze docs, Connected audience object."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, literal, not_, or_, select

from simulator.braze import dates
from simulator.dialect import as_number, glob, json_members, matches

DAY_MS = 86_400_000
_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z"
_DAY = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
_FIRST_MS = -62_135_596_800_000  # year 1: no stored date is earlier
_LAST_MS = 32_535_215_999_999  # year 3000: no stored date is later

Condition = ColumnElement[bool]
Test = Callable[[ColumnElement[Any], ColumnElement[Any]], Condition]
"""A test of one value: its JSON type and the value itself."""


_NESTED_REPEAT = re.compile(r"\([^)]*[+*}][^)]*\)[+*{]")
MAX_PATTERN = 256


def is_pattern(value: Any) -> bool:
    """Whether this is a regular expression that ends: a repeat within a repeat can take a matcher forever."""
    if not isinstance(value, str) or len(value) > MAX_PATTERN or _NESTED_REPEAT.search(value):
        return False
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


class Invalid(ValueError):
    """The definition does not fit; the text says where and why."""


@dataclass(frozen=True)
class Sight:
    """When a segment is looked at, and whether a negation holds for somebody who has no value at all."""

    now_ms: int
    negation_holds: bool = True


def exists(_type: ColumnElement[Any], _value: ColumnElement[Any]) -> Condition:
    return literal(1) == 1


_NEGATIONS = {
    "not_equal": "equals",
    "does_not_equal": "equals",
    "does_not_match_regex": "matches_regex",
    "does_not_include_value": "includes_value",
    "does_not_exist": "exists",
}
ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "equals": operator.eq,
    "not_equal": operator.ne,
    "greater_than": operator.gt,
    "greater_than_or_equal_to": operator.ge,
    "less_than": operator.lt,
    "less_than_or_equal_to": operator.le,
    "more_than": operator.gt,
    "exactly": operator.eq,
}


def compared(given: Mapping[str, Any], sight: Sight, holds: Callable[[Test], Condition]) -> Condition:
    """``holds`` of the comparison's test, or its negation."""
    comparison = given["comparison"]
    positive = _NEGATIONS.get(comparison)
    if positive is None:
        return holds(_test(comparison, given.get("value"), sight))
    negated = not_(holds(_test(positive, given.get("value"), sight)))
    return negated if sight.negation_holds or positive == "exists" else and_(holds(exists), negated)


def _test(comparison: str, value: Any, sight: Sight) -> Test:
    if comparison == "exists":
        return exists
    if comparison == "equals":
        return equals(value)
    if comparison == "matches_regex":
        if not is_pattern(value):
            raise Invalid(f"definition: {value[:100]!r} cannot be used as a regular expression")
        return lambda type_, held: and_(type_ == "text", matches(cast(held, String), value))
    if comparison == "includes_value":
        return _includes(value)
    if comparison in ORDERS:
        return lambda type_, held: and_(type_.in_(("integer", "real")), ORDERS[comparison](as_number(held), value))
    low, high = span(comparison, value, sight.now_ms)
    return lambda type_, held: and_(
        type_ == "text",
        or_(glob(_DATE, cast(held, String)), glob(_DAY, cast(held, String))),
        cast(held, String) > dates.shown(low),
        cast(held, String) < dates.shown(high),
    )


def equals(value: Any) -> Test:
    if isinstance(value, bool):
        return lambda type_, _held: type_ == ("true" if value else "false")
    if isinstance(value, str):
        return lambda type_, held: and_(type_ == "text", cast(held, String) == value)
    return lambda type_, held: and_(type_.in_(("integer", "real")), as_number(held) == value)


def _includes(value: Any) -> Test:
    def test(type_: ColumnElement[Any], held: ColumnElement[Any]) -> Condition:
        inside = case((type_ == "array", held), else_="[]")
        item = json_members(inside, name="item")
        found = select(literal(1)).select_from(item).where(equals(value)(item.c.type, item.c.value))
        return found.correlate_except(item).exists()

    return test


def span(comparison: str, value: Any, now_ms: int) -> tuple[int, int]:
    """The open interval of instants in ms that a time comparison takes: a date, or so many days from now."""
    if comparison in ("before", "after"):
        at_ms = dates.parse(value)
        if at_ms is None:
            raise Invalid(f"definition: {value!r} is no date")
        return (_FIRST_MS, at_ms) if comparison == "before" else (at_ms, _LAST_MS + 1)
    days_ms = value * DAY_MS
    low, high = {
        "less_than_x_days_ago": (now_ms - days_ms, now_ms + 1),
        "greater_than_x_days_ago": (_FIRST_MS, now_ms - days_ms),
        "less_than_x_days_in_the_future": (now_ms, now_ms + days_ms),
        "greater_than_x_days_in_the_future": (now_ms + days_ms, _LAST_MS + 1),
    }[comparison]
    return max(low, _FIRST_MS), min(max(high, _FIRST_MS), _LAST_MS + 1)
