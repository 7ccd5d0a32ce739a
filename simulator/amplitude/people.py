"""Looking people up: user search and user activity.

Source: Amplitude docs, Dashboard REST API (User Search, User Activity).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, func, or_, select

from simulator.amplitude import identified, ingest, rows, tables, usermap
from simulator.amplitude.callers import whole_number
from simulator.amplitude.export import refused
from simulator.amplitude.storing import REVENUE
from simulator.dialect import command, json_integer, json_text
from simulator.exchange import Answer, Call

REST = "Amplitude docs, Dashboard REST API"
MAX_ACTIVITY = 1000
MAX_MATCHES = 100


_INDEXED = (
    (tables.events.c.amplitude_id, "amplitude_events_of_person"),
    (tables.devices.c.own_id, "amplitude_devices_own"),
    (tables.devices.c.user_amplitude_id, "amplitude_devices_of_user"),
    (tables.merges.c.amplitude_id, "amplitude_merges_gone"),
    (tables.merges.c.merged_amplitude_id, "amplitude_merges_into"),
)


def indexed(conn: Connection) -> None:
    """Make what finds one person's rows among all, unless it is there: from the first look at a person on, so that
    ingest does not pay for it where nobody is looked up."""
    for column, name in _INDEXED:
        command(conn, f"CREATE INDEX IF NOT EXISTS {name} ON {column.table.name} ({column.name})")


def canonical(conn: Connection, amplitude_id: int) -> tuple[int, list[int]]:
    """The id that an id belongs to by now, and every id that was merged into it.

    One step each way: what an id is merged into has a user, and such an id is never merged itself.
    """
    indexed(conn)
    table = tables.merges
    now = conn.execute(select(table.c.merged_amplitude_id).where(table.c.amplitude_id == amplitude_id)).scalar()
    person = amplitude_id if now is None else now
    gone = select(table.c.amplitude_id).where(table.c.merged_amplitude_id == person).order_by(table.c.amplitude_id)
    return person, list(conn.execute(gone).scalars())


def search(call: Call) -> Answer:
    """`/api/2/usersearch`: by Amplitude ID, user id, device id, or the beginning of a user id."""
    wanted = call.detail.get("user", "")
    if not wanted:
        return refused(400, "Invalid request", "user is missing")
    if ingest.over_rate(call, "usersearch", 1, 360, 3_600_000):
        return refused(429, "Too many requests", "more than 360 searches an hour")
    kind, found = _matches(call.conn, wanted)
    matches = [{"user_id": user_id, "amplitude_id": amplitude_id} for amplitude_id, user_id in found]
    return Answer(200, {"matches": matches, "type": kind})


def _matches(conn: Connection, wanted: str) -> tuple[str, list[tuple[int, str | None]]]:
    users, devices = tables.users, tables.devices
    number = whole_number(wanted)
    if number is not None:
        amplitude_id = canonical(conn, number)[0]
        name = _name_of(conn, amplitude_id)
        own = conn.execute(
            select(devices.c.device_id).where(
                or_(devices.c.own_id == amplitude_id, devices.c.user_amplitude_id == amplitude_id)
            )
        ).first()
        if name is not None or own is not None:
            return "match_amplitude_id", [(amplitude_id, name)]
    pairs = select(users.c.amplitude_id, users.c.user_id)
    found: dict[int, str | None] = {row[0]: row[1] for row in conn.execute(pairs.where(users.c.user_id == wanted))}
    device = conn.execute(select(devices).where(devices.c.device_id == wanted)).first()
    if device is not None:
        owner = device.user_amplitude_id if device.user_amplitude_id is not None else device.own_id
        found[owner] = _name_of(conn, owner)
    if found:
        return "match_user_or_device_id", sorted(found.items())
    beginning = pairs.where(func.substr(users.c.user_id, 1, len(wanted)) == wanted)
    known = conn.execute(beginning.order_by(users.c.amplitude_id).limit(MAX_MATCHES)).all()
    return ("match_user_prefix", [(row[0], row[1]) for row in known]) if known else ("nomatch", [])


def _name_of(conn: Connection, amplitude_id: int) -> str | None:
    users = tables.users
    found: str | None = conn.execute(select(users.c.user_id).where(users.c.amplitude_id == amplitude_id)).scalar()
    return found


def activity(call: Call) -> Answer:
    """`/api/2/useractivity`: a person's summary and events, newest first unless ``direction=earliest``."""
    given = call.detail
    numbers: dict[str, int] = {}
    for name, default in (("user", None), ("offset", "0"), ("limit", str(MAX_ACTIVITY))):
        text = given.get(name, default)
        number = None if text is None else whole_number(text)
        if number is None:
            return refused(400, "Invalid request", f"{name} is no number")
        numbers[name] = number
    if given.get("direction", "latest") not in ("latest", "earliest"):
        return refused(400, "Invalid request", "direction is latest or earliest")
    conn = call.conn
    person, merged = canonical(conn, numbers["user"])
    table = tables.events
    mine = table.c.amplitude_id.in_([person, *merged])
    shared = table.c.amplitude_id.in_(_stream_of(conn, person, merged))
    order = (
        (table.c.time_ms, table.c.n)
        if given.get("direction") == "earliest"
        else (table.c.time_ms.desc(), table.c.n.desc())
    )
    limit = min(MAX_ACTIVITY, numbers["limit"] + 1)  # the limit counts from 0
    query = rows.query().where(shared).order_by(*order).offset(numbers["offset"]).limit(limit)
    app = rows.project_id(call.tank.id, call.tank.seed)
    created_ms = conn.execute(select(func.min(table.c.time_ms)).where(mine)).scalar()
    found = list(conn.execute(query))
    found += _rest_of_session(conn, found, shared, order)
    events = [rows.raw(row, app, created_ms) for row in found]
    return Answer(200, {"userData": _summary(conn, person, merged, mine), "events": events})


def _stream_of(conn: Connection, person: int, merged: Sequence[int]) -> list[int]:
    """Whose events a person's stream shows: the person's own, and those of users mapped to the person's user id.

    Source: Amplitude docs, User Mapping (Aliasing) API: a mapped user's stream shows only its own.
    """
    found = [person, *merged]
    name = _name_of(conn, person)
    for alias in [] if name is None else usermap.people_mapped_to(conn, name):
        found += [alias, *canonical(conn, alias)[1]]
    return list(dict.fromkeys(found))


def _rest_of_session(conn: Connection, found: Sequence[Any], mine: Any, order: Any) -> list[Any]:
    """Further events of the session that the last one belongs to: no session is cut."""
    session = orjson.loads(found[-1].event).get("session_id", -1) if found else -1
    if session == -1:
        return []
    last = found[-1]
    same = json_integer(tables.events.c.event, "$.session_id") == session
    query = rows.query().where(mine, same).order_by(*order)
    together = list(conn.execute(query))
    return together[[row.n for row in together].index(last.n) + 1 :]


def day_of(ms: int | None) -> str | None:
    """``2026-01-31``."""
    return None if ms is None else rows.when(ms)[:10]


def _summary(conn: Connection, person: int, merged: list[int], mine: Any) -> dict[str, Any]:
    table, devices = tables.events, tables.devices
    count, first, last = conn.execute(
        select(func.count(), func.min(table.c.time_ms), func.max(table.c.time_ms)).where(mine)
    ).one()
    user_id = _name_of(conn, person)
    owned = conn.execute(
        select(devices.c.device_id)
        .where(or_(devices.c.user_amplitude_id == person, devices.c.own_id.in_([person, *merged])))
        .order_by(devices.c.device_id)
    ).scalars()
    newest = conn.execute(
        select(table.c.device_id).where(mine).order_by(table.c.time_ms.desc(), table.c.n.desc()).limit(1)
    ).scalar()
    told = {part: _newest_of(conn, [person, *merged], mine, part) for part in identified.GROUPS}
    device, place = told["device"], told["place"]
    sessions, usage_ms = _sessions(conn, mine)
    purchases, revenue = _revenue(conn, mine)
    found: dict[str, Any] = {
        "user_id": user_id,
        "canonical_amplitude_id": person,
        "merged_amplitude_ids": merged,
        "num_events": count,
        "num_sessions": sessions,
        "usage_time": usage_ms,
        "first_used": day_of(first),
        "last_used": day_of(last),
        "purchases": purchases,
        "revenue": revenue,
        "platform": device.get("platform"),
        "os": device.get("os_name"),
        "version": told["version"].get("app_version"),
        "device": device.get("device_model"),
        "device_type": None,
        "carrier": device.get("carrier"),
        **{name: place.get(name) for name in identified.PLACE},
        "language": told["language"].get("language"),
        "start_version": conn.execute(
            select(tables.facts.c.start_version).where(tables.facts.c.amplitude_id == person)
        ).scalar(),
        "device_ids": list(owned),
        "last_location": _location(_newest_with(conn, mine, ("location_lat",))),
        "properties": stored_properties(conn, person),
    }
    if newest is None:
        found["last_device_id"] = None
    return found


def stored_properties(conn: Connection, person: int) -> dict[str, Any]:
    """The user properties that are kept for a person."""
    table = tables.properties
    text = conn.execute(select(table.c.properties).where(table.c.amplitude_id == person)).scalar()
    found: dict[str, Any] = orjson.loads(text) if text else {}
    return found


def _newest_of(conn: Connection, people: Sequence[int], mine: Any, part: str) -> dict[str, Any]:
    """The fields of a part as the newest event or Identify call that brought any of them has them."""
    event = _newest_with(conn, mine, identified.GROUPS[part])
    call = identified.newest(conn, people, part)
    if call is not None and (event is None or call[0] >= (event.time_ms, event.n)):
        return call[1]
    found: dict[str, Any] = {} if event is None else orjson.loads(event.event)
    return found


def _newest_with(conn: Connection, mine: Any, names: Sequence[str]) -> Any:
    """The newest event that carries any of these fields: a group of fields is updated as a whole."""
    table = tables.events
    carried = or_(*(json_text(table.c.event, f"$.{name}").is_not(None) for name in names))
    query = select(table.c.event, table.c.time_ms, table.c.n).where(mine, carried)
    return conn.execute(query.order_by(table.c.time_ms.desc(), table.c.n.desc()).limit(1)).first()


def _location(row: Any) -> dict[str, Any] | None:
    event: Mapping[str, Any] = {} if row is None else orjson.loads(row.event)
    return {"lat": event["location_lat"], "lng": event.get("location_lng")} if "location_lat" in event else None


def _sessions(conn: Connection, mine: Any) -> tuple[int, int]:
    """How many sessions there were, and how long they lasted in all (ms)."""
    table = tables.events
    session = json_integer(table.c.event, "$.session_id")
    lasted = func.max(table.c.time_ms) - func.min(table.c.time_ms)
    each = select(lasted.label("ms")).where(mine, session.is_not(None), session != -1).group_by(session).subquery()
    row = conn.execute(select(func.count(), func.coalesce(func.sum(each.c.ms), 0))).one()
    return int(row[0]), int(row[1])


def _revenue(conn: Connection, mine: Any) -> tuple[int, float]:
    """How many purchases there were and what they brought, by fields or as a client's revenue event."""
    table = tables.events
    given = or_(table.c.event_type == REVENUE, table.c.event.like('%"price":%'), table.c.event.like('%"revenue":%'))
    purchases, total = 0, 0.0
    for text in conn.execute(select(table.c.event).where(mine, given)).scalars():
        amount = _amount(orjson.loads(text))
        if amount is not None:
            purchases, total = purchases + 1, total + amount
    return purchases, total


def _amount(event: Mapping[str, Any]) -> float | None:
    """What one event brought; None when it is no revenue event. Price times quantity comes before revenue."""
    own = event.get("event_properties", {})
    for holder, mark in ((event, ""), (own, "$") if event["event_type"] == REVENUE else ({}, "$")):
        price, quantity, revenue = (holder.get(f"{mark}{name}") for name in ("price", "quantity", "revenue"))
        if isinstance(price, int | float):
            return float(price * (quantity if isinstance(quantity, int | float) else 1))
        if isinstance(revenue, int | float):
            return float(revenue)
    return None
