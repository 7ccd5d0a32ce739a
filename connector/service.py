"""The service: takes feeds and answers only after they are durable."""

from __future__ import annotations

import hmac
import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import flask
import orjson
from werkzeug.exceptions import HTTPException

from connector.config import Config, CurrentsConfig
from connector.delivery import Delivery
from connector.flows import currents
from connector.outbox import Outbox, Taken

log = logging.getLogger(__name__)

FLOWS = ("currents",)
MAX_BODY_BYTES = 128_000_000
"""More than 100 events of the largest size that Braze sends (900 KB)."""
_OTHER_FEEDS = {
    "amplitude/events": "event_stream",
    "amplitude/users": "event_stream",
    "amplitude/cohorts": "cohort_sync",
    "customerio": "customerio",
}
_STATES = ("pending", "sent", "dead", "dropped", "skipped")


class Draining(threading.Event):
    """Set when the connector is about to stop: feeds are then answered 503, to be sent again."""


def create_app(config: Config, outbox: Outbox, delivery: Delivery | None, draining: Draining) -> flask.Flask:
    """The WSGI app. ``delivery`` None: nothing is sent (the flow is off)."""
    app = flask.Flask("connector", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.get("/healthz")
    def healthz() -> flask.Response:
        return _json(503 if draining.is_set() else 200, health(config, outbox, delivery, draining.is_set()))

    @app.get("/outbox")
    def listed() -> flask.Response:
        state = flask.request.args.get("state", "dead")
        if state not in _STATES:
            return _json(400, {"error": f"state is one of {', '.join(_STATES)}"})
        return _json(200, {"events": outbox.listed(state, 1000)})

    @app.post("/feeds/currents")
    def take() -> flask.Response:
        body = flask.request.get_data()
        if draining.is_set():
            return _json(503, {"error": "draining: send it again"})
        if not authorized(flask.request.headers.get("Authorization", ""), config.currents_token):
            return _json(401, {"error": "the bearer token is missing or wrong"})
        return take_currents(body, config, outbox)

    @app.post("/feeds/<path:feed>")
    def take_other(feed: str) -> flask.Response:
        flask.request.get_data()
        if feed not in _OTHER_FEEDS:
            return _json(404, {"error": f"there is no feed {feed}"})
        return _json(501, {"error": f"this connector does not implement the flow {_OTHER_FEEDS[feed]}"})

    @app.after_request
    def wake(response: flask.Response) -> flask.Response:
        if delivery is not None and flask.request.path.startswith("/feeds/"):
            # The answer goes first, whatever it says: the tank counts our next wait from there.
            response.call_on_close(delivery.wake)
        return response

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> flask.Response:
        return _json(error.code or 500, {"error": error.name})

    return app


def health(config: Config, outbox: Outbox, delivery: Delivery | None, draining: bool) -> dict[str, Any]:
    """What /healthz says: flows, status, and how many events are in each state; ``held`` wait for a key."""
    counts = outbox.counts()
    refused_ms = outbox.note("refused_ms")
    return {
        "status": "draining" if draining else "ok",
        "flows": list(FLOWS),
        "not_implemented": list(config.not_implemented),
        "currents": "off" if delivery is None else delivery.status,
        "outbox": {**counts, "held": 0 if refused_ms is None else counts["pending"]},
        "reasons": outbox.reasons(),
        "key_refused_since_ms": refused_ms,
    }


def take_currents(body: bytes, config: Config, outbox: Outbox) -> flask.Response:
    """Answer an authorized Currents request; 2xx means that its events are on the disk.

    400 makes Braze send the events one by one, 503 the same again later (Braze docs, Custom HTTP connector).
    """
    try:
        events = read_batch(body)
        rows = [] if config.currents is None else [mapped(each, config.currents) for each in events]
    except currents.Malformed as error:
        return _json(400, {"error": str(error)})
    try:
        fresh = outbox.put(rows) if rows else 0
    except sqlite3.Error as error:
        log.error("the outbox did not take a batch: %s", error)
        return _json(503, {"error": "the outbox cannot be written: send it again"})
    return _json(200, {"taken": len(events), "new": fresh})


def _json(status: int, body: object) -> flask.Response:
    return flask.Response(orjson.dumps(body), status=status, content_type="application/json")


def authorized(header: str, token: str) -> bool:
    """Whether the bearer token is right; without a configured token everybody may feed."""
    scheme, _, given = header.partition(" ")
    return not token or (scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode()))


def read_batch(body: bytes) -> Sequence[Mapping[str, Any]]:
    """The checked events of a Currents request; none for the credential check. Raises Malformed."""
    if not body.strip():
        return []
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise currents.Malformed(f"the body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise currents.Malformed("the body is not an object")
    events = data.get("events")
    if events is None:
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
    """What Amplitude throttles by: the device, else the user."""
    if "device_id" in event:
        return f"device:{event['device_id']}"
    return f"user:{event['user_id']}"


def mapped(event: Mapping[str, Any], flow: CurrentsConfig) -> Taken:
    """What the outbox keeps of a Currents event. Raises Malformed when it cannot be written as JSON."""
    newest = flow.profile == currents.PROFILE_2026
    convert = currents.to_newest if newest else currents.to_amplitude
    found = convert(event, flow.selection)
    if isinstance(found, currents.Skipped):
        return Taken(str(event["id"]), "", None, found.reason)
    try:
        return Taken(str(event["id"]), lane(found), orjson.dumps(found))
    except orjson.JSONEncodeError as error:
        raise currents.Malformed(f"event {event['id']}: {error}") from None
