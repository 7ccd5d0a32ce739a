"""Sends over the REST API: at once, on a schedule, triggered.

A 2xx says that a send is well-formed and queued; who cannot be reached is skipped silently. Source: Braze docs, the
page of each messaging endpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import orjson
from sqlalchemy import select

from simulator.braze import (
    applying,
    dates,
    dispatching,
    marketing,
    messaging_checks,
    messaging_timer,
    pending,
    rate_limits,
    segments,
)
from simulator.braze.marketing import Marketed
from simulator.braze.messaging_checks import Given, Refused
from simulator.braze.messaging_tables import dispatches, schedules, send_ids
from simulator.braze.people import uuid_text
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body
from simulator.exchange import Answer, Call, Reason

Kind = Literal["messages", "campaign", "canvas"]
SOURCE = "Braze docs, Messaging endpoints"
_NOTICES = {
    "paused": "The Canvas is paused. Resume the Canvas to ensure trigger requests will take effect.",
    "archived": "The Canvas is archived. Unarchive the Canvas to ensure trigger requests will take effect.",
}


def refused(found: Refused) -> Answer:
    return refuse(found.name, None, **dict[str, Any](found.words))


def _given(call: Call, body: Body, kind: Kind, **more: Any) -> Given:
    name = "canvas_id" if kind == "canvas" else "campaign_id"
    marketed = marketing.find(call.conn, body.get(name), "canvas" if kind == "canvas" else "campaign")
    return Given(kind, marketed, lambda each: segments.find(call.conn, str(each)) is not None, **more)


# -- at once


def messages_send(call: Call, body: Body) -> Answer:
    """`/messages/send`."""
    return _send(call, body, "messages")


def campaign_send(call: Call, body: Body) -> Answer:
    """`/campaigns/trigger/send`."""
    return _send(call, body, "campaign")


def canvas_send(call: Call, body: Body) -> Answer:
    """`/canvas/trigger/send`."""
    return _send(call, body, "canvas")


def _send(call: Call, whole: Body, kind: Kind) -> Answer:
    body = messaging_checks.own(whole, kind)
    given = _given(call, body, kind)
    found = messaging_checks.problem(body, given)
    if found is not None:
        return refused(found)
    over = _over_broadcasts(call, body, kind)
    if over is not None:
        return over
    send_id = _send_id(call, body, given.marketed)
    dispatch_id = put(call, body, kind, given.marketed, send_id, None)
    notice = _NOTICES.get(given.marketed.status) if kind == "canvas" and given.marketed else None
    shown = {
        "dispatch_id": dispatch_id,
        **({"send_id": send_id} if send_id else {}),
        **({"notice": notice} if notice else {}),
        "message": "success",
    }
    why = Reason("queued", "the send is queued", SOURCE, {"dispatch_id": dispatch_id})
    return Answer(201, shown, why=(why,))


def _over_broadcasts(call: Call, body: Body, kind: Kind) -> Answer | None:
    """429 when there were too many broadcasts to this audience in this minute; the gate has counted all of them."""
    if messaging_checks.recipients(body):
        return None
    settings = call.tank.settings
    plan = rate_limits.plans()[settings["braze.plan"]]
    aimed = [kind, *(body.get(name) for name in ("campaign_id", "canvas_id", "segment_id", "audience"))]
    audience = hashlib.sha256(orjson.dumps(aimed, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]
    pool, limits = "broadcast_audience", settings["braze.pool_limits"]
    verdict = rate_limits.count(call.conn, plan, pool, limits, call.now_ms, audience)
    if verdict.over:
        return refuse("rate_limited", verdict.headers, detail={"pool": pool, "limit_reached": verdict.number})
    return None


def _send_id(call: Call, body: Body, campaign: Marketed | None) -> str | None:
    """The given send id; a broadcast of a campaign without one gets its own."""
    if body.get("send_id") is not None:
        return str(body["send_id"])
    if campaign is None or campaign.kind != "campaign" or messaging_checks.recipients(body):
        return None
    made = uuid_text(call.tank.rng("braze_send_id", campaign.id, call.now_ms))
    values = {"send_id": made, "campaign_id": campaign.id, "created_ms": call.now_ms}
    if call.conn.execute(select(send_ids.c.send_id).where(send_ids.c.send_id == made)).first() is None:
        call.conn.execute(send_ids.insert().values(**values))
    return made


def put(
    call: Call,
    body: Body,
    kind: Kind,
    marketed: Marketed | None,
    send_id: str | None,
    schedule: Mapping[str, Any] | None,
    wanted: str | None = None,
) -> str:
    """Note the send; attributes of its recipients are written first."""
    named = messaging_checks.recipients(body)
    properties: dict[str, Any] = {}
    for name in reversed(messaging_checks.PROPERTIES):
        properties |= body.get(name) or {}
    request: dict[str, Any] = {
        "properties": properties,
        "wanted": wanted or body.get("recipient_subscription_state", "subscribed"),
        "audience": body.get("audience"),
        "segment_id": body.get("segment_id") if kind == "messages" else None,
    }
    if kind == "messages":
        request["messages"] = body["messages"]
    objects = [] if named is None else messaging_checks.attribute_objects(named)
    if named is not None:
        request["recipients"] = [{k: v for k, v in each.items() if k != "attributes"} for each in named]
    due_ms = None
    if schedule is not None:
        request |= _local(schedule)
        due_ms = due_of(schedule, call.now_ms)
    elif objects:
        settings = call.tank.settings
        waits = int(settings["braze.apply_delay_ms"]) + int(settings["braze.apply_jitter_ms"])
        due_ms = call.now_ms + max(waits, int(settings["braze.send_delay_ms"]))
    if objects:
        track = [("attributes", applying.normalized(each)) for each in objects]
        pending.put(call.conn, call.tank, "track", track, call.now_ms)
    object_id = None if marketed is None else marketed.id
    return dispatching.put(call.conn, call.tank, kind, object_id, send_id, request, call.now_ms, due_ms)


# -- on a schedule


def _at(schedule: Mapping[str, Any]) -> int:
    at_ms = dates.parse(schedule["time"])
    assert at_ms is not None
    return at_ms


def _local(schedule: Mapping[str, Any]) -> dict[str, Any]:
    return {"local_ms": _at(schedule) if schedule.get("in_local_time") else None, "schedule": dict(schedule)}


def due_of(schedule: Mapping[str, Any], now_ms: int) -> int:
    """When a scheduled send is worked off: in local time, before anybody's clock shows its time.

    The best hour of each person needs a history that nobody has here: they get it at the time that is given.
    """
    ahead_ms = dispatching.EARLIEST_ZONE_MS if schedule.get("in_local_time") else 0
    return max(now_ms, _at(schedule) - ahead_ms)


def _create(call: Call, whole: Body, kind: Kind) -> Answer:
    body = messaging_checks.own(whole, kind)
    given = _given(call, body, kind)
    found = messaging_checks.problem(body, given)
    found = found or messaging_checks.schedule_problem(body.get("schedule"), call.now_ms)
    if found is not None:
        return refused(found)
    over = None if kind == "messages" else _over_broadcasts(call, body, kind)
    if over is not None:
        return over
    schedule = body["schedule"]
    dispatch_id = put(call, body, kind, given.marketed, _send_id(call, body, given.marketed), schedule)
    schedule_id = uuid_text(call.tank.rng("braze_schedule", dispatch_id))
    text = orjson.dumps({**schedule, "broadcast": messaging_checks.recipients(body) is None}).decode()
    row = {"schedule_id": schedule_id, "dispatch_id": dispatch_id, "kind": kind, "due_ms": _at(schedule)}
    call.conn.execute(schedules.insert().values(**row, schedule=text))
    shown = {"dispatch_id": dispatch_id, "schedule_id": schedule_id, "message": "success"}
    why = Reason("scheduled", "the send is scheduled", SOURCE, {"schedule_id": schedule_id})
    return Answer(201, shown, why=(why,))


def _held(call: Call, body: Body, kind: Kind) -> Any:
    """The schedule that a body names, with its dispatch; None when there is none of the kind."""
    schedule_id = body.get("schedule_id")
    if not isinstance(schedule_id, str):
        return None
    joined = select(schedules, dispatches.c.object_id, dispatches.c.request, dispatches.c.due_ms.label("waits_ms"))
    joined = joined.join(dispatches, dispatches.c.dispatch_id == schedules.c.dispatch_id)
    row = call.conn.execute(joined.where(schedules.c.schedule_id == schedule_id, schedules.c.kind == kind)).first()
    if row is None:
        return None
    named = body.get("canvas_id" if kind == "canvas" else "campaign_id")
    return None if kind != "messages" and named != row.object_id else row


def _update(call: Call, body: Body, kind: Kind) -> Answer:
    row = _held(call, body, kind)
    if row is None:
        return refuse("unknown_schedule")
    schedule, messages = body.get("schedule"), body.get("messages") if kind == "messages" else None
    if schedule is None and messages is None:
        return refuse("nothing_to_update")
    found = None if schedule is None else messaging_checks.schedule_problem(schedule, call.now_ms)
    if found is None and messages is not None:
        given = Given(kind, marketing.find(call.conn, row.object_id), bool)
        found = messaging_checks.messages(body, given)
    if found is not None:
        return refused(found)
    # One whose messages are already being made goes out as it was: updates are best effort.
    if row.waits_ms is not None and row.waits_ms > call.now_ms:
        _rewrite(call, row, schedule, messages)
    return Answer(200, {"message": "success"}, why=(Reason("updated", "the schedule is changed", SOURCE),))


def _rewrite(call: Call, row: Any, schedule: Mapping[str, Any] | None, messages: Any) -> None:
    request, old = orjson.loads(row.request), orjson.loads(row.schedule)
    changed: dict[str, Any] = {}
    if messages is not None:
        request["messages"] = messages
    if schedule is not None:
        request |= _local(schedule)
        changed["due_ms"] = due_of(schedule, call.now_ms)
        text = orjson.dumps({**schedule, "broadcast": old["broadcast"]}).decode()
        mine = schedules.c.schedule_id == row.schedule_id
        call.conn.execute(schedules.update().where(mine).values(schedule=text, due_ms=_at(schedule)))
        messaging_timer.wake(call.conn, changed["due_ms"])
    mine = dispatches.c.dispatch_id == row.dispatch_id
    call.conn.execute(dispatches.update().where(mine).values(request=orjson.dumps(request).decode(), **changed))


def _delete(call: Call, body: Body, kind: Kind) -> Answer:
    row = _held(call, body, kind)
    if row is None:
        return refuse("unknown_schedule")
    mine = dispatches.c.dispatch_id == row.dispatch_id
    call.conn.execute(dispatches.update().where(mine).values(due_ms=None))
    call.conn.execute(schedules.delete().where(schedules.c.schedule_id == row.schedule_id))
    return Answer(200, {"message": "success"}, why=(Reason("deleted", "the schedule is gone", SOURCE),))


def messages_schedule_create(call: Call, body: Body) -> Answer:
    """`/messages/schedule/create`."""
    return _create(call, body, "messages")


def messages_schedule_update(call: Call, body: Body) -> Answer:
    """`/messages/schedule/update`."""
    return _update(call, body, "messages")


def messages_schedule_delete(call: Call, body: Body) -> Answer:
    """`/messages/schedule/delete`."""
    return _delete(call, body, "messages")


def campaign_schedule_create(call: Call, body: Body) -> Answer:
    """`/campaigns/trigger/schedule/create`."""
    return _create(call, body, "campaign")


def campaign_schedule_update(call: Call, body: Body) -> Answer:
    """`/campaigns/trigger/schedule/update`."""
    return _update(call, body, "campaign")


def campaign_schedule_delete(call: Call, body: Body) -> Answer:
    """`/campaigns/trigger/schedule/delete`."""
    return _delete(call, body, "campaign")


def canvas_schedule_create(call: Call, body: Body) -> Answer:
    """`/canvas/trigger/schedule/create`."""
    return _create(call, body, "canvas")


def canvas_schedule_update(call: Call, body: Body) -> Answer:
    """`/canvas/trigger/schedule/update`."""
    return _update(call, body, "canvas")


def canvas_schedule_delete(call: Call, body: Body) -> Answer:
    """`/canvas/trigger/schedule/delete`."""
    return _delete(call, body, "canvas")
