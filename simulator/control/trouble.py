"""Faults: set, list and remove trouble."""

from __future__ import annotations

from typing import Any

from simulator import clock as clocks
from simulator import faults
from simulator.control.desk import NotThere
from simulator.control.frame import Ask, Refused


def listed(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"faults": faults.listed(conn)}


def add(ask: Ask) -> tuple[int, Any]:
    body = ask.body
    if body["kind"] in faults.FEEDING and body["platform"] != "connector":
        raise Refused(f"{body['kind']} is trouble of feeds", "body.platform", "set it for the platform connector")
    moments = {
        f"{name}_ms": None if body.get(name) is None else clocks.parse_instant(body[name]) for name in ("from", "until")
    }
    with ask.tank.store.write() as conn:
        return 201, faults.add(
            ask.tank,
            conn,
            platform=body["platform"],
            kind=body["kind"],
            route=body.get("route", ""),
            share=float(body.get("share", 1.0)),
            times=body.get("times"),
            params=body.get("params"),
            **moments,
        )


def remove_all(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        return 200, {"removed": faults.remove(ask.tank, conn)}


def remove(ask: Ask) -> tuple[int, Any]:
    text = ask.path["fault_id"]
    with ask.tank.store.write() as conn:
        removed = faults.remove(ask.tank, conn, int(text)) if text.isdigit() and len(text) < 18 else 0
    if not removed:
        raise NotThere(f"fault {text!r} does not exist")
    return 204, None
