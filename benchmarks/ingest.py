"""What ingesting costs per event, beside two yardsticks in the same run.

Uploads of 1,000 events go, in turns, to a tank with every rule on and to a bare view that only parses the body and
inserts the raw rows into SQLite; both on Granian, one worker, a SQLite file each, the same bytes. The other
yardstick is orjson.loads of those bytes. Run: python benchmarks/ingest.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import flask
import orjson
import requests
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from simulator import clock
from simulator.apps import platform_apps
from simulator.rsgi import Adapter
from simulator.tank import Tanks
from simulator.up import tune_memory

EVENTS = 1000
PEOPLE = 100


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def upload(key: str, number: int) -> bytes:
    """An upload of 1,000 events as a connector would send them: email opens of 100 people."""
    rng = random.Random(number)
    events = []
    for n in range(EVENTS):
        person = rng.randrange(PEOPLE) + number % 200 * PEOPLE
        events.append(
            {
                "user_id": f"user-{person:08d}",
                "device_id": f"device-{person:08d}",
                "event_type": "[Appboy] Email Open",
                "time": 1_767_225_600_000 + n,
                "insert_id": f"{number:08d}-{n:06d}-{rng.getrandbits(64):016x}",
                "library": "Braze",
                "event_properties": {
                    "campaign_id": "bb96dc96-ca75-495e-889a-ee191c84c266",
                    "campaign_name": "Spring Sale",
                    "message_variation_id": "f3b5b682-6868-43ae-8eff-1c9517df154c",
                    "dispatch_id": "cc48d73b9debeaecc3bbb340",
                    "email_address": f"person{person}@example.com",
                },
            }
        )
    return orjson.dumps({"api_key": key, "events": events})


def bare_app(path: str) -> flask.Flask:
    """The yardstick: parse, insert one raw row per event, commit, answer."""
    app = flask.Flask("bare")
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS events (n INTEGER PRIMARY KEY, body TEXT)")

    @app.post("/2/httpapi")
    def take() -> flask.Response:
        data = orjson.loads(flask.request.get_data())
        db.execute("BEGIN")
        db.executemany("INSERT INTO events (body) VALUES (?)", [(orjson.dumps(e).decode(),) for e in data["events"]])
        db.execute("COMMIT")
        return flask.Response(b'{"code":200}', content_type="application/json")

    return app


def serve(kind: str, path: str, port: int) -> None:
    """One worker on Granian, until it is terminated."""
    app: Any = bare_app(path) if kind == "bare" else platform_apps(Tanks(Path(path)))["amplitude_us"]
    if kind == "tank":
        tune_memory()
    server = Server(
        Adapter(app),
        address="127.0.0.1",
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    asyncio.run(server.serve())


def timed(session: requests.Session, url: str, body: bytes) -> float:
    began = time.perf_counter()
    answer = session.post(url, data=body)
    took = time.perf_counter() - began
    if answer.status_code != 200:
        raise SystemExit(f"{url}: {answer.status_code} {answer.text[:200]}")
    return took / EVENTS * 1e6


def measure(rounds: int, folder: Path) -> dict[str, float]:
    """Medians in microseconds per event."""
    tanks = Tanks(folder / "state.db")
    tank = tanks.create("bench", clock=clock.start("real"), settings={"amplitude.project_eps": 10**9})
    key = tank.credential("amplitude_api_key")
    tanks.close()
    ports = {"bare": free_port(), "tank": free_port()}
    paths = {"bare": str(folder / "bare.db"), "tank": str(folder / "state.db")}
    context = multiprocessing.get_context("spawn")
    servers = [context.Process(target=serve, args=(kind, paths[kind], ports[kind]), daemon=True) for kind in ports]
    for server in servers:
        server.start()
    session = requests.Session()
    session.trust_env = False
    for port in ports.values():
        for _ in range(500):
            try:
                session.get(f"http://127.0.0.1:{port}/", timeout=1)
                break
            except requests.RequestException:
                time.sleep(0.02)
    took: dict[str, list[float]] = {"bare": [], "tank": [], "loads": []}
    try:
        for number in range(rounds + 3):
            body = upload(key, number)
            began = time.perf_counter()
            orjson.loads(body)
            parse = (time.perf_counter() - began) / EVENTS * 1e6
            order = ("bare", "tank") if number % 2 else ("tank", "bare")
            costs = {kind: timed(session, f"http://127.0.0.1:{ports[kind]}/2/httpapi", body) for kind in order}
            if number >= 3:  # the first rounds only warm up
                took["loads"].append(parse)
                for kind, cost in costs.items():
                    took[kind].append(cost)
    finally:
        for server in servers:
            server.terminate()
            server.join()
    found = {f"{name}_us": round(statistics.median(values), 2) for name, values in took.items()}
    found["events_per_s"] = round(1e6 / found["tank_us"])
    found["share_of_bare"] = round(found["bare_us"] / found["tank_us"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.rounds, Path(folder))
    if options.json:
        print(json.dumps(found))
        return
    print(f"orjson.loads of the bytes    {found['loads_us']:7.2f} µs per event")
    print(f"bare view, raw rows          {found['bare_us']:7.2f} µs per event")
    print(f"tank, every rule on          {found['tank_us']:7.2f} µs per event, {found['events_per_s']:.0f} events/s")
    print(f"share of the bare view       {found['share_of_bare']:7.2f} (aim: at least 0.5)", file=sys.stdout)


if __name__ == "__main__":
    main()
