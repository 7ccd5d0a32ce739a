"""Letting events happen in Braze: they are completed, checked, noted in the ledger and queued.

Source: Braze docs, Setting up Currents (selection, size); Currents FAQ (no backfill).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection

from simulator import ledger
from simulator.braze import catalogue, currents, currents_queue, currents_sending
from simulator.braze.catalogue import selected_types
from simulator.braze.currents_queue import Setup
from simulator.braze.currents_sending import FLOW
from simulator.braze.people import hex_text, uuid_text
from simulator.tank import Tank

UNSELECTED = "event type is not selected in the connector"
NO_CONNECTOR = "no Currents connector is set up"
TOO_LARGE = "event is larger than 900 KB"


def emit(
    conn: Connection, tank: Tank, events: Sequence[Mapping[str, Any]], now_ms: int, *, strict: bool = False
) -> list[str]:
    """Let events happen in Braze; answers their ids.

    Absent ``id``, ``time``, ``user`` and ``properties`` are filled in, anything else stays as it is. An id
    that was emitted before is the same event once more. With ``strict`` an event that does not have the
    documented shape raises ValueError, which names its index and field. Without a connector nothing is
    exported, ever.
    """
    made = _completed(tank, conn, events, now_ms)
    bodies = [_serialized(each, index, strict) for index, each in enumerate(made)]
    ids = [str(each["id"]) for each in made]
    known = ledger.known(conn, FLOW, ids)
    fresh: dict[str, str] = {}
    for each_id, each in zip(ids, made, strict=True):
        if each_id not in known:
            fresh.setdefault(each_id, str(each.get("event_type")))
    ledger.emitted(conn, FLOW, fresh.items(), now_ms)
    setup = currents_queue.setup(conn)
    if setup is None:
        ledger.mark(conn, FLOW, list(fresh), ledger.DROPPED, now_ms, NO_CONNECTOR)
    elif currents_queue.connector(conn).lost:
        reason = currents.lost_reason(currents_sending.rules_of(tank, setup))
        currents_sending.drop(conn, list(fresh), reason, now_ms)
    else:
        types = [str(each.get("event_type")) for each in made]
        _enqueue(conn, tank, setup, list(zip(types, ids, bodies, strict=True)), now_ms)
    return ids


def _completed(tank: Tank, conn: Connection, events: Sequence[Mapping[str, Any]], now_ms: int) -> list[dict[str, Any]]:
    count: int | None = None
    made = []
    for index, event in enumerate(events):
        each = dict(event)
        if "id" not in each:
            count = ledger.count(conn, FLOW) if count is None else count
            each["id"] = uuid_text(tank.rng("emit", count, index))
        each.setdefault("time", now_ms // 1000)
        each.setdefault("user", {})
        if isinstance(each["user"], Mapping) and "user_id" not in each["user"]:
            each["user"] = {"user_id": hex_text(tank.rng("user", str(each["id"]))), **each["user"]}
        each.setdefault("properties", {})
        made.append(each)
    return made


def _serialized(event: Mapping[str, Any], index: int, strict: bool) -> bytes:
    problem = catalogue.unfit(event) if strict else None
    if problem is not None:
        raise ValueError(f"events[{index}].{problem}")
    try:
        return orjson.dumps(event)
    except (TypeError, ValueError) as error:
        raise ValueError(f"events[{index}]: not JSON: {error}") from None


def _enqueue(conn: Connection, tank: Tank, setup: Setup, made: Sequence[tuple[str, str, bytes]], now_ms: int) -> None:
    wanted = selected_types(setup.events)
    most = int(tank.settings["braze.currents.max_event_bytes"])
    unselected = [id_ for type_, id_, _ in made if wanted is not None and type_ not in wanted]
    chosen = [each for each in made if wanted is None or each[0] in wanted]
    large = [id_ for _, id_, body in chosen if len(body) > most]
    queued = [(*each, now_ms) for each in chosen if len(each[2]) <= most]
    for ids, reason, counter in ((unselected, UNSELECTED, "unselected"), (large, TOO_LARGE, "too_large")):
        if ids:
            ledger.mark(conn, FLOW, ids, ledger.DROPPED, now_ms, reason)
            currents_queue.count(conn, {counter: len(ids)})
    currents_queue.append(conn, queued)
    status = currents_queue.connector(conn).status
    if status == "failed" and queued:
        currents_sending.schedule_probe(conn, tank, setup, now_ms)
    elif status == "running":
        for type_ in sorted({each[0] for each in queued}):
            currents_sending.schedule(conn, tank, setup, type_, now_ms)
