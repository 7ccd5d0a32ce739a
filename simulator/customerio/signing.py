"""The signature of a reporting webhook.

Source: Customer.io's OpenAPI document of reporting webhooks, securely verifying requests.
"""

from __future__ import annotations

import hashlib
import hmac

VERSION = "v0"


def signature(key: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 over ``v0:timestamp:body`` in lower-case hex; ``timestamp`` is the header's text, in seconds."""
    message = b":".join((VERSION.encode(), timestamp.encode(), body))
    return hmac.new(key.encode(), message, hashlib.sha256).hexdigest()


def headers(key: str, timestamp: str, body: bytes) -> dict[str, str]:
    """The two headers that every report carries."""
    return {"X-CIO-Timestamp": timestamp, "X-CIO-Signature": signature(key, timestamp, body)}
