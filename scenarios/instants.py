"""Durations and instants as scenarios write them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration_ms(value: Any) -> int:
    """``"48h"``, ``"1h30m"``, ``"250ms"`` or a number of ms. Raises ValueError."""
    if isinstance(value, int):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", str(value))
    if not parts or "".join(a + b for a, b in parts) != str(value):
        raise ValueError(f"{value!r} is not a duration: write it like 48h, 5m, 30s or 250ms")
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts))


def instant_ms(value: Any, start_ms: int) -> int:
    """Epoch ms, ISO 8601 text, or ``+5m`` after the scenario's start. Raises ValueError."""
    if isinstance(value, int):
        return value
    text = str(value)
    if text.startswith("+"):
        return start_ms + duration_ms(text[1:])
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)
