"""OpenTelemetry traces, by setting: a span for every request of a platform, under the caller's own span.

Off unless ``WAVETANK_TRACES`` names an OTLP endpoint (``http://127.0.0.1:4318/v1/traces``). A connector that sends
``traceparent`` with its uploads sees them and what the platform did in one trace.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

SETTING = "WAVETANK_TRACES"


class NoTraces(RuntimeError):
    """Traces were asked for and cannot be had: one line, how to mend it."""


@cache
def tracer() -> Any:
    """The tracer, or None when traces are off. Raises NoTraces."""
    endpoint = os.environ.get(SETTING)
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise NoTraces(f"{SETTING}: OpenTelemetry is not installed: pip install 'wavetank[traces]'") from None
    provider = TracerProvider(resource=Resource.create({"service.name": "wavetank"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=500))
    return provider.get_tracer("wavetank")


@contextlib.contextmanager
def request(platform: str, method: str, route: str, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A span around a request, with traces on; what is put into the mapping becomes its attributes."""
    found: dict[str, Any] = {}
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    carrier = {"traceparent": headers["Traceparent"]} if "Traceparent" in headers else {}
    with tracer().start_as_current_span(f"{method} {route}", context=extract(carrier), kind=SpanKind.SERVER) as span:
        try:
            yield found
        finally:
            known = {"wavetank.platform": platform, "http.request.method": method, "http.route": route}
            span.set_attributes({**known, **found})
