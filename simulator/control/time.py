"""The clock of a tank: read it, wait at it, move it."""

from __future__ import annotations

from typing import Any

from simulator import clock as clocks
from simulator.control.desk import start_clock
from simulator.control.frame import Ask, Refused
from simulator.tank import Tank
from simulator.timekeeper import Advanced


def _now(tank: Tank) -> dict[str, Any]:
    state = tank.meta().clock
    now_ms = state.now_ms()
    return {"now": clocks.iso(now_ms), "epoch_ms": now_ms, "mode": state.mode}


def now(ask: Ask) -> tuple[int, Any]:
    return 200, _now(ask.tank)


def wait(ask: Ask) -> tuple[int, Any]:
    if "until" not in ask.query:
        raise Refused("until is missing", "query.until", "give epoch milliseconds or ISO 8601 text")
    until_ms = clocks.parse_instant(ask.query["until"])
    reached = ask.desk.keeper(ask.tank).wait(until_ms, ask.query.get("name", "connector"))
    return (200, _now(ask.tank)) if reached else (204, None)


def waiting(ask: Ask) -> tuple[int, Any]:
    return 200, {"waiting": ask.desk.keeper(ask.tank).waiting()}


def _advanced(tank: Tank, done: Advanced) -> tuple[int, Any]:
    return 200, {**_now(tank), "steps": done.steps, "fired": dict(done.fired)}


def advance(ask: Ask) -> tuple[int, Any]:
    keeper = ask.desk.keeper(ask.tank)
    if "until" in ask.body:
        until_ms = clocks.parse_instant(ask.body["until"])
    else:
        until_ms = ask.tank.clock.now_ms() + clocks.parse_duration(ask.body["by"])
    return _advanced(ask.tank, keeper.advance(until_ms))


def settle(ask: Ask) -> tuple[int, Any]:
    return _advanced(ask.tank, ask.desk.keeper(ask.tank).settle())


def change(ask: Ask) -> tuple[int, Any]:
    tank = ask.tank
    with tank.store.write() as conn:
        meta = tank.meta(conn)
        if "mode" in ask.body or "scale" in ask.body:
            spec = {
                "mode": ask.body.get("mode", meta.clock.mode),
                "scale": ask.body.get("scale", meta.clock.scale),
                "start": meta.clock.now_ms(),
            }
            tank.clock.set(conn, start_clock(spec))
        if "auto_advance" in ask.body:
            tank.write_meta(conn, auto_advance=ask.body["auto_advance"])
        if "horizon" in ask.body:
            tank.write_meta(conn, horizon_ms=clocks.parse_duration(ask.body["horizon"]))
    ask.desk.keeper(tank).poke()
    meta = tank.meta()
    return 200, {
        **_now(tank),
        "scale": meta.clock.scale,
        "auto_advance": meta.auto_advance,
        "horizon_ms": meta.horizon_ms,
    }
