"""Accepted requests whose writes are yet to be applied: the 2xx comes first, the change a little later.

One row per request; due rows are applied in the order of their instants, by a timer or by the next request,
whichever comes first, so what a reader sees depends on tank time alone. Source: Braze docs, POST /users/track
(asynchronous processing).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, bindparam, func, select

from simulator import timekeeper
from simulator.braze import writes
from simulator.store import metadata
from simulator.tank import Tank

KIND = "braze.apply"

table = Table(
    "braze_writes",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    # None once it is applied
    Column("due_ms", BigInteger, index=True),
    Column("payload", String),
    Column("points", Integer, nullable=False, default=0),
    sqlite_autoincrement=True,
)


def put(conn: Connection, tank: Tank, kind: str, payload: Any, now_ms: int) -> int:
    """Queue the writes of a request, one of :data:`writes.APPLY`; answers its number.

    They are applied after the setting ``braze.apply_delay_ms`` (merges: ``braze.merge_delay_ms``); at once when
    that is 0. What is due before them has been applied by the gate.
    """
    settings = tank.settings
    due_ms = now_ms + int(settings["braze.merge_delay_ms" if kind == "merge" else "braze.apply_delay_ms"])
    jitter_ms = int(settings["braze.apply_jitter_ms"])
    if due_ms <= now_ms and not jitter_ms:
        return note(conn, kind, writes.APPLY[kind](conn, tank, payload, now_ms, now_ms), now_ms)
    first: int | None = conn.exec_driver_sql("SELECT min(due_ms) FROM braze_writes").scalar()
    n = _add(conn, kind, now_ms, due_ms, orjson.dumps(payload).decode(), 0)
    if jitter_ms:
        due_ms += tank.rng("braze_apply", n).randrange(jitter_ms + 1)
        conn.execute(table.update().where(table.c.n == n).values(due_ms=due_ms))
    if first is None or due_ms < first:
        timekeeper.schedule(conn, due_ms, KIND, KIND)
    return n


def note(conn: Connection, kind: str, points: int, now_ms: int) -> int:
    """Note a request whose writes were applied before its answer, and what they cost; answers its number."""
    return _add(conn, kind, now_ms, None, None, points)


def _add(conn: Connection, kind: str, now_ms: int, due_ms: int | None, payload: str | None, points: int) -> int:
    row = {"kind": kind, "received_ms": now_ms, "due_ms": due_ms, "payload": payload, "points": points}
    added = conn.execute(_INSERT, row).inserted_primary_key
    assert added is not None
    return int(added[0])


def apply_due(conn: Connection, tank: Tank, now_ms: int) -> None:
    """Apply every write whose time has come."""
    rows = conn.execute(_DUE, {"now": now_ms}).all()
    for row in rows:
        points = writes.APPLY[row.kind](conn, tank, orjson.loads(row.payload), row.received_ms, row.due_ms)
        done = {"due_ms": None, "payload": None, "points": points}
        conn.execute(table.update().where(table.c.n == row.n).values(**done))


_INSERT = table.insert()
_DUE = select(table).where(table.c.due_ms <= bindparam("now")).order_by(table.c.due_ms, table.c.n)


def on_timer(tank: Tank, _payload: Mapping[str, Any], _now_ms: int) -> None:
    """The timer's work: apply what is due and set the timer for the rest."""
    with tank.store.write() as conn:
        apply_due(conn, tank, tank.clock.now_ms(conn))
        first = conn.execute(select(func.min(table.c.due_ms))).scalar()
        if first is not None:
            timekeeper.schedule(conn, first, KIND, KIND)


TIMERS = {KIND: on_timer}


def listed(conn: Connection, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
    """Requests with what they wrote: number, kind, whether applied, data points."""
    query = select(table.c.n, table.c.kind, table.c.received_ms, table.c.due_ms, table.c.points)
    rows = conn.execute(query.where(table.c.n > after).order_by(table.c.n).limit(limit))
    return [
        {"write": n, "kind": kind, "received_ms": at, "applied": due is None, "points": points}
        for n, kind, at, due, points in rows
    ]
