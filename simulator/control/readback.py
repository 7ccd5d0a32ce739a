"""Reading back: journal, ledger, explanations, and what every platform holds."""

from __future__ import annotations

from typing import Any

from simulator import clock as clocks
from simulator import journal, ledger
from simulator.amplitude import event_states
from simulator.amplitude import state as amplitude
from simulator.braze import currents_feed
from simulator.control.desk import NotThere
from simulator.control.frame import Ask


def entries(ask: Ask) -> tuple[int, Any]:
    query = dict(ask.query)
    query.setdefault("limit", 1000)
    with ask.tank.store.read() as conn:
        return 200, journal.entries(ask.tank, conn, **query)


def ledger_of(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        fates = amplitude.fates(conn, ask.tank)
        return 200, ledger.read(conn, fates, **ask.query)


def explain(ask: Ask) -> tuple[int, Any]:
    request_id = ask.path["request_id"]
    tank_id, _, n = request_id.rpartition(".")
    if not tank_id or not n.isdigit() or len(n) > 18:
        raise NotThere(f"{request_id!r} is not a request id: it looks like demo.17")
    tank = ask.desk.tank(tank_id)
    with tank.store.read() as conn:
        found = journal.entry(tank, conn, int(n))
    if found is None:
        raise NotThere(f"request {request_id!r} is not in the journal: it never was, or the bound has dropped it")
    reasons = found.pop("why")
    return 200, {
        "request": found,
        "reasons": reasons,
        "fault": found["fault"],
        "state_change": next(
            (each["detail"]["state_change"] for each in reasons if "state_change" in each["detail"]), None
        ),
        "advice": [each["advice"] for each in reasons if each["advice"]],
    }


def amplitude_events(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, amplitude.events(conn, **ask.query)


def amplitude_arrivals(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, amplitude.arrivals(conn, **ask.query)


def amplitude_users(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, amplitude.users(conn, **ask.query)


def amplitude_merges(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, amplitude.merges(conn)


def amplitude_usage(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, amplitude.usage(conn, ask.tank, ask.tank.clock.now_ms(conn))


def preset_usage(ask: Ask) -> tuple[int, Any]:
    tank = ask.tank
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        given = {
            kind: [
                {
                    "id": each["id"],
                    "events": each["events"],
                    "at_ms": clocks.parse_instant(each["at"]) if "at" in each else now_ms,
                }
                for each in ask.body.get(kind, [])
            ]
            for kind in ("devices", "users")
        }
        amplitude.preset_usage(conn, tank, devices=given["devices"], users=given["users"])
        return 200, amplitude.usage(conn, tank, now_ms)


def silence(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        amplitude.set_silenced(conn, ask.body["device_ids"])
    return 200, {"device_ids": ask.body["device_ids"]}


def event_types(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        given = {name: state for state, names in ask.body.items() for name in names}
        states = event_states.write(conn, given, ask.tank.clock.now_ms(conn))
    return 200, {"event_types": states}


def braze_currents(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"events": currents_feed.catalogue(), "feed": currents_feed.state(conn, ask.tank)}
