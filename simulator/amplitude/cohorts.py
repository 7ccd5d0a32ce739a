"""Behavioral cohorts: upload, membership, list, single read, and the download in three steps.

Source: Amplitude docs, Behavioral Cohorts API. Computed cohorts: :mod:`simulator.amplitude.cohort_computing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import jsonschema_rs
import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, func, select

from simulator.amplitude import cohort_computing, cohort_syncs, computations, definitions, ingest, rows, tables
from simulator.amplitude.callers import whole_number
from simulator.amplitude.cohort_tables import cohorts, members
from simulator.amplitude.cohort_tables import row as row_of
from simulator.amplitude.people import canonical
from simulator.exchange import Answer, Call, Reason
from simulator.openapi import contract
from simulator.store import insert_rows, json_set, metadata, upsert_rows

SOURCE = "Amplitude docs, Behavioral Cohorts API"
MAX_SIZE = 2_000_000
MAX_IDS = 100_000
MAX_UNDER_WAY = 4
REQUEST_LIVES_MS = 7 * 86_400_000
UPLOAD, MEMBERSHIP = "amplitude_cohort_upload", "amplitude_cohort_membership"
"""Schemas of the two bodies."""
COUNT_GROUP = "User"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

requests = Table(
    "amplitude_cohort_requests",
    metadata,
    Column("id", String, primary_key=True),
    Column("cohort_id", String, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    Column("polls", Integer, nullable=False),
    Column("props", String, nullable=False),
)


def refused(status: int, message: str, details: str) -> Answer:
    """The API's error envelope."""
    kind = "invalid" if status == 400 else "unspecified"
    body = {"error": {"http_code": status, "type": kind, "message": message, "metadata": {"details": details}}}
    return Answer(status, body, why=(Reason("refused", details, SOURCE),))


@cache
def _validator(name: str) -> Any:
    return jsonschema_rs.Draft202012Validator(contract(name))


def _json(call: Call) -> Any:
    try:
        return orjson.loads(call.request.body)
    except orjson.JSONDecodeError:
        return None


def _body(call: Call, schema: str) -> tuple[dict[str, Any], str | None]:
    """The body, and what is wrong with it in one line."""
    data = _json(call)
    try:
        error = next(_validator(schema).iter_errors(data), None)
    except ValueError:
        return {}, "the body is nested too deeply"
    if error is not None:
        return {}, ".".join(["body", *(str(each) for each in error.instance_path)]) + f": {error.message[:200]}"
    return data, None


# -- writing


def upload(call: Call) -> Answer:
    """`POST /api/3/cohorts/upload`: make a cohort of a list of ids, or replace the members of one."""
    data, problem = _body(call, UPLOAD)
    app = rows.project_id(call.tank.id, call.tank.seed)
    if problem is None:
        problem = _upload_problem(data, app)
    if problem is not None:
        return refused(400, "Invalid request", problem)
    conn = call.conn
    cohort_id = data.get("existing_cohort_id") or _new_id(call)
    if data.get("existing_cohort_id") and row_of(conn, cohort_id) is None:
        return refused(400, "Invalid cohort", f"cohort {cohort_id} does not exist")
    if _computed(conn, cohort_id):
        return refused(400, "Invalid cohort", "a computed cohort takes no uploaded members")
    found, unknown = _resolve(conn, data["ids"], data["id_type"] == "BY_AMP_ID")
    if unknown and data.get("skip_invalid_ids", True) is False:
        return refused(400, "Invalid ids", f"{len(unknown)} ids are unknown, such as {unknown[0]}")
    if not found:
        return refused(400, "Invalid ids", "none of the ids is known")
    if not data.get("skip_save", False):
        row = (cohort_id, data["name"], data["owner"], int(data["published"]), call.now_ms, call.now_ms)
        columns = ("id", "name", "owner", "published", "created_ms", "changed_ms")
        upsert_rows(conn, cohorts, columns, [row], ("id",))
        conn.execute(members.delete().where(members.c.cohort_id == cohort_id))
        insert_rows(conn, members, ("cohort_id", "amplitude_id"), [(cohort_id, each) for each in sorted(found)])
    totals = len(set(data["ids"]))
    body = {
        "cohortId": cohort_id,
        "metadata": {"matched": len(found), "totals": totals, "invalid_ids_sample": unknown[:10]},
    }
    if not data.get("skip_save", False):
        body["cohortsById"] = {cohort_id: shown(conn, row_of(conn, cohort_id), app)}
    return Answer(200, body)


def _upload_problem(data: dict[str, Any], app: int) -> str | None:
    """What the schema cannot say."""
    if str(data["app_id"]) != str(app):
        return f"app_id is not this project's: it is {app}"
    if len(data["ids"]) > MAX_IDS:
        return f"ids holds more than {MAX_IDS:,}"
    group = data.get("cg") or COUNT_GROUP
    return None if group == COUNT_GROUP else f"cohorts that count by {group} are not simulated, only by {COUNT_GROUP}"


def _new_id(call: Call) -> str:
    count = call.conn.execute(select(func.count()).select_from(cohorts)).scalar_one()
    while True:
        rng = call.tank.rng("cohort", count)
        found = "c" + "".join(rng.choice(_ALPHABET) for _ in range(7))
        if row_of(call.conn, found) is None:
            return found
        count += 1  # one before it has been removed


def _computed(conn: Connection, cohort_id: str) -> bool:
    found = row_of(conn, cohort_id)
    return found is not None and found.definition is not None


def _resolve(conn: Connection, ids: Sequence[Any], by_amplitude_id: bool) -> tuple[set[int], list[str]]:
    """Amplitude IDs of the known ids, and the unknown ones."""
    wanted = [str(each) for each in dict.fromkeys(ids)]
    users, devices = tables.users, tables.devices
    if not by_amplitude_id:
        query = select(users.c.user_id, users.c.amplitude_id).where(users.c.user_id.in_(json_set(wanted)))
        known = {row[0]: row[1] for row in conn.execute(query)}
        return set(known.values()), [each for each in wanted if each not in known]
    by_text = {each: whole_number(each) for each in wanted}
    numbers = [each for each in by_text.values() if each is not None]
    found: set[int] = set()
    for column in (users.c.amplitude_id, devices.c.own_id, devices.c.user_amplitude_id):
        found.update(row[0] for row in conn.execute(select(column).where(column.in_(json_set(numbers)))))
    gone = tables.merges.c.amplitude_id
    merged = {row[0] for row in conn.execute(select(gone).where(gone.in_(json_set(numbers))))}
    found.update(canonical(conn, each)[0] for each in merged - found)
    known_numbers = found | merged
    return found, [each for each, number in by_text.items() if number not in known_numbers]


def membership(call: Call) -> Answer:
    """`POST /api/3/cohorts/membership`: add and remove members, in order."""
    data, problem = _body(call, MEMBERSHIP)
    if problem is not None:
        return refused(400, "Invalid request", problem)
    conn, wanted = call.conn, data["memberships"]
    if row_of(conn, data["cohort_id"]) is None:
        return refused(400, "Invalid cohort", "cohort_id names no cohort")
    if _computed(conn, data["cohort_id"]):
        return refused(400, "Invalid cohort", "the members of a computed cohort cannot be changed")
    if data.get("count_group", COUNT_GROUP) != COUNT_GROUP:
        return refused(400, "Invalid request", "count_group is not the cohort's own")
    if sum(len(each["ids"]) for each in wanted) > MAX_IDS:
        return refused(400, "Invalid request", f"the memberships hold more than {MAX_IDS:,} ids")
    resolved = [_resolve(conn, each["ids"], each["id_type"] != "BY_NAME") for each in wanted]
    if data.get("skip_invalid_ids", True) is False and any(unknown for _, unknown in resolved):
        return refused(400, "Invalid ids", "some ids are unknown; nothing was applied")
    results = []
    for each, (found, unknown) in zip(wanted, resolved, strict=True):
        _apply(conn, data["cohort_id"], found, each["operation"])
        results.append({"skipped_ids": unknown, "id_type": each["id_type"], "operation": each["operation"]})
    conn.execute(cohorts.update().where(cohorts.c.id == data["cohort_id"]).values(changed_ms=call.now_ms))
    return Answer(200, {"cohort_id": data["cohort_id"], "memberships_result": results})


def _apply(conn: Connection, cohort_id: str, found: set[int], operation: str) -> None:
    pairs = [(cohort_id, each) for each in sorted(found)]
    if operation == "ADD":
        upsert_rows(conn, members, ("cohort_id", "amplitude_id"), pairs, ("cohort_id", "amplitude_id"))
    else:
        mine = members.c.cohort_id == cohort_id
        conn.execute(members.delete().where(mine, members.c.amplitude_id.in_(json_set(found))))


# -- reading


def size(conn: Connection, cohort_id: str) -> int:
    """How many members a cohort has now."""
    query = select(func.count()).select_from(members).where(members.c.cohort_id == cohort_id)
    return int(conn.execute(query).scalar_one())


def is_larger(conn: Connection, cohort_id: str, most: int) -> bool:
    """Whether a cohort has more members than ``most``; quicker than counting them all."""
    mine = select(members.c.amplitude_id).where(members.c.cohort_id == cohort_id)
    return conn.execute(mine.limit(1).offset(most)).first() is not None


def shown(conn: Connection, row: Any, app: int) -> dict[str, Any]:
    """A cohort as the list gives it out."""
    given = {"andClauses": []} if row.definition is None else orjson.loads(row.definition)
    return {
        "appId": app,
        "archived": False,
        "definition": definitions.shown(given),
        "description": None,
        "finished": True,
        "id": row.id,
        "name": row.name,
        "owners": [row.owner],
        "viewers": [],
        "published": bool(row.published),
        "size": size(conn, row.id),
        "type": "manual_upload" if row.definition is None else "redshift",
        "createdAt": row.created_ms // 1000,
        "lastMod": row.changed_ms // 1000,
        "lastComputed": (row.computed_ms or row.changed_ms) // 1000,
        "hidden": False,
        "is_predictive": False,
        "is_official_content": False,
        "metadata": None,
        "view_count": 0,
        "popularity": 0,
        "last_viewed": None,
        "chart_id": None,
        "edit_id": None,
        "shortcut_ids": [],
        "location_id": None,
        "per_app_metadata": None,
        "cohort_definition_type": None,
        "cohort_output_type": "UNIQUES",
        "is_generated_content": False,
    }


def listed(call: Call) -> Answer:
    """`GET /api/3/cohorts`: the published ones."""
    app = rows.project_id(call.tank.id, call.tank.seed)
    cohort_computing.ensure_active(call.conn, call.tank, call.now_ms)
    published = cohorts.c.published == 1
    for cohort_id in call.conn.execute(select(cohorts.c.id).where(published)).scalars().all():
        cohort_computing.refresh(call.conn, call.tank, cohort_id, call.now_ms)
    found = call.conn.execute(select(cohorts).where(published).order_by(cohorts.c.created_ms, cohorts.c.id))
    every = [shown(call.conn, row, app) for row in found.all()]
    if call.detail.get("includeSyncInfo", "").lower() == "true":
        every = [{**each, "syncMetadata": cohort_syncs.shown(call.conn, each["id"])} for each in every]
    return Answer(200, {"cohorts": every})


def single(call: Call) -> Answer:
    """`GET /api/3/cohorts/{id}`: one cohort with its members."""
    row = _current(call)
    if row is None:
        return refused(404, "Not found", "no such cohort")
    cohort = shown(call.conn, row, rows.project_id(call.tank.id, call.tank.seed))
    amplitude_ids, user_ids = members_of(call.conn, row.id)
    return Answer(200, {"cohort": cohort, "amplitude_ids": amplitude_ids, "user_ids": user_ids})


def members_of(conn: Connection, cohort_id: str) -> tuple[list[int], list[str]]:
    """The members of a cohort by Amplitude ID, and the user ids of those that have one."""
    ids = _member_ids(conn, cohort_id)
    names = _names(conn, ids)
    return ids, [names[each] for each in ids if each in names]


def _current(call: Call) -> Any:
    """The cohort that the path names, with members that are new enough; None when there is no such one."""
    cohort_id = call.path_args["cohort_id"]
    cohort_computing.ensure_active(call.conn, call.tank, call.now_ms)
    cohort_computing.refresh(call.conn, call.tank, cohort_id, call.now_ms)
    return row_of(call.conn, cohort_id)


def _member_ids(conn: Connection, cohort_id: str) -> list[int]:
    query = select(members.c.amplitude_id).where(members.c.cohort_id == cohort_id).order_by(members.c.amplitude_id)
    return list(conn.execute(query).scalars())


def _names(conn: Connection, ids: Sequence[int]) -> dict[int, str]:
    users = tables.users
    query = select(users.c.amplitude_id, users.c.user_id).where(users.c.amplitude_id.in_(json_set(ids)))
    return {row[0]: row[1] for row in conn.execute(query)}


def ask(call: Call) -> Answer:
    """First step of a download: 202 and a request id."""
    conn = call.conn
    row = _current(call)
    if row is None:
        return refused(400, "Invalid cohort", "no such cohort")
    if is_larger(conn, row.id, MAX_SIZE):
        return refused(400, "Invalid cohort", "the cohort has more than 2,000,000 members")
    limited = ingest.over_rate(call, "cohort-download", 1, 60, 600_000) or ingest.over_rate(
        call, "cohort-month", 1, int(call.tank.settings["amplitude.cohort_downloads_per_month"]), 30 * 86_400_000
    )
    if limited:
        return refused(429, "Too many requests", "60 downloads in ten minutes and 500 a month are the limit")
    if _under_way(call) >= MAX_UNDER_WAY:
        return refused(429, "Too many requests", "4 downloads are under way: wait until one of them is completed")
    count = conn.execute(select(func.count()).select_from(requests)).scalar_one()
    rng = call.tank.rng("cohort-request", count)
    request_id = "".join(rng.choice(_ALPHABET + _ALPHABET[:26].upper()) for _ in range(6))
    props = {"all": call.detail.get("props") == "1", "keys": call.request.query.get("propKeys", [])}
    values = {"id": request_id, "cohort_id": row.id, "asked_ms": call.now_ms, "polls": 0}
    conn.execute(requests.insert().values(**values, props=orjson.dumps(props).decode()))
    old = select(requests.c.id).where(requests.c.asked_ms < call.now_ms - REQUEST_LIVES_MS)
    computations.forget(conn, old)
    if props["all"]:
        computations.keep(conn, request_id, row.id, set(props["keys"]), call.now_ms)
    return Answer(202, {"request_id": request_id, "cohort_id": row.id})


def _under_way(call: Call) -> int:
    """Downloads of the last minute whose job is not completed yet."""
    needed = int(call.tank.settings["amplitude.cohort_polls"])
    young = requests.c.asked_ms > call.now_ms - 60_000
    query = select(func.count()).select_from(requests).where(young, requests.c.polls <= needed)
    return int(call.conn.execute(query).scalar_one())


def request_of(call: Call) -> Any:
    """The row of the request that the path names, None when it is unknown or too old."""
    found = call.conn.execute(select(requests).where(requests.c.id == call.path_args["request_id"])).first()
    return None if found is None or call.now_ms - found.asked_ms > REQUEST_LIVES_MS else found


def status(call: Call) -> Answer:
    """Second step: 202 while the job is in progress, then 200."""
    found = request_of(call)
    if found is None:
        return refused(404, "Not found", "no such request, or it is older than 7 days")
    done = found.polls >= int(call.tank.settings["amplitude.cohort_polls"])
    call.conn.execute(requests.update().where(requests.c.id == found.id).values(polls=found.polls + 1))
    word = "JOB COMPLETED" if done else "JOB INPROGRESS"
    body = {"request_id": found.id, "cohort_id": found.cohort_id, "async_status": word}
    return Answer(200 if done else 202, body)
