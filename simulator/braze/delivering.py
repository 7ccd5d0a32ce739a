"""Sending what is due: reachable people get their rendered message, and what they will do with it is drawn.

Rendering happens outside transactions, because Connected Content calls go over HTTP. A process killed in between
renders again, as the documents warn that a call may be made several times. Source: Braze docs, Connected Content;
Aborting Liquid messages; Messaging channels.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, func, select

from simulator import timekeeper
from simulator.braze import (
    aftermath,
    behaviour,
    conversions,
    dispatching,
    email_tables,
    marketing,
    message_counts,
    messaging_timer,
    pending,
    profile_store,
    reach,
    rendering,
    templates,
)
from simulator.braze.channels import Channel, channels
from simulator.braze.connected_calls import Calls
from simulator.braze.connected_content import Retry
from simulator.braze.identity import Profile
from simulator.braze.messaging_tables import contents, dispatches, entries, happenings, messages
from simulator.braze.people import uuid_text
from simulator.braze.reach import Target, Unreachable
from simulator.store import insert_rows, json_set, run
from simulator.tank import Tank

PAGE = 500
MAX_ATTEMPTS = 5
"""So often a call with ``:retry`` is made again. Source: Braze docs, Connected Content retries."""

_turns: dict[tuple[str, int], threading.Lock] = {}
_turns_guard = threading.Lock()


@dataclass
class Ready:
    """A due message with everything that rendering it needs."""

    row: Any
    channel: Channel
    profile: Profile | None
    content: Mapping[str, Any]
    facts: dict[str, Any]
    properties: Mapping[str, Any]
    targets: Sequence[Target] = ()
    state: str = "sent"
    reason: str | None = None
    rendered: Any = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    again: bool = False


def on_timer(tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
    """Do everything that is due, in the order of causes, and set the timer for the rest."""
    with _turns_guard:
        turn = _turns.setdefault((tank.id, tank.born), threading.Lock())
    with turn:
        while _round(tank):
            pass
        with tank.store.write() as conn:
            due = [
                conn.execute(select(func.min(column))).scalar()
                for column in (dispatches.c.due_ms, entries.c.due_ms, happenings.c.due_ms)
            ]
            due.append(conn.execute(select(func.min(messages.c.due_ms)).where(messages.c.state == "due")).scalar())
            times = [each for each in due if each is not None]
            if times:
                timekeeper.schedule(conn, max(now_ms, min(times)), messaging_timer.KIND, messaging_timer.KIND)


TIMERS: Mapping[str, timekeeper.Handler] = {messaging_timer.KIND: on_timer}


def _round(tank: Tank) -> bool:
    """One page of each kind of work; False when nothing was due."""
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        pending.apply_due(conn, tank, now_ms)
        worked = dispatching.work_off(conn, tank, now_ms)
        worked = dispatching.take_steps(conn, tank, now_ms) or worked
    ready = _due(tank)
    for each in ready:
        if each.profile is not None and each.state == "sent":
            _render(tank, each)
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        _settle(conn, tank, ready, now_ms)
        worked = aftermath.happen(conn, tank, now_ms) or worked
    return worked or bool(ready)


# -- before rendering


def _due(tank: Tank) -> list[Ready]:
    with tank.store.read() as conn:
        now_ms = tank.clock.now_ms(conn)
        query = select(messages).where(messages.c.state == "due", messages.c.due_ms <= now_ms)
        rows = conn.execute(query.order_by(messages.c.due_ms, messages.c.n).limit(PAGE)).all()
        if not rows:
            return []
        texts = {
            row.key: orjson.loads(row.data)
            for row in conn.execute(select(contents).where(contents.c.key.in_(json_set({row.content for row in rows}))))
        }
        people = {each.uid: each for each in profile_store.by_uid(conn, {row.uid for row in rows})}
        emails = {str(each.standard["email"]) for each in people.values() if each.standard.get("email")}
        bad = email_tables.bad(conn, emails)
    ready = []
    for row in rows:
        facts, properties = orjson.loads(row.facts), orjson.loads(row.properties)
        channel = channels()[row.channel]
        each = Ready(row, channel, people.get(row.uid), texts[row.content], facts, properties)
        _aim(tank, each, bad)
        ready.append(each)
    return ready


def _aim(tank: Tank, each: Ready, bad: Mapping[str, str]) -> None:
    """Find out where the message goes; whom it cannot reach is skipped."""
    if each.profile is None:
        each.state, each.reason = "skipped", "the profile is gone"
        return
    wanted, platform = each.facts["wanted"], str(tank.settings["braze.unknown_token_platform"])
    try:
        each.targets = reach.targets(each.profile, each.channel, each.content, wanted, bad, platform)
    except Unreachable as error:
        each.state, each.reason = "skipped", str(error)


def _render(tank: Tank, each: Ready) -> None:
    """Render the message; a body may abort it, or a failed call may ask for another attempt."""
    assert each.profile is not None
    caller = Calls(tank)
    given = rendering.variables(each.profile, each.facts, each.properties, each.targets[0].device)
    try:
        each.rendered = rendering.render(each.content, given, caller)
    except templates.Aborted as error:
        each.state, each.reason = "aborted", error.reason or "abort_message"
    except Retry as error:
        if each.channel.family == "in_app_message" or each.row.attempts >= MAX_ATTEMPTS:
            each.state, each.reason = "aborted", f"Connected Content failed: {error.reason}"
        else:
            each.again, each.reason = True, error.reason
    each.calls = caller.log


# -- after rendering


def _settle(conn: Connection, tank: Tank, ready: Sequence[Ready], now_ms: int) -> None:
    if not ready:
        return
    rows: list[tuple[Any, ...]] = []
    laid: list[tuple[Any, ...]] = []
    windows: list[tuple[Any, ...]] = []
    counted: list[message_counts.Key] = []
    made = {each.facts["object_id"] for each in ready if each.facts["object_id"]}
    definitions = {object_id: marketing.find(conn, object_id) for object_id in made}
    for each in ready:
        rows.append(_row(tank, each, now_ms))
        if each.again:
            continue
        facts = each.facts
        key = (facts["object_id"], facts["part"], facts["event"].get("send_id") or "", each.channel.statistic)
        if each.state != "sent":
            counted.append((*key, each.state))
            continue
        counted.append((*key, "messages"))
        laid += _follow(tank, each, now_ms)
        marketed = definitions.get(facts["object_id"])
        if marketed is not None and marketed.kind == "campaign":
            windows += conversions.window(marketed, each.row.uid, facts, now_ms)
        elif marketed is not None:
            conversions.at_step(conn, [each.row.uid], marketed.id, facts["event"])
    columns = "state = ?, due_ms = ?, attempts = ?, reason = ?, at_ms = ?, rendered = ?, calls = ?"
    run(conn, f"UPDATE {messages.name} SET {columns} WHERE n = ?", rows)
    insert_rows(conn, happenings, ("due_ms", "message_n", "uid", "type", "does", "properties"), laid)
    conversions.open_windows(conn, windows)
    message_counts.add(conn, counted, now_ms)
    marketing.note_sent(conn, {each.facts["object_id"] for each in ready if each.state == "sent"} - {""}, now_ms)


def _row(tank: Tank, each: Ready, now_ms: int) -> tuple[Any, ...]:
    rendered = None if each.rendered is None else orjson.dumps(each.rendered).decode()
    calls = orjson.dumps(each.calls).decode() if each.calls else None
    attempts = each.row.attempts
    if each.again:
        pause_ms = round(float(tank.settings["braze.connected_content.retry_base_s"]) * 1000 * 2**attempts)
        return "due", now_ms + pause_ms, attempts + 1, each.reason, None, None, calls, each.row.n
    return each.state, None, attempts, each.reason, now_ms, rendered, calls, each.row.n


def _follow(tank: Tank, each: Ready, now_ms: int) -> list[tuple[Any, ...]]:
    """What happens to a sent message, on each of its devices."""
    assert each.profile is not None
    app_id = tank.credential("braze_app_id")
    shared = aftermath.shared_values(tank, each.profile, each.rendered)
    laid = []
    for index, target in enumerate(each.targets):
        rng = tank.rng("braze_behaviour", each.row.n, index)
        device = aftermath.device_facts(target, app_id)
        shared["content_card_id"] = uuid_text(rng)
        scene = behaviour.Scene(
            device.get("platform"), bool(each.content.get("subscription_group_id")), bool(each.facts["converts"])
        )
        for step in behaviour.lay_out(each.channel.family, scene, rng, tank.settings["braze.behaviour"]):
            own = aftermath.own_values(step.type, each.rendered, rng)
            text = orjson.dumps({**shared, **device, **own}).decode()
            laid.append((now_ms + step.after_ms, each.row.n, each.row.uid, step.type, step.does, text))
    return laid
