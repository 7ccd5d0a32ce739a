"""Line charts as inline SVG: series over seconds, with an optional limit line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import markupsafe

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 860, 220, 60, 16, 28
COLOURS = ("#2f6fb5", "#2e8b57", "#c0392b", "#b8860b", "#6b5b95", "#555555")
Points = Sequence[tuple[float, float]]


def chart(series: Mapping[str, Points], limit: tuple[str, float] | None = None) -> markupsafe.Markup:
    """One chart of ``(second, value)`` points by name; ``limit`` is a name and a value drawn as a dashed line."""
    every = [point for points in series.values() for point in points]
    if not every:
        return markupsafe.Markup("<p>nothing to draw</p>")
    right = max(1.0, max(x for x, _ in every))
    high = max(1.0, max(y for _, y in every), limit[1] if limit else 0) * 1.05

    def place(x: float, y: float) -> str:
        across = LEFT + x / right * (WIDTH - LEFT - 10)
        return f"{across:.1f},{TOP + (1 - y / high) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 18 * (len(series) // 5 + 1)}" role="img">']
    for share in (0, 0.5, 1):
        _, _, y = place(0, high * share / 1.05).partition(",")
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - 10}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end" dy="4">{_number(high * share / 1.05)}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, _, _ = place(right * share, 0).partition(",")
        parts.append(f'<text x="{x}" y="{HEIGHT - 10}" text-anchor="middle">{_number(right * share)} s</text>')
    if limit:
        (_, _, y), name = place(0, limit[1]).partition(","), escape(limit[0])
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - 10}" y2="{y}" stroke="#c0392b" stroke-dasharray="6 4"/>')
        parts.append(f'<text x="{WIDTH - 12}" y="{y}" text-anchor="end" dy="-4" fill="#c0392b">{name}</text>')
    for n, (name, points) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        line = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        at, down = LEFT + n % 5 * 150, HEIGHT + 8 + n // 5 * 18
        parts.append(f'<rect x="{at}" y="{down}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{at + 15}" y="{down + 9}">{escape(name)}</text>')
    parts.append("</svg>")
    return markupsafe.Markup("".join(parts))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
