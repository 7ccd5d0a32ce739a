"""Reading an upload: gzip, JSON, API key, events. Knows nothing of tanks.

Source: Amplitude docs, HTTP V2 API, Request and Responses.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from simulator.amplitude import answers
from simulator.exchange import Answer, Reason, Request

MAX_UNPACKED_BYTES = 64 * 1024 * 1024
"""A gzip body is unpacked no further than this; it is over every limit by then."""


@dataclass(frozen=True)
class Upload:
    """A read upload. ``problem`` is the refusal that its form earns, in the documented order of checks."""

    received_bytes: int
    unpacked_bytes: int
    api_key: str | None
    events: list[Any]
    min_id_length: int
    problem: Answer | None
    upload_ms: int | None = None
    """When the client says that it sent this, by its own clock."""


def read(request: Request) -> Upload:
    """Read a request to ``/2/httpapi`` or ``/batch``; never raises."""
    received = len(request.body)
    body = request.body
    if "gzip" in request.headers.get("Content-Encoding", "").lower():
        unpacked = _gunzip(body)
        if unpacked is None:
            return Upload(received, received, None, [], 5, _invalid_json("the body is not gzip"))
        body = unpacked
    if not body:
        why = Reason("missing-body", "the request has no body", f"{answers.HTTP_V2}, Responses")
        return Upload(received, 0, None, [], 5, answers.refusal(400, "Missing request body", None, why))
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return Upload(received, len(body), None, [], 5, _invalid_json(str(error)))
    if not isinstance(data, dict):
        return Upload(received, len(body), None, [], 5, _invalid_json("the body is not a JSON object"))
    key = data.get("api_key")
    known_key = str(key) if isinstance(key, str | int) and not isinstance(key, bool) and key != "" else None
    events = data.get("events")
    problem: Answer | None = None
    if known_key is None:
        problem = answers.missing_field("api_key")
    elif not isinstance(events, list):
        problem = answers.missing_field("events")
    return Upload(
        received,
        len(body),
        known_key,
        events if isinstance(events, list) else [],
        min_id_length(data.get("options")),
        problem,
        _instant_ms(data.get("client_upload_time")),
    )


def _instant_ms(text: Any) -> int | None:
    """An ISO 8601 instant; what is none is as good as not given: the member is not documented."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _invalid_json(text: str) -> Answer:
    why = Reason("invalid-json", text, f"{answers.HTTP_V2}, Responses")
    return answers.refusal(400, "Invalid JSON request body", None, why)


def min_id_length(options: Any) -> int:
    """The minimum length of ids that ``options`` asks for."""
    # A min_id_length that is no count is ignored: the default of 5 then holds.
    length = options.get("min_id_length") if isinstance(options, dict) else None
    return length if isinstance(length, int) and not isinstance(length, bool) and length >= 0 else 5


def _gunzip(body: bytes) -> bytes | None:
    """The unpacked body, at most :data:`MAX_UNPACKED_BYTES` of it; None when it is no gzip or ends too early."""
    unpacked = b""
    while body:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            unpacked += unpacker.decompress(body, MAX_UNPACKED_BYTES - len(unpacked))
        except zlib.error:
            return None
        if unpacker.unconsumed_tail:
            return unpacked
        if not unpacker.eof:
            return None
        body = unpacker.unused_data
        if len(unpacked) >= MAX_UNPACKED_BYTES:
            return unpacked
    return unpacked
