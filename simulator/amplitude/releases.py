"""Releases: `POST /api/2/release`. Source: Amplitude docs, Releases API, with the defaults of recorded answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Column, Integer, String, Table, func, select

from simulator.amplitude import rows
from simulator.amplitude.export import refused
from simulator.exchange import Answer, Call
from simulator.store import metadata

SOURCE = "Amplitude docs, Releases API"
_TIME = "%Y-%m-%d %H:%M:%S"
_REQUIRED = ("version", "release_start", "title")
_TEXTS = (*_REQUIRED, "release_end", "description", "created_by")

releases = Table(
    "amplitude_releases",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("release", String, nullable=False),
)


def create(call: Call) -> Answer:
    """Note a release given as a JSON body or as query parameters."""
    given = _given(call)
    problem = "the body is no JSON object" if given is None else _problem(given)
    if given is None or problem is not None:
        return refused(400, "Invalid request", str(problem))
    number = (call.conn.execute(select(func.max(releases.c.id))).scalar() or 0) + 1
    app = rows.project_id(call.tank.id, call.tank.seed)
    author = given.get("created_by") or ""
    now = datetime.fromtimestamp(call.now_ms / 1000, UTC).strftime(_TIME)
    visible = given.get("chart_visibility")
    release = {
        "id": number,
        "app_id": app,
        "org_id": app // 2,
        "version": given["version"],
        "release_start": given["release_start"],
        "release_end": given.get("release_end"),
        "type": "integration",
        "title": given["title"],
        "description": given.get("description") or "",
        "platforms": given.get("platforms"),
        "chart_visibility": call.tank.settings["amplitude.release_visible"] if visible is None else visible,
        "params": {"created": now, "created_by": author, "last_modified": now, "last_modified_by": author},
    }
    call.conn.execute(releases.insert().values(id=number, release=orjson.dumps(release).decode()))
    return Answer(200, {"success": True, "release": release})


def _given(call: Call) -> dict[str, Any] | None:
    if not call.request.body or not call.request.headers.get("Content-Type", "").startswith("application/json"):
        found: dict[str, Any] = dict(call.detail)
        if "platforms" in found:
            found["platforms"] = found["platforms"].split(",")
        if found.get("chart_visibility", "").lower() in ("true", "false"):
            found["chart_visibility"] = found["chart_visibility"].lower() == "true"
        return found
    try:
        data = orjson.loads(call.request.body)
    except orjson.JSONDecodeError:
        return None
    return data if isinstance(data, dict) else None


def _problem(given: dict[str, Any]) -> str | None:
    for name in _REQUIRED:
        if not given.get(name):
            return f"{name} is required"
    for name in _TEXTS:
        if given.get(name) is not None and not isinstance(given[name], str):
            return f"{name} is no text"
    for name in ("release_start", "release_end"):
        try:
            if given.get(name) is not None:
                datetime.strptime(given[name], _TIME)
        except ValueError:
            return f"{name} is no time like 2026-01-31 13:00:00"
    platforms = given.get("platforms")
    if platforms is not None and not (isinstance(platforms, list) and all(isinstance(p, str) for p in platforms)):
        return "platforms is no list of texts"
    return None if isinstance(given.get("chart_visibility"), bool | None) else "chart_visibility is true or false"
