"""What happened in a scenario, by tank time, for its picture."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from scenarios.control import View
from scenarios.instants import instant_ms


def timeline(view: View) -> list[dict[str, Any]]:
    """Points ``{lane, at_ms, n, kind, label}``; lanes: emitted, fed, uploaded, stored."""
    points: list[dict[str, Any]] = []
    for at, n in sorted(Counter(instant_ms(each["emitted"], 0) for each in view.entries).items()):
        points.append(_point("emitted", at, n, "ok", f"{n} emitted"))
    groups: Counter[tuple[str, int, str, str]] = Counter()
    for each in view.journal:
        lane = {"connector": "fed", "amplitude": "uploaded"}.get(each["platform"])
        if lane is None:
            continue
        status = each["status"]
        kind = "lost" if status is None else "ok" if status < 300 else "wait" if status == 429 else "bad"
        label = f"{_events(each)} events: {status if status is not None else each['outcome']}"
        groups[(lane, each["tank_ms"], kind, label)] += 1
    for (lane, at, kind, label), times in groups.items():
        points.append(_point(lane, at, times, kind, label if times == 1 else f"{times} × {label}"))
    for at, n in sorted(Counter(each["server_upload_time"] for each in view.events).items()):
        points.append(_point("stored", at, n, "ok", f"{n} stored"))
    return points[:600]


def _events(entry: dict[str, Any]) -> int | str:
    try:
        body = orjson.loads(entry["request_body"])
        return len(body["events"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "?" if entry["request_body"] else "no"


def _point(lane: str, at: int, n: int, kind: str, label: str) -> dict[str, Any]:
    return {"lane": lane, "at_ms": at, "n": n, "kind": kind, "label": label}
