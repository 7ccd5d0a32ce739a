"""Stored events in the shapes Amplitude gives them out: the 55 keys of the export, the raw view of a user's stream.

Source: Amplitude docs, Export API, with the values of recorded exports; the raw view of a recorded event.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import orjson

_AS_GIVEN = ("adid", "idfa", "city", "country", "region", "dma", "device_brand", "device_manufacturer", "device_model",
             "language", "location_lat", "location_lng", "os_name", "os_version", "partner_id", "platform")  # fmt: skip
_NULLS = ("$insert_key", "$schema", "amplitude_attribution_ids", "amplitude_event_type", "device_family", "device_type",
          "global_user_properties", "is_attribution_event", "sample_rate", "user_creation_time")  # fmt: skip
_LIBRARIES = {"/2/httpapi": "http/2.0", "/batch": "batch/1.0"}
UPLOAD_LAG_MS = 12
PROCESS_LAG_MS = 1_500


def project_id(tank_id: str, seed: int) -> int:
    """The project's number, fixed by tank and seed."""
    return 400_000 + int.from_bytes(hashlib.sha256(f"{tank_id}:{seed}".encode()).digest()[:3], "big") % 500_000


def when(ms: int) -> str:
    """``2026-01-01 00:00:00.000000``, in UTC; the fraction is always there."""
    seconds, rest = divmod(ms, 1000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:03d}000"


def group_lists(groups: dict[str, Any]) -> dict[str, list[str]]:
    """Group values as lists of texts, also when one text was sent."""
    return {kind: [str(v) for v in (value if isinstance(value, list) else [value])] for kind, value in groups.items()}


def exported(row: Any, app: int, user_groups: dict[str, Any] | None = None) -> dict[str, Any]:
    """One row of ``amplitude_events`` as a line of the export: 55 keys, always all there, sorted."""
    event = orjson.loads(row.event)
    sent_groups = {**(user_groups or {}), **event.get("groups", {})}
    line: dict[str, Any] = {name: event.get(name) for name in _AS_GIVEN}
    line.update(dict.fromkeys(_NULLS))
    data: dict[str, Any] = {"path": row.route, "group_first_event": {}, "group_ids": {}}
    if not event.get("$skip_user_properties_sync"):
        data["user_properties_updated"] = True
    number = int.from_bytes(hashlib.sha256(f"{app}:{row.n}".encode()).digest(), "big")
    line.update(
        {
            "$insert_id": row.insert_id,
            "amplitude_id": row.amplitude_id,
            "app": app,
            "client_event_time": when(row.time_ms),
            "client_upload_time": when(row.received_ms),
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
            "group_properties": {},
            "groups": group_lists(sent_groups),
            "ip_address": event.get("ip"),
            "library": event.get("library") or _LIBRARIES.get(row.route),
            "paying": None,
            "plan": event.get("plan", {}),
            "session_id": event.get("session_id", -1),
            "source_id": "",
            "start_version": None,
            "user_id": row.user_id,
            "uuid": str(uuid.UUID(int=number % 2**128, version=4)),
            "version_name": event.get("version_name") or event.get("app_version"),
        }
    )
    return dict(sorted(line.items()))


def raw(row: Any, app: int, user_groups: dict[str, Any] | None = None) -> dict[str, Any]:
    """The event as a user's stream shows it: the export's keys and five more."""
    line = exported(row, app, user_groups)
    line.update(
        {
            "$row_source": "realtime",
            "_time": row.time_ms,
            "display_name": row.event_type,
            "os": " ".join(str(line[name]) for name in ("os_name", "os_version") if line[name]),
            "timeline_hidden": False,
        }
    )
    return dict(sorted(line.items()))
