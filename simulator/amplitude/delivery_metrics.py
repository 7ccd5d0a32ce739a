"""`/api/2/event-streaming/delivery-metrics-summary`: what came of a stream's payloads within a period.

Source: Amplitude docs, Event Streaming Metrics Summary API. How the members add up is inferred from its sample.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select

from simulator.amplitude import ingest, streams
from simulator.amplitude.export import refused
from simulator.amplitude.rows import when
from simulator.exchange import Answer, Call

SOURCE = "Amplitude docs, Event Streaming Metrics Summary API"
PERIODS: Mapping[str, int] = {
    "TEN_MINUTES": 600_000,
    "ONE_HOUR": 3_600_000,
    "FOUR_HOURS": 14_400_000,
    "ONE_DAY": 86_400_000,
    "ONE_WEEK": 604_800_000,
    "TWO_WEEKS": 1_209_600_000,
}
KEPT_MS = 90 * 86_400_000
PER_MINUTE = 12


def summary(call: Call) -> Answer:
    """Counts, delivery rate and the 95th percentile of the latency."""
    given = call.detail
    if ingest.over_rate(call, "delivery-metrics", 1, PER_MINUTE, 60_000):
        return refused(429, "Too many requests", f"more than {PER_MINUTE} requests a minute")
    sync_id, period = given.get("sync_id", ""), given.get("time_period", "")
    if not sync_id:
        return refused(400, "Invalid request", "sync_id is missing")
    span = _span(given, period, call.now_ms)
    if isinstance(span, str):
        return refused(400, "Invalid request", span)
    if not streams.known(call.conn, sync_id):
        return refused(403, "Forbidden", "this project has no such sync")
    if span[0] < call.now_ms - KEPT_MS:
        return refused(500, "Internal error", "metrics are kept for 90 days")
    table = streams.outcomes
    within = (table.c.sync_id == sync_id, table.c.at_ms >= span[0], table.c.at_ms < span[1])
    found = call.conn.execute(select(table.c.outcome, table.c.latency_ms).where(*within)).all()
    counts = Counter(row.outcome for row in found)
    latencies = sorted(row.latency_ms for row in found if row.outcome in ("first", "retried"))
    delivered, failed = len(latencies), counts["expired"] + counts["discarded"]
    body = {
        "timePeriod": period,
        "eventsDelivered": delivered,
        "eventsNotDelivered": failed,
        "deliveryRate": delivered / (delivered + failed) if found else 0,
        "latencyInSeconds": latencies[math.ceil(0.95 * delivered) - 1] / 1000 if delivered else 0,
        "timePeriodStart": when(span[0]),
        "timePeriodEnd": when(span[1]),
        "successOnFirstAttempt": counts["first"],
        "successAfterRetry": counts["retried"],
        "eventsExpired": counts["expired"],
        "eventsDiscarded": counts["discarded"],
    }
    return Answer(200, body)


def _span(given: Mapping[str, str], period: str, now_ms: int) -> tuple[int, int] | str:
    """From when (inclusive) until when (exclusive), or what is wrong."""
    if period in PERIODS:
        if "start" in given or "end" in given:
            return "start and end go with time_period CUSTOM only"
        return now_ms - PERIODS[period], now_ms + 1
    if period != "CUSTOM":
        return f"time_period is one of {', '.join(PERIODS)}, CUSTOM"
    edges = []
    for name in ("start", "end"):
        try:
            moment = datetime.fromisoformat(given.get(name, "").replace(" ", "+").replace("Z", "+00:00"))
            if moment.tzinfo is None:
                raise ValueError
            edges.append(round(moment.timestamp() * 1000))
        except (ValueError, OverflowError):
            return f"{name} is no ISO 8601 time with a zone"
    return (edges[0], edges[1]) if edges[0] < edges[1] else "end is not after start"
