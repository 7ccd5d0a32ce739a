"""What a full /users/track request costs, beside a bare view in the same run.

Requests of 75 attributes, 75 events and 75 purchases go, in turns, to a tank that applies them before it answers, to
one that applies them later, and to a bare view that only parses the body and inserts one raw row per object into
SQLite; all on Granian, one worker, a SQLite file each. Run: python benchmarks/braze_track.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import flask
import orjson
import requests
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from ingest import free_port

from simulator import clock
from simulator.apps import platform_apps
from simulator.rsgi import Adapter
from simulator.tank import Tanks
from simulator.up import tune_memory

EACH = 75
ARRAYS = ("attributes", "events", "purchases")
PEOPLE = 20_000
AIM_MS = 12.0


def request(number: int) -> bytes:
    """225 objects about 75 people out of 20,000, as an integration would send them."""
    rng = random.Random(number)
    people = [f"user-{rng.randrange(PEOPLE):08d}" for _ in range(EACH)]
    when = "2026-01-01T00:00:00Z"
    attributes = [
        {
            "external_id": each,
            "email": f"{each}@example.com",
            "plan": rng.choice(["free", "pro"]),
            "score": rng.random(),
        }
        for each in people
    ]
    events = [
        {
            "external_id": each,
            "name": f"event {rng.randrange(20)}",
            "time": when,
            "properties": {"page": "home", "n": 1},
        }
        for each in people
    ]
    purchases = [
        {"external_id": each, "product_id": f"sku-{rng.randrange(50)}", "currency": "USD", "price": 9.5, "time": when}
        for each in people
    ]
    return orjson.dumps({"attributes": attributes, "events": events, "purchases": purchases})


def bare_app(path: str) -> flask.Flask:
    """The yardstick: parse, insert one raw row per object, commit, answer."""
    app = flask.Flask("bare")
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS objects (n INTEGER PRIMARY KEY, body TEXT)")

    @app.post("/users/track")
    def take() -> flask.Response:
        data = orjson.loads(flask.request.get_data())
        rows = [(orjson.dumps(each).decode(),) for array in ARRAYS for each in data[array]]
        db.execute("BEGIN")
        db.executemany("INSERT INTO objects (body) VALUES (?)", rows)
        db.execute("COMMIT")
        return flask.Response(b'{"message":"success"}', 201, content_type="application/json")

    return app


def serve(kind: str, path: str, port: int) -> None:
    """One worker on Granian, until it is terminated."""
    app: Any = bare_app(path) if kind == "bare" else platform_apps(Tanks(Path(path)))["braze"]
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


def measure(rounds: int, folder: Path) -> dict[str, float]:
    """Medians in ms per request."""
    keys = {"bare": ""}
    for kind, delay_ms in (("applied", 0), ("queued", 3_600_000)):
        tanks = Tanks(folder / f"{kind}.db")
        chosen = {"braze.plan": "each_75", "braze.apply_delay_ms": delay_ms, "braze.pool_limits": {"track": 10**9}}
        tank = tanks.create("bench", clock=clock.start("real"), settings=chosen)
        keys[kind] = tank.credential("braze_rest_api_key")
        tanks.close()
    ports = {kind: free_port() for kind in keys}
    context = multiprocessing.get_context("spawn")
    servers = [
        context.Process(target=serve, args=(kind, str(folder / f"{kind}.db"), ports[kind]), daemon=True)
        for kind in keys
    ]
    for server in servers:
        server.start()
    session = requests.Session()
    session.trust_env = False
    took: dict[str, list[float]] = {kind: [] for kind in keys}
    try:
        for port in ports.values():
            for _ in range(3000):
                try:
                    session.get(f"http://127.0.0.1:{port}/", timeout=1)
                    break
                except requests.RequestException:
                    time.sleep(0.02)
        for number in range(rounds + 5):
            body = request(number)
            for kind in sorted(keys, reverse=bool(number % 2)):
                headers = {"Authorization": f"Bearer {keys[kind]}", "Content-Type": "application/json"}
                began = time.perf_counter()
                answer = session.post(f"http://127.0.0.1:{ports[kind]}/users/track", data=body, headers=headers)
                cost = (time.perf_counter() - began) * 1000
                if answer.status_code != 201:
                    raise SystemExit(f"{kind}: {answer.status_code} {answer.text[:200]}")
                if number >= 5:  # the first rounds only warm up
                    took[kind].append(cost)
    finally:
        for server in servers:
            server.terminate()
            server.join()
    return {f"{kind}_ms": round(statistics.median(values), 2) for kind, values in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.rounds, Path(folder))
    if options.json:
        print(json.dumps(found))
        return
    print(f"bare view, raw rows         {found['bare_ms']:6.2f} ms per request of 225 objects")
    print(f"tank, writes queued         {found['queued_ms']:6.2f} ms")
    print(f"tank, writes applied too    {found['applied_ms']:6.2f} ms (aim: under {AIM_MS:.0f})")


if __name__ == "__main__":
    main()
