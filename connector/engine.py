"""The engine: one thread that does the flows' work in turns and waits at the clock when none has any left."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Protocol

from connector.clock import FOREVER_MS, Clock, Nudger, pause
from connector.outbox import Unreachable

log = logging.getLogger(__name__)


class Work(Protocol):
    """A flow's share of the engine's thread."""

    def work(self, now_ms: int) -> int:
        """Do what may be done now, a portion at a time; answers when there is more to do, in ms."""


class Engine:
    """Runs every flow's work until it is stopped."""

    def __init__(self, works: Sequence[Work], clock: Clock) -> None:
        self.works = list(works)
        self.clock = clock
        self._nudger = Nudger(clock)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._nudger.start()
        self._thread.start()

    def taken(self) -> bool:
        """A feed is about to be answered. True when :meth:`come_away` has to be called before."""
        return self.clock.expect()

    def come_away(self) -> None:
        """Wait at the clock no longer; costs a few milliseconds."""
        self.clock.release()

    def wake(self) -> None:
        """A feed has been answered: look at the outboxes, and wait at the clock anew."""
        self._nudger.answered()

    def stop(self, drain_s: float) -> bool:
        """Do what can be done at once, for at most ``drain_s`` real seconds; the rest is kept.

        True when nothing was under way any more.
        """
        self._stopping.set()
        # Beside this thread, so that a clock that hangs does not add to the time given.
        threading.Thread(target=self.clock.close, name="closing", daemon=True).start()
        self._thread.join(drain_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        seen = 0
        while True:
            last = self._stopping.is_set()
            now_ms = self.clock.now_ms()
            until_ms = self.round(now_ms)
            while until_ms <= now_ms:
                now_ms = max(now_ms, self.clock.now_ms())
                until_ms = self.round(now_ms)
            if last:
                return
            seen = self.clock.wait_until(until_ms, seen)

    def round(self, now_ms: int) -> int:
        """Give every flow a turn; answers when the first of them has more to do, in ms."""
        until_ms = FOREVER_MS
        for each in self.works:
            try:
                until_ms = min(until_ms, each.work(now_ms))
            except Exception as error:
                log.error("a flow stumbled: %s", error, exc_info=not isinstance(error, Unreachable))
                pause(1.0)
                until_ms = min(until_ms, now_ms + 1000)
        return until_ms
