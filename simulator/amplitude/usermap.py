"""User Mapping (aliasing): which user's events belong to another user's stream as well.

Source: Amplitude docs, User Mapping (Aliasing) API. The body of a successful write is inferred.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection, select

from simulator.amplitude import ingest, tables
from simulator.amplitude.export import refused
from simulator.amplitude.identify import text
from simulator.exchange import Answer, Call
from simulator.store import json_set, upsert_rows

SOURCE = "Amplitude docs, User Mapping (Aliasing) API"
MAX_MAPPINGS = 2000
RATE, WINDOW_MS = 1500, 30_000


def write(call: Call) -> Answer:
    """Map users to global users, or unmap them: all of a request or nothing."""
    try:
        data = orjson.loads(call.detail.get("mapping", ""))
    except orjson.JSONDecodeError:
        return text(400, "Invalid mapping", "invalid-mapping", "mapping is absent or no JSON", SOURCE)
    given = data if isinstance(data, list) else [data]
    if len(given) > MAX_MAPPINGS or len(call.request.body) > 1_000_000:
        return text(413, "Payload too large", "too-many-mappings", "more than 2,000 mappings or 1 MB", SOURCE)
    for index, each in enumerate(given):
        problem = _problem(each)
        if problem is not None:
            return text(400, problem, "invalid-mapping", f"mapping {index}: {problem}", SOURCE)
    if _over_rate(call, len(given)):
        return text(429, "Too many requests", "throttled", "more than 50 mappings a second over 30 s", SOURCE)
    table = tables.mappings
    for each in given:
        if each.get("unmap"):
            call.conn.execute(table.delete().where(table.c.user_id == each["user_id"]))
        else:
            row = (each["user_id"], each["global_user_id"])
            upsert_rows(call.conn, table, ("user_id", "global_user_id"), [row], ("user_id",))
    return text(200, "success", "mapped", "applied", SOURCE, {"mappings": len(given)})


def _over_rate(call: Call, count: int) -> bool:
    """Whether these mappings are more than the window takes: from then on nothing is taken until it has drained."""
    if ingest.rate(call, "usermap-breach", WINDOW_MS):
        return True
    over = ingest.over_rate(call, "usermap", count, RATE, WINDOW_MS)
    if over:
        ingest.over_rate(call, "usermap-breach", 1, 1, WINDOW_MS)
    return over


def _problem(each: Any) -> str | None:
    if not isinstance(each, dict):
        return "Invalid mapping"
    if not isinstance(each.get("user_id"), str) or not each["user_id"]:
        return "Missing user_id"
    if each.get("unmap") is not True and (
        not isinstance(each.get("global_user_id"), str) or not each["global_user_id"]
    ):
        return "Missing global_user_id"
    return None


def read(call: Call) -> Answer:
    """For each asked user: which users are mapped to it, and which it is mapped to."""
    wanted = _user_ids(call)
    if not 1 <= len(wanted) <= 100:
        return refused(400, "Invalid user_ids", "user_ids lists 1 to 100 user ids")
    table, users = tables.mappings, tables.users
    names = json_set(wanted)
    rows = call.conn.execute(
        select(table).where(table.c.user_id.in_(names) | table.c.global_user_id.in_(json_set(wanted)))
    ).all()
    mentioned = {*wanted, *(row.user_id for row in rows), *(row.global_user_id for row in rows)}
    pairs = select(users.c.user_id, users.c.amplitude_id).where(users.c.user_id.in_(json_set(mentioned)))
    known: dict[str, int] = {row[0]: row[1] for row in call.conn.execute(pairs)}

    def person(user_id: str) -> dict[str, Any]:
        return {"amplitude_id": known.get(user_id), "user_id": user_id}

    body: dict[str, Any] = {}
    for user_id in wanted:
        mapped_from = [person(row.user_id) for row in rows if row.global_user_id == user_id]
        mapped_to = [person(row.global_user_id) for row in rows if row.user_id == user_id]
        if user_id in known or mapped_from or mapped_to:
            body[user_id] = {"mapped_from": mapped_from, "mapped_to": mapped_to}
        else:
            body[user_id] = {}
    return Answer(200, body)


def people_mapped_to(conn: Connection, user_id: str) -> list[int]:
    """Amplitude IDs of the users that are mapped to this one, and to those in turn."""
    table, users = tables.mappings, tables.users
    names, level = {user_id}, [user_id]
    while level:
        mapped = conn.execute(select(table.c.user_id).where(table.c.global_user_id.in_(json_set(level)))).scalars()
        level = [each for each in mapped if each not in names]
        names.update(level)
    aliases = sorted(names - {user_id})
    query = select(users.c.amplitude_id).where(users.c.user_id.in_(json_set(aliases)))
    return sorted(conn.execute(query).scalars())


def counted_as(conn: Connection) -> dict[int, int]:
    """Amplitude ID → the one it is counted under: users who share a global user are one in aggregate counts."""
    table, users = tables.mappings, tables.users
    onto: dict[str, str] = {row[0]: row[1] for row in conn.execute(select(table.c.user_id, table.c.global_user_id))}
    roots: dict[str, list[str]] = {}
    for name in onto:
        root, seen = name, {name}
        while root in onto and onto[root] not in seen:
            root = onto[root]
            seen.add(root)
        roots.setdefault(root, []).append(name)
    pairs = select(users.c.user_id, users.c.amplitude_id).where(users.c.user_id.in_(json_set({*onto, *roots})))
    known: dict[str, int] = {row[0]: row[1] for row in conn.execute(pairs)}
    found: dict[int, int] = {}
    for root, names in roots.items():
        together = [known[each] for each in names if each in known]
        one = known.get(root, min(together, default=0))
        found.update({each: one for each in together if each != one})
    return found


def _user_ids(call: Call) -> list[str]:
    """``user_ids`` repeated, separated by commas, or as a JSON list; in the query or the body."""
    given = call.request.query.get("user_ids") or [call.detail.get("user_ids", "")]
    found: list[str] = []
    for each in given:
        try:
            data = orjson.loads(each)
        except orjson.JSONDecodeError:
            data = None
        parts = data if isinstance(data, list) else each.split(",")
        found += [str(part).strip() for part in parts if str(part).strip()]
    return list(dict.fromkeys(found))
