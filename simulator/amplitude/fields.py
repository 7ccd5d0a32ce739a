"""Single fields of an event: cutting, depth, groups, tracking plan, languages.

Source: Amplitude docs, HTTP V2 API, Keys for the event argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

MAX_GROUP_TYPES = 5
MAX_GROUP_VALUES = 10
_PLAN = ("branch", "source", "version")


def depth(value: Any, most: int) -> int:
    """Levels of objects and lists, counted without recursion and no further than ``most + 1``."""
    found = 0
    level = [value]
    while found <= most:
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return found
        found += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return found


def cut(value: Any, longest: int, deepest: int) -> Any:
    """Every string cut to ``longest`` characters; objects and lists below level ``deepest`` become null."""
    if isinstance(value, str):
        return value[:longest]
    if isinstance(value, dict | list):
        if deepest == 0:
            return None
        if isinstance(value, list):
            return [cut(each, longest, deepest - 1) for each in value]
        return {name: cut(each, longest, deepest - 1) for name, each in value.items()}
    return value


def groups(given: Mapping[str, Any]) -> dict[str, Any]:
    """At most 5 group types and 10 values in all; the surplus is dropped without a word."""
    kept: dict[str, Any] = {}
    left = MAX_GROUP_VALUES
    for kind, value in list(given.items())[:MAX_GROUP_TYPES]:
        if left <= 0:
            break
        if isinstance(value, list):
            kept[kind] = value[:left]
            left -= len(kept[kind])
        else:
            kept[kind] = value
            left -= 1
    return cut(kept, 1024, 3)  # type: ignore[no-any-return]


def plan(given: Mapping[str, Any]) -> dict[str, str]:
    """Of a tracking plan only branch, source and version are kept, and only as text."""
    return {name: given[name][:1024] for name in _PLAN if isinstance(given.get(name), str)}


@cache
def languages() -> dict[str, str]:
    """English names of languages by two-letter code, in lower case."""
    loaded: dict[str, str] = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text("utf-8"))
    return loaded
