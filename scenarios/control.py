"""A thin client of the control API, and what it reads back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import orjson
import requests


class ControlError(RuntimeError):
    """The control API refused a request of the runner."""


class Control:
    """One tank over the control API."""

    def __init__(self, base: str, tank_id: str) -> None:
        self.base = f"{base}/tanks/{tank_id}"
        self._session = requests.Session()
        self._session.trust_env = False

    def call(self, method: str, path: str, body: object = None, **query: Any) -> Any:
        """One request; answers the decoded body. Raises ControlError."""
        answer = self._session.request(
            method,
            f"{self.base}{path}",
            data=None if body is None else orjson.dumps(body),
            params={name: value for name, value in query.items() if value is not None},
            timeout=600,
        )
        if answer.status_code >= 400:
            raise ControlError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return orjson.loads(answer.content) if answer.content else None

    def pages(self, path: str, member: str, **query: Any) -> list[Any]:
        """Every entry of a paged list."""
        found: list[Any] = []
        after: int | None = None
        while True:
            page = self.call("GET", path, after=after, limit=20000, **query)
            found += page[member]
            after = page["next"]
            if after is None:
                return found


class View:
    """What can be read back of a tank at one moment; each part is fetched once, when it is asked for."""

    def __init__(
        self, control: Control, start_ms: int, answers: list[dict[str, Any]], health: dict[str, Any] | None
    ) -> None:
        self._control = control
        self.start_ms = start_ms
        self.answers = answers
        self.health = health

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        return self._control.pages("/amplitude/events", "events")

    @cached_property
    def _ledger(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        first = self._control.call("GET", "/ledger", limit=20000)
        entries = list(first["entries"])
        while first["next"] is not None:
            first = self._control.call("GET", "/ledger", limit=20000, after=first["next"])
            entries += first["entries"]
        return first["totals"], entries

    @property
    def totals(self) -> dict[str, Any]:
        return self._ledger[0]

    @property
    def entries(self) -> list[dict[str, Any]]:
        return self._ledger[1]

    @cached_property
    def journal(self) -> list[dict[str, Any]]:
        return self._control.pages("/journal", "entries")

    @cached_property
    def users(self) -> list[dict[str, Any]]:
        return self._control.pages("/amplitude/users", "users")

    @cached_property
    def reports(self) -> dict[str, int]:
        """How many of Customer.io's reports have which end."""
        found: dict[str, int] = self._control.call("GET", "/customerio/reports", limit=1)["totals"]
        return found

    @cached_property
    def braze_users(self) -> list[dict[str, Any]]:
        """Profiles, each with ``event_counts``: how often each custom event was done."""
        found: list[dict[str, Any]] = self._control.call("GET", "/braze/users", limit=100000)["users"]
        return [
            {**each, "event_counts": {event["name"]: event["count"] for event in each["custom_events"]}}
            for each in found
        ]

    @cached_property
    def braze_cohorts(self) -> dict[str, dict[str, Any]]:
        """Imported cohorts by id, each with the external ids of its ``members``."""
        found = {}
        for each in self._control.call("GET", "/braze/cohorts")["cohorts"]:
            path = f"/braze/cohorts/{each['partner']}/{each['cohort_id']}"
            members = self._control.call("GET", path, limit=100000)["members"]
            found[each["cohort_id"]] = {**each, "members": [member["external_id"] for member in members]}
        return found

    @cached_property
    def messages(self) -> list[dict[str, Any]]:
        """Messages of Braze, in order."""
        found: list[dict[str, Any]] = self._control.call("GET", "/braze/messages", limit=1000)["messages"]
        return found

    @cached_property
    def data_points(self) -> dict[str, Any]:
        found: dict[str, Any] = self._control.call("GET", "/braze/data-points")
        return found

    @cached_property
    def merges(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._control.call("GET", "/amplitude/merges")["merges"]
        return found

    @cached_property
    def feed(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._control.call("GET", "/feeds/currents")
        return found
