"""What happened in a scenario, by tank time, for its picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from scenarios.control import View
from scenarios.instants import instant_ms


def timeline(view: View) -> list[dict[str, Any]]:
    """Points ``{lane, at_ms, n, kind, label}``; the lanes are those of :data:`scenarios.picture.LANES`."""
    points: list[dict[str, Any]] = []
    types: dict[int, Counter[str]] = {}
    for each in view.entries:
        types.setdefault(instant_ms(each["emitted"], 0), Counter())[each["event_type"]] += 1
    for at, found in sorted(types.items()):
        points.append(_point("emitted", at, found.total(), "ok", f"{found.total()} emitted: {_named(found)}"))
    groups: Counter[tuple[str, int, str, str]] = Counter()
    for each in view.journal:
        lane = _lane(each)
        if lane is None:
            continue
        status = each["status"]
        kind = "lost" if status is None else "ok" if status < 300 else "wait" if status == 429 else "bad"
        what = f"{_events(each)} events" if lane in ("fed", "uploaded") else each["path"]
        groups[(lane, each["tank_ms"], kind, f"{what}: {status if status is not None else each['outcome']}")] += 1
    for (lane, at, kind, label), times in groups.items():
        points.append(_point(lane, at, times, kind, label if times == 1 else f"{times} × {label}"))
    stored: dict[int, Counter[str]] = {}
    for each in view.events:
        stored.setdefault(each["server_upload_time"], Counter())[each["event"]["event_type"]] += 1
    for at, found in sorted(stored.items()):
        points.append(_point("stored", at, found.total(), "ok", f"{found.total()} stored: {_named(found)}"))
    for each in view.messages:
        who = each["external_id"] or each["braze_id"]
        label = f"{each['channel']} to {who}: {each['state']}"
        kind = "ok" if each["state"] == "sent" else "wait"
        points.append(_point("messages", instant_ms(each["at"] or each["due"], 0), 1, kind, label))
    return points[:600]


def _named(found: Counter[str]) -> str:
    """The most frequent types, as a label shows them."""
    return ", ".join(name for name, _ in found.most_common(3)) + (", …" if len(found) > 3 else "")


def _lane(entry: Mapping[str, Any]) -> str | None:
    """Where a request is drawn; the many small questions of a sync that were answered are not."""
    platform, path = entry["platform"], entry["path"]
    if platform == "connector":
        return "fed"
    if platform == "braze":
        return "to_braze" if path == "/users/track" or path.startswith("/partners/") else None
    if platform != "amplitude":
        return None
    if entry["method"] == "POST":
        return "uploaded"
    told = path.endswith("/file") or path == "/v1/userprofile"
    return "read" if told or (entry["status"] or 500) >= 400 else None


def _events(entry: dict[str, Any]) -> int | str:
    try:
        body = orjson.loads(entry["request_body"])
        return len(body["events"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "?" if entry["request_body"] else "no"


def _point(lane: str, at: int, n: int, kind: str, label: str) -> dict[str, Any]:
    return {"lane": lane, "at_ms": at, "n": n, "kind": kind, "label": label}
