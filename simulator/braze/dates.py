"""Braze's date texts: which are taken as dates, and how they are shown.

Source: Braze docs, Custom attributes (accepted date forms); Event object; Purchase object.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.:,](\d{1,9}))?)?\s*([A-Za-z+-][A-Za-z0-9:+/_-]*)?)?"
)
_AMERICAN = re.compile(r"(\d{2})/(\d{2})/(\d{4})")
_WORDED = re.compile(r"[A-Z][a-z]{2} (\d{2}) (\d{2}) (\d{2}):(\d{2}):(\d{2})\.?\s*([A-Za-z0-9:+-]*) (\d{4})")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
MAX_YEAR = 3000


_ZONE = re.compile(r"Z|z|UTC|GMT|[+-]\d{2}:?\d{2}")


def instant(text: str) -> int | None:
    """A date-time in ISO 8601 as epoch ms, None when it is none: what events, purchases, cohorts and schedules take.

    An offset may stand behind a space, a fraction behind a colon; further forms are attributes' alone. Source: Braze
    docs, Event object; Purchase object; Cohort import for partners; Schedule object.
    """
    found = _ISO.fullmatch(text)
    zone = None if found is None else found.group(8)
    fits = found is not None and (zone is None or _ZONE.fullmatch(zone) is not None)
    return parse(text) if fits else None


@lru_cache(maxsize=4096)
def parse(text: str) -> int | None:
    """A date text as epoch ms, None when it is no date to Braze (then it stays a string).

    No zone, or one that cannot be read, is UTC; a date alone is its midnight in UTC.
    """
    if not 10 <= len(text) <= 64:
        return None
    if found := _ISO.fullmatch(text):
        year, month, day, hour, minute, second, fraction, zone = found.groups()
    elif found := _AMERICAN.fullmatch(text):
        month, day, year = found.groups()
        hour = minute = second = fraction = zone = None
    elif found := _WORDED.fullmatch(text):
        month, day, hour, minute, second, zone, year = found.groups()
        fraction = None
    else:
        return None
    if int(year) > MAX_YEAR:
        return None
    try:
        micros = int((fraction or "0")[:6].ljust(6, "0"))
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micros, _zone(zone)
        )
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> timezone:
    found = _OFFSET.fullmatch(text or "")
    if found is None:
        return UTC
    sign, hours, minutes = found.groups()
    if int(hours) > 14 or int(minutes) > 59:
        return UTC
    span = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(-span if sign == "-" else span)


def shown(ms: int) -> str:
    """Epoch ms as Braze shows dates: ``2026-09-15T00:00:00.000Z``. Source: public recordings of exports."""
    moment = _EPOCH + timedelta(milliseconds=ms)
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
