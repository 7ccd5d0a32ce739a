"""The simulated Customer.io over the control API: the reporting webhook, what is reported and what became of it."""

from __future__ import annotations

from typing import Any

from simulator.control.feeding import check_url
from simulator.control.frame import Ask, ControlRoute
from simulator.customerio import deliveries, feed, generating, messages, people, queue, reporting

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


def send_test(ask: Ask) -> tuple[int, Any]:
    return 200, feed.send_test(ask.tank)


def report(ask: Ask) -> tuple[int, Any]:
    tank = ask.tank
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        ids = reporting.report(
            conn,
            tank,
            ask.body["reports"],
            now_ms,
            raw=ask.body.get("raw", False),
            strict=ask.body.get("strict", False),
        )
    ask.desk.keeper(tank).poke()
    return 202, {"emitted": len(ids), "event_ids": ids}


def reports(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, queue.listed(conn, **ask.query)


def generate(ask: Ask) -> tuple[int, Any]:
    """Make people, and let messages be sent to the people there are."""
    tank = ask.tank
    with tank.store.write() as conn:
        done = generating.generate(
            conn,
            tank,
            tank.clock.now_ms(conn),
            people_count=ask.body.get("people", 0),
            delivery_count=ask.body.get("deliveries", 0),
            channels=ask.body.get("channels"),
        )
    ask.desk.keeper(tank).poke()
    return 202, done


def deliver(ask: Ask) -> tuple[int, Any]:
    """Send one message to people, as a marketer would start a newsletter or an event a campaign."""
    tank = ask.tank
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        made = generating.deliver(conn, tank, now_ms, ask.body["kind"], ask.body["id"], ask.body.get("people"))
    ask.desk.keeper(tank).poke()
    return 202, {"delivery_ids": made}


def happen(ask: Ask) -> tuple[int, Any]:
    """Let something happen to a delivery now."""
    tank, body = ask.tank, ask.body
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        at_s = body.get("timestamp", now_ms // 1000)
        ids = deliveries.happen_now(conn, tank, body["delivery_id"], body["metric"], at_s, now_ms, body.get("values"))
    ask.desk.keeper(tank).poke()
    return 202, {"event_ids": ids}


def workspace(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {
            "people": people.count(conn),
            "reports": queue.totals(conn),
            "webhooks": feed.state(conn, ask.tank)["webhooks"],
        }


def list_people(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        found = people.every(conn, ask.query.get("after", 0), ask.query.get("limit", 1000))
        return 200, {"count": people.count(conn), "people": people.shown(conn, found)}


def list_deliveries(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"deliveries": deliveries.listed(conn, **ask.query)}


def list_messages(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"messages": [messages.shown(each) for each in messages.every(conn)]}


def put_messages(ask: Ask) -> tuple[int, Any]:
    """Add messages, or change those of the same kind and id."""
    with ask.tank.store.write() as conn:
        for each in ask.body["messages"]:
            messages.put(conn, each)
    return list_messages(ask)


ROUTES = (
    ControlRoute("GET", f"{_T}/customerio", "what Customer.io holds", workspace, {200: "workspace"}),
    ControlRoute("GET", f"{_T}/customerio/people", "people", list_people, {200: "people"}, query=_PAGE),
    ControlRoute(
        "GET",
        f"{_T}/customerio/deliveries",
        "deliveries with what has happened to each",
        list_deliveries,
        {200: "deliveries"},
        query={**_PAGE, "delivery_id": _TEXT},
    ),
    ControlRoute("GET", f"{_T}/customerio/messages", "what is sent", list_messages, {200: "messages"}),
    ControlRoute(
        "PUT",
        f"{_T}/customerio/messages",
        "add or change messages",
        put_messages,
        {200: "messages"},
        "customerio_messages",
    ),
    ControlRoute(
        "POST",
        f"{_T}/customerio/generate",
        "make people and send messages",
        generate,
        {202: "made"},
        "customerio_generate",
    ),
    ControlRoute(
        "PUT",
        f"{_T}/feeds/customerio",
        "point the reporting webhook at a connector",
        configure,
        {200: "feed"},
        "customerio_feed",
    ),
    ControlRoute(
        "POST",
        f"{_T}/customerio/deliveries",
        "send one message to people",
        deliver,
        {202: "made"},
        "customerio_deliver",
    ),
    ControlRoute(
        "POST",
        f"{_T}/customerio/happen",
        "let something happen to a delivery",
        happen,
        {202: "reported"},
        "customerio_happen",
    ),
    ControlRoute("POST", f"{_T}/feeds/customerio/test", "Send Test", send_test, {200: "answer"}),
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
