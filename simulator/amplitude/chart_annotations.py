"""Chart annotations and their categories.

Source: Amplitude docs, Chart Annotations API, with the key names of recorded answers (``category`` inside a category).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Integer, String, Table, func, select

from simulator.amplitude.export import refused as envelope
from simulator.exchange import Answer, Call
from simulator.store import json_set, metadata

SOURCE = "Amplitude docs, Chart Annotations API"
DEFAULT_CATEGORY = (1, "Uncategorized")
_FIRST_ID = 939_000

rows = Table(
    "amplitude_annotations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("start", String, nullable=False),
    Column("end", String),
    Column("label", String, nullable=False),
    Column("details", String),
    Column("category_id", Integer, nullable=False),
    Column("chart_id", String),
)
categories = Table(
    "amplitude_annotation_categories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("category", String, nullable=False, unique=True),
)


def _body(call: Call) -> dict[str, Any] | None:
    try:
        data = orjson.loads(call.request.body)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None


def _instant(value: object) -> str | None:
    """ISO 8601 with a zone, in UTC; None when it is something else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return None if moment.tzinfo is None else moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None


def _named(conn: Connection) -> dict[int, str]:
    found = dict([DEFAULT_CATEGORY])
    found.update({row.id: row.category for row in conn.execute(select(categories).order_by(categories.c.id))})
    return found


def _shown(row: Any, names: dict[int, str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "start": row.start,
        "label": row.label,
        "details": row.details,
        "category": {"id": row.category_id, "category": names[row.category_id]},
        "end": row.end,
        "chart_id": row.chart_id,
    }


def _one(call: Call) -> Any:
    text = call.path_args["annotation_id"]
    if not (text.isascii() and text.isdigit()) or len(text) > 17:
        return None
    return call.conn.execute(select(rows).where(rows.c.id == int(text))).first()


def _values(call: Call, data: dict[str, Any]) -> dict[str, Any] | str:
    """The columns that a body sets, or what is wrong with it."""
    values: dict[str, Any] = {}
    for name in ("start", "end"):
        if name in data and not (name == "end" and data[name] is None):
            moment = _instant(data[name])
            if moment is None:
                return f"{name} is no ISO 8601 time with a zone"
            values[name] = moment
        elif name in data:
            values[name] = None
    for name, optional in (("label", False), ("details", True), ("chart_id", True)):
        if name in data:
            if not isinstance(data[name], str) and not (optional and data[name] is None):
                return f"{name} is no text"
            values[name] = data[name]
    if "category" in data:
        by_name = {name: number for number, name in _named(call.conn).items()}
        if not isinstance(data["category"], str) or data["category"] not in by_name:
            return f"category {data['category']!r} does not exist"
        values["category_id"] = by_name[data["category"]]
    return values


def create(call: Call) -> Answer:
    """`POST /api/3/annotations`."""
    data = _body(call)
    if data is None:
        return envelope(400, "Invalid request", "the body is no JSON object")
    values = _values(call, data)
    if isinstance(values, str):
        return envelope(400, "Invalid request", values)
    if not values.get("label") or not values.get("start"):
        return envelope(400, "Invalid request", "label and start are required")
    last = call.conn.execute(select(func.max(rows.c.id))).scalar() or _FIRST_ID
    call.conn.execute(rows.insert().values(**{"id": last + 1, "category_id": 1, **values}))
    row = call.conn.execute(select(rows).where(rows.c.id == last + 1)).one()
    return Answer(200, {"data": _shown(row, _named(call.conn))})


def listed(call: Call) -> Answer:
    """`GET /api/3/annotations`: by category or by chart, within a range."""
    given = call.detail
    if "category" in given and "chart_id" in given:
        return envelope(400, "Invalid request", "category or chart_id, not both")
    names = _named(call.conn)
    query = select(rows).order_by(rows.c.start, rows.c.id)
    if "category" in given:
        wanted = [number for number, name in names.items() if name == given["category"]]
        query = query.where(rows.c.category_id.in_(wanted))
    if "chart_id" in given:
        query = query.where(rows.c.chart_id == given["chart_id"])
    for name in ("start", "end"):
        if name in given:
            moment = _instant(given[name].replace(" ", "+"))
            if moment is None:
                return envelope(400, "Invalid request", f"{name} is no ISO 8601 time with a zone")
            edge = rows.c.start >= moment if name == "start" else rows.c.start <= moment
            query = query.where(edge)
    return Answer(200, {"data": [_shown(row, names) for row in call.conn.execute(query)]})


def single(call: Call) -> Answer:
    """`GET /api/3/annotations/{id}`."""
    row = _one(call)
    if row is None:
        return envelope(404, "Not found", "no such annotation")
    return Answer(200, {"data": _shown(row, _named(call.conn))})


def change(call: Call) -> Answer:
    """`PUT /api/3/annotations/{id}`: the given members; null clears ``chart_id`` and ``end``."""
    row, data = _one(call), _body(call)
    if row is None:
        return envelope(404, "Not found", "no such annotation")
    if data is None:
        return envelope(400, "Invalid request", "the body is no JSON object")
    values = _values(call, data)
    if isinstance(values, str):
        return envelope(400, "Invalid request", values)
    if values:
        call.conn.execute(rows.update().where(rows.c.id == row.id).values(**values))
    return single(call)


def delete(call: Call) -> Answer:
    """`DELETE /api/3/annotations/{id}`."""
    row = _one(call)
    if row is None:
        return envelope(404, "Not found", "no such annotation")
    call.conn.execute(rows.delete().where(rows.c.id == row.id))
    return Answer(200, {"success": True})


def create_category(call: Call) -> Answer:
    """`POST /api/3/annotation-categories`."""
    data = _body(call)
    name = None if data is None else data.get("category")
    if not isinstance(name, str) or not name:
        return envelope(400, "Invalid request", "category is required")
    names = _named(call.conn)
    if name in names.values():
        return envelope(409, "Conflict", f"category {name!r} exists")
    number = max(names) + 1
    call.conn.execute(categories.insert().values(id=number, category=name))
    return Answer(200, {"data": {"id": number, "category": name}})


def listed_categories(call: Call) -> Answer:
    """`GET /api/3/annotation-categories`."""
    wanted = call.detail.get("category")
    shown = [{"id": n, "category": name} for n, name in _named(call.conn).items() if wanted in (None, name)]
    return Answer(200, {"data": shown})


def _category(call: Call) -> tuple[int, str] | None:
    text = call.path_args["category_id"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 17 else 0
    name = _named(call.conn).get(number)
    return None if name is None else (number, name)


def _no_category() -> Answer:
    return envelope(404, "Not found", "no such category")


def single_category(call: Call) -> Answer:
    """`GET /api/3/annotation-categories/{id}`."""
    found = _category(call)
    return _no_category() if found is None else Answer(200, {"data": {"id": found[0], "category": found[1]}})


def change_category(call: Call) -> Answer:
    """`PUT /api/3/annotation-categories/{id}`: its new name. That the default keeps its own is inferred."""
    found, data = _category(call), _body(call)
    if found is None:
        return _no_category()
    name = None if data is None else data.get("category")
    if not isinstance(name, str) or not name:
        return envelope(400, "Invalid request", "category is required")
    if found[0] == DEFAULT_CATEGORY[0]:
        return envelope(400, "Invalid request", "the default category cannot be changed")
    if name != found[1] and name in _named(call.conn).values():
        return envelope(409, "Conflict", f"category {name!r} exists")
    call.conn.execute(categories.update().where(categories.c.id == found[0]).values(category=name))
    return single_category(call)


def delete_category(call: Call) -> Answer:
    """`DELETE /api/3/annotation-categories/{id}`: its annotations fall back to the default (inferred)."""
    found = _category(call)
    if found is None:
        return _no_category()
    if found[0] == DEFAULT_CATEGORY[0]:
        return envelope(400, "Invalid request", "the default category cannot be deleted")
    call.conn.execute(rows.update().where(rows.c.category_id == found[0]).values(category_id=DEFAULT_CATEGORY[0]))
    call.conn.execute(categories.delete().where(categories.c.id == found[0]))
    return Answer(200, {"success": True})


def move(call: Call) -> Answer:
    """`PUT /api/3/annotation-categories/bulk/{category_id}`: put ``annotation_ids`` into the category, all or none."""
    found, data = _category(call), _body(call)
    if found is None:
        return _no_category()
    ids = None if data is None else data.get("annotation_ids")
    if not isinstance(ids, list) or not ids or not all(type(each) is int and abs(each) < 2**63 for each in ids):
        return envelope(400, "Invalid request", "annotation_ids is a list of at least one id")
    mine = rows.c.id.in_(json_set(ids))
    if call.conn.execute(select(func.count()).where(mine)).scalar_one() != len(set(ids)):
        return envelope(404, "Not found", "an annotation does not exist")
    call.conn.execute(rows.update().where(mine).values(category_id=found[0]))
    names = _named(call.conn)
    moved = call.conn.execute(select(rows).where(mine).order_by(rows.c.id))
    return Answer(200, {"data": [_shown(row, names) for row in moved]})
