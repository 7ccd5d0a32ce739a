"""Checking the events of an upload: required fields, types, identifiers, lengths, truncation.

A request is checked as a whole against the schema of plain events first; only events that are not plain are
looked at one by one. Source: Amplitude docs, HTTP V2 API, Keys for the event argument, Limits, Responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema_rs

from simulator.amplitude.fields import cut, depth, groups, languages, plan
from simulator.openapi import contract

INVALID_IDS = frozenset(
    {
        "anonymous",
        "nil",
        "none",
        "null",
        "n/a",
        "na",
        "undefined",
        "unknown",
        "",
        '""',
        "00000000-0000-0000-0000-000000000000",
        "{}",
        "lmy47d",
        "0",
        "-1",
    }
)
RESERVED_TYPES = frozenset(
    {
        "[Amplitude] Start Session",
        "[Amplitude] End Session",
        "[Amplitude] Revenue",
        "[Amplitude] Revenue (Verified)",
        "[Amplitude] Revenue (Unverified)",
        "[Amplitude] Merged User",
    }
)
MAX_TEXT = 1024
MAX_DEPTH = 40

MISSING = "Request missing required field"
INVALID = "Invalid field values on some events"
SHORT = "Invalid id length for user_id or device_id"
NOT_AN_OBJECT = "Invalid event JSON"


@dataclass(frozen=True)
class Rules:
    """What may differ between tanks and routes."""

    min_id_length: int = 5
    short_ids: str = "refuse"
    long_ids: str = "refuse"
    index_lists: str = "all"
    any_case_ids: bool = True
    numeric_ids: str = "text"
    missing_ids: str = "both"
    unknown_fields: str = "ignore"
    deep_objects: str = "refuse"
    reserved_types: str = "accept"
    language_names: bool = True

    @classmethod
    def of(cls, settings: Mapping[str, Any], kind: str, min_id_length: int) -> Rules:
        """The rules of a tank's settings for one route, ``kind`` being ``http_v2`` or ``batch``."""
        return cls(
            min_id_length,
            settings["amplitude.short_ids"],
            settings["amplitude.long_ids"],
            settings[f"amplitude.{kind}.index_lists"],
            settings["amplitude.invalid_ids_any_case"],
            settings["amplitude.numeric_ids"],
            settings["amplitude.missing_ids_named"],
            settings["amplitude.unknown_fields"],
            settings["amplitude.deep_objects"],
            settings["amplitude.reserved_event_types"],
            settings["amplitude.language_names"],
        )


@dataclass(frozen=True)
class Problem:
    """Why an upload is refused: Amplitude's error text, extra members, and index → reason."""

    error: str
    members: dict[str, Any]
    events: dict[int, str]


@dataclass
class _Faulty:
    """Offending indexes by field."""

    fields: dict[str, list[int]] = field(default_factory=dict)

    def note(self, name: str, index: int) -> None:
        self.fields.setdefault(name, []).append(index)

    def problem(self, error: str, member: str, lists: str) -> Problem:
        events: dict[int, str] = {}
        for name, indexes in self.fields.items():
            for index in indexes:
                events[index] = f"{error}: {name}"
        shown = {name: indexes[:1] if lists == "first" else indexes for name, indexes in self.fields.items()}
        named = {index for indexes in shown.values() for index in indexes}
        return Problem(error, {member: shown}, {i: text for i, text in events.items() if i in named})


@cache
def _plain() -> Any:
    return jsonschema_rs.Draft202012Validator(contract("amplitude_plain"))


@cache
def _plain_event() -> Any:
    return jsonschema_rs.Draft202012Validator({**contract("amplitude_plain"), "$ref": "#/$defs/event", "items": {}})


@cache
def _fields() -> dict[str, Any]:
    schema = contract("amplitude_upload")["$defs"]["event"]["properties"]
    return {name: jsonschema_rs.Draft202012Validator(each) for name, each in schema.items()}


def check(events: list[Any], rules: Rules) -> tuple[list[dict[str, Any]], Problem | None]:
    """The events as they will be stored, or why they are refused.

    Events that need no change are passed on as they are. Order of checks: objects, required fields, types and
    identifiers, id lengths.
    """
    plain = _plain().is_valid(events)
    checked: list[dict[str, Any]] = events if plain else []
    if not plain:
        strangers = [i for i, event in enumerate(events) if not isinstance(event, dict)]
        if strangers:
            return [], Problem(NOT_AN_OBJECT, {}, dict.fromkeys(strangers[:1], NOT_AN_OBJECT))
        found = _one_by_one(events, rules)
        if isinstance(found, Problem):
            return [], found
        checked = found
    refused = _refused_ids(checked, rules)
    if refused is not None:
        return [], refused
    if rules.short_ids != "refuse":
        checked, refused = _without_short_ids(checked, rules)
        if refused is not None:
            return [], refused
    for event in checked:
        if "language" in event or "revenue" in event:
            _adjust(event, rules)
    return checked, None


def _refused_ids(events: list[dict[str, Any]], rules: Rules) -> Problem | None:
    # Sets first: the ids of a good upload are looked at once each, and no event is.
    ids: set[str] = {event["user_id"] for event in events if "user_id" in event}
    ids.update(event["device_id"] for event in events if "device_id" in event)
    bad = {
        each
        for each in ids
        if (each.lower() if rules.any_case_ids else each) in INVALID_IDS
        or (len(each) > MAX_TEXT and rules.long_ids == "refuse")
    }
    if bad:
        return _where(events, bad).problem(INVALID, "events_with_invalid_fields", rules.index_lists)
    if rules.reserved_types == "refuse" and any(event["event_type"] in RESERVED_TYPES for event in events):
        faulty = _Faulty({"event_type": [i for i, each in enumerate(events) if each["event_type"] in RESERVED_TYPES]})
        return faulty.problem(INVALID, "events_with_invalid_fields", rules.index_lists)
    short = {each for each in ids if len(each) < rules.min_id_length}
    if short and rules.short_ids == "refuse":
        return _where(events, short).problem(SHORT, "events_with_invalid_id_lengths", rules.index_lists)
    if rules.long_ids != "refuse" and any(len(each) > MAX_TEXT for each in ids):
        for event in events:
            event.update({name: event[name][:MAX_TEXT] for name in ("user_id", "device_id") if name in event})
    return None


def _adjust(event: dict[str, Any], rules: Rules) -> None:
    """Language tags become names; price times quantity wins over a revenue sent beside them."""
    if rules.language_names and "language" in event:
        tag = event["language"].replace("_", "-").partition("-")[0].lower()
        event["language"] = languages().get(tag, event["language"])
    if "revenue" in event and "price" in event and "quantity" in event:
        event["revenue"] = event["price"] * event["quantity"]


def _where(events: list[dict[str, Any]], values: set[Any]) -> _Faulty:
    faulty = _Faulty()
    for index, event in enumerate(events):
        for name in ("user_id", "device_id"):
            if event.get(name) in values:
                faulty.note(name, index)
    return faulty


def _without_short_ids(events: list[dict[str, Any]], rules: Rules) -> tuple[list[dict[str, Any]], Problem | None]:
    """The reading of the document: a short id is removed; refused are only events left without any."""
    faulty = _Faulty()
    kept = []
    for index, event in enumerate(events):
        short = [n for n in ("user_id", "device_id") if n in event and len(event[n]) < rules.min_id_length]
        left = {name: value for name, value in event.items() if name not in short}
        if "user_id" not in left and "device_id" not in left:
            for name in short:
                faulty.note(name, index)
        kept.append(left)
    if faulty.fields:
        return [], faulty.problem(SHORT, "events_with_invalid_id_lengths", rules.index_lists)
    return kept, None


def _one_by_one(events: list[dict[str, Any]], rules: Rules) -> list[dict[str, Any]] | Problem:
    plain = _plain_event()
    missing, invalid = _Faulty(), _Faulty()
    checked: list[dict[str, Any]] = []
    for index, event in enumerate(events):
        if plain.is_valid(event):
            checked.append(event)
            continue
        checked.append(_check_one(index, event, missing, invalid, rules))
    if missing.fields:
        return missing.problem(MISSING, "events_with_missing_fields", rules.index_lists)
    if invalid.fields:
        return invalid.problem(INVALID, "events_with_invalid_fields", rules.index_lists)
    return checked


def _check_one(
    index: int, event: Mapping[str, Any], missing: _Faulty, invalid: _Faulty, rules: Rules
) -> dict[str, Any]:
    # A null is read as an absent member; members Amplitude does not know are ignored.
    fields = _fields()
    given = {name: value for name, value in event.items() if value is not None and name in fields}
    if rules.unknown_fields == "refuse":
        for name in event.keys() - fields.keys():
            invalid.note(name, index)
    if given.get("event_type", "") == "":
        missing.note("event_type", index)
    if "user_id" not in given and "device_id" not in given:
        for name in ("user_id", "device_id") if rules.missing_ids == "both" else ("device_id",):
            missing.note(name, index)
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if not _fits(name, value, rules):
            invalid.note(name, index)
        elif name in ("user_id", "device_id"):
            kept[name] = value if isinstance(value, str) else str(int(value))
        elif name == "groups":
            kept[name] = groups(value)
        elif name == "plan":
            kept[name] = plan(value)
        elif name != "group_properties" or event.get("event_type") == "$groupidentify":
            kept[name] = cut(value, MAX_TEXT, MAX_DEPTH)
    return kept


def _fits(name: str, value: Any, rules: Rules) -> bool:
    if not _fields()[name].is_valid(value):
        return False
    if name in ("user_id", "device_id"):
        return isinstance(value, str) or rules.numeric_ids == "text"
    return rules.deep_objects != "refuse" or not isinstance(value, dict | list) or depth(value, MAX_DEPTH) <= MAX_DEPTH
