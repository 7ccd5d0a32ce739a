"""Sending reports: one after the other per webhook, each signed, the next only after the last one has its end.

Handlers run outside transactions. A process killed between the receiver's answer and the commit sends the same report
again. Source: Customer.io's OpenAPI document of reporting webhooks (signature; timeouts and failures).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from simulator import faults, feeds, timekeeper
from simulator.customerio import queue, reporting, retrying, signing, webhooks
from simulator.customerio.retrying import Rules
from simulator.customerio.webhooks import Webhook
from simulator.tank import Tank

SOON_MS = 1_000
STALE_S = 86_400
_turns: dict[tuple[str, int, int], threading.Lock] = {}
_turns_guard = threading.Lock()


def post(tank: Tank, url: str, key: str, body: bytes, sent_s: int) -> feeds.Outcome:
    """Post a signed body; no transaction may be open."""
    timeout_s = float(tank.settings["customerio.webhook.timeout_s"])
    return feeds.post(tank, url, body, headers(tank, key, str(sent_s), body), timeout_s, spoil=spoiler(key, sent_s))


def headers(tank: Tank, key: str, timestamp: str, body: bytes) -> dict[str, str]:
    """The headers of a report."""
    return {
        "Content-Type": "application/json",
        "User-Agent": tank.settings["customerio.webhook.user_agent"],
        **signing.headers(key, timestamp, body),
    }


def spoiler(key: str, sent_s: int) -> Callable[[faults.Fault, bytes, dict[str, str]], tuple[bytes, dict[str, str]]]:
    """What a fault that spoils feeds does to a signed request."""

    def spoil(fault: faults.Fault, body: bytes, given: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        if fault.kind == "wrong_signature":
            return body, {**given, **signing.headers(f"not {key}", str(sent_s), body)}
        if fault.kind == "stale":
            old = str(sent_s - int(fault.params.get("age_s", STALE_S)))
            return body, {**given, **signing.headers(key, old, body)}
        if fault.kind == "altered_byte":
            return altered(body), given
        if fault.kind == "other_encoding":
            return reencoded(body, str(fault.params.get("encoding", "spaced"))), given
        return body, given

    return spoil


def altered(body: bytes) -> bytes:
    """The body with one digit or letter changed, still JSON where it was: a digit of the last number, else a letter."""
    for index in range(len(body) - 1, -1, -1):
        if 48 <= body[index] <= 56:
            return body[:index] + bytes([body[index] + 1]) + body[index + 1 :]
    return body[:-1] + b" " if body else b" "


def reencoded(body: bytes, encoding: str) -> bytes:
    """The same object in other bytes: ``spaced``, ``sorted`` or ``indented``; what is not JSON stays."""
    options = {"sorted": orjson.OPT_SORT_KEYS, "indented": orjson.OPT_INDENT_2}
    try:
        loaded = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    made = orjson.dumps(loaded, option=options.get(encoding, 0))
    return made if encoding in options else b" " + made + b"\n"


# -- one report


def _turn(tank: Tank, webhook_id: int) -> threading.Lock:
    with _turns_guard:
        return _turns.setdefault((tank.id, tank.born, webhook_id), threading.Lock())


@dataclass(frozen=True)
class _Job:
    """The next request of a webhook: the head of its queue."""

    webhook: Webhook
    row: Any
    sent_s: int


def _next(conn: Connection, tank: Tank, webhook_id: int) -> _Job | None:
    """What is to be sent now, if anything is."""
    webhook = webhooks.one(conn, webhook_id)
    row = None if webhook is None or webhook.disabled else queue.head(conn, webhook_id)
    if webhook is None or row is None:
        return None
    now_ms = tank.clock.now_ms(conn)
    if webhook.progress.resume_ms is not None and webhook.progress.resume_ms > now_ms:
        reporting.wake(conn, webhook_id, now_ms)
        return None
    fresh = tank.settings["customerio.webhook.resign"] or row.sent_s is None
    return _Job(webhook, row, now_ms // 1000 if fresh else row.sent_s)


def _settle(conn: Connection, tank: Tank, job: _Job, outcome: feeds.Outcome) -> bool:
    """Note what came of a request; True when the next one may follow at once."""
    current = webhooks.one(conn, job.webhook.id)
    if current is None:
        return False  # deleted while the request was under way
    now_ms, row = tank.clock.now_ms(conn), job.row
    began_ms = row.queued_ms if tank.settings["customerio.retry.give_up_from"] == "queued" else now_ms
    broken = outcome.status is None and not outcome.timed_out
    rules = Rules.of(tank.settings)
    step = retrying.answered(current.progress, outcome.status, broken, began_ms, now_ms, rules)
    if step.progress != current.progress:
        webhooks.save_progress(conn, current.id, step.progress)
    if step.end == queue.PENDING:
        queue.attempted(conn, row.n, job.sent_s, now_ms, outcome.error or f"the receiver answered {outcome.status}")
        reporting.wake(conn, current.id, now_ms)
        return False
    if step.end == queue.DELIVERED:
        queue.delivered(conn, row, now_ms, job.sent_s)
    else:
        queue.given_up(conn, row, now_ms, job.sent_s, retrying.GIVEN_UP)
    return True


def _on_post(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    """Send what a queue holds until nothing is due."""
    webhook_id = payload["webhook_id"]
    turn = _turn(tank, webhook_id)
    if not turn.acquire(blocking=False):
        # A request of this webhook is under way: look again soon, and leave the thread to others.
        with tank.store.write() as conn:
            key = f"customerio.post:{webhook_id}"
            timekeeper.schedule(conn, now_ms + SOON_MS, "customerio.post", key, payload)
        return
    try:
        with tank.store.write() as conn:
            job = _next(conn, tank, webhook_id)
        while job is not None:
            key, body = webhooks.signing_key(tank, webhook_id), queue.body_of(job.row)
            outcome = post(tank, job.webhook.endpoint, key, body, job.sent_s)
            with tank.store.write() as conn:
                job = _next(conn, tank, webhook_id) if _settle(conn, tank, job, outcome) else None
    finally:
        turn.release()


TIMERS: Mapping[str, timekeeper.Handler] = {"customerio.post": _on_post}
