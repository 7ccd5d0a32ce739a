"""Letting things be reported: reports are completed, checked, noted in the ledger and queued for the webhooks.

Source: Customer.io docs, reporting webhooks guide (events, send frequency, body content).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Column, Connection, Integer, String, Table, select

from simulator import ledger, timekeeper
from simulator.customerio import catalogue, ids, queue, samples, webhooks
from simulator.customerio.webhooks import Webhook
from simulator.store import insert_rows, json_set, metadata
from simulator.tank import Tank

UNSELECTED = "the webhook does not select this event"
REPEATED = "not the first of its kind for this person and message"
DISABLED = "the webhook was disabled"

_first_ones = Table(
    "customerio_first_ones",
    metadata,
    Column("webhook_id", Integer, primary_key=True),
    Column("message", String, primary_key=True),
    sqlite_with_rowid=False,
)


def report(
    conn: Connection, tank: Tank, given: Sequence[Any], now_ms: int, *, raw: bool = False, strict: bool = False
) -> list[str]:
    """Report things; answers their event ids.

    Absent ``event_id``, ``timestamp`` and ``data`` are filled in. With ``raw`` every report goes to every enabled
    webhook exactly as it is given (text: as the body itself), past selection and options. Raises ValueError, which
    names index and field, for a pair that Customer.io does not report, and with ``strict`` for any other shape than
    the documented one.
    """
    number = queue.last(conn)
    made = list(given) if raw else [_completed(tank, each, index, number, now_ms) for index, each in enumerate(given)]
    if strict and not raw:
        for index, each in enumerate(made):
            wrong = catalogue.unfit(each)
            if wrong is not None:
                raise ValueError(f"reports[{index}]: {wrong}")
    bodies = [_body(each, index) for index, each in enumerate(made)]
    event_ids = [_event_id(each, number + index + 1) for index, each in enumerate(made)]
    known = ledger.known(conn, queue.FLOW, event_ids)
    fresh: dict[str, str] = {}
    for each, event_id in zip(made, event_ids, strict=True):
        if event_id not in known:
            fresh.setdefault(event_id, "_".join(_text(each, key) for key in ("object_type", "metric")))
    ledger.emitted(conn, queue.FLOW, fresh.items(), now_ms)
    rows = [
        (number + 1 + index, event_id, _text(each, "object_type"), _text(each, "metric"), now_ms, raw, body)
        for index, (each, event_id, body) in enumerate(zip(made, event_ids, bodies, strict=True))
    ]
    columns = ("n", "event_id", "object_type", "metric", "emitted_ms", "raw", "body")
    insert_rows(conn, queue.reports, columns, rows)
    numbers = [row[0] for row in rows]
    for webhook in webhooks.every(conn):
        _queue(conn, tank, webhook, list(zip(numbers, made, strict=True)), now_ms, raw)
    queue.settle(conn, numbers, now_ms)
    return event_ids


def _completed(tank: Tank, given: Any, index: int, number: int, now_ms: int) -> dict[str, Any]:
    pair = catalogue.pair_of(given)
    if pair is None:
        raise ValueError(f"reports[{index}]: Customer.io reports no such object_type and metric; raw sends any report")
    rng = tank.rng("customerio_report", number + index)
    happened = given.get("timestamp", now_ms // 1000)
    made = {
        "event_id": given["event_id"] if "event_id" in given else ids.ulid(rng, now_ms),
        "object_type": pair.object_type,
        "metric": pair.metric,
        "timestamp": happened,
        "data": given["data"] if "data" in given else samples.data(rng, pair, now_ms),
    }
    return {**made, **{key: value for key, value in given.items() if key not in made}}


def _body(given: Any, index: int) -> bytes:
    if isinstance(given, str):
        return given.encode("utf-8", "surrogateescape")
    try:
        return orjson.dumps(given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"reports[{index}]: not JSON: {error}") from None


def _event_id(given: Any, number: int) -> str:
    found = given.get("event_id") if isinstance(given, dict) else None
    return found if isinstance(found, str) and found else f"report {number} without event_id"


def _text(given: Any, key: str) -> str:
    found = given.get(key) if isinstance(given, dict) else None
    return found if isinstance(found, str) else "?"


# -- into the queues


def _queue(
    conn: Connection, tank: Tank, webhook: Webhook, made: Sequence[tuple[int, Any]], now_ms: int, raw: bool
) -> None:
    refused = [(n, None if raw else _refusal(tank, webhook, each)) for n, each in made]
    if webhook.disabled and tank.settings["customerio.webhook.when_disabled"] == "drop":
        refused = [(n, why or DISABLED) for n, why in refused]
    if not webhook.full_resolution and not raw:
        wanted = {n for n, why in refused if why is None}
        again = _again(conn, webhook, [(n, each) for n, each in made if n in wanted])
        refused = [(n, REPEATED if n in again else why) for n, why in refused]
    twice = float(tank.settings["customerio.webhook.duplicate_share"])
    rows = []
    for n, why in refused:
        state = queue.PENDING if why is None else queue.NOT_SELECTED
        times = 2 if why is None and twice and tank.rng("customerio_twice", webhook.id, n).random() < twice else 1
        rows += [(webhook.id, n, state, why, webhook.with_content, now_ms, now_ms)] * times
    queue.append(conn, rows)
    if any(why is None for _, why in refused):
        wake(conn, webhook.id, now_ms)


def _refusal(tank: Tank, webhook: Webhook, report_: Mapping[str, Any]) -> str | None:
    pair = catalogue.pair_of(report_)
    name = None if pair is None else pair.name
    if name is None and tank.settings["customerio.webhook.unnamed"] == "never":
        return UNSELECTED
    return None if webhook.wants(name) else UNSELECTED


def _again(conn: Connection, webhook: Webhook, made: Sequence[tuple[int, Mapping[str, Any]]]) -> set[int]:
    """Which of these opens and clicks are not the first per person and message."""
    messages: dict[int, str] = {}
    for n, each in made:
        data = each.get("data")
        if each["metric"] in catalogue.REPEATED and isinstance(data, dict) and data.get("delivery_id"):
            who = data.get("identifiers") if isinstance(data.get("identifiers"), dict) else {}
            person = who.get("cio_id") or who.get("id") if isinstance(who, dict) else None
            messages[n] = f"{each['object_type']} {each['metric']} {data['delivery_id']} {person}"
    table = _first_ones
    mine = (table.c.webhook_id == webhook.id) & table.c.message.in_(json_set(messages.values()))
    seen = set(conn.execute(select(table.c.message).where(mine)).scalars())
    again: set[int] = set()
    fresh = []
    for n, message in messages.items():
        if message in seen:
            again.add(n)
        else:
            seen.add(message)
            fresh.append((webhook.id, message))
    insert_rows(conn, table, ("webhook_id", "message"), fresh)
    return again


def wake(conn: Connection, webhook_id: int, now_ms: int) -> None:
    """Have the queue of a webhook looked at as soon as it may send; the timer that runs now is replaced, too."""
    webhook = webhooks.one(conn, webhook_id)
    if webhook is None or webhook.disabled:
        return
    due_ms = max(now_ms, webhook.progress.resume_ms or now_ms)
    timekeeper.schedule(conn, due_ms, "customerio.post", f"customerio.post:{webhook_id}", {"webhook_id": webhook_id})


def forget(conn: Connection, webhook_id: int) -> None:
    """Forget which opens and clicks a webhook has had."""
    conn.execute(_first_ones.delete().where(_first_ones.c.webhook_id == webhook_id))
