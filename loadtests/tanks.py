"""The tank of a run, over the control API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import requests


class Unusable(RuntimeError):
    """The run cannot be carried out as asked: one line, what and how to mend it."""


class Tank:
    """A tank made for a run, and what it holds. Raises Unusable when the control API refuses."""

    def __init__(self, control_url: str, ready: Mapping[str, Any] | None = None, token: str = "") -> None:
        self._url = control_url
        self._session = requests.Session()
        self._session.trust_env = False
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self.ready: Mapping[str, Any] = ready or {}

    def call(self, method: str, path: str, body: object = None, **query: object) -> Any:
        """One call of the control API; answers the decoded body."""
        params = {name: str(value) for name, value in query.items() if value is not None}
        try:
            answer = self._session.request(method, f"{self._url}{path}", json=body, params=params, timeout=600)
        except requests.RequestException as error:
            raise Unusable(f"the control API at {self._url} does not answer ({type(error).__name__})") from None
        found = answer.json() if answer.content else None
        if answer.status_code >= 400:
            told = (found or {}).get("error", {})
            raise Unusable(f"{method} {path}: {told.get('what', answer.status_code)}: {told.get('mend', '')}")
        return found

    def make(self, spec: Mapping[str, Any]) -> None:
        """Make the tank; :attr:`ready` is then its ready object."""
        self.ready = self.call("POST", "/tanks", dict(spec))

    @property
    def path(self) -> str:
        return f"/tanks/{self.ready['tank']['id']}"

    def now(self) -> dict[str, Any]:
        """What the tank's clock says: ``{now, epoch_ms, mode}``."""
        found: dict[str, Any] = self.call("GET", f"{self.path}/clock/now")
        return found

    def arrivals(self, after: int) -> Iterator[dict[str, Any]]:
        """Events stored by Amplitude since row ``after``, each once: ``{n, insert_id, device_id, time, received}``."""
        while True:
            found = self.call("GET", f"{self.path}/amplitude/arrivals", after=after, limit=50_000)
            yield from found["arrivals"]
            if found["next"] is None:
                return
            after = found["next"]

    def journal(self, after: int, platform: str) -> Iterator[dict[str, Any]]:
        """Requests that a platform received since entry ``after``."""
        while True:
            found = self.call("GET", f"{self.path}/journal", after=after, platform=platform, direction="in", limit=200)
            yield from found["entries"]
            if found["next"] is None:
                return
            after = found["next"]
