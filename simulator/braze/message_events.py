"""Currents events of messages and devices: who, on what, and which of the known facts each kind of event carries.

Source: Braze docs, Amplitude for Currents (properties by event); Custom HTTP connector for Currents (user object).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection

from simulator import ledger
from simulator.braze import currents_queue
from simulator.braze.catalogue import event_types
from simulator.braze.currents_emitting import emit
from simulator.braze.currents_sending import FLOW
from simulator.braze.identity import Profile
from simulator.braze.people import uuid_text
from simulator.braze.reach import platform_of
from simulator.tank import Tank


def happen(conn: Connection, tank: Tank, events: list[dict[str, Any]], now_ms: int) -> None:
    """Let events happen; without a connector nothing is exported and nothing is noted."""
    if events and watched(conn, tank):
        rng = tank.rng("braze_live", ledger.count(conn, FLOW))
        emit(conn, tank, [{"id": uuid_text(rng), **each} for each in events], now_ms)


def watched(conn: Connection, tank: Tank) -> bool:
    """Whether events of this workspace go anywhere, so that making them is worth the work."""
    return bool(tank.settings["braze.currents.live"]) and currents_queue.setup(conn) is not None


def event(
    type_: str, at_ms: int, profile: Profile, values: Mapping[str, Any], device_id: object = None
) -> dict[str, Any]:
    """An event of a type with those of ``values`` that its kind carries."""
    names, timezone = _carried(type_)
    user: dict[str, Any] = {"user_id": profile.braze_id}
    if profile.external_id is not None:
        user["external_user_id"] = profile.external_id
    if isinstance(device_id, str):
        user["device_id"] = device_id
    if timezone and profile.standard.get("time_zone"):
        user["timezone"] = profile.standard["time_zone"]
    properties = {name: values[name] for name in names if values.get(name) is not None}
    return {"event_type": type_, "time": at_ms // 1000, "user": user, "properties": properties}


@cache
def _carried(type_: str) -> tuple[tuple[str, ...], bool]:
    """The names of a type's properties, and whether its user has a time zone."""
    described = event_types()[type_]
    return (*described.properties, *described.own), described.timezone


def device_values(device: Mapping[str, Any] | None, app_id: str) -> dict[str, Any]:
    """What events say about a device; its app is the workspace's unless it names another."""
    if device is None:
        return {}
    return {
        "app_id": device.get("app_id") or app_id,
        "platform": platform_of(device),
        "os_version": _text(device.get("os_version") or device.get("os")),
        "device_model": _text(device.get("device_model") or device.get("model")),
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
