"""The catalogue of Currents events, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml


@dataclass(frozen=True)
class EventType:
    """One kind of event: its type on the wire, documented name, and wire property names with their types."""

    type: str
    name: str
    category: str
    properties: Mapping[str, str]


@cache
def event_types() -> Mapping[str, EventType]:
    """All event types by type on the wire. Source: Braze docs, Amplitude for Currents."""
    loaded = yaml.safe_load(Path(__file__).with_name("currents_catalogue.yaml").read_text("utf-8"))
    found = {}
    for each in loaded["events"]:
        renamed: Mapping[str, str] = next(
            (names for family, names in loaded["wire"].items() if f".{family}." in each["type"]), {}
        )
        properties = {renamed.get(name, name): loaded["types"][name] for name in each["properties"]}
        found[each["type"]] = EventType(each["type"], each["name"], each["category"], properties)
    return found


def selected_types(names: object) -> set[str] | None:
    """Wire types of a selection: None for ``"all"``, else types or documented names in a list.

    Raises ValueError naming the first that no document knows.
    """
    if names == "all" or names is None:
        return None
    assert isinstance(names, list)
    by_name = {each.name: each.type for each in event_types().values()}
    found = set()
    for name in names:
        if name in event_types():
            found.add(name)
        elif name in by_name:
            found.add(by_name[name])
        else:
            raise ValueError(f"event {name!r} is not exported by Currents: use a type such as users.messages.email.Send")
    return found
