"""Amplitude events and users → objects of Braze's `/users/track`, on plain dictionaries.

Source: Amplitude docs, Braze (Event Stream); Braze docs, Amplitude Audiences; event, user attributes and user alias
objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NO_IDENTIFIER = "discarded: the mapped property has no value"
NOT_SELECTED = "event type is not selected"
FILTERED = "the event does not meet the conditions"
SENDS_NO_EVENTS = "Send Events is off"
NEVER_STREAMED = frozenset(("$identify", "$groupidentify", "_all", "_identify"))
MAX_NAME = 255
RESERVED = frozenset(("time", "event_name"))
IDS = ("user_id", "device_id", "amplitude_id")
CONTROL = frozenset(
    ("external_id", "braze_id", "user_alias", "push_token_import", "_update_existing_only", "_merge_objects")
)
"""Members of Braze's attributes object that are no attributes (Braze docs, User attributes object)."""


@dataclass(frozen=True)
class Selected:
    """An event type to send, with the conditions that its properties have to meet."""

    event_type: str
    where: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Identification:
    """How people are told to Braze: the value of one Amplitude property in one of Braze's fields."""

    amplitude_property: str = "user_id"
    braze_user_id_type: str = "external_id"
    user_alias_label: str = ""


@dataclass(frozen=True)
class Stream:
    """The set-up form of the destination. ``events`` None is all of them."""

    app_id: str = ""
    update_users_only: bool = False
    mapping: Identification = field(default_factory=Identification)
    send_events: bool = True
    events: tuple[Selected, ...] | None = None
    event_properties: tuple[str, ...] = ()
    event_user_properties: tuple[str, ...] = ()
    send_users: bool = False
    user_properties: tuple[str, ...] = ()
    changed_only: bool = False
    """Whether an update carries what has changed, or every chosen property: not documented."""


class Discarded(ValueError):
    """What cannot be sent: the message says why."""


def identifier(stream: Stream, body: Mapping[str, Any]) -> str | None:
    """The value of the mapped Amplitude property on an event or user, None when it has none."""
    name = stream.mapping.amplitude_property
    value = body.get(name) if name in IDS else plain(body.get("user_properties")).get(name)
    usable = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    return str(value) if usable else None


def plain(properties: Any) -> Mapping[str, Any]:
    """User properties as values: of operations, what ``$set`` and ``$setOnce`` say."""
    if not isinstance(properties, Mapping):
        return {}
    if any(name in properties for name in OPERATIONS):
        return {**_section(properties, "$setOnce"), **_section(properties, "$set")}
    return properties


def _section(properties: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = properties.get(name)
    return found if isinstance(found, Mapping) else {}


def person(mapping: Identification, value: str) -> dict[str, Any]:
    """The identifier as Braze's field for it."""
    kind = mapping.braze_user_id_type
    if kind == "user_alias":
        return {"user_alias": {"alias_name": value, "alias_label": mapping.user_alias_label}}
    return {kind: value}


def creates(stream: Stream) -> dict[str, bool]:
    """Whether Braze may make a profile; said outright, as alias-only profiles are not made without."""
    return {"_update_existing_only": stream.update_users_only}


# -- events


def event(stream: Stream, body: Mapping[str, Any]) -> dict[str, Any]:
    """Braze's event object of an event in export form. Raises Discarded."""
    if not stream.send_events:
        raise Discarded(SENDS_NO_EVENTS)
    name = body.get("event_type")
    if not isinstance(name, str) or name in NEVER_STREAMED:
        raise Discarded(NOT_SELECTED)
    check_selected(stream, name, body)
    value = identifier(stream, body)
    if value is None:
        raise Discarded(NO_IDENTIFIER)
    made: dict[str, Any] = {**person(stream.mapping, value), "name": name, "time": instant(body)}
    if stream.app_id:
        made["app_id"] = stream.app_id
    chosen = properties(stream, body)
    if chosen:
        made["properties"] = chosen
    return {**made, **creates(stream)}


def check_selected(stream: Stream, name: str, body: Mapping[str, Any]) -> None:
    """Raise Discarded unless the event is ticked and meets the conditions of its tick."""
    if stream.events is None:
        return
    ticks = [each for each in stream.events if each.event_type == name]
    if not ticks:
        raise Discarded(NOT_SELECTED)
    if not any(all(meets(condition, body) for condition in each.where) for each in ticks):
        raise Discarded(FILTERED)


def meets(condition: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether an event meets ``{"property", "op", "values"}``; event properties come before the user's."""
    name, op = condition["property"], condition["op"]
    values = [_text(each) for each in condition.get("values", [])]
    own, users = body.get("event_properties"), body.get("user_properties")
    found: Any = None
    for holder in (own, users, {each: body.get(each) for each in IDS}):
        if isinstance(holder, Mapping) and holder.get(name) is not None:
            found = holder[name]
            break
    text = None if found is None else _text(found)
    if op in ("is", "is not"):
        return bool((text in values) == (op == "is"))
    if op in ("contains", "does not contain"):
        inside = text is not None and any(each in text for each in values)
        return bool(inside == (op == "contains"))
    if op in ("is set", "is not set"):
        return bool((text is not None) == (op == "is set"))
    return _compared(text, op, values)


def _compared(text: str | None, op: str, values: Sequence[str]) -> bool:
    try:
        left, right = float(text or ""), float(values[0])
    except (ValueError, IndexError):
        return False
    return {
        "less": left < right,
        "less or equal": left <= right,
        "greater": left > right,
        "greater or equal": left >= right,
    }.get(op, False)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def properties(stream: Stream, body: Mapping[str, Any]) -> dict[str, Any]:
    """The chosen properties, flat and typed; the event's win over the user's. Lists and objects stay here."""
    made: dict[str, Any] = {}
    for names, holder in (
        (stream.event_user_properties, body.get("user_properties")),
        (stream.event_properties, body.get("event_properties")),
    ):
        given = holder if isinstance(holder, Mapping) else {}
        made.update({name: given[name] for name in names if sendable(name, given.get(name))})
    return made


def sendable(name: str, value: Any) -> bool:
    """Whether Braze would take this property of an event."""
    if name in RESERVED or name.startswith("$") or not 0 < len(name) <= MAX_NAME:
        return False
    return isinstance(value, str | int | float)


def instant(body: Mapping[str, Any]) -> str:
    """Amplitude's ``2026-01-01 00:00:00.250000`` (UTC) as ``2026-01-01T00:00:00.250Z``. Raises Discarded."""
    text = body.get("event_time")
    if not isinstance(text, str) or len(text) < 19:
        raise Discarded("the event has no event_time")
    day, _, clock = text.replace("T", " ").partition(" ")
    seconds, _, fraction = clock.rstrip("Z").partition(".")
    return f"{day}T{seconds}.{fraction[:3]:0<3}Z" if fraction else f"{day}T{seconds}Z"


# -- users

OPERATIONS = ("$clearAll", "$unset", "$set", "$setOnce", "$add", "$append", "$prepend", "$preInsert", "$postInsert",
              "$remove")  # fmt: skip


def changes(stream: Stream, held: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Which of the chosen properties the user's update changes, with their new values; None is unset.

    ``held`` are the values remembered from earlier updates: a property that was never seen is a change.
    """
    if not stream.send_users or not isinstance(given, Mapping):
        return {}
    chosen = set(stream.user_properties)
    new: dict[str, Any] = {}
    if not any(name in given for name in OPERATIONS):
        new = {name: given[name] for name in chosen if name in given}
    else:
        if "$clearAll" in given:
            new.update(dict.fromkeys(name for name in held if name in chosen))
        new.update({name: None for name in _section(given, "$unset") if name in chosen})
        for name, value in _section(given, "$add").items():
            base = held.get(name, 0)
            if name in chosen and _is_number(base) and _is_number(value):
                new[name] = base + value
        once = _section(given, "$setOnce")
        new.update({name: once[name] for name in once if name in chosen and held.get(name) is None})
        new.update({name: value for name, value in _section(given, "$set").items() if name in chosen})
    return {
        name: value
        for name, value in new.items()
        if (value is None and held.get(name) is not None)
        or (isinstance(value, str | int | float) and not same(held.get(name), value))
    }


def same(held: Any, value: Any) -> bool:
    """Whether a value is the one that is held; 1 and true are not."""
    return type(held) is type(value) and held == value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def attributes(stream: Stream, value: str, held: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Braze's attributes object: every chosen property that has a value, and null for those just unset.

    With ``changed_only`` nothing but what changes.
    """
    given = changed if stream.changed_only else {**held, **changed}
    known = {name: each for name, each in given.items() if name in stream.user_properties}
    shown = {name: each for name, each in known.items() if each is not None or name in changed}
    return {**person(stream.mapping, value), **creates(stream), **shown}
