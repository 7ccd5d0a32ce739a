"""All platform apps of one server over one directory of tanks."""

from __future__ import annotations

from collections.abc import Mapping

import flask

from simulator import amplitude, braze, customerio
from simulator.tank import Tanks
from simulator.timekeeper import Handler

PLATFORMS = ("amplitude_us", "amplitude_eu", "braze", "customerio_us", "customerio_eu")


def platform_apps(tanks: Tanks) -> dict[str, flask.Flask]:
    """The WSGI app of each port by name, one of :data:`PLATFORMS`."""
    return {
        "amplitude_us": amplitude.create_app(tanks, "us"),
        "amplitude_eu": amplitude.create_app(tanks, "eu"),
        "braze": braze.create_app(tanks),
        "customerio_us": customerio.create_app(tanks, "us"),
        "customerio_eu": customerio.create_app(tanks, "eu"),
    }


def timer_handlers() -> Mapping[str, Handler]:
    """What each kind of timer does, over all platforms."""
    return {**amplitude.TIMERS, **braze.TIMERS, **customerio.TIMERS}
