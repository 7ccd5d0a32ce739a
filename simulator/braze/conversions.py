"""Conversions: who received a message, or would have, and does what it hoped for within its window.

Source: Braze docs, Conversion events (windows, control groups, once per message); Amplitude for Currents (Conversion
events).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, select

from simulator.braze import message_counts, message_events
from simulator.braze.identity import Profile
from simulator.braze.marketing import Marketed
from simulator.braze.messaging_tables import objects, windows
from simulator.store import insert_rows, json_set, rows_in, run

KINDS: Mapping[str, str] = {
    "starts_session": "session",
    "makes_purchase": "purchase",
    "performs_event": "event",
    "opens_email": "opens_email",
    "clicks_email": "clicks_email",
}
"""Conversion events of a definition, and what is done by whom converts."""

_TITLES = {
    "starts_session": "Starts Session",
    "makes_purchase": "Makes Purchase",
    "performs_event": "Performs Custom Event",
    "opens_email": "Opens Email",
    "clicks_email": "Clicks Email",
}
MAX_BEHAVIORS = 4
"""Conversion A to D. Source: Braze docs, Conversion events."""

DEFAULT_WINDOW_S = 3 * 86_400
_COLUMNS = ("uid", "object_id", "dispatch_id", "facts", "from_ms", "until_ms", "converted")


def window(marketed: Marketed, uid: int, facts: Mapping[str, Any], now_ms: int) -> list[tuple[Any, ...]]:
    """The row of a window that opens now; none when nothing is hoped for."""
    behaviors = marketed.data["conversions"]
    if not behaviors:
        return []
    longest_ms = round(max(each.get("window_s", DEFAULT_WINDOW_S) for each in behaviors) * 1000)
    kept = {name: facts[name] for name in ("object_id", "part", "event")}
    dispatch_id = facts["event"]["dispatch_id"]
    return [(uid, marketed.id, dispatch_id, orjson.dumps(kept).decode(), now_ms, now_ms + longest_ms, "")]


def open_windows(conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Store windows; one that is open for the same send stays as it is."""
    if rows:
        held = {tuple(row) for row in rows_in(conn, windows, _COLUMNS[:3], "uid", {row[0] for row in rows})}
        # The first message of a send opens the window of all of them.
        fresh = {row[:3]: row for row in reversed(rows) if row[:3] not in held}
        insert_rows(conn, windows, _COLUMNS, [fresh[key] for key in sorted(fresh)])


def behavior_text(behavior: Mapping[str, Any]) -> str:
    """A conversion event as Currents tells it: JSON in a text."""
    shown: dict[str, Any] = {"type": _TITLES[behavior["type"]], "window": behavior.get("window_s", DEFAULT_WINDOW_S)}
    if behavior["type"] == "makes_purchase":
        shown["product"] = behavior.get("name")
    if behavior["type"] == "performs_event":
        shown["custom_event_name"] = behavior.get("name")
    return orjson.dumps(shown).decode()


def note(
    conn: Connection, people: Mapping[int, Profile], did: Iterable[tuple[int, str, str, int]], now_ms: int
) -> list[dict[str, Any]]:
    """Convert whom it concerns; answers the Conversion events.

    :param did: ``(uid, kind, name, at_ms)`` of what people did, see :data:`KINDS`.
    """
    held = _open(conn, people, now_ms)
    if not held:
        return []
    made = _definitions(conn, {row[2] for row in held})
    events: list[dict[str, Any]] = []
    counted: list[message_counts.Key] = []
    converted: dict[int, str] = {}
    mine: dict[int, list[Any]] = {}
    for row in held:
        mine.setdefault(row[1], []).append(row)
    for uid, kind, name, at_ms in did:
        for n, _, object_id, text, from_ms, already in mine.get(uid, ()):
            definition = made.get(object_id)
            if definition is None:
                continue
            facts = orjson.loads(text)
            for index, behavior in enumerate(definition[1]["conversions"][:MAX_BEHAVIORS]):
                if str(index) in converted.get(n, already) or not _meets(behavior, kind, name, from_ms, at_ms):
                    continue
                converted[n] = converted.get(n, already) + str(index)
                events.append(_event(definition[0], facts, behavior, index, people[uid], at_ms))
                send_id = facts["event"].get("send_id") or ""
                counted.append((object_id, facts["part"], send_id, "", "conversions" + (str(index) if index else "")))
    if converted:
        run(
            conn,
            f"UPDATE {windows.name} SET converted = ? WHERE n = ?",
            [(indexes, n) for n, indexes in converted.items()],
        )
    message_counts.add(conn, counted, now_ms)
    return events


def _open(conn: Connection, people: Mapping[int, Profile], now_ms: int) -> list[Any]:
    """Open windows of these people; most workspaces have none, which one look tells."""
    if conn.exec_driver_sql(f"SELECT 1 FROM {windows.name} LIMIT 1").first() is None:
        return []
    columns = ("n", "uid", "object_id", "facts", "from_ms", "converted")
    return rows_in(conn, windows, columns, "uid", people, f"AND until_ms >= {int(now_ms)} ORDER BY n")


def _definitions(conn: Connection, ids: Iterable[str]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    query = select(objects.c.id, objects.c.kind, objects.c.data).where(objects.c.id.in_(json_set(ids)))
    return {row[0]: (row[1], orjson.loads(row[2])) for row in conn.execute(query)}


def _meets(behavior: Mapping[str, Any], kind: str, name: str, from_ms: int, at_ms: int) -> bool:
    window_ms = behavior.get("window_s", DEFAULT_WINDOW_S) * 1000
    fits = KINDS[behavior["type"]] == kind and behavior.get("name", name) == name
    return fits and from_ms <= at_ms <= from_ms + window_ms


def _event(
    kind: str, facts: Mapping[str, Any], behavior: Mapping[str, Any], index: int, profile: Profile, at_ms: int
) -> dict[str, Any]:
    values = {
        **facts["event"],
        "conversion_behavior_index": index,
        "conversion_behavior": behavior_text(behavior),
    }
    type_ = "users.campaigns.Conversion" if kind == "campaign" else "users.canvas.Conversion"
    return message_events.event(type_, at_ms, profile, values)


def at_step(conn: Connection, uids: Iterable[int], canvas_id: str, event: Mapping[str, Any]) -> None:
    """Note that people of a Canvas received a step: from now on their conversions name it."""
    changed = []
    for n, owner, text in rows_in(conn, windows, ("n", "object_id", "facts"), "uid", uids):
        facts = orjson.loads(text)
        if owner == canvas_id and facts["event"]["dispatch_id"] == event["dispatch_id"]:
            facts["event"] = {**facts["event"], "canvas_step_id": event["canvas_step_id"]}
            changed.append((orjson.dumps(facts).decode(), n))
    if changed:
        run(conn, f"UPDATE {windows.name} SET facts = ? WHERE n = ?", changed)
