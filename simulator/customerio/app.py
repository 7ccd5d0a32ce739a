"""Customer.io's Flask app: documented endpoints of its App and Track APIs, none of them simulated yet."""

from __future__ import annotations

import flask

from simulator.exchange import Answer, Found, Reason, Request, Route, make_app
from simulator.tank import Tanks

_APP = "Customer.io docs, App API"
_TRACK = "Customer.io docs, Track API"
_ABSENT = (
    (_APP, "GET", "/v1/reporting_webhooks"),
    (_APP, "POST", "/v1/reporting_webhooks"),
    (_APP, "GET", "/v1/reporting_webhooks/<webhook_id>"),
    (_APP, "PUT", "/v1/reporting_webhooks/<webhook_id>"),
    (_APP, "DELETE", "/v1/reporting_webhooks/<webhook_id>"),
    (_APP, "GET", "/v1/messages"),
    (_APP, "GET", "/v1/messages/<message_id>"),
    (_APP, "GET", "/v1/info/ip_addresses"),
    (_APP, "POST", "/v1/send/email"),
    (_TRACK, "GET", "/api/v1/accounts/region"),
    (_TRACK, "PUT", "/api/v1/customers/<identifier>"),
    (_TRACK, "DELETE", "/api/v1/customers/<identifier>"),
    (_TRACK, "POST", "/api/v1/customers/<identifier>/events"),
    (_TRACK, "POST", "/api/v1/events"),
    (_TRACK, "POST", "/api/v1/metrics"),
    (_TRACK, "POST", "/api/v1/push/events"),
)


def create_app(tanks: Tanks) -> flask.Flask:
    """The WSGI app of Customer.io's port."""
    return make_app("customerio", tanks, routes(), _not_found)


def routes() -> list[Route]:
    """The documented endpoints; all of them answer an honest 501."""
    return [Route(method, path, path, None, _find, _refuse, document) for document, method, path in _ABSENT]


def _find(_request: Request, _tanks: Tanks) -> Found:
    # The reporting webhooks' signing key opens no API, and a tank has no other key of Customer.io's.
    return Found(None)


def _refuse(_request: Request, _detail: object) -> Answer:
    why = Reason("unauthorized", "no workspace of a tank has a key for this API", f"{_APP}, Authentication")
    return Answer(401, {"meta": {"error": "Unauthorized request"}}, why=(why,))


def _not_found(_request: Request) -> Answer:
    return Answer(404, {"meta": {"error": "not found"}})
