"""Stored events in the shapes Amplitude gives them out: the 55 keys of the export, the raw view of a user's stream.

Source: Amplitude docs, Export API, with the values of recorded exports; the raw view of a recorded event.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Select, select

from simulator.amplitude import tables

_AS_GIVEN = ("adid", "idfa", "city", "country", "region", "dma", "device_brand", "device_manufacturer", "device_model",
             "language", "location_lat", "location_lng", "os_name", "os_version", "partner_id", "platform")  # fmt: skip
_NULLS = ("$insert_key", "$schema", "amplitude_attribution_ids", "amplitude_event_type", "device_family", "device_type",
          "global_user_properties", "is_attribution_event", "sample_rate", "user_creation_time")  # fmt: skip
_DIGEST_BYTES = 6
_LIBRARIES = {"/2/httpapi": "http/2.0", "/batch": "batch/1.0"}
UPLOAD_LAG_MS = 12
PROCESS_LAG_MS = 1_500


def project_id(tank_id: str, seed: int) -> int:
    """The project's number, fixed by tank and seed."""
    return 400_000 + int.from_bytes(hashlib.sha256(f"{tank_id}:{seed}".encode()).digest()[:3], "big") % 500_000


def when(ms: int) -> str:
    """``2026-01-01 00:00:00.250000``, in UTC; a whole second has no fraction, as in the recorded raw view."""
    seconds, rest = divmod(ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:03d}000" if rest else f"{moment:%Y-%m-%d %H:%M:%S}"


def group_lists(groups: dict[str, Any]) -> dict[str, list[str]]:
    """Group values as lists of texts, also when one text was sent."""
    return {kind: [str(v) for v in (value if isinstance(value, list) else [value])] for kind, value in groups.items()}


def query() -> Select[Any]:
    """Stored events with what :func:`exported` and :func:`raw` need to know of their users."""
    events, facts = tables.events, tables.facts
    joined = events.outerjoin(facts, facts.c.amplitude_id == events.c.amplitude_id)
    return select(events, facts.c.start_version, facts.c.paying_from_ms).select_from(joined)


def _number(*of: object) -> int:
    text = ":".join(str(each) for each in of)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES], "big")


def _group_ids(app: int, groups: dict[str, list[str]]) -> dict[str, list[int]]:
    """The numbers of groups by the number of their type, fixed by the project."""
    return {
        str(_number(app, kind) % 10**6): [_number(app, kind, name) % 10**11 for name in names]
        for kind, names in groups.items()
    }


def exported(row: Any, app: int) -> dict[str, Any]:
    """One row of :func:`query` as a line of the export: 55 keys, always all there, sorted."""
    event = orjson.loads(row.event)
    user_groups = orjson.loads(row.user_groups) if row.user_groups else {}
    groups = group_lists({**user_groups, **event.get("groups", {})})
    sent_ms = event.get("time", row.received_ms if row.upload_ms is None else row.upload_ms)
    paying = row.paying_from_ms is not None and row.received_ms >= row.paying_from_ms
    line: dict[str, Any] = {name: event.get(name) for name in _AS_GIVEN}
    line.update(dict.fromkeys(_NULLS))
    data: dict[str, Any] = {"path": row.route, "group_first_event": {}, "group_ids": _group_ids(app, groups)}
    if not event.get("$skip_user_properties_sync"):
        data["user_properties_updated"] = True
    number = int.from_bytes(hashlib.sha256(f"{app}:{row.n}".encode()).digest(), "big")
    line.update(
        {
            "$insert_id": row.insert_id,
            "amplitude_id": row.amplitude_id,
            "app": app,
            "client_event_time": when(sent_ms),
            "client_upload_time": when(row.received_ms if row.upload_ms is None else row.upload_ms),
            "event_time": when(row.time_ms),
            "server_received_time": when(row.received_ms),
            "server_upload_time": when(row.received_ms + UPLOAD_LAG_MS),
            "processed_time": when(row.received_ms + PROCESS_LAG_MS),
            "data": data,
            "data_type": "event",
            "device_carrier": event.get("carrier"),
            "device_id": row.device_id,
            "event_id": event.get("event_id", number % 10**9),
            "event_properties": event.get("event_properties", {}),
            "user_properties": orjson.loads(row.user_properties) if row.user_properties else {},
            "event_type": row.event_type,
            "group_properties": orjson.loads(row.group_properties) if row.group_properties else {},
            "groups": groups,
            "ip_address": event.get("ip"),
            "library": event.get("library") or _LIBRARIES.get(row.route),
            "paying": True if paying else None,
            "plan": event.get("plan", {}),
            "session_id": event.get("session_id", -1),
            "source_id": "",
            "start_version": row.start_version,
            "user_id": row.user_id,
            "uuid": str(uuid.UUID(int=number % 2**128, version=4)),
            "version_name": event.get("version_name") or event.get("app_version"),
        }
    )
    return dict(sorted(line.items()))


def raw(row: Any, app: int, created_ms: int | None) -> dict[str, Any]:
    """The event as a user's stream shows it: the export's keys and five more; ``created_ms``: the user's first event.

    Source: the recorded row of Customer.io's docs, Send data to Amplitude.
    """
    line = exported(row, app)
    line.update(
        {
            "$insert_key": f"{_number(app, row.n):034x}#{row.n % 1000}",
            "$row_source": "realtime",
            "$schema": 13,
            "_time": row.time_ms,
            "display_name": row.event_type,
            "global_user_properties": {},
            "is_attribution_event": False,
            "os": " ".join(str(line[name]) for name in ("os_name", "os_version") if line[name]),
            "source_id": None,
            "timeline_hidden": False,
            "user_creation_time": None if created_ms is None else when(created_ms),
        }
    )
    return dict(sorted(line.items()))
