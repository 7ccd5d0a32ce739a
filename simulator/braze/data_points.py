"""Data points: what writes cost, per profile, UTC day and source. Source: Braze docs, Data points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from simulator.braze.user_tables import data_points as table
from simulator.braze.user_tables import profiles
from simulator.store import insert_rows, json_set

DAY_S = 86_400


def add(conn: Connection, rows: Sequence[tuple[int, int, int]], source: str) -> None:
    """Add points: ``(uid, UTC day number, points)``; ``source`` is ``api``, ``sdk`` or ``cohort_import``."""
    insert_rows(conn, table, ("uid", "day", "source", "points"), [(*each[:2], source, each[2]) for each in rows])


def of(conn: Connection, uids: Iterable[int]) -> dict[int, int]:
    """Points by profile."""
    query = select(table.c.uid, func.sum(table.c.points)).where(table.c.uid.in_(json_set(uids)))
    return {row[0]: int(row[1]) for row in conn.execute(query.group_by(table.c.uid))}


def _day(number: int) -> str:
    return f"{datetime.fromtimestamp(number * DAY_S, UTC):%Y-%m-%d}"


def read(conn: Connection, after: int = 0, limit: int = 1000) -> dict[str, Any]:
    """Totals by source and day, and the rows of so many profiles after the number ``after`` (gone ones too)."""
    total = func.sum(table.c.points)
    sources = conn.execute(select(table.c.source, total).group_by(table.c.source).order_by(table.c.source)).all()
    days = conn.execute(
        select(table.c.day, table.c.source, total)
        .group_by(table.c.day, table.c.source)
        .order_by(table.c.day, table.c.source)
    ).all()
    uids = conn.execute(
        select(table.c.uid).where(table.c.uid > after).distinct().order_by(table.c.uid).limit(limit)
    ).scalars()
    query = (
        select(profiles.c.uid, profiles.c.braze_id, profiles.c.external_id, table.c.day, table.c.source, total)
        .join(profiles, profiles.c.uid == table.c.uid)
        .where(table.c.uid.in_(json_set(uids)))
        .group_by(profiles.c.uid, table.c.day, table.c.source)
        .order_by(profiles.c.uid, table.c.day, table.c.source)
    )
    return {
        "total": sum(int(row[1]) for row in sources),
        "by_source": {row[0]: int(row[1]) for row in sources},
        "by_day": [{"day": _day(row[0]), "source": row[1], "points": int(row[2])} for row in days],
        "users": [
            {
                "uid": uid,
                "braze_id": braze_id,
                "external_id": external_id,
                "day": _day(day),
                "source": source,
                "points": int(points),
            }
            for uid, braze_id, external_id, day, source, points in conn.execute(query)
        ],
    }
