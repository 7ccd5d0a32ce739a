"""The dashboard API's event list and its active and new users, computed from what the project holds.

Source: Amplitude docs, Dashboard REST API (Get events list; Get active and new user counts).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, select

from simulator.amplitude import event_states, rest_limits, segments, tables, usermap
from simulator.amplitude.export import refused
from simulator.dialect import json_integer, json_members
from simulator.exchange import Answer, Call
from simulator.tank import Tank

MAX_DAYS = 366
MAX_GROUPS = 100
_METRICS, _INTERVALS = ("active", "new"), ("1", "7", "30")


def _zone(tank: Tank) -> ZoneInfo:
    try:
        return ZoneInfo(str(tank.settings["amplitude.time_zone"]))
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _start_ms(day: date, zone: ZoneInfo) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)


def _week_of(day: date, tank: Tank) -> date:
    """The first day of the week that ``day`` lies in."""
    gone = day.weekday() if tank.settings["amplitude.week_start"] == "monday" else (day.weekday() + 1) % 7
    return day - timedelta(days=gone)


def _invalid(details: str) -> Answer:
    return refused(400, "Invalid chart definition", details)


# -- events list


def events_list(call: Call) -> Answer:
    """`GET /api/2/events/list`: every event type that is not hidden, with its count of the current week."""
    over = rest_limits.charge(call, 1)
    if over is not None:
        return over
    table, zone = tables.events, _zone(call.tank)
    today = datetime.fromtimestamp(call.now_ms / 1000, UTC).astimezone(zone).date()
    monday = _week_of(today, call.tank)
    first, end = _start_ms(monday, zone), _start_ms(monday + timedelta(days=7), zone)
    count = func.count().filter(table.c.time_ms >= first, table.c.time_ms < end)
    totals = {
        row[0]: row[1] for row in call.conn.execute(select(table.c.event_type, count).group_by(table.c.event_type))
    }
    states = event_states.read(call.conn)
    shown = [
        {
            "non_active": False,
            "value": name,
            "totals": totals.get(name, 0),
            "deleted": states.get(name) == event_states.DELETED,
            "flow_hidden": False,
            "hidden": False,
            "display": name,
        }
        for name in sorted({*totals, *states})
        if states.get(name) != event_states.HIDDEN
    ]
    return Answer(200, {"data": shown})


# -- active and new users


def users(call: Call) -> Answer:
    """`GET /api/2/users`: how many people were active, or new, in each day, week or month of a range."""
    given = call.detail
    first, last = _day(given.get("start", "")), _day(given.get("end", ""))
    if first is None or last is None:
        return _invalid("start and end are days like 20260131")
    if last < first or (last - first).days >= MAX_DAYS:
        return _invalid("end is before start or more than a year after it")
    metric, interval = given.get("m", "active"), given.get("i", "1")
    if metric not in _METRICS:
        return _invalid(f"Invalid metric {metric}")
    if interval not in _INTERVALS:
        return _invalid(f"Invalid interval {interval}")
    try:
        conditions = segments.parse(given.get("s", ""))
        group = segments.column(given["g"]) if given.get("g") else None
    except segments.Invalid as invalid:
        return _invalid(str(invalid))
    weight = len(conditions) + (0 if group is None else rest_limits.GROUP_BY_CONDITIONS)
    over = rest_limits.charge(call, (last - first).days + 1, weight)
    if over is not None:
        return over
    starts = _starts(first, last, interval, call.tank)
    counts = _counts(call.conn, _edges(starts, last, _zone(call.tank)), metric, conditions, group)
    return Answer(200, {"data": _series(counts, [str(day) for day in starts], group is not None)})


def _day(text: str) -> date | None:
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return None
    try:
        found = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
    return found if 1900 <= found.year <= 9000 else None


def _starts(first: date, last: date, interval: str, tank: Tank) -> list[date]:
    """First days of the days, weeks or calendar months that the range touches."""
    if interval == "1":
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]
    day = _week_of(first, tank) if interval == "7" else first.replace(day=1)
    found = []
    while day <= last:
        found.append(day)
        day = day + timedelta(days=7) if interval == "7" else (day + timedelta(days=31)).replace(day=1)
    return found


def _edges(starts: list[date], last: date, zone: ZoneInfo) -> list[tuple[int, int]]:
    """From when until when each point of the series counts: never beyond the range that was asked for."""
    ends = [*starts[1:], last + timedelta(days=1)]
    return [(_start_ms(start, zone), _start_ms(end, zone)) for start, end in zip(starts, ends, strict=True)]


def _people(conn: Connection) -> tuple[Any, ColumnElement[Any]]:
    """Events joined with merges and mappings, and the column of the person each belongs to by now."""
    table = tables.merges
    into: dict[int, int] = {
        row[0]: row[1] for row in conn.execute(select(table.c.amplitude_id, table.c.merged_amplitude_id))
    }
    into.update(usermap.counted_as(conn))
    for gone in into:
        seen = {gone}
        while into[gone] in into and into[gone] not in seen:
            seen.add(into[gone])
            into[gone] = into[into[gone]]
    pairs = json_members(bindparam("merged", orjson.dumps(list(into.items())).decode()))
    merged = select(
        json_integer(pairs.c.value, "$[0]").label("gone"),
        json_integer(pairs.c.value, "$[1]").label("now"),
    ).cte("merged")
    events = tables.events
    joined = events.outerjoin(merged, merged.c.gone == events.c.amplitude_id)
    return joined, func.coalesce(merged.c.now, events.c.amplitude_id)


def _counts(
    conn: Connection,
    edges: list[tuple[int, int]],
    metric: str,
    conditions: list[ColumnElement[bool]],
    group: ColumnElement[Any] | None,
) -> list[tuple[int, str | None, int]]:
    """``(point, group, people)`` for every point and group that has people."""
    events = tables.events
    joined, person = _people(conn)
    points = json_members(bindparam("edges", orjson.dumps(edges).decode()))
    within = and_(
        events.c.time_ms >= json_integer(points.c.value, "$[0]"),
        events.c.time_ms < json_integer(points.c.value, "$[1]"),
    )
    source = joined.join(points, within)
    if metric == "new":
        first = select(person.label("person"), func.min(events.c.time_ms).label("at")).select_from(joined)
        begun = first.group_by(person).cte("begun")
        source = source.join(begun, and_(begun.c.person == person, begun.c.at == events.c.time_ms))
    columns = [points.c.key.label("point"), *([] if group is None else [group.label("grouped")])]
    query = select(*columns, func.count(person.distinct())).select_from(source).where(*conditions).group_by(*columns)
    return [(int(row[0]), None if group is None else row[1], row[-1]) for row in conn.execute(query)]


def _series(counts: list[tuple[int, str | None, int]], labels: list[str], grouped: bool) -> dict[str, Any]:
    lines: dict[str | None, list[int]] = {} if grouped else {None: [0] * len(labels)}
    for point, group, people in counts:
        name = group if group is not None or not grouped else "(none)"
        lines.setdefault(name, [0] * len(labels))[point] += people
    names = sorted(lines, key=lambda name: (-sum(lines[name]), str(name)))[:MAX_GROUPS]
    if not grouped:
        return {"series": [lines[None]], "seriesMeta": [{"segmentIndex": 0}], "xValues": labels}
    meta = [{"segmentIndex": 0, "value": name} for name in names]
    return {"series": [lines[name] for name in names], "seriesMeta": meta, "seriesLabels": names, "xValues": labels}
