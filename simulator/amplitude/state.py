"""What an Amplitude project holds, read back for the control API, and presets for scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from simulator import clock
from simulator.amplitude import tables, throttle
from simulator.ledger import Fate
from simulator.store import insert_rows, upsert_rows
from simulator.tank import Tank


def events(
    conn: Connection,
    *,
    limit: int = 1000,
    after: int = 0,
    user_id: str | None = None,
    device_id: str | None = None,
    insert_id: str | None = None,
    event_type: str | None = None,
) -> dict[str, Any]:
    """Stored events, oldest first: ``{"events": […], "next": cursor or None}``."""
    table = tables.events
    query = select(table).where(table.c.n > after).order_by(table.c.n).limit(limit + 1)
    wanted = {"user_id": user_id, "device_id": device_id, "insert_id": insert_id, "event_type": event_type}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(table.c[name] == value)
    rows = conn.execute(query).all()
    shown = [_shown(row) for row in rows[:limit]]
    return {"events": shown, "next": shown[-1]["n"] if len(rows) > limit else None}


def _shown(row: Any) -> dict[str, Any]:
    return {
        "n": row.n,
        "amplitude_id": row.amplitude_id,
        "user_id": row.user_id,
        "device_id": row.device_id,
        "event_type": row.event_type,
        "time": row.time_ms,
        "insert_id": row.insert_id,
        "server_received_time": row.received_ms,
        "server_upload_time": row.received_ms,
        "route": row.route,
        "event": orjson.loads(row.event),
        "user_properties": orjson.loads(row.user_properties) if row.user_properties else {},
    }


def arrivals(conn: Connection, *, limit: int = 1000, after: int = 0) -> dict[str, Any]:
    """Stored events in few words: ``{"arrivals": [{n, insert_id, device_id, time, received}], "next": …}``; ms."""
    table = tables.events.c
    query = select(table.n, table.insert_id, table.device_id, table.time_ms, table.received_ms)
    rows = conn.execute(query.where(table.n > after).order_by(table.n).limit(limit + 1)).all()
    shown = [
        {"n": n, "insert_id": insert_id, "device_id": device_id, "time": time_ms, "received": received_ms}
        for n, insert_id, device_id, time_ms, received_ms in rows[:limit]
    ]
    return {"arrivals": shown, "next": shown[-1]["n"] if len(rows) > limit else None}


def users(conn: Connection, *, limit: int = 1000, after: int = 0) -> dict[str, Any]:
    """People by Amplitude ID: their user id, devices, merged ids, and user properties."""
    found: dict[int, dict[str, Any]] = {}

    def person(amplitude_id: int) -> dict[str, Any]:
        return found.setdefault(
            amplitude_id,
            {
                "amplitude_id": amplitude_id,
                "user_id": None,
                "devices": [],
                "merged_amplitude_ids": [],
                "user_properties": {},
            },
        )

    for row in conn.execute(select(tables.users)):
        person(row.amplitude_id)["user_id"] = row.user_id
    for row in conn.execute(select(tables.devices).order_by(tables.devices.c.device_id)):
        owner = row.user_amplitude_id if row.user_amplitude_id is not None else row.own_id
        if owner is not None:
            person(owner)["devices"].append(row.device_id)
    for row in conn.execute(select(tables.merges).order_by(tables.merges.c.n)):
        person(row.merged_amplitude_id)["merged_amplitude_ids"].append(row.amplitude_id)
    for row in conn.execute(select(tables.properties)):
        person(row.amplitude_id)["user_properties"] = orjson.loads(row.properties)
    ordered = [found[each] for each in sorted(found) if each > after]
    return {"users": ordered[:limit], "next": ordered[limit - 1]["amplitude_id"] if len(ordered) > limit else None}


def merges(conn: Connection) -> dict[str, Any]:
    """Which Amplitude IDs were merged into which, and when."""
    return {
        "merges": [
            {
                "scope": 0,
                "amplitude_id": row.amplitude_id,
                "merged_amplitude_id": row.merged_amplitude_id,
                "merge_time": clock.iso(row.merge_time_ms),
            }
            for row in conn.execute(select(tables.merges).order_by(tables.merges.c.n))
        ]
    }


def usage(conn: Connection, tank: Tank, now_ms: int) -> dict[str, Any]:
    """How much of its limits every id has used, now."""
    shown: dict[str, list[dict[str, Any]]] = {"devices": [], "users": []}
    for row in conn.execute(select(tables.usage).order_by(tables.usage.c.kind, tables.usage.c.id)):
        kind, _, bucket = row.kind.partition("@")
        if kind not in ("device", "user"):
            continue
        rate, hours = orjson.loads(row.used)
        shown[f"{kind}s"].append(
            {
                "id": row.id,
                "bucket": bucket,
                "last_second": throttle.recent((rate, hours), now_ms, 1000),
                "last_24_hours": throttle.today((rate, hours), now_ms),
            }
        )
    silenced = list(conn.execute(select(tables.silenced.c.device_id)).scalars())
    return {"limits": tank.limits, **shown, "silenced_devices": sorted(silenced)}


def preset_usage(
    conn: Connection,
    tank: Tank,
    *,
    devices: Sequence[Mapping[str, Any]] = (),
    users: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Pretend that ``{"id", "events", "at_ms"}`` had been counted towards the daily quota."""
    rows = []
    for kind, given in (("device", devices), ("user", users)):
        merged: dict[str, dict[int, int]] = {}
        for each in given:
            hours = merged.setdefault(each["id"], {})
            hour = each["at_ms"] // throttle.HOUR_MS
            hours[hour] = hours.get(hour, 0) + each["events"]
        for each_id, hours in merged.items():
            used: throttle.Use = ([], sorted([hour, n] for hour, n in hours.items()))
            text = orjson.dumps(used).decode()
            rows += [(f"{kind}@{bucket}", each_id, text) for bucket in sorted(throttle.buckets(tank.limits))]
    upsert_rows(conn, tables.usage, ("kind", "id", "used"), rows, ("kind", "id"))


def set_silenced(conn: Connection, device_ids: Sequence[str]) -> None:
    """Silence exactly these devices."""
    conn.execute(tables.silenced.delete())
    insert_rows(conn, tables.silenced, ("device_id",), [(each,) for each in dict.fromkeys(device_ids)])


def fates(conn: Connection, tank: Tank) -> dict[str, Fate]:
    """What the project knows of every insert_id it was sent, for the ledger."""
    table = tables.events
    rows: dict[str, int] = {
        row[0]: row[1] for row in conn.execute(select(table.c.insert_id, func.count()).group_by(table.c.insert_id))
    }
    again: dict[str, int] = {row[0]: row[1] for row in conn.execute(select(tables.duplicates))}
    refused = {row.insert_id: row for row in conn.execute(select(tables.refusals))}
    return {
        each: Fate(
            rows.get(each, 0),
            again.get(each, 0),
            refused[each].reason if each in refused and refused[each].final else None,
            refused[each].reason if each in refused and not refused[each].final else None,
        )
        for each in {*rows, *again, *refused}
    }
