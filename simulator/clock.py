"""Time: the only module of the simulator that reads the wall clock or sleeps.

Tank time is an integer of milliseconds since the Unix epoch. A tank's clock is *real* (tank time runs with
the wall clock), *scaled* (so many times faster) or *stepped* (it moves only when told to).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Mode = Literal["real", "scaled", "stepped"]

STEPPED_START_MS = 1_767_225_600_000
"""Where a stepped clock starts unless told otherwise: 2026-01-01T00:00:00Z."""

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def real_ms() -> int:
    """Wall-clock time in ms since the epoch."""
    return time.time_ns() // 1_000_000


def real_us() -> int:
    """A monotonic real-time reading in microseconds, for latencies."""
    return time.perf_counter_ns() // 1_000


def real_sleep(seconds: float) -> None:
    """Sleep in real time."""
    if seconds > 0:
        time.sleep(seconds)


def iso(ms: int) -> str:
    """Tank time in ms as ISO 8601 in UTC with milliseconds: ``2026-01-01T00:00:00.000Z``."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def parse_instant(value: object) -> int:
    """Read an instant given as epoch ms (number or digits) or ISO 8601 text; answers epoch ms.

    Text without a zone is UTC. Raises ValueError that says what was expected.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not an instant: give epoch milliseconds or ISO 8601 text")
    if isinstance(value, int | float):
        instant = int(value)
    else:
        text = str(value).strip()
        if re.fullmatch(r"-?\d{1,18}", text):
            instant = int(text)
        else:
            try:
                moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
            except ValueError:
                raise ValueError(f"{text!r} is not an instant: give epoch milliseconds or ISO 8601 text") from None
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            instant = round(moment.timestamp() * 1000)
    if not 0 <= instant < 253_402_300_800_000:
        raise ValueError(f"{value!r} is out of range: give an instant between the years 1970 and 9999")
    return instant


def parse_duration(value: object) -> int:
    """Read a duration as ``"48h"``, ``"1h30m"``, ``"250ms"`` or a number of ms; answers ms.

    Raises ValueError that says what was expected.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1e14:
            raise ValueError(f"{value!r} is not a duration: give milliseconds from 0 up")
        return int(value)
    text = str(value).strip()
    if re.fullmatch(r"\d{1,13}", text):
        return int(text)
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text or len(text) > 40:
        raise ValueError(f"{text!r} is not a duration: write it like 48h, 5m, 30s, 250ms or 1h30m")
    return round(sum(float(number) * _UNITS_MS[unit] for number, unit in parts))


@dataclass(frozen=True)
class ClockState:
    """What a tank's clock is made of, as stored: readings at the moment it was last set."""

    mode: Mode
    scale: float
    tank_ms: int
    anchor_ms: int

    def now_ms(self) -> int:
        """Tank time in ms."""
        if self.mode == "stepped":
            return self.tank_ms
        return self.tank_ms + round((real_ms() - self.anchor_ms) * self.scale)

    def real_delay_s(self, until_ms: int) -> float:
        """Real seconds until a running clock reads ``until_ms``; infinite for a stepped one."""
        if self.mode == "stepped":
            return float("inf")
        return max(0.0, (until_ms - self.now_ms()) / self.scale / 1000)


def start(mode: Mode, scale: float = 1.0, start_ms: int | None = None) -> ClockState:
    """A clock that starts now: stepped at ``start_ms`` (default 2026-01-01), else from the wall clock."""
    here = real_ms()
    if mode == "stepped":
        return ClockState("stepped", 1.0, STEPPED_START_MS if start_ms is None else start_ms, here)
    return ClockState(mode, scale if mode == "scaled" else 1.0, here if start_ms is None else start_ms, here)
