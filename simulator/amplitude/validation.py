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
MAX_TEXT = 1024
MAX_DEPTH = 40
MAX_GROUP_TYPES = 5
MAX_GROUP_VALUES = 10
_NESTED = ("event_properties", "user_properties", "group_properties")

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
    ids: set[str] = {event["user_id"] for event in checked if "user_id" in event}
    ids.update(event["device_id"] for event in checked if "device_id" in event)
    bad = {each for each in ids if each.lower() in INVALID_IDS or (len(each) > MAX_TEXT and rules.long_ids == "refuse")}
    if bad:
        return [], _where(checked, bad).problem(INVALID, "events_with_invalid_fields", rules.index_lists)
    short = {each for each in ids if len(each) < rules.min_id_length}
    if short:
        if rules.short_ids == "refuse":
            faulty = _where(checked, short)
            return [], faulty.problem(SHORT, "events_with_invalid_id_lengths", rules.index_lists)
        return _remove(checked, short, rules)
    if any(len(each) > MAX_TEXT for each in ids):
        checked = [_cut_ids(event) for event in checked]
    return checked, None


def _where(events: list[dict[str, Any]], values: set[Any]) -> _Faulty:
    faulty = _Faulty()
    for index, event in enumerate(events):
        for name in ("user_id", "device_id"):
            if event.get(name) in values:
                faulty.note(name, index)
    return faulty


def _remove(events: list[dict[str, Any]], short: set[Any], rules: Rules) -> tuple[list[dict[str, Any]], Problem | None]:
    faulty = _Faulty()
    kept = []
    for index, event in enumerate(events):
        left = {k: v for k, v in event.items() if not (k in ("user_id", "device_id") and v in short)}
        if "user_id" not in left and "device_id" not in left:
            for name in ("user_id", "device_id"):
                if name in event:
                    faulty.note(name, index)
        kept.append(left)
    if faulty.fields:
        return [], faulty.problem(SHORT, "events_with_invalid_id_lengths", rules.index_lists)
    return kept, None


def _cut_ids(event: dict[str, Any]) -> dict[str, Any]:
    return {k: v[:MAX_TEXT] if k in ("user_id", "device_id") else v for k, v in event.items()}


def _one_by_one(events: list[dict[str, Any]], rules: Rules) -> list[dict[str, Any]] | Problem:
    plain = _plain_event()
    missing, invalid = _Faulty(), _Faulty()
    checked: list[dict[str, Any]] = []
    for index, event in enumerate(events):
        if plain.is_valid(event):
            checked.append(event)
            continue
        checked.append(_check_one(index, event, missing, invalid))
    if missing.fields:
        return missing.problem(MISSING, "events_with_missing_fields", rules.index_lists)
    if invalid.fields:
        return invalid.problem(INVALID, "events_with_invalid_fields", rules.index_lists)
    return checked


def _check_one(index: int, event: Mapping[str, Any], missing: _Faulty, invalid: _Faulty) -> dict[str, Any]:
    # A null is read as an absent member; members Amplitude does not know are ignored.
    given = {name: value for name, value in event.items() if value is not None and name in _fields()}
    if given.get("event_type", "") == "":
        missing.note("event_type", index)
    if "user_id" not in given and "device_id" not in given:
        missing.note("user_id", index)
        missing.note("device_id", index)
    kept: dict[str, Any] = {}
    for name, value in given.items():
        if not _fields()[name].is_valid(value) or (name in _NESTED and _depth(value) > MAX_DEPTH):
            invalid.note(name, index)
        elif name in ("user_id", "device_id"):
            kept[name] = str(value)
        elif name == "groups":
            kept[name] = _groups(value)
        else:
            kept[name] = truncated(value)
    return kept


def _groups(groups: Mapping[str, Any]) -> dict[str, Any]:
    """At most 5 group types and 10 values in all; the surplus is dropped without a word."""
    kept: dict[str, Any] = {}
    left = MAX_GROUP_VALUES
    for kind, value in list(groups.items())[:MAX_GROUP_TYPES]:
        if left <= 0:
            break
        if isinstance(value, list):
            kept[kind] = value[:left]
            left -= len(kept[kind])
        else:
            kept[kind] = value
            left -= 1
    return kept


def _depth(value: Any) -> int:
    """Levels of objects and lists, counted without recursion."""
    depth = 0
    level = [value]
    while level:
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return depth
        depth += 1
        if depth > MAX_DEPTH + 1:
            return depth
        level = [inner for each in nested for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


def truncated(value: Any) -> Any:
    """Every string in ``value`` cut to 1,024 characters; the depth has been checked."""
    if isinstance(value, str):
        return value[:MAX_TEXT] if len(value) > MAX_TEXT else value
    if isinstance(value, list):
        return [truncated(each) for each in value]
    if isinstance(value, dict):
        return {name: truncated(each) for name, each in value.items()}
    return value
