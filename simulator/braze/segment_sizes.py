"""How large segments were on each day: counted at every midnight for those with analytics tracking.

Source: Braze docs, Export segment analytics. That a day ends at midnight in UTC is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Integer, String, Table, select

from simulator import timekeeper
from simulator.braze import pending, segments
from simulator.store import metadata, upsert_rows
from simulator.tank import Tank

DAY_MS = 86_400_000
KIND = "braze.segment_sizes"

table = Table(
    "braze_segment_sizes",
    metadata,
    Column("segment_id", String, primary_key=True),
    # Days since the epoch
    Column("day", Integer, primary_key=True),
    Column("size", Integer, nullable=False),
    sqlite_with_rowid=False,
)


def follow(conn: Connection, now_ms: int) -> None:
    """Set the timer of the coming midnight, unless it is set."""
    if timekeeper.scheduled(conn, KIND) is None:
        timekeeper.schedule(conn, (now_ms // DAY_MS + 1) * DAY_MS, KIND, KIND)


def on_timer(tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
    """Midnight: note the sizes of the day that ends, and wait for the next."""
    with tank.store.write() as conn:
        pending.apply_due(conn, tank, now_ms)
        tracked = [each.segment_id for each in segments.listed(conn) if each.tracked]
        rows = [(each, (now_ms - 1) // DAY_MS, segments.size(conn, tank, each, now_ms)) for each in tracked]
        upsert_rows(conn, table, ("segment_id", "day", "size"), rows, ("segment_id", "day"))
        if tracked:
            timekeeper.schedule(conn, (now_ms // DAY_MS + 1) * DAY_MS, KIND, KIND)


TIMERS = {KIND: on_timer}


def series(conn: Connection, tank: Tank, segment_id: str, days: range, now_ms: int) -> list[tuple[int, int]]:
    """``(day, size)`` of the days that are known; today's size is the present one."""
    query = select(table.c.day, table.c.size).where(
        table.c.segment_id == segment_id, table.c.day >= days.start, table.c.day < days.stop
    )
    known = {row[0]: row[1] for row in conn.execute(query)}
    if now_ms // DAY_MS in days:
        known[now_ms // DAY_MS] = segments.size(conn, tank, segment_id, now_ms)
    return sorted(known.items())
