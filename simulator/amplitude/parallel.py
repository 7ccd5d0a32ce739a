"""How many requests of a project the REST APIs work on at once.

Source: Amplitude docs, Dashboard REST API, Rate limits (shared by export and cohorts); User Search; User Privacy API.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import orjson

from simulator.exchange import Answer, Reason, Request
from simulator.pools import Pool

BUSY = "amplitude.rest_ms"


def _full(most: int, source: str, _request: Request) -> Answer:
    details = f"more than {most} requests at once: wait for an answer before the next request"
    error = {"http_code": 429, "type": "rate_limited", "message": "Too many requests", "metadata": {"details": details}}
    why = Reason("too-many-at-once", details, source, {"limit": most}, "send them one after the other")
    return Answer(429, {"error": error}, why=(why,))


def _pool(name: str, most: int, source: str, apart: Callable[[Request], str] | None = None) -> Pool:
    return Pool(f"amplitude-{name}", most, partial(_full, most, source), BUSY, apart)


def _cohort(request: Request) -> str:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return ""
    return str(body.get("cohort_id", ""))[:64] if isinstance(body, dict) else ""


REST = _pool("rest", 5, "Amplitude docs, Dashboard REST API, Rate limits")
SEARCH = _pool("usersearch", 10, "Amplitude docs, Dashboard REST API, User Search")
DELETIONS = _pool("deletions", 8, "Amplitude docs, User Privacy API")
MEMBERSHIP = _pool("membership", 1, "observed in clients of the Behavioral Cohorts API", _cohort)
METRICS = _pool("delivery-metrics", 4, "Amplitude docs, Event Streaming Metrics Summary API")
