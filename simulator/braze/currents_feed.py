"""The Currents feed as its callers see it: set it up, read its state, check it; let events happen, generate
traffic.

Source: Braze docs, Setting up Currents; Currents FAQ; Custom HTTP connector for Currents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection

from simulator import clock, feeds, ledger, timekeeper
from simulator.braze import catalogue as catalogues
from simulator.braze import currents, currents_queue, currents_sending, currents_traffic, generator
from simulator.braze.catalogue import event_types, selected_types
from simulator.braze.currents_emitting import NO_CONNECTOR, TOO_LARGE, UNSELECTED, emit
from simulator.braze.currents_queue import Setup
from simulator.braze.currents_sending import FLOW
from simulator.braze.currents_traffic import emit_later, generate
from simulator.braze.profiles import DEFAULT, profiles
from simulator.tank import Tank

__all__ = [
    "FLOW",
    "NO_CONNECTOR",
    "TEST_REFUSED",
    "TIMERS",
    "TOO_LARGE",
    "UNSELECTED",
    "catalogue",
    "check",
    "configure",
    "emit",
    "emit_later",
    "generate",
    "send_test",
    "state",
]

TEST_REFUSED = "test event was refused"

MAX_BATCH = 100


def catalogue() -> list[dict[str, Any]]:
    """The event types: ``[{type, name, category, family, properties: {name: type}, own, only_if}]``."""
    return catalogues.listed()


# -- setting up


def configure(conn: Connection, tank: Tank, config: Mapping[str, Any]) -> dict[str, Any]:
    """Set up or edit the connector; answers :func:`state`.

    ``url``; ``token`` (default: the tank's ``currents_token``; empty: no Authorization header); ``events``:
    ``"all"`` or a list of event types or documented names; ``profile``: ``2021``, ``late`` or ``2026``;
    ``batch_size``: 1 to 100. What is left out stays as it was. Saving enables a failed or disabled
    connector again, and what is still queued goes out. Raises ValueError in one line.
    """
    old = currents_queue.setup(conn)
    kept = {} if old is None else {name: getattr(old, name) for name in Setup.__dataclass_fields__}
    merged = {"token": None, "events": "all", "profile": DEFAULT, "batch_size": MAX_BATCH, **kept, **config}
    made = _checked(merged)
    taken_ms = None if old is None else currents_queue.connector(conn).taken_ms
    currents_queue.save_setup(conn, made)
    currents_queue.save_connector(conn, currents.Connector(taken_ms=taken_ms))
    currents_queue.refresh(conn)
    for key in ("probe", "deadline"):
        timekeeper.cancel(conn, f"currents.{key}")
    currents_sending.schedule_all(conn, tank, made, tank.clock.now_ms(conn))
    return state(conn, tank)


def _checked(config: Mapping[str, Any]) -> Setup:
    url, token, size = config.get("url"), config["token"], config["batch_size"]
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ValueError("the Currents feed has no url yet: give one like http://127.0.0.1:9000/feeds/currents")
    if token is not None and not isinstance(token, str):
        raise ValueError(f"token {token!r} is not text")
    if config["profile"] not in profiles():
        raise ValueError(f"profile {config['profile']!r} is unknown: give one of {', '.join(profiles())}")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_BATCH:
        raise ValueError(f"batch_size {size!r} does not fit: give 1 to {MAX_BATCH}")
    selected_types(config["events"])
    return Setup(url, token, config["events"], config["profile"], size)


def state(conn: Connection, _tank: Tank) -> dict[str, Any]:
    """How the connector does; status is ``running``, ``failed``, ``disabled``, or ``off`` without a
    connector.

    ``lost`` says that the connector's events were given up and new ones are dropped until it is saved anew.
    Counters: ``batches``, ``resent``, ``taken``, ``dropped``, ``unselected``, ``too_large``. ``notices``
    are the e-mails and alerts that the documents speak of.
    """
    made = currents_queue.setup(conn)
    if made is None:
        return {"status": "off", "url": None, "queues": {}, "counters": {}}
    now = currents_queue.connector(conn)
    return {
        "status": now.status,
        "url": made.url,
        "events": made.events,
        "profile": made.profile,
        "batch_size": made.batch_size,
        "lost": now.lost,
        "failed_since": _iso(now.refused_ms),
        "failing_since": _iso(now.failing_ms),
        "last_taken": _iso(now.taken_ms),
        "queues": {
            type_: {"pending": count, "oldest": clock.iso(oldest_ms)}
            for type_, (count, oldest_ms) in currents_queue.pending(conn).items()
        },
        "counters": currents_queue.counters(conn),
        "notices": currents_queue.notices(conn),
    }


def _iso(ms: int | None) -> str | None:
    return None if ms is None else clock.iso(ms)


# -- checking


def _setup(tank: Tank) -> Setup:
    with tank.store.read() as conn:
        found = currents_queue.setup(conn)
    if found is None:
        raise ValueError(NO_CONNECTOR)
    return found


def check(tank: Tank) -> feeds.Outcome:
    """The credential check: a request with an empty body. Raises ValueError without a connector.

    Source: Braze docs, Custom HTTP connector for Currents, Authentication.
    """
    return currents_sending.post(tank, _setup(tank), b"")


def send_test(tank: Tank) -> dict[str, Any]:
    """Send Test Events: one event per selected type, right in kind and meaning nothing, each in its own
    request.

    Answers ``{sent, answers: [{event_type, id, status}]}``; a refused test event is not sent again. Raises
    ValueError without a connector. Source: Braze docs, Setting up Currents, Testing.
    """
    setup = _setup(tank)
    wanted = selected_types(setup.events)
    answers = []
    for type_ in event_types():
        if wanted is not None and type_ not in wanted:
            continue
        with tank.store.write() as conn:
            now_ms = tank.clock.now_ms(conn)
            event = generator.test_event(tank.rng("test", ledger.count(conn, FLOW)), type_, now_ms)
            ledger.emitted(conn, FLOW, [(event["id"], type_)], now_ms)
        outcome = currents_sending.post(tank, setup, currents_sending.envelope([orjson.dumps(event)]))
        end, reason = (ledger.TAKEN, None) if outcome.taken else (ledger.DROPPED, TEST_REFUSED)
        with tank.store.write() as conn:
            ledger.mark(conn, FLOW, [event["id"]], end, tank.clock.now_ms(conn), reason)
        answers.append({"event_type": type_, "id": event["id"], "status": outcome.status})
    return {"sent": len(answers), "answers": answers}


TIMERS: Mapping[str, timekeeper.Handler] = {
    **currents_sending.TIMERS,
    "currents.stream": currents_traffic.on_stream,
}
