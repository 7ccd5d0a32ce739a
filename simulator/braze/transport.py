"""What every REST request passes before its handler: key, permission, address, rate limit, size, type, JSON.

Source: Braze docs, API overview; Errors; API limits. The order of the checks is inferred from which answers carry
rate headers with figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson

from simulator.braze import pending, permissions, rate_limits
from simulator.braze.refusals import refuse
from simulator.exchange import Answer, Call, Found, Handler, Request
from simulator.tank import Tanks

MAX_BYTES = 4_000_000
"""The largest body of most endpoints. Source: Braze docs, API limits (4 MB)."""

Body = Mapping[str, Any]
JsonHandler = Callable[[Call, Body], Answer]
"""A handler behind the gate: the parsed body beside the call."""
Served = tuple[JsonHandler, str | None, int]
"""A row of the table of endpoints: the handler, the schema of its body (GET has none), the status of success."""


def key_of(request: Request) -> str:
    """The REST key of a request; the scheme's word counts in any case. Empty when there is none."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def find(request: Request, tanks: Tanks) -> Found:
    """The tank of the REST key; the detail is the key with what it may do."""
    value = key_of(request)
    tank, key = permissions.find_rest(tanks, value) if value else (None, None)
    return Found(None, None, tank) if key is None else Found(tank, key)


def refuse_key(request: Request, _detail: object) -> Answer:
    """401 in Braze's words, with empty rate headers."""
    value = key_of(request)
    if not value:
        return refuse("missing_api_key", rate_limits.NO_HEADERS)
    return refuse("invalid_api_key", rate_limits.NO_HEADERS, key=value)


def find_partner(request: Request, tanks: Tanks) -> Found:
    """The tank of the partner key and data import key in the body; the detail names what is wrong."""
    body = parsed(request.body)
    given = body if isinstance(body, dict) else {}
    value = given.get("partner_api_key")
    tank, revoked = tanks.find("braze_partner_api_key", value) if isinstance(value, str) else (None, False)
    if tank is None or revoked:
        return Found(None, "partner_key", tank)
    if not permissions.is_data_import_key(tank, given.get("client_secret")):
        customer = permissions.has_data_import_key(tanks, given.get("client_secret"))
        # A partner has a key of its own for the clusters of the EU.
        abroad = customer is not None and "eu" in {customer.region, tank.region} and customer.region != tank.region
        return Found(None, "partner_key" if abroad else "client_secret", tank)
    return Found(tank)


def refuse_partner(_request: Request, detail: Any) -> Answer:
    """401 of the partner endpoints."""
    return refuse(detail or "partner_key", rate_limits.NO_HEADERS)


def parsed(body: bytes) -> Any:
    """The body as JSON; None when it is none.

    Values nested too deeply to be written again (254 levels) count as none: no document gives a limit.
    """
    try:
        found = orjson.loads(body)
        orjson.dumps(found)
    except (orjson.JSONDecodeError, TypeError):
        return None
    return found


def gated(endpoint: Mapping[str, Any], handle: JsonHandler) -> Handler:
    """A view over ``handle`` that makes every check of the endpoint's row first."""
    pool, *broadcasts = endpoint.get("pools", ["default"])
    permission, denied = endpoint.get("permission"), endpoint.get("denied", "access_denied")
    most_bytes = endpoint.get("max_bytes", MAX_BYTES)
    too_large = "too_large_bulk" if endpoint.get("too_large") == 400 else "too_large"

    def view(call: Call) -> Answer:
        settings = call.tank.settings
        plan = rate_limits.plans()[settings["braze.plan"]]
        mine = broadcasts[0] if broadcasts and _is_broadcast(call.request.body) else pool
        verdict = rate_limits.count(call.conn, plan, mine, settings["braze.pool_limits"], call.now_ms)
        refusal = _door(call, permission, denied, verdict, most_bytes, too_large)
        if refusal is not None:
            return _sent(refusal, verdict)
        body = parsed(call.request.body) if call.request.method not in ("GET", "HEAD") else {}
        if not isinstance(body, dict):
            return _sent(refuse("not_json"), verdict)
        # Writes that are due come first, whether or not the timer has gone off already.
        pending.apply_due(call.conn, call.tank, call.now_ms)
        return _sent(handle(call, body), verdict)

    return view


def _is_broadcast(body: bytes) -> bool:
    """Whether a send is for everybody: those have a pool of their own. Source: Braze docs, API limits."""
    given = parsed(body)
    return isinstance(given, dict) and given.get("broadcast") is True


def _door(
    call: Call, permission: str | None, denied: str, verdict: rate_limits.Verdict, most_bytes: int, too_large: str
) -> Answer | None:
    key = call.detail
    if isinstance(key, permissions.Key):
        if not key.lets_in(call.request.remote_addr):
            status = int(call.tank.settings["braze.ip_refusal_status"])
            return refuse("ip_not_allowed", status=status, detail={"address": call.request.remote_addr})
        if not key.may(permission):
            return refuse(denied, detail={"permission": permission})
    if verdict.over:
        return refuse("rate_limited", detail={"pool": verdict.pool, "limit_reached": verdict.number})
    if len(call.request.body) > most_bytes:
        return refuse(too_large, detail={"bytes": len(call.request.body), "limit": most_bytes})
    kind = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if call.request.method not in ("GET", "HEAD") and kind != "application/json":
        return refuse("content_type", detail={"content_type": kind})
    return None


def _sent(answer: Answer, verdict: rate_limits.Verdict) -> Answer:
    """The answer with the headers that recordings of the API show."""
    digest = hashlib.md5(f"{verdict.pool}:{verdict.start_ms}:{verdict.number}:".encode() + answer.raw()).digest()
    fresh = 200 <= answer.status < 300 and answer.status != 202
    cache = {"Etag": f'W/"{digest.hex()}"', "Cache-Control": "max-age=0, private, must-revalidate"}
    headers = {
        **(rate_limits.NO_HEADERS if answer.status == 401 else verdict.headers),
        "X-Request-Id": str(UUID(bytes=digest, version=4)),
        **(cache if fresh else {"Cache-Control": "no-cache"}),
        **answer.headers,
    }
    return replace(answer, headers=headers)
