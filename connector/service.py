"""The service: takes feeds and answers only after they are durable."""

from __future__ import annotations

import hmac
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flask
import orjson
from werkzeug.exceptions import HTTPException

from connector import cohort_changes, metrics, reporting, streaming
from connector.assembly import Flow, Flows
from connector.config import FLOWS, Config
from connector.engine import Engine
from connector.flows import currents
from connector.intake import Intake
from connector.outbox import FAILURES, Taken, Unfit, Unreachable
from connector.sections import CurrentsConfig
from connector.serving import Answer, Straight

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 128_000_000
"""More than 100 events of the largest size that Braze sends (900 KB)."""
EVENTS = "/feeds/amplitude/events"
_DRAINING = {"error": "draining: send it again"}
_NOT_AUTHORIZED = {"error": "the bearer token is missing or wrong"}
_STATES = ("pending", "sent", "dead", "dropped", "skipped")


class Draining(threading.Event):
    """Set when the connector is about to stop: feeds are then answered 503, to be sent again."""


def create_app(config: Config, flows: Flows, engine: Engine, draining: Draining) -> flask.Flask:
    """The WSGI app over the flows that are on; a feed of one that is off is answered 2xx, and nothing is sent."""
    app = flask.Flask("connector", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.get("/healthz")
    def healthz() -> flask.Response:
        return _json(503 if draining.is_set() else 200, health(config, flows, draining.is_set()))

    @app.get("/outbox")
    def listed() -> flask.Response:
        state = flask.request.args.get("state", "dead")
        if state not in _STATES:
            return _json(400, {"error": f"state is one of {', '.join(_STATES)}"})
        flow = flows.get(flask.request.args.get("flow", "currents"))
        return _json(200, {"events": [] if flow is None else flow.outbox.listed(state, 1000)})

    @app.get("/runs")
    def runs() -> flask.Response:
        found = {name: flow.syncs.history(100) for name, flow in flows.items() if flow.syncs is not None}
        return _json(200, {"runs": found})

    @app.get("/metrics")
    def measured() -> flask.Response:
        return flask.Response(metrics.text(flows), content_type=metrics.CONTENT_TYPE)

    @app.post("/feeds/currents")
    def take() -> flask.Response:
        refused = _refused(config.currents_token, draining)
        return refused or take_currents(flask.request.get_data(), config, flows)

    @app.post("/feeds/amplitude/<kind>")
    def take_amplitude(kind: str) -> flask.Response:
        if kind not in _AMPLITUDE_FEEDS:
            flask.request.get_data()
            return _json(404, {"error": f"there is no feed amplitude/{kind}"})
        refused = _refused(config.feed_token, draining)
        return refused or _taken(lambda body: _AMPLITUDE_FEEDS[kind](body, config, flows, engine))

    @app.post("/feeds/customerio")
    def take_customerio() -> flask.Response:
        body = flask.request.get_data()
        if draining.is_set():
            return _json(503, _DRAINING)
        return take_report(body, config, flows, engine)

    @app.post("/flows/customerio/test")
    def test_customerio() -> flask.Response:
        if draining.is_set() or config.customerio is None:
            return _json(503 if draining.is_set() else 409, {"error": "the flow customerio is not running"})
        reply = reporting.test_connection(config.customerio, engine.clock.now_ms())
        return _json(200 if reply.kind == "accepted" else 502, {"amplitude": reply.kind, "reason": reply.reason})

    @app.post("/feeds/<path:feed>")
    def take_other(feed: str) -> flask.Response:
        flask.request.get_data()
        return _json(404, {"error": f"there is no feed {feed}"})

    @app.after_request
    def wake(response: flask.Response) -> flask.Response:
        if flask.request.path.startswith("/feeds/"):
            if engine.taken():
                engine.come_away()
            # The answer goes first, whatever it says: the tank counts our next wait from there.
            response.call_on_close(engine.wake)
        return response

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> flask.Response:
        return _json(error.code or 500, {"error": error.name})

    @app.errorhandler(Unreachable)
    def stumble(error: Unreachable) -> flask.Response:
        return _json(503, {"error": f"the outbox cannot be read: {error}"})

    return app


def _refused(token: str, draining: Draining) -> flask.Response | None:
    """The answer to a feed that is not taken now, or not from this sender; the body is read in any case."""
    flask.request.get_data()
    if draining.is_set():
        return _json(503, _DRAINING)
    if not authorized(flask.request.headers.get("Authorization", ""), token):
        return _json(401, _NOT_AUTHORIZED)
    return None


def straight(config: Config, flows: Flows, draining: Draining) -> dict[str, Straight]:
    """The feeds that take a shorter way than Flask's, by path: they come one event a call, thousands in a second."""

    def refusal(authorization: str) -> Answer | None:
        if draining.is_set():
            return 503, orjson.dumps(_DRAINING)
        return None if authorized(authorization, config.feed_token) else (401, orjson.dumps(_NOT_AUTHORIZED))

    stream = config.event_stream
    if stream is None or "event_stream" not in flows:
        return {}
    return {EVENTS: Intake(flows["event_stream"].outbox, stream.stream, refusal).take}


def health(config: Config, flows: Flows, draining: bool) -> dict[str, Any]:
    """What /healthz says: flows, status, and how many events are in each state; ``held`` wait for a key."""
    currents_flow = flows.get("currents")
    told = {"outbox": dict.fromkeys((*_STATES, "held"), 0), "reasons": {}, "key_refused_since_ms": None}
    if currents_flow is not None:
        told = _told(currents_flow)
    others = [name for name in FLOWS if name != "currents"]
    return {
        "status": "draining" if draining else "ok",
        "flows": list(FLOWS),
        "currents": "off" if currents_flow is None else currents_flow.delivery.status,
        **told,
        **{name: {"status": flows[name].delivery.status, **_told(flows[name])} for name in others if name in flows},
        **({"delivery": streaming.figures(flows["event_stream"].outbox)} if "event_stream" in flows else {}),
    }


def _told(flow: Flow) -> dict[str, Any]:
    counts = flow.outbox.counts()
    refused_ms = flow.outbox.note("refused_ms")
    return {
        "outbox": {**counts, "held": 0 if refused_ms is None else counts["pending"]},
        "reasons": flow.outbox.reasons(),
        "key_refused_since_ms": refused_ms,
        "repeated": flow.outbox.note("repeated") or 0,
    }


def _taken(take: Callable[[bytes], int]) -> flask.Response:
    """Answer an authorized feed of Amplitude's; any 2xx means taken for good."""
    try:
        return _json(200, {"new": take(flask.request.get_data())})
    except (streaming.Malformed, Unfit) as error:
        return _json(400, {"error": str(error)})
    except FAILURES as error:
        log.error("the outbox did not take a feed: %s", error)
        return _json(503, {"error": "the outbox cannot be written: send it again"})


def _stream_event(body: bytes, config: Config, flows: Flows, _engine: Engine) -> int:
    if config.event_stream is None or "event_stream" not in flows:
        return 0
    return flows["event_stream"].outbox.put([streaming.event_row(config.event_stream.stream, body)])


def _stream_user(body: bytes, config: Config, flows: Flows, _engine: Engine) -> int:
    if config.event_stream is None or "event_stream" not in flows:
        return 0
    return streaming.take_user(flows["event_stream"].outbox, config.event_stream.stream, body)


def _cohort_change(body: bytes, config: Config, flows: Flows, engine: Engine) -> int:
    if config.cohort_sync is None or "cohort_sync" not in flows:
        return 0
    now_ms = engine.clock.now_ms()
    return cohort_changes.take(flows["cohort_sync"].outbox, config.cohort_sync.real_time, body, now_ms)


_AMPLITUDE_FEEDS: Mapping[str, Callable[[bytes, Config, Flows, Engine], int]] = {
    "events": _stream_event,
    "users": _stream_user,
    "cohorts": _cohort_change,
}


def take_currents(body: bytes, config: Config, flows: Flows) -> flask.Response:
    """Answer an authorized Currents request; 2xx means that its events are on the disk.

    400 makes Braze send the events one by one, 503 the same again later (Braze docs, Custom HTTP connector).
    """
    try:
        events = read_batch(body)
        rows = [] if config.currents is None else [mapped(each, config.currents) for each in events]
    except currents.Malformed as error:
        return _json(400, {"error": str(error)})
    try:
        fresh = flows["currents"].outbox.put(rows) if rows else 0
    except FAILURES as error:
        log.error("the outbox did not take a batch: %s", error)
        return _json(503, {"error": "the outbox cannot be written: send it again"})
    return _json(200, {"taken": len(events), "new": fresh})


def take_report(body: bytes, config: Config, flows: Flows, engine: Engine) -> flask.Response:
    """Answer a reporting webhook; 2xx means that it is on the disk, 401 that Customer.io has not signed it now.

    A 401 makes Customer.io wait an hour, a 503 a moment (Customer.io docs, reporting webhooks, Timeouts and failures).
    """
    if config.customerio is None:
        return _json(200, {"new": 0})
    timestamp, given = (flask.request.headers.get(name, "") for name in (reporting.TIMESTAMP, reporting.SIGNATURE))
    key, window_s = config.customerio.signing_key, config.customerio.integration.readings.signature_window_s
    if not reporting.verified(key, timestamp, given, body, engine.clock.now_ms(), window_s):
        return _json(401, {"error": "the signature is missing or wrong, or its time is too far from now"})
    try:
        fresh = reporting.take(flows["customerio"].outbox, config.customerio.integration, body)
    except FAILURES as error:
        log.error("the outbox did not take a report: %s", error)
        return _json(503, {"error": "the outbox cannot be written: send it again"})
    return _json(200, {"new": fresh})


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
