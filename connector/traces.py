"""OpenTelemetry traces of uploads, by setting: ``WAVETANK_TRACES`` names an OTLP endpoint; off without it.

The span travels with the request as ``traceparent``, so a platform that traces as well shows both in one trace.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
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
    provider = TracerProvider(resource=Resource.create({"service.name": "wavetank-connector"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=500))
    return provider.get_tracer("wavetank.connector")


@contextlib.contextmanager
def upload(vendor: str, events: int) -> Iterator[None]:
    """A span around an upload, with traces on."""
    mine = tracer()
    if mine is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    with mine.start_as_current_span(f"upload to {vendor}", kind=SpanKind.CLIENT) as span:
        span.set_attribute("wavetank.events", events)
        yield


def headers() -> dict[str, str]:
    """The headers that carry the span at hand on; none when traces are off."""
    found: dict[str, str] = {}
    if tracer() is not None:
        from opentelemetry.propagate import inject

        inject(found)
    return found
