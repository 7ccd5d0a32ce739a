"""How a request reaches its workspace, and what it passes before its handler: key, rate limit, size, JSON, schema.

The App API takes a bearer key, the Track API site id and API key, metrics nothing but the delivery id. Source:
Customer.io docs, App API and Track API, authentication.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from simulator.customerio import ids, limits
from simulator.customerio.refusals import refuse
from simulator.exchange import Answer, Call, Found, Handler, Request
from simulator.openapi import contract
from simulator.tank import Region, Tank, Tanks

MAX_BYTES = 2048 * 1024
Body = Mapping[str, Any]
JsonHandler = Callable[[Call, Body], Answer]
Find = Callable[[Request, Tanks], Found]


# -- finding the tank


def find_app(request: Request, tanks: Tanks) -> Found:
    """By ``Authorization: Bearer`` and the App API key."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    tank, revoked = tanks.find("customerio_app_api_key", key.strip()) if scheme.lower() == "bearer" else (None, False)
    return Found(None, None, tank) if tank is None or revoked else Found(tank)


def find_track(request: Request, tanks: Tanks) -> Found:
    """By Basic auth: the site id is the user, the Track API key the password."""
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    try:
        raw = base64.b64decode(rest.strip(), validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:  # not ASCII, not base64, or not UTF-8 within
        raw = ""
    site_id, _, key = raw.partition(":")
    tank, revoked = tanks.find("customerio_site_id", site_id)
    if tank is None or revoked:
        return Found(None, None, tank)
    right, gone = tanks.credential(tank.id, "customerio_track_api_key")
    good = hmac.compare_digest(right.encode(), key.encode()) and not gone
    return Found(tank) if good else Found(None, None, tank)


def find_by_delivery(request: Request, tanks: Tanks) -> Found:
    """By the workspace's mark in the delivery id, which stands in the body or at the end of the path."""
    body = parsed(request.body)
    named = body.get("delivery_id") if isinstance(body, dict) else None
    if request.path.startswith("/unsubscribe/"):
        named = request.path.removeprefix("/unsubscribe/")
    marked = ids.marked(named) if isinstance(named, str) else None
    return Found(None if marked is None else _marked(tanks, marked), named)


def _marked(tanks: Tanks, marked: bytes) -> Tank | None:
    return next((each for each in tanks.list() if ids.mark(each.id) == marked), None)


def refuse_key(_request: Request, _detail: object) -> Answer:
    """401 of the App and Track APIs."""
    return refuse("unauthorized")


def refuse_broadcast_key(_request: Request, _detail: object) -> Answer:
    """401 of a broadcast's trigger."""
    return refuse("broadcast_unauthorized")


def refuse_delivery(request: Request, _detail: object) -> Answer:
    """A metric that names no delivery."""
    if not request.path.startswith("/unsubscribe/") and not isinstance(parsed(request.body), dict):
        return refuse("track_not_json")
    return refuse("delivery_unknown")


def at_home(find: Find, region: Region) -> Find:
    """Only workspaces of the host's region; one of the other region notes the refusal in its journal.

    Source: Customer.io docs, App API and Track API, regions.
    """

    def found(request: Request, tanks: Tanks) -> Found:
        here = find(request, tanks)
        strange = here.tank is not None and here.tank.region != region
        return Found(None, here.detail, here.tank) if strange else here

    return found


# -- what a body must be


def parsed(body: bytes) -> Any:
    """The body as JSON; None when it is none. Values nested too deeply to be written again count as none."""
    try:
        found = orjson.loads(body)
        orjson.dumps(found)
    except (orjson.JSONDecodeError, TypeError):
        return None
    return found


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(contract(schema))


def problem(schema: str, body: Body) -> str | None:
    """The first thing that does not fit a contract, in words; None when all does."""
    validator = _validator(schema)
    if validator.is_valid(body):
        return None
    error = next(iter(validator.iter_errors(body)))
    where = ".".join(str(each) for each in error.instance_path)
    text = error.message if len(error.message) <= 300 else error.message[:297] + "..."
    return f"{where}: {text}" if where else text


def app(handle: JsonHandler, schema: str | None = None, *, pool: str = "app", errors: str = "request") -> Handler:
    """A view of the App API over ``handle``: limit, size, JSON and schema come first."""

    def view(call: Call) -> Answer:
        part = str(call.path_args.get("broadcast_id", "")) if pool == "broadcast" else ""
        figures = limits.over(call.conn, call.tank, pool, call.now_ms, part)
        if figures is not None:
            return refuse("too_fast", detail=figures)
        if schema is None:
            return handle(call, {})
        body = parsed(call.request.body) if len(call.request.body) <= MAX_BYTES else None
        if not isinstance(body, dict):
            return refuse("broadcast_request" if errors == "broadcast_request" else "not_json")
        wrong = problem(schema, body)
        return handle(call, body) if wrong is None else refuse(errors, wrong)

    return view


def track(handle: JsonHandler, schema: str | None = None) -> Handler:
    """A view of the Track API over ``handle``."""

    def view(call: Call) -> Answer:
        figures = limits.over(call.conn, call.tank, "track", call.now_ms)
        if figures is not None:
            return refuse("too_fast", detail=figures)
        if schema is None:
            return handle(call, {})
        body = parsed(call.request.body) if len(call.request.body) <= MAX_BYTES else None
        if not isinstance(body, dict):
            return refuse("track_not_json")
        wrong = problem(schema, body)
        return handle(call, body) if wrong is None else refuse("malformed", wrong)

    return view
