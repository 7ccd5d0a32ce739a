"""Traffic: events that happen later or by themselves. A stream lives in the store, a killed process goes on
with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, String, Table, func, select

from simulator import ledger, timekeeper
from simulator.braze import generator
from simulator.braze.catalogue import selected_types
from simulator.braze.currents_emitting import emit
from simulator.braze.currents_sending import FLOW
from simulator.braze.people import World
from simulator.store import insert_rows, json_set, metadata, upsert_rows
from simulator.tank import Tank

_CHUNK = 5_000

_stream = Table(
    "currents_stream",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("due_ms", BigInteger, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),
)
_worlds = Table(
    "currents_worlds",
    metadata,
    Column("seed", String, primary_key=True),
    Column("stages", String, nullable=False),
)


def emit_later(conn: Connection, events: Iterable[Mapping[str, Any]], now_ms: int, rate: float) -> int:
    """Let events happen from now on, ``rate`` per second of tank time; answers how many are to come.

    Each happens when its turn has come; an event without a time gets that one.
    """
    rows = [(now_ms + int(index * 1000 / rate), orjson.dumps(dict(event))) for index, event in enumerate(events)]
    insert_rows(conn, _stream, ("due_ms", "body"), rows)
    if rows:
        timekeeper.schedule(conn, now_ms, "currents.stream", "currents.stream")
    return len(rows)


def on_stream(tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
    with tank.store.write() as conn:
        query = select(_stream).where(_stream.c.due_ms <= now_ms).order_by(_stream.c.due_ms, _stream.c.n)
        rows = conn.execute(query).all()
        # Each gets the time of its own turn, however late the tick comes.
        events = [{"time": row.due_ms // 1000, **orjson.loads(row.body)} for row in rows]
        emit(conn, tank, events, now_ms)
        conn.execute(_stream.delete().where(_stream.c.n.in_(json_set([row.n for row in rows]))))
        following: int | None = conn.execute(select(func.min(_stream.c.due_ms))).scalar()
        if following is not None:
            tick_ms = max(1, round(float(tank.settings["braze.currents.stream_tick_s"]) * 1000))
            timekeeper.schedule(conn, max(following, now_ms + tick_ms), "currents.stream", "currents.stream")


def generate(
    conn: Connection,
    tank: Tank,
    now_ms: int,
    *,
    events: int,
    users: int | None = None,
    rate: float | None = None,
    types: Sequence[str] | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Generate traffic: all at once, with times up to now, or as a stream of ``rate`` events per second
    from now on.

    People and campaigns are fixed by the tank's seed and ``seed``; a later call goes on with the same people.
    Answers ``{emitted, scheduled}``. Raises ValueError for an unknown event type.
    """
    wanted = None if types is None else selected_types(list(types))
    name = "" if seed is None else str(seed)
    scheduled = conn.execute(select(func.count()).select_from(_stream)).scalar_one()
    rng = tank.rng("generate", name, ledger.count(conn, FLOW) + scheduled)
    world = World(f"{tank.seed}:{name}", tank.credential("braze_app_id"))
    world.load(conn.execute(select(_worlds.c.stages).where(_worlds.c.seed == name)).scalar() or "")
    made = generator.events(rng, events, users or max(1, events // 20), now_ms, rate, wanted, world)
    if rate is None:
        done = {
            "emitted": sum(len(emit(conn, tank, chunk, now_ms)) for chunk in _chunks(made)),
            "scheduled": 0,
        }
    else:
        done = {"emitted": 0, "scheduled": emit_later(conn, made, now_ms, rate)}
    upsert_rows(conn, _worlds, ("seed", "stages"), [(name, world.dump())], ("seed",))
    return done


def _chunks(events: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for event in events:
        chunk.append(event)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
