"""The timeline of a scenario as an SVG: from Braze to Amplitude, and what goes the other way, over tank time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from math import log10
from typing import Any

import markupsafe

LANES = (
    ("emitted", "emitted"),
    ("fed", "fed to connector"),
    ("uploaded", "sent to Amplitude"),
    ("stored", "in Amplitude"),
)
"""The way of an event from Braze to Amplitude: always drawn."""
BACK = (
    ("read", "read from Amplitude"),
    ("to_braze", "sent to Braze"),
    ("messages", "messages of Braze"),
)
"""The way back: what a scenario has of it is drawn below."""
WIDTH, LEFT, TOP, STEP = 860, 140, 18, 34


def picture(points: Sequence[Mapping[str, Any]]) -> markupsafe.Markup:
    """An inline SVG; time is drawn so that idle spans do not squeeze the rest."""
    instants = sorted({point["at_ms"] for point in points})
    places = _places(instants)
    there = {point["lane"] for point in points}
    lanes = (*LANES, *(each for each in BACK if each[0] in there))
    height = TOP + STEP * len(lanes) + 26
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" class="timeline" aria-label="delivery timeline">']
    rows = {}
    for row, (lane, title) in enumerate(lanes):
        y = TOP + STEP * row + STEP // 2
        rows[lane] = y
        parts.append(f'<text x="{LEFT - 14}" y="{y + 4}" text-anchor="end">{title}</text>')
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - 20}" y2="{y}" class="lane"/>')
    for point in points:
        x, y = places[point["at_ms"]], rows[point["lane"]]
        radius = min(11.0, 3.5 + float(point["n"]) ** 0.5 * 0.8)
        title = escape(f"+{_span(point['at_ms'] - instants[0])}: {point['label']}")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y}" r="{radius:.1f}" class="{point["kind"]}"><title>{title}</title></circle>'
        )
    parts.append(_axis(instants, places, height - 8))
    parts.append("</svg>")
    return markupsafe.Markup("".join(parts))


def _places(instants: Sequence[int]) -> dict[int, float]:
    """x by instant: gaps grow with the logarithm of their length."""
    steps = [0.0]
    for earlier, later in pairwise(instants):
        steps.append(steps[-1] + 1 + log10(1 + (later - earlier)))
    scale = (WIDTH - LEFT - 40) / (steps[-1] or 1)
    return {at: LEFT + 10 + step * scale for at, step in zip(instants, steps, strict=True)}


def _axis(instants: Sequence[int], places: Mapping[int, float], y: int) -> str:
    parts: list[str] = []
    last = -100.0
    for at in instants:
        x = places[at]
        if x - last < 70:
            continue
        last = x
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle" class="axis">+{_span(at - instants[0])}</text>')
    return "".join(parts)


def _span(ms: int) -> str:
    if ms < 1000:
        return f"{ms} ms"
    if ms < 60_000:
        return f"{ms / 1000:g} s"
    if ms < 3_600_000:
        return f"{ms // 60_000} min" + (f" {ms % 60_000 // 1000} s" if ms % 60_000 >= 1000 else "")
    return f"{ms // 3_600_000} h" + (f" {ms % 3_600_000 // 60_000} min" if ms % 3_600_000 >= 60_000 else "")
