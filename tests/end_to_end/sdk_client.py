"""A client of the official Amplitude Python SDK, unmodified, and a note of what it said of each event."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from amplitude import Amplitude, Config
from amplitude.storage import InMemoryStorage, StorageProvider


class Outcome:
    """What the SDK said of each event."""

    def __init__(self, expected: int) -> None:
        self.codes: Counter[int] = Counter()
        self.said: dict[str, list[tuple[int, str]]] = {}
        """By insert_id: codes and messages."""
        self._left = expected
        self._lock = threading.Lock()
        self.done = threading.Event()

    def __call__(self, event: Any, code: int, message: str = "") -> None:
        with self._lock:
            self.codes[code] += 1
            self.said.setdefault(event.insert_id, []).append((code, message))
            self._left -= 1
            if self._left <= 0:
                self.done.set()


class OneStorage(StorageProvider):
    """Hands out one queue and keeps hold of it."""

    def __init__(self) -> None:
        self.storage = InMemoryStorage()

    def get_storage(self) -> InMemoryStorage:
        return self.storage


def client(tank: Any, outcome: Outcome, path: str = "/2/httpapi") -> Amplitude:
    """An SDK client that sends to a tank and tells ``outcome``."""
    config = Config(
        flush_interval_millis=200,
        callback=outcome,
        server_url=f"{tank.amplitude}{path}",
        storage_provider=OneStorage(),
    )
    return Amplitude(tank.key, config)


def close(sdk: Amplitude) -> None:
    """Shut a client down, and wake its thread, which would hold the process up for a flush interval."""
    sdk.shutdown()
    queue = sdk.configuration.storage_provider.storage
    with queue.lock:
        queue.lock.notify_all()
