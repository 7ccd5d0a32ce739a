"""A thin client of the control API: makes a tank, drives it, reads it back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import requests

TIMEOUT_S = 300.0
_PAGE = 100_000


class ControlError(Exception):
    """The control API refused a request; the text says which, and what it said."""


class Control:
    """One control API. Not shared between threads."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """Send JSON, answer JSON (None for 204). Raises ControlError for anything but 2xx."""
        url = f"{self.url}{path}{'?' + urlencode(query) if query else ''}"
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            answer = self._session.request(method, url, data=data, headers=headers, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            raise ControlError(f"{method} {url}: no answer ({type(error).__name__})") from None
        if not 200 <= answer.status_code < 300:
            raise ControlError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()


class TankHandle:
    """One tank of a control API. ``ready`` is the ready object."""

    def __init__(self, control: Control, ready: dict[str, Any]) -> None:
        self.control = control
        self.ready = ready
        self.id: str = ready["tank"]["id"]

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """A request below ``/tanks/{id}``."""
        return self.control.call(method, f"/tanks/{self.id}{path}", body, query)

    def refresh(self) -> dict[str, Any]:
        """Read the ready object again: credentials may have been replaced."""
        self.ready = self.call("GET", "")
        return self.ready

    def now_ms(self) -> int:
        """Tank time."""
        return int(self.call("GET", "/clock/now")["epoch_ms"])

    def settle(self) -> None:
        """Wait until nothing is going on, without moving time."""
        self.call("POST", "/clock/settle")

    def delete(self) -> None:
        """Remove the tank."""
        self.call("DELETE", "")

    def events(self) -> list[dict[str, Any]]:
        """Every event Amplitude holds."""
        return self._pages("/amplitude/events", "events")

    def users(self) -> list[dict[str, Any]]:
        """Every user Amplitude holds."""
        return self._pages("/amplitude/users", "users")

    def merges(self) -> list[dict[str, Any]]:
        """Every merge of Amplitude ids."""
        found: list[dict[str, Any]] = self.call("GET", "/amplitude/merges")["merges"]
        return found

    def journal(self) -> list[dict[str, Any]]:
        """Every request. Raises ControlError when the journal's bound has dropped some."""
        return self._pages("/journal", "entries")

    def ledger(self) -> dict[str, Any]:
        """Totals and every entry."""
        first: dict[str, Any] = self.call("GET", "/ledger", limit=_PAGE)
        cursor = first.get("next")
        while cursor is not None:
            more = self.call("GET", "/ledger", limit=_PAGE, after=cursor)
            first["entries"].extend(more["entries"])
            cursor = more.get("next")
        return first

    def feed(self) -> dict[str, Any]:
        """State of the Currents feed."""
        state: dict[str, Any] = self.call("GET", "/feeds/currents")
        return state

    def _pages(self, path: str, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: int | None = 0
        while cursor is not None:
            page = self.call("GET", path, limit=_PAGE, after=cursor)
            if page.get("dropped"):
                raise ControlError(f"{path}: {page['dropped']} entries are gone, raise journal.max_entries")
            found.extend(page[name])
            cursor = page.get("next")
        return found
