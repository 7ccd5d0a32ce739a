"""What a scenario is judged by: everything read back from the tank once, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scenarios.matching import instant_ms
from scenarios.packs import kind

NEEDS: dict[str, tuple[str, ...]] = {
    "amplitude_events": ("events",),
    "ledger": ("ledger",),
    "requests": ("journal",),
    "arrival": ("events", "ledger"),
    "answers": (),
    "feed": ("feed",),
    "users": ("users",),
    "merges": ("merges",),
    "rate": ("events",),
    "pause": ("journal",),
    "healthy": ("health",),
}
"""Which parts of the tank each kind of expectation looks at."""


def needed(expectations: Iterable[Mapping[str, Any]]) -> set[str]:
    """The parts that these expectations look at."""
    return {part for each in expectations for part in NEEDS[kind(each)]}


@dataclass(frozen=True)
class Answer:
    """A remembered answer; ``status`` None means that none came. ``name`` is the step's ``as``."""

    status: int | None
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None


@dataclass(frozen=True)
class Emission:
    """An event that the scenario emitted, as far as it said who it is about."""

    event_id: str
    device_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True)
class Reading:
    """The tank as read back. Parts that no expectation needs stay empty."""

    start_ms: int
    now_ms: int
    events: Sequence[Mapping[str, Any]] = ()
    ledger: Mapping[str, Any] = field(default_factory=dict)
    journal: Sequence[Mapping[str, Any]] = ()
    feed: Mapping[str, Any] = field(default_factory=dict)
    users: Sequence[Mapping[str, Any]] = ()
    merges: Sequence[Mapping[str, Any]] = ()
    answers: Sequence[Answer] = ()
    emissions: Sequence[Emission] = ()
    health: int | None = None

    @cached_property
    def exchanges(self) -> list[Exchange]:
        """The journal's requests with their bodies parsed, in order."""
        return [Exchange(entry) for entry in self.journal]

    @cached_property
    def emitted_ms(self) -> dict[str, int]:
        """When each event was emitted, by id."""
        return {
            entry["event_id"]: instant_ms(entry["emitted"], self.start_ms)
            for entry in self.ledger.get("entries", ())
        }


class Exchange:
    """A request of the journal; ``body`` is None when it is not JSON, ``events`` what it carries."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entry = entry
        self.ms: int = entry["tank_ms"]
        self.status: int | None = entry["status"]

    @cached_property
    def body(self) -> Any:
        return _parsed(self.entry["request_body"])

    @cached_property
    def answer(self) -> Any:
        return _parsed(self.entry["response_body"])

    @cached_property
    def events(self) -> list[Mapping[str, Any]]:
        events = self.body.get("events") if isinstance(self.body, Mapping) else None
        return [each for each in events if isinstance(each, Mapping)] if isinstance(events, list) else []

    @cached_property
    def bytes(self) -> int:
        """Length of the body as it was sent."""
        declared = self.header("content-length")
        if declared is not None and declared.isdigit():
            return int(declared)
        return len(self.entry["request_body"].encode())

    def header(self, name: str) -> str | None:
        """The value of a request header, in any case of letters."""
        for key, value in self.entry["request_headers"].items():
            if key.lower() == name.lower():
                return str(value)
        return None

    def __str__(self) -> str:
        entry = self.entry
        count = f", {len(self.events)} events" if self.events else ""
        fault = f", fault {entry['fault']}" if entry.get("fault") else ""
        status = "no answer" if self.status is None else str(self.status)
        return (
            f"{entry['id']} {entry['tank_time']} {entry['method']} {entry['path']} → {status}{count}{fault}"
        )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def event_ids(exchange: Exchange) -> list[str]:
    """Ids of the events a request carries: ``insert_id`` towards Amplitude, ``id`` in a feed."""
    return [str(each.get("insert_id", each.get("id"))) for each in exchange.events]


def event_device(event: Mapping[str, Any]) -> str | None:
    """The device an event names, towards Amplitude or in a feed."""
    user = event.get("user")
    found = event.get("device_id", user.get("device_id") if isinstance(user, Mapping) else None)
    return None if found is None else str(found)
