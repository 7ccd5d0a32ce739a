"""Ids in the shapes that Customer.io's samples show.

An event id or journey id is a ULID; a delivery id is URL-safe base64 of 29 bytes whose last 16 are a ULID's; a cio_id
is 12 hex digits. The first bytes of a delivery id name the workspace, because metrics come without credentials.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import random

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MARK_BYTES = 6


def ulid(rng: random.Random, now_ms: int) -> str:
    """A ULID: 10 characters of milliseconds and 16 of chance."""
    value = (now_ms << 80) | rng.getrandbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def mark(tank_id: str) -> bytes:
    """What the delivery ids of a workspace begin with."""
    return hashlib.sha256(f"customerio:{tank_id}".encode()).digest()[:MARK_BYTES]


def delivery_id(rng: random.Random, marked: bytes, now_ms: int) -> str:
    """The id of a delivery."""
    raw = marked + rng.randbytes(13 - MARK_BYTES) + now_ms.to_bytes(6, "big") + rng.randbytes(10)
    return base64.urlsafe_b64encode(raw).decode()


def marked(delivery: str) -> bytes | None:
    """The workspace's mark in a delivery id; None when it cannot be one."""
    try:
        raw = base64.b64decode(delivery.encode(), b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw[:MARK_BYTES] if len(raw) == 29 else None
