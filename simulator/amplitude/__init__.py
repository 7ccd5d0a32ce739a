"""Simulated Amplitude, one Flask app per region.

What lives here: reading and checking uploads, throttling, deduplication, identity, user properties, and what a
project holds. Decisions are plain functions (``validation``, ``throttle``, ``identity``, ``properties``);
``ingest`` puts them together over the store. What may not live here: anything about a connector.
"""

from simulator.amplitude.app import create_app
from simulator.amplitude.deletions import TIMERS

__all__ = ["TIMERS", "create_app"]
