"""Rate limits of Braze's REST API: shared pools, counted in fixed windows that follow the clock.

Counters are rows of the tank's store, so they are exact across processes and restarts. Source: Braze docs, API
limits; the alignment of windows from public recordings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table

from simulator.store import OBSERVING, metadata, rows_in, upsert_rows

windows = Table(
    "braze_rate_windows",
    metadata,
    Column("pool", String, primary_key=True),
    Column("window_ms", BigInteger, primary_key=True),
    Column("start_ms", BigInteger, nullable=False),
    Column("used", Integer, nullable=False),
    sqlite_with_rowid=False,
)
# Every request counts, refused ones too: the counters say nothing about what a request changed.
OBSERVING.add("braze_rate_windows")


@dataclass(frozen=True)
class Window:
    """So many requests in each stretch of ``length_ms`` since the epoch."""

    limit: int
    length_ms: int

    def start_ms(self, now_ms: int) -> int:
        return now_ms - now_ms % self.length_ms


@dataclass(frozen=True)
class Plan:
    """What a contract decides: its pools, the objects a track request may hold, and how headers tell the reset."""

    name: str
    source: str
    pools: Mapping[str, Sequence[Window]]
    most_combined: int | None
    most_each: int | None
    tells_seconds_left: bool


@cache
def plans() -> Mapping[str, Plan]:
    """The plans by name: the values of the setting ``braze.plan``."""
    loaded = yaml.safe_load(Path(__file__).with_name("pools.yaml").read_text("utf-8"))
    common = loaded["pools"]
    return {
        name: Plan(
            name,
            each["source"],
            {pool: _windows(given) for pool, given in {**common, **each["pools"]}.items()},
            each["batch"].get("combined"),
            each["batch"].get("each"),
            each["headers"] == "seconds_left",
        )
        for name, each in loaded["plans"].items()
    }


def _windows(given: Sequence[Mapping[str, Any]]) -> list[Window]:
    return [Window(each["limit"], each["window_s"] * 1000) for each in given]


@dataclass(frozen=True)
class Verdict:
    """Whether a request fits, and the headers that tell so."""

    over: bool
    headers: Mapping[str, str]
    pool: str
    number: int
    """Which request of its window it is, from 1."""
    start_ms: int


def count(conn: Connection, plan: Plan, pool: str, caps: Mapping[str, Any], now_ms: int, part: str = "") -> Verdict:
    """Count one request in its pool, unless it is over the limit.

    :param caps: limits of this tank in place of the plan's, by pool (the setting ``braze.pool_limits``).
    :param part: what the pool is counted by, where each value has a counter of its own.
    """
    kept = f"{pool}:{part}" if part else pool
    cap = caps.get(pool)
    mine = [Window(cap if isinstance(cap, int) else each.limit, each.length_ms) for each in plan.pools[pool]]
    rows = rows_in(conn, windows, ("window_ms", "start_ms", "used"), "pool", [kept])
    held = {row[0]: row[2] for row in rows if row[1] == now_ms - now_ms % row[0]}
    used = [held.get(each.length_ms, 0) for each in mine]
    over = [each for each, n in zip(mine, used, strict=True) if n >= each.limit]
    if not over:
        used = [n + 1 for n in used]
        counted = [(kept, each.length_ms, each.start_ms(now_ms), n) for each, n in zip(mine, used, strict=True)]
        upsert_rows(conn, windows, ("pool", "window_ms", "start_ms", "used"), counted, ("pool", "window_ms"))
    told, n = (over[0], over[0].limit) if over else (mine[-1], used[-1])
    seconds_left = plan.tells_seconds_left and pool in ("track", "track_bulk")
    headers = _headers(told, n, now_ms, bool(over), seconds_left)
    return Verdict(bool(over), headers, pool, n, told.start_ms(now_ms))


def _headers(window: Window, used: int, now_ms: int, over: bool, seconds_left: bool) -> dict[str, str]:
    reset_ms = window.start_ms(now_ms) + window.length_ms
    left_s = -(-(reset_ms - now_ms) // 1000)
    if seconds_left and over:
        return {"X-Ratelimit-Retry-After": str(left_s)}
    return {
        "X-RateLimit-Limit": str(window.limit),
        "X-RateLimit-Remaining": str(max(0, window.limit - used)),
        "X-RateLimit-Reset": str(left_s if seconds_left else reset_ms // 1000),
    }


NO_HEADERS = {"X-RateLimit-Limit": "", "X-RateLimit-Remaining": "", "X-RateLimit-Reset": ""}
"""A refused key leaves the three headers empty. Source: public recordings of 401 answers."""
