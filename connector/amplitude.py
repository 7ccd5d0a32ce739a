"""Uploading to Amplitude, and reading its answers.

Source: Amplitude docs, HTTP V2 API, Responses; Batch Event Upload API, Responses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
import requests

from connector import traces
from connector.replies import Kind, Reply

PATH = "/2/httpapi"
BATCH_PATH = "/batch"
TIMEOUT_S = 10.0
_NAMED = (
    "events_with_missing_fields",
    "events_with_invalid_fields",
    "events_with_invalid_id_lengths",
)

VENDOR = "Amplitude"
MAX_EVENTS = 100
"""Most events of an upload: what one Currents batch holds; Amplitude would take up to 2,000."""


def body(api_key: str, events: Sequence[bytes]) -> bytes:
    """The request body; no ``options``: Amplitude's own minimum id length holds."""
    return b'{"api_key":' + orjson.dumps(api_key) + b',"events":[' + b",".join(events) + b"]}"


def with_min_id_length(payload: bytes, length: int) -> bytes:
    """The request body with the least number of characters that an id may have; 0 leaves Amplitude's own."""
    return payload[:-1] + b',"options":{"min_id_length":%d}}' % length if length else payload


class Client:
    """Uploads over one kept connection, without redirects and without the environment's proxies."""

    path = PATH
    pauses_ms: Sequence[int] = (30_000,)
    """As often as it takes (Amplitude docs, HTTP V2 API, 429)."""

    def __init__(self, url: str, api_key: str) -> None:
        self.vendor = VENDOR
        self.url = url
        self.api_key = api_key
        self.max_items = MAX_EVENTS
        self._session = requests.Session()
        self._session.trust_env = False

    def upload(self, events: Sequence[bytes]) -> Reply:
        """Upload Amplitude events (JSON each); never raises for what the network does."""
        payload = self.payload(events)
        try:
            answer = self._session.post(
                f"{self.url}{self.path}",
                data=payload,
                headers={"Content-Type": "application/json", **traces.headers()},
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return Reply("failed", f"no answer: {type(error).__name__}")
        reply = read(answer.status_code, answer.content)
        return replace(reply, reason=reply.reason.replace(self.api_key, "…"))

    def payload(self, events: Sequence[bytes]) -> bytes:
        """The body of an upload."""
        return body(self.api_key, events)

    def close(self) -> None:
        self._session.close()


class BatchClient(Client):
    """The Batch API: its answers are read like those of HTTP V2."""

    path = BATCH_PATH
    pauses_ms: Sequence[int] = (15_000, 30_000, 60_000, 120_000, 240_000, 300_000)
    """15 s first (Amplitude docs, Batch Event Upload API, 429); that it backs off from there is inferred."""

    def __init__(self, url: str, api_key: str, min_id_length: int = 0) -> None:
        super().__init__(url, api_key)
        self.min_id_length = min_id_length

    def payload(self, events: Sequence[bytes]) -> bytes:
        return with_min_id_length(super().payload(events), self.min_id_length)


def read(status: int, content: bytes) -> Reply:
    """Read an answer. One that is not Amplitude's JSON says nothing about the events: it counts as failed."""
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict) or "code" not in data:
        kind: Kind = "too_large" if status == 413 else "failed"
        return Reply(kind, f"answer {status} without Amplitude's body")
    reason = str(data.get("error", "")) or f"answer {status}"
    if status == 200:
        return Reply("accepted", "") if data["code"] == 200 else Reply("failed", f"answer 200 with {reason}")
    if status == 429:
        return throttled(data)
    if status == 413:
        return Reply("too_large", reason)
    if is_key_refusal(status, data):
        return Reply("refused", reason)
    if status == 400:
        return Reply("invalid", _explained(data), _indexes(data), waiting=_list(data, "throttled_events"))
    return Reply("failed", reason)


def is_key_refusal(status: int, data: Mapping[str, Any]) -> bool:
    """Whether Amplitude does not know the key: wrong, expired, or of a project in the other region.

    A 403 is about the address it comes from and a 404 about the path, so neither loses events.
    """
    if status == 400:
        return str(data.get("error", "")).startswith("Invalid API key") or data.get("missing_field") == "api_key"
    return status == 401


def throttled(data: Mapping[str, Any]) -> Reply:
    """A 429: the named events wait, those over the daily quota longer."""
    quota = {*_keys(data, "exceeded_daily_quota_devices"), *_keys(data, "exceeded_daily_quota_users")}
    eps = data.get("eps_threshold")
    return Reply(
        "throttled",
        str(data.get("error", "")),
        _list(data, "throttled_events"),
        frozenset(quota),
        eps if isinstance(eps, int) else 0,
    )


def _keys(data: Mapping[str, Any], member: str) -> list[str]:
    found = data.get(member)
    return list(found) if isinstance(found, dict) else []


def _list(data: Mapping[str, Any], member: str) -> tuple[int, ...]:
    found = data.get(member)
    return tuple(i for i in found if type(i) is int and i >= 0) if isinstance(found, list) else ()


def _fields(data: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    found = []
    for member in _NAMED:
        named = data.get(member)
        if isinstance(named, dict):
            found += [(field, _list(named, field)) for field in named]
    return found


def _indexes(data: Mapping[str, Any]) -> tuple[int, ...]:
    named = {index for _, indexes in _fields(data) for index in indexes}
    return tuple(sorted(named.union(_list(data, "silenced_events"))))


def _explained(data: Mapping[str, Any]) -> str:
    fields = sorted({field for field, _ in _fields(data)})
    missing = data.get("missing_field")
    names = ", ".join([*fields, *([str(missing)] if missing else [])])
    return f"{data.get('error', '')}: {names}" if names else str(data.get("error", ""))
