"""What more processes bring on one store: events a second of one process and of several, in the same run.

Processes send uploads about different people to one tank at once, without sockets, as workers of `wavetank up` answer
them. Rounds with one and with several processes take turns. Run: python benchmarks/processes.py [--processes N]
[--tanks N] [--seconds S] [--rounds N] [--events N] [--state FILE|URL] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson
from calling import post

from simulator import clock
from simulator.apps import platform_apps
from simulator.tank import Tanks

_app: Any
_tanks: Tanks
_sent = 0


def opened(state: str) -> Tanks:
    return Tanks(state if "://" in state else Path(state))


def begin(state: str) -> None:
    global _app, _tanks
    _tanks = opened(state)
    _app = platform_apps(_tanks)["amplitude_us"]


def upload(key: str, events: int) -> bytes:
    """An upload of so many events of ten people whom nobody else sends."""
    global _sent
    _sent += 1
    mine = f"{os.getpid()}-{_sent}"
    made = [
        {
            "user_id": f"user-{mine}-{n % 10}",
            "device_id": f"device-{mine}-{n % 10}",
            "event_type": "Checkout",
            "insert_id": f"{mine}-{n}",
            "event_properties": {"cart_value": n, "plan": "pro"},
        }
        for n in range(events)
    ]
    return orjson.dumps({"api_key": key, "events": made})


def send(tank: str, path: str, events: int, begin_at: float, end_at: float) -> int:
    """Send from one instant to another; the number of events that were taken."""
    key = _tanks.get(tank).credentials()["amplitude_api_key"]
    time.sleep(max(0.0, begin_at - time.monotonic()))
    taken = 0
    while time.monotonic() < end_at:
        status = post(_app, path, upload(key, events))
        if status != 200:
            raise SystemExit(f"{path}: answered {status}")
        taken += events
    return taken


def measure(state: str, options: argparse.Namespace) -> dict[str, Any]:
    tanks = opened(state)
    settings = {"journal.max_entries": 1000}
    names = [f"tank-{n}" for n in range(options.tanks)]
    for name in names:
        tanks.create(name, settings=settings, clock=clock.start("real"))
    path = "/batch" if options.events > 100 else "/2/httpapi"
    rates: dict[int, list[float]] = {1: [], options.processes: []}
    with ProcessPoolExecutor(options.processes, get_context("spawn"), begin, (state,)) as pool:
        for count in (options.processes, *[1, options.processes] * options.rounds):
            start = time.monotonic() + 0.3
            span = (path, options.events, start, start + options.seconds)
            calls = [pool.submit(send, names[n % len(names)], *span) for n in range(count)]
            rates[count].append(sum(each.result() for each in calls) / options.seconds)
    rates[options.processes].pop(0)  # warming up
    tanks.destroy()
    one, many = statistics.median(rates[1]), statistics.median(rates[options.processes])
    ratios = [b / a for a, b in zip(rates[1], rates[options.processes], strict=True)]
    return {
        "processes": options.processes,
        "tanks": options.tanks,
        "events_per_request": options.events,
        "one_per_s": round(one),
        "many_per_s": round(many),
        "ratio": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--tanks", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=10, help="events of a request; over 100 they go to /batch")
    parser.add_argument("--state", help="SQLite file or postgresql://… [default: a file of its own]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.state or f"{folder}/state.db", options)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<20}{value:>12}")


if __name__ == "__main__":
    main()
