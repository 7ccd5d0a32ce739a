"""The service: takes feeds and answers only after they are durable."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import flask
import orjson

from connector.config import Config
from connector.delivery import Delivery
from connector.flows import currents
from connector.outbox import Outbox, Taken

FLOWS = ("currents",)
_OTHER_FEEDS = ("amplitude/events", "amplitude/users", "amplitude/cohorts", "customerio")


class Draining(threading.Event):
    """Set when the connector is about to stop: feeds are then answered 503, to be sent again."""


def create_app(config: Config, outbox: Outbox, delivery: Delivery | None, draining: Draining) -> flask.Flask:
    """The WSGI app. ``delivery`` None: nothing is sent (the flow is off)."""
    app = flask.Flask("connector", static_folder=None)

    @app.get("/healthz")
    def healthz() -> flask.Response:
        body = {
            "status": "draining" if draining.is_set() else "ok",
            "flows": list(FLOWS),
            "outbox": outbox.counts(),
            "key_refused_since_ms": outbox.note("refused_ms"),
        }
        return _json(503 if draining.is_set() else 200, body)

    @app.get("/outbox")
    def listed() -> flask.Response:
        return _json(200, {"events": outbox.listed(flask.request.args.get("state", "dead"), 1000)})

    @app.post("/feeds/currents")
    def take() -> flask.Response:
        if draining.is_set():
            return _json(503, {"error": "draining: send it again"})
        if not authorized(flask.request.headers.get("Authorization", ""), config.currents_token):
            return _json(401, {"error": "the bearer token is missing or wrong"})
        try:
            events = read_batch(flask.request.get_data())
        except currents.Malformed as error:
            return _json(400, {"error": str(error)})
        if not events or config.currents is None:
            return _json(200, {"taken": 0})
        now_ms = delivery.clock.now_ms() if delivery is not None else 0
        fresh = outbox.put([mapped(each, config.currents.selection) for each in events], now_ms)
        response = _json(200, {"taken": len(events), "new": fresh})
        if delivery is not None:
            # The answer goes first: delivery is free to look once the feed knows that its batch is safe.
            response.call_on_close(delivery.wake)
        return response

    for path in _OTHER_FEEDS:
        app.add_url_rule(f"/feeds/{path}", path, _not_implemented, methods=["POST"])
    return app


def _json(status: int, body: object) -> flask.Response:
    return flask.Response(orjson.dumps(body), status=status, content_type="application/json")


def _not_implemented() -> flask.Response:
    return _json(501, {"error": "this connector does not implement the flow"})


def authorized(header: str, token: str) -> bool:
    """Whether the bearer token is right; without a configured token everybody may feed."""
    return not token or hmac.compare_digest(header.encode(), f"Bearer {token}".encode())


def read_batch(body: bytes) -> Sequence[Mapping[str, Any]]:
    """The checked events of a Currents request; none for the credential check. Raises Malformed."""
    if not body.strip():
        return []
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise currents.Malformed(f"the body is not JSON: {error}") from None
    events = data.get("events") if isinstance(data, dict) else None
    if isinstance(data, dict) and events is None:
        return []
    if not isinstance(events, list):
        raise currents.Malformed("events is not a list")
    checked = []
    for index, event in enumerate(events):
        try:
            checked.append(currents.check(event))
        except currents.Malformed as error:
            raise currents.Malformed(f"events[{index}]: {error}") from None
    return checked


def lane(event: Mapping[str, Any]) -> str:
    """What Amplitude orders and throttles by: the device, else the user."""
    if "device_id" in event:
        return f"device:{event['device_id']}"
    return f"user:{event['user_id']}"


def mapped(event: Mapping[str, Any], selection: frozenset[str] | None) -> Taken:
    """What the outbox keeps of a Currents event."""
    found = currents.to_amplitude(event, selection)
    if isinstance(found, currents.Skipped):
        return Taken(str(event["id"]), "", None, found.reason)
    return Taken(str(event["id"]), lane(found), orjson.dumps(found))
