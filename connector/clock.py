"""The connector's time: the only module here that reads the wall clock or sleeps.

With ``WAVETANK_CLOCK_URL`` set, time is the tank's and the connector waits at the tank's clock; without
it, time is real. One thread waits (the delivery); others may :meth:`nudge` it.
"""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlencode, urlsplit

FOREVER_MS = 253_402_300_799_000
"""Where one who has nothing to do waits: the end of the year 9999."""

NAME = "reference-connector"
ANSWERED_S = 0.004
"""Real seconds a nudge lets pass first, so that whoever fed us has read the answer before we wait again."""
LINGER_S = 0.1
"""Real seconds that feeds which come one upon the other may hold a nudge up: so their events travel together."""

_AGAIN_S = 0.02
_OVERDUE_S = 2.0
"""Real seconds after which an expected nudge is not waited for any more: whoever fed us has gone before the answer."""
_GONE_S = 0.25


def iso(ms: int) -> str:
    """``2026-01-01T00:00:00.000Z``."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock(Protocol):
    """Time as the delivery sees it; instants are epoch milliseconds."""

    def now_ms(self) -> int:
        """Now. A tank clock that cannot be reached is asked again until :meth:`close`."""

    def wait_until(self, until_ms: int, seen: int) -> int:
        """Wait until an instant or a nudge; ``seen`` is what the last call answered (0 at first), and a
        nudge that came since then ends the wait at once. Answers the number of nudges so far."""

    def nudge(self) -> None:
        """End the wait under way, or the next one: there is something to read."""

    def expect(self) -> bool:
        """A nudge is to come: until then nobody waits anew. True when :meth:`release` has to be called first."""

    def release(self) -> None:
        """End the wait under way without a nudge. Costs a few milliseconds."""

    def close(self) -> None:
        """End every wait for good."""


def pause(seconds: float) -> None:
    """Sleep in real time."""
    time.sleep(seconds)


class RealClock:
    """Wall-clock time."""

    def __init__(self) -> None:
        self._nudged = threading.Condition()
        self._nudges = 0
        self._closed = False

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def wait_until(self, until_ms: int, seen: int) -> int:
        with self._nudged:
            while not self._closed and self._nudges == seen:
                left_s = (until_ms - self.now_ms()) / 1000
                if left_s <= 0:
                    break
                self._nudged.wait(min(left_s, 3600))
            return self._nudges

    def nudge(self) -> None:
        with self._nudged:
            self._nudges += 1
            self._nudged.notify_all()

    def expect(self) -> bool:
        return False  # real time does not go on any sooner because somebody waits

    def release(self) -> None:
        pass

    def close(self) -> None:
        self._closed = True
        self.nudge()


class TankClock:
    """Time of a tank, over HTTP.

    A wait under the same name replaces the one before, which is how a held request is released: somebody asks for
    ``until=0`` and goes on asking until the waiting thread has noticed.

    Whoever waits at the clock says that nothing is left to do, and the tank's time goes on. So a feed is announced
    (:meth:`expect`) before it is answered: no wait that has not looked at it may reach the tank after the answer.
    """

    def __init__(self, url: str, name: str = NAME) -> None:
        self._url = urlsplit(url.rstrip("/"))
        self._name = name
        self._changed = threading.Condition()
        self._nudges = 0
        self._asked = 0
        self._asking: int | None = None
        self._expected = False
        self._known = False
        self._closed = False
        self._fresh: int | None = None
        self._idle: list[http.client.HTTPConnection] = []

    def now_ms(self) -> int:
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            return fresh
        while True:
            answer = self._get("/now", 10)
            if answer is not None and answer[0] == 200:
                return int(json.loads(answer[1])["epoch_ms"])
            if self._closed:
                return 0
            time.sleep(_GONE_S)

    def wait_until(self, until_ms: int, seen: int) -> int:
        query = "/wait?" + urlencode({"until": min(until_ms, FOREVER_MS), "name": self._name})
        while True:
            with self._changed:
                if self._expected and not self._closed and self._nudges == seen:
                    self._changed.wait_for(lambda: self._closed or self._nudges != seen, _OVERDUE_S)
                    self._expected = False
                    return self._nudges
                if self._closed or self._nudges != seen:
                    return self._nudges
                self._known = True
                self._asked += 1
                self._asking = self._asked
            answer = self._get(query, 60)
            with self._changed:
                self._asking = None
                self._changed.notify_all()
                if answer is not None and answer[0] == 200:
                    self._fresh = int(json.loads(answer[1])["epoch_ms"])
                    return self._nudges
                if answer is None or answer[0] != 204:
                    self._changed.wait(_GONE_S)

    def nudge(self) -> None:
        """See :meth:`Clock.nudge`. Costs a few milliseconds: call it from a thread that has time."""
        with self._changed:
            self._nudges += 1
            self._expected = False
            self._changed.notify_all()
            held = self._asking
        if held is not None:
            self._end(held)

    def expect(self) -> bool:
        with self._changed:
            self._expected = True
            return self._asking is not None or not self._known

    def release(self) -> None:
        with self._changed:
            held, self._known = self._asking, True
        # Who has not come to the clock yet becomes known there: the tank reckons with it from then on.
        self._end(held, _OVERDUE_S)

    def _end(self, held: int | None, within_s: float = math.inf) -> None:
        query = "/wait?" + urlencode({"until": 0, "name": self._name})
        until = time.monotonic() + within_s
        # A request that was under way may reach the clock after ours, so one is not always enough.
        while time.monotonic() < until:
            self._get(query, min(5.0, within_s))
            with self._changed:
                if held is not None and self._asking == held:
                    self._changed.wait(_AGAIN_S)
                if held is None or self._asking != held:
                    return

    def close(self) -> None:
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self.nudge()

    def _get(self, path: str, timeout_s: float) -> tuple[int, bytes] | None:
        """Status and body; None when the clock cannot be reached. A dead idle connection is replaced."""
        while True:
            with self._changed:
                idle = self._idle.pop() if self._idle else None
            connection = idle or http.client.HTTPConnection(self._url.hostname or "", self._url.port)
            try:
                connection.timeout = timeout_s
                if connection.sock is not None:
                    connection.sock.settimeout(timeout_s)
                connection.request("GET", self._url.path + path)
                response = connection.getresponse()
                answer = response.status, response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                if idle is None:
                    return None
                continue
            with self._changed:
                if not self._closed:
                    self._idle.append(connection)
                    return answer
            connection.close()
            return answer


def open_clock(url: str | None, name: str = NAME) -> Clock:
    """The tank's clock behind ``WAVETANK_CLOCK_URL``, or real time when that is not set."""
    return TankClock(url, name) if url else RealClock()


class Nudger:
    """Nudges a clock from a thread of its own, shortly after a feed was answered; feeds may share a nudge."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nudger", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def answered(self) -> None:
        """A feed has just been answered."""
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            until = time.monotonic() + LINGER_S
            while self._wanted.is_set() and time.monotonic() < until:
                self._wanted.clear()
                time.sleep(ANSWERED_S)
            self._wanted.clear()
            self._clock.nudge()
