"""Standard fields: how each value is read. Plain functions, no store.

Source: Braze docs, User attributes object. Values of a wrong type are not stored; where the document names a
refusal of the whole object, :mod:`track_checks` has made it before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import yaml

from simulator.braze import dates

MAX_TEXT = 255
MAX_URL = 1024
SUBSCRIPTION = ("opted_in", "subscribed", "unsubscribed")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
SKIP: Any = object()
"""The value is not stored and the old one stays."""


@cache
def _loaded(name: str) -> Mapping[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(name).read_text("utf-8"))
    return loaded


@cache
def fields() -> Mapping[str, tuple[str, int]]:
    """Type and cost in data points of every standard field."""
    return {name: (row["type"], row["points"]) for name, row in _loaded("standard_fields.yaml")["fields"].items()}


@cache
def others() -> frozenset[str]:
    """Reserved members that are no plain standard fields."""
    loaded = _loaded("standard_fields.yaml")
    return frozenset(loaded["control"]) | frozenset(loaded["handled"])


@cache
def _codes(name: str) -> frozenset[str]:
    return frozenset(_loaded("codes.yaml")[name].split())


def is_currency(value: Any) -> bool:
    """Whether this is an ISO 4217 code."""
    return isinstance(value, str) and value.upper() in _codes("currencies")


def is_email(value: Any) -> bool:
    """Whether Braze takes this as an address. Its own test is not published; this one is the usual form."""
    return isinstance(value, str) and len(value) <= MAX_TEXT and _EMAIL.fullmatch(value) is not None


def phone(value: Any) -> tuple[str, bool]:
    """A phone number in E.164, and whether it is valid; an invalid one stays as it was given.

    Ten digits without a plus count as a number of the United States.
    """
    text = str(value)
    digits = re.sub(r"\D", "", text)
    if not text.strip().startswith("+") and len(digits) == 10:
        digits = "1" + digits
    if re.fullmatch(r"[1-9]\d{6,14}", digits):
        return f"+{digits}", True
    return text[:MAX_TEXT], False


def _text(value: Any) -> Any:
    return value[:MAX_TEXT] if isinstance(value, str) else SKIP


def _country(value: Any) -> Any:
    if not isinstance(value, str):
        return None
    code = value.strip().upper()
    return code if code in _codes("countries") else _loaded("codes.yaml")["country_names"].get(value.strip().lower())


def _language(value: Any) -> Any:
    code = value.strip().lower() if isinstance(value, str) else ""
    return code if code in _codes("languages") else SKIP


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _time_zone(value: Any) -> Any:
    if not isinstance(value, str):
        return SKIP
    return value if value in _zones() else _loaded("codes.yaml")["time_zones"].get(value, SKIP)


def _day(value: Any) -> Any:
    fits = isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) and dates.parse(value) is not None
    return value if fits else SKIP


def _moment(value: Any) -> Any:
    at_ms = dates.parse(value) if isinstance(value, str) else None
    return SKIP if at_ms is None else dates.shown(at_ms)


def is_location(value: Any) -> bool:
    """Whether this is an object with longitude and latitude as numbers."""
    return isinstance(value, dict) and all(
        isinstance(value.get(name), int | float) and not isinstance(value.get(name), bool)
        for name in ("longitude", "latitude")
    )


def _location(value: Any) -> Any:
    return {name: value[name] for name in ("longitude", "latitude")} if is_location(value) else SKIP


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "text": _text,
    "email": lambda value: value if is_email(value) else SKIP,
    "phone": lambda value: phone(value)[0] if isinstance(value, str | int) else SKIP,
    "day": _day,
    "gender": lambda value: value if value in ("M", "F", "O", "N", "P") else SKIP,
    "country": _country,
    "language": _language,
    "time_zone": _time_zone,
    "location": _location,
    "url": lambda value: value if isinstance(value, str) and len(value) <= MAX_URL else SKIP,
    "subscription": lambda value: value if value in SUBSCRIPTION else SKIP,
    "boolean": lambda value: value if isinstance(value, bool) else SKIP,
    "moment": _moment,
    "object": lambda value: value if isinstance(value, dict) else SKIP,
}


def read(name: str, value: Any) -> Any:
    """The value as it is stored; None removes the field, :data:`SKIP` leaves the old one."""
    return None if value is None else _READERS[fields()[name][0]](value)
