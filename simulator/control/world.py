"""Tanks, snapshots, settings and credentials."""

from __future__ import annotations

from typing import Any

import orjson

from simulator import clock as clocks
from simulator import settings as named
from simulator.control.frame import Ask, Refused
from simulator.credentials import CREDENTIALS
from simulator.tank import Tank


def healthz(_ask: Ask) -> tuple[int, Any]:
    return 200, {"status": "ok"}


def _line(tank: Tank) -> dict[str, Any]:
    meta = tank.meta()
    return {
        "id": tank.id,
        "region": tank.region,
        "limits": tank.limits,
        "seed": tank.seed,
        "clock": {"mode": meta.clock.mode, "now": clocks.iso(meta.clock.now_ms())},
        "created": clocks.iso(tank.born),
    }


def create(ask: Ask) -> tuple[int, Any]:
    return 201, ask.desk.create(ask.body)


def listed(ask: Ask) -> tuple[int, Any]:
    return 200, {"tanks": [_line(tank) for tank in ask.desk.tanks.list()]}


def show(ask: Ask) -> tuple[int, Any]:
    return 200, ask.desk.ready(ask.tank)


def delete(ask: Ask) -> tuple[int, Any]:
    ask.desk.delete(ask.tank.id)
    return 204, None


def reset(ask: Ask) -> tuple[int, Any]:
    return 200, ask.desk.reset(ask.tank.id)


def snapshot(ask: Ask) -> tuple[int, Any]:
    return 201, ask.desk.snapshot(ask.tank.id, ask.body["name"])


def snapshots(ask: Ask) -> tuple[int, Any]:
    return 200, {"snapshots": ask.desk.snapshots(ask.tank.id)}


def restore(ask: Ask) -> tuple[int, Any]:
    return 200, ask.desk.restore(ask.tank.id, ask.path["name"])


def all_settings(_ask: Ask) -> tuple[int, Any]:
    return 200, {
        "settings": [
            {
                "name": each.name,
                "default": each.default,
                "type": each.type,
                "text": each.text,
                "source": each.source,
                **({"enum": list(each.enum)} if each.enum else {}),
            }
            for each in named.declared().values()
        ]
    }


def settings(ask: Ask) -> tuple[int, Any]:
    overrides = orjson.loads(ask.tank.meta().settings)
    return 200, {name: overrides.get(name, each.default) for name, each in named.declared().items()}


def change_settings(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        ask.tank.override(conn, ask.body)
    return settings(ask)


def credential(ask: Ask) -> tuple[int, Any]:
    name = ask.path["name"]
    if name not in CREDENTIALS:
        known = ", ".join(CREDENTIALS)
        raise Refused(f"credential {name!r} is unknown", "path", f"known: {known}", 404)
    status = ask.body.get("status")
    revoked = None if status is None else status == "revoked"
    ask.desk.tanks.set_credential(ask.tank.id, name, value=ask.body.get("value"), revoked=revoked)
    value, now_revoked = ask.desk.tanks.credential(ask.tank.id, name)
    return 200, {"name": name, "value": value, "status": "revoked" if now_revoked else "valid"}
