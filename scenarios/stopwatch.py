"""Real time for the runner alone: how long things take and short pauses between polls.

What a scenario asserts is tank time, read from the tank. The readings come from the simulator's clock module,
the one place of the project that may look at the wall clock.
"""

from __future__ import annotations

from simulator.clock import real_ms, real_sleep, real_us

__all__ = ["Stopwatch", "pause", "today_ms"]


class Stopwatch:
    """Counts real seconds from its making."""

    def __init__(self) -> None:
        self._began_us = real_us()

    @property
    def seconds(self) -> float:
        """Real seconds so far."""
        return (real_us() - self._began_us) / 1_000_000


def pause(seconds: float) -> None:
    """Let real time pass between two polls."""
    real_sleep(seconds)


def today_ms() -> int:
    """The wall clock in epoch ms, for the date of a report."""
    return real_ms()
