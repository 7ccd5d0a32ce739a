"""Lists and series that Braze shows of segments, custom data and sessions: all GET, all answered 200.

Source: Braze docs, Export endpoints (segments, custom events, custom attributes, purchases, sessions).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, func, select

from simulator.braze import cohort_membership, dates, queries, segment_sizes, segments
from simulator.braze.queries import APP, ENDING_AT, LENGTH, PAGE, SORT, UNIT, Parameter, asking
from simulator.braze.refusals import refuse
from simulator.braze.transport import Served
from simulator.braze.user_tables import activity, names
from simulator.dialect import json_integer, json_number, json_text
from simulator.exchange import Answer, Call, Reason

SOURCE = "Braze docs, Export"
SEGMENTS_PAGE, NAMES_PAGE, DETAILS_PAGE = 100, 250, 50
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
Asked = Mapping[str, Any]


def _answer(text: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None, **detail: Any) -> Answer:
    why = Reason("listed", text, SOURCE, detail)
    return Answer(200, {**body, "message": "success"}, headers or {}, why=(why,))


# -- segments


def segment_list(call: Call, asked: Asked) -> Answer:
    """100 segments of a page, by time of creation."""
    rows = segments.listed(
        call.conn,
        newest_first=asked["sort_direction"] == "desc",
        offset=asked["page"] * SEGMENTS_PAGE,
        limit=SEGMENTS_PAGE,
    )
    shown = [
        {
            "id": row.segment_id,
            "name": row.name,
            "analytics_tracking_enabled": row.tracked,
            "tags": orjson.loads(row.tags),
        }
        for row in rows
    ]
    return _answer("a page of segments", {"segments": shown})


def segment_details(call: Call, asked: Asked) -> Answer:
    row = segments.find(call.conn, asked["segment_id"])
    if row is None:
        return refuse("segment_id")
    body = {
        "created_at": dates.shown(row.created_ms),
        "updated_at": dates.shown(row.updated_ms),
        "name": row.name,
        "description": row.description,
        "text_description": segments.described(orjson.loads(row.definition), cohort_membership.titles(call.conn)),
        "tags": orjson.loads(row.tags),
        "teams": orjson.loads(row.teams),
    }
    return _answer("the segment", body)


def segment_series(call: Call, asked: Asked) -> Answer:
    """The size at the end of each day; days before the segment was tracked are not there."""
    row = segments.find(call.conn, asked["segment_id"])
    if row is None or not row.tracked:
        return refuse("segment_id" if row is None else "segment_untracked")
    last = (asked["ending_at"] or call.now_ms) // DAY_MS
    days = range(last - asked["length"] + 1, last + 1)
    known = segment_sizes.series(call.conn, call.tank, row.segment_id, days, call.now_ms)
    data = [{"time": dates.shown(day * DAY_MS)[:10], "size": size} for day, size in known]
    return _answer("sizes by day", {"data": data})


# -- names of custom data


def _names(conn: Connection, kind: str, offset: int, limit: int) -> list[Any]:
    query = select(names).where(names.c.kind == kind, names.c.type != "spam").order_by(names.c.name)
    return list(conn.execute(query.offset(offset).limit(limit)))


def event_list(call: Call, asked: Asked) -> Answer:
    rows = _names(call.conn, "event", asked["page"] * NAMES_PAGE, NAMES_PAGE)
    return _answer("a page of event names", {"events": [row.name for row in rows]})


def product_list(call: Call, asked: Asked) -> Answer:
    rows = _names(call.conn, "product", asked["page"] * NAMES_PAGE, NAMES_PAGE)
    return _answer("a page of products", {"products": [row.name for row in rows]})


def _paged(call: Call, asked: Asked, kind: str) -> tuple[list[Any], dict[str, str]]:
    """50 rows from the cursor on, and the link to the next."""
    offset = asked["cursor"]
    rows = _names(call.conn, kind, offset, DETAILS_PAGE + 1)
    if len(rows) <= DETAILS_PAGE:
        return rows, {}
    host = call.request.headers.get("Host", "")
    link = f'<http://{host}{call.request.path}?cursor={offset + DETAILS_PAGE}>; rel="next"'
    return rows[:DETAILS_PAGE], {"Link": link}


def events(call: Call, asked: Asked) -> Answer:
    rows, link = _paged(call, asked, "event")
    shown = [
        {
            "name": row.name,
            "description": None,
            "included_in_analytics_report": True,
            "status": "Blocklisted" if row.blocked else "Active",
            "tag_names": [],
        }
        for row in rows
    ]
    return _answer("a page of events", {"events": shown}, link)


def custom_attributes(call: Call, asked: Asked) -> Answer:
    rows, link = _paged(call, asked, "attribute")
    shown = [
        {
            "name": row.name,
            "description": None,
            "data_type": row.type if row.forced else f"{row.type} (Automatically Detected)",
            "array_length": None,
            "status": "Blocklisted" if row.blocked else "Active",
            "tag_names": [],
        }
        for row in rows
    ]
    return _answer("a page of attributes", {"attributes": shown}, link)


# -- series over time


def _buckets(asked: Asked, now_ms: int) -> tuple[int, range]:
    """The length of a unit in ms, and the units of the series by number since the epoch."""
    unit_ms = HOUR_MS if asked["unit"] == "hour" else DAY_MS
    last = (now_ms if asked["ending_at"] is None else asked["ending_at"]) // unit_ms
    return unit_ms, range(last - asked["length"] + 1, last + 1)


def _rows(call: Call, asked: Asked, kind: str, name: str | None, *columns: ColumnElement[Any]) -> Select[Any] | Answer:
    """``columns`` of what people did in the series' time, grouped by unit and by those named ``by_...``."""
    unit_ms, units = _buckets(asked, call.now_ms)
    a = activity.c
    unit = (a.time_ms // unit_ms).label("unit")
    groups = [unit, *(each for each in columns if str(getattr(each, "name", "")).startswith("by_"))]
    end_ms = units.stop * unit_ms if asked["ending_at"] is None else asked["ending_at"] + 1
    query = select(unit, *columns).where(a.kind == kind, a.time_ms >= units.start * unit_ms, a.time_ms < end_ms)
    if name is not None:
        query = query.where(a.name == name)
    if asked.get("app_id") is not None:
        held = a.name if kind == "session" else json_text(a.detail, "$.app_id")
        query = query.where(held == asked["app_id"])
    if asked.get("segment_id") is not None:
        row = segments.find(call.conn, asked["segment_id"])
        if row is None or not row.tracked:
            return refuse("segment_id" if row is None else "segment_untracked")
        query = query.where(
            a.uid.in_(segments.members(call.conn, call.tank, row.segment_id, call.now_ms).order_by(None))
        )
    return query.group_by(*groups)


def _series(call: Call, asked: Asked, member: str, found: Mapping[int, Any]) -> Answer:
    unit_ms, units = _buckets(asked, call.now_ms)
    data = [
        {"time": dates.shown(each * unit_ms)[: 24 if unit_ms == HOUR_MS else 10], member: found.get(each, 0)}
        for each in units
    ]
    return _answer("a series", {"data": data})


_TIMES = func.count().label("times")
_QUANTITY = func.sum(func.coalesce(json_integer(activity.c.detail, "$.quantity"), 1)).label("quantity")


def _counted(call: Call, asked: Asked, kind: str, name: str | None, member: str) -> Answer:
    column = _QUANTITY if kind == "purchase" else _TIMES
    query = _rows(call, asked, kind, name, column)
    if isinstance(query, Answer):
        return query
    return _series(call, asked, member, {row[0]: row[1] for row in call.conn.execute(query)})


def event_series(call: Call, asked: Asked) -> Answer:
    return _counted(call, asked, "event", asked["event"], "count")


def session_series(call: Call, asked: Asked) -> Answer:
    return _counted(call, asked, "session", None, "sessions")


def quantity_series(call: Call, asked: Asked) -> Answer:
    return _counted(call, asked, "purchase", asked["product"], "purchase_quantity")


def revenue_series(call: Call, asked: Asked) -> Answer:
    """Price times quantity in US dollars, at the rates of the workspace."""
    detail = activity.c.detail
    currency = func.upper(json_text(detail, "$.currency")).label("by_currency")
    price = json_number(detail, "$.price") * func.coalesce(json_integer(detail, "$.quantity"), 1)
    query = _rows(call, asked, "purchase", asked["product"], currency, func.sum(price))
    if isinstance(query, Answer):
        return query
    rates, total = call.tank.settings["braze.usd_rates"], defaultdict[int, float](float)
    for unit, money, paid in call.conn.execute(query):
        total[unit] += float(paid) * float(rates.get(money, 1.0))
    return _series(call, asked, "revenue", {unit: round(paid, 2) for unit, paid in total.items()})


_SEGMENT = Parameter("segment_id", required=True)
_CURSOR = Parameter("cursor", queries.natural(0, 10**8), 0)
_SERIES = (LENGTH, UNIT, ENDING_AT, APP)

HANDLERS: Mapping[str, Served] = {
    "GET /segments/list": asking(segment_list, PAGE, SORT),
    "GET /segments/details": asking(segment_details, _SEGMENT),
    "GET /segments/data_series": asking(segment_series, _SEGMENT, LENGTH, ENDING_AT),
    "GET /events": asking(events, _CURSOR),
    "GET /events/list": asking(event_list, PAGE),
    "GET /events/data_series": asking(
        event_series, Parameter("event", required=True), *_SERIES, Parameter("segment_id")
    ),
    "GET /purchases/product_list": asking(product_list, PAGE),
    "GET /purchases/revenue_series": asking(revenue_series, *_SERIES, Parameter("product")),
    "GET /purchases/quantity_series": asking(quantity_series, *_SERIES, Parameter("product")),
    "GET /sessions/data_series": asking(session_series, *_SERIES, Parameter("segment_id")),
    "GET /custom_attributes": asking(custom_attributes, _CURSOR),
}
