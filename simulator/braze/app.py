"""Braze's Flask app: its documented REST endpoints, none of them simulated yet.

A request finds its tank by its REST key; partner endpoints by the two keys in their body.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import flask
import orjson
import yaml

from simulator.exchange import Answer, Found, Reason, Request, Route, make_app
from simulator.tank import Tanks

_DOCUMENT = "Braze docs, REST API"
# A refused key leaves the three headers empty. Source: Braze docs, API limits, and public recordings.
_RATE_HEADERS = {"X-RateLimit-Limit": "", "X-RateLimit-Remaining": "", "X-RateLimit-Reset": ""}


def create_app(tanks: Tanks) -> flask.Flask:
    """The WSGI app of Braze's port."""
    return make_app("braze", tanks, routes(), _not_found)


def routes() -> list[Route]:
    """The documented endpoints; all of them answer an honest 501."""
    folders = yaml.safe_load(Path(__file__).with_name("rest_endpoints.yaml").read_text("utf-8"))
    made = []
    for folder, endpoints in folders.items():
        for endpoint in endpoints:
            method, path = endpoint.split()
            partner = path.startswith("/partners/")
            find, refuse = (_find_partner, _refuse_partner) if partner else (_find, _refuse)
            made.append(Route(method, path, path, None, find, refuse, f"{_DOCUMENT}, {folder}"))
    return made


def _key(request: Request) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _find(request: Request, tanks: Tanks) -> Found:
    key = _key(request)
    tank, revoked = tanks.find("braze_rest_api_key", key) if key else (None, False)
    return Found(None, None, tank) if revoked else Found(tank)


def _refuse(request: Request, _detail: object) -> Answer:
    key = _key(request)
    why = Reason("invalid-api-key", "no workspace has this REST API key", f"{_DOCUMENT}, Errors")
    message = f"Invalid API key: {key}" if key else "Invalid API Key"
    return Answer(401, {"message": message}, _RATE_HEADERS, why=(why,))


def _find_partner(request: Request, tanks: Tanks) -> Found:
    body = _json(request)
    partner_key, secret = body.get("partner_api_key"), body.get("client_secret")
    tank, revoked = (
        tanks.find("braze_partner_api_key", partner_key) if isinstance(partner_key, str) else (None, False)
    )
    if tank is None or revoked:
        return Found(None, "Invalid Partner API key", tank)
    if secret != tank.credential("braze_data_import_key") or tank.revoked("braze_data_import_key"):
        return Found(None, "Invalid client secret", tank)
    return Found(tank)


def _refuse_partner(_request: Request, detail: object) -> Answer:
    why = Reason("invalid-partner-key", str(detail), "Braze docs, Cohort import for partners, Errors")
    return Answer(401, {"message": str(detail)}, why=(why,))


def _json(request: Request) -> Mapping[str, object]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _not_found(_request: Request) -> Answer:
    return Answer(404, {"message": "Not Found"})
