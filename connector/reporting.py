"""Taking Customer.io's reporting webhooks: the signature over the raw bytes, then the report into the outbox.

A report that is signed is answered 2xx whatever it says: a refusal would hold everything behind it up for seven days.
Source: Customer.io docs, reporting webhooks, Securely verify requests; Timeouts and failures.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace

import orjson

from connector.amplitude import BatchClient
from connector.flows import customerio
from connector.flows.customerio import Integration, Skipped
from connector.outbox import Outbox, Taken
from connector.replies import Reply
from connector.sections import CustomerioConfig

SIGNATURE, TIMESTAMP = "X-CIO-Signature", "X-CIO-Timestamp"
VERSION = "v0"
UNREADABLE = "report is not a JSON object"
UNWRITABLE = "report holds a number that cannot be sent"


def signature(key: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over ``v0:<timestamp>:<raw body>``, lower-case hex; ``timestamp`` is the header's text."""
    signed = f"{VERSION}:{timestamp}:".encode() + body
    return hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()


def verified(key: str, timestamp: str, given: str, body: bytes, now_ms: int, window_s: int) -> bool:
    """Whether Customer.io has signed these bytes at most ``window_s`` seconds ago or ahead; 0 is any time.

    ``timestamp`` and ``given`` are what the two headers say. The signature is compared in constant time, in either
    case of its letters. No window is documented.
    """
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        return False
    return same(signature(key, timestamp, body), given) and timely(int(timestamp), now_ms, window_s)


def same(expected: str, given: str) -> bool:
    """Whether two signatures are one."""
    return hmac.compare_digest(expected.encode(), given.lower().encode())


def timely(signed_s: int, now_ms: int, window_s: int) -> bool:
    """Whether a request signed at ``signed_s`` (seconds) is neither stale nor from the future."""
    return not window_s or abs(now_ms // 1000 - signed_s) <= window_s


def take(outbox: Outbox, integration: Integration, body: bytes) -> int:
    """Keep one signed report for good; answers how many events are new, 0 when it was known already."""
    return outbox.put(rows(body, integration))


def rows(body: bytes, integration: Integration) -> list[Taken]:
    """What the outbox keeps of a report: its events, or why there are none."""
    try:
        report = orjson.loads(body)
    except orjson.JSONDecodeError:
        report = None
    if not isinstance(report, dict):
        return [Taken(_mark(body), "", None, UNREADABLE)]
    found = customerio.to_amplitude(report, integration)
    if isinstance(found, Skipped):
        own = report.get("event_id")
        return [Taken(own if isinstance(own, str) and own else _mark(body), "", None, found.reason)]
    try:
        return [Taken(each["insert_id"], lane(each), orjson.dumps(each)) for each in found]
    except orjson.JSONEncodeError:
        return [Taken(str(report["event_id"]), "", None, UNWRITABLE)]


def test_connection(flow: CustomerioConfig, now_ms: int) -> Reply:
    """Send the event of Test Connection, whatever is selected and past the outbox; answers what Amplitude said."""
    found = customerio.to_amplitude(customerio.sample(now_ms), replace(flow.integration, events=None))
    assert isinstance(found, list)
    client = client_of(flow)
    try:
        return client.upload([orjson.dumps(each) for each in found])
    finally:
        client.close()


def client_of(flow: CustomerioConfig) -> BatchClient:
    """Where Customer.io's reports go."""
    return BatchClient(flow.url, flow.api_key, flow.integration.readings.min_id_length)


def lane(event: Mapping[str, object]) -> str:
    """What Amplitude throttles by: the device, else the user."""
    return f"device:{event['device_id']}" if "device_id" in event else f"user:{event['user_id']}"


def _mark(body: bytes) -> str:
    """An id for what has none of its own."""
    return f"body:{hashlib.sha256(body).hexdigest()}"
