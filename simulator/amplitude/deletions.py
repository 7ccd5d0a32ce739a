"""User deletion jobs, `/api/2/deletions/users`: scheduled some days ahead, run by timers on tank time.

Source: Amplitude docs, User Privacy API, with the shape of recorded answers (a list of jobs, one a day).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, String, Table, or_, select

from simulator import timekeeper
from simulator.amplitude import ingest, rows, tables
from simulator.amplitude.people import canonical
from simulator.exchange import Answer, Call, Reason
from simulator.store import json_set, metadata, upsert_rows
from simulator.tank import Tank

SOURCE = "Amplitude docs, User Privacy API"
MAX_IDS = 100
MAX_RANGE_DAYS = 184
STAGING, SUBMITTED, DONE = "staging", "submitted", "done"

jobs = Table(
    "amplitude_deletions",
    metadata,
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("day", String, primary_key=True),
    Column("requested_on_day", String, nullable=False),
    Column("requester", String, nullable=False),
    Column("status", String, nullable=False),
    Column("scrubbed_on", String),
    sqlite_with_rowid=False,
)
_COLUMNS = ("amplitude_id", "day", "requested_on_day", "requester", "status", "scrubbed_on")


def _refused(status: int, message: str) -> Answer:
    # The one recorded error of this API (a 403) has this shape; that the others share it is inferred.
    words = {400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}[status]
    return Answer(
        status, {"code": status, "message": message, "status": words}, why=(Reason("refused", message, SOURCE),)
    )


def _today(now_ms: int) -> date:
    return datetime.fromtimestamp(now_ms / 1000, UTC).date()


def _day_ms(day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        return None


def _app(tank: Tank) -> str:
    return str(rows.project_id(tank.id, tank.seed))


def _shown(found: list[Any], app: str) -> list[dict[str, Any]]:
    by_day: dict[str, list[Any]] = {}
    for row in found:
        by_day.setdefault(row.day, []).append(row)
    return [
        {
            "active_scrub_done_date": people[0].scrubbed_on,
            "amplitude_ids": [
                {"amplitude_id": r.amplitude_id, "requested_on_day": r.requested_on_day, "requester": r.requester}
                for r in people
            ],
            "app": app,
            "day": day,
            "status": people[0].status,
        }
        for day, people in by_day.items()
    ]


# -- asking


def create(call: Call) -> Answer:
    """Schedule the deletion of up to 100 people; the job of that day is the answer."""
    data = _body(call)
    problem = "The body is no JSON object" if data is None else _problem(data)
    if data is None or problem is not None:
        return _refused(400, str(problem))
    conn, settings = call.conn, call.tank.settings
    ids, invalid = _resolve(conn, data)
    app = _app(call.tank)
    if not ids or (invalid and not _ignores(data)):
        return _refused(400, f"Nothing scheduled due to invalid amplitude/user ids for app {app}")
    if ingest.over_rate(call, "deletions", 1, int(settings["amplitude.deletions_per_second"]), 1000):
        return _refused(429, "Too many deletion requests: one a second for a project")
    today = _today(call.now_ms)
    day = today + timedelta(days=int(settings["amplitude.deletion_days"]))
    requester = data.get("requester") or "rest"
    new = [(each, str(day), str(today), requester, STAGING, None) for each in ids]
    upsert_rows(conn, jobs, _COLUMNS, new, ("amplitude_id", "day"))
    ahead = timedelta(days=int(settings["amplitude.deletion_submit_days"]))
    for kind, due in (("submit", day - ahead), ("run", day)):
        name = f"amplitude.deletion.{kind}"
        timekeeper.schedule(conn, max(call.now_ms, _day_ms(due)), name, f"{name}:{day}", {"day": str(day)})
    job = _shown(list(conn.execute(select(jobs).where(jobs.c.day == str(day)))), app)[0]
    return Answer(200, [{**job, "invalid_ids": invalid} if invalid else job])


def _body(call: Call) -> dict[str, Any] | None:
    try:
        data = orjson.loads(call.request.body)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None


def _yes(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _ignores(data: Mapping[str, Any]) -> bool:
    return any(_yes(data.get(name)) for name in ("ignore_invalid_id", "ignore_invalid_ids", "delete_from_org"))


def _problem(data: Mapping[str, Any]) -> str | None:
    numbers, names = data.get("amplitude_ids", []), data.get("user_ids", [])
    if not isinstance(numbers, list) or not all(type(each) is int and abs(each) < 2**63 for each in numbers):
        return "amplitude_ids is a list of integers"
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        return "user_ids is a list of strings"
    if not 1 <= len(numbers) + len(names) <= MAX_IDS:
        return "amplitude_ids and user_ids hold between 1 and 100 ids"
    for name in ("ignore_invalid_id", "ignore_invalid_ids", "delete_from_org", "include_mapped_user_ids"):
        value = data.get(name, False)
        if not isinstance(value, bool) and str(value).lower() not in ("true", "false"):
            return f"{name} is true or false"
    return None if isinstance(data.get("requester", ""), str) else "requester is a string"


def _resolve(conn: Connection, data: Mapping[str, Any]) -> tuple[list[int], list[Any]]:
    """Amplitude IDs to delete, in order, and the given ids that nobody has."""
    users, devices, gone = tables.users, tables.devices, tables.merges
    numbers, names = data.get("amplitude_ids", []), list(data.get("user_ids", []))
    known: set[int] = set()
    for column in (users.c.amplitude_id, devices.c.own_id, devices.c.user_amplitude_id, gone.c.amplitude_id):
        known.update(conn.execute(select(column).where(column.in_(json_set(numbers)))).scalars())
    by_name = _by_name(conn, names)
    found = [each for each in numbers if each in known] + [by_name[name] for name in names if name in by_name]
    if _yes(data.get("include_mapped_user_ids")):
        named = conn.execute(select(users.c.user_id).where(users.c.amplitude_id.in_(json_set(found)))).scalars()
        found += _by_name(conn, _mapped(conn, [*named])).values()
    invalid = [each for each in numbers if each not in known] + [name for name in names if name not in by_name]
    return list(dict.fromkeys(found)), invalid


def _by_name(conn: Connection, names: list[str]) -> dict[str, int]:
    users = tables.users
    pairs = conn.execute(select(users.c.user_id, users.c.amplitude_id).where(users.c.user_id.in_(json_set(names))))
    return {row.user_id: row.amplitude_id for row in pairs}


def _mapped(conn: Connection, names: list[str]) -> list[str]:
    """User ids that share a global user id with one of ``names``, or are one's global user id."""
    table = tables.mappings
    mine = select(table.c.global_user_id).where(table.c.user_id.in_(json_set(names)))
    shared = [*conn.execute(mine).scalars(), *names]
    aliases = conn.execute(select(table.c.user_id).where(table.c.global_user_id.in_(json_set(shared)))).scalars()
    return sorted({*shared, *aliases} - set(names))


def listed(call: Call) -> Answer:
    """The jobs from ``start_day`` to ``end_day``, at most six months."""
    first, last = _day(call.detail.get("start_day", "")), _day(call.detail.get("end_day", ""))
    if first is None or last is None:
        return _refused(400, "start_day and end_day are days like 2026-01-31")
    if last < first or (last - first).days > MAX_RANGE_DAYS:
        return _refused(400, "end_day is before start_day or more than six months after it")
    query = select(jobs).where(jobs.c.day.between(str(first), str(last))).order_by(jobs.c.day, jobs.c.amplitude_id)
    return Answer(200, _shown(list(call.conn.execute(query)), _app(call.tank)))


def withdraw(call: Call) -> Answer:
    """Take a person out of a job that has not been submitted yet."""
    text, day = call.path_args["amplitude_id"], _day(call.path_args["day"])
    if not (text.isascii() and text.isdigit()) or len(text) > 17 or day is None:
        return _refused(400, "the path ends in an Amplitude ID and a day like 2026-01-31")
    where = (jobs.c.amplitude_id == int(text)) & (jobs.c.day == str(day))
    row = call.conn.execute(select(jobs).where(where)).first()
    if row is None:
        return _refused(404, f"no deletion of {text} is scheduled for {day}")
    if row.status != STAGING:
        return _refused(400, f"the deletion of {text} can no longer be withdrawn: it is {row.status}")
    call.conn.execute(jobs.delete().where(where))
    person = {"amplitude_id": row.amplitude_id, "requested_on_day": row.requested_on_day, "requester": row.requester}
    return Answer(200, person)


# -- running


def _submit(tank: Tank, payload: Mapping[str, Any], _now_ms: int) -> None:
    with tank.store.write() as conn:
        where = (jobs.c.day == payload["day"]) & (jobs.c.status == STAGING)
        conn.execute(jobs.update().where(where).values(status=SUBMITTED))


def _run(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    with tank.store.write() as conn:
        due = (jobs.c.day == payload["day"]) & (jobs.c.status != DONE)
        ids: set[int] = set()
        for each in conn.execute(select(jobs.c.amplitude_id).where(due)).scalars().all():
            if each not in ids:
                person, merged = canonical(conn, each)
                ids.update((person, *merged))
        erase(conn, ids)
        conn.execute(jobs.update().where(due).values(status=DONE, scrubbed_on=str(_today(now_ms))))


def erase(conn: Connection, ids: set[int]) -> None:
    """Remove these people from every table; events of the same ids that come later make new people."""
    users, devices, mappings, merges = tables.users, tables.devices, tables.mappings, tables.merges
    wanted = json_set(sorted(ids))
    names = conn.execute(select(users.c.user_id).where(users.c.amplitude_id.in_(wanted))).scalars().all()
    mapped = or_(mappings.c.user_id.in_(json_set(names)), mappings.c.global_user_id.in_(json_set(names)))
    conn.execute(mappings.delete().where(mapped))
    conn.execute(merges.delete().where(merges.c.merged_amplitude_id.in_(wanted)))
    # A device may have been somebody else's too: only what ties it to these people goes.
    for column in (devices.c.own_id, devices.c.user_amplitude_id):
        conn.execute(devices.update().where(column.in_(wanted)).values({column.name: None}))
    nobodys = devices.c.own_id.is_(None) & devices.c.user_amplitude_id.is_(None)
    forgotten = select(devices.c.device_id).where(nobodys)
    conn.execute(tables.event_ids.delete().where(tables.event_ids.c.device_id.in_(forgotten)))
    conn.execute(devices.delete().where(nobodys))
    for table in metadata.sorted_tables:
        if table.name.startswith("amplitude_") and "amplitude_id" in table.c and table is not jobs:
            conn.execute(table.delete().where(table.c.amplitude_id.in_(wanted)))


TIMERS: Mapping[str, timekeeper.Handler] = {"amplitude.deletion.submit": _submit, "amplitude.deletion.run": _run}
