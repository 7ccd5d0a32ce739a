"""What came of a request to a platform, in the words that the delivery obeys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["accepted", "judged", "throttled", "invalid", "too_large", "refused", "failed"]


@dataclass(frozen=True)
class Reply:
    """What came of an upload.

    ``judged``: taken but for the objects in ``events``, which are refused for good. ``refused`` is about the key,
    ``failed`` may have been applied or not. ``events`` are the named indexes, ``waiting`` those that a refusal names
    as merely throttled, ``quota`` the devices and users over a daily quota, ``eps`` the threshold that was told,
    ``until_ms`` the instant before which a platform wants nothing at all. The key never stands in ``reason``.
    """

    kind: Kind
    reason: str
    events: tuple[int, ...] = ()
    quota: frozenset[str] = frozenset()
    eps: int = 0
    waiting: tuple[int, ...] = ()
    until_ms: int | None = None


class Client(Protocol):
    """A platform's write endpoint as the delivery sees it."""

    vendor: str
    url: str
    api_key: str
    max_items: int
    """Most outbox items of one request."""
    pauses_ms: Sequence[int]
    """How long events that a 429 names wait, the first time and so on; then always the last of these."""

    def upload(self, events: Sequence[bytes]) -> Reply:
        """Send items; never raises for what the network does."""

    def close(self) -> None:
        """Let the connection go."""
