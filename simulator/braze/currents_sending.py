"""Sending: what the feed's timers do. A batch leaves its queue only after the connector has taken it.

Handlers run outside transactions. A process killed between the connector's answer and the commit sends the
same events again, with the same ids: at least once. Source: Braze docs, Event delivery semantics; Custom
HTTP connector for Currents.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from simulator import feeds, ledger, timekeeper
from simulator.braze import currents, currents_queue
from simulator.braze.currents_queue import Setup
from simulator.braze.profiles import Rules, rules
from simulator.tank import Tank

FLOW = "currents"
VERSION = "1"
_AGAIN_MS = 60_000
_SOON_MS = 1_000

_turns: dict[tuple[str, int, str], threading.Lock] = {}
_turns_guard = threading.Lock()


def headers(tank: Tank, setup: Setup) -> dict[str, str]:
    """The headers of every request to the connector; without a token there is no Authorization.

    Source: Braze docs, Custom HTTP connector for Currents, Authentication, Versioning.
    """
    token = tank.credential("currents_token") if setup.token is None else setup.token
    return {
        "Content-Type": "application/json",
        **({"Authorization": f"Bearer {token}"} if token else {}),
        "Braze-Currents-Version": VERSION,
        "User-Agent": tank.settings["braze.currents.user_agent"],
    }


def envelope(bodies: Sequence[bytes]) -> bytes:
    """The body of a request: an object of one member, ``events``."""
    return b'{"events":[' + b",".join(bodies) + b"]}"


def post(tank: Tank, setup: Setup, body: bytes) -> feeds.Outcome:
    """Post to the connector; no transaction may be open."""
    timeout_s = float(tank.settings["braze.currents.timeout_s"])
    return feeds.post(tank, setup.url, body, headers(tank, setup), timeout_s)


def rules_of(tank: Tank, setup: Setup) -> Rules:
    """The rules that hold for the connector."""
    return rules(setup.profile, setup.batch_size, tank.settings)


# -- when


def schedule(conn: Connection, tank: Tank, setup: Setup, type_: str, now_ms: int) -> int | None:
    """Set the timer of a queue; answers when it is due, None when there is nothing to send."""
    rule = rules_of(tank, setup)
    count, oldest_ms = currents_queue.waiting(conn, type_, rule.batch_size)
    due_ms = currents.due_ms(currents_queue.queue(conn, type_), count, oldest_ms, rule)
    if due_ms is not None:
        due_ms = max(now_ms, due_ms)
        timekeeper.schedule(conn, due_ms, "currents.flush", f"currents.flush:{type_}", {"type": type_})
    return due_ms


def schedule_all(conn: Connection, tank: Tank, setup: Setup, now_ms: int) -> None:
    """Set the timers of all queues, in order of the event types' names."""
    for type_ in currents_queue.types(conn):
        schedule(conn, tank, setup, type_, now_ms)


def schedule_probe(conn: Connection, tank: Tank, setup: Setup, now_ms: int) -> None:
    """Make sure that a halted connector is tried again when its profile says so."""
    rule = rules_of(tank, setup)
    if rule.probes and timekeeper.scheduled(conn, "currents.probe") is None:
        due_ms = now_ms + rule.probe_ms(tank.rng("currents-probe", now_ms))
        timekeeper.schedule(conn, due_ms, "currents.probe", "currents.probe")


# -- one batch


def _turn(tank: Tank, type_: str) -> threading.Lock:
    """One request at a time per event type: each has its own queue."""
    with _turns_guard:
        return _turns.setdefault((tank.id, tank.born, type_), threading.Lock())


def _send(tank: Tank, type_: str, *, probe: bool) -> bool:
    """Send the next batch of a queue if one is due; True when another look may be worth it."""
    with tank.store.write() as conn:
        loaded = currents_queue.load(conn)
        if loaded is None or loaded[1].status != ("failed" if probe else "running"):
            return False
        setup = loaded[0]
        now_ms = tank.clock.now_ms(conn)
        rule = rules_of(tank, setup)
        queue = currents_queue.queue(conn, type_)
        rows = currents_queue.head(conn, type_, rule.batch_size)
        if not probe:
            due_ms = currents.due_ms(queue, len(rows), rows[0].queued_ms if rows else None, rule)
            if due_ms is None or due_ms > now_ms:
                schedule(conn, tank, setup, type_, now_ms)
                return False
        rows = rows[: currents.next_size(queue, len(rows), rule)]
    if not rows:
        return False
    outcome = post(tank, setup, envelope([row.body for row in rows]))
    with tank.store.write() as conn:
        _settle(conn, tank, setup, type_, rows, outcome)
    return True


def _settle(
    conn: Connection, tank: Tank, setup: Setup, type_: str, rows: Sequence[Any], outcome: feeds.Outcome
) -> None:
    now_ms = tank.clock.now_ms(conn)
    ids = [row.event_id for row in rows]
    queue = currents_queue.queue(conn, type_)
    currents_queue.count(conn, {"batches": 1, "resent": 1 if queue.parts else 0})
    if currents_queue.first(conn, type_) != rows[0].n:
        # The queue was given up while the request was under way; what was taken was taken all the same.
        if outcome.taken:
            ledger.mark(conn, FLOW, ids, ledger.TAKEN, now_ms)
        return
    before = currents_queue.connector(conn)
    rng = tank.rng("currents", type_, rows[0].n, queue.attempts, now_ms)
    step = currents.answered(
        queue, before, len(rows), rows[0].queued_ms, outcome.status, now_ms, rules_of(tank, setup), rng
    )
    if step.taken:
        currents_queue.remove(conn, [row.n for row in rows])
        ledger.mark(conn, FLOW, ids, ledger.TAKEN, now_ms)
        currents_queue.count(conn, {"taken": len(rows)})
    elif step.dropped:
        currents_queue.remove(conn, [row.n for row in rows[: step.dropped]])
        drop(conn, ids[: step.dropped], step.reason, now_ms)
    next_queue = step.queue
    if step.cutoff_ms is not None:
        old = currents_queue.remove_until(conn, type_, step.cutoff_ms)
        drop(conn, old, step.reason, now_ms)
        left = currents_queue.waiting(conn, type_, 1)[0]
        next_queue = currents.shortened(next_queue, len(old)) if left else currents.Queue()
    if step.lose:
        drop(conn, currents_queue.clear(conn), step.reason, now_ms)
    if next_queue != queue or step.lose:
        currents_queue.save_queue(conn, type_, next_queue)
    if step.connector != before:
        currents_queue.save_connector(conn, step.connector)
    currents_queue.note(conn, step.notices, now_ms)
    _follow(conn, tank, setup, before, step, now_ms)


def _follow(
    conn: Connection, tank: Tank, setup: Setup, before: currents.Connector, step: currents.Step, now_ms: int
) -> None:
    """Set the timers that the connector's new state asks for."""
    after = step.connector
    if after.status == "running":
        if before.status != "running":
            timekeeper.cancel(conn, "currents.probe")
            timekeeper.cancel(conn, "currents.deadline")
            schedule_all(conn, tank, setup, now_ms)
        return
    if step.probe_ms is not None and after.status == "failed":
        timekeeper.schedule(conn, step.probe_ms, "currents.probe", "currents.probe")
    schedule_deadline(conn, after, rules_of(tank, setup))


def schedule_deadline(conn: Connection, connector: currents.Connector, rule: Rules) -> None:
    """Set the timer for what happens to a halted connector without an attempt."""
    due_ms = currents.deadline_ms(connector, rule)
    if due_ms is not None:
        timekeeper.schedule(conn, due_ms, "currents.deadline", "currents.deadline")


def drop(conn: Connection, ids: Sequence[str], reason: str, now_ms: int) -> None:
    """Note in the ledger that events are lost, and count them."""
    if ids:
        ledger.mark(conn, FLOW, ids, ledger.DROPPED, now_ms, reason)
        currents_queue.count(conn, {"dropped": len(ids)})


# -- timers


def _kept(kind: str, handler: timekeeper.Handler) -> timekeeper.Handler:
    """A timer that goes off again in a minute when its work failed: no queue is forgotten."""

    def run(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
        try:
            handler(tank, payload, now_ms)
        except Exception:
            key = f"{kind}:{payload['type']}" if "type" in payload else kind
            with tank.store.write() as conn:
                timekeeper.schedule(conn, now_ms + _AGAIN_MS, kind, key, payload)
            raise

    return run


def _on_flush(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    """Send what a queue holds, batch by batch, until nothing is due."""
    type_ = payload["type"]
    turn = _turn(tank, type_)
    if not turn.acquire(blocking=False):
        # A request of this queue is under way: look again soon, and leave the thread to other queues.
        with tank.store.write() as conn:
            timekeeper.schedule(conn, now_ms + _SOON_MS, "currents.flush", f"currents.flush:{type_}", payload)
        return
    try:
        while _send(tank, type_, probe=False):
            pass
    finally:
        turn.release()


def _on_probe(tank: Tank, _payload: Mapping[str, Any], _now_ms: int) -> None:
    """Try a halted connector with the batch that has waited longest; when it is taken, everything goes on."""
    with tank.store.read() as conn:
        type_ = currents_queue.oldest_type(conn)
    if type_ is not None:
        with _turn(tank, type_):
            _send(tank, type_, probe=True)


def _on_deadline(tank: Tank, _payload: Mapping[str, Any], _now_ms: int) -> None:
    """A halted connector gets disabled, or its queue expires."""
    with tank.store.write() as conn:
        setup = currents_queue.setup(conn)
        if setup is None:
            return
        now_ms = tank.clock.now_ms(conn)
        rule = rules_of(tank, setup)
        state, lose = currents.overdue(currents_queue.connector(conn), now_ms, rule)
        if lose:
            drop(conn, currents_queue.clear(conn), currents.lost_reason(rule), now_ms)
        currents_queue.save_connector(conn, state)
        schedule_deadline(conn, state, rule)


TIMERS: Mapping[str, timekeeper.Handler] = {
    kind: _kept(kind, handler)
    for kind, handler in (
        ("currents.flush", _on_flush),
        ("currents.probe", _on_probe),
        ("currents.deadline", _on_deadline),
    )
}
