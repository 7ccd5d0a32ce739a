"""The real clock, for load tests: they measure and pace real traffic. Nothing else here reads it."""

from __future__ import annotations

import time


def monotonic_s() -> float:
    """Real seconds from some moment on."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Sleep in real time."""
    if seconds > 0:
        time.sleep(seconds)
