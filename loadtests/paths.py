"""The requests of every write path: their bytes, and what an answer says of the objects in them.

Plain functions over the number of the request, so that the same run is made of the same bytes on one machine or many.
Sources: Amplitude docs, HTTP V2 API, Batch Event Upload API, Identify API; Braze docs, POST /users/track, Cohort
import, Custom HTTP connector for Currents; Customer.io docs, Reporting webhooks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loadtests.profiles import Group

COHORT = "loadcoh1"


@dataclass(frozen=True)
class Target:
    """Where requests go and what they need: from the ready file and the connector's URL."""

    url: str
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One request; ``objects`` counts the events, attributes, members … in it."""

    path: str
    body: bytes
    headers: Mapping[str, str]
    objects: int


@dataclass(frozen=True)
class Outcome:
    """What an answer says: ``accepted`` objects for good, or why none; ``wait_s`` before the next try, if told."""

    kind: str
    accepted: int = 0
    wait_s: float | None = None

    @property
    def final(self) -> bool:
        """Whether the request is not sent again."""
        return self.kind in ("accepted", "refused")


def event_id(group: str, k: int, j: int) -> str:
    """The id of object ``j`` of request ``k``; see :func:`origin`."""
    return f"load.{group}.{k}.{j}"


def origin(found: str) -> tuple[str, int, int] | None:
    """Group, request and object of an id made by :func:`event_id`; None for any other."""
    parts = found.split(".")
    if len(parts) != 4 or parts[0] != "load" or not (parts[2].isdecimal() and parts[3].isdecimal()):
        return None
    return parts[1], int(parts[2]), int(parts[3])


def person(group: Group, k: int, j: int) -> str:
    """Who object ``j`` of request ``k`` is about."""
    return f"load-{group.name}-{(k * group.events + j) % group.people:07d}"


def device(group: Group, k: int, j: int) -> str:
    """The device of :func:`person`, or the one of the whole group."""
    return f"device-{group.name}" if group.one_device else f"device-{person(group, k, j)}"


def _json(path: str, body: object, objects: int, **headers: str) -> Request:
    data = json.dumps(body, separators=(",", ":")).encode()
    return Request(path, data, {"Content-Type": "application/json", **headers}, objects)


def _amplitude_events(group: Group, k: int, now_ms: int) -> list[dict[str, Any]]:
    return [
        {
            "user_id": person(group, k, j),
            "device_id": device(group, k, j),
            "event_type": "Viewed Page",
            "time": now_ms,
            "insert_id": event_id(group.name, k, j),
            "event_properties": {"page": f"/products/{(k + j) % 500}", "position": j},
        }
        for j in range(group.events)
    ]


def _upload(path: str) -> Callable[[Group, int, Target, int], Request]:
    def made(group: Group, k: int, target: Target, now_ms: int) -> Request:
        events = _amplitude_events(group, k, now_ms)
        return _json(path, {"api_key": target.keys["amplitude_api_key"], "events": events}, len(events))

    return made


def _identify(group: Group, k: int, target: Target, _now_ms: int) -> Request:
    people = [
        {"user_id": person(group, k, j), "user_properties": {"$set": {"visit": event_id(group.name, k, j)}}}
        for j in range(group.events)
    ]
    form = {"api_key": target.keys["amplitude_api_key"], "identification": json.dumps(people)}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request("/identify", urllib.parse.urlencode(form).encode(), headers, len(people))


def _instant(now_ms: int) -> str:
    return f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _track(group: Group, k: int, target: Target, now_ms: int) -> Request:
    events = [
        {
            "external_id": person(group, k, j),
            "app_id": target.keys["braze_app_id"],
            "name": "Viewed Page",
            "time": _instant(now_ms),
            "properties": {"load_id": event_id(group.name, k, j)},
        }
        for j in range(group.events)
    ]
    key = target.keys["braze_rest_api_key"]
    return _json("/users/track", {"events": events}, len(events), Authorization=f"Bearer {key}")


def _cohort_import(group: Group, k: int, target: Target, _now_ms: int) -> Request:
    members = [person(group, k, j) for j in range(group.events)]
    body = {
        "partner_api_key": target.keys["braze_partner_api_key"],
        "client_secret": target.keys["braze_data_import_key"],
        "cohort_id": COHORT,
        "cohort_changes": [{"user_ids": members}],
    }
    return _json("/partners/amplitude/cohorts/users", body, len(members))


def _currents(group: Group, k: int, target: Target, now_ms: int) -> Request:
    events = [
        {
            "event_type": "users.behaviors.CustomEvent",
            "id": event_id(group.name, k, j),
            "time": now_ms // 1000,
            "user": {
                "user_id": f"{k * group.events + j:024x}",
                "external_user_id": person(group, k, j),
                "device_id": device(group, k, j),
            },
            "properties": {
                "app_id": "b2a2e000-0000-4000-a000-000000000002",
                "platform": "ios",
                "os_version": "18.1",
                "device_model": "iPhone 15",
                "name": "Viewed Page",
                "custom_properties": {"page": f"/products/{(k + j) % 500}"},
            },
        }
        for j in range(group.events)
    ]
    token = target.keys["currents_token"]
    return _json("/feeds/currents", {"events": events}, len(events), Authorization=f"Bearer {token}")


def _customerio(group: Group, k: int, target: Target, now_ms: int) -> Request:
    who = person(group, k, 0)
    body = {
        "event_id": event_id(group.name, k, 0),
        "object_type": "email",
        "metric": "delivered",
        "timestamp": now_ms // 1000,
        "data": {
            "customer_id": who,
            "delivery_id": hashlib.sha256(f"{group.name}:{k}".encode()).hexdigest()[:40],
            "action_id": 412,
            "campaign_id": 58,
            "identifiers": {"id": who, "email": f"{who}@example.org", "cio_id": f"{k:012x}"},
            "recipient": f"{who}@example.org",
            "subject": "Your statement is ready",
        },
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    stamp = str(now_ms // 1000)
    signed = hmac.new(target.keys["customerio_signing_key"].encode(), b"v0:" + stamp.encode() + b":" + data, "sha256")
    headers = {
        "Content-Type": "application/json",
        "X-CIO-Timestamp": stamp,
        "X-CIO-Signature": signed.hexdigest(),
    }
    return Request("/feeds/customerio", data, headers, 1)


BUILDERS: Mapping[str, Callable[[Group, int, Target, int], Request]] = {
    "http_v2": _upload("/2/httpapi"),
    "batch": _upload("/batch"),
    "identify": _identify,
    "track": _track,
    "cohort_import": _cohort_import,
    "currents": _currents,
    "customerio": _customerio,
}

UPLOADS = ("http_v2", "batch", "currents", "customerio")
"""The paths whose objects become events in Amplitude, under the ids they were made with."""

PAUSE_S = {"http_v2": 30.0, "batch": 15.0, "identify": 15.0}
"""How long to pause what a 429 names (Amplitude docs, HTTP V2 API 429; Batch Event Upload API; Identify API)."""


def outcome(path: str, status: int, request: Request, headers: Mapping[str, str], now_ms: int) -> Outcome:
    """What an answer says of the request's objects; ``status`` 0 means that none came."""
    if 200 <= status < 300:
        return Outcome("accepted", request.objects)
    if status == 429:
        return Outcome("throttled", 0, PAUSE_S.get(path) or _until_reset(headers, now_ms))
    if status in (0, 408) or status >= 500:
        return Outcome("failed")
    if path in ("currents", "customerio"):
        # A feed is repeated whatever the connector says; it gives nothing up (Braze docs, Custom HTTP connector).
        return Outcome("failed")
    return Outcome("refused")


def _until_reset(headers: Mapping[str, str], now_ms: int) -> float | None:
    reset = headers.get("X-RateLimit-Reset", "")
    return max(0.1, int(reset) - now_ms / 1000) if reset.isdecimal() else None
