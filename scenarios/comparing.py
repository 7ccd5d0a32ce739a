"""Comparing what a scenario expects with what came: strict about JSON types, generous about nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import orjson

_ABSENT = object()


def same(expected: Any, received: Any) -> bool:
    """JSON equality: true is not 1, "1" is not 1, 1.0 is 1."""
    if isinstance(expected, bool) or isinstance(received, bool):
        return expected is received
    if isinstance(expected, int | float) and isinstance(received, int | float):
        return expected == received
    if isinstance(expected, Mapping) and isinstance(received, Mapping):
        return expected.keys() == received.keys() and all(same(expected[k], received[k]) for k in expected)
    if isinstance(expected, list) and isinstance(received, list):
        return len(expected) == len(received) and all(map(same, expected, received))
    return type(expected) is type(received) and bool(expected == received)


def holds(expected: Any, received: Any) -> bool:
    """Whether ``received`` has everything that ``expected`` names; mappings are compared member by member.

    ``{"$matches": regex}`` fits any text that the whole expression matches, ``{"$not": value}`` anything else than it,
    ``{"$at_least": n}`` any number from n on, ``{"$any": [value, …]}`` what fits one of these.
    """
    if isinstance(expected, Mapping) and set(expected) == {"$any"}:
        return any(holds(each, received) for each in expected["$any"])
    if isinstance(expected, Mapping) and set(expected) == {"$not"}:
        return not holds(expected["$not"], received)
    if isinstance(expected, Mapping) and set(expected) == {"$at_least"}:
        return isinstance(received, int | float) and received >= expected["$at_least"]
    if isinstance(expected, Mapping) and set(expected) == {"$matches"}:
        return isinstance(received, str) and re.fullmatch(expected["$matches"], received) is not None
    if isinstance(expected, Mapping) and isinstance(received, Mapping):
        return all(k in received and holds(expected[k], received[k]) for k in expected)
    return same(expected, received)


def find(value: Any, path: str) -> Any:
    """The member at a dotted path (``a.0.b``: of the first element), :func:`missing` when there is none."""
    for part in path.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return _ABSENT
    return value


def missing(value: Any) -> bool:
    """Whether :func:`find` found nothing."""
    return value is _ABSENT


def narrowed(expected: Any, received: Any) -> Any:
    """Of ``received``, what ``expected`` speaks of, so that a difference is easy to see."""
    if (
        isinstance(expected, Mapping)
        and isinstance(received, Mapping)
        and not expected.keys() & {"$matches", "$not", "$at_least", "$any"}
    ):
        return {k: narrowed(expected[k], received[k]) for k in expected if k in received}
    return received


def diff(expected: Any, received: Any) -> list[str]:
    """A unified diff of both as JSON."""
    return list(difflib.unified_diff(_lines(expected), _lines(received), "expected", "received", lineterm="", n=2))[2:]


def _lines(value: Any) -> list[str]:
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, option=options, default=str).decode().splitlines()


def fits(expected: Any, count: int) -> bool:
    """Whether a number fits ``n`` or ``{at_least, at_most}``."""
    if isinstance(expected, Mapping):
        return bool(expected.get("at_least", count) <= count <= expected.get("at_most", count))
    return bool(expected == count)
