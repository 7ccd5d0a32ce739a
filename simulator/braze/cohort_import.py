"""Partner cohort import: `POST /partners/{partner}/cohorts` names a cohort, `/cohorts/users` changes its members.

Source: Braze docs, Cohort import for partners; Amplitude for cohort import.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from simulator.braze import dates, pending
from simulator.braze.refusals import refuse
from simulator.braze.track_checks import is_alias
from simulator.braze.transport import Body
from simulator.braze.user_tables import cohorts
from simulator.exchange import Answer, Call, Reason
from simulator.store import insert_rows

SOURCE = "Braze docs, Cohort import for partners"
MAX_IDS = 1000
_KINDS = ("user_ids", "device_ids", "aliases")


def _partner(call: Call) -> str:
    return str(call.path_args["partner"])


def _door(call: Call, body: Body) -> Answer | None:
    """What both calls refuse: a partner that is not enabled, a bad cohort id, a locked cohort."""
    settings = call.tank.settings
    if _partner(call) not in settings["braze.partners"]:
        return refuse("partner_not_enabled", secret=str(body.get("client_secret")))
    cohort_id = body.get("cohort_id")
    if not isinstance(cohort_id, str) or not cohort_id:
        return refuse("cohort_id")
    lock_ms = int(settings["braze.cohort_lock_ms"])
    held = _row(call.conn, _partner(call), cohort_id) if lock_ms else None
    if held is not None and call.now_ms - held.changed_ms < lock_ms:
        return refuse("cohort_locked", detail={"last_write_ms": held.changed_ms})
    return None


def _row(conn: Connection, partner: str, cohort_id: str) -> Any:
    table = cohorts
    return conn.execute(select(table).where(table.c.partner == partner, table.c.cohort_id == cohort_id)).first()


def name(call: Call, body: Body) -> Answer:
    """Create a cohort, or give it another name; its id stays."""
    refused = _door(call, body)
    if refused is not None:
        return refused
    if not isinstance(body.get("name"), str) or not body["name"].strip():
        return refuse("cohort_name")
    created_at = body.get("created_at")
    if not isinstance(created_at, str) or dates.instant(created_at) is None:
        return refuse("cohort_created_at")
    held = _row(call.conn, _partner(call), body["cohort_id"])
    number = _mark(call.conn, _partner(call), body["cohort_id"], held, call.now_ms)
    values = {"name": body["name"], "created_at": created_at}
    call.conn.execute(cohorts.update().where(cohorts.c.number == number).values(**values))
    return Answer(201, {"message": "success"}, why=(Reason("named", "the cohort has its name", SOURCE),))


def users(call: Call, body: Body) -> Answer:
    """Take changes in order; each adds all its people or, with ``should_remove``, removes them."""
    refused = _door(call, body)
    if refused is not None:
        return refused
    changes = body.get("cohort_changes")
    if not isinstance(changes, list) or not all(_fits(each) for each in changes):
        return refuse("cohort_changes")
    count = sum(len(each.get(kind) or ()) for each in changes for kind in _KINDS)
    if count > MAX_IDS:
        return refuse("cohort_too_many", detail={"ids": count})
    partner, cohort_id = _partner(call), body["cohort_id"]
    held = _row(call.conn, partner, cohort_id)
    if held is None and changes and call.tank.settings["braze.cohort_unknown"] == "refuse":
        return refuse("cohort_unknown")
    if changes:
        number = _mark(call.conn, partner, cohort_id, held, call.now_ms)
        payload = {"cohort": number, "changes": changes}
        n = pending.put(call.conn, call.tank, "cohort_users", payload, call.now_ms)
        why = Reason("accepted", "the changes are queued", SOURCE, {"write": n, "ids": count})
    else:
        why = Reason("accepted", "there is nothing to change", SOURCE)
    return Answer(201, {"message": "success"}, why=(why,))


def _fits(change: Any) -> bool:
    if not isinstance(change, dict) or all(change.get(kind) is None for kind in _KINDS):
        return False
    if not isinstance(change.get("should_remove", False), bool):
        return False
    for kind in ("user_ids", "device_ids"):
        given = change.get(kind)
        if given is not None and not (isinstance(given, list) and all(isinstance(each, str) for each in given)):
            return False
    aliases = change.get("aliases")
    return aliases is None or (isinstance(aliases, list) and all(is_alias(each) for each in aliases))


def _mark(conn: Connection, partner: str, cohort_id: str, held: Any, now_ms: int) -> int:
    """Note the time of the write and answer the cohort's number; one that is new comes without a name."""
    if held is not None:
        conn.execute(cohorts.update().where(cohorts.c.number == held.number).values(changed_ms=now_ms))
        return int(held.number)
    number = int(conn.execute(select(func.coalesce(func.max(cohorts.c.number), 0) + 1)).scalar_one())
    row = (partner, cohort_id, number, now_ms)
    insert_rows(conn, cohorts, ("partner", "cohort_id", "number", "changed_ms"), [row])
    return number
