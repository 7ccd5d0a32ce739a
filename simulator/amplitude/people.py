"""Looking people up: user search, user activity, user profile.

Source: Amplitude docs, Dashboard REST API (User Search, User Activity); User Profile API.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection, func, or_, select

from simulator.amplitude import ingest, rows, tables
from simulator.amplitude.callers import whole_number
from simulator.amplitude.export import refused
from simulator.exchange import Answer, Call, Reason

REST, PROFILE = "Amplitude docs, Dashboard REST API", "Amplitude docs, User Profile API"
MAX_ACTIVITY = 1000


def canonical(conn: Connection, amplitude_id: int) -> tuple[int, list[int]]:
    """The id that an id belongs to by now, and every id that was merged into it."""
    table = tables.merges
    pairs = conn.execute(select(table.c.amplitude_id, table.c.merged_amplitude_id))
    merged: dict[int, int] = {row[0]: row[1] for row in pairs}
    seen: set[int] = set()
    while amplitude_id in merged and amplitude_id not in seen:
        seen.add(amplitude_id)
        amplitude_id = merged[amplitude_id]
    found: list[int] = []
    level = [amplitude_id]
    while level:
        level = [gone for gone, now in merged.items() if now in level and gone not in found]
        found += level
    return amplitude_id, sorted(found)


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
    names = {row.amplitude_id: row.user_id for row in conn.execute(select(users))}
    number = whole_number(wanted)
    if number is not None:
        amplitude_id = canonical(conn, number)[0]
        own = conn.execute(
            select(devices.c.device_id).where(
                or_(devices.c.own_id == amplitude_id, devices.c.user_amplitude_id == amplitude_id)
            )
        ).first()
        if amplitude_id in names or own is not None:
            return "match_amplitude_id", [(amplitude_id, names.get(amplitude_id))]
    found: dict[int, str | None] = {a: name for a, name in names.items() if name == wanted}
    device = conn.execute(select(devices).where(devices.c.device_id == wanted)).first()
    if device is not None:
        owner = device.user_amplitude_id if device.user_amplitude_id is not None else device.own_id
        found[owner] = names.get(owner)
    if found:
        return "match_user_or_device_id", sorted(found.items())
    beginning = {a: name for a, name in names.items() if name.startswith(wanted)}
    if beginning:
        return "match_user_prefix", sorted(beginning.items())[:100]
    return "nomatch", []


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
    order = (
        (table.c.time_ms, table.c.n)
        if given.get("direction") == "earliest"
        else (table.c.time_ms.desc(), table.c.n.desc())
    )
    limit = min(MAX_ACTIVITY, max(1, numbers["limit"]))
    query = select(table).where(mine).order_by(*order).offset(numbers["offset"]).limit(limit)
    app = rows.project_id(call.tank.id, call.tank.seed)
    events = [
        rows.raw(row, app, orjson.loads(row.user_groups) if row.user_groups else None) for row in conn.execute(query)
    ]
    return Answer(200, {"userData": _summary(conn, person, merged, mine), "events": events})


def _day(ms: int | None) -> str | None:
    return None if ms is None else rows.when(ms)[:10]


def _summary(conn: Connection, person: int, merged: list[int], mine: Any) -> dict[str, Any]:
    table, users, devices = tables.events, tables.users, tables.devices
    count, first, last = conn.execute(
        select(func.count(), func.min(table.c.time_ms), func.max(table.c.time_ms)).where(mine)
    ).one()
    newest = conn.execute(select(table).where(mine).order_by(table.c.time_ms.desc(), table.c.n.desc()).limit(1)).first()
    event = orjson.loads(newest.event) if newest is not None else {}
    user_id = conn.execute(select(users.c.user_id).where(users.c.amplitude_id == person)).scalar()
    owned = conn.execute(
        select(devices.c.device_id)
        .where(or_(devices.c.user_amplitude_id == person, devices.c.own_id.in_([person, *merged])))
        .order_by(devices.c.device_id)
    ).scalars()
    stored = conn.execute(
        select(tables.properties.c.properties).where(tables.properties.c.amplitude_id == person)
    ).scalar()
    revenue = purchases = 0.0
    for text in conn.execute(select(table.c.event).where(mine, table.c.event.like('%"price":%'))).scalars():
        each = orjson.loads(text)
        if "price" in each:
            purchases += 1
            revenue += each["price"] * each.get("quantity", 1)
    place = {"lat": event["location_lat"], "lng": event["location_lng"]} if "location_lat" in event else None
    found: dict[str, Any] = {
        "user_id": user_id,
        "canonical_amplitude_id": person,
        "merged_amplitude_ids": merged,
        "num_events": count,
        "num_sessions": 0,
        "usage_time": 0,
        "first_used": _day(first),
        "last_used": _day(last),
        "purchases": int(purchases),
        "revenue": revenue,
        "platform": event.get("platform"),
        "os": event.get("os_name"),
        "version": event.get("app_version"),
        "device": event.get("device_model"),
        "device_type": None,
        "carrier": event.get("carrier"),
        **{name: event.get(name) for name in ("country", "region", "city", "dma", "language")},
        "start_version": None,
        "device_ids": list(owned),
        "last_location": place,
        "properties": orjson.loads(stored) if stored else {},
    }
    if newest is None:
        found["last_device_id"] = None
    return found


def no_key(request: Any, _detail: object) -> Answer:
    """The profile API's refusals of a missing and of a wrong secret."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    words = "Invalid Api-Key" if scheme == "Api-Key" and secret else "Missing Api-Key in Authorization header"
    return Answer(401, words, content_type="text/html; charset=utf-8", why=(Reason("invalid-secret", words, PROFILE),))


def profile(call: Call) -> Answer:
    """`/v1/userprofile`: what is known of one person; members that were not asked for are null."""
    given = call.detail
    if ingest.over_rate(call, "userprofile", 1, 600, 60_000):
        words = "Number of requests per minute exceeds system limit. Contact Support if you need this limit raised"
        return Answer(429, {"error": words}, why=(Reason("profile-rate", "more than 600 a minute", PROFILE),))
    conn = call.conn
    person, user_id, device_id = _person(conn, given.get("user_id"), given.get("device_id"))
    if person is None:
        status = int(call.tank.settings["amplitude.profile_unknown_status"])
        return Answer(status, {"error": "User id and device id not seen before"})
    properties: dict[str, Any] | None = None
    if given.get("get_amp_props", "").lower() == "true":
        properties = _amp_props(conn, person)
    if given.get("comp_id"):
        properties = {**(properties or {}), **dict.fromkeys(given["comp_id"].split(","))}
    data: dict[str, Any] = {
        "recommendations": None,
        "user_id": user_id,
        "device_id": device_id,
        "amp_props": properties,
        "cohort_ids": [] if given.get("get_cohort_ids", "").lower() == "true" else None,
    }
    return Answer(200, {"userData": data})


def _person(conn: Connection, user_id: str | None, device_id: str | None) -> tuple[int | None, str | None, str | None]:
    users, devices = tables.users, tables.devices
    if user_id:
        found = conn.execute(select(users.c.amplitude_id).where(users.c.user_id == user_id)).scalar()
        if found is not None:
            return found, user_id, device_id
    if device_id:
        row = conn.execute(select(devices).where(devices.c.device_id == device_id)).first()
        if row is not None:
            owner = row.user_amplitude_id if row.user_amplitude_id is not None else row.own_id
            name = conn.execute(select(users.c.user_id).where(users.c.amplitude_id == owner)).scalar()
            return owner, name or user_id, device_id
    return None, None, None


def _amp_props(conn: Connection, person: int) -> dict[str, Any]:
    table = tables.events
    _, merged = canonical(conn, person)
    mine = table.c.amplitude_id.in_([person, *merged])
    first, last = conn.execute(select(func.min(table.c.time_ms), func.max(table.c.time_ms)).where(mine)).one()
    stored = conn.execute(
        select(tables.properties.c.properties).where(tables.properties.c.amplitude_id == person)
    ).scalar()
    newest = conn.execute(select(table).where(mine).order_by(table.c.n.desc()).limit(1)).first()
    built_in: dict[str, Any] = {}
    if newest is not None:
        built_in = {
            "library": rows.exported(newest, 0)["library"],
            "first_used": _day(first),
            "last_used": _day(last),
        }
    return {**built_in, **(orjson.loads(stored) if stored else {})}
