"""Writing to Braze, and reading its answers: `/users/track`, and cohort import for partners.

Source: Braze docs, POST /users/track; Errors; API limits; Cohort import for partners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import orjson
import requests

from connector import traces
from connector.replies import Reply

VENDOR = "Braze"
MAX_OBJECTS = 75
"""Objects of one request over all arrays: the newer plans share the 75 between them."""
TIMEOUT_S = 10.0
USER_AGENT = "partner-Amplitude-wavetank/1.0"
"""Braze asks partners to name themselves so (Braze docs, Partner API integration; the product's token is inferred)."""
Array = Literal["attributes", "events"]
_MARKS: Mapping[bytes, Array] = {b"A": "attributes", b"E": "events"}


def item(array: Array, given: Mapping[str, Any]) -> bytes:
    """An object as the outbox keeps it: a mark of its array, then its JSON. Raises orjson.JSONEncodeError."""
    mark = next(mark for mark, name in _MARKS.items() if name == array)
    return mark + orjson.dumps(given)


class _Sender:
    """One kept connection, without redirects and without the environment's proxies."""

    pauses_ms: Sequence[int] = (30_000,)

    def __init__(self, url: str, api_key: str) -> None:
        self.vendor = VENDOR
        self.url = url.rstrip("/")
        self.api_key = api_key
        self._session = requests.Session()
        self._session.trust_env = False

    def _post(self, path: str, payload: bytes, headers: Mapping[str, str], count: Mapping[str, int]) -> Reply:
        sent = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **headers, **traces.headers()}
        try:
            answer = self._session.post(
                f"{self.url}{path}", data=payload, headers=sent, timeout=TIMEOUT_S, allow_redirects=False
            )
        except requests.RequestException as error:
            return Reply("failed", f"no answer: {type(error).__name__}")
        reply = read(answer.status_code, answer.headers, answer.content, count)
        return replace(reply, reason=reply.reason.replace(self.api_key, "…"))

    def close(self) -> None:
        self._session.close()


class TrackClient(_Sender):
    """`/users/track`: up to 75 objects in a request."""

    max_items = MAX_OBJECTS

    def upload(self, events: Sequence[bytes]) -> Reply:
        """Send objects made by :func:`item`; the reply's indexes are theirs, whatever array they travel in."""
        arrays: dict[str, list[bytes]] = {}
        places: dict[str, list[int]] = {}
        for index, each in enumerate(events):
            array = _MARKS[each[:1]]
            arrays.setdefault(array, []).append(each[1:])
            places.setdefault(array, []).append(index)
        parts = [b'"' + name.encode() + b'":[' + b",".join(arrays[name]) + b"]" for name in arrays]
        headers = {"Authorization": f"Bearer {self.api_key}"}
        reply = self._post("/users/track", b"{" + b",".join(parts) + b"}", headers, _lengths(places))
        return replace(reply, events=tuple(sorted(_placed(reply.events, places))))


def _lengths(places: Mapping[str, Sequence[int]]) -> dict[str, int]:
    return {name: len(mine) for name, mine in places.items()}


def _placed(indexes: Sequence[int], places: Mapping[str, Sequence[int]]) -> list[int]:
    """Indexes over all arrays, in their order, as indexes of the items."""
    every = [index for mine in places.values() for index in mine]
    return [every[index] for index in indexes if index < len(every)]


class CohortClient(_Sender):
    """Cohort import: every item is a request of its own, ``{"path", "body"}``; the keys are put in here."""

    max_items = 1

    def __init__(self, url: str, data_import_key: str, partner: str, partner_key: str) -> None:
        super().__init__(url, data_import_key)
        self.partner = partner
        self._partner_key = partner_key

    def upload(self, events: Sequence[bytes]) -> Reply:
        request = orjson.loads(events[0])
        keys = {"partner_api_key": self._partner_key, "client_secret": self.api_key}
        reply = self._post(
            f"/partners/{self.partner}/{request['path']}", orjson.dumps({**keys, **request["body"]}), {}, {}
        )
        return replace(reply, reason=reply.reason.replace(self._partner_key, "…"))


def read(status: int, headers: Mapping[str, str], content: bytes, count: Mapping[str, int]) -> Reply:
    """Read an answer to a request that held ``count`` objects by array.

    202 is maintenance: what was sent is queued. An answer that is not Braze's JSON counts as failed.
    """
    try:
        data = orjson.loads(content)
    except orjson.JSONDecodeError:
        data = None
    body = data if isinstance(data, dict) else {}
    reason = str(body.get("message") or f"answer {status}")
    if 200 <= status < 300:
        if data is None:
            return Reply("failed", f"answer {status} without Braze's body")
        named = refused_objects(body, count)
        return Reply("judged", _first_error(body), named) if named else Reply("accepted", "")
    if status == 429:
        return Reply("throttled", reason, until_ms=_reset_ms(headers))
    if status in (401, 403):
        return Reply("refused", reason)
    if status == 413:
        return Reply("too_large", reason)
    if status == 400:
        named = refused_objects(body, count)
        every = sum(count.values())
        return Reply("judged", _first_error(body), named) if named and len(named) == every else Reply("invalid", reason)
    return Reply("failed", reason)


def refused_objects(body: Mapping[str, Any], count: Mapping[str, int]) -> tuple[int, ...]:
    """Which objects the answer refuses, counted over all arrays in the order in which they were sent."""
    before: dict[str, int] = {}
    total = 0
    for array, length in count.items():
        before[array] = total
        total += length
    errors = body.get("errors")
    named = {
        before[each["input_array"]] + each["index"]
        for each in (errors if isinstance(errors, list) else [])
        if isinstance(each, dict) and each.get("input_array") in before and isinstance(each.get("index"), int)
    }
    return tuple(sorted(each for each in named if 0 <= each < total))


def _first_error(body: Mapping[str, Any]) -> str:
    errors = [each for each in body.get("errors", []) if isinstance(each, dict)]
    return str(errors[0].get("type")) if errors else str(body.get("message"))


def _reset_ms(headers: Mapping[str, str]) -> int | None:
    """When the window of a 429 ends: the header names the second, in UTC. None when it does not say so."""
    text = headers.get("X-RateLimit-Reset", "")
    return int(text) * 1000 if text.isascii() and text.isdigit() else None
