"""The ledger: what became of every emitted event, from emitted to its one end.

The source platform writes what it knows (queued, taken by the connector, dropped and why); what the
destination holds is joined when the ledger is read, so the two sides are witnesses of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, bindparam, func, select

from simulator import clock
from simulator.store import insert_rows, json_set, metadata

_ledger = Table(
    "ledger",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("flow", String, nullable=False),
    Column("event_id", String, nullable=False, index=True),
    Column("event_type", String, nullable=False),
    Column("emitted_ms", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String),
    Column("changed_ms", BigInteger, nullable=False),
)

QUEUED = "queued"
TAKEN = "taken"
DROPPED = "dropped"


@dataclass(frozen=True)
class Fate:
    """What the destination knows of one event id.

    :param rows: how many times it is stored; :param duplicates: arrivals ignored as duplicates;
    :param refused: the reason it was last refused for good, or None; :param held: the reason it was last
    refused for now (throttled, quota), or None.
    """

    rows: int = 0
    duplicates: int = 0
    refused: str | None = None
    held: str | None = None


def emitted(conn: Connection, flow: str, events: Iterable[tuple[str, str]], now_ms: int) -> None:
    """Open an entry for each ``(event_id, event_type)``; it is queued at the source platform."""
    insert_rows(
        conn,
        _ledger,
        ["flow", "event_id", "event_type", "emitted_ms", "state", "changed_ms"],
        [(flow, event_id, event_type, now_ms, QUEUED, now_ms) for event_id, event_type in events],
    )


def mark(
    conn: Connection, flow: str, event_ids: Sequence[str], state: str, now_ms: int, reason: str | None = None
) -> None:
    """Set what the source platform knows: :data:`TAKEN` by the connector or :data:`DROPPED` with a reason."""
    conn.execute(
        _ledger.update()
        .where(_ledger.c.flow == flow, _ledger.c.event_id.in_(json_set(event_ids)))
        .values(state=bindparam("s"), reason=bindparam("r"), changed_ms=bindparam("c")),
        {"s": state, "r": reason, "c": now_ms},
    )


def known(conn: Connection, flow: str, event_ids: Sequence[str]) -> set[str]:
    """Which of these ids the ledger of this flow holds already."""
    query = select(_ledger.c.event_id).where(_ledger.c.flow == flow, _ledger.c.event_id.in_(json_set(event_ids)))
    return set(conn.execute(query).scalars())


def count(conn: Connection, flow: str) -> int:
    """How many events of this flow were emitted."""
    return int(conn.execute(_count(flow)).scalar_one())


def read(
    conn: Connection,
    fates: Mapping[str, Fate],
    *,
    flow: str | None = None,
    state: str | None = None,
    limit: int = 1000,
    after: int = 0,
) -> dict[str, Any]:
    """The ledger as ``{totals, entries, next}``.

    ``fates`` is the destination's view by event id. ``totals.balanced`` is false, and the difference is named
    in ``totals.mismatch``, when the states do not add up to what was emitted.
    """
    query = select(_ledger).order_by(_ledger.c.n)
    if flow is not None:
        query = query.where(_ledger.c.flow == flow)
    totals = {"emitted": 0, "delivered": 0, "refused": 0, "dropped": 0, "pending": 0}
    reasons: dict[str, int] = {}
    arrivals = twice = 0
    shown: list[dict[str, Any]] = []
    cursor: int | None = None
    seen: set[str] = set()
    for row in conn.execute(query):
        entry = _entry(row, fates.get(row.event_id, _UNSEEN))
        totals["emitted"] += 1
        totals[entry["state"]] += 1
        arrivals += max(0, entry["arrivals"] - 1)
        twice += max(0, entry["stored"] - 1)
        seen.add(row.event_id)
        if entry["reason"] and entry["state"] != "delivered":
            key = f"{entry['state']}: {entry['reason']}"
            reasons[key] = reasons.get(key, 0) + 1
        if row.n <= after or (state is not None and entry["state"] != state):
            continue
        if len(shown) < limit:
            shown.append(entry)
        elif cursor is None:
            cursor = shown[-1]["n"]
    counted = conn.execute(_count(flow)).scalar_one()
    parts = totals["delivered"] + totals["refused"] + totals["dropped"] + totals["pending"]
    balanced = counted == totals["emitted"] == parts
    summary: dict[str, Any] = {
        **totals,
        "duplicates_at_amplitude": arrivals,
        "stored_twice": twice,
        "not_emitted_here": sum(1 for event_id in fates if event_id not in seen) if flow is None else None,
        "reasons": reasons,
        "balanced": balanced,
    }
    if not balanced:
        summary["mismatch"] = f"{counted} entries, {totals['emitted']} read, {parts} accounted for"
    return {"totals": summary, "entries": shown, "next": cursor}


_UNSEEN = Fate()


def _count(flow: str | None) -> Any:
    query = select(func.count()).select_from(_ledger)
    return query if flow is None else query.where(_ledger.c.flow == flow)


def _entry(row: Any, fate: Fate) -> dict[str, Any]:
    if fate.rows:
        state, reason = "delivered", None
    elif row.state == DROPPED:
        state, reason = "dropped", row.reason
    elif fate.refused is not None:
        state, reason = "refused", fate.refused
    elif fate.held is not None:
        state, reason = "pending", fate.held
    else:
        state = "pending"
        reason = "queued at the source platform" if row.state == QUEUED else "taken by the connector"
    return {
        "n": row.n,
        "event_id": row.event_id,
        "event_type": row.event_type,
        "flow": row.flow,
        "state": state,
        "reason": reason,
        "emitted": clock.iso(row.emitted_ms),
        "changed": clock.iso(row.changed_ms),
        "arrivals": fate.rows + fate.duplicates,
        "stored": fate.rows,
    }
