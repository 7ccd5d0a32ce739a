"""What was reported, and what became of each report at each webhook.

A report waits in the queue of every webhook that selects it until it is delivered or given up; the ledger notes one
end for it over all webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

from simulator import clock, ledger
from simulator.store import insert_rows, json_set, metadata

FLOW = "customerio"
PENDING = "pending"
DELIVERED = "delivered"
GIVEN_UP = "given_up"
NOT_SELECTED = "not_selected"

reports = Table(
    "customerio_reports",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("event_id", String, nullable=False, index=True),
    Column("object_type", String, nullable=False),
    Column("metric", String, nullable=False),
    Column("emitted_ms", BigInteger, nullable=False),
    Column("raw", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
posts = Table(
    "customerio_posts",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("webhook_id", Integer, nullable=False),
    Column("report_n", Integer, nullable=False, index=True),
    Column("state", String, nullable=False),
    Column("reason", String),
    Column("with_content", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("queued_ms", BigInteger, nullable=False),
    Column("sent_s", BigInteger),
    Column("changed_ms", BigInteger, nullable=False),
    Index("customerio_posts_head", "webhook_id", "state", "n"),
    sqlite_autoincrement=True,
)
_HEAD = (
    select(posts, reports.c.event_id, reports.c.body, reports.c.raw)
    .join(reports, reports.c.n == posts.c.report_n)
    .where(posts.c.webhook_id == bindparam("w"), posts.c.state == PENDING)
    .order_by(posts.c.n)
    .limit(1)
)
_END = (
    posts.update()
    .where(posts.c.n == bindparam("post"))
    .values(
        state=bindparam("end"),
        reason=bindparam("why"),
        changed_ms=bindparam("at"),
        sent_s=bindparam("sent"),
        attempts=posts.c.attempts + 1,
    )
)
_LAST = select(func.max(reports.c.n))


def last(conn: Connection) -> int:
    """The number of the newest report, 0 before the first."""
    return int(conn.execute(_LAST).scalar() or 0)


def append(conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Queue reports: ``(webhook id, report's number, state, reason, with content, now, now)``."""
    columns = ("webhook_id", "report_n", "state", "reason", "with_content", "attempts", "queued_ms", "changed_ms")
    insert_rows(conn, posts, columns, [(*row[:5], 0, *row[5:]) for row in rows])


def head(conn: Connection, webhook_id: int) -> Any:
    """The next report of a webhook: a row of its post with ``event_id``, ``body`` and ``raw``; None without one."""
    return conn.execute(_HEAD, {"w": webhook_id}).first()


def sent(conn: Connection, webhook_id: int, event_id: str) -> Any:
    """The newest post of an event id that a webhook was sent, as :func:`head` answers it; None without one."""
    query = (
        select(posts, reports.c.event_id, reports.c.body, reports.c.raw)
        .join(reports, reports.c.n == posts.c.report_n)
        .where(posts.c.webhook_id == webhook_id, reports.c.event_id == event_id, posts.c.sent_s.is_not(None))
        .order_by(posts.c.n.desc())
        .limit(1)
    )
    return conn.execute(query).first()


def body_of(row: Any) -> bytes:
    """What is posted: the report as it is, without the message's text where Body Content is off."""
    body: bytes = row.body
    if row.with_content or row.raw:
        return body
    report = orjson.loads(body)
    data = report.get("data")
    if not isinstance(data, dict) or not data.keys() & {"content", "headers"}:
        return body
    return orjson.dumps({**report, "data": {k: v for k, v in data.items() if k not in ("content", "headers")}})


def attempted(conn: Connection, n: int, sent_s: int, now_ms: int, reason: str) -> None:
    """Note a failed attempt."""
    values = {"attempts": posts.c.attempts + 1, "sent_s": sent_s, "changed_ms": now_ms, "reason": reason}
    conn.execute(posts.update().where(posts.c.n == n).values(**values))


def delivered(conn: Connection, row: Any, now_ms: int, sent_s: int) -> None:
    """Note that a receiver took a report; ``row`` is that of :func:`head`."""
    conn.execute(_END, {"post": row.n, "end": DELIVERED, "why": None, "at": now_ms, "sent": sent_s})
    ledger.mark(conn, FLOW, [row.event_id], ledger.TAKEN, now_ms)


def given_up(conn: Connection, row: Any, now_ms: int, sent_s: int, reason: str) -> None:
    """Note that a report is given up at one webhook."""
    conn.execute(_END, {"post": row.n, "end": GIVEN_UP, "why": reason, "at": now_ms, "sent": sent_s})
    settle(conn, [row.report_n], now_ms)


def end_all(conn: Connection, webhook_id: int, reason: str, now_ms: int) -> None:
    """Give up everything that waits for a webhook."""
    mine = (posts.c.webhook_id == webhook_id) & (posts.c.state == PENDING)
    numbers = list(conn.execute(select(posts.c.report_n).where(mine)).scalars())
    conn.execute(posts.update().where(mine).values(state=GIVEN_UP, reason=reason, changed_ms=now_ms))
    settle(conn, numbers, now_ms)


def settle(conn: Connection, numbers: Sequence[int], now_ms: int) -> None:
    """Write the ledger's one end of each report: taken by some receiver, or dropped once nobody is left to take it.

    An event id that was reported more than once has the best end of its reports.
    """
    if not numbers:
        return
    ids = list(conn.execute(select(reports.c.event_id).where(reports.c.n.in_(json_set(numbers)))).scalars())
    query = (
        select(reports.c.event_id, posts.c.state, func.min(posts.c.reason))
        .outerjoin(posts, posts.c.report_n == reports.c.n)
        .where(reports.c.event_id.in_(json_set(ids)))
        .group_by(reports.c.event_id, posts.c.state)
    )
    found: dict[str, dict[str | None, str | None]] = {}
    for event_id, state, reason in conn.execute(query):
        found.setdefault(event_id, {})[state] = reason
    taken = [event_id for event_id, ends in found.items() if DELIVERED in ends]
    if taken:
        ledger.mark(conn, FLOW, taken, ledger.TAKEN, now_ms)
    lost: dict[str, list[str]] = {}
    for event_id, ends in found.items():
        if DELIVERED not in ends and PENDING not in ends:
            why = ends.get(GIVEN_UP) or ends.get(NOT_SELECTED) or NO_WEBHOOK
            lost.setdefault(why, []).append(event_id)
    for why, event_ids in lost.items():
        ledger.mark(conn, FLOW, event_ids, ledger.DROPPED, now_ms, why)


NO_WEBHOOK = "no reporting webhook is set up"


def counts(conn: Connection, webhook_id: int) -> dict[str, int]:
    """How many reports of a webhook have which end."""
    query = select(posts.c.state, func.count()).where(posts.c.webhook_id == webhook_id).group_by(posts.c.state)
    found = dict.fromkeys((DELIVERED, PENDING, GIVEN_UP, NOT_SELECTED), 0)
    found.update({row[0]: row[1] for row in conn.execute(query)})
    return found


def listed(conn: Connection, *, after: int = 0, limit: int = 1000, event_id: str | None = None) -> Any:
    """Everything reported, oldest first, with its end at each webhook: ``{totals, reports, next}``.

    A report's own end is the best one of its webhooks: delivered, pending, given_up, not_selected.
    """
    query = select(reports).where(reports.c.n > after).order_by(reports.c.n).limit(limit + 1)
    if event_id is not None:
        query = query.where(reports.c.event_id == event_id)
    rows = conn.execute(query).all()
    page = rows[:limit]
    ends: dict[int, list[dict[str, Any]]] = {}
    numbers = json_set([row.n for row in page])
    for row in conn.execute(select(posts).where(posts.c.report_n.in_(numbers)).order_by(posts.c.n)):
        ends.setdefault(row.report_n, []).append(
            {
                "webhook_id": row.webhook_id,
                "end": row.state,
                "reason": row.reason,
                "attempts": row.attempts,
                "changed": clock.iso(row.changed_ms),
            }
        )
    return {
        "totals": totals(conn),
        "reports": [_shown(row, ends.get(row.n, [])) for row in page],
        "next": page[-1].n if len(rows) > limit else None,
    }


def _shown(row: Any, ends: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    states = {each["end"] for each in ends}
    try:
        report: Any = orjson.loads(row.body)
    except orjson.JSONDecodeError:
        report = row.body.decode("utf-8", "replace")
    return {
        "n": row.n,
        "event_id": row.event_id,
        "emitted": clock.iso(row.emitted_ms),
        "raw": row.raw,
        "end": next((each for each in _BEST if each in states), NOT_SELECTED),
        "webhooks": list(ends),
        "report": report,
    }


_BEST = (DELIVERED, PENDING, GIVEN_UP, NOT_SELECTED)


def totals(conn: Connection) -> dict[str, Any]:
    """How many reports have which end."""
    query = select(reports.c.n, posts.c.state).outerjoin(posts, posts.c.report_n == reports.c.n).distinct()
    states: dict[int, set[str | None]] = {}
    for n, state in conn.execute(query):
        states.setdefault(n, set()).add(state)
    counted = dict.fromkeys(_BEST, 0)
    for found in states.values():
        counted[next((each for each in _BEST if each in found), NOT_SELECTED)] += 1
    return {"emitted": len(states), **counted}
