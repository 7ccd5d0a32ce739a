"""Waiting for processes in real time, through the simulator's clock module, the only one that may."""

from __future__ import annotations

from simulator import clock


def deadline(seconds: float) -> int:
    """A point in real time ``seconds`` from now."""
    return clock.real_us() + round(seconds * 1_000_000)


def passed(until: int) -> bool:
    return clock.real_us() > until


def short_pause() -> None:
    clock.real_sleep(0.003)


def seconds_since(start: int) -> float:
    """Real seconds since a :func:`mark`."""
    return (clock.real_us() - start) / 1_000_000


def mark() -> int:
    return clock.real_us()
