"""Prometheus metrics of the connector: what its outboxes hold, and what came of its uploads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from connector.assembly import Flow

CONTENT_TYPE = CONTENT_TYPE_LATEST

_registry = CollectorRegistry()
_uploads = Counter(
    "connector_uploads", "Requests to a platform by what came of them", ("vendor", "outcome"), registry=_registry
)


def uploaded(vendor: str, outcome: str) -> None:
    """Count one request to a platform; ``outcome`` is the kind of its reply."""
    _uploads.labels(vendor, outcome).inc()


class _Outboxes(Collector):
    """Counts are read when they are asked for: the outbox is the truth, also after a restart."""

    def __init__(self, flows: Mapping[str, Flow]) -> None:
        self._flows = flows

    def collect(self) -> Iterator[GaugeMetricFamily]:
        events = GaugeMetricFamily("connector_outbox_events", "Events in the outbox", labels=("flow", "state"))
        refused = GaugeMetricFamily("connector_key_refused", "1 while a platform refuses the key", labels=("flow",))
        for name, flow in self._flows.items():
            for state, n in flow.outbox.counts().items():
                events.add_metric((name, state), n)
            refused.add_metric((name,), 0 if flow.outbox.note("refused_ms") is None else 1)
        yield events
        yield refused


def text(flows: Mapping[str, Flow]) -> bytes:
    """Everything in Prometheus's text format."""
    outboxes = CollectorRegistry()
    outboxes.register(_Outboxes(flows))
    return generate_latest(_registry) + generate_latest(outboxes)
