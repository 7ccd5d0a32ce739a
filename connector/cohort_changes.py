"""Taking Amplitude's cohort webhook, for syncs in real time: changes that come unordered, and sometimes twice.

Source: Amplitude docs, Webhooks (cohorts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.flows import cohort_sync
from connector.flows.cohort_sync import CohortSync
from connector.outbox import Outbox, Taken
from connector.streaming import Malformed, read

TABLES = """
CREATE TABLE IF NOT EXISTS members (
  cohort TEXT NOT NULL, user_id TEXT NOT NULL, computed INTEGER NOT NULL, inside INTEGER NOT NULL,
  PRIMARY KEY (cohort, user_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS named (cohort TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (id TEXT PRIMARY KEY) WITHOUT ROWID;
"""
KEPT_MESSAGES = 100_000
LONGEST_TIME = 18
"""Digits of a number of seconds that is kept."""


def take(outbox: Outbox, syncs: Sequence[CohortSync], body: bytes, now_ms: int) -> int:
    """Take one webhook request; answers how many of its people change. Raises Malformed.

    What was computed before something already known of a person is old news; ``computed_time`` tells.
    """
    given = read(body)
    _check(given)
    sync = next((each for each in syncs if each.cohort_id == given["cohort_id"]), None)
    if sync is None:
        return 0
    inside, computed = given["in_cohort"], int(given["computed_time"])
    names = list(dict.fromkeys(str(each["user_id"]) for each in given["users"]))
    with outbox.taking() as db:
        if db.execute("SELECT 1 FROM messages WHERE id = ?", (given["message_id"],)).fetchone():
            return 0
        db.execute("INSERT INTO messages (id) VALUES (?)", (given["message_id"],))
        changed = []
        for name in names:
            row = db.execute(
                "SELECT computed, inside FROM members WHERE cohort = ? AND user_id = ?", (sync.cohort_id, name)
            ).fetchone()
            if row is not None and row[0] > computed:
                continue
            db.execute(
                "INSERT INTO members (cohort, user_id, computed, inside) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (cohort, user_id) DO UPDATE SET computed = excluded.computed, inside = excluded.inside",
                (sync.cohort_id, name, computed, int(inside)),
            )
            if row is None or bool(row[1]) != inside:
                changed.append(name)
        items = _opening(db, sync, given["cohort_name"], now_ms)
        for start in range(0, len(changed), cohort_sync.MAX_IDS):
            page = [_person(sync, each) for each in changed[start : start + cohort_sync.MAX_IDS]]
            items.append(cohort_sync.change(sync.cohort_id, page, remove=not inside))
        outbox.put_in(db, [Taken(f"{given['message_id']}:{n}", sync.id, each) for n, each in enumerate(items)])
    return len(changed)


def _check(given: Mapping[str, Any]) -> None:
    for name in ("cohort_id", "cohort_name", "message_id"):
        if not isinstance(given.get(name), str) or not given[name]:
            raise Malformed(f"{name} is not a text")
    computed = given.get("computed_time")
    if not isinstance(computed, str | int) or isinstance(computed, bool) or not str(computed).isdecimal():
        raise Malformed("computed_time is not a number of seconds")
    if len(str(computed)) > LONGEST_TIME:
        raise Malformed("computed_time is far beyond all time")
    if not isinstance(given.get("in_cohort"), bool):
        raise Malformed("in_cohort is neither true nor false")
    users = given.get("users")
    if not isinstance(users, list) or not all(isinstance(each, dict) and each.get("user_id") for each in users):
        raise Malformed("users is not a list of objects with a user_id")


def _opening(db: Any, sync: CohortSync, name: str, now_ms: int) -> list[bytes]:
    known = db.execute("SELECT name FROM named WHERE cohort = ?", (sync.cohort_id,)).fetchone()
    if known is not None and known[0] == name:
        return []
    db.execute(
        "INSERT INTO named (cohort, name) VALUES (?, ?) ON CONFLICT (cohort) DO UPDATE SET name = excluded.name",
        (sync.cohort_id, name),
    )
    return [cohort_sync.naming(sync.cohort_id, name, now_ms)]


def _person(sync: CohortSync, user_id: str) -> dict[str, Any]:
    if sync.identifiers[0] == "user_alias":
        return {"user_alias": {"alias_name": user_id, "alias_label": sync.user_alias_label}}
    return {"user_id": user_id}
