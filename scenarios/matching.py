"""Comparing JSON: dotted members, strict equality, subsets, amounts; and saying what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

ANY = "$any"
"""An expected value that only asks that there be one."""


class _Missing:
    def __repr__(self) -> str:
        return "(absent)"


MISSING = _Missing()


def pick(record: Any, name: str) -> Any:
    """The member ``a.b.0`` of a JSON value, or MISSING."""
    found = record
    for part in name.split("."):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return MISSING
    return found


def member(record: Mapping[str, Any], name: str) -> Any:
    """A member of a read-back record: its own, or else of the object it wraps under ``event``."""
    found = pick(record, name)
    if found is MISSING and isinstance(record.get("event"), Mapping):
        found = pick(record["event"], name)
    return found


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 is 1.0 but neither "1" nor true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool) and one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def shown(value: Any) -> str:
    """A JSON value on one line, cut when long."""
    if value is MISSING:
        return "(absent)"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else f"{text[:280]}… ({len(text)} characters)"


def differences(expected: Any, received: Any, name: str, *, whole: bool) -> list[str]:
    """Lines that say how ``received`` differs from ``expected``; none when it fits.

    :param whole: a mapping may hold nothing more than expected; otherwise it may.
    """
    if isinstance(expected, str) and expected == ANY:
        return [f"{name}: expected any value, received (absent)"] if received is MISSING else []
    if isinstance(expected, Mapping) and isinstance(received, Mapping):
        lines = []
        for key, value in expected.items():
            lines += differences(value, received.get(key, MISSING), _join(name, key), whole=whole)
        if whole:
            for key in received:
                if key not in expected:
                    lines.append(f"{_join(name, key)}: expected (absent), received {shown(received[key])}")
        return lines
    if isinstance(expected, list) and isinstance(received, list) and len(expected) == len(received):
        lines = []
        for number, (one, other) in enumerate(zip(expected, received, strict=True)):
            lines += differences(one, other, f"{name}.{number}", whole=True)
        return lines
    if received is not MISSING and same(expected, received):
        return []
    return [f"{name}: expected {shown(expected)}, received {shown(received)}"]


def _join(name: str, key: str) -> str:
    return (
        f"{name}.{key}" if re.fullmatch(r"[\w$-]+", key) else f"{name}[{json.dumps(key, ensure_ascii=False)}]"
    )


def holds(record: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a record has every member of ``where``; null asks that it be absent or null."""
    for name, value in where.items():
        found = member(record, name)
        if value is None:
            if found is not MISSING and found is not None:
                return False
        elif differences(value, found, name, whole=False):
            return False
    return True


def fits(amount: Any, number: float) -> bool:
    """Whether a number is the amount, or within ``{at_least, at_most}``."""
    if isinstance(amount, Mapping):
        return bool(amount.get("at_least", number) <= number <= amount.get("at_most", number))
    return bool(number == amount)


def worded(amount: Any) -> str:
    """An amount in words: 3, at least 3, at most 5, 3 to 5."""
    if not isinstance(amount, Mapping):
        return str(amount)
    low, high = amount.get("at_least"), amount.get("at_most")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if low is not None else f"at most {high}"


def status_fits(wanted: Any, status: int | None) -> bool:
    """Whether a status is the one wanted: 401, [400, 422], "2xx", or null for no answer."""
    if isinstance(wanted, list):
        return any(status_fits(each, status) for each in wanted)
    if isinstance(wanted, str):
        return status is not None and str(status)[0] == wanted[0]
    return bool(wanted == status)


_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(value: str | int) -> int:
    """A duration of the scenario format in ms."""
    if isinstance(value, int):
        return value
    return round(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value)))


def instant_ms(value: str | int, start_ms: int) -> int:
    """An instant of the scenario format, or of a read-back, in epoch ms; ``+5m`` counts from ``start_ms``."""
    if isinstance(value, int | float):
        return int(value)
    if value.isdigit():
        return int(value)
    if value.startswith("+"):
        return start_ms + duration_ms(value[1:])
    moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MS


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def span(ms: int) -> str:
    """A length of tank time in words: 250ms, 30s, 5m, 1h30m."""
    if ms < 0:
        return f"-{span(-ms)}"
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, ms = divmod(ms, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def first_lines(lines: Sequence[str], limit: int = 20) -> list[str]:
    """The first lines, and how many more there are."""
    return list(lines) if len(lines) <= limit else [*lines[:limit], f"… and {len(lines) - limit} more"]
