"""The frame around every platform view: find the tank, draw faults, call the plain handler, note it all.

A handler is a plain function from a :class:`Call` to an :class:`Answer`; it knows neither Flask nor sockets.
State it changes through ``call.conn`` is committed together with the journal entry, before the answer goes out.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import parse_qs

import flask
import orjson
from sqlalchemy import Connection
from werkzeug.datastructures import Headers
from werkzeug.exceptions import ClientDisconnected, HTTPException

from simulator import clock, faults, journal, metrics, openapi, pools, traces
from simulator.pools import Pool
from simulator.store import command
from simulator.tank import Tank, Tanks
from simulator.wire import KEY, STREAM, Wire

log = logging.getLogger(__name__)

MAX_READ_BYTES = 64 * 1024 * 1024
"""More than any documented body limit: what lies beyond it is not read at all."""


@dataclass(frozen=True)
class Request:
    """What a platform decides upon. ``body`` is as received (not decompressed)."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    remote_addr: str


@dataclass(frozen=True)
class Reason:
    """Why an answer is what it is: the rule that fired, its source, figures, and advice to the caller."""

    rule: str
    text: str
    source: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""

    def shown(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "text": self.text,
            "source": self.source,
            "detail": dict(self.detail),
            "advice": self.advice,
        }


@dataclass(frozen=True)
class Answer:
    """``body``: bytes or text as they are; a dict or list becomes compact JSON in its own key order.

    ``stream`` makes the pieces of a body that is too large to hold: it is called after the handler's transaction
    is over and opens its own.
    """

    status: int
    body: bytes | str | Mapping[str, Any] | list[Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    why: tuple[Reason, ...] = ()
    stream: Callable[[], Iterator[bytes]] | None = None

    def raw(self) -> bytes:
        """The body as bytes."""
        if self.body is None:
            return b""
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return orjson.dumps(self.body)

    def type(self) -> str:
        """The content type: the given one, else what fits the body."""
        if self.content_type:
            return self.content_type
        return "application/json" if isinstance(self.body, Mapping | list) else "text/plain; charset=utf-8"


@dataclass
class Call:
    """A request that has reached its tank, with an open write transaction."""

    request: Request
    tank: Tank
    conn: Connection
    now_ms: int
    path_args: Mapping[str, Any]
    detail: Any = None


@dataclass(frozen=True)
class Found:
    """Result of looking for the tank: ``tank`` None means refuse; ``owner`` is the tank whose journal notes a
    refused request anyway (a revoked key, the other region); ``detail`` goes to the handler or the refusal."""

    tank: Tank | None
    detail: Any = None
    owner: Tank | None = None


Handler = Callable[[Call], Answer]


@dataclass(frozen=True)
class Route:
    """One documented endpoint. ``handle`` None: documented, not simulated, answers an honest 501.

    ``find`` resolves the tank by credential, ``refuse`` answers in the vendor's words when there is none.
    """

    method: str
    path: str
    name: str
    handle: Handler | None
    find: Callable[[Request, Tanks], Found]
    refuse: Callable[[Request, Any], Answer]
    document: str = ""
    request_schema: str | None = None
    request_type: str = "application/json"
    responses: Mapping[int, str] = field(default_factory=dict)
    query: tuple[str, ...] = ()
    """Names of query parameters (or form fields) it reads."""
    produces: tuple[str, ...] = ("application/json",)
    """Content types of its answers."""
    pools: tuple[Pool, ...] = ()
    """The pools of parallel requests it takes a place in."""


FaultAnswer = Callable[[faults.Fault, Request], Answer]


def plain_fault_answer(fault: faults.Fault, _request: Request) -> Answer:
    """The answer of a ``status`` or ``throttle_burst`` fault where the platform has no words of its own."""
    status = int(fault.params.get("status", 429 if fault.kind == "throttle_burst" else 503))
    body = fault.params.get("body", {"code": status, "error": "Injected fault"})
    return Answer(status, body)


@dataclass(frozen=True)
class Platform:
    """What makes one platform's Flask app."""

    name: str
    tanks: Tanks
    routes: Sequence[Route]
    not_found: Callable[[Request], Answer]
    fault_answer: FaultAnswer = plain_fault_answer


def make_app(
    platform: str,
    tanks: Tanks,
    routes: Sequence[Route],
    not_found: Callable[[Request], Answer],
    fault_answer: FaultAnswer = plain_fault_answer,
    *,
    strict_slashes: bool = False,
) -> flask.Flask:
    """A Flask app that serves ``routes`` of ``platform`` and answers unknown paths with ``not_found``.

    :param strict_slashes: whether a path with a slash at its end is another one.
    """
    frame = Platform(platform, tanks, routes, not_found, fault_answer)
    app = flask.Flask(f"simulator.{platform}", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = strict_slashes
    app.url_map.merge_slashes = False  # no redirect, which would be HTML
    for index, route in enumerate(routes):
        app.add_url_rule(
            route.path,
            endpoint=f"{index}:{route.name}",
            view_func=_view(frame, route),
            methods=[route.method],
            provide_automatic_options=False,
        )
    published = _published(frame)
    app.add_url_rule("/openapi.json", "openapi", lambda: _respond(Answer(200, published), None))
    app.add_url_rule("/metrics", "metrics", _metrics)
    app.register_error_handler(HTTPException, lambda error: _unknown(frame, error))
    app.extensions["wavetank"] = frame
    return app


def _published(frame: Platform) -> dict[str, Any]:
    return openapi.document(
        f"wavetank: simulated {frame.name}",
        [
            openapi.Operation(
                route.method,
                route.path,
                route.name,
                {status: (text, {}) for status, text in route.responses.items()},
                None if route.request_schema is None else openapi.contract(route.request_schema),
                route.request_type,
                {name: {"type": "string"} for name in route.query},
                produces=route.produces,
            )
            for route in frame.routes
            if route.handle is not None
        ],
        [f"{route.method} {route.path}" for route in frame.routes if route.handle is None],
    )


def _read_request() -> Request:
    incoming = flask.request
    return Request(
        incoming.method,
        incoming.path,
        _query(incoming.query_string),
        cast("Mapping[str, str]", incoming.headers),
        _body(incoming),
        incoming.remote_addr or "",
    )


def _body(incoming: flask.Request) -> bytes:
    try:
        return incoming.stream.read(MAX_READ_BYTES)
    except (OSError, ClientDisconnected):
        return b""  # broken chunks, or the caller left before the end: there is no whole body


def _query(raw: bytes) -> dict[str, list[str]]:
    # Bytes that are no UTF-8 become replacement characters, whether they came percent-encoded or not.
    return parse_qs(raw.decode("utf-8", "replace"), keep_blank_values=True, errors="replace")


def _unknown(frame: Platform, error: HTTPException) -> flask.Response:
    if error.code == 500:
        log.error("%s %s failed before a tank was found", flask.request.method, flask.request.path, exc_info=error)
        return _respond(_DEFECT, None)
    return _respond(frame.not_found(_read_request()), None)


def _respond(answer: Answer, request_id: str | None) -> flask.Response:
    headers = Headers(list(answer.headers.items()))
    headers["Content-Type"] = answer.type()
    if request_id is not None:
        headers["X-Wavetank-Request"] = request_id
    if answer.stream is not None:
        flask.request.environ[STREAM] = True
        return flask.Response(answer.stream(), status=answer.status, headers=headers)
    return flask.Response(answer.raw(), status=answer.status, headers=headers)


def not_simulated(frame: Platform, route: Route) -> Answer:
    """The honest answer of an endpoint that is documented by the vendor and not simulated here."""
    return Answer(
        501,
        {
            "code": 501,
            "error": f"{route.name} ({route.method} {route.path}) is documented by the vendor "
            "and not simulated by wavetank yet",
        },
        why=(Reason("not-simulated", f"{route.name} is not simulated", route.document),),
    )


def _metrics() -> flask.Response:
    return flask.Response(metrics.platforms(), content_type=metrics.CONTENT_TYPE)


def _view(frame: Platform, route: Route) -> Callable[..., flask.Response]:
    answer = _answering(frame, route)

    def view(**path_args: Any) -> flask.Response:
        began = clock.real_us()
        if traces.tracer() is None:
            response = answer(began, path_args)
        else:
            with traces.request(frame.name, route.method, route.path, dict(flask.request.headers)) as span:
                response = answer(began, path_args)
                span["http.response.status_code"] = response.status_code
                span["wavetank.request"] = response.headers.get("X-Wavetank-Request", "")
        metrics.answered(frame.name, route.method, route.path, response.status_code, (clock.real_us() - began) / 1e6)
        return response

    return view


def _answering(frame: Platform, route: Route) -> Callable[[int, Mapping[str, Any]], flask.Response]:
    def view(began: int, path_args: Mapping[str, Any]) -> flask.Response:
        request = _read_request()
        found = route.find(request, frame.tanks)
        tank = found.tank or found.owner
        if tank is None:
            answer = not_simulated(frame, route) if route.handle is None else route.refuse(request, found.detail)
            return _respond(answer, None)
        tank.enter()
        places: list[int] = []
        wire: Wire | None = None
        streams = False
        try:
            places, full = _places(route, tank, request)
            answer, n, wire = _exchange(frame, route, request, found, tank, path_args, began, full)
            response = _respond(answer, f"{tank.id}.{n}")
            streams = answer.stream is not None
        finally:
            if not streams:
                _leave(tank, places, 0 if wire is None else wire.delay_ms)
        if streams:
            response.call_on_close(lambda: _leave(tank, places, 0))
        if wire is not None:
            flask.request.environ[KEY] = wire
        return response

    return view


def _places(route: Route, tank: Tank, request: Request) -> tuple[list[int], Pool | None]:
    if not route.pools:
        return [], None
    with tank.store.write() as conn:
        return pools.take(conn, route.pools, request)


def _leave(tank: Tank, places: Sequence[int], busy_ms: int) -> None:
    if places:
        with tank.store.write() as conn:
            pools.keep(conn, places, busy_ms)
    tank.leave()


def _exchange(
    frame: Platform,
    route: Route,
    request: Request,
    found: Found,
    tank: Tank,
    path_args: Mapping[str, Any],
    began: int,
    full: Pool | None,
) -> tuple[Answer, int, Wire | None]:
    with tank.store.write() as conn:
        meta = tank.meta(conn)
        now_ms = meta.clock.now_ms()
        fault = faults.draw(tank, conn, frame.name, request.path, now_ms) if meta.faults else None
        applied = True
        outcome = "answered"
        if fault is not None and fault.kind in faults.NOT_APPLIED and not fault.params.get("applied"):
            answer, applied = _unapplied(frame, route, request, fault), False
        elif found.tank is None:
            answer = not_simulated(frame, route) if route.handle is None else route.refuse(request, found.detail)
        elif route.handle is None:
            answer = not_simulated(frame, route)
        elif full is not None:
            answer = full.refuse(request)
        else:
            answer = _handle(route.handle, Call(request, tank, conn, now_ms, path_args, found.detail))
        wire = _busy(_wire(fault), route, tank)
        if wire is not None and wire.cut:
            outcome = "applied, answer lost" if applied else "connection reset, not applied"
        elif fault is not None:
            outcome = f"fault {fault.kind}" + ("" if applied else ", not applied")
        if fault is not None and applied and fault.kind in faults.NOT_APPLIED - {"reset_before"}:
            answer = _unapplied(frame, route, request, fault)
        n = journal.record(
            tank,
            conn,
            journal.Entry(
                frame.name,
                "in",
                request.method,
                request.path,
                flask.request.query_string.decode("latin-1"),
                dict(request.headers.items()),
                _readable(request),
                None if wire is not None and wire.cut else answer.status,
                {"Content-Type": answer.type(), **answer.headers},
                answer.raw(),
                clock.real_us() - began,
                now_ms,
                outcome,
                None if fault is None else f"{fault.kind}#{fault.id}",
                [reason.shown() for reason in answer.why],
                0 if wire is None else wire.busy_ms(len(answer.raw())),
            ),
        )
    return answer, n, wire


def _readable(request: Request) -> bytes:
    """The body for the journal: unpacked when it came as gzip, as far as it can be."""
    if "gzip" not in request.headers.get("Content-Encoding", "").lower():
        return request.body
    try:
        return zlib.decompressobj(wbits=31).decompress(request.body, MAX_READ_BYTES)
    except zlib.error:
        return request.body


_DEFECT = Answer(
    500,
    {"code": 500, "error": "wavetank failed to answer this request: a defect, please report it"},
    why=(Reason("defect", "the simulator failed", "none"),),
)


def _handle(handle: Handler, call: Call) -> Answer:
    # What a failing handler wrote is undone while the journal entry about it stays.
    command(call.conn, "SAVEPOINT handler")
    try:
        answer = handle(call)
    except Exception:
        command(call.conn, "ROLLBACK TO handler")
        log.exception("%s %s failed in tank %s", call.request.method, call.request.path, call.tank.id)
        answer = _DEFECT
    command(call.conn, "RELEASE handler")
    return answer


def _unapplied(frame: Platform, route: Route, request: Request, fault: faults.Fault) -> Answer:
    why = (Reason(f"fault-{fault.kind}", "an injected fault answered instead of the platform", "fault"),)
    if fault.kind in ("wrong_region", "revoked_key"):
        answer = route.refuse(request, route.find(request, frame.tanks).detail)
    elif fault.kind == "non_json":
        status = int(fault.params.get("status", 502))
        body = str(fault.params.get("body", f"<html><body><h1>{status} Bad Gateway</h1></body></html>"))
        answer = Answer(status, body, content_type="text/html")
    elif fault.kind == "reset_before":
        answer = Answer(503, b"")
    else:
        answer = frame.fault_answer(fault, request)
    return Answer(answer.status, answer.body, answer.headers, answer.content_type, why)


def _busy(wire: Wire | None, route: Route, tank: Tank) -> Wire | None:
    """A request in a pool is under way for a moment, else parallel requests would never meet."""
    least = max((int(tank.settings[pool.busy_setting]) for pool in route.pools), default=0)
    if not least:
        return wire
    return Wire(delay_ms=least) if wire is None else replace(wire, delay_ms=max(wire.delay_ms, least))


def _wire(fault: faults.Fault | None) -> Wire | None:
    if fault is None:
        return None
    delay = int(fault.params.get("ms", 0))
    if fault.kind == "latency":
        return Wire(delay_ms=delay or 1000)
    if fault.kind in ("reset_before", "reset_after"):
        return Wire(delay_ms=delay, cut=True)
    if fault.kind == "truncated_body":
        return Wire(delay_ms=delay, keep=0.5)
    if fault.kind == "slow_body":
        return Wire(delay_ms=delay, bytes_per_s=max(1, int(fault.params.get("bytes_per_s", 100))))
    return None
