"""Computing cohorts: members as a definition picks them now, and who has entered and left since the last time.

A cohort is computed again when it is read and its members are older than ``amplitude.cohort_recompute_s``.
Source: Amplitude docs, Behavioral Cohorts API; Sync cohorts with destinations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, Table, func, insert, literal, select

from simulator.amplitude import cohort_tables, definitions
from simulator.amplitude.cohort_tables import cohorts, members
from simulator.store import OBSERVING, json_set, metadata, upsert_rows
from simulator.tank import Tank

ACTIVE_DAYS = 90
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

_computed = Table(
    "amplitude_cohort_computed",
    metadata,
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("mark", Integer),
)
OBSERVING.add("amplitude_cohort_computed")


@dataclass(frozen=True)
class Change:
    """What a computation has changed."""

    entered: int
    left: int
    size: int


def active_id(tank: Tank) -> str:
    """The id of the cohort "active in the last 90 days", which every project has."""
    rng = tank.rng("active-cohort")
    return "a" + "".join(rng.choice(_ALPHABET) for _ in range(7))


def ensure_active(conn: Connection, tank: Tank, now_ms: int) -> None:
    """Make the cohort of active users when the project has not got it yet; it is not published, so no list has it."""
    if cohort_tables.row(conn, active_id(tank)) is None:
        clause = {"type": "active", "within_days": ACTIVE_DAYS}
        definition = {"andClauses": [{"negated": False, "orClauses": [clause]}]}
        save(conn, active_id(tank), "Active users, last 90 days", definition, now_ms, published=False)


def save(
    conn: Connection,
    cohort_id: str,
    name: str,
    definition: Mapping[str, Any],
    now_ms: int,
    *,
    owner: str = "analyst@example.com",
    published: bool = True,
) -> None:
    """Store a computed cohort, whose members are computed when it is read next; raises ValueError for a bad one."""
    definitions.check(definition)
    text = orjson.dumps(definition).decode()
    old = cohort_tables.row(conn, cohort_id)
    created_ms = now_ms if old is None else old.created_ms
    columns = ("id", "name", "owner", "published", "created_ms", "changed_ms", "definition", "computed_ms")
    row = (cohort_id, name, owner, int(published), created_ms, now_ms, text, None)
    upsert_rows(conn, cohorts, columns, [row], ("id",))


def refresh(conn: Connection, tank: Tank, cohort_id: str, now_ms: int) -> None:
    """Compute a cohort when it has a definition and its members are too old."""
    row = cohort_tables.row(conn, cohort_id)
    if row is None or row.definition is None:
        return
    oldest = now_ms - round(1000 * float(tank.settings["amplitude.cohort_recompute_s"]))
    if row.computed_ms is None or row.computed_ms <= oldest:
        recompute(conn, cohort_id, now_ms)


def of_person(conn: Connection, person: int, cohort_ids: Sequence[str]) -> list[str]:
    """Which of these cohorts a person is in, in order of their ids."""
    query = select(members.c.cohort_id).where(members.c.amplitude_id == person)
    wanted = query.where(members.c.cohort_id.in_(json_set(cohort_ids))).order_by(members.c.cohort_id)
    return list(conn.execute(wanted).scalars())


def recompute(conn: Connection, cohort_id: str, now_ms: int) -> Change:
    """Make the members those whom the definition picks at ``now_ms``; the cohort has to have one."""
    row = cohort_tables.row(conn, cohort_id)
    picked = definitions.people(orjson.loads(row.definition), now_ms)
    conn.execute(_computed.delete())
    conn.execute(insert(_computed).from_select(["amplitude_id"], picked))
    mine = members.c.cohort_id == cohort_id
    held = select(members.c.amplitude_id).where(mine)
    new = select(literal(cohort_id), _computed.c.amplitude_id).where(_computed.c.amplitude_id.not_in(held))
    gone = members.delete().where(mine, members.c.amplitude_id.not_in(select(_computed.c.amplitude_id)))
    entered = conn.execute(insert(members).from_select(["cohort_id", "amplitude_id"], new)).rowcount
    left = conn.execute(gone).rowcount
    size = conn.execute(select(func.count()).select_from(_computed)).scalar_one()
    conn.execute(_computed.delete())
    conn.execute(cohorts.update().where(cohorts.c.id == cohort_id).values(computed_ms=now_ms))
    return Change(entered, left, size)
