"""Reading campaigns, Canvases and send ids over the REST API: lists, details, figures by day, what is scheduled.

Source: Braze docs, Export campaigns list, details, data series; Export Canvas list, details, data series, data
summary; Export send data series; Scheduled broadcasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import select

from simulator.braze import conversions, dates, marketing
from simulator.braze.marketing import Kind, Marketed
from simulator.braze.messaging_queries import BadQuery, answered, query_integer, query_moment, query_text
from simulator.braze.messaging_tables import dispatches, objects, schedules
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body
from simulator.exchange import Answer, Call

PAGE = 100
_CHANNEL_WORDS = {
    "apple_push": "ios_push",
    "in_app_message": "trigger_in_app_message",
    "whats_app": "whatsapp",
}


# -- lists and details


def _list(call: Call, kind: Kind) -> list[Marketed]:
    after_ms = query_moment(call, "last_edit.time[gt]", -1)
    archived = query_text(call, "include_archived", "false").lower() == "true"
    direction = query_text(call, "sort_direction", "asc")
    if direction not in ("asc", "desc"):
        raise BadQuery("sort_direction")
    found = [
        each
        for each in marketing.listed(call.conn, kind)
        if (archived or each.status != "archived") and each.updated_ms > after_ms
    ]
    start = query_integer(call, "page", 0, 1_000_000, 0) * PAGE
    return (found if direction == "asc" else found[::-1])[start : start + PAGE]


def _listed(each: Marketed) -> dict[str, Any]:
    return {"id": each.id, "last_edited": dates.shown(each.updated_ms), "name": each.name}


def campaign_list(call: Call, _body: Body) -> Answer:
    """`/campaigns/list`."""
    try:
        found = _list(call, "campaign")
    except BadQuery as bad:
        return refuse("list_query", field=bad.field)
    shown = [
        {**_listed(each), "is_api_campaign": each.type != "scheduled", "tags": each.data.get("tags", [])}
        for each in found
    ]
    return answered({"campaigns": shown}, "Export campaigns list")


def canvas_list(call: Call, _body: Body) -> Answer:
    """`/canvas/list`."""
    try:
        found = _list(call, "canvas")
    except BadQuery as bad:
        return refuse("list_query", field=bad.field)
    return answered(
        {"canvases": [{**_listed(each), "tags": each.data.get("tags", [])} for each in found]}, "Export Canvas list"
    )


def _details(each: Marketed) -> dict[str, Any]:
    moments = {"first_sent": each.first_sent_ms, "last_sent": each.last_sent_ms}
    return {
        "created_at": dates.shown(each.created_ms),
        "updated_at": dates.shown(each.updated_ms),
        "name": each.name,
        "description": each.data.get("description", ""),
        "archived": each.status == "archived",
        "draft": each.status == "draft",
        "enabled": each.status == "active",
        "schedule_type": "time_based" if each.type == "scheduled" else "api_triggered",
        "tags": each.data.get("tags", []),
        "teams": [],
        **{name: None if ms is None else dates.shown(ms) for name, ms in moments.items()},
    }


def campaign_details(call: Call, _body: Body) -> Answer:
    """`/campaigns/details`."""
    each = marketing.find(call.conn, query_text(call, "campaign_id"), "campaign")
    if each is None:
        return refuse("campaign_id")
    variations = each.data["variations"]
    used = {variation["channel"]: None for variation in variations}
    sent = {one["id"]: {"name": one["name"], "channel": _word(one["channel"]), **one["message"]} for one in variations}
    hoped = [
        {
            "type": orjson.loads(conversions.behavior_text(one))["type"],
            "window": one.get("window_s", conversions.DEFAULT_WINDOW_S),
        }
        for one in each.data["conversions"]
    ]
    shown = {
        **_details(each),
        "channels": [_word(name) for name in used],
        "messages": sent,
        "conversion_behaviors": hoped,
    }
    return answered(shown, "Export campaign details")


def _word(channel: str) -> str:
    return _CHANNEL_WORDS.get(channel, channel)


def canvas_details(call: Call, _body: Body) -> Answer:
    """`/canvas/details`."""
    each = marketing.find(call.conn, query_text(call, "canvas_id"), "canvas")
    if each is None:
        return refuse("canvas_id")
    steps = [step for variant in each.data["variants"] for step in variant["steps"]]
    variants = [
        {"name": one["name"], "id": one["id"], "first_step_ids": [step["id"] for step in one["steps"][:1]]}
        for one in each.data["variants"]
    ]
    shown = [_step(variant["steps"], n) for variant in each.data["variants"] for n in range(len(variant["steps"]))]
    used = {_word(channel): None for step in steps for channel in step["messages"]}
    return answered(
        {**_details(each), "variants": variants, "steps": shown, "channels": list(used)}, "Export Canvas details"
    )


def _step(steps: Sequence[Mapping[str, Any]], n: int) -> dict[str, Any]:
    step = steps[n]
    following = [each["id"] for each in steps[n + 1 : n + 2]]
    sent = {channel: {"channel": _word(channel), **message} for channel, message in step["messages"].items()}
    return {
        "name": step["name"],
        "id": step["id"],
        "type": "message",
        "next_step_ids": following,
        "channels": [_word(channel) for channel in step["messages"]],
        "messages": sent,
    }


# -- what is scheduled


def scheduled_broadcasts(call: Call, _body: Body) -> Answer:
    """`/messages/scheduled_broadcasts`: campaigns and Canvases that go out by ``end_time``."""
    try:
        end_ms = query_moment(call, "end_time", -1)
        if end_ms < 0:
            raise BadQuery("end_time")
    except BadQuery as bad:
        return refuse("list_query", field=bad.field)
    query = (
        select(schedules.c.due_ms, schedules.c.schedule, objects.c.id, objects.c.kind, objects.c.data)
        .join(dispatches, dispatches.c.dispatch_id == schedules.c.dispatch_id)
        .join(objects, objects.c.id == dispatches.c.object_id)
        .where(dispatches.c.due_ms.is_not(None), schedules.c.due_ms <= end_ms)
    )
    shown = []
    for row in call.conn.execute(query.order_by(schedules.c.due_ms, schedules.c.n)):
        schedule, data = orjson.loads(row.schedule), orjson.loads(row.data)
        if schedule["broadcast"]:
            kind = "local_time_zones" if schedule.get("in_local_time") else "time_based"
            named = {"name": data["name"], "id": row.id, "type": row.kind.capitalize(), "tags": data.get("tags", [])}
            shown.append({**named, "next_send_time": dates.shown(row.due_ms), "schedule_type": kind})
    return answered({"scheduled_broadcasts": shown}, "Scheduled broadcasts")
