"""What Currents decides: when a batch leaves, and what an answer does to its queue and to the connector.

Plain functions from (state, answer, now, rules, random source) to a new state and what to do. No clock, no
store, no sockets. Source: Braze docs, Currents FAQ; Currents integration for partners; Custom HTTP
connector for Currents.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Literal

from simulator.braze.profiles import HOUR_MS, Rules

REFUSED_ALONE = "refused alone by the connector with 400"
TOO_LARGE_ALONE = "too large alone for the connector (413)"
NOT_RESENT = "connector refused the credentials; refused events are not sent again"


@dataclass(frozen=True)
class Queue:
    """One event type's queue, as far as decisions need it. Times are tank time in ms.

    :param parts: sizes of the batches that are open already, next first; empty when the next batch is still
        to be made.
    :param alone: how many of the parts come from a split, one event each.
    :param attempts: failed attempts of the next part.
    :param since_ms: first failed attempt since the last success.
    :param resume_ms: it backs off until then.
    """

    parts: tuple[int, ...] = ()
    alone: int = 0
    attempts: int = 0
    since_ms: int | None = None
    resume_ms: int | None = None


@dataclass(frozen=True)
class Connector:
    """The connector's state. ``lost`` means that queued events were given up and new ones are, too.

    :param refused_ms: since when the credentials count as bad.
    :param failing_ms: first failure since the last success.
    :param taken_ms: last success.
    :param mailed: the customer has been notified of this trouble.
    :param alerted: Braze's operators have.
    """

    status: Literal["running", "failed", "disabled"] = "running"
    lost: bool = False
    refused_ms: int | None = None
    failing_ms: int | None = None
    taken_ms: int | None = None
    mailed: bool = False
    alerted: bool = False


@dataclass(frozen=True)
class Step:
    """What follows from an answer.

    :param taken: so many events from the head are delivered.
    :param dropped: so many are lost, for ``reason``.
    :param cutoff_ms: events queued until then are lost, for ``reason``.
    :param lose: everything queued is lost.
    :param probe_ms: try the halted connector then.
    :param notices: what people are told.
    """

    queue: Queue
    connector: Connector
    taken: int = 0
    dropped: int = 0
    cutoff_ms: int | None = None
    lose: bool = False
    reason: str = ""
    probe_ms: int | None = None
    notices: tuple[str, ...] = ()


def due_ms(queue: Queue, pending: int, oldest_ms: int | None, rules: Rules) -> int | None:
    """When the next batch leaves: when it is full, or after the waiting time. None when nothing is queued.

    ``pending`` may be any number from the batch size up when there are that many.
    """
    if not pending or oldest_ms is None:
        return None
    if queue.resume_ms is not None:
        return queue.resume_ms
    if queue.parts or pending >= rules.batch_size:
        return 0
    return oldest_ms + rules.batch_wait_ms


def next_size(queue: Queue, pending: int, rules: Rules) -> int:
    """How many events the next request carries."""
    return min(pending, queue.parts[0] if queue.parts else rules.batch_size)


def answered(
    queue: Queue,
    connector: Connector,
    size: int,
    oldest_ms: int,
    status: int | None,
    now_ms: int,
    rules: Rules,
    rng: random.Random,
) -> Step:
    """What the answer ``status`` (None: no answer) to a request of ``size`` events means.

    ``oldest_ms`` is when the first of them was queued.
    """
    act = rules.act(status)
    open_queue = queue if queue.parts else replace(queue, parts=(size,))
    rest = _without_head(open_queue)
    told, notices = _notices(connector, act, status, now_ms, rules)
    if act == "deliver":
        if connector.status == "disabled":  # an answer that was under way; only saving enables it again
            return Step(rest, replace(told, taken_ms=now_ms), taken=size)
        return Step(rest, Connector(taken_ms=now_ms), taken=size)
    if act in ("split", "halve"):
        # The connector has answered for itself: its credentials are good.
        well = told
        if connector.status != "disabled":
            well = replace(told, status="running", refused_ms=None, failing_ms=None, lost=False)
        if act == "split" and queue.alone:
            return Step(rest, well, dropped=1, reason=REFUSED_ALONE, notices=notices)
        if act == "halve" and size == 1:
            return Step(rest, well, dropped=1, reason=TOO_LARGE_ALONE, notices=notices)
        return Step(_cut(open_queue, size, act), well, notices=notices)
    if act == "retry" and connector.status == "running":
        return _retry(open_queue, told, oldest_ms, status, now_ms, rules, rng, notices)
    if act == "halt_lossy":
        halted = replace(_halted(told, now_ms, rules), lost=told.lost)
        return Step(rest, halted, dropped=size, reason=NOT_RESENT, notices=notices)
    return _halt(open_queue, told if act == "retry" else _halted(told, now_ms, rules), now_ms, rules, rng, notices)


def _without_head(queue: Queue) -> Queue:
    return Queue(queue.parts[1:], max(0, queue.alone - 1))


def _cut(queue: Queue, size: int, act: str) -> Queue:
    if act == "split":
        return Queue((1,) * size + queue.parts[1:], size)
    first = (size + 1) // 2
    return Queue((first, size - first, *queue.parts[1:]))


def _retry(
    queue: Queue,
    connector: Connector,
    oldest_ms: int,
    status: int | None,
    now_ms: int,
    rules: Rules,
    rng: random.Random,
    notices: tuple[str, ...],
) -> Step:
    since_ms = now_ms if queue.since_ms is None else queue.since_ms
    failing_ms = now_ms if connector.failing_ms is None else connector.failing_ms
    connector = replace(connector, failing_ms=failing_ms)
    span_ms = rules.retry_lost_ms(status)
    disable_ms = rules.profile.retry_disable_ms
    if disable_ms is not None and now_ms >= failing_ms + disable_ms:
        return Step(replace(queue, since_ms=since_ms), replace(connector, status="disabled"), notices=notices)
    attempts = queue.attempts + 1
    resume_ms = now_ms + rules.backoff_ms(attempts, rng)
    # A last try takes place at the very end of the time.
    deadline_ms = max(oldest_ms, since_ms) + span_ms
    if now_ms < deadline_ms:
        resume_ms = min(resume_ms, deadline_ms)
    if disable_ms is not None:
        resume_ms = min(resume_ms, failing_ms + disable_ms)
    cutoff_ms = now_ms - span_ms if now_ms >= deadline_ms else None
    return Step(
        Queue(queue.parts, queue.alone, attempts, since_ms, resume_ms),
        connector,
        cutoff_ms=cutoff_ms,
        reason=f"connector did not take it for {span_ms // HOUR_MS} hours",
        notices=notices,
    )


def _halted(connector: Connector, now_ms: int, rules: Rules) -> Connector:
    refused_ms = connector.refused_ms
    if refused_ms is None:
        by_success = rules.counts_from == "last_success" and connector.taken_ms is not None
        refused_ms = connector.taken_ms if by_success else now_ms
    failing_ms = now_ms if connector.failing_ms is None else connector.failing_ms
    status: Literal["failed", "disabled"] = "disabled" if connector.status == "disabled" else "failed"
    return replace(connector, status=status, refused_ms=refused_ms, failing_ms=failing_ms)


def _halt(
    queue: Queue,
    connector: Connector,
    now_ms: int,
    rules: Rules,
    rng: random.Random,
    notices: tuple[str, ...],
) -> Step:
    deadline_ms = (now_ms if connector.refused_ms is None else connector.refused_ms) + rules.halt_lost_ms()
    if now_ms >= deadline_ms:
        return Step(Queue(), given_up(connector, rules), lose=True, reason=lost_reason(rules), notices=notices)
    # A last try takes place at the very end of the time.
    probe_ms = min(now_ms + rules.probe_ms(rng), deadline_ms)
    kept = replace(queue, attempts=0, resume_ms=None)
    return Step(kept, connector, probe_ms=probe_ms, notices=notices)


def given_up(connector: Connector, rules: Rules) -> Connector:
    """The connector after its events were lost."""
    if rules.after_loss == "start_over" and connector.status == "failed":
        return Connector(taken_ms=connector.taken_ms)
    return replace(connector, lost=True)


def lost_reason(rules: Rules) -> str:
    """Why events are lost with their connector, for the ledger."""
    if rules.profile.halt_disable_ms is None:
        return f"connector refused the credentials for more than {rules.halt_lost_ms() // HOUR_MS} hours"
    return "connector is disabled and its queue has expired"


def deadline_ms(connector: Connector, rules: Rules) -> int | None:
    """When the connector's state changes without an attempt: it gets disabled, or its queue expires.

    None for profiles that probe: there everything follows from an attempt.
    """
    if rules.probes or connector.lost or connector.status == "running":
        return None
    began_ms = connector.refused_ms if connector.refused_ms is not None else connector.failing_ms
    profile = rules.profile
    if began_ms is None or profile.halt_disable_ms is None:
        return None
    return began_ms + (profile.halt_disable_ms if connector.status == "failed" else profile.halt_lost_ms)


def overdue(connector: Connector, now_ms: int, rules: Rules) -> tuple[Connector, bool]:
    """The connector once its deadline is reached, and whether everything queued is lost now."""
    due = deadline_ms(connector, rules)
    if due is None or now_ms < due:
        return connector, False
    if connector.status == "failed":
        return replace(connector, status="disabled"), False
    return given_up(connector, rules), True


def shortened(queue: Queue, dropped: int) -> Queue:
    """The queue after ``dropped`` events have gone from its head."""
    parts, alone = list(queue.parts), queue.alone
    while parts and dropped:
        gone = min(parts[0], dropped)
        parts[0] -= gone
        dropped -= gone
        if not parts[0]:
            del parts[0]
            alone = max(0, alone - 1)
    return replace(queue, parts=tuple(parts), alone=alone)


def _notices(
    connector: Connector, act: str, status: int | None, now_ms: int, rules: Rules
) -> tuple[Connector, tuple[str, ...]]:
    profile = rules.profile
    told: list[str] = []
    refused = act in ("halt", "halt_lossy")
    client_error = status is not None and 400 <= status < 500
    by_mail = (profile.email == "any 4xx" and client_error) or (profile.email == "credentials" and refused)
    if by_mail and not connector.mailed:
        told.append(f"e-mail to the customer: the connector answered {status}")
        connector = replace(connector, mailed=True)
    stuck_ms = 0 if connector.failing_ms is None else now_ms - connector.failing_ms
    if profile.alert_ms is not None and stuck_ms >= profile.alert_ms and not connector.alerted:
        told.append(f"alert to Braze's operators: data is stuck for {stuck_ms // HOUR_MS} hours")
        connector = replace(connector, alerted=True)
    return connector, tuple(told)
