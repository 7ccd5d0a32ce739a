"""Amplitude's Flask app: the route table of one region."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import flask

from simulator import faults
from simulator.amplitude import (
    answers,
    cohort_files,
    cohorts,
    export,
    identify,
    ingest,
    parallel,
    people,
    profile,
    routes,
    uploads,
    usermap,
)
from simulator.amplitude.callers import at_home, find_by_form, find_by_key_pair, find_by_secret
from simulator.exchange import Answer, Found, Reason, Request, Route, make_app
from simulator.tank import Region, Tanks

_UPLOAD_RESPONSES = {
    200: "every event was taken",
    400: "nothing was taken: the upload, its key or some events are not valid",
    413: "nothing was taken: too many bytes or events",
    429: "nothing was taken: some devices or users are over a limit",
}
_COHORT_BODIES = {
    "/api/3/cohorts/upload": cohorts.UPLOAD,
    "/api/3/cohorts/membership": cohorts.MEMBERSHIP,
}


def create_app(tanks: Tanks, region: Region) -> flask.Flask:
    """The WSGI app of one region's port; a tank of the other region is not known here."""
    find = partial(_find_upload, region=region)
    served = [
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
    served += _others(region)
    finders = {"form": find_by_form, "basic": find_by_key_pair, "secret": find_by_secret}
    served += [
        Route(method, path, name, None, partial(finders[by], region=region), _unknown_caller, document)
        for method, path, name, document, by in routes.ABSENT
    ]
    known: dict[str, str] = {}
    for route in served:
        known[route.path] = f"{known[route.path]}, {route.method}" if route.path in known else route.method
    return make_app("amplitude", tanks, served, partial(_not_found, known), _fault_answer)


def _others(region: Region) -> list[Route]:
    """Everything simulated beside uploads; the User Profile API is not offered in Europe."""
    form, pair = partial(find_by_form, region=region), partial(find_by_key_pair, region=region)
    plain = {200: "success", 400: "nothing was applied", 429: "throttled"}
    listed = {200: "found", 400: "the request does not fit", 403: "wrong key pair", 429: "too many requests"}
    mapped = {**plain, 413: "too many mappings"}
    identified = {**plain, 413: "the body is too large", 414: "the URL is too long"}
    job = {200: "done", 202: "taken or under way", 400: "no such cohort", 403: "wrong key pair", 404: "unknown",
           429: "too many requests"}  # fmt: skip
    text, envelope = ("text/html",), ("application/json", "text/html")
    identification = ("api_key", "identification", "options")
    found = [
        *(
            Route(method, path, name, handle, form, identify.refuse, document,
                  responses=identified, query=identification, produces=text)
            for method in ("POST", "GET")
            for path, name, handle, document in (
                ("/identify", "Identify", identify.identify, identify.IDENTIFY),
                ("/groupidentify", "Group Identify", identify.group_identify, identify.GROUP_IDENTIFY),
            )
        ),
        Route("POST", "/usermap", "User Mapping", usermap.write, form, identify.refuse, usermap.SOURCE,
              responses=mapped, query=("api_key", "mapping"), produces=text),
        Route("GET", "/api/2/usermap", "User Mapping: read", usermap.read, pair, export.wrong_key, usermap.SOURCE,
              responses=listed, query=("user_ids",), produces=envelope),
        Route("GET", "/api/2/export", "Export", export.export, pair, export.wrong_key, export.SOURCE,
              responses={200: "a zip", 400: "bad range", 403: "wrong key pair", 404: "no data", 429: "too many"},
              query=("start", "end"), produces=("application/zip", *envelope), pools=(parallel.REST,)),
        Route("GET", "/api/2/usersearch", "User search", people.search, pair, export.wrong_key, people.REST,
              responses=listed, query=("user",), produces=envelope, pools=(parallel.SEARCH,)),
        Route("GET", "/api/2/useractivity", "User activity", people.activity, pair, export.wrong_key, people.REST,
              responses=listed, query=("user", "offset", "limit", "direction"), produces=envelope, pools=(parallel.REST,)),
        *(
            Route(method, path, name, handle, pair, export.wrong_key, cohorts.SOURCE, _COHORT_BODIES.get(path),
                  responses=dict(states),
                  query=query, produces=(kind, *envelope),
                  pools=(parallel.REST, *([parallel.MEMBERSHIP] if handle is cohorts.membership else [])))
            for method, path, name, handle, states, query, kind in (
                ("GET", "/api/3/cohorts", "Cohorts: list", cohorts.listed, listed, ("includeSyncInfo",), "text/csv"),
                ("GET", "/api/3/cohorts/<cohort_id>", "Cohorts: one", cohorts.single, job, (), "text/csv"),
                ("GET", "/api/5/cohorts/request/<cohort_id>", "Cohorts: request", cohorts.ask, job,
                 ("props", "propKeys"), "text/csv"),
                ("GET", "/api/5/cohorts/request-status/<request_id>", "Cohorts: status", cohorts.status, job, (),
                 "text/csv"),
                ("GET", "/api/5/cohorts/request/<request_id>/file", "Cohorts: file", cohort_files.file, {**job, 302: "a link"},
                 (), "text/csv"),
                ("POST", "/api/3/cohorts/upload", "Cohorts: upload", cohorts.upload, listed, (), "text/csv"),
                ("POST", "/api/3/cohorts/membership", "Cohorts: members", cohorts.membership, listed, (), "text/csv"),
            )
        ),
    ]  # fmt: skip
    found += routes.beside_the_flows(pair)
    found.append(
        Route("GET", cohort_files.LINK, "Cohorts: file behind a link", cohort_files.linked,
              partial(cohort_files.find_by_link, region=region), cohort_files.denied, cohorts.SOURCE,
              responses={200: "the members", 403: "no or a stale signature"},
              query=("X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"), produces=("text/csv", "application/xml"))
    )  # fmt: skip
    if region == "us":
        secret = partial(find_by_secret, region=region)
        states = {200: "a profile", 400: "unknown person", 401: "wrong secret", 404: "unknown person", 429: "too many"}
        found.append(
            Route("GET", "/v1/userprofile", "User Profile", profile.profile, secret, profile.no_key, profile.SOURCE,
                  responses=states, query=profile.QUERY, produces=envelope)
        )  # fmt: skip
    return found


def _find_upload(request: Request, tanks: Tanks, region: Region) -> Found:
    upload = uploads.read(request)
    return at_home(tanks, "amplitude_api_key", upload.api_key, region, upload)


def _unknown_caller(_request: Request, _detail: object) -> Answer:
    return answers.refusal(403, "Forbidden")


def _not_found(known: Mapping[str, str], request: Request) -> Answer:
    """``known``: path → its methods."""
    path = request.path.rstrip("/")
    if path in known:
        if request.method == "OPTIONS":
            return Answer(200, b"", answers.HEADERS, "text/plain")
        refused = answers.refusal(405, "Method not allowed")
        return Answer(refused.status, refused.body, {**answers.HEADERS, "Allow": known[path]}, why=refused.why)
    if path.startswith("/v1/"):
        why = Reason("unknown-path", "no such path at the User Profile API", profile.SOURCE)
        return Answer(404, b"", content_type="text/html", why=(why,))
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
