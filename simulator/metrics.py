"""Prometheus metrics of the platforms: how many requests, how they were answered, how long they took.

Workers of one server write into one folder (``PROMETHEUS_MULTIPROC_DIR``, set before they start), so every port shows
the sums of all. What the control process counts itself, requests to connectors, its own port shows beside them.
"""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

_registry = CollectorRegistry()
_requests = Counter(
    "wavetank_requests", "Requests by their answer", ("platform", "method", "route", "status"), registry=_registry
)
_seconds = Histogram(
    "wavetank_request_seconds",
    "Seconds of work on a request, without injected delays",
    ("platform", "route"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    registry=_registry,
)
_control_registry = CollectorRegistry()
_feeds = Counter(
    "wavetank_feed_requests", "Requests to connectors by their answer", ("status",), registry=_control_registry
)


def answered(platform: str, method: str, route: str, status: int, seconds: float) -> None:
    """Count one answer of a platform; ``route`` is the documented path, not the one that was called."""
    _requests.labels(platform, method, route, str(status)).inc()
    _seconds.labels(platform, route).observe(seconds)


def fed(status: int | None) -> None:
    """Count one request to a connector; None when no answer came."""
    _feeds.labels("none" if status is None else str(status)).inc()


def platforms() -> bytes:
    """What all platform workers have counted, in Prometheus's text format."""
    if not os.environ.get(FOLDER):
        return generate_latest(_registry)
    whole = CollectorRegistry()
    MultiProcessCollector(whole)  # type: ignore[no-untyped-call]
    return generate_latest(whole)


def everything() -> bytes:
    """The same with what this process has sent to connectors."""
    return platforms() + generate_latest(_control_registry)
