"""Uploading to Amplitude, and reading its answers.

Source: Amplitude docs, HTTP V2 API, Responses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import requests

PATH = "/2/httpapi"
TIMEOUT_S = 10.0
_NAMED = (
    "events_with_missing_fields",
    "events_with_invalid_fields",
    "events_with_invalid_id_lengths",
)

Kind = Literal["accepted", "throttled", "invalid", "too_large", "refused", "failed"]


@dataclass(frozen=True)
class Reply:
    """What came of an upload.

    ``refused`` is about the key or the address, ``failed`` may have been applied or not. ``events`` are the named
    indexes, ``quota`` those over a daily quota, ``eps`` the threshold Amplitude told.
    """

    kind: Kind
    reason: str
    events: tuple[int, ...] = ()
    quota: frozenset[str] = frozenset()
    eps: int = 0


def body(api_key: str, events: Sequence[bytes]) -> bytes:
    """The request body; no ``options``: Amplitude's own minimum id length holds."""
    return b'{"api_key":' + orjson.dumps(api_key) + b',"events":[' + b",".join(events) + b"]}"


class Client:
    """Uploads over one kept connection."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.api_key = api_key
        self._session = requests.Session()
        self._session.trust_env = False

    def upload(self, events: Sequence[bytes]) -> Reply:
        """Upload Amplitude events (JSON each); never raises for what the network does."""
        payload = body(self.api_key, events)
        try:
            answer = self._session.post(
                f"{self.url}{PATH}",
                data=payload,
                headers={"Content-Type": "application/json"},
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return Reply("failed", f"no answer: {type(error).__name__}")
        return read(answer.status_code, answer.content)


def read(status: int, content: bytes) -> Reply:
    """Read an answer. One that is not Amplitude's JSON says nothing about the events: it counts as failed."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict) or "code" not in data:
        kind: Kind = "too_large" if status == 413 else "failed"
        return Reply(kind, f"answer {status} without Amplitude's body")
    reason = str(data.get("error", ""))
    if status == 200:
        return Reply("accepted", "")
    if status == 429:
        return throttled(data)
    if status == 413:
        return Reply("too_large", reason)
    if status == 400 and not reason.startswith("Invalid API key"):
        return Reply("invalid", _explained(data), _indexes(data))
    if 400 <= status < 500 and status != 408:
        return Reply("refused", reason or f"answer {status}")
    return Reply("failed", f"answer {status}")


def throttled(data: Mapping[str, Any]) -> Reply:
    """A 429: the named events wait, those over the daily quota longer."""
    quota = {*_keys(data, "exceeded_daily_quota_devices"), *_keys(data, "exceeded_daily_quota_users")}
    named = tuple(i for i in data.get("throttled_events") or () if isinstance(i, int))
    eps = data.get("eps_threshold")
    return Reply("throttled", str(data.get("error", "")), named, frozenset(quota), eps if isinstance(eps, int) else 0)


def _keys(data: Mapping[str, Any], member: str) -> list[str]:
    found = data.get(member)
    return list(found) if isinstance(found, dict) else []


def _indexes(data: Mapping[str, Any]) -> tuple[int, ...]:
    found: set[int] = set()
    for member in _NAMED:
        for indexes in (data.get(member) or {}).values():
            found.update(i for i in indexes if isinstance(i, int))
    found.update(i for i in data.get("silenced_events") or () if isinstance(i, int))
    return tuple(sorted(found))


def _explained(data: Mapping[str, Any]) -> str:
    fields = sorted({name for member in _NAMED for name in data.get(member) or {}})
    missing = data.get("missing_field")
    names = ", ".join([*fields, *([str(missing)] if missing else [])])
    return f"{data.get('error', '')}: {names}" if names else str(data.get("error", ""))
