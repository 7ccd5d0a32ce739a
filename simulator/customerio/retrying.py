"""When a report that was not taken is sent again, and when it is given up: plain values in, plain values out.

The first wait is an hour after certain answers and short after a timeout; then both back off, for up to seven days.
Source: Customer.io's OpenAPI document of reporting webhooks, timeouts and failures; the figures of the backoff and
the treatment of answers that are not listed are inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIVEN_UP = "the receiver did not take it for seven days"


@dataclass(frozen=True)
class Rules:
    """The figures in ms; ``pausing`` are the statuses that ask for the long first wait."""

    pausing: frozenset[int]
    pause_ms: int
    first_wait_ms: int
    factor: float
    cap_ms: int
    give_up_ms: int
    restart: bool
    """Whether the backoff begins with its first wait after the pause."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Rules:
        """The rules as a tank's settings have them."""

        def ms(name: str) -> int:
            return round(1000 * float(settings[f"customerio.retry.{name}_s"]))

        return cls(
            frozenset(each for each in settings["customerio.retry.pausing_statuses"] if isinstance(each, int)),
            ms("pause"),
            ms("first_wait"),
            float(settings["customerio.retry.factor"]),
            ms("cap"),
            ms("give_up"),
            settings["customerio.retry.after_pause"] == "start",
        )


@dataclass(frozen=True)
class Progress:
    """How far the report at the head of a webhook's queue is.

    :param attempts: failed attempts; :param backoffs: waits of the backoff so far.
    :param began_ms: when its seven days began; :param resume_ms: it waits until then.
    """

    attempts: int = 0
    backoffs: int = 0
    began_ms: int | None = None
    resume_ms: int | None = None


@dataclass(frozen=True)
class Step:
    """What follows from an answer: ``delivered``, ``given_up``, or ``pending`` with the new progress."""

    end: str
    progress: Progress = Progress()


def answered(progress: Progress, status: int | None, broken: bool, began_ms: int, now_ms: int, rules: Rules) -> Step:
    """What the answer ``status`` (None: none came in time) to the report at the head means.

    :param broken: the connection failed, which counts as the listed statuses do.
    :param began_ms: when the seven days of a report that has not failed yet began.
    """
    if status is not None and 200 <= status < 300:
        return Step("delivered")
    began_ms = began_ms if progress.began_ms is None else progress.began_ms
    deadline_ms = began_ms + rules.give_up_ms
    if now_ms >= deadline_ms:
        return Step("given_up")
    pauses = broken or status in rules.pausing
    if pauses and not progress.attempts:
        wait_ms, backoffs = rules.pause_ms, 0 if rules.restart else 1
    else:
        wait_ms = _backoff_ms(rules, progress.backoffs)
        backoffs = progress.backoffs + 1
    # The last attempt takes place at the very end of the time.
    resume_ms = min(now_ms + max(1, wait_ms), deadline_ms)
    return Step("pending", Progress(progress.attempts + 1, backoffs, began_ms, resume_ms))


def _backoff_ms(rules: Rules, number: int) -> int:
    """The wait of the backoff of this number, from 0."""
    wait_ms = float(rules.first_wait_ms)
    for _ in range(number):
        if wait_ms >= rules.cap_ms:
            break
        wait_ms *= rules.factor
    return round(min(wait_ms, rules.cap_ms))
