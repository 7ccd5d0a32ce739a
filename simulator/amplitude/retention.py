"""User properties of people without events for 14 months are deleted; their events stay.

Source: Amplitude docs, User properties and events; Limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from simulator import timekeeper
from simulator.amplitude import definitions, tables
from simulator.tank import Tank

KEPT_MS = 425 * 86_400_000
"""Fourteen months, as 365 and 60 days (the document does not count days)."""
_TIMER = "amplitude.retention"


def begin(conn: Connection, now_ms: int) -> None:
    """Look for the first time when the first people can have been away for so long."""
    timekeeper.schedule(conn, now_ms + KEPT_MS, _TIMER, _TIMER)


def _forget(tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
    """Delete what is too old, and look again when the next person's time can be up."""
    held, events = tables.properties, tables.events
    joined, person = definitions.people_of_events()
    seen = select(person.label("person"), func.max(events.c.received_ms).label("last")).select_from(joined)
    last = seen.group_by(person).subquery()
    with tank.store.write() as conn:
        active = select(last.c.person).where(last.c.last > now_ms - KEPT_MS)
        conn.execute(held.delete().where(held.c.amplitude_id.not_in(active)))
        oldest = conn.execute(select(func.min(last.c.last)).where(last.c.last > now_ms - KEPT_MS)).scalar()
        timekeeper.schedule(conn, KEPT_MS + (now_ms if oldest is None else oldest), _TIMER, _TIMER)


TIMERS: Mapping[str, timekeeper.Handler] = {_TIMER: _forget}
