"""Simulated Customer.io: people, messages and their lives, reporting webhooks, and the App and Track APIs."""

from simulator.customerio import deliveries, sending
from simulator.customerio.app import create_app

TIMERS = {**sending.TIMERS, **deliveries.TIMERS}

__all__ = ["TIMERS", "create_app"]
