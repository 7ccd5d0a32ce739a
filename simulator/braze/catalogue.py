"""The catalogue of Currents events, as data: loaded and checked once.

Source: Braze docs, Amplitude for Currents (events and properties) and the Currents event glossary (types).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import yaml

from simulator.openapi import contract

EVENT_COUNT = 40
TYPES = ("string", "float", "int", "boolean")
CONDITIONS = ("campaign", "canvas", "send_id", "button")


@dataclass(frozen=True)
class Property:
    """A documented property. ``wire`` is its name over HTTP; ``only_if`` says when it is there, None means
    always.

    ``kind`` names the pattern or range its values have (see :func:`kinds`).
    """

    name: str
    wire: str
    type: str
    kind: str
    only_if: str | None


@dataclass(frozen=True)
class EventType:
    """One kind of event. ``properties`` are by name on the wire; ``own`` are the members that hold the
    customer's own data; ``timezone`` whether the user object carries a time zone.
    """

    type: str
    name: str
    category: str
    family: str
    properties: Mapping[str, Property]
    own: Mapping[str, str]
    timezone: bool


@cache
def _loaded() -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("currents_catalogue.yaml").read_text("utf-8"))
    return loaded


@cache
def kinds() -> Mapping[str, Any]:
    """What example values look like, by kind: a pattern for text, ``[lowest, highest]`` for numbers and
    flags.
    """
    found: Mapping[str, Any] = _loaded()["kinds"]
    return found


@cache
def event_types() -> Mapping[str, EventType]:
    """The 40 event types by type on the wire, in the document's order."""
    return read(_loaded())


def read(loaded: Mapping[str, Any]) -> dict[str, EventType]:
    """The event types of a loaded catalogue. Raises ValueError, in one line, when it contradicts itself."""
    table = loaded["properties"]
    for name, each in table.items():
        if each["type"] not in TYPES or each["kind"] not in loaded["kinds"]:
            raise ValueError(f"properties.{name}: type {each['type']!r} or kind {each['kind']!r} is unknown")
        if each.get("only_if") not in (None, *CONDITIONS):
            raise ValueError(f"properties.{name}: condition {each['only_if']!r} is unknown")
    found: dict[str, EventType] = {}
    for each in loaded["events"]:
        event = _event(each, table, loaded["wire"])
        if event.type in found or any(event.name == other.name for other in found.values()):
            raise ValueError(f"events: {event.type} ({event.name}) stands there twice")
        found[event.type] = event
    if len(found) != EVENT_COUNT:
        raise ValueError(f"events: {len(found)} of {EVENT_COUNT}")
    unused = set(table) - {one.name for event in found.values() for one in event.properties.values()}
    if unused:
        raise ValueError(f"properties: {min(unused)} belongs to no event")
    return found


def _event(
    each: Mapping[str, Any], table: Mapping[str, Mapping[str, Any]], wire: Mapping[str, Mapping[str, str]]
) -> EventType:
    always = set(each.get("always", ()))
    unknown = (set(each["properties"]) - set(table)) | (always - set(each["properties"]))
    if unknown or len(set(each["properties"])) != len(each["properties"]):
        raise ValueError(f"events: {each['type']} names {min(unknown, default='a property twice')}")
    renamed: Mapping[str, str] = next((names for part, names in wire.items() if f".{part}." in each["type"]), {})
    properties = {}
    for name in each["properties"]:
        only_if = None if name in always else table[name].get("only_if")
        over_http = renamed.get(name, name)
        properties[over_http] = Property(name, over_http, table[name]["type"], table[name]["kind"], only_if)
    return EventType(
        each["type"],
        each["name"],
        each["category"],
        each["family"],
        properties,
        each.get("own", {}),
        each.get("timezone", True),
    )


def selected_types(names: object) -> frozenset[str] | None:
    """Types on the wire of a selection: None for ``"all"`` or nothing, else types or documented names in a
    list.

    Raises ValueError naming the first that the document does not know.
    """
    if names is None or names == "all":
        return None
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f'events: {names!r} is neither "all" nor a list of event types')
    by_name = {each.name: each.type for each in event_types().values()}
    found = set()
    for name in names:
        if isinstance(name, str) and name in event_types():
            found.add(name)
        elif isinstance(name, str) and name in by_name:
            found.add(by_name[name])
        else:
            raise ValueError(
                f"event {name!r} is not exported by Currents: use a type such as users.messages.email.Send "
                "or a name such as Email Send"
            )
    return frozenset(found)


def listed() -> list[dict[str, Any]]:
    """The catalogue for reading: ``{type, name, category, family, properties: {name: type}, own,
    only_if}``.
    """
    return [
        {
            "type": each.type,
            "name": each.name,
            "category": each.category,
            "family": each.family,
            "properties": {name: one.type for name, one in each.properties.items()},
            "own": dict(each.own),
            "only_if": {name: one.only_if for name, one in each.properties.items() if one.only_if},
        }
        for each in event_types().values()
    ]


@cache
def _event_schema() -> dict[str, Any]:
    envelope = contract("currents_envelope")
    return {"$schema": envelope["$schema"], "$ref": "#/$defs/event", "$defs": envelope["$defs"]}


@cache
def _fast() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(_event_schema())


def unfit(event: object) -> str | None:
    """What keeps an event object from the documented shape, as ``field: why``; None when it fits."""
    if _fast().is_valid(event):
        return None
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(_event_schema()).iter_errors(event))
    if error is None:  # the two validators read a number's kind differently; the strict one decides
        return "event: does not fit the documented shape"
    field = ".".join(str(part) for part in error.absolute_path) or "event"
    if field == "event_type" and isinstance(error.instance, str):
        return f"{field}: {error.instance[:100]!r} is not a Currents event type"
    return f"{field}: {error.message[:200]}"
