"""Simulated Amplitude, one Flask app per region.

What lives here: reading and checking uploads, throttling, deduplication, identity, user properties, and what a
project holds. Decisions are plain functions (``validation``, ``throttle``, ``identity``, ``properties``);
``ingest`` puts them together over the store. What may not live here: anything about a connector.
"""

from collections.abc import Mapping

from simulator.amplitude import cohort_syncs, deletions, retention, streams
from simulator.amplitude.app import create_app
from simulator.timekeeper import Handler

TIMERS: Mapping[str, Handler] = {
    **cohort_syncs.TIMERS,
    **deletions.TIMERS,
    **retention.TIMERS,
    **streams.TIMERS,
}

__all__ = ["TIMERS", "create_app"]
