"""Event types that a project has blocked, deleted or hidden, and what becomes of their events.

Source: Amplitude docs, Hide, block, or delete an event or property.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, Column, Connection, String, Table, bindparam, select

from simulator.store import fetch, insert_rows, metadata
from simulator.tank import Tank

BLOCKED, DELETED, HIDDEN = "blocked", "deleted", "hidden"
STATES = (BLOCKED, DELETED, HIDDEN)

states = Table(
    "amplitude_event_states",
    metadata,
    Column("event_type", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
_DROPPED = select(states.c.event_type).where(states.c.state != HIDDEN, states.c.since_ms <= bindparam("until"))
_ANY = f"SELECT 1 FROM {states.name} LIMIT 1"


def read(conn: Connection) -> dict[str, str]:
    """The state of every event type that has one."""
    return {row.event_type: row.state for row in conn.execute(select(states).order_by(states.c.event_type))}


def write(conn: Connection, given: Mapping[str, str], now_ms: int) -> dict[str, str]:
    """Replace all states (event type → one of :data:`STATES`); an unchanged one keeps its beginning."""
    held = {row.event_type: (row.state, row.since_ms) for row in conn.execute(select(states))}
    rows = []
    for event_type, state in sorted(given.items()):
        before, since_ms = held.get(event_type, (None, now_ms))
        rows.append((event_type, state, since_ms if before == state else now_ms))
    conn.execute(states.delete())
    insert_rows(conn, states, ("event_type", "state", "since_ms"), rows)
    return read(conn)


def dropped(conn: Connection, tank: Tank, now_ms: int) -> frozenset[str]:
    """Event types whose events are answered 200 and not taken in by now; none for most projects."""
    if not fetch(conn, _ANY):
        return frozenset()
    delay_ms = round(float(tank.settings["amplitude.block_delay_min"]) * 60_000)
    return frozenset(conn.execute(_DROPPED, {"until": now_ms - delay_ms}).scalars())
