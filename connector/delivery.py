"""Delivery: one thread that takes the outbox to Amplitude and obeys its answers.

429: the named events wait, the rest goes on. 400: only an event refused alone is given up. 413: smaller requests.
No answer or 5xx: the same events again, later. Key refused: keep everything, probe, give up after 48 hours.
Source: Amplitude docs, HTTP V2 API, Responses; Braze docs, Amplitude for Currents.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence

from connector.amplitude import Client, Reply
from connector.clock import FOREVER_MS, Clock
from connector.outbox import Item, Outbox

log = logging.getLogger(__name__)

MAX_EVENTS = 100
MAX_BYTES = 500_000
THROTTLE_MS = 30_000
QUOTA_MS = 3_600_000
PROBE_MS = 180_000
GIVE_UP_MS = 48 * 3_600_000
BACKOFF_MS, BACKOFF_CAP_MS = 1_000, 60_000
EXPIRED = "Amplitude refused the key for more than 48 hours"


def choose(items: Sequence[Item]) -> list[Item]:
    """The next request: as many of the oldest events as the limits let travel together."""
    if items and items[0].most == 1:
        return [items[0]]
    most = MAX_EVENTS
    chosen: list[Item] = []
    size = 0
    for item in items:
        if item.most == 1:
            continue
        if item.most is not None:
            most = min(most, item.most)
        if chosen and (len(chosen) >= most or size + len(item.body) > MAX_BYTES):
            break
        chosen.append(item)
        size += len(item.body) + 1
    return chosen


def backoff_ms(attempt: int, first: int) -> int:
    """The pause after failed attempt ``attempt`` (from 1), with jitter that is fixed by the events at hand."""
    longest = min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** min(attempt - 1, 16))
    return round(longest * random.Random(f"{first}:{attempt}").uniform(0.5, 1.0))


def spread(held: Sequence[int], start_ms: int, eps: int) -> list[tuple[int, int]]:
    """``(number, due in ms)``: held events go from ``start_ms`` on, at most ``eps`` of them in a second."""
    return [(n, start_ms + position // max(1, eps) * 1000) for position, n in enumerate(held)]


def halves(count: int) -> int:
    """How many events may travel together after a request of ``count`` was refused."""
    return max(1, (count + 1) // 2)


class Delivery:
    """Moves the outbox to Amplitude until it is stopped."""

    def __init__(self, outbox: Outbox, client: Client, clock: Clock) -> None:
        self.outbox = outbox
        self.client = client
        self.clock = clock
        self._generation = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._attempt = 0
        self._pruned_ms = 0

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """New events have been taken and answered for."""
        self._generation += 1
        self.clock.wake(self._generation)

    def stop(self, drain_s: float) -> None:
        """Deliver what can be delivered at once, for at most ``drain_s`` real seconds; the rest is kept."""
        self._stopping.set()
        self.clock.close()
        self._thread.join(drain_s)

    def _run(self) -> None:
        while True:
            generation = self._generation
            try:
                until_ms = self.work()
            except Exception:
                log.exception("delivery stumbled")
                until_ms = self.clock.now_ms() + 1000
            if self._stopping.is_set():
                return
            self.clock.seen(generation)
            self.clock.wait(until_ms, generation)

    def work(self) -> int:
        """Deliver all that may go now; answers when there is more to do, in ms."""
        now_ms = self.clock.now_ms()
        self._prune(now_ms)
        paused_ms = self.outbox.note("paused_ms") or 0
        if paused_ms > now_ms:
            return paused_ms
        sent = 0
        while not (self._stopping.is_set() and sent > 10_000):
            batch = choose(self.outbox.due(now_ms, MAX_EVENTS))
            if not batch:
                break
            sent += len(batch)
            if not self.settle(batch, self.client.upload([item.body for item in batch]), now_ms):
                return self.outbox.note("paused_ms") or now_ms
        following = self.outbox.next_due_ms(now_ms)
        return FOREVER_MS if following is None else following

    def _prune(self, now_ms: int) -> None:
        if now_ms - self._pruned_ms > 3_600_000:
            self.outbox.prune(now_ms)
            self._pruned_ms = now_ms

    def settle(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> bool:
        """Obey an answer; False when everything has to pause."""
        if reply.kind not in ("refused", "failed"):
            self._attempt = 0
            if self.outbox.note("refused_ms") is not None:
                self.outbox.set_note("refused_ms", None)
                log.warning("Amplitude takes the key again: delivery goes on")
        if reply.kind == "accepted":
            self.outbox.end([item.n for item in batch], "sent", now_ms)
        elif reply.kind == "throttled":
            self.throttled(batch, reply, now_ms)
        elif reply.kind == "invalid":
            self.invalid(batch, reply, now_ms)
        elif reply.kind == "too_large":
            self.too_large(batch, reply, now_ms)
        elif reply.kind == "refused":
            self.refused(reply, now_ms)
            return False
        else:
            self.failed(batch, reply, now_ms)
            return False
        return True

    def throttled(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Hold the named events, and what follows them on the same device, for 30 s; the rest goes at once."""
        named = [batch[i] for i in reply.events if 0 <= i < len(batch)] or list(batch)
        over = {item.n for item in named}
        for lane in dict.fromkeys(item.lane for item in named):
            pause_ms = QUOTA_MS if lane.partition(":")[2] in reply.quota else THROTTLE_MS
            start_ms = now_ms + pause_ms
            held = [n for n, due in self.outbox.lane(lane) if n in over or (n > min(over) and due < start_ms)]
            passed = {item.n for item in batch if item.n not in over}
            self.outbox.hold(spread([n for n in held if n not in passed], start_ms, reply.eps or 30))

    def invalid(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Give up the event that is refused alone; send suspects alone and the others on."""
        if len(batch) == 1:
            self.outbox.end([batch[0].n], "dead", now_ms, reply.reason)
            log.warning("event %s is refused by Amplitude: %s", batch[0].id, reply.reason)
        elif reply.events:
            self.outbox.limit([batch[i].n for i in reply.events if i < len(batch)], 1)
        else:
            self.outbox.limit([item.n for item in batch], halves(len(batch)))

    def too_large(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Halve the request; an event too large alone is given up."""
        if len(batch) == 1:
            self.outbox.end([batch[0].n], "dead", now_ms, reply.reason or "too large alone")
        else:
            self.outbox.limit([item.n for item in batch], halves(len(batch)))

    def failed(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Whether it was applied is unknown: send the same events again, later."""
        self._attempt += 1
        pause = backoff_ms(self._attempt, batch[0].n)
        log.info("upload failed (%s), next try in %d ms", reply.reason, pause)
        self.outbox.set_note("paused_ms", now_ms + pause)

    def refused(self, reply: Reply, now_ms: int) -> None:
        """The key does not work: keep everything and probe; after 48 hours give up what is kept."""
        since = self.outbox.note("refused_ms")
        if since is None:
            since = now_ms
            self.outbox.set_note("refused_ms", since)
            log.error("Amplitude refuses the key (%s): events are kept for 48 hours", reply.reason)
        if now_ms - since >= GIVE_UP_MS:
            dropped = self.outbox.drop_pending(now_ms, EXPIRED)
            log.error("%d events dropped: %s", dropped, EXPIRED)
            self.outbox.set_note("paused_ms", now_ms + PROBE_MS)
        else:
            self.outbox.set_note("paused_ms", min(now_ms + PROBE_MS, since + GIVE_UP_MS))
