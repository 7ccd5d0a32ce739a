"""Amplitude cohorts → Braze's cohort import: who enters and leaves, under which identifier, in which requests.

Source: Braze docs, Amplitude Audiences; Cohort import for partners; Amplitude docs, Sync cohorts with destinations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from connector.amplitude_rest import RestClient
from connector.clock import iso
from connector.syncing import pages, told

MAX_IDS = 1_000
KEYS = {"user_id": "user_ids", "device_id": "device_ids", "user_alias": "aliases"}
REAL_TIME = "real-time"


def shown_name(name: str, cohort_id: str) -> str:
    """How Braze is to show a cohort: the name that the segment filter lists it under."""
    return f"[Amplitude] {name}: {cohort_id}"


def naming(cohort_id: str, name: str, now_ms: int) -> bytes:
    """The request that names a cohort."""
    body = {"cohort_id": cohort_id, "name": shown_name(name, cohort_id), "created_at": iso(now_ms)}
    return orjson.dumps({"path": "cohorts", "body": body})


def change(cohort_id: str, people: Sequence[Mapping[str, Any]], *, remove: bool) -> bytes:
    """The request that adds or removes up to 1,000 people; entries and exits never share one."""
    found: dict[str, Any] = {}
    for each in people:
        ((kind, value),) = each.items()
        found.setdefault(KEYS[kind], []).append(value)
    if remove:
        found["should_remove"] = True
    return orjson.dumps({"path": "cohorts/users", "body": {"cohort_id": cohort_id, "cohort_changes": [found]}})


@dataclass(frozen=True)
class CohortSync:
    """One cohort on its way to Braze. ``identifiers`` in order: the first that a member has is the one it goes by.

    ``amplitude_property`` supplies user IDs and aliases; ``number`` counts the syncs of the same cohort; ``renames``:
    whether a new name is told to Braze, which asks for it while Amplitude's page says nothing.
    """

    cohort_id: str
    cadence: str
    identifiers: tuple[str, ...] = ("user_id",)
    user_alias_label: str = ""
    amplitude_property: str = "user_id"
    number: int = 1
    removes: bool = True
    renames: bool = True

    @property
    def steady(self) -> bool:
        """Devices are not in the file: they may change while the line stays."""
        return "device_id" not in self.identifiers

    @property
    def id(self) -> str:
        """Stays when the mapping changes: who has been delivered keeps the identifier it went by."""
        return f"cohort:{self.cohort_id}" if self.number == 1 else f"cohort:{self.cohort_id}:{self.number}"

    @property
    def props(self) -> Sequence[str]:
        return () if self.amplitude_property == "user_id" else (self.amplitude_property,)

    def value(self, row: Mapping[str, str], held: str | None, client: RestClient) -> str | None:
        """The identifier of a member, None when it has none of those wanted.

        Whoever is in already keeps the one it went by: another mapping is for those who enter later.
        """
        if held is not None:
            return held
        for kind in self.identifiers:
            own = row.get(self.amplitude_property) or None
            if kind == "user_id" and own:
                return told({"user_id": own})
            if kind == "user_alias" and own:
                return told({"user_alias": {"alias_name": own, "alias_label": self.user_alias_label}})
            devices = client.device_ids(row["amplitude_id"]) if kind == "device_id" else []
            if devices:
                return told({"device_id": devices[0]})
        return None

    def opening(self, name: str | None, known: str | None, now_ms: int) -> list[bytes]:
        """Name the cohort at first, and again under another name."""
        due = known is None or (self.renames and name != known)
        return [naming(self.cohort_id, name or self.cohort_id, now_ms)] if due else []

    def items(self, added: Iterator[str], removed: Iterator[str]) -> Iterator[bytes]:
        """Requests of up to 1,000 people, entries first; those under an earlier mapping get no more updates."""
        for people, remove in ((added, False), (removed, True)):
            for page in pages(filter(self._is_mapped, map(orjson.loads, people)), MAX_IDS):
                yield change(self.cohort_id, page, remove=remove)

    def _is_mapped(self, person: Mapping[str, Any]) -> bool:
        """Whether a person goes by an identifier of the mapping as it is now."""
        ((kind, value),) = person.items()
        return kind in self.identifiers and (kind != "user_alias" or value["alias_label"] == self.user_alias_label)
