"""Rate limits of Customer.io's APIs: requests per window of tank time, as settings.

Counters are rows of the tank's store, so they are exact across processes. Source: Customer.io docs, App API (10 a
second, 100 for transactional messages, one broadcast trigger in 10 seconds); Track API (3,000 in 3 seconds, or 100 a
second).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table

from simulator.store import OBSERVING, metadata, rows_in, upsert_rows
from simulator.tank import Tank

_windows = Table(
    "customerio_windows",
    metadata,
    Column("pool", String, primary_key=True),
    Column("start_ms", BigInteger, nullable=False),
    Column("used", Integer, nullable=False),
)
OBSERVING.add("customerio_windows")


def over(conn: Connection, tank: Tank, pool: str, now_ms: int, part: str = "") -> dict[str, int] | None:
    """Count one request in its pool; the figures when it is over the limit, else None. A limit of 0 is none.

    :param pool: ``app``, ``send``, ``broadcast`` or ``track``; :param part: what the pool is counted by.
    """
    limit = int(tank.settings[f"customerio.limit.{pool}"])
    length_ms = max(1, round(1000 * float(tank.settings[f"customerio.limit.{pool}_window_s"])))
    if limit <= 0:
        return None
    key = f"{pool}:{part}"
    rows = rows_in(conn, _windows, ("start_ms", "used"), "pool", [key])
    start_ms, used = (rows[0][0], rows[0][1]) if rows else (now_ms, 0)
    if not rows or now_ms >= start_ms + length_ms or now_ms < start_ms:
        start_ms, used = now_ms, 0
    if used >= limit:
        return {"limit": limit, "window_ms": length_ms, "free_at_ms": start_ms + length_ms}
    upsert_rows(conn, _windows, ("pool", "start_ms", "used"), [(key, start_ms, used + 1)], ("pool",))
    return None
