"""When each request of a group is due: rates over stages, as data.

Request ``k`` is due at the same instant whoever sends it, so a run has the same requests on one machine or many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A span of ``seconds`` in which the rate goes evenly from ``start`` to ``end`` requests per second."""

    seconds: float
    start: float
    end: float

    def requests(self, at: float) -> float:
        """How many requests have come due ``at`` seconds into the stage (a fraction of the next one included)."""
        return self.start * at + (self.end - self.start) * at * at / (2 * self.seconds)

    def instant(self, requests: float) -> float:
        """Seconds into the stage at which so many have come due: the inverse of :meth:`requests`."""
        slope = (self.end - self.start) / self.seconds
        if abs(slope) < 1e-9:
            return requests / self.start
        root = math.sqrt(max(0.0, self.start * self.start + 2 * slope * requests))
        return max(0.0, (root - self.start) / slope)


class Timetable:
    """The instants of all requests of a group, from 0 seconds on."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = tuple(stages)
        self._before: list[tuple[float, float, Stage]] = []
        seconds = requests = 0.0
        for stage in stages:
            self._before.append((seconds, requests, stage))
            seconds += stage.seconds
            requests += stage.requests(stage.seconds)
        self.seconds = seconds
        # Sums of thirds and the like may fall short of a whole request by a rounding error.
        self.total = math.floor(requests + 1e-6)

    def instant(self, k: int) -> float:
        """When request ``k`` (from 0) is due, in seconds. Raises IndexError."""
        if not 0 <= k < self.total:
            raise IndexError(k)
        for seconds, requests, stage in reversed(self._before):
            if k >= requests:
                return seconds + min(stage.seconds, stage.instant(k - requests))
        raise IndexError(k)

    def rate(self, at: float) -> float:
        """Requests per second at this instant; 0 before and after."""
        for seconds, _, stage in self._before:
            if seconds <= at < seconds + stage.seconds:
                return stage.start + (stage.end - stage.start) * (at - seconds) / stage.seconds
        return 0.0
