"""Amplitude user properties and computations → custom attributes in Braze of the same name.

For users active in the last 90 days, by user ID; users that Braze has not got are made. Only values that have changed
are sent. Source: Braze docs, Amplitude Audiences, Sync user traits and computations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from connector import braze
from connector.amplitude_rest import RestClient
from connector.flows.event_stream import Identification, person
from connector.syncing import told


@dataclass(frozen=True)
class PropertySync:
    """One property or computation on its way to Braze; ``cohort_id`` is the cohort of active users.

    ``mapping`` is by user ID; a newer edition of Braze's page names the other kinds of identifiers too. ``typed``:
    numbers and truth values keep their type on the way; whether they do in Amplitude's own syncs is not documented.
    """

    kind: str
    name: str
    cadence: str
    cohort_id: str
    mapping: Identification = field(default_factory=Identification)
    typed: bool = True
    removes: bool = False
    steady: bool = True

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def props(self) -> Sequence[str]:
        own = self.mapping.amplitude_property
        return (self.name,) if own == "user_id" else tuple(dict.fromkeys((self.name, own)))

    def value(self, row: Mapping[str, str], held: str | None, client: RestClient) -> str | None:
        """What Braze is told of a user: ``[identifier, value]``; None for who has no identifier or no value."""
        text = row.get(self.name) or ""
        who = row.get(self.mapping.amplitude_property) or ""
        return told([who, typed(text) if self.typed else text]) if who and text else None

    def opening(self, name: str | None, known: str | None, now_ms: int) -> list[bytes]:
        return []

    def items(self, added: Iterator[str], removed: Iterator[str]) -> Iterator[bytes]:
        """An attributes object for each user."""
        for each in added:
            who, value = orjson.loads(each)
            given = {**person(self.mapping, who), "_update_existing_only": False, self.name: value}
            yield braze.item("attributes", given)


def typed(text: str) -> Any:
    """A cell of the download as the value it stands for: numbers, truth values and lists come as JSON, texts bare."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, int | float | bool | list) else text
