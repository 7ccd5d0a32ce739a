"""Route tables of the dashboard API and its neighbours, and everything documented that is not simulated."""

from __future__ import annotations

from collections.abc import Callable

from simulator.amplitude import chart_annotations, dashboard, deletions, delivery_metrics, export, parallel, releases
from simulator.exchange import Found, Handler, Request, Route
from simulator.tank import Tanks

_DASHBOARD = "Amplitude docs, Dashboard REST API"
_TAXONOMY = "Amplitude docs, Taxonomy API"
_DSAR = "Amplitude docs, DSAR API"
METRICS = "/api/2/event-streaming/delivery-metrics-summary"
_REST = {200: "done", 400: "the request does not fit", 403: "wrong key pair", 429: "too many at once"}
_ENVELOPE = ("application/json", "text/html")

_CHARTS = (
    ("/api/2/sessions/length", "Session length distribution"),
    ("/api/2/sessions/average", "Average session length"),
    ("/api/2/sessions/peruser", "Average sessions per user"),
    ("/api/2/composition", "User composition"),
    ("/api/2/events/segmentation", "Event segmentation"),
    ("/api/2/funnels", "Funnel analysis"),
    ("/api/2/retention", "Retention analysis"),
    ("/api/2/realtime", "Real-time active users"),
    ("/api/2/revenue/ltv", "Revenue analysis"),
    ("/api/3/chart/<chart_id>/csv", "Results from an existing chart"),
)
_KINDS = (
    ("category", "categories", False),
    ("event", "events", True),
    ("event-property", "event properties", True),
    ("user-property", "user properties", True),
    ("group-property", "group properties", True),
)


def _taxonomy() -> list[tuple[str, str, str, str, str]]:
    found = []
    for kind, words, restorable in _KINDS:
        many = f"/api/2/taxonomy/{kind}"
        calls = [("POST", many), ("GET", many), *((method, f"{many}/<name>") for method in ("GET", "PUT", "DELETE"))]
        if restorable:
            calls.append(("POST", f"{many}/<name>/restore"))
        found += [(method, path, f"Taxonomy: {words}", _TAXONOMY, "basic") for method, path in calls]
    return found


ABSENT: tuple[tuple[str, str, str, str, str], ...] = (
    ("POST", "/httpapi", "HTTP API (deprecated)", "Amplitude docs, HTTP API (Deprecated)", "form"),
    ("POST", "/attribution", "Attribution", "Amplitude docs, Attribution API", "form"),
    *(("GET", path, name, _DASHBOARD, "basic") for path, name in _CHARTS),
    *_taxonomy(),
    ("POST", "/api/2/dsar/requests", "DSAR: request", _DSAR, "basic"),
    ("GET", "/api/2/dsar/requests/<request_id>", "DSAR: status", _DSAR, "basic"),
    ("GET", "/api/2/dsar/requests/<request_id>/outputs/<output>", "DSAR: output", _DSAR, "basic"),
)
"""Documented and not simulated: method, path, name, document, and how the caller proves itself."""


def beside_the_flows(pair: Callable[[Request, Tanks], Found]) -> list[Route]:
    """The dashboard API, annotations, releases and user deletions; ``pair`` finds the tank by key pair."""
    annotations, annotation = "/api/3/annotations", "/api/3/annotations/<annotation_id>"
    kinds, kind = "/api/3/annotation-categories", "/api/3/annotation-categories/<category_id>"
    jobs = "/api/2/deletions/users"
    ranged = ("category", "chart_id", "start", "end")
    pools = {"deletions": parallel.DELETIONS, "event-streaming": parallel.METRICS}
    marks = {404: "unknown", 409: "exists"}
    table: tuple[tuple[str, str, str, Handler, str, dict[int, str], tuple[str, ...]], ...] = (
        ("GET", "/api/2/events/list", "Events list", dashboard.events_list, _DASHBOARD, {429: "cost"}, ()),
        ("GET", "/api/2/users", "Active and new users", dashboard.users, _DASHBOARD, {429: "cost"},
         ("start", "end", "m", "i", "s", "g")),
        ("GET", METRICS, "Event streaming metrics", delivery_metrics.summary, delivery_metrics.SOURCE,
         {500: "older than 90 days"}, ("sync_id", "time_period", "start", "end")),
        ("POST", annotations, "Annotations: create", chart_annotations.create, chart_annotations.SOURCE, marks, ()),
        ("GET", annotations, "Annotations: list", chart_annotations.listed, chart_annotations.SOURCE, marks, ranged),
        ("GET", annotation, "Annotations: one", chart_annotations.single, chart_annotations.SOURCE, marks, ()),
        ("PUT", annotation, "Annotations: change", chart_annotations.change, chart_annotations.SOURCE, marks, ()),
        ("DELETE", annotation, "Annotations: delete", chart_annotations.delete, chart_annotations.SOURCE, marks, ()),
        ("GET", "/api/2/annotations", "Annotations: old list", chart_annotations.listed, chart_annotations.SOURCE,
         marks, ranged),
        ("POST", kinds, "Annotation categories: create", chart_annotations.create_category, chart_annotations.SOURCE,
         marks, ()),
        ("GET", kinds, "Annotation categories: list", chart_annotations.listed_categories, chart_annotations.SOURCE,
         marks, ("category",)),
        ("GET", kind, "Annotation categories: one", chart_annotations.single_category, chart_annotations.SOURCE,
         marks, ()),
        ("PUT", kind, "Annotation categories: change", chart_annotations.change_category, chart_annotations.SOURCE,
         marks, ()),
        ("DELETE", kind, "Annotation categories: delete", chart_annotations.delete_category,
         chart_annotations.SOURCE, marks, ()),
        ("PUT", f"{kinds}/bulk/<category_id>", "Annotation categories: move", chart_annotations.move,
         chart_annotations.SOURCE, marks, ()),
        ("POST", "/api/2/release", "Releases", releases.create, releases.SOURCE, {},
         ("version", "release_start", "title", "release_end", "description", "platforms", "created_by",
          "chart_visibility")),
        ("POST", jobs, "User privacy: delete", deletions.create, deletions.SOURCE, {429: "rate"}, ()),
        ("GET", jobs, "User privacy: list", deletions.listed, deletions.SOURCE, {}, ("start_day", "end_day")),
        ("DELETE", f"{jobs}/<amplitude_id>/<day>", "User privacy: withdraw", deletions.withdraw, deletions.SOURCE,
         {404: "unknown"}, ()),
    )  # fmt: skip
    return [
        Route(method, path, name, handle, pair, export.wrong_key, source, responses={**_REST, **more}, query=query,
              produces=_ENVELOPE, pools=(pools.get(path.split("/")[3], parallel.REST),))
        for method, path, name, handle, source, more, query in table
    ]  # fmt: skip
