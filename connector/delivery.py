"""Delivery: takes an outbox to a platform and obeys its answers; the same for every flow.

429: the named events wait, the rest goes on. 400: only an event refused alone is given up. 413: smaller ones.
No answer or 5xx: the same events again, later. Key refused: keep everything, probe, give up after 48 hours (or
what the flow says).
Objects named as refused beside others that were taken are given up.
Source: Amplitude docs, HTTP V2 API, Responses; Braze docs, Amplitude for Currents; POST /users/track.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Sequence

from connector import metrics, traces
from connector.clock import FOREVER_MS
from connector.outbox import FREED, Item, Outbox
from connector.replies import Client, Reply

log = logging.getLogger(__name__)

MAX_BYTES = 500_000
PROJECT_THROTTLE_MS = 60_000
"""The pause when a 429 names nobody: a limit of the whole project (Amplitude docs, SDK troubleshooting)."""
LEAST_PAUSE_MS = 100
HOUR_MS = 3_600_000
PROBE_MS = 290_000
"""How often a refused key is tried: just under every five minutes.

Braze re-sends after 2 to 5 minutes (Braze docs, Currents integration for partners)."""
GIVE_UP_MS = 48 * HOUR_MS
EXPIRE_MS = 4 * HOUR_MS
"""How long streamed events and users are tried, whatever the error (Amplitude docs, Event streaming overview)."""
BACKOFF_MS, BACKOFF_CAP_MS = 1_000, 300_000
TURN = 20
"""Requests that a flow makes before the others have their turn."""


def expired(vendor: str, keep_ms: int | None = None) -> str:
    """Why events are given up that a refused key has held for too long."""
    return f"{vendor} refused the key for more than {(keep_ms or GIVE_UP_MS) // HOUR_MS} hours"


def choose(items: Sequence[Item], most: int) -> list[Item]:
    """The next request: as many of the oldest events, up to ``most``, as the limits let travel together."""
    if items and items[0].most == 1:
        return [items[0]]
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
    """The pause after failed attempt ``attempt`` (from 1), with jitter fixed by the events at hand."""
    longest = min(BACKOFF_CAP_MS, BACKOFF_MS << min(attempt - 1, 16))
    return round(longest * random.Random(f"{first}:{attempt}").uniform(0.5, 1.0))


def spread(held: Sequence[int], start_ms: int, eps: int) -> list[tuple[int, int]]:
    """``(number, due in ms)``: held events go from ``start_ms`` on, at most ``eps`` of them in a second."""
    return [(n, start_ms + position // max(1, eps) * 1000) for position, n in enumerate(held)]


def halves(count: int) -> int:
    """How many events may travel together after a request of ``count`` was refused."""
    return max(1, (count + 1) // 2)


def throttle_ms(pauses_ms: Sequence[int], before: int) -> int:
    """The pause of a lane that was throttled ``before`` times since something of it was taken."""
    return pauses_ms[min(before, len(pauses_ms) - 1)]


def quota_until(now_ms: int) -> int:
    """When a device over its daily quota is tried again: Amplitude counts it in steps of an hour."""
    return (now_ms // HOUR_MS + 1) * HOUR_MS


def given_up(refused_ms: int, now_ms: int, keep_ms: int | None = None) -> bool:
    """Whether a key that was refused first at ``refused_ms`` has been for more than 48 hours, or ``keep_ms``."""
    return now_ms - refused_ms > (keep_ms or GIVE_UP_MS)


def starts_afresh(outbox: Outbox, url: str, api_key: str) -> None:
    """A key (or region) other than last time has not been refused yet: forget what the old one met."""
    mark = int.from_bytes(hashlib.sha256(f"{url}\n{api_key}".encode()).digest()[:6], "big")
    if outbox.note("key_mark") != mark:
        outbox.set_note("key_mark", mark)
        outbox.set_note("refused_ms", None)
        outbox.set_note("paused_ms", None)


class Delivery:
    """Moves an outbox to its platform, a portion at a time.

    ``keep_ms``: how long a refused key keeps events; None is the 48 hours of Braze and Amplitude.
    ``expire_ms``: how long an event is tried after its first attempt, whatever the error; None is for ever.
    """

    def __init__(
        self, outbox: Outbox, client: Client, keep_ms: int | None = None, expire_ms: int | None = None
    ) -> None:
        self.outbox = outbox
        self.client = client
        self.keep_ms = keep_ms
        self.expire_ms = expire_ms
        self._attempt = 0
        self._throttled: dict[str, int] = {}
        self._pruned_ms = 0
        starts_afresh(outbox, client.url, client.api_key)

    @property
    def status(self) -> str:
        """``running``, ``backing off``, or ``key refused``."""
        if self.outbox.note("refused_ms") is not None:
            return "key refused"
        return "backing off" if self._attempt else "running"

    def work(self, now_ms: int) -> int:
        """Deliver what may go now, up to :data:`TURN` requests; answers when there is more to do, in ms."""
        self._prune(now_ms)
        self._expire(now_ms)
        paused_ms = self.outbox.note("paused_ms") or 0
        if paused_ms > now_ms:
            return paused_ms
        most = self.client.max_items
        for _ in range(TURN):
            with self.outbox.claimed(now_ms, most) as due:
                batch = choose(due, most)
                if not batch:
                    return self._following(now_ms)
                if self.outbox.note("refused_ms") is not None:
                    batch = batch[:1]  # a key is probed with one event
                with self.outbox.sending([item.n for item in batch]):
                    with traces.upload(self.client.vendor, len(batch)):
                        reply = self.client.upload([item.body for item in batch])
                    metrics.uploaded(self.client.vendor, reply.kind)
                    goes_on = self.settle(batch, reply, now_ms)
                if not goes_on:
                    if self.expire_ms is not None:
                        self.outbox.failed(now_ms)
                    return self.outbox.note("paused_ms") or now_ms
                if reply.kind == "accepted" and len(batch) == len(due) < most and not any(i.due_ms > 0 for i in batch):
                    return self._following(now_ms)  # whoever brings more says so: it waits to travel together
        return now_ms

    def _following(self, now_ms: int) -> int:
        following = self.outbox.next_due_ms(now_ms)
        return FOREVER_MS if following is None else following

    def _expire(self, now_ms: int) -> None:
        if self.expire_ms is None:
            return
        reason = f"not delivered within {self.expire_ms // HOUR_MS} hours"
        dropped = self.outbox.expire(now_ms - self.expire_ms, now_ms, reason)
        if dropped:
            log.error("%d events have expired: %s", dropped, reason)

    def _prune(self, now_ms: int) -> None:
        if now_ms - self._pruned_ms > HOUR_MS:
            self.outbox.prune(now_ms)
            self._pruned_ms = now_ms

    def settle(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> bool:
        """Obey an answer; False when everything has to pause."""
        if reply.kind != "failed":
            self._attempt = 0
        if reply.kind in ("accepted", "judged", "throttled", "invalid") and self.outbox.note("refused_ms") is not None:
            self.outbox.set_note("refused_ms", None)
            log.warning("%s takes the key again: delivery goes on", self.client.vendor)
        if reply.kind == "accepted":
            self.outbox.end([item.n for item in batch], "sent", now_ms)
            for item in batch if self._throttled else ():
                self._throttled.pop(item.lane, None)
        elif reply.kind == "judged":
            self.judged(batch, reply, now_ms)
        elif reply.kind == "throttled" and not any(index < len(batch) for index in reply.events):
            self.project_throttled(reply, now_ms)
            return False
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

    def judged(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """The platform has judged every object: those it names are given up, the others were taken."""
        named = {batch[i].n for i in reply.events if i < len(batch)}
        self.outbox.end([n for item in batch if (n := item.n) not in named], "sent", now_ms)
        self.outbox.end(sorted(named), "dead", now_ms, reply.reason)

    def throttled(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Hold the named events, and what follows on the same device, for a while; the rest goes at once."""
        over = {batch[i].n for i in reply.events if i < len(batch)}
        passed = {item.n for item in batch} - over
        due: list[tuple[int, int]] = []
        for lane in dict.fromkeys(item.lane for item in batch if item.n in over):
            in_lane = [item.n for item in batch if item.lane == lane and item.n in over]
            quota = lane.partition(":")[2] in reply.quota
            start_ms = quota_until(now_ms) if quota else now_ms + self._pause_ms(lane)
            held = [
                n
                for n, due_ms in self.outbox.lane(lane)
                if n not in passed and (n in over or (n > min(in_lane) and due_ms < start_ms))
            ]
            # Over the daily quota all are tried again at once: the first answer tells about the others.
            due += spread(held, start_ms, len(held) if quota else reply.eps or 30)
        self.outbox.hold([*due, *((n, FREED) for n in passed)])

    def _pause_ms(self, lane: str) -> int:
        before = self._throttled.get(lane, 0)
        self._throttled[lane] = before + 1
        return throttle_ms(self.client.pauses_ms, before)

    def project_throttled(self, reply: Reply, now_ms: int) -> None:
        """A 429 that names no event is about all of them."""
        log.info("throttled as a whole: %s", reply.reason)
        until_ms = now_ms + PROJECT_THROTTLE_MS if reply.until_ms is None else reply.until_ms
        self.outbox.set_note("paused_ms", min(max(until_ms, now_ms + LEAST_PAUSE_MS), now_ms + HOUR_MS))

    def invalid(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Give up the event that is refused alone; send suspects alone and the others on."""
        waiting = [batch[i].n for i in reply.waiting if i < len(batch) and i not in reply.events]
        named = [batch[i].n for i in reply.events if i < len(batch)]
        if len(batch) == 1:
            self.outbox.end([batch[0].n], "dead", now_ms, reply.reason)
            log.warning("event %s is refused by %s: %s", batch[0].id, self.client.vendor, reply.reason)
        elif named or waiting:
            self.outbox.limit(named, 1)
            self.outbox.bind([item for item in batch if item.n in waiting])
            self.outbox.hold([(item.n, now_ms + self._pause_ms(item.lane)) for item in batch if item.n in waiting])
        else:
            self.outbox.limit([item.n for item in batch], halves(len(batch)))

    def too_large(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Halve the request; an event too large alone is given up."""
        if len(batch) == 1:
            self.outbox.end([batch[0].n], "dead", now_ms, reply.reason or "too large alone")
            log.warning("event %s is too large for %s", batch[0].id, self.client.vendor)
        else:
            self.outbox.limit([item.n for item in batch], halves(len(batch)))

    def failed(self, batch: Sequence[Item], reply: Reply, now_ms: int) -> None:
        """Whether it was applied is unknown: send the same again, later, and after those not tried yet."""
        self._attempt += 1
        until_ms = now_ms + backoff_ms(self._attempt, batch[0].n)
        log.info("upload failed (%s), next try in %d ms", reply.reason, until_ms - now_ms)
        self.outbox.add_to_note("repeated", len(batch))
        self.outbox.bind(batch)
        self.outbox.hold([(item.n, until_ms) for item in batch])
        self.outbox.set_note("paused_ms", until_ms)

    def refused(self, reply: Reply, now_ms: int) -> None:
        """The key does not work: keep everything and probe; after 48 hours give up what is kept."""
        since = self.outbox.note("refused_ms")
        if since is None:
            since = now_ms
            self.outbox.set_note("refused_ms", since)
            log.error("%s refuses the key (%s): events are kept for a while", self.client.vendor, reply.reason)
        if self.expire_ms is not None:
            self.outbox.set_note("paused_ms", now_ms + PROBE_MS)
        elif given_up(since, now_ms, self.keep_ms):
            reason = expired(self.client.vendor, self.keep_ms)
            dropped = self.outbox.drop_pending(now_ms, reason)
            log.error("%d events dropped: %s", dropped, reason)
            self.outbox.set_note("paused_ms", now_ms + PROBE_MS)
        else:
            # The last probe comes as soon as that time is over.
            self.outbox.set_note("paused_ms", min(now_ms + PROBE_MS, since + (self.keep_ms or GIVE_UP_MS) + 1))
