"""Single-event uploads a second, beside public mock servers with a static stub and a bare view in the same run.

`POST /2/httpapi` with one event goes, in turns, to `wavetank up` (every rule on, on the disk, journal on), to a bare
view on Granian that parses the body and inserts it into SQLite, and to every mock server that is found, which is given
a stub that checks and keeps nothing. They are looked for in the folder `--stubs`, where `npm install wiremock` (and
`@mockoon/cli`, `mountebank`) was run. Run: python benchmarks/single_events.py [--rounds N] [--stubs FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from driving import driven, free_port, port_of, post, shown, simulator, spread, started, until_answers
from ingest import serve

PATH = "/2/httpapi"
ANSWER = b'{"code":200,"events_ingested":1,"payload_size_bytes":300,"server_upload_time":1767225600000}'
PEOPLE = 5_000
AIM = 0.5


def calls(key: str, begin: int, count: int) -> list[bytes]:
    """Uploads of one event each, no two with the same insert_id, by people who stay under every limit."""
    found = []
    for number in range(begin, begin + count):
        person = number % PEOPLE
        event = {
            "user_id": f"user-{person:08d}", "device_id": f"device-{person:08d}", "event_type": "[Appboy] Email Open",
            "time": 1_767_225_600_000 + number, "insert_id": f"{number:012d}", "library": "Braze",
            "event_properties": {"campaign_name": "Spring Sale", "email_address": f"person{person}@example.com"},
        }  # fmt: skip
        found.append(post(PATH, orjson.dumps({"api_key": key, "events": [event]})))
    return found


# -- mock servers: each is given a static stub, and answers its port


@contextlib.contextmanager
def wiremock(stubs: Path, folder: Path) -> Iterator[int]:
    jar = next(stubs.glob("node_modules/wiremock/build/*.jar"))
    mapping = {"request": {"method": "POST", "url": PATH}, "response": {"status": 200, "body": ANSWER.decode()}}
    (folder / "mappings").mkdir()
    (folder / "mappings" / "stub.json").write_text(json.dumps(mapping), "utf-8")
    port = free_port()
    more = ("--port", str(port), "--root-dir", str(folder), "--no-request-journal", "--disable-banner")
    with started("java", "-jar", str(jar), *more):
        until_answers(port)
        yield port


@contextlib.contextmanager
def mountebank(stubs: Path, folder: Path) -> Iterator[int]:
    port, own = free_port(), free_port()
    answer = {"is": {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": ANSWER.decode()}}
    whole = {"imposters": [{"port": port, "protocol": "http", "stubs": [{"responses": [answer]}]}]}
    (folder / "imposters.json").write_text(json.dumps(whole), "utf-8")
    command = (str(stubs / "node_modules/.bin/mb"), "--port", str(own), "--configfile", str(folder / "imposters.json"))
    with started(*command, "--nologfile", "--localOnly", cwd=folder):
        until_answers(port)
        yield port


@contextlib.contextmanager
def mockoon(stubs: Path, folder: Path) -> Iterator[int]:
    port = free_port()
    answer = {"uuid": "r", "statusCode": 200, "body": ANSWER.decode(), "default": True, "headers": [], "latency": 0}
    route = {"uuid": "p", "type": "http", "method": "post", "endpoint": PATH[1:], "responses": [answer]}
    whole = {"uuid": "e", "lastMigration": 33, "name": "stub", "port": port, "routes": [route], "headers": []}
    (folder / "mockoon.json").write_text(json.dumps(whole), "utf-8")
    command = (str(stubs / "node_modules/.bin/mockoon-cli"), "start", "--data", str(folder / "mockoon.json"))
    with started(*command, "--repair", "--disable-log-to-file", cwd=folder):
        until_answers(port)
        yield port


MOCKS: dict[str, tuple[str, Callable[[Path, Path], Any]]] = {
    "WireMock": ("wiremock/build", wiremock),
    "mountebank": (".bin/mb", mountebank),
    "Mockoon": (".bin/mockoon-cli", mockoon),
}


def found_in(stubs: Path) -> list[str]:
    """The mock servers that can be started."""
    there = [name for name, (mark, _) in MOCKS.items() if (stubs / "node_modules" / mark).exists()]
    return [name for name in there if name != "WireMock" or shutil.which("java")]


# -- measuring


@contextlib.contextmanager
def bare(folder: Path) -> Iterator[int]:
    port = free_port()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=("bare", str(folder / "bare.db"), port), daemon=True)
    process.start()
    try:
        until_answers(port)
        yield port
    finally:
        process.terminate()
        process.join()


def measure(rounds: int, seconds: float, workers: int, stubs: Path) -> dict[str, list[float]]:
    """Answered calls a second of each server by round; the first turn of each only warms up."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        ready = stack.enter_context(simulator(folder, workers))
        ports = {"wavetank": port_of(ready["amplitude"]["url"]), "bare": stack.enter_context(bare(folder))}
        for mock in found_in(stubs):
            own = folder / mock
            own.mkdir()
            ports[mock] = stack.enter_context(MOCKS[mock][1](stubs, own))
        key, number = ready["amplitude"]["api_key"], 0
        found: dict[str, list[float]] = {each: [] for each in ports}
        for turn in range(rounds + 1):
            for each, port in ports.items():
                length = seconds if turn else 2 * seconds
                batch = calls(key, number, round(12_000 * length))
                number += len(batch)
                rate, _ = driven(port, batch, length)
                if turn:
                    found[each].append(rate)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--stubs", type=Path, default=Path())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rounds, options.seconds, options.workers, options.stubs)
    mine = found["wavetank"]
    ratios = {name: [a / b for a, b in zip(mine, each, strict=True)] for name, each in found.items()}
    if options.json:
        told = {"per_s": {k: spread(v) for k, v in found.items()}, "ratio": {k: spread(v) for k, v in ratios.items()}}
        print(json.dumps(told))
        return
    for name, each in found.items():
        beside = "" if name == "wavetank" else f"   wavetank is {shown(ratios[name])} x as fast"
        print(f"{name:12} {statistics.median(each):8.0f} requests/s{beside}")
    missing = [name for name in MOCKS if name not in found]
    if missing:
        print(f"not found: {', '.join(missing)} (npm install in a folder of its own, then --stubs FOLDER)")
    print(f"aim: at least {AIM} x WireMock")


if __name__ == "__main__":
    main()
