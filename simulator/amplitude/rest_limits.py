"""What requests of the dashboard API cost, and how much a project may spend.

Cost is days × conditions × the cost of the type of query. Source: Amplitude docs, Dashboard REST API, Rate limits.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, func, select

from simulator.amplitude.export import refused
from simulator.exchange import Answer, Call
from simulator.store import OBSERVING, metadata

HOUR_MS = 3_600_000
GROUP_BY_CONDITIONS = 4
"""A group-by on segments counts as this many conditions."""

_WINDOWS = ((300_000, "amplitude.rest_cost_5_minutes", "5 minutes"), (HOUR_MS, "amplitude.rest_cost_hour", "hour"))

spent = Table(
    "amplitude_rest_costs",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("cost", BigInteger, nullable=False),
)
OBSERVING.add("amplitude_rest_costs")


def charge(call: Call, days: int, conditions: int = 1, of_type: int = 1) -> Answer | None:
    """Count a query's cost; the 429 instead when the project has no budget left, and then nothing is counted.

    The document promises an explanation in the body and shows none: words and figures of it are inferred.
    """
    cost = max(1, days) * max(1, conditions) * of_type
    for window_ms, setting, span in _WINDOWS:
        most = int(call.tank.settings[setting])
        recent = select(func.coalesce(func.sum(spent.c.cost), 0)).where(spent.c.at_ms > call.now_ms - window_ms)
        used = int(call.conn.execute(recent).scalar_one())
        if used + cost > most:
            details = f"Cost limit exceeded: this query costs {cost}, {used} of {most} are used in the last {span}"
            return refused(429, "Too Many Requests", details)
    call.conn.execute(spent.delete().where(spent.c.at_ms <= call.now_ms - HOUR_MS))
    call.conn.execute(spent.insert().values(at_ms=call.now_ms, cost=cost))
    return None
