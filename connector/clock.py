"""The connector's time: the only module of the connector that reads the wall clock or sleeps.

In a tank the connector waits at the tank's clock, so that hours pass in an instant; elsewhere it waits for real.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

import requests

FOREVER_MS = 253_402_300_799_000
_NAME = "reference-connector"


class Clock(Protocol):
    """What delivery needs of time."""

    def now_ms(self) -> int:
        """Now, in ms since the epoch."""

    def wait(self, until_ms: int, generation: int) -> None:
        """Return at ``until_ms``, or earlier when :meth:`wake` is called with a newer generation."""

    def wake(self, generation: int) -> None:
        """There is new work: let the waiter look."""

    def seen(self, generation: int) -> None:
        """The waiter has looked at everything up to this generation."""

    def close(self) -> None:
        """Let every waiter go for good."""


def open_clock(url: str | None) -> Clock:
    """The tank's clock when there is one, else the real one."""
    return TankClock(url) if url else RealClock()


class RealClock:
    """The wall clock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._generation = 0
        self._closed = False

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def wait(self, until_ms: int, generation: int) -> None:
        with self._changed:
            while not self._closed and self._generation <= generation:
                left = (until_ms - self.now_ms()) / 1000
                if left <= 0:
                    return
                self._changed.wait(min(left, 3600))

    def wake(self, generation: int) -> None:
        with self._changed:
            self._generation = max(self._generation, generation)
            self._changed.notify_all()

    def seen(self, generation: int) -> None:
        return

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class TankClock:
    """A tank's clock over HTTP.

    A waiter is woken by a wait under its own name that is due at once: the tank then lets the old one go. That
    is repeated until the waiter has looked, since the two requests may overtake each other.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._local = threading.local()
        self._changed = threading.Condition()
        self._wanted = 0
        self._seen = 0
        self._closed = False
        self._waker: threading.Thread | None = None

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False
            self._local.session = session
        return session

    def now_ms(self) -> int:
        while True:
            try:
                answer = self._session().get(f"{self._url}/now", timeout=10)
                return int(answer.json()["epoch_ms"])
            except (requests.RequestException, ValueError, KeyError):
                if self._closed:
                    return 0
                time.sleep(0.05)

    def wait(self, until_ms: int, generation: int) -> None:
        with self._changed:
            if self._wanted > generation or self._closed:
                return
        try:
            query = {"until": str(min(until_ms, FOREVER_MS)), "name": _NAME}
            answer = self._session().get(f"{self._url}/wait", params=query, timeout=40)
            if answer.status_code not in (200, 204):
                time.sleep(0.05)
        except requests.RequestException:
            time.sleep(0.05)

    def wake(self, generation: int) -> None:
        with self._changed:
            self._wanted = max(self._wanted, generation)
            if self._waker is None:
                self._waker = threading.Thread(target=self._wake_up, daemon=True, name="waker")
                self._waker.start()
            self._changed.notify_all()

    def seen(self, generation: int) -> None:
        with self._changed:
            self._seen = max(self._seen, generation)
            self._changed.notify_all()

    def _wake_up(self) -> None:
        while True:
            with self._changed:
                while self._seen >= self._wanted and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
            try:
                self._session().get(f"{self._url}/wait", params={"until": "0", "name": _NAME}, timeout=10)
            except requests.RequestException:
                time.sleep(0.05)
            with self._changed:
                if self._seen < self._wanted and not self._closed:
                    self._changed.wait(0.02)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        try:
            requests.get(f"{self._url}/wait", params={"until": "0", "name": _NAME}, timeout=2)
        except requests.RequestException:
            return
