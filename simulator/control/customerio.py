"""The simulated Customer.io over the control API: the reporting webhook, what is reported and what became of it."""

from __future__ import annotations

from typing import Any

from simulator.control.feeding import check_url
from simulator.control.frame import Ask, ControlRoute
from simulator.customerio import feed, queue, reporting

_T = "/tanks/<tank_id>"
_TEXT = {"type": "string", "minLength": 1, "maxLength": 1024}
_PAGE: dict[str, Any] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
    "after": {"type": "integer", "minimum": 0},
}


def configure(ask: Ask) -> tuple[int, Any]:
    if "url" in ask.body:
        check_url(ask.body["url"])
    with ask.tank.store.write() as conn:
        state = feed.configure(conn, ask.tank, ask.body)
    ask.desk.keeper(ask.tank).poke()
    return 200, state


def feed_state(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, feed.state(conn, ask.tank)


def send(ask: Ask) -> tuple[int, Any]:
    """Send one request past the queue, signed as asked for."""
    return 200, {"answers": feed.send(ask.tank, ask.body)}


def report(ask: Ask) -> tuple[int, Any]:
    tank = ask.tank
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        ids = reporting.report(conn, tank, ask.body["reports"], now_ms, raw=ask.body.get("raw", False))
    ask.desk.keeper(tank).poke()
    return 202, {"emitted": len(ids), "event_ids": ids}


def reports(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, queue.listed(conn, **ask.query)


ROUTES = (
    ControlRoute(
        "PUT",
        f"{_T}/feeds/customerio",
        "point the reporting webhook at a connector",
        configure,
        {200: "feed"},
        "customerio_feed",
    ),
    ControlRoute("GET", f"{_T}/feeds/customerio", "how the webhooks do", feed_state, {200: "feed"}),
    ControlRoute(
        "POST",
        f"{_T}/feeds/customerio/send",
        "send one report of your own past the queue",
        send,
        {200: "answers"},
        "customerio_send",
    ),
    ControlRoute(
        "POST",
        f"{_T}/customerio/reports",
        "queue reports",
        report,
        {202: "emitted"},
        "customerio_reports",
    ),
    ControlRoute(
        "GET",
        f"{_T}/customerio/reports",
        "what was reported, with its ends",
        reports,
        {200: "reports"},
        query={**_PAGE, "event_id": _TEXT},
    ),
)
