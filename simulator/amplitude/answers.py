"""Amplitude's answers to uploads, in its own words, shapes and key order.

Source: Amplitude docs, HTTP V2 API and Batch Event Upload API, Responses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.exchange import Answer, Reason

HTTP_V2 = "Amplitude docs, HTTP V2 API"
BATCH = "Amplitude docs, Batch Event Upload API"
HEADERS = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET, POST"}

TOO_MANY = "Too many requests for some devices and users"


def refusal(status: int, error: str, members: Mapping[str, Any] | None = None, *why: Reason) -> Answer:
    """``{"code", "error", …}``: a refused upload changes nothing."""
    return Answer(status, {"code": status, "error": error, **(members or {})}, HEADERS, why=why)


def accepted(now_ms: int, payload_size: int, events: int, *why: Reason) -> Answer:
    """The 200 body; ``payload_size`` counts the bytes as received."""
    body = {
        "code": 200,
        "server_upload_time": now_ms,
        "payload_size_bytes": payload_size,
        "events_ingested": events,
    }
    return Answer(200, body, HEADERS, why=why)


def too_large(detail: Mapping[str, Any], source: str) -> Answer:
    """413, for too many bytes or too many events."""
    why = Reason(
        "payload-too-large",
        "the upload is over the limit of bytes or events",
        f"{source}, Limits",
        detail,
        "split the events in half and send both halves",
    )
    return refusal(413, "Payload too large", None, why)


def unknown_key(key: str) -> Answer:
    """400: the key is unknown here, revoked, or of the other region."""
    why = Reason(
        "invalid-api-key",
        "the key is not known in this region, or it has been revoked",
        f"{HTTP_V2}, Responses",
        {},
        "stop, keep the events, and resume when the key works",
    )
    return refusal(400, f"Invalid API key: {key}", None, why)


def missing_field(name: str) -> Answer:
    """400: a member of the request itself is missing."""
    why = Reason("missing-field", f"the request has no {name}", f"{HTTP_V2}, Responses")
    return refusal(400, "Request missing required field", {"missing_field": name}, why)


def throttled(members: Mapping[str, Any], why: Sequence[Reason]) -> Answer:
    """429 with the maps and indexes in ``members``."""
    return refusal(429, TOO_MANY, members, *why)
