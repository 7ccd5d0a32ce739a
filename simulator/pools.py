"""Pools of parallel requests: how many a platform works on at once for one tank, counted in the store.

A request holds its place until its answer has been sent, so that parallel requests meet and a client that waits
for each answer never sees a full pool. Places count over every process that serves the tank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, bindparam, func, select

from simulator import clock
from simulator.store import OBSERVING, metadata

if TYPE_CHECKING:
    from simulator.exchange import Answer, Request

LONGEST_MS = 600_000
"""A place that was never given back (its process died) is free again after this, in real ms."""

_places = Table(
    "open_places",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("pool", String, nullable=False),
    Column("until_real_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
OBSERVING.add("open_places")
_EXPIRED = _places.delete().where(_places.c.until_real_ms <= bindparam("now"))
_TAKEN = select(func.count()).select_from(_places).where(_places.c.pool == bindparam("name"))


@dataclass(frozen=True)
class Pool:
    """At most ``most`` requests at once under ``name``; one more is answered by ``refuse``.

    ``busy_setting`` names the setting that says how long a request is under way at least, in real ms.
    """

    name: str
    most: int
    refuse: Callable[[Request], Answer]
    busy_setting: str
    apart: Callable[[Request], str] | None = None
    """Divides the pool: requests for which this answers the same text share its places."""

    def name_for(self, request: Request) -> str:
        """The pool's name, or that of the part which a request belongs to."""
        return self.name if self.apart is None else f"{self.name}:{self.apart(request)}"


def take(conn: Connection, pools: Sequence[Pool], request: Request) -> tuple[list[int], Pool | None]:
    """Take a place in every pool; answers the places, or none of them and the pool that is full."""
    now = clock.real_ms()
    conn.execute(_EXPIRED, {"now": now})
    names = [pool.name_for(request) for pool in pools]
    for pool, name in zip(pools, names, strict=True):
        if conn.execute(_TAKEN, {"name": name}).scalar_one() >= pool.most:
            return [], pool
    return [_place(conn, name, now) for name in names], None


def _place(conn: Connection, name: str, now: int) -> int:
    made = conn.execute(_places.insert(), {"pool": name, "until_real_ms": now + LONGEST_MS})
    key = made.inserted_primary_key
    assert key is not None
    return int(key[0])


def keep(conn: Connection, places: Sequence[int], for_ms: int) -> None:
    """Hold places for another ``for_ms`` real ms; 0 gives them back."""
    mine = _places.c.id.in_(list(places))
    if for_ms > 0:
        conn.execute(_places.update().where(mine).values(until_real_ms=clock.real_ms() + for_ms))
    else:
        conn.execute(_places.delete().where(mine))
