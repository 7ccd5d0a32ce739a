"""Braze's messaging over the control API: the marketer at the dashboard, people who get messages, a look at both."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import select

from simulator import clock
from simulator.braze import (
    aftermath,
    audiences,
    dispatching,
    marketing,
    messaging_timer,
    pending,
    profile_store,
    rendering,
    segments,
    templates,
)
from simulator.braze.connected_calls import Calls
from simulator.braze.connected_content import Retry
from simulator.braze.marketing import Kind, Marketed
from simulator.braze.messaging_tables import dispatches, entries, messages
from simulator.control.desk import NotThere
from simulator.control.frame import Ask, ControlRoute

_T = "/tanks/<tank_id>/braze"
_PAGE: dict[str, Any] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
    "after": {"type": "integer", "minimum": 0},
}
_TEXT = {"type": "string", "minLength": 1, "maxLength": 1024}


def _found(ask: Ask, conn: Any, kind: Kind) -> Marketed:
    found = marketing.find(conn, ask.path["id"], kind)
    if found is None:
        raise NotThere(f"the workspace has no {kind} of this id")
    return found


def _make(ask: Ask, kind: Kind) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        now_ms = ask.tank.clock.now_ms(conn)
        return 201, marketing.shown(marketing.make(conn, ask.tank, kind, ask.body, now_ms))


def _change(ask: Ask, kind: Kind) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        now_ms = ask.tank.clock.now_ms(conn)
        changed = marketing.change(conn, ask.tank, _found(ask, conn, kind), ask.body, now_ms)
        if changed.status == "active":
            messaging_timer.wake(conn, now_ms)
        return 200, marketing.shown(changed)


def _listed(ask: Ask, kind: Kind) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {f"{kind}s" if kind == "campaign" else "canvases": _shown(conn, kind)}


def _shown(conn: Any, kind: Kind) -> list[dict[str, Any]]:
    return [marketing.shown(each) for each in marketing.listed(conn, kind)]


def _launch(ask: Ask, kind: Kind) -> tuple[int, Any]:
    """Send to the people of an audience, or to everybody, now or later: what launching in the dashboard does."""
    body, tank = ask.body, ask.tank
    problem = audiences.problem(body["audience"]) if "audience" in body else None
    if problem is not None:
        raise ValueError(f"audience: {problem}")
    at_ms = clock.parse_instant(body["at"]) if "at" in body else None
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        marketed = _found(ask, conn, kind)
        if marketed.status != "active":
            raise ValueError(f"the {kind} is {marketed.status}: make it active first")
        if "segment_id" in body and segments.find(conn, body["segment_id"]) is None:
            raise ValueError("the workspace has no segment of this id")
        request = {name: body.get(name) for name in ("audience", "segment_id")}
        request["properties"] = body.get("properties", {})
        if "external_user_ids" in body:
            request["recipients"] = [{"external_user_id": each} for each in body["external_user_ids"]]
        due_ms = now_ms if at_ms is None else at_ms
        if body.get("in_local_time"):
            request["local_ms"], due_ms = due_ms, due_ms - dispatching.EARLIEST_ZONE_MS
        dispatch_id = dispatching.put(conn, tank, kind, marketed.id, None, request, now_ms, max(now_ms, due_ms))
    return 202, {"dispatch_id": dispatch_id}


def make_campaign(ask: Ask) -> tuple[int, Any]:
    return _make(ask, "campaign")


def change_campaign(ask: Ask) -> tuple[int, Any]:
    return _change(ask, "campaign")


def campaigns(ask: Ask) -> tuple[int, Any]:
    return _listed(ask, "campaign")


def launch_campaign(ask: Ask) -> tuple[int, Any]:
    return _launch(ask, "campaign")


def make_canvas(ask: Ask) -> tuple[int, Any]:
    return _make(ask, "canvas")


def change_canvas(ask: Ask) -> tuple[int, Any]:
    return _change(ask, "canvas")


def canvases(ask: Ask) -> tuple[int, Any]:
    return _listed(ask, "canvas")


def launch_canvas(ask: Ask) -> tuple[int, Any]:
    return _launch(ask, "canvas")


# -- what became of it


def _moment(ms: int | None) -> str | None:
    return None if ms is None else clock.iso(ms)


def listed_messages(ask: Ask) -> tuple[int, Any]:
    """Messages in order, with their rendered bodies and Connected Content calls."""
    query = dict(ask.query)
    after, limit = query.pop("after", 0), query.pop("limit", 1000)
    wanted = [messages.c.n > after]
    with ask.tank.store.read() as conn:
        if "external_id" in query:
            people = profile_store.find(conn, "external_id", query.pop("external_id"))
            wanted.append(messages.c.uid.in_([each.uid for each in people]))
        if "object_id" in query:
            wanted.append(dispatches.c.object_id == query.pop("object_id"))
        wanted += [messages.c[name] == value for name, value in query.items()]
        joined = select(messages, dispatches.c.object_id).join(
            dispatches, dispatches.c.dispatch_id == messages.c.dispatch_id
        )
        rows = conn.execute(joined.where(*wanted).order_by(messages.c.n).limit(limit)).all()
        who = {each.uid: each for each in profile_store.by_uid(conn, {row.uid for row in rows})}
    return 200, {"messages": [_message(row, who.get(row.uid)) for row in rows]}


def _message(row: Any, profile: Any) -> dict[str, Any]:
    facts = orjson.loads(row.facts)
    return {
        "n": row.n,
        "dispatch_id": row.dispatch_id,
        "object_id": row.object_id,
        "part": facts["part"],
        "external_id": None if profile is None else profile.external_id,
        "braze_id": None if profile is None else profile.braze_id,
        "channel": row.channel,
        "state": row.state,
        "reason": row.reason,
        "attempts": row.attempts,
        "at": _moment(row.at_ms),
        "due": _moment(row.due_ms),
        "rendered": None if row.rendered is None else orjson.loads(row.rendered),
        "calls": [] if row.calls is None else orjson.loads(row.calls),
    }


def listed_entries(ask: Ask) -> tuple[int, Any]:
    """Who entered a Canvas, how far they are, and why they left."""
    after, limit = ask.query.get("after", 0), ask.query.get("limit", 1000)
    with ask.tank.store.read() as conn:
        canvas = _found(ask, conn, "canvas")
        query = select(entries).where(entries.c.canvas_id == canvas.id, entries.c.n > after)
        rows = conn.execute(query.order_by(entries.c.n).limit(limit)).all()
        who = {each.uid: each.external_id for each in profile_store.by_uid(conn, {row.uid for row in rows})}
    shown = [
        {
            "n": row.n,
            "external_id": who.get(row.uid),
            "variant_id": row.variant_id,
            "in_control": row.in_control,
            "steps_taken": row.step,
            "entered": _moment(row.entered_ms),
            "next_step": _moment(row.due_ms),
            "exited": _moment(row.exited_ms),
            "exit_reason": row.exit_reason,
        }
        for row in rows
    ]
    return 200, {"entries": shown}


def react(ask: Ask) -> tuple[int, Any]:
    """Let somebody do something with a message they got."""
    n = ask.path["n"]
    if not n.isascii() or not n.isdigit() or len(n) > 15:
        raise NotThere("messages have numbers")
    given = {name: value for name, value in ask.body.items() if name != "do"}
    with ask.tank.store.write() as conn:
        now_ms = ask.tank.clock.now_ms(conn)
        pending.apply_due(conn, ask.tank, now_ms)
        aftermath.react(conn, ask.tank, int(n), ask.body["do"], given, now_ms)
    return 200, {"n": int(n), "did": ask.body["do"]}


def preview(ask: Ask) -> tuple[int, Any]:
    """A message as somebody would get it, without sending it; nobody is an empty profile."""
    tank, body = ask.tank, ask.body
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        pending.apply_due(conn, tank, now_ms)
        who = body.get("external_id")
        found = profile_store.find(conn, "external_id", who) if who else []
        if who and not found:
            raise NotThere("nobody has this external id")
        profile = found[0] if found else profile_store.load(conn, tank, set(), now_ms).create()
    facts = {"event": {"dispatch_id": "preview"}}
    caller = Calls(tank)
    shown: dict[str, Any] = {"rendered": None, "aborted": None}
    try:
        given = rendering.variables(profile, facts, body.get("properties", {}), None)
        shown["rendered"] = rendering.render(body["message"], given, caller)
    except templates.Aborted as error:
        shown["aborted"] = error.reason or "abort_message"
    except Retry as error:
        shown["aborted"] = f"Connected Content failed: {error.reason}"
    return 200, {**shown, "calls": caller.log}


_FINDERS: dict[str, Any] = {
    "external_id": _TEXT,
    "dispatch_id": _TEXT,
    "object_id": _TEXT,
    "channel": _TEXT,
    "state": {"enum": ["due", "waiting", "sent", "skipped", "aborted"]},
}

ROUTES = (
    ControlRoute("GET", f"{_T}/campaigns", "the campaigns", campaigns, {200: "campaigns"}),
    ControlRoute("POST", f"{_T}/campaigns", "make a campaign", make_campaign, {201: "campaign"}, "braze_campaign"),
    ControlRoute(
        "PATCH",
        f"{_T}/campaigns/<id>",
        "change a campaign",
        change_campaign,
        {200: "campaign"},
        "braze_campaign_change",
    ),
    ControlRoute(
        "POST", f"{_T}/campaigns/<id>/launch", "send a campaign", launch_campaign, {202: "dispatch"}, "braze_launch"
    ),
    ControlRoute("GET", f"{_T}/canvases", "the Canvases", canvases, {200: "Canvases"}),
    ControlRoute("POST", f"{_T}/canvases", "make a Canvas", make_canvas, {201: "Canvas"}, "braze_canvas"),
    ControlRoute(
        "PATCH", f"{_T}/canvases/<id>", "change a Canvas", change_canvas, {200: "Canvas"}, "braze_canvas_change"
    ),
    ControlRoute(
        "POST", f"{_T}/canvases/<id>/launch", "send people in", launch_canvas, {202: "dispatch"}, "braze_launch"
    ),
    ControlRoute(
        "GET", f"{_T}/canvases/<id>/entries", "who is in a Canvas", listed_entries, {200: "entries"}, query=_PAGE
    ),
    ControlRoute(
        "GET",
        f"{_T}/messages",
        "messages and their rendered bodies",
        listed_messages,
        {200: "messages"},
        query={**_PAGE, **_FINDERS},
    ),
    ControlRoute(
        "POST", f"{_T}/messages/<n>/reactions", "let somebody react", react, {200: "reaction"}, "braze_reaction"
    ),
    ControlRoute("POST", f"{_T}/preview", "render a message", preview, {200: "message"}, "braze_render"),
)
