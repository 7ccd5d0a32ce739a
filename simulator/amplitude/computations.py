"""Computed properties: what one person's events come to, as one SQL query over all people asked for.

``{"name", "type": count|sum|min|max|avg|first|last, "event_type", "property", "within_days", "where"}``; property is
needed by all but count. Source: Amplitude docs, Computed properties; User Profile API (values are texts).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    cast,
    func,
    insert,
    literal,
    select,
)

from simulator.amplitude import cohort_tables, definitions, models, tables
from simulator.dialect import decimal_text, json_number, json_text, json_type
from simulator.store import json_set, metadata

_AGGREGATE: Mapping[str, Any] = {"sum": func.sum, "min": func.min, "max": func.max, "avg": func.avg}

_computed = Table(
    "amplitude_computed_values",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("value", String, nullable=False),
    sqlite_with_rowid=False,
)


def values(conn: Connection, definition: Mapping[str, Any], now_ms: int, people: Collection[int]) -> dict[int, str]:
    """The value of a computation at ``now_ms`` by Amplitude ID; who has no such event has none.

    A count is a whole number, an aggregation a decimal one (``"5000000.0"``), first and last are the property's text.
    """
    _, person = definitions.people_of_events()
    return {row[0]: row[1] for row in conn.execute(_query(definition, now_ms, person.in_(json_set(people))))}


def _query(definition: Mapping[str, Any], now_ms: int, who: ColumnElement[bool]) -> Select[Any]:
    """``(person, value as text)`` of everybody among ``who`` that has a value."""
    events = tables.events
    joined, person = definitions.people_of_events()
    wanted = [*definitions.events_of({**definition, "type": "event"}, now_ms), who]
    kind = definition["type"]
    if kind == "count":
        return select(person, cast(func.count(), String)).select_from(joined).where(*wanted).group_by(person)
    path = f'$.event_properties."{definition["property"]}"'
    if kind in _AGGREGATE:
        number = json_type(events.c.event, path).in_(("integer", "real"))
        value = decimal_text(_AGGREGATE[kind](json_number(events.c.event, path)))
        return select(person, value).select_from(joined).where(*wanted, number).group_by(person)
    text = json_text(events.c.event, path)
    order = (events.c.time_ms, events.c.n) if kind == "first" else (events.c.time_ms.desc(), events.c.n.desc())
    place = func.row_number().over(partition_by=person, order_by=order).label("place")
    ranked = select(person.label("person"), text.label("value"), place).select_from(joined)
    inner = ranked.where(*wanted, text.is_not(None)).subquery()
    return select(inner.c.person, inner.c.value).where(inner.c.place == 1)


def keep(conn: Connection, request_id: str, cohort_id: str, names: Collection[str], now_ms: int) -> None:
    """Compute the members' values of those ``names`` that are computations, for a download's file."""
    by_name = {each["name"]: each for each in models.listed(conn, "computations").values()}
    _, person = definitions.people_of_events()
    inside = select(cohort_tables.members.c.amplitude_id).where(cohort_tables.members.c.cohort_id == cohort_id)
    for name in names:
        if name in by_name:
            found = _query(by_name[name], now_ms, person.in_(inside)).subquery()
            row = select(literal(request_id), literal(name), found.c[0], found.c[1])
            conn.execute(insert(_computed).from_select(["request_id", "name", "amplitude_id", "value"], row))


def kept(conn: Connection, request_id: str, people: Collection[int]) -> dict[int, dict[str, str]]:
    """What :func:`keep` computed for a request: name → value by Amplitude ID."""
    table, found = _computed, dict[int, dict[str, str]]()
    query = select(table.c.amplitude_id, table.c.name, table.c.value)
    mine = (table.c.request_id == request_id, table.c.amplitude_id.in_(json_set(people)))
    for row in conn.execute(query.where(*mine)):
        found.setdefault(row[0], {})[row[1]] = row[2]
    return found


def forget(conn: Connection, requests: Select[Any]) -> None:
    """Drop what was kept for these requests, which have expired."""
    conn.execute(_computed.delete().where(_computed.c.request_id.in_(requests)))
