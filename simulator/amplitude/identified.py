"""Device, place, language and version that Identify calls set on a user: they are no events, so they are kept apart.

Source: Amplitude docs, Identify API, Keys for the identification argument. The fields of the device, and those of the
place, are updated together: a call that brings some of them empties the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, func, select

from simulator.amplitude import tables
from simulator.store import json_set, metadata, upsert_rows

DEVICE = ("platform", "os_name", "os_version", "device_brand", "device_manufacturer", "device_model", "carrier")
PLACE = ("country", "region", "city", "dma")
LANGUAGE = ("language",)
VERSION = ("app_version",)
GROUPS: Mapping[str, Sequence[str]] = {"device": DEVICE, "place": PLACE, "language": LANGUAGE, "version": VERSION}
"""Groups of fields, each updated as a whole."""

_identified = Table(
    "amplitude_identified",
    metadata,
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("part", String, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("after_n", Integer, nullable=False),
    Column("fields", String, nullable=False),
    sqlite_with_rowid=False,
)


def note(conn: Connection, calls: Sequence[tuple[int, Mapping[str, Any]]], now_ms: int) -> None:
    """Keep what ``$identify`` events, each with its owner's Amplitude ID, say of device, place, language, version."""
    found: dict[tuple[int, str], tuple[int, str]] = {}
    for owner, event in calls:
        for part, names in GROUPS.items():
            fields = {name: event[name] for name in names if name in event}
            if fields:
                found[(owner, part)] = (event.get("time", now_ms), orjson.dumps(fields).decode())
    if not found:
        return
    last = conn.execute(select(func.coalesce(func.max(tables.events.c.n), 0))).scalar_one()
    rows = [(*key, at_ms, last, fields) for key, (at_ms, fields) in found.items()]
    columns = ("amplitude_id", "part", "at_ms", "after_n", "fields")
    upsert_rows(conn, _identified, columns, rows, columns[:2])


def newest(conn: Connection, people: Collection[int], part: str) -> tuple[tuple[int, int], dict[str, Any]] | None:
    """When these Amplitude IDs were last told a part, as ``(ms, number of the event before)``, and its fields."""
    table = _identified
    mine = (table.c.amplitude_id.in_(json_set(people)), table.c.part == part)
    row = conn.execute(select(table).where(*mine).order_by(table.c.at_ms.desc(), table.c.after_n.desc())).first()
    return None if row is None else ((row.at_ms, row.after_n), orjson.loads(row.fields))
