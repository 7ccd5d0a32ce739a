"""Where the Currents feed is kept: the connector's set-up and state, the queued events, the queues' open
batches.

Everything is in the tank's store, so a killed process loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    func,
    select,
)

from simulator import clock
from simulator.braze.currents import Connector, Queue
from simulator.store import insert_rows, json_set, metadata, upsert_rows

KEPT_NOTICES = 50

_connector = Table(
    "currents_connector",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("url", String, nullable=False),
    Column("token", String),
    Column("events", String, nullable=False),
    Column("profile", String, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("lost", Boolean, nullable=False, default=False),
    Column("refused_ms", BigInteger),
    Column("failing_ms", BigInteger),
    Column("taken_ms", BigInteger),
    Column("mailed", Boolean, nullable=False, default=False),
    Column("alerted", Boolean, nullable=False, default=False),
    Column("counters", String, nullable=False, default="{}"),
    Column("notices", String, nullable=False, default="[]"),
)
_queue = Table(
    "currents_queue",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("type", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("queued_ms", BigInteger, nullable=False),
    Index("currents_queue_by_type", "type", "n"),
)
_heads = Table(
    "currents_heads",
    metadata,
    Column("type", String, primary_key=True),
    Column("parts", String, nullable=False),
    Column("alone", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("since_ms", BigInteger),
    Column("resume_ms", BigInteger),
)
# Statements that every batch needs are made once: building them costs more than running them.
_THE_CONNECTOR = select(_connector)
_HEAD = select(_queue).where(_queue.c.type == bindparam("t")).order_by(_queue.c.n).limit(bindparam("most"))
_TIMES = select(_queue.c.queued_ms).where(_queue.c.type == bindparam("t")).order_by(_queue.c.n).limit(bindparam("most"))
_FIRST = select(_queue.c.n).where(_queue.c.type == bindparam("t")).order_by(_queue.c.n).limit(1)
_OLDEST_TYPE = select(_queue.c.type).order_by(_queue.c.n).limit(1)
_OPEN = select(_heads).where(_heads.c.type == bindparam("t"))
_COUNTERS = select(_connector.c.counters)
_COUNT = _connector.update().values(counters=bindparam("text"))


@dataclass(frozen=True)
class Setup:
    """How the connector is set up. ``token`` None means the tank's ``currents_token``; ``events`` is
    ``"all"`` or a list of event types or names.
    """

    url: str
    token: str | None
    events: Any
    profile: str
    batch_size: int


# -- the connector


def load(conn: Connection) -> tuple[Setup, Connector] | None:
    """The connector's set-up and state, or None when there is no connector."""
    row = conn.execute(_THE_CONNECTOR).first()
    if row is None:
        return None
    made = Setup(row.url, row.token, orjson.loads(row.events), row.profile, row.batch_size)
    state = Connector(row.status, row.lost, row.refused_ms, row.failing_ms, row.taken_ms, row.mailed, row.alerted)
    return made, state


def setup(conn: Connection) -> Setup | None:
    """The connector's set-up, or None when there is no connector."""
    found = load(conn)
    return None if found is None else found[0]


def save_setup(conn: Connection, made: Setup) -> None:
    """Set the connector up; its counters and notices stay."""
    values = {
        "url": made.url,
        "token": made.token,
        "events": orjson.dumps(made.events).decode(),
        "profile": made.profile,
        "batch_size": made.batch_size,
    }
    if setup(conn) is None:
        conn.execute(_connector.insert().values(id=1, status="running", **values))
    else:
        conn.execute(_connector.update().values(**values))


def connector(conn: Connection) -> Connector:
    """The connector's state; there has to be one."""
    found = load(conn)
    assert found is not None
    return found[1]


def save_connector(conn: Connection, state: Connector) -> None:
    """Store the connector's state."""
    conn.execute(
        _connector.update().values(
            status=state.status,
            lost=state.lost,
            refused_ms=state.refused_ms,
            failing_ms=state.failing_ms,
            taken_ms=state.taken_ms,
            mailed=state.mailed,
            alerted=state.alerted,
        )
    )


def counters(conn: Connection) -> dict[str, int]:
    """What has been counted since the connector was first set up."""
    found: dict[str, int] = orjson.loads(conn.execute(_COUNTERS).scalar_one())
    return found


def count(conn: Connection, more: Mapping[str, int]) -> None:
    """Add to the counters."""
    if any(more.values()):
        found = counters(conn)
        for name, value in more.items():
            if value:
                found[name] = found.get(name, 0) + value
        conn.execute(_COUNT, {"text": orjson.dumps(found).decode()})


def notices(conn: Connection) -> list[dict[str, Any]]:
    """What people have been told, oldest first: ``[{at, text}]``; the newest are kept."""
    found: list[dict[str, Any]] = orjson.loads(conn.execute(select(_connector.c.notices)).scalar_one())
    return found


def note(conn: Connection, texts: Sequence[str], now_ms: int) -> None:
    """Keep what people were told now."""
    if texts:
        kept = [*notices(conn), *({"at": clock.iso(now_ms), "text": text} for text in texts)][-KEPT_NOTICES:]
        conn.execute(_connector.update().values(notices=bindparam("t")), {"t": orjson.dumps(kept).decode()})


# -- the queues


def append(conn: Connection, rows: Sequence[tuple[str, str, bytes, int]]) -> None:
    """Queue events: ``(type, event id, event object as JSON, now)``."""
    insert_rows(conn, _queue, ("type", "event_id", "body", "queued_ms"), rows)


def head(conn: Connection, type_: str, limit: int) -> list[Any]:
    """The next events of a queue, at most ``limit``: rows of ``n, event_id, body, queued_ms``."""
    return list(conn.execute(_HEAD, {"t": type_, "most": limit}).all())


def first(conn: Connection, type_: str) -> int | None:
    """The number of the next event of a queue."""
    found: int | None = conn.execute(_FIRST, {"t": type_}).scalar()
    return found


def waiting(conn: Connection, type_: str, limit: int) -> tuple[int, int | None]:
    """How many events wait in a queue (counted up to ``limit``) and since when the first does."""
    times = list(conn.execute(_TIMES, {"t": type_, "most": limit}).scalars())
    return len(times), times[0] if times else None


def types(conn: Connection) -> list[str]:
    """Event types with queued events, in order of their names."""
    return list(conn.execute(select(_queue.c.type).distinct().order_by(_queue.c.type)).scalars())


def oldest_type(conn: Connection) -> str | None:
    """The event type of the event that was queued first."""
    found: str | None = conn.execute(_OLDEST_TYPE).scalar()
    return found


def pending(conn: Connection) -> dict[str, tuple[int, int]]:
    """By event type, how many events wait and since when the first does."""
    query = select(_queue.c.type, func.count(), func.min(_queue.c.queued_ms)).group_by(_queue.c.type)
    return {row[0]: (row[1], row[2]) for row in conn.execute(query.order_by(_queue.c.type))}


def remove(conn: Connection, numbers: Iterable[int]) -> int:
    """Take events out of their queue; answers how many were still there."""
    return int(conn.execute(_queue.delete().where(_queue.c.n.in_(json_set(numbers)))).rowcount)


def remove_until(conn: Connection, type_: str, cutoff_ms: int) -> list[str]:
    """Take out a queue's events that were queued until then; answers their ids."""
    old = (_queue.c.type == type_) & (_queue.c.queued_ms <= cutoff_ms)
    ids = list(conn.execute(select(_queue.c.event_id).where(old).order_by(_queue.c.n)).scalars())
    conn.execute(_queue.delete().where(old))
    return ids


def clear(conn: Connection) -> list[str]:
    """Empty all queues; answers the ids that were in them."""
    ids = list(conn.execute(select(_queue.c.event_id).order_by(_queue.c.n)).scalars())
    conn.execute(_queue.delete())
    conn.execute(_heads.delete())
    return ids


# -- open batches


def queue(conn: Connection, type_: str) -> Queue:
    """The state of one event type's queue."""
    row = conn.execute(_OPEN, {"t": type_}).first()
    if row is None:
        return Queue()
    return Queue(tuple(orjson.loads(row.parts)), row.alone, row.attempts, row.since_ms, row.resume_ms)


def save_queue(conn: Connection, type_: str, state: Queue) -> None:
    """Store the state of one event type's queue."""
    if state == Queue():
        conn.execute(_heads.delete().where(_heads.c.type == type_))
        return
    parts = orjson.dumps(state.parts).decode()
    upsert_rows(
        conn,
        _heads,
        ("type", "parts", "alone", "attempts", "since_ms", "resume_ms"),
        [(type_, parts, state.alone, state.attempts, state.since_ms, state.resume_ms)],
        ("type",),
    )


def refresh(conn: Connection) -> None:
    """Forget failed attempts: every queue may send at once."""
    conn.execute(_heads.update().values(attempts=0, since_ms=None, resume_ms=None))
