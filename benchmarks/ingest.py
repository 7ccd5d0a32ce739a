"""What taking an event costs: 1,000-event requests to a tank beside two yardsticks, in the same run.

The yardsticks are `orjson.loads` of the same bytes, and a bare Flask view that only parses a request and inserts
the raw events into a one-index SQLite table. Tank and bare view are served alike: Granian on loopback, one worker,
a SQLite file in WAL mode. Rounds alternate, so that a busy machine is busy for both; medians are compared.

    python benchmarks/ingest.py [--rounds 15] [--events 1000] [--json]

The aim is a ratio of at least 0.5: with every rule on, half the bare view's events per second.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import random
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from simulator import amplitude, clock
from simulator.rsgi import Adapter
from simulator.tank import Tanks

PATH = "/2/httpapi"
KEY = "0123456789abcdef0123456789abcdef"
PEOPLE = 20_000


def upload(count: int, source: random.Random, now_ms: int) -> bytes:
    """An upload as a connector of the Currents flow sends it: identified people, message events."""
    events = []
    for _ in range(count):
        person = source.randrange(PEOPLE)
        campaign = source.randrange(40)
        events.append(
            {
                "user_id": f"person-{person:06d}",
                "device_id": f"{uuid.UUID(int=person * 7919 + 1)}",
                "event_type": source.choice(("[Appboy] Email Open", "[Appboy] Email Click", "[Appboy] Push Sent")),
                "time": now_ms - source.randrange(60_000),
                "platform": "iOS",
                "os_version": "17.5",
                "device_model": "iPhone15,2",
                "insert_id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
                "event_properties": {
                    "app_id": "0e8b3d5c-2c43-4f0f-93e7-7d1f5f2a1f11",
                    "campaign_id": f"campaign-{campaign:04d}",
                    "campaign_name": f"Welcome series {campaign}",
                    "message_variation_id": f"variation-{source.randrange(3)}",
                    "dispatch_id": f"{source.getrandbits(64):016x}",
                    "email_address": f"person{person}@example.com",
                },
            }
        )
    return orjson.dumps({"api_key": KEY, "events": events})


def bare_app(folder: Path) -> flask.Flask:
    """Parses and inserts, nothing else."""
    app = flask.Flask("bare", static_folder=None)
    database = sqlite3.connect(folder / "bare.db", check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("CREATE TABLE events (n INTEGER PRIMARY KEY, insert_id TEXT, event TEXT)")
    database.execute("CREATE INDEX by_insert_id ON events (insert_id)")

    @app.post(PATH)
    def take() -> flask.Response:
        events = orjson.loads(flask.request.get_data())["events"]
        rows = [(event["insert_id"], orjson.dumps(event).decode()) for event in events]
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT INTO events (insert_id, event) VALUES (?, ?)", rows)
        database.execute("COMMIT")
        return flask.Response(orjson.dumps({"code": 200, "events_ingested": len(rows)}), mimetype="application/json")

    return app


def tank_app(folder: Path) -> flask.Flask:
    """The simulated platform with every rule on: default limits profile, journal, real clock."""
    tanks = Tanks(folder / "tanks.db")
    tanks.create("bench", clock=clock.start("real"), credentials={"amplitude_api_key": KEY})
    return amplitude.create_app(tanks, "us")


def serve(make: Callable[[Path], flask.Flask], folder: str, port: int, ready: Any) -> None:
    """The life of a server process."""
    app = make(Path(folder))

    async def run() -> None:
        server = Server(
            Adapter(app),
            address="127.0.0.1",
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        ready.set()
        await server.serve()

    parent = os.getppid()

    def leave_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    asyncio.run(run())


class Client:
    """One kept connection; answers how long each request took."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(600):
            try:
                self.connection.connect()
            except OSError:
                time.sleep(0.02)
            else:
                break
        assert self.connection.sock is not None, "the server did not start"
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, body: bytes) -> float:
        """Post the upload; answers seconds."""
        began = time.perf_counter()
        self.connection.request("POST", PATH, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        text = answer.read()
        taken = time.perf_counter() - began
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}: {text[:300]!r}")
        return taken


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def measure(rounds: int, count: int) -> dict[str, Any]:
    """Medians over ``rounds``, in µs per event."""
    context = multiprocessing.get_context("spawn")
    source = random.Random(0)
    seconds: dict[str, list[float]] = {"loads": [], "bare": [], "tank": []}
    with tempfile.TemporaryDirectory(prefix="wavetank-bench-") as folder:
        processes, clients = [], {}
        try:
            for name, make in (("bare", bare_app), ("tank", tank_app)):
                port, ready = free_port(), context.Event()
                process = context.Process(target=serve, args=(make, folder, port, ready), daemon=True)
                process.start()
                processes.append(process)
                if not ready.wait(30):
                    raise RuntimeError(f"the {name} server did not start")
                clients[name] = Client(port)
            for number in range(-3, rounds):  # the first three warm up
                body = upload(count, source, clock.real_ms())
                began = time.perf_counter()
                orjson.loads(body)
                taken = {"loads": time.perf_counter() - began}
                for name in ("bare", "tank") if number % 2 else ("tank", "bare"):
                    taken[name] = clients[name].send(body)
                if number >= 0:
                    for name, value in taken.items():
                        seconds[name].append(value)
        finally:
            for process in processes:
                process.terminate()
                process.join(5)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "events_per_request": count,
        "rounds": rounds,
        "bytes_per_event": round(len(body) / count),
        "us_per_event": {name: round(value / count * 1e6, 2) for name, value in medians.items()},
        "best_us_per_event": {name: round(min(values) / count * 1e6, 2) for name, values in seconds.items()},
        "events_per_second": {name: round(count / value) for name, value in medians.items()},
        "ratio_to_bare": round(medians["bare"] / medians["tank"], 3),
        "aim": 0.5,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="measured rounds (default 15)")
    parser.add_argument("--events", type=int, default=1000, help="events per request (default 1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found = measure(options.rounds, options.events)
    if options.json:
        print(json.dumps(found))
        return
    names = {
        "loads": "orjson.loads of the same bytes",
        "bare": "bare view: parse and insert",
        "tank": "tank: every rule on",
    }
    print(f"{found['rounds']} rounds of {found['events_per_request']} events, {found['bytes_per_event']} bytes each")
    for name, text in names.items():
        print(
            f"  {text:<32} {found['us_per_event'][name]:8.2f} µs/event"
            f" (best {found['best_us_per_event'][name]:.2f}) {found['events_per_second'][name]:>9,} events/s"
        )
    print(f"  tank's share of the bare view's events/s: {found['ratio_to_bare']:.2f} (aim: at least {found['aim']})")


if __name__ == "__main__":
    main()
