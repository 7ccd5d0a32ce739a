"""Whether limits hold over several processes that serve one tank, against a brute-force oracle.

Processes send events (one in a request, or several of one device) and track requests to the same devices and people at
once, without sockets. Tank time stands still within a phase, so however the processes interleave, the number that each
device gets in is fixed; the oracle keeps every accepted instant and counts. Also checked: every accepted insert_id is
stored once, every person has one Amplitude ID.
Run: python benchmarks/admissions.py [--arrivals N] [--size N] [--processes N] [--state FILE|URL] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson
from calling import post
from sqlalchemy import select

from simulator import clock
from simulator.amplitude import tables
from simulator.apps import platform_apps
from simulator.tank import Tanks

DEVICES = 40
SHARE_OF_TRACK = 0.2
TRACK_LIMIT, TRACK_WINDOW_MS = 60, 3_000
EVENTS_PER_S = 30
WINDOW_MS = 1_000

_tanks: Tanks
_apps: dict[str, Any]
_keys: dict[str, str]


def begin(state: str) -> None:
    """What a process holds: the tanks and the platforms' apps, as a worker of `wavetank up` does."""
    global _tanks, _apps, _keys
    _tanks = Tanks(state if "://" in state else Path(state))
    _apps = dict(platform_apps(_tanks))
    _keys = _tanks.get("crowd").credentials()


def send(arrivals: list[tuple[str, str]], size: int) -> tuple[Counter[str], set[tuple[str, str]], float]:
    """Send these one after another: accepted by device (or track), accepted insert_ids, CPU seconds."""
    accepted: Counter[str] = Counter()
    kept: set[tuple[str, str]] = set()
    began = time.process_time()
    for device, insert_id in arrivals:
        if device == "track":
            body: dict[str, Any] = {"attributes": [{"external_id": f"person-{insert_id[-2:]}", "seen": insert_id}]}
            status = post(_apps["braze"], "/users/track", orjson.dumps(body), _keys["braze_rest_api_key"])
        else:
            event = {"device_id": device, "user_id": f"user-of-{device}", "event_type": "a"}
            events = [{**event, "insert_id": f"{insert_id}-{n}"} for n in range(size)]
            body = {"api_key": _keys["amplitude_api_key"], "events": events}
            status = post(_apps["amplitude_us"], "/2/httpapi", orjson.dumps(body))
        if status in (200, 201):
            accepted[device] += 1
            kept.add((device, insert_id))
        elif status != 429:
            raise SystemExit(f"{device}: answered {status}")
    return accepted, kept, time.process_time() - began


class Oracle:
    """Counts every accepted instant: as slow as it is plain."""

    def __init__(self) -> None:
        self.at: dict[str, list[int]] = {}

    def room(self, device: str, now_ms: int) -> int:
        if device == "track":
            start = now_ms - now_ms % TRACK_WINDOW_MS
            return TRACK_LIMIT - sum(1 for at in self.at.get(device, ()) if at >= start)
        return EVENTS_PER_S - sum(1 for at in self.at.get(device, ()) if at > now_ms - WINDOW_MS)

    def accept(self, device: str, count: int, now_ms: int) -> None:
        old = [at for at in self.at.get(device, ()) if at > now_ms - 10_000]
        self.at[device] = [*old, *[now_ms] * count]


def measure(arrivals: int, processes: int, state: str, per_phase: int, size: int) -> dict[str, Any]:
    tanks = Tanks(state if "://" in state else Path(state))
    settings = {"braze.pool_limits": {"track": TRACK_LIMIT}, "journal.max_entries": 1000}
    tank = tanks.create("crowd", settings=settings, clock=clock.start("stepped"))
    rng, oracle, found = random.Random(7), Oracle(), Counter[str]()
    stored: set[tuple[str, str]] = set()
    given: list[tuple[str, str]] = []
    cpu, began, sent, requests = 0.0, time.perf_counter(), 0, 0
    with ProcessPoolExecutor(processes, get_context("spawn"), begin, (state,)) as pool:
        while sent < arrivals:
            now_ms = tank.clock.now_ms()
            phase = []
            for n in range(per_phase):
                if rng.random() < SHARE_OF_TRACK:
                    phase.append(("track", f"t-{requests + n}"))
                elif given and rng.random() < 0.2:
                    phase.append(rng.choice(given[-200:]))  # somebody else may be sending it right now
                else:
                    device = f"device-{int(DEVICES * rng.random() ** 3):03d}"
                    phase.append((device, f"i-{requests + n}"))
                    given.append(phase[-1])
            requests += len(phase)
            sent += sum(1 if device == "track" else size for device, _ in phase)
            done = list(pool.map(send, [phase[k::processes] for k in range(processes)], [size] * processes))
            for device, count in Counter(device for device, _ in phase).items():
                each = 1 if device == "track" else size
                want = min(count, oracle.room(device, now_ms) // each)
                got = sum(accepted[device] for accepted, _, _ in done)
                found["over"] += max(0, got - want) * each
                found["under"] += max(0, want - got) * each
                found["accepted"] += got * each
                found["refused"] += (count - got) * each
                oracle.accept(device, got * each, now_ms)
            for _, kept, spent in done:
                stored |= {(who, f"{name}-{n}") for who, name in kept if who != "track" for n in range(size)}
                cpu += spent
            print(f"{sent} arrivals, over {found['over']}, under {found['under']}", end="\r", file=sys.stderr)
            with tank.store.write() as conn:
                state_ = tank.meta(conn).clock
                later = now_ms + rng.choice([1, 250, 400, 999, 1000, 1700])
                tank.clock.set(conn, clock.ClockState("stepped", 1.0, later, state_.anchor_ms))
    table = tables.events.c
    with tank.store.read() as conn:
        rows = [tuple(row) for row in conn.execute(select(table.device_id, table.insert_id))]
        owners = conn.execute(select(table.device_id, table.amplitude_id).distinct()).all()
    found["stored_twice"] = len(rows) - len(set(rows))
    found["stored_wrongly"] = len(set(rows) ^ stored)
    found["split_people"] = len(owners) - len({row[0] for row in owners})
    found["shared_ids"] = len(owners) - len({row[1] for row in owners})
    tanks.destroy()
    took = time.perf_counter() - began
    per_s = {"arrivals": sent, "requests": requests, "per_s": round(requests / took)}
    per_s["cpu_us_of_a_request"] = round(cpu / requests * 1e6)
    names = ("accepted", "refused", "over", "under", "stored_twice", "stored_wrongly", "split_people", "shared_ids")
    return {"processes": processes, **per_s, **{name: found[name] for name in names}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrivals", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--per-phase", type=int, default=400, help="requests at one instant of tank time")
    parser.add_argument("--size", type=int, default=1, help="events of a request, up to 30")
    parser.add_argument("--state", help="SQLite file or postgresql://… [default: a file of its own]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = options.state or f"{folder}/state.db"
        found = measure(options.arrivals, options.processes, state, options.per_phase, options.size)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:<20}{value:>12}")
    if any(found[name] for name in ("over", "under", "stored_twice", "stored_wrongly", "split_people", "shared_ids")):
        raise SystemExit("the processes and the oracle disagree")


if __name__ == "__main__":
    main()
