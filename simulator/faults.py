"""Faults: seeded, schedulable trouble per platform, route and share of requests.

A fault is drawn from the tank's seed, the fault's number and the count of requests it has seen, so the same
run draws the same trouble. A fault of share 0, or past its ``times`` or ``until``, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Float, Integer, String, Table, func, select

from simulator.store import OBSERVING, metadata
from simulator.tank import Tank

KINDS = (
    "latency",
    "reset_before",
    "reset_after",
    "status",
    "throttle_burst",
    "slow_body",
    "truncated_body",
    "non_json",
    "wrong_region",
    "revoked_key",
    "late_answer",
    "duplicate",
    "wrong_signature",
    "stale",
    "altered_byte",
    "other_encoding",
)
SPOILING = {"wrong_signature", "stale", "altered_byte", "other_encoding"}
"""Kinds that spoil what a signed feed sends; other feeds have no signature and go out as they are."""
FEEDING = SPOILING | {"late_answer", "duplicate"}
"""Kinds for the platform ``connector`` only."""
PLATFORMS = ("amplitude", "braze", "customerio", "connector")
NOT_APPLIED = {"reset_before", "status", "throttle_burst", "non_json", "wrong_region", "revoked_key"}
"""Kinds that answer without applying the request."""

_faults = Table(
    "faults",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("platform", String, nullable=False),
    Column("route", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("share", Float, nullable=False),
    Column("times", Integer),
    Column("from_ms", BigInteger),
    Column("until_ms", BigInteger),
    Column("params", String, nullable=False),
    Column("seen", Integer, nullable=False, default=0),
    Column("hits", Integer, nullable=False, default=0),
)
OBSERVING.add("faults")


@dataclass(frozen=True)
class Fault:
    """A drawn fault: ``params`` may hold ``ms``, ``status``, ``body``, ``bytes_per_s``, ``age_s``, ``encoding``."""

    id: int
    kind: str
    params: dict[str, Any]


def add(
    tank: Tank,
    conn: Connection,
    *,
    platform: str,
    kind: str,
    route: str = "",
    share: float = 1.0,
    times: int | None = None,
    from_ms: int | None = None,
    until_ms: int | None = None,
    params: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Set a fault; answers it as :func:`listed` does. Values have been checked by the caller's schema."""
    result = conn.execute(
        _faults.insert().values(
            platform=platform,
            route=route,
            kind=kind,
            share=share,
            times=times,
            from_ms=from_ms,
            until_ms=until_ms,
            params=orjson.dumps(params or {}).decode(),
        )
    )
    key = result.inserted_primary_key
    assert key is not None
    _count(tank, conn)
    return next(each for each in listed(conn) if each["id"] == key[0])


def listed(conn: Connection) -> list[dict[str, Any]]:
    """All faults with how many requests they have seen and hit."""
    return [
        {
            "id": row.id,
            "platform": row.platform,
            "route": row.route,
            "kind": row.kind,
            "share": row.share,
            "times": row.times,
            "from": row.from_ms,
            "until": row.until_ms,
            "params": orjson.loads(row.params),
            "seen": row.seen,
            "hits": row.hits,
        }
        for row in conn.execute(select(_faults).order_by(_faults.c.id))
    ]


def remove(tank: Tank, conn: Connection, fault_id: int | None = None) -> int:
    """Remove one fault, or all when ``fault_id`` is None; answers how many were there."""
    query = _faults.delete()
    if fault_id is not None:
        query = query.where(_faults.c.id == fault_id)
    removed = conn.execute(query).rowcount
    _count(tank, conn)
    return int(removed)


def _count(tank: Tank, conn: Connection) -> None:
    tank.write_meta(conn, faults=conn.execute(select(func.count()).select_from(_faults)).scalar_one())


def draw(tank: Tank, conn: Connection, platform: str, path: str, now_ms: int) -> Fault | None:
    """The fault that hits this request, if any: the first set one whose turn and chance it is."""
    for row in conn.execute(select(_faults).where(_faults.c.platform == platform).order_by(_faults.c.id)).all():
        if not path.startswith(row.route):
            continue
        if row.from_ms is not None and now_ms < row.from_ms:
            continue
        if row.until_ms is not None and now_ms >= row.until_ms:
            continue
        if row.times is not None and row.hits >= row.times:
            continue
        hit = tank.rng("fault", row.id, row.seen).random() < row.share
        conn.execute(
            _faults.update()
            .where(_faults.c.id == row.id)
            .values(seen=_faults.c.seen + 1, hits=_faults.c.hits + (1 if hit else 0))
        )
        if hit:
            return Fault(row.id, row.kind, orjson.loads(row.params))
    return None
