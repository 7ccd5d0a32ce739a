"""Customer.io's Flask app: its documented endpoints, none of them simulated yet."""

from __future__ import annotations

import flask

from simulator.exchange import Answer, Found, Request, Route, make_app
from simulator.tank import Tanks

_DOCUMENT = "Customer.io docs, App API and Track API"
_ABSENT = (
    ("GET", "/v1/reporting_webhooks"),
    ("POST", "/v1/reporting_webhooks"),
    ("GET", "/v1/reporting_webhooks/<webhook_id>"),
    ("PUT", "/v1/reporting_webhooks/<webhook_id>"),
    ("DELETE", "/v1/reporting_webhooks/<webhook_id>"),
    ("GET", "/v1/messages"),
    ("GET", "/v1/messages/<message_id>"),
    ("GET", "/v1/info/ip_addresses"),
    ("POST", "/v1/send/email"),
    ("GET", "/api/v1/accounts/region"),
    ("PUT", "/api/v1/customers/<identifier>"),
    ("POST", "/api/v1/customers/<identifier>/events"),
    ("POST", "/api/v1/metrics"),
    ("POST", "/api/v1/push/events"),
)


def create_app(tanks: Tanks) -> flask.Flask:
    """The WSGI app of Customer.io's port. No credential of a tank opens these APIs yet, so nothing is known."""
    routes = [Route(method, path, path, None, _find, _refuse, _DOCUMENT) for method, path in _ABSENT]
    return make_app("customerio", tanks, routes, _not_found)


def _find(_request: Request, _tanks: Tanks) -> Found:
    return Found(None)


def _refuse(_request: Request, _detail: object) -> Answer:
    return Answer(401, {"meta": {"error": "Unauthorized"}})


def _not_found(_request: Request) -> Answer:
    return Answer(404, {"meta": {"error": "not found"}})
