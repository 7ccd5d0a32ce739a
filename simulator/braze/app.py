"""Braze's Flask app: its documented REST endpoints, none of them simulated yet."""

from __future__ import annotations

import flask

from simulator.exchange import Answer, Found, Reason, Request, Route, make_app
from simulator.tank import Tanks

_HEADERS = {"X-RateLimit-Limit": "", "X-RateLimit-Remaining": "", "X-RateLimit-Reset": ""}
_DOCUMENT = "Braze docs, REST API"
_ABSENT = (
    ("POST", "/users/track"),
    ("POST", "/users/track/bulk"),
    ("POST", "/users/alias/new"),
    ("POST", "/users/alias/update"),
    ("POST", "/users/identify"),
    ("POST", "/users/merge"),
    ("POST", "/users/delete"),
    ("POST", "/users/export/ids"),
    ("POST", "/users/export/segment"),
    ("POST", "/partners/<partner>/cohorts"),
    ("POST", "/partners/<partner>/cohorts/users"),
    ("POST", "/messages/send"),
    ("POST", "/messages/schedule/create"),
    ("GET", "/messages/scheduled_broadcasts"),
    ("POST", "/campaigns/trigger/send"),
    ("POST", "/canvas/trigger/send"),
    ("POST", "/subscription/status/set"),
    ("POST", "/v2/subscription/status/set"),
    ("GET", "/subscription/status/get"),
    ("GET", "/subscription/user/status"),
    ("POST", "/email/status"),
    ("POST", "/transactional/v1/campaigns/<campaign_id>/send"),
)


def create_app(tanks: Tanks) -> flask.Flask:
    """The WSGI app of Braze's port."""
    routes = [Route(method, path, path, None, _find, _refuse, _DOCUMENT) for method, path in _ABSENT]
    return make_app("braze", tanks, routes, _not_found)


def _key(request: Request) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _find(request: Request, tanks: Tanks) -> Found:
    key = _key(request)
    if request.path.startswith("/partners/"):
        return Found(None)
    tank, revoked = tanks.find("braze_rest_api_key", key) if key else (None, False)
    return Found(None, None, tank) if revoked else Found(tank)


def _refuse(request: Request, _detail: object) -> Answer:
    why = Reason("invalid-api-key", "the REST API key is unknown to this workspace", f"{_DOCUMENT}, Errors")
    return Answer(401, {"message": f"Invalid API key: {_key(request)}"}, _HEADERS, why=(why,))


def _not_found(request: Request) -> Answer:
    return Answer(404, {"message": "Not Found"})
