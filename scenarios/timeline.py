"""The delivery timeline: how a scenario's events went from emission to storage, in tank time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from scenarios.matching import instant_ms, span
from scenarios.readback import Reading

NEEDS = ("events", "ledger", "journal")

LANES = ("emitted", "feed", "amplitude", "stored")
_MOST_POINTS = 400


def drawn(reading: Reading) -> dict[str, Any]:
    """Points per lane as ``{start_ms, end_ms, lanes: [{name, points: [{ms, count, status}]}]}``.

    Points of the same instant and status are one point with a count, so 48 hours stay small.
    """
    start = reading.start_ms
    sent = [each for each in reading.exchanges if each.entry["direction"] == "out"]
    asked = [each for each in reading.exchanges if each.entry["platform"] == "amplitude"]
    lanes = {
        "emitted": [(ms, "ok") for ms in reading.emitted_ms.values()],
        "feed": [(each.ms, _status(each.status)) for each in sent],
        "amplitude": [(each.ms, _status(each.status)) for each in asked],
        "stored": [(instant_ms(each["server_upload_time"], start), "ok") for each in reading.events],
    }
    moments = [ms for points in lanes.values() for ms, _ in points]
    first = min([start, *moments])
    last = max([*moments, first + 1])
    return {
        "start_ms": first,
        "end_ms": last,
        "lanes": [{"name": name, "points": _points(lanes[name], first, last)} for name in LANES],
    }


def _status(status: int | None) -> str:
    return "none" if status is None else str(status)


def _points(found: Iterable[tuple[int, str]], first: int, last: int) -> list[dict[str, Any]]:
    grain = max(1, (last - first) // _MOST_POINTS)
    counts = Counter((first + (ms - first) // grain * grain, status) for ms, status in found)
    return [{"ms": ms, "count": count, "status": status} for (ms, status), count in sorted(counts.items())]


def tone(status: str) -> str:
    """The colour class of a status: good, throttled, refused, failed, none."""
    if status == "ok" or status.startswith("2"):
        return "good"
    if status == "429":
        return "throttled"
    if status.startswith("4"):
        return "refused"
    return "failed" if status.startswith("5") else "none"


WIDTH, LEFT, RIGHT, LANE, TOP = 880, 90, 20, 34, 14


def picture(drawing: dict[str, Any]) -> dict[str, Any]:
    """The timeline laid out for the report's SVG: dots, ticks and sizes in pixels."""
    first, last = drawing["start_ms"], drawing["end_ms"]
    scale = (WIDTH - LEFT - RIGHT) / (last - first)
    dots = []
    for number, lane in enumerate(drawing["lanes"]):
        for point in lane["points"]:
            many = point["count"]
            dots.append(
                {
                    "x": round(LEFT + (point["ms"] - first) * scale, 1),
                    "y": TOP + LANE * number + LANE / 2,
                    "r": round(min(12.0, 2.5 + many**0.5 * 0.8), 1),
                    "tone": tone(point["status"]),
                    "label": f"{lane['name']}: {many} × {point['status']} at {span(point['ms'] - first)}",
                }
            )
    names = {"emitted": "emitted", "feed": "feed posts", "amplitude": "Amplitude", "stored": "stored"}
    height = TOP + LANE * len(drawing["lanes"]) + 30
    return {
        "width": WIDTH,
        "height": height,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "floor": height - 24,
        "top": TOP,
        "lanes": [
            {"name": names[lane["name"]], "y": TOP + LANE * number + LANE / 2}
            for number, lane in enumerate(drawing["lanes"])
        ],
        "dots": dots,
        "ticks": [
            {"x": round(LEFT + (ms - first) * scale, 1), "label": span(ms - first)}
            for ms in _ticks(first, last)
        ],
    }


_STEPS_MS = [
    *(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000),
    *(60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000),
    *(21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000),
]


def _ticks(first: int, last: int) -> list[int]:
    step = next((each for each in _STEPS_MS if (last - first) / each <= 8), (last - first) // 8)
    return list(range(first, last + 1, step))
