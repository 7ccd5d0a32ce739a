"""Customer.io's Flask app: every documented endpoint of its APIs; those without a handler answer an honest 501.

One port serves the App, Track and Pipelines APIs of a region, whose hosts the vendor keeps apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import flask
import yaml

from simulator.customerio import app_api, track_api
from simulator.customerio.access import (
    Find,
    app,
    at_home,
    find_app,
    find_by_delivery,
    find_track,
    refuse_broadcast_key,
    refuse_delivery,
    refuse_key,
    track,
)
from simulator.customerio.refusals import refuse
from simulator.exchange import Answer, Handler, Request, Route, make_app
from simulator.tank import Region, Tanks

_REFUSALS = {400: "refused: the request does not fit", 401: "the key is unknown here", 429: "over a rate limit"}
_UNKNOWN = {404: "unknown here"}
_BROADCAST = {**_UNKNOWN, 422: "the audience has an error", 501: "this kind of audience is not simulated"}

HANDLERS: Mapping[str, tuple[Handler, str | None, Mapping[int, str]]] = {
    "GET /api/v1/accounts/region": (track(track_api.region), None, {}),
    "PUT /api/v1/customers/<identifier>": (
        track(track_api.identify, "customerio_identify"),
        "customerio_identify",
        {},
    ),
    "DELETE /api/v1/customers/<identifier>": (track(track_api.delete), None, {}),
    "PUT /api/v1/customers/<identifier>/devices": (
        track(track_api.add_device, "customerio_device"),
        "customerio_device",
        {},
    ),
    "DELETE /api/v1/customers/<identifier>/devices/<device_id>": (track(track_api.remove_device), None, {}),
    "POST /api/v1/customers/<identifier>/suppress": (track(track_api.suppress), None, {}),
    "POST /api/v1/customers/<identifier>/unsuppress": (track(track_api.unsuppress), None, {}),
    "POST /api/v1/customers/<identifier>/events": (
        track(track_api.event, "customerio_event"),
        "customerio_event",
        {},
    ),
    "POST /api/v1/events": (track(track_api.anonymous, "customerio_event"), "customerio_event", {}),
    "POST /api/v1/metrics": (track(track_api.metric, "customerio_metric"), "customerio_metric", {}),
    "POST /api/v1/push/events": (track(track_api.push_event, "customerio_push_event"), "customerio_push_event", {}),
    "POST /unsubscribe/<delivery_id>": (
        track(track_api.unsubscribe, "customerio_unsubscribe"),
        "customerio_unsubscribe",
        {},
    ),
    "GET /v1/reporting_webhooks": (app(app_api.list_webhooks), None, {}),
    "POST /v1/reporting_webhooks": (app(app_api.create_webhook, "customerio_webhook"), "customerio_webhook", {}),
    "GET /v1/reporting_webhooks/<webhook_id>": (app(app_api.get_webhook), None, _UNKNOWN),
    "PUT /v1/reporting_webhooks/<webhook_id>": (
        app(app_api.update_webhook, "customerio_webhook"),
        "customerio_webhook",
        _UNKNOWN,
    ),
    "DELETE /v1/reporting_webhooks/<webhook_id>": (app(app_api.delete_webhook), None, _UNKNOWN),
    "GET /v1/info/ip_addresses": (app(app_api.addresses), None, {}),
    **{
        f"POST /v1/send/{channel}": (
            app(app_api.sender(channel), f"customerio_send_{channel}", pool="send"),
            f"customerio_send_{channel}",
            {},
        )
        for channel in ("email", "push", "sms", "in_app")
    },
    "POST /v1/campaigns/<broadcast_id>/triggers": (
        app(app_api.trigger, "customerio_trigger", pool="broadcast", errors="broadcast_request"),
        "customerio_trigger",
        _BROADCAST,
    ),
}
"""What is simulated: the handler, the contract of its body, and answers beside the usual ones."""

_Refuse = Callable[[Request, Any], Answer]
_OPEN: Mapping[str, tuple[Find, _Refuse]] = {
    "POST /api/v1/metrics": (find_by_delivery, refuse_delivery),
    "POST /api/v1/push/events": (find_by_delivery, refuse_delivery),
    "POST /unsubscribe/<delivery_id>": (find_by_delivery, refuse_delivery),
    "POST /v1/campaigns/<broadcast_id>/triggers": (find_app, refuse_broadcast_key),
}
"""Endpoints that find their workspace, or refuse, in another way than their API does."""
EVERYWHERE = ("GET /api/v1/accounts/region",)
"""Answered on the hosts of either region, whichever the workspace is in. Source: Track API, find your region."""


@cache
def endpoints() -> Mapping[str, list[str]]:
    """The documented endpoints by API, each ``METHOD /path``."""
    loaded: dict[str, list[str]] = yaml.safe_load(Path(__file__).with_name("endpoints.yaml").read_text("utf-8"))
    return loaded


def create_app(tanks: Tanks, region: Region) -> flask.Flask:
    """The WSGI app of Customer.io's port of one region."""
    return make_app("customerio", tanks, routes(region), _not_found)


def routes(region: Region) -> list[Route]:
    """The documented endpoints."""
    return [_route(each, api, region) for api, rows in endpoints().items() for each in rows]


def _route(endpoint: str, api: str, region: Region) -> Route:
    method, path = endpoint.split()
    finder, refuser = _OPEN.get(endpoint, (find_track if api == "Track API" else find_app, refuse_key))
    if endpoint == "GET /v1/info/ip_addresses":
        refuser = app_api.addresses_for_anybody(region)
    if endpoint not in EVERYWHERE:
        finder = at_home(finder, region)
    document = f"Customer.io docs, {api}"
    if endpoint not in HANDLERS:
        return Route(method, path, path, None, finder, refuser, document)
    handle, schema, more = HANDLERS[endpoint]
    answers = {200: "success", **_REFUSALS, **more}
    produces = ("application/json", "text/plain") if method == "DELETE" else ("application/json",)
    return Route(method, path, path, handle, finder, refuser, document, schema, responses=answers, produces=produces)


def _not_found(request: Request) -> Answer:
    served = {each.split()[1] for rows in endpoints().values() for each in rows}
    return refuse("method" if request.path in served or request.path.startswith("/v1/send/") else "not_found")
