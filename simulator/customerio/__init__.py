"""Simulated Customer.io: reporting webhooks with their queues and signatures, and the routes of its APIs."""

from simulator.customerio.app import create_app
from simulator.customerio.sending import TIMERS

__all__ = ["TIMERS", "create_app"]
