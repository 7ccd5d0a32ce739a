"""Texts that stand for something else: ``$now``, ``$ms``, ``$text:x:9``, ``{n}`` and ``${name}``; and JSON pointers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scenarios.instants import duration_ms

_ABSENT = object()


class Unknown(ValueError):
    """A variable that no step has saved."""


def filled(value: Any, now_s: int, number: int | None = None, known: Mapping[str, Any] | None = None) -> Any:
    """``value`` with everything written out.

    ``$now`` is the time in seconds, with an offset (``$now-60``); ``$ms`` is it in ms, with a span (``$ms-29d``);
    ``$text:x:9`` is a long text; ``{n}`` is ``number``; ``${name}`` is a variable in ``known`` (None leaves it as it
    is), and keeps its type when alone; ``{"$copies": 9, "of": value}`` is a list of copies with their numbers. Raises
    Unknown.
    """
    if isinstance(value, dict) and "$copies" in value:
        return [filled(value["of"], now_s, n, known) for n in range(value["$copies"])]
    if isinstance(value, dict):
        return {filled(k, now_s, number, known): filled(v, now_s, number, known) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(each, now_s, number, known) for each in value]
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\$now([+-]\d+)?", value)
    if match:
        return now_s + int(match.group(1) or 0)
    precise = re.fullmatch(r"\$ms(?:([+-])(\w+))?", value)
    if precise:
        span_ms = duration_ms(precise.group(2)) if precise.group(2) else 0
        return now_s * 1000 + (-span_ms if precise.group(1) == "-" else span_ms)
    long = re.fullmatch(r"\$text:(.):(\d+)", value)
    if long:
        return long.group(1) * int(long.group(2))
    if number is not None:
        value = value.replace("{n}", str(number))
    if known is None:
        return value
    alone = re.fullmatch(r"\$\{(\w+)\}", value)
    if alone:
        return _known(alone.group(1), known)
    return re.sub(r"\$\{(\w+)\}", lambda each: str(_known(each.group(1), known)), value)


def _known(name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise Unknown(f"${{{name}}} has not been saved by any step before")
    return known[name]


def pointed(value: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to, :func:`nowhere` when there is nothing."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and re.fullmatch(r"-?\d+", name) and -len(value) <= int(name) < len(value):
            value = value[int(name)]
        else:
            return _ABSENT
    return value


def nowhere(value: Any) -> bool:
    """Whether :func:`pointed` found nothing."""
    return value is _ABSENT
