"""Customer.io reporting webhooks → Amplitude: who, what, when, and with which properties.

Source: Customer.io docs, Amplitude (Message Metrics). What that page does not say is a :class:`Readings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml

MAX_CONTENT = 1024
SENT = "sent"
PREFERENCES = "cio_subscription_preferences_changed"
FIRST_IN_MS = 100_000_000_000
"""From here on a timestamp cannot mean seconds: that would be the year 5138."""

NOT_KNOWN = "no report of this type and metric is documented"
NOT_SELECTED = "report is not selected"
NOBODY = "neither an id nor a device"
NO_EVENT_ID = "report has no event_id"
NO_NAME = "report has no object_type or metric"
NO_TIME = "report has no timestamp in seconds"
NO_DATA = "report has no data"


@dataclass(frozen=True)
class Readings:
    """What no document decides, with the recommended reading as default; named in integration.yaml.

    ``devices``: one event of the first device, or one of each. ``email_property``: the name of the property, empty
    for none. ``signature_window_s``, 0 for none, is seconds; ``min_id_length`` 0 leaves Amplitude's own minimum.
    """

    in_app_name: str = "In App"
    preferences_name: str = "Cio Subscription Preferences Changed"
    whatsapp_name: str = "Whatsapp"
    email_property: str = "email"
    cio_id: bool = False
    devices: str = "first"
    recipients: bool = True
    headers: bool = False
    preferences_content: bool = False
    platform_spelling: str = "since 2024-03-28"
    workspace_group: str = "workspace"
    timestamp_in_ms: str = "read"
    unknown_reports: str = "skip"
    min_id_length: int = 1
    signature_window_s: int = 300
    key_refused_hours: int = 168


@dataclass(frozen=True)
class Integration:
    """The set-up page: ``events`` None is all of them. ``groups`` are account and workspace, as texts."""

    events: frozenset[str] | None = None
    body_content: bool = False
    groups: Mapping[str, str] = field(default_factory=dict)
    readings: Readings = field(default_factory=Readings)


@dataclass(frozen=True)
class Skipped:
    """A report that is not for Amplitude, and why."""

    reason: str


@cache
def _data() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("customerio_reports.yaml").read_text("utf-8"))
    return loaded


@cache
def choices() -> frozenset[str]:
    """What can be ticked at set-up: ``email_sent`` and its like."""
    return frozenset(ticked(kind, metric) for kind, metrics in _data()["metrics"].items() for metric in metrics)


def known(object_type: str, metric: str) -> bool:
    """Whether Customer.io documents such a report."""
    return metric in _data()["metrics"].get(object_type, ()) or (
        object_type in _data()["metrics"] and metric in _data()["caused_by_a_message"]
    )


def ticked(object_type: str, metric: str) -> str:
    """The name under which a report is chosen at set-up."""
    return f"{object_type}_{_data()['ticked_as'].get(metric, metric)}"


def selected(object_type: str, metric: str, events: frozenset[str] | None) -> bool:
    """Whether such reports were ticked; what nobody can tick is sent with all of them only."""
    if events is None:
        return True
    name = ticked(object_type, metric)
    if name not in choices() and metric in _data()["caused_by_a_message"]:
        name = ticked("customer", metric)
    return name in events


def event_name(object_type: str, metric: str, readings: Readings) -> str:
    """``Email Sent``: type and metric, every word with a capital.

    Source: Customer.io docs, Amplitude (Message Metrics), Payload reference; beyond its names inferred.
    """
    own = {"in_app": readings.in_app_name, "whatsapp": readings.whatsapp_name, PREFERENCES: readings.preferences_name}
    return " ".join(own.get(each) or titled(each) for each in (object_type, metric))


def titled(name: str) -> str:
    """``cio_x`` as ``Cio X``."""
    return " ".join(word[:1].upper() + word[1:] for word in name.split("_") if word)


def milliseconds(timestamp: int, readings: Readings) -> int | None:
    """Customer.io counts seconds, Amplitude milliseconds; None for what cannot be seconds and is not read as ms."""
    if abs(timestamp) < FIRST_IN_MS:
        return timestamp * 1000
    return timestamp if readings.timestamp_in_ms == "read" and abs(timestamp) < FIRST_IN_MS * 1000 else None


def user_id(identifiers: Mapping[str, Any]) -> str | None:
    """The person's id; Amplitude takes no user 0, so that one goes by the email address."""
    given = identifiers.get("id")
    found = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    if is_zero(found):
        email = identifiers.get("email")
        found = email if isinstance(email, str) else ""
    return found or None


def is_zero(value: str) -> bool:
    """Whether it is the id that Amplitude refuses."""
    return value == "0"


def devices(data: Mapping[str, Any], readings: Readings) -> list[dict[str, str]]:
    """``device_id`` and ``platform`` of the devices to tell of: the first with a token, or every one."""
    found = []
    recipients = data.get("recipients")
    for each in recipients if isinstance(recipients, list) else []:
        token = each.get("device_id") if isinstance(each, dict) else None
        if not isinstance(token, str) or not token:
            continue
        platform = each.get("device_platform") or each.get("platform")
        shown = {"platform": spelled(platform, readings)} if isinstance(platform, str) and platform else {}
        found.append({"device_id": token, **shown})
    return found if readings.devices == "each" else found[:1]


def spelled(platform: str, readings: Readings) -> str:
    """``ios`` as ``iOS``, since 28 March 2024; as it comes before."""
    if readings.platform_spelling != "since 2024-03-28":
        return platform
    known_: str | None = _data()["platforms"].get(platform.lower())
    return known_ or platform[:1].upper() + platform[1:]


def carries_content(metric: str, integration: Integration) -> bool:
    """Whether an event of this metric may have ``content``: sent ones with Body Content on."""
    if metric == PREFERENCES:
        return integration.readings.preferences_content
    return metric == SENT and integration.body_content


def cut(content: Any) -> str:
    """The first 1,024 characters (code points) of a message."""
    text = content if isinstance(content, str) else orjson.dumps(content).decode()
    return text[:MAX_CONTENT]


def event_properties(data: Mapping[str, Any], metric: str, integration: Integration) -> dict[str, Any]:
    """The remaining fields under their own names, and the person's email.

    ``identifiers`` has become the user; ``trigger_id`` and the deprecated ``customer_id`` are fields like any other.
    """
    readings = integration.readings
    left_out = {"identifiers", "content", *([] if readings.headers else ["headers"])}
    if not readings.recipients:
        left_out.add("recipients")
    made = {key: value for key, value in data.items() if key not in left_out}
    if data.get("content") is not None and carries_content(metric, integration):
        made["content"] = cut(data["content"])
    identifiers = _mapping(data.get("identifiers"))
    if identifiers.get("email") and readings.email_property:
        made[readings.email_property] = identifiers["email"]
    if identifiers.get("cio_id") and readings.cio_id:
        made["cio_id"] = identifiers["cio_id"]
    return made


def insert_ids(event_id: str, count: int) -> list[str]:
    """What makes a repeated report one event: its id; for further devices of the same report with a number."""
    return [event_id, *(f"{event_id}-{n}" for n in range(2, count + 1))]


def to_amplitude(report: Mapping[str, Any], integration: Integration) -> list[dict[str, Any]] | Skipped:
    """The Amplitude events of a report, more than one only with one per device; or why none is sent."""
    event_id, object_type, metric = (report.get(each) for each in ("event_id", "object_type", "metric"))
    data, timestamp = report.get("data"), report.get("timestamp")
    readings = integration.readings
    if not isinstance(event_id, str) or not event_id:
        return Skipped(NO_EVENT_ID)
    if not isinstance(object_type, str) or not isinstance(metric, str) or not object_type or not metric:
        return Skipped(NO_NAME)
    if not known(object_type, metric) and readings.unknown_reports == "skip":
        return Skipped(NOT_KNOWN)
    if not selected(object_type, metric, integration.events):
        return Skipped(NOT_SELECTED)
    if not isinstance(data, dict):
        return Skipped(NO_DATA)
    time = milliseconds(timestamp, readings) if type(timestamp) is int else None
    if time is None:
        return Skipped(NO_TIME)
    user = user_id(_mapping(data.get("identifiers")))
    told = devices(data, readings) or [{}]
    if user is None and not told[0]:
        return Skipped(NOBODY)
    shared = {
        **({} if user is None else {"user_id": user}),
        "event_type": event_name(object_type, metric, readings),
        "time": time,
        **({"groups": dict(integration.groups)} if integration.groups else {}),
        "event_properties": event_properties(data, metric, integration),
    }
    ids = insert_ids(event_id, len(told))
    return [{**shared, **device, "insert_id": each} for each, device in zip(ids, told, strict=True)]


def sample(now_ms: int) -> dict[str, Any]:
    """The report that Test Connection sends; the page only says that it is an ``email sent``."""
    return {
        "event_id": f"test-connection-{now_ms}",
        "object_type": "email",
        "metric": SENT,
        "timestamp": now_ms // 1000,
        "data": {"identifiers": {"id": "test-connection"}, "subject": "Test Connection"},
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
