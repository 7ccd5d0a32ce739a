"""Simulated Customer.io: the routes of its App and Track APIs, none of them simulated yet."""

from simulator.customerio.app import create_app

__all__ = ["create_app"]
