"""Amplitude's Flask app: the route table of one region."""

from __future__ import annotations

import base64
import binascii
from functools import partial

import flask

from simulator import faults
from simulator.amplitude import answers, ingest, uploads
from simulator.exchange import Answer, Found, Reason, Request, Route, make_app
from simulator.tank import Region, Tanks

_UPLOAD_RESPONSES = {
    200: "every event was taken",
    400: "nothing was taken: the upload, its key or some events are not valid",
    413: "nothing was taken: too many bytes or events",
    429: "nothing was taken: some devices or users are over a limit",
}
_ABSENT = (
    ("POST", "/httpapi", "HTTP API (deprecated)", "Amplitude docs, HTTP API (Deprecated)", "form"),
    ("POST", "/identify", "Identify", "Amplitude docs, Identify API", "form"),
    ("POST", "/groupidentify", "Group Identify", "Amplitude docs, Group Identify API", "form"),
    ("POST", "/usermap", "User Mapping", "Amplitude docs, User Mapping (Aliasing) API", "form"),
    ("POST", "/attribution", "Attribution", "Amplitude docs, Attribution API", "form"),
    ("GET", "/v1/userprofile", "User Profile", "Amplitude docs, User Profile API", "secret"),
    ("GET", "/api/3/cohorts", "Behavioral cohorts: list", "Amplitude docs, Behavioral Cohorts API", "basic"),
    ("GET", "/api/5/cohorts/request/<cohort_id>", "Behavioral cohorts: request", "Amplitude docs, Behavioral Cohorts API", "basic"),
    ("GET", "/api/5/cohorts/request-status/<request_id>", "Behavioral cohorts: status", "Amplitude docs, Behavioral Cohorts API", "basic"),
    ("GET", "/api/5/cohorts/request/<request_id>/file", "Behavioral cohorts: file", "Amplitude docs, Behavioral Cohorts API", "basic"),
    ("POST", "/api/3/cohorts/upload", "Behavioral cohorts: upload", "Amplitude docs, Behavioral Cohorts API", "basic"),
    ("POST", "/api/3/cohorts/membership", "Behavioral cohorts: membership", "Amplitude docs, Behavioral Cohorts API", "basic"),
    ("GET", "/api/2/export", "Export", "Amplitude docs, Export API", "basic"),
    ("GET", "/api/2/usermap", "User Mapping: read", "Amplitude docs, User Mapping (Aliasing) API", "basic"),
    ("GET", "/api/2/usersearch", "User search", "Amplitude docs, Dashboard REST API", "basic"),
    ("GET", "/api/2/useractivity", "User activity", "Amplitude docs, Dashboard REST API", "basic"),
    ("GET", "/api/2/events/segmentation", "Event segmentation", "Amplitude docs, Dashboard REST API", "basic"),
    ("GET", "/api/2/events/list", "Events list", "Amplitude docs, Dashboard REST API", "basic"),
    ("POST", "/api/2/deletions/users", "User privacy: delete", "Amplitude docs, User Privacy API", "basic"),
    ("GET", "/api/2/deletions/users", "User privacy: list", "Amplitude docs, User Privacy API", "basic"),
    ("POST", "/api/2/release", "Releases", "Amplitude docs, Releases API", "basic"),
    ("GET", "/api/2/annotations", "Chart annotations", "Amplitude docs, Chart Annotations API", "basic"),
    ("GET", "/api/2/taxonomy/event", "Taxonomy: events", "Amplitude docs, Taxonomy API", "basic"),
    ("GET", "/api/2/taxonomy/category", "Taxonomy: categories", "Amplitude docs, Taxonomy API", "basic"),
)  # fmt: skip


def create_app(tanks: Tanks, region: Region) -> flask.Flask:
    """The WSGI app of one region's port; a tank of the other region is not known here."""
    find = partial(_find_upload, region=region)
    routes = [
        Route(
            "POST",
            path,
            name,
            ingest.handle,
            find,
            lambda request, detail: ingest.refuse(request.path, detail),
            document,
            "amplitude_upload",
            responses=_UPLOAD_RESPONSES,
        )
        for path, name, document in (
            (ingest.HTTP_V2, "HTTP V2", answers.HTTP_V2),
            (ingest.BATCH, "Batch event upload", answers.BATCH),
        )
    ]
    finders = {"form": _find_form, "basic": _find_basic, "secret": _find_secret}
    routes += [
        Route(method, path, name, None, partial(finders[by], region=region), _unknown_caller, document)
        for method, path, name, document, by in _ABSENT
    ]
    known = {route.path for route in routes}
    return make_app("amplitude", tanks, routes, partial(_not_found, known), _fault_answer)


def _at_home(tanks: Tanks, credential: str, value: str | None, region: Region, detail: object = None) -> Found:
    if not value:
        return Found(None, detail)
    tank, revoked = tanks.find(credential, value)
    if tank is None:
        return Found(None, detail)
    if revoked or tank.region != region:
        return Found(None, detail, owner=tank)
    return Found(tank, detail)


def _find_upload(request: Request, tanks: Tanks, region: Region) -> Found:
    upload = uploads.read(request)
    return _at_home(tanks, "amplitude_api_key", upload.api_key, region, upload)


def _find_form(request: Request, tanks: Tanks, region: Region) -> Found:
    values = request.query.get("api_key", [])
    return _at_home(tanks, "amplitude_api_key", values[0] if values else None, region)


def _find_basic(request: Request, tanks: Tanks, region: Region) -> Found:
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    try:
        user, _, _ = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return Found(None)
    return _at_home(tanks, "amplitude_api_key", user if scheme.lower() == "basic" else None, region)


def _find_secret(request: Request, tanks: Tanks, region: Region) -> Found:
    scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
    return _at_home(tanks, "amplitude_secret_key", rest if scheme == "Api-Key" else None, region)


def _unknown_caller(_request: Request, _detail: object) -> Answer:
    return answers.refusal(403, "Forbidden")


def _not_found(known: set[str], request: Request) -> Answer:
    path = request.path.rstrip("/")
    if path in known:
        if request.method == "OPTIONS":
            return Answer(200, b"", answers.HEADERS, "text/plain")
        refused = answers.refusal(405, "Method not allowed")
        return Answer(refused.status, refused.body, {**answers.HEADERS, "Allow": "POST"}, why=refused.why)
    why = Reason("unknown-path", "no such path at Amplitude", f"{answers.HTTP_V2}, Responses")
    return answers.refusal(400, "Invalid request path", None, why)


def _fault_answer(fault: faults.Fault, request: Request) -> Answer:
    """An injected 429 or error in Amplitude's shape; the caller cannot tell it from a real one."""
    status = int(fault.params.get("status", 429 if fault.kind == "throttle_burst" else 503))
    if "body" in fault.params:
        return Answer(status, fault.params["body"], answers.HEADERS)
    if status != 429:
        texts = {413: "Payload too large", 403: "Forbidden", 500: "Internal Server Error", 503: "Service Unavailable"}
        return answers.refusal(status, texts.get(status, f"HTTP {status}"))
    events = [event for event in uploads.read(request).events if isinstance(event, dict)]
    devices = {str(event["device_id"]): 31 for event in events if event.get("device_id")}
    users = {str(event["user_id"]): 31 for event in events if event.get("user_id")}
    members = {
        "eps_threshold": 30,
        "throttled_devices": devices,
        "throttled_users": users,
        "throttled_events": list(range(len(events))),
    }
    return answers.throttled(members, ())
