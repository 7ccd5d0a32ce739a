"""From a send to messages: whom it is for, which variation each gets, who is in the control group.

A dispatch is worked off a page of people at a time, each page in one transaction, so a process that is killed goes on
where it was. Source: Braze docs, POST /messages/send; POST /campaigns/trigger/send; POST /canvas/trigger/send;
Multivariate testing; Canvas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from sqlalchemy import Connection, func, select

from simulator.braze import (
    audiences,
    conversions,
    identity,
    marketing,
    message_counts,
    message_events,
    messaging_timer,
    segments,
    writes,
)
from simulator.braze.audiences import Given
from simulator.braze.identity import Profile
from simulator.braze.marketing import Marketed
from simulator.braze.messaging_tables import contents, dispatches, entries, messages
from simulator.braze.people import hex_text
from simulator.braze.reach import TRANSACTIONAL
from simulator.store import insert_rows, rows_in, run, upsert_rows
from simulator.tank import Tank

EARLIEST_ZONE_MS = 14 * 3_600_000
"""How far ahead of UTC the first local midnight is."""

_MESSAGE = ("dispatch_id", "uid", "channel", "content", "facts", "properties", "state", "due_ms", "attempts")
_ENTRY = ("canvas_id", "variant_id", "uid", "dispatch_id", "in_control", "properties", "entered_ms", "step", "due_ms")


def put(
    conn: Connection,
    tank: Tank,
    kind: str,
    object_id: str | None,
    send_id: str | None,
    request: Mapping[str, Any],
    now_ms: int,
    due_ms: int | None = None,
) -> str:
    """Note a send for ``due_ms`` (after the setting ``braze.send_delay_ms`` when None); answers its dispatch id."""
    n = int(conn.execute(select(func.coalesce(func.max(dispatches.c.n), 0) + 1)).scalar_one())
    dispatch_id = hex_text(tank.rng("braze_dispatch", n), 32)
    at_ms = now_ms + int(tank.settings["braze.send_delay_ms"]) if due_ms is None else due_ms
    row = {"dispatch_id": dispatch_id, "kind": kind, "object_id": object_id, "send_id": send_id, "due_ms": at_ms}
    conn.execute(dispatches.insert().values(**row, request=orjson.dumps(request).decode(), created_ms=now_ms))
    messaging_timer.wake(conn, at_ms)
    return dispatch_id


def local_ms(at_ms: int, profile: Profile) -> int:
    """When the wall clock of a person shows what UTC shows at ``at_ms``; without a zone it is UTC."""
    zone = profile.standard.get("time_zone")
    if not zone:
        return at_ms
    wall = datetime.fromtimestamp(at_ms / 1000, UTC).replace(tzinfo=ZoneInfo(zone))
    return int(wall.timestamp() * 1000)


# -- working a dispatch off


@dataclass
class Made:
    """What a page of people comes to."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    entered: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    windows: list[tuple[Any, ...]] = field(default_factory=list)
    counted: list[message_counts.Key] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)

    def keep(self, content: Mapping[str, Any]) -> str:
        """The key of a message's content, which is stored once however many get it."""
        data = orjson.dumps(content, option=orjson.OPT_SORT_KEYS).decode()
        key = hashlib.sha256(data.encode()).hexdigest()[:32]
        self.kept[key] = data
        return key

    def add(
        self,
        dispatch_id: str,
        uid: int,
        channel: str,
        content: Mapping[str, Any],
        facts: Mapping[str, Any],
        properties: Mapping[str, Any],
        due_ms: int,
    ) -> None:
        """One message; one in the app waits for the next session."""
        state, at = ("waiting", None) if channel == "in_app_message" else ("due", due_ms)
        texts = (orjson.dumps(facts).decode(), orjson.dumps(properties).decode())
        self.rows.append((dispatch_id, uid, channel, self.keep(content), *texts, state, at, 0))

    def store(self, conn: Connection, tank: Tank, now_ms: int) -> None:
        """Write everything down, and let happen what happens at once."""
        upsert_rows(conn, contents, ("key", "data"), list(self.kept.items()), ("key",))
        insert_rows(conn, messages, _MESSAGE, self.rows)
        insert_rows(conn, entries, _ENTRY, self.entered)
        conversions.open_windows(conn, self.windows)
        message_counts.add(conn, self.counted, now_ms)
        message_events.happen(conn, tank, self.events, now_ms)


def work_off(conn: Connection, tank: Tank, now_ms: int) -> bool:
    """Make the messages of the next page of the first due dispatch; False when none is due."""
    query = select(dispatches).where(dispatches.c.due_ms <= now_ms).order_by(dispatches.c.due_ms, dispatches.c.n)
    row = conn.execute(query.limit(1)).first()
    if row is None:
        return False
    request = orjson.loads(row.request)
    marketed = marketing.find(conn, row.object_id) if row.object_id else None
    after: int | None = None
    if marketed is None or marketed.status == "active":
        people, after = _people(conn, tank, row, request, now_ms)
        made = Made()
        if row.kind == "canvas" and marketed is not None:
            _enter(conn, tank, made, marketed, row, request, people, now_ms)
        else:
            _compose(tank, made, marketed, row, request, people, now_ms)
        made.store(conn, tank, now_ms)
    done = {"due_ms": None} if after is None else {"after_uid": after}
    conn.execute(dispatches.update().where(dispatches.c.n == row.n).values(**done))
    return True


def _people(
    conn: Connection, tank: Tank, row: Any, request: Mapping[str, Any], now_ms: int
) -> tuple[list[Given], int | None]:
    """The next people, and the number to go on after; the Global Control Group gets transactional e-mail only."""
    found, after = _named(conn, tank, row, request, now_ms)
    share = 0.0 if request.get("wanted") == TRANSACTIONAL else writes.control_share(tank)
    return [each for each in found if not identity.held_out(each[0], share)], after


def _named(
    conn: Connection, tank: Tank, row: Any, request: Mapping[str, Any], now_ms: int
) -> tuple[list[Given], int | None]:
    shared = request.get("properties", {})
    if "recipients" in request:
        found = audiences.resolve(conn, tank, request["recipients"], now_ms)
        if request.get("audience") is not None:
            found = [each for each in found if audiences.matches(request["audience"], each[0], now_ms)]
        return [(profile, {**shared, **own}) for profile, own in found], None
    segment_id = request.get("segment_id")
    members = None if segment_id is None else segments.members(conn, tank, segment_id, now_ms)
    profiles, after = audiences.page(conn, row.after_uid, members, request.get("audience"), now_ms)
    return [(each, shared) for each in profiles], after


def _due(request: Mapping[str, Any], profile: Profile, now_ms: int) -> int:
    local = request.get("local_ms")
    return now_ms if local is None else max(now_ms, local_ms(local, profile))


def _facts(row: Any, request: Mapping[str, Any], marketed: Marketed | None, part: str, name: str) -> dict[str, Any]:
    """What a message knows of where it comes from; ``part`` is a variation's or step's id."""
    event = {"dispatch_id": row.dispatch_id, "send_id": row.send_id}
    if marketed is not None and marketed.kind == "campaign":
        event |= {"campaign_id": marketed.id, "campaign_name": marketed.name, "message_variation_id": part}
    wanted = request.get("wanted", "subscribed")
    return {
        "object_id": row.object_id or "",
        "part": part,
        "part_name": name,
        "wanted": wanted,
        "converts": bool(marketed is not None and marketed.data["conversions"]),
        "event": event,
    }


# -- campaigns and messages without one


def _compose(
    tank: Tank,
    made: Made,
    marketed: Marketed | None,
    row: Any,
    request: Mapping[str, Any],
    people: Sequence[Given],
    now_ms: int,
) -> None:
    for profile, properties in people:
        if row.kind == "messages":
            chosen = [
                (channel, content, content.get("message_variation_id") or "", channel)
                for channel, content in request["messages"].items()
            ]
        else:
            assert marketed is not None
            rng = tank.rng("braze_split", marketed.id, profile.braze_id)
            if rng.random() * 100 < marketed.data["control_share"]:
                _enroll(made, marketed, row, request, profile, now_ms)
                continue
            chosen = _variations(rng, marketed)
        for channel, content, part, name in chosen:
            facts = _facts(row, request, marketed, part, name)
            made.add(row.dispatch_id, profile.uid, channel, content, facts, properties, _due(request, profile, now_ms))


def _variations(rng: Any, marketed: Marketed) -> list[tuple[str, Mapping[str, Any], str, str]]:
    """One variation per channel, by their shares."""
    found: list[tuple[str, Mapping[str, Any], str, str]] = []
    for channel in dict.fromkeys(each["channel"] for each in marketed.data["variations"]):
        mine = [each for each in marketed.data["variations"] if each["channel"] == channel]
        shares = [each["share"] for each in mine]
        if any(shares):
            (one,) = rng.choices(mine, shares)
            content = dict(one["message"])
            if marketed.data.get("subscription_group_id"):
                content.setdefault("subscription_group_id", marketed.data["subscription_group_id"])
            found.append((channel, content, one["id"], one["name"]))
    return found


def _enroll(
    made: Made, marketed: Marketed, row: Any, request: Mapping[str, Any], profile: Profile, now_ms: int
) -> None:
    """Who is in the control group gets nothing, and may convert all the same."""
    facts = _facts(row, request, marketed, marketed.data["control_id"], "Control")
    type_ = "users.campaigns.EnrollInControl"
    made.events.append(message_events.event(type_, now_ms, profile, facts["event"]))
    made.windows += conversions.window(marketed, profile.uid, facts, now_ms)
    made.counted.append((marketed.id, marketed.data["control_id"], row.send_id or "", "", "enrolled"))


# -- Canvases


def _enter(
    conn: Connection,
    tank: Tank,
    made: Made,
    canvas: Marketed,
    row: Any,
    request: Mapping[str, Any],
    people: Sequence[Given],
    now_ms: int,
) -> None:
    barred: set[int] = set()
    if not canvas.data.get("reeligible", True):
        uids = [profile.uid for profile, _ in people]
        held = rows_in(conn, entries, ("uid", "canvas_id"), "uid", uids)
        barred = {each[0] for each in held if each[1] == canvas.id}
    for profile, properties in people:
        if profile.uid in barred:
            continue
        rng = tank.rng("braze_split", canvas.id, profile.braze_id)
        control = rng.random() * 100 < canvas.data["control_share"]
        shares = [each["share"] for each in canvas.data["variants"]]
        variant = rng.choices(canvas.data["variants"], shares)[0] if any(shares) else canvas.data["variants"][0]
        variant_id = canvas.data["control_id"] if control else variant["id"]
        values = {**_canvas_values(canvas, variant_id, row.dispatch_id), "in_control_group": control}
        made.events.append(message_events.event("users.canvas.Entry", now_ms, profile, values))
        made.counted.append((canvas.id, variant_id, "", "", "entries"))
        facts = {"object_id": canvas.id, "part": variant_id, "event": values}
        made.windows += conversions.window(canvas, profile.uid, facts, now_ms)
        first = None if control or not variant["steps"] else now_ms + round(variant["steps"][0]["after_s"] * 1000)
        text = orjson.dumps(properties).decode()
        made.entered.append((canvas.id, variant_id, profile.uid, row.dispatch_id, control, text, now_ms, 0, first))


def _canvas_values(canvas: Marketed, variant_id: str, dispatch_id: str) -> dict[str, Any]:
    variant = canvas.variant(variant_id)
    return {
        "canvas_id": canvas.id,
        "canvas_name": canvas.name,
        "canvas_variation_id": variant_id,
        "canvas_variation_name": "Control" if variant is None else variant["name"],
        "dispatch_id": dispatch_id,
    }


def take_steps(conn: Connection, tank: Tank, now_ms: int) -> bool:
    """Take the next people through the Canvas step that is due; False when none is."""
    query = select(entries).where(entries.c.due_ms <= now_ms).order_by(entries.c.due_ms, entries.c.n)
    rows = conn.execute(query.limit(audiences.PAGE)).all()
    canvases: dict[str, Marketed | None] = {}
    made = Made()
    moved: list[dict[str, Any]] = []
    for row in rows:
        if row.canvas_id not in canvases:
            canvases[row.canvas_id] = marketing.find(conn, row.canvas_id, "canvas")
        canvas = canvases[row.canvas_id]
        variant = None if canvas is None else canvas.variant(row.variant_id)
        step = variant["steps"][row.step] if variant is not None and row.step < len(variant["steps"]) else None
        if canvas is None or variant is None or step is None or canvas.status == "archived":
            moved.append(_moved(row, None, now_ms, "completed"))
            continue
        _step_messages(made, canvas, step, row, now_ms)
        if row.step + 1 < len(variant["steps"]):
            following = row.due_ms + round(variant["steps"][row.step + 1]["after_s"] * 1000)
            moved.append(_moved(row, max(now_ms, following), now_ms))
        else:
            moved.append(_moved(row, None, now_ms, "completed"))
    if moved:
        made.store(conn, tank, now_ms)
        run(
            conn,
            f"UPDATE {entries.name} SET step = ?, due_ms = ?, exited_ms = ?, exit_reason = ? WHERE n = ?",
            [tuple(each.values()) for each in moved],
        )
    return bool(rows)


def _moved(row: Any, due_ms: int | None, now_ms: int, reason: str | None = None) -> dict[str, Any]:
    left = None if due_ms is not None else now_ms
    return {"step": row.step + 1, "due_ms": due_ms, "exited_ms": left, "exit_reason": reason, "n": row.n}


def _step_messages(made: Made, canvas: Marketed, step: Mapping[str, Any], row: Any, now_ms: int) -> None:
    values = _canvas_values(canvas, row.variant_id, row.dispatch_id)
    event = {**values, "canvas_step_id": step["id"], "canvas_step_name": step["name"]}
    facts = {
        "object_id": canvas.id,
        "part": step["id"],
        "part_name": step["name"],
        "wanted": "subscribed",
        "converts": bool(canvas.data["conversions"]),
        "event": event,
    }
    for channel, content in step["messages"].items():
        made.add(row.dispatch_id, row.uid, channel, content, facts, orjson.loads(row.properties), now_ms)
