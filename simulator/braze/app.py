"""Braze's Flask app: every documented REST endpoint; those without a handler answer an honest 501.

A request finds its tank by its REST key; partner endpoints by the two keys in their body.
"""

from __future__ import annotations

from collections.abc import Mapping

import flask

from simulator.braze import (
    cohort_import,
    email_lists,
    exporting,
    identity_api,
    listing,
    messaging_routes,
    permissions,
    segment_export,
    subscription_api,
    track,
)
from simulator.braze.queries import Asking
from simulator.braze.refusals import refuse
from simulator.braze.transport import JsonHandler, Served, find, find_partner, gated, refuse_key, refuse_partner
from simulator.exchange import Answer, Request, Route, make_app
from simulator.tank import Tanks

_DOCUMENT = "Braze docs, REST API"

HANDLERS: Mapping[str, Served] = {
    "POST /users/track": (track.track, "braze_track", 201),
    "POST /users/track/bulk": (track.bulk, "braze_track", 201),
    "POST /users/track/sync": (track.sync, "braze_track", 201),
    "POST /users/alias/new": (identity_api.alias_new, "braze_alias_new", 201),
    "POST /users/alias/update": (identity_api.alias_update, "braze_alias_update", 201),
    "POST /users/identify": (identity_api.identify, "braze_identify", 201),
    "POST /users/merge": (identity_api.merge, "braze_merge", 202),
    "POST /users/delete": (identity_api.delete, "braze_delete", 201),
    "POST /users/external_ids/rename": (identity_api.rename, "braze_external_ids_rename", 201),
    "POST /users/external_ids/remove": (identity_api.remove, "braze_external_ids_remove", 201),
    "POST /users/export/ids": (exporting.ids, "braze_export_ids", 201),
    "POST /partners/<partner>/cohorts": (cohort_import.name, "braze_cohort", 201),
    "POST /partners/<partner>/cohorts/users": (cohort_import.users, "braze_cohort_users", 201),
    **messaging_routes.HANDLERS,
    **listing.HANDLERS,
    **subscription_api.HANDLERS,
    **email_lists.HANDLERS,
    **segment_export.HANDLERS,
}
"""What is simulated."""

READERS: Mapping[str, tuple[JsonHandler, tuple[str, ...]]] = {**messaging_routes.READERS}
"""What is read without a body: the handler and its query parameters."""

_REFUSALS = {
    400: "refused: the body does not fit",
    401: "the key is unknown here",
    403: "the key lacks the permission",
    413: "the body is too large",
    415: "the content type is not application/json",
    429: "over a rate limit",
}


def create_app(tanks: Tanks) -> flask.Flask:
    """The WSGI app of Braze's port. Braze's paths have no slash at their end: one that has is another path."""
    return make_app("braze", tanks, routes(), _not_found, strict_slashes=True)


def routes() -> list[Route]:
    """The documented endpoints, and the link that an export answers."""
    documented = [
        _route(endpoint, row, folder)
        for folder, endpoints in permissions.endpoints().items()
        for endpoint, row in endpoints.items()
    ]
    return [*documented, _file_route()]


def _file_route() -> Route:
    link, document = segment_export.LINK, segment_export.SOURCE
    answers = {200: "the file", 403: "not ready, or too late"}
    view, finder, refuser = segment_export.download, segment_export.find_by_link, segment_export.denied
    kinds = ("application/zip", "application/xml")
    return Route("GET", link, link, view, finder, refuser, document, responses=answers, produces=kinds)


def _route(endpoint: str, row: Mapping[str, object], folder: str) -> Route:
    method, path = endpoint.split()
    finder, refuser = (find_partner, refuse_partner) if path.startswith("/partners/") else (find, refuse_key)
    document = f"{_DOCUMENT}, {folder}"
    if endpoint in READERS:
        read, query = READERS[endpoint]
        answers = {200: "success", **_REFUSALS}
        view = gated(row, read)
        return Route(method, path, path, view, finder, refuser, document, responses=answers, query=query)
    if endpoint not in HANDLERS:
        return Route(method, path, path, None, finder, refuser, document)
    handle, schema, status = HANDLERS[endpoint]
    answers = {status: "success", **_REFUSALS, **({423: "the cohort is locked"} if "cohorts" in path else {})}
    query = tuple(each.name for each in handle.parameters) if isinstance(handle, Asking) else ()
    view = gated(row, handle)
    return Route(method, path, path, view, finder, refuser, document, schema, responses=answers, query=query)


def _not_found(_request: Request) -> Answer:
    return refuse("not_found")
