"""When a streamed payload is tried again: the two nested loops of event streaming, on plain values.

Within an attempt up to three requests are made, for 429 and 5xx only, 100 ms apart and doubling, with jitter, none
later than 4 s after the first. Nine more attempts follow the first one within four hours, whatever the error; then
the payload has expired. How the nine are spaced is inferred. Source: Amplitude docs, Webhooks; Event streaming
overview.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

TRIES = 3
FIRST_WAIT_MS = 100
JITTER = 0.5
ATTEMPT_MS = 4_000


@dataclass(frozen=True)
class Progress:
    """How far a payload is: attempts that have failed whole, requests of the current one and when it began."""

    attempts: int = 0
    tries: int = 0
    began_ms: int | None = None


@dataclass(frozen=True)
class Step:
    """What follows an answer: ``delivered``, ``expired``, or another request at ``due_ms``."""

    outcome: str
    progress: Progress
    due_ms: int = 0


def answered(progress: Progress, status: int | None, now_ms: int, delays_ms: Sequence[int], rng: random.Random) -> Step:
    """What follows the answer ``status`` (None: none came); ``delays_ms`` are the waits between attempts."""
    if status is not None and 200 <= status < 300:
        return Step("delivered", progress)
    began_ms = now_ms if progress.began_ms is None else progress.began_ms
    tries = progress.tries + 1
    if status is not None and (status == 429 or status >= 500) and tries < TRIES:
        wait = FIRST_WAIT_MS * 2 ** (tries - 1) * (1 + rng.uniform(-JITTER, JITTER))
        due_ms = now_ms + round(wait)
        if due_ms - began_ms <= ATTEMPT_MS:
            return Step("pending", replace(progress, tries=tries, began_ms=began_ms), due_ms)
    if progress.attempts >= len(delays_ms):
        return Step("expired", progress)
    return Step("pending", Progress(progress.attempts + 1), now_ms + delays_ms[progress.attempts])
