"""Braze Currents → Amplitude: identity, names, properties, time.

Source: Braze docs, Amplitude for Currents; the Amplitude tabs of Braze's event glossaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CUSTOM_EVENT = "users.behaviors.CustomEvent"
PURCHASE = "users.behaviors.Purchase"
CUSTOM_NAMES = ("Custom Event", "Custom Events", "<Custom Event Name>")
PROFILE_2026 = "2026"
UNKNOWN = "event type is not exported to Amplitude"
NAMELESS = "custom event has no name"


@dataclass(frozen=True)
class Skipped:
    """An event that is not for Amplitude, and why."""

    reason: str


class Malformed(ValueError):
    """Not a Currents event: the message says what is wrong with it."""


@cache
def _data() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("currents_events.yaml").read_text("utf-8"))
    return loaded


@cache
def names(profile: str | None = None) -> Mapping[str, str]:
    """Exported name by Currents event type; custom events have their own.

    The profile ``2026`` has the names of Braze's newest glossary and the events that were added later.
    """
    if profile == PROFILE_2026:
        return {**_data()["exported"], **_data()["later"], **_data()["renamed"]}
    exported: Mapping[str, str] = _data()["exported"]
    return exported


def known_event(name: str, profile: str | None = None) -> bool:
    """Whether a selection may name this: an exported name, a Currents type, or the custom events."""
    known = names(profile)
    return name in CUSTOM_NAMES or name == CUSTOM_EVENT or name in known or name in known.values()


def selected(event_type: str, selection: frozenset[str] | None) -> bool:
    """Whether events of this type were ticked; None is all. Others are never sent, also not later."""
    if selection is None:
        return True
    if event_type == CUSTOM_EVENT:
        return event_type in selection or any(name in selection for name in CUSTOM_NAMES)
    spellings = {event_type, names().get(event_type), names(PROFILE_2026).get(event_type)}
    return not spellings.isdisjoint(selection)


def check(event: object) -> Mapping[str, Any]:
    """The event as it came, when it has the documented shape. Raises Malformed."""
    if not isinstance(event, dict):
        raise Malformed("not an object")
    for name in ("id", "event_type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise Malformed(f"{name} is not a text")
    time = event.get("time")
    if not isinstance(time, int) or isinstance(time, bool) or abs(time) >= 2**53:
        raise Malformed("time is not a number of seconds")
    for name in ("user", "properties"):
        if event.get(name) is not None and not isinstance(event[name], dict):
            raise Malformed(f"{name} is not an object")
    for name in ("external_user_id", "device_id"):
        if not isinstance((event.get("user") or {}).get(name), str | int | None):
            raise Malformed(f"user.{name} is not a text")
    return event


def identity(event: Mapping[str, Any]) -> dict[str, str]:
    """``user_id`` from the external id, ``device_id`` from the device; empty when the person has neither.

    Braze's own user id is never sent. Source: Braze docs, Amplitude for Currents, Integration Details.
    """
    user = event.get("user") or {}
    found = {"user_id": user.get("external_user_id"), "device_id": user.get("device_id")}
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def event_name(event: Mapping[str, Any]) -> str | None:
    """The name in Amplitude, None for an event that is not exported.

    Source: Braze docs, Amplitude for Currents, Integration Details.
    """
    if event["event_type"] == CUSTOM_EVENT:
        name = (event.get("properties") or {}).get("name")
        return None if name in (None, "") else custom_name(str(name))
    name = names().get(event["event_type"])
    return None if name is None else regular_name(name)


def newest_name(event: Mapping[str, Any]) -> str | None:
    """The name under the profile ``2026``, which also knows events that were added later."""
    name = names(PROFILE_2026).get(event["event_type"])
    return event_name(event) if name is None else regular_name(name)


def regular_name(name: str) -> str:
    """``Email Open`` with the prefix of all regular events and one space (the space is inferred)."""
    return f"[Appboy] {name}"


def custom_name(name: str) -> str:
    """The customer's own event name with the prefix of custom events."""
    return f"[Appboy] [Custom Event] {name}"


def custom_property(key: str) -> str:
    """The customer's own property of a custom event."""
    return f"[Custom event property] {key}"


def purchase_property(key: str) -> str:
    """The customer's own property of a purchase."""
    return f"[Purchase property] {key}"


def milliseconds(seconds: int) -> int:
    """Currents counts seconds, Amplitude milliseconds."""
    return seconds * 1000


def insert_id(event: Mapping[str, Any]) -> str:
    """The id that makes a repeated delivery one event."""
    return str(event["id"])


def card_property(event_type: str, key: str) -> str:
    """Over HTTP a Content Card's id has another name than in Amplitude."""
    return "card_id" if key == "content_card_id" and ".contentcard." in event_type else key


def is_sent(event_type: str, key: str) -> bool:
    """Whether a property of this event goes to Amplitude.

    Some belong to some events of a group only, some are known from Braze's storage exports alone. A property
    that no document knows yet is sent: Braze adds them at any time.
    """
    if key in _data()["storage_only"]:
        return False
    rule = _data()["only_on"].get(key)
    return rule is None or not event_type.startswith(rule["group"]) or event_type in rule["types"]


def event_properties(event: Mapping[str, Any]) -> dict[str, Any]:
    """Braze's properties under their own names, the customer's own under a prefix; nulls are left out.

    ``platform``, ``os_version``, ``device_model``, coordinates, session id and currency stay here: they are
    not Amplitude's fields of the same name. Values are passed on as they are.
    """
    type_ = event["event_type"]
    given = event.get("properties") or {}
    made: dict[str, Any] = {}
    for key, value in given.items():
        if value is None or key in ("custom_properties", "purchase_properties"):
            continue
        if type_ == CUSTOM_EVENT and key == "name":
            continue
        if type_ == PURCHASE and key in ("product_id", "price"):
            continue
        if is_sent(type_, key):
            made[card_property(type_, key)] = value
    for member, name in (("custom_properties", custom_property), ("purchase_properties", purchase_property)):
        own = given.get(member)
        if isinstance(own, dict):
            made.update({name(key): value for key, value in own.items() if value is not None})
    return made


def purchase_fields(event: Mapping[str, Any]) -> dict[str, Any]:
    """``productId`` and ``price`` of a purchase; revenue and quantity are not sent."""
    given = event.get("properties") or {}
    if event["event_type"] != PURCHASE:
        return {}
    fields = {"productId": given.get("product_id"), "price": given.get("price")}
    return {name: value for name, value in fields.items() if value is not None}


def advertising_ids(event: Mapping[str, Any]) -> dict[str, str]:
    """``idfa`` or ``adid`` where the event carries an advertising id of that kind."""
    given = event.get("properties") or {}
    field = {"ios_idfa": "idfa", "google_ad_id": "adid"}.get(str(given.get("ad_id_type")))
    return {field: str(given["ad_id"])} if field and given.get("ad_id") else {}


def to_amplitude(event: Mapping[str, Any], selection: frozenset[str] | None) -> dict[str, Any] | Skipped:
    """The Amplitude event of a checked Currents event, or why none is sent."""
    return _made(event, event_name(event), selection)


def to_newest(event: Mapping[str, Any], selection: frozenset[str] | None) -> dict[str, Any] | Skipped:
    """The same under the profile ``2026``."""
    return _made(event, newest_name(event), selection)


def _made(event: Mapping[str, Any], name: str | None, selection: frozenset[str] | None) -> dict[str, Any] | Skipped:
    if name is None:
        return Skipped(NAMELESS if event["event_type"] == CUSTOM_EVENT else UNKNOWN)
    if not selected(event["event_type"], selection):
        return Skipped("event type is not selected")
    who = identity(event)
    if not who:
        return Skipped("neither external_user_id nor device_id")
    return {
        **who,
        "event_type": name,
        "time": milliseconds(event["time"]),
        "insert_id": insert_id(event),
        "library": "Braze",
        **purchase_fields(event),
        **advertising_ids(event),
        "event_properties": event_properties(event),
    }
