"""Figures of campaigns, Canvases and send ids by UTC day.

Source: Braze docs, Export campaign data series; Export Canvas data series and data summary; Export send data series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from simulator.braze import marketing, message_counts
from simulator.braze.marketing import Marketed
from simulator.braze.messaging_queries import BadQuery, answered, query_integer, query_moment, query_text
from simulator.braze.messaging_tables import dispatches, messages
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body
from simulator.exchange import Answer, Call

MAX_DAYS = 100
MAX_SUMMARY_DAYS = 14
DAY_MS = 86_400_000


def _days(call: Call, most: int) -> tuple[int, int]:
    """First and last UTC day of a query's ``length`` and ``ending_at``."""
    if not query_text(call, "length") and not query_text(call, "starting_at"):
        raise BadQuery("length")
    last = query_moment(call, "ending_at", call.now_ms) // DAY_MS
    if query_text(call, "length"):
        return last - query_integer(call, "length", 1, most, 1) + 1, last
    first = query_moment(call, "starting_at", call.now_ms) // DAY_MS
    if not last - most < first <= last:
        raise BadQuery("starting_at")
    return first, last


def _day(number: int) -> str:
    return f"{datetime.fromtimestamp(number * DAY_MS / 1000, UTC):%Y-%m-%d}"


def _sums(rows: Sequence[Any], what: str, part: str | None = None) -> int:
    return sum(row.number for row in rows if row.what == what and part in (None, row.part))


_SHOWN = (*sorted(set(message_counts.WHAT.values())),)


def _messages(rows: Sequence[Any], parts: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Figures by channel, one object per variation or step that sent on it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for statistic in dict.fromkeys(row.channel for row in rows if row.channel):
        for part, name in parts.items():
            mine = [row for row in rows if row.channel == statistic and row.part == part]
            if mine:
                figures = {what: _sums(mine, what) for what in _SHOWN if _sums(mine, what)}
                named = {"variation_name": name, "variation_api_id": part, "sent": 0}
                found.setdefault(statistic, []).append({**named, **figures})
    return found


def _unique(call: Call, object_id: str, first: int, last: int, send_id: str | None) -> dict[int, int]:
    """How many people got a message, by day."""
    joined = messages.join(dispatches, dispatches.c.dispatch_id == messages.c.dispatch_id)
    mine = [dispatches.c.object_id == object_id, messages.c.state == "sent"]
    mine += [messages.c.at_ms >= first * DAY_MS, messages.c.at_ms < (last + 1) * DAY_MS]
    if send_id is not None:
        mine.append(dispatches.c.send_id == send_id)
    query = select(messages.c.at_ms, messages.c.uid).select_from(joined).where(*mine)
    found: dict[int, set[int]] = {}
    for at_ms, uid in call.conn.execute(query):
        found.setdefault(at_ms // DAY_MS, set()).add(uid)
    return {each: len(uids) for each, uids in found.items()}


def _series(call: Call, each: Marketed, send_id: str | None) -> list[dict[str, Any]]:
    first, last = _days(call, MAX_DAYS)
    equal = {"object_id": each.id, **({} if send_id is None else {"send_id": send_id})}
    rows = message_counts.read(call.conn, first, last, **equal)
    unique = _unique(call, each.id, first, last, send_id)
    parts = {one["id"]: one["name"] for one in each.data["variations"]}
    days = []
    for number in range(first, last + 1):
        mine = [row for row in rows if row.day == number]
        converted = {
            name: _sums(mine, name) for name in ("conversions", "conversions1", "conversions2", "conversions3")
        }
        shown = {"time": _day(number), "messages": _messages(mine, parts), "unique_recipients": unique.get(number, 0)}
        hoped = max(1, len(each.data["conversions"]))
        days.append({**shown, **dict(list(converted.items())[:hoped]), "revenue": 0.0})
    return days


def campaign_series(call: Call, _body: Body) -> Answer:
    """`/campaigns/data_series`."""
    each = marketing.find(call.conn, query_text(call, "campaign_id"), "campaign")
    if each is None:
        return refuse("campaign_id")
    try:
        return answered({"data": _series(call, each, None)}, "Export campaign data series")
    except BadQuery as bad:
        return refuse("list_query", field=bad.field)


def send_series(call: Call, _body: Body) -> Answer:
    """`/sends/data_series`."""
    each = marketing.find(call.conn, query_text(call, "campaign_id"), "campaign")
    if each is None:
        return refuse("campaign_id")
    try:
        if not query_text(call, "send_id"):
            raise BadQuery("send_id")
        return answered({"data": _series(call, each, query_text(call, "send_id"))}, "Export send data series")
    except BadQuery as bad:
        return refuse("list_query", field=bad.field)


def _canvas_stats(call: Call, each: Marketed, rows: Sequence[Any]) -> dict[str, Any]:
    total = {"entries": _sums(rows, "entries"), "conversions": _sums(rows, "conversions"), "revenue": 0.0}
    shown: dict[str, Any] = {"total_stats": total}
    variants = {**{one["id"]: one["name"] for one in each.data["variants"]}, each.data["control_id"]: "Control"}
    if query_text(call, "include_variant_breakdown").lower() == "true":
        shown["variant_stats"] = {
            part: {
                "name": name,
                "entries": _sums(rows, "entries", part),
                "conversions": _sums(rows, "conversions", part),
            }
            for part, name in variants.items()
        }
    if query_text(call, "include_step_breakdown").lower() == "true":
        steps = {step["id"]: step["name"] for variant in each.data["variants"] for step in variant["steps"]}
        shown["step_stats"] = {
            part: {"name": name, "messages": _messages(rows, {part: name})} for part, name in steps.items()
        }
    return shown


def canvas_series(call: Call, _body: Body) -> Answer:
    """`/canvas/data_series`."""
    each = marketing.find(call.conn, query_text(call, "canvas_id"), "canvas")
    if each is None:
        return refuse("canvas_id")
    try:
        first, last = _days(call, MAX_SUMMARY_DAYS)
    except BadQuery as bad:
        return refuse("list_query", field=bad.field)
    rows = message_counts.read(call.conn, first, last, object_id=each.id)
    stats = [
        {"time": _day(number), **_canvas_stats(call, each, [row for row in rows if row.day == number])}
        for number in range(first, last + 1)
    ]
    return answered({"data": {"name": each.name, "stats": stats}}, "Export Canvas data series")


def canvas_summary(call: Call, _body: Body) -> Answer:
    """`/canvas/data_summary`."""
    each = marketing.find(call.conn, query_text(call, "canvas_id"), "canvas")
    if each is None:
        return refuse("canvas_id")
    try:
        first, last = _days(call, MAX_SUMMARY_DAYS)
    except BadQuery as bad:
        return refuse("list_query", field=bad.field)
    rows = message_counts.read(call.conn, first, last, object_id=each.id)
    return answered({"data": {"name": each.name, **_canvas_stats(call, each, rows)}}, "Export Canvas data summary")
