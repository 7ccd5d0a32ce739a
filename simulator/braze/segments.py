"""Segments of a workspace: who is in one, and the list of them.

They are made in Braze's dashboard, here over the control API. Who is in one follows from the applied state whenever
somebody asks. Source: Braze docs, Segments; Export segment list; Export segment details.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, Select, String, Table, func, select

from simulator.braze import dates, segment_filters
from simulator.braze.comparisons import Invalid, Sight
from simulator.braze.user_tables import profiles
from simulator.store import metadata
from simulator.tank import Tank

__all__ = ["Invalid", "audience", "described", "find", "listed", "make", "members", "remove", "shown", "size"]

table = Table(
    "braze_segments",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("segment_id", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("definition", String, nullable=False),
    Column("tags", String, nullable=False),
    Column("teams", String, nullable=False),
    Column("tracked", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)


def audience(tank: Tank, definition: Mapping[str, Any], now_ms: int) -> Select[int]:
    """The numbers of the living profiles that a definition takes, in order: a subquery or a statement.

    ``definition`` may be a connected audience object. Raises :class:`Invalid` when it does not fit.
    """
    segment_filters.check(definition)
    return _select(tank, definition, now_ms)


def members(conn: Connection, tank: Tank, segment_id: str, now_ms: int) -> Select[int]:
    """The numbers (``uid``) of a segment's members, in order; nobody for a segment that is not there."""
    row = find(conn, segment_id)
    if row is None:
        return select(profiles.c.uid).where(profiles.c.uid == -1)
    return _select(tank, orjson.loads(row.definition), now_ms)


def _select(tank: Tank, definition: Mapping[str, Any], now_ms: int) -> Select[int]:
    sight = Sight(now_ms, tank.settings["braze.segment_negation"] == "holds_without_value")
    holds = segment_filters.where_(definition, sight)
    return select(profiles.c.uid).where(profiles.c.gone == "", holds).order_by(profiles.c.uid)


def size(conn: Connection, tank: Tank, segment_id: str, now_ms: int) -> int:
    """How many are in a segment."""
    inside = members(conn, tank, segment_id, now_ms).order_by(None).subquery()
    return int(conn.execute(select(func.count()).select_from(inside)).scalar_one())


def find(conn: Connection, segment_id: str) -> Any:
    """The row of a segment, None when there is none."""
    return conn.execute(select(table).where(table.c.segment_id == segment_id)).first()


def make(conn: Connection, tank: Tank, given: Mapping[str, Any], now_ms: int, segment_id: str | None = None) -> str:
    """Make a segment, or edit the one of ``segment_id``; answers its id, a UUID.

    ``given`` has ``name`` and ``definition``, and may have ``description``, ``tags``, ``teams`` and
    ``analytics_tracking_enabled``. Raises :class:`Invalid` when the definition does not fit or the name is taken.
    """
    segment_filters.check(given["definition"])
    same = conn.execute(select(table.c.segment_id).where(table.c.name == given["name"])).scalar()
    if same is not None and same != segment_id:
        raise Invalid(f"name: there is a segment {given['name']!r} already")
    values = {
        "name": given["name"],
        "description": given.get("description", ""),
        "definition": orjson.dumps(given["definition"]).decode(),
        "tags": orjson.dumps(given.get("tags", [])).decode(),
        "teams": orjson.dumps(given.get("teams", [])).decode(),
        "tracked": given.get("analytics_tracking_enabled", True),
        "updated_ms": now_ms,
    }
    if segment_id is not None and find(conn, segment_id) is not None:
        conn.execute(table.update().where(table.c.segment_id == segment_id).values(**values))
        return segment_id
    if segment_id is None:
        count = conn.execute(select(func.coalesce(func.max(table.c.n), 0))).scalar_one()
        segment_id = _uuid(f"{tank.seed}:braze_segment:{count}")
    conn.execute(table.insert().values(segment_id=segment_id, created_ms=now_ms, **values))
    return segment_id


def _uuid(text: str) -> str:
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


def remove(conn: Connection, segment_id: str) -> bool:
    """Delete a segment; False when there is none."""
    return conn.execute(table.delete().where(table.c.segment_id == segment_id)).rowcount > 0


def listed(conn: Connection, *, newest_first: bool = False, offset: int = 0, limit: int | None = None) -> list[Any]:
    """Rows of segments in order of creation."""
    order = table.c.n.desc() if newest_first else table.c.n
    return list(conn.execute(select(table).order_by(order).offset(offset).limit(limit)))


def shown(row: Any) -> dict[str, Any]:
    """A segment for the control API."""
    return {
        "segment_id": row.segment_id,
        "name": row.name,
        "description": row.description,
        "definition": orjson.loads(row.definition),
        "tags": orjson.loads(row.tags),
        "teams": orjson.loads(row.teams),
        "analytics_tracking_enabled": row.tracked,
        "created_at": dates.shown(row.created_ms),
        "updated_at": dates.shown(row.updated_ms),
    }


def described(node: Mapping[str, Any], titles: Mapping[tuple[str, str], str]) -> str:
    """A definition in words; ``titles`` are those of imported cohorts by partner and cohort id."""
    kind, given = next(iter(node.items()))
    if kind in ("AND", "OR"):
        return "(" + f" {kind.lower()} ".join(described(each, titles) for each in given) + ")"
    if kind == "NOT":
        return f"not {described(given, titles)}"
    comparison = given["comparison"].replace("_", " ")
    if kind == "partner_cohort":
        key = (given["partner"], given["cohort_id"])
        return f"{given['partner'].capitalize()} Cohorts {comparison} {titles.get(key, given['cohort_id'])}"
    words = [str(each) for name, each in given.items() if name not in ("comparison", "value", "days", "path")]
    path = [".".join(given["path"])] if "path" in given else []
    value = [str(given["value"])] if "value" in given else []
    days = [f"in the last {given['days']} days"] if "days" in given else []
    return " ".join([kind.replace("_", " "), *words, *path, comparison, *value, *days])
