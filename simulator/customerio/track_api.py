"""The Track API: people, devices, events, metrics from outside, and the account's region.

Source: Customer.io docs, Track API (2026-08).
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection

from simulator.customerio import deliveries, messages, people, reporting
from simulator.customerio.access import Body
from simulator.customerio.people import Change, Person
from simulator.customerio.refusals import refuse
from simulator.customerio.workspace import WORKSPACE_ID
from simulator.exchange import Answer, Call
from simulator.tank import Tank

ALLOWED = {
    "email": ("bounced", "clicked", "converted", "deferred", "delivered", "dropped", "opened", "spammed"),
    "webhook": ("bounced", "clicked", "converted", "deferred", "delivered", "dropped", "opened", "spammed"),
    "in_app": ("clicked", "converted", "opened"),
    "push": ("converted", "delivered", "opened"),
    "slack": ("clicked", "converted", "delivered", "opened"),
    "sms": ("bounced", "clicked", "delivered", "opened"),
}
"""What may be reported from outside, by channel. Source: Track API, report metrics."""

_DONE = Answer(200, {})


def region(call: Call, _body: Body) -> Answer:
    eu = call.tank.region == "eu"
    url = f"https://track{'-eu' if eu else ''}.customer.io"
    return Answer(200, {"url": url, "region": call.tank.region, "environment_id": int(WORKSPACE_ID)})


# -- people


def _too_long(identifier: str) -> Answer | None:
    if len(identifier.encode("utf-8", "replace")) > people.MAX_IDENTIFIER_BYTES:
        return refuse("malformed", f"an identifier has up to {people.MAX_IDENTIFIER_BYTES} bytes")
    return None if identifier.strip() else refuse("malformed", "the identifier is empty")


def identify(call: Call, body: Body) -> Answer:
    identifier = call.path_args["identifier"]
    wrong = _too_long(identifier)
    if wrong is not None:
        return wrong
    change = people.identify(call.conn, call.tank, identifier, body, call.now_ms)
    tell(call.conn, call.tank, change, call.now_ms)
    return _DONE


def tell(conn: Connection, tank: Tank, change: Change, now_ms: int) -> None:
    """Report what a change of a person's subscriptions makes known; no message caused it."""
    person = change.person
    if person is None:
        return
    made: list[dict[str, Any]] = []
    if change.subscribed is not None:
        made.append(_customer(tank, person, "subscribed" if change.subscribed else "unsubscribed", now_ms))
    if change.preferences is not None:
        report = _customer(tank, person, "cio_subscription_preferences_changed", now_ms)
        report["data"]["content"] = orjson.dumps(change.preferences).decode()
        made.append(report)
    if made:
        reporting.report(conn, tank, made, now_ms)


def _customer(tank: Tank, person: Person, metric: str, now_ms: int) -> dict[str, Any]:
    data = {
        **({} if person.id is None else {"customer_id": person.id}),
        "email_address": person.email or "",
        "identifiers": person.identifiers(people.several(tank)),
    }
    return {"object_type": "customer", "metric": metric, "timestamp": now_ms // 1000, "data": data}


def delete(call: Call, _body: Body) -> Answer:
    person = people.find(call.conn, call.tank, call.path_args["identifier"])
    if person is not None:
        people.remove(call.conn, person)
    return _DONE


def suppress(call: Call, _body: Body) -> Answer:
    identifier = call.path_args["identifier"]
    wrong = _too_long(identifier)
    if wrong is not None:
        return wrong
    person = people.find(call.conn, call.tank, identifier)
    if person is not None:
        people.remove(call.conn, person, block=True)
    else:
        people.block(call.conn, identifier)
    return _DONE


def unsuppress(call: Call, _body: Body) -> Answer:
    people.unblock(call.conn, call.path_args["identifier"])
    return _DONE


def add_device(call: Call, body: Body) -> Answer:
    identifier = call.path_args["identifier"]
    wrong = _too_long(identifier)
    if wrong is not None:
        return wrong
    person = _present(call, identifier)
    if person is not None:
        people.add_device(call.conn, person, body["device"])
    return _DONE


def _present(call: Call, identifier: str) -> Person | None:
    """The person of the path, who is made when nobody has the identifier."""
    found = people.find(call.conn, call.tank, identifier)
    return found or people.identify(call.conn, call.tank, identifier, {}, call.now_ms).person


def remove_device(call: Call, _body: Body) -> Answer:
    person = people.find(call.conn, call.tank, call.path_args["identifier"])
    if person is not None:
        people.remove_device(call.conn, person, call.path_args["device_id"])
    return _DONE


# -- events


def event(call: Call, body: Body) -> Answer:
    identifier = call.path_args["identifier"]
    wrong = _too_long(identifier) or _nameless(body)
    if wrong is not None:
        return wrong
    person = _present(call, identifier)
    if person is not None and people.record(call.conn, person.cio_id, body, call.now_ms) and not person.unsubscribed:
        for message in messages.triggered(call.conn, "campaign", body["name"].strip()):
            deliveries.send(call.conn, call.tank, message, person, call.now_ms)
    return _DONE


def anonymous(call: Call, body: Body) -> Answer:
    wrong = _nameless(body)
    if wrong is not None:
        return wrong
    people.record(call.conn, None, body, call.now_ms)
    return _DONE


def _nameless(body: Body) -> Answer | None:
    return None if body["name"].strip() else refuse("malformed", "name is empty")


# -- metrics from outside


def metric(call: Call, body: Body) -> Answer:
    return _metric(call, body["delivery_id"], body["metric"], body)


def push_event(call: Call, body: Body) -> Answer:
    row = deliveries.find(call.conn, body["delivery_id"])
    if row is not None and row.channel != "push":
        return refuse("malformed", "delivery_id does not name a push notification")
    return _metric(call, body["delivery_id"], body["event"], body, body.get("device_id"))


def _metric(call: Call, delivery_id: str, name: str, body: Body, device_id: str | None = None) -> Answer:
    row = deliveries.find(call.conn, delivery_id)
    if row is None:
        return refuse("delivery_unknown")
    if name not in ALLOWED.get(row.channel, ()):
        return refuse("malformed", f"metric {name} cannot be reported for {row.channel}")
    extra: dict[str, Any] = {}
    if isinstance(body.get("href"), str):
        extra["href"] = body["href"]
    if isinstance(body.get("reason"), str):
        extra["failure_message"] = body["reason"]
    token = device_id or (body.get("recipient") if row.channel == "push" else None)
    if token is not None:
        extra["recipients"] = _device(orjson.loads(row.facts)["recipients"], str(token))
    at_s = body.get("timestamp", call.now_ms // 1000)
    made = deliveries.happen(call.conn, call.tank, row, name, at_s, extra)
    if row.channel == "email" and name in ("bounced", "spammed"):
        deliveries.suppress(call.conn, orjson.loads(row.facts)["recipient"])
    if made:
        reporting.report(call.conn, call.tank, made, call.now_ms)
    return _DONE


def _device(recipients: list[dict[str, str]], token: str) -> list[dict[str, str]]:
    return [each for each in recipients if each["device_id"] == token] or [{"device_id": token}]


def unsubscribe(call: Call, body: Body) -> Answer:
    """A custom unsubscribe page: the person is unsubscribed through this delivery."""
    row = deliveries.find(call.conn, call.path_args["delivery_id"])
    if row is None:
        return refuse("delivery_unknown")
    if not people.is_true(body.get("unsubscribe")) or not people.unsubscribe(call.conn, row.cio_id):
        return _DONE
    made = deliveries.happen(call.conn, call.tank, row, "unsubscribed", call.now_ms // 1000)
    if made:
        reporting.report(call.conn, call.tank, made, call.now_ms)
    return _DONE
