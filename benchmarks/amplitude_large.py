"""What large answers of the simulated Amplitude cost: memory of the serving process, and seconds.

A project of many events, one for each person, is written to a SQLite file. Then one Granian worker serves it: the
export of all events and the download of a cohort of everybody are read piece by piece while the most memory that the
worker ever held is watched, and a cohort of the last 90 days is computed. Yardsticks in the same run: sqlite3 reading
the same rows, gzip over the lines of the export, and sqlite3 grouping the same events by person.

Run: python benchmarks/amplitude_large.py [--events N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import json
import multiprocessing
import socket
import sqlite3
import statistics
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import requests
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from simulator import clock
from simulator.amplitude import cohort_computing, storing
from simulator.apps import platform_apps
from simulator.rsgi import Adapter
from simulator.tank import Tank, Tanks
from simulator.up import tune_memory

START_MS = 1_767_225_600_000
DAY_MS = 86_400_000
DAYS = 120
BATCH = 2_000
EVERYBODY = {"andClauses": [{"orClauses": [{"type": "active", "within_days": DAYS + 1}]}]}
BUYERS = {
    "andClauses": [{"orClauses": [{"type": "event", "event_type": "Bought", "at_least": 2, "within_days": 90}]}],
}
AIM_MB, AIM_S = 200, 5.0


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def event(number: int, people: int) -> dict[str, Any]:
    """One event; the people take turns, and the events spread over the days before the start."""
    person = number % people
    return {
        "user_id": f"user-{person:08d}",
        "device_id": f"device-{person:08d}",
        "event_type": ("Bought", "Looked", "Opened")[number * 7919 % 3],
        "time": START_MS - number * 104_729 % (DAYS * DAY_MS),
        "insert_id": f"{number:012d}",
        "event_properties": {"item": f"item-{number % 500}", "price": number % 90 + 0.5, "campaign": "Spring Sale"},
        "user_properties": {"plan": ("free", "pro")[person % 2]},
    }


def fill(tank: Tank, first: int, count: int, people: int) -> None:
    """Store events as the upload endpoints do, without their HTTP."""
    for start in range(first, first + count, BATCH):
        events = [event(number, people) for number in range(start, min(start + BATCH, first + count))]
        with tank.store.write() as conn:
            storing.store(conn, tank, events, "/batch", START_MS, "127.0.0.1")
        if (start - first) % (100 * BATCH) == 0:
            say(f"  {start - first:,} events stored")


def serve(path: str, port: int) -> None:
    """One worker on Granian, until it is terminated."""
    app = platform_apps(Tanks(Path(path)))["amplitude_us"]
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


def most_mb(pid: int) -> float:
    """The most memory that a process ever held, in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1000


def drain(answer: requests.Response, into: Path) -> float:
    """Write an answer to a file as it comes; seconds."""
    began = time.perf_counter()
    if answer.status_code != 200:
        raise SystemExit(f"{answer.url}: {answer.status_code} {answer.text[:200]}")
    with into.open("wb") as file:
        for piece in answer.iter_content(1 << 16):
            file.write(piece)
    return time.perf_counter() - began


def lines_of(archive: Path) -> int:
    with zipfile.ZipFile(archive) as files:
        return sum(
            sum(1 for _ in gzip.GzipFile(fileobj=io.BytesIO(files.read(name)))) for name in files.namelist()
        )


def one_file(archive: Path) -> bytes:
    """The lines of the first file of an export."""
    with zipfile.ZipFile(archive) as files:
        return gzip.decompress(files.read(files.namelist()[0]))


def read_export(session: requests.Session, url: str, folder: Path) -> tuple[float, int]:
    hour = time.strftime("%Y%m%dT%H", time.gmtime(START_MS / 1000))
    began = time.perf_counter()
    answer = session.get(f"{url}/api/2/export", params={"start": hour, "end": hour}, stream=True, timeout=1200)
    drain(answer, folder / "export.zip")
    return time.perf_counter() - began, lines_of(folder / "export.zip")


def read_cohort(session: requests.Session, url: str, folder: Path) -> tuple[float, int]:
    base = f"{url}/api/5/cohorts"
    asked = session.get(f"{base}/request/everyone", params={"props": "1", "propKeys": "plan"}, timeout=600).json()
    while session.get(f"{base}/request-status/{asked['request_id']}", timeout=600).status_code == 202:
        pass
    began = time.perf_counter()
    answer = session.get(f"{base}/request/{asked['request_id']}/file", stream=True, timeout=1200)
    drain(answer, folder / "cohort.csv")
    took = time.perf_counter() - began
    with (folder / "cohort.csv").open("rb") as file:
        return took, sum(1 for _ in file) - 1


def yardsticks(path: Path, folder: Path) -> dict[str, float]:
    """Seconds of sqlite3 for the same rows, and of gzip for the lines of one file of the export."""
    db = sqlite3.connect(path)
    began = time.perf_counter()
    for _ in db.execute("SELECT * FROM amplitude_events"):
        pass
    scan = time.perf_counter() - began
    since = START_MS - 90 * DAY_MS
    began = time.perf_counter()
    wanted = "event_type = 'Bought' AND time_ms > ?"
    counted = f"SELECT amplitude_id, count(*) FROM amplitude_events WHERE {wanted} GROUP BY amplitude_id"
    db.execute(f"SELECT count(*) FROM ({counted})", (since,)).fetchone()
    group = time.perf_counter() - began
    db.close()
    lines = one_file(folder / "export.zip")
    began = time.perf_counter()
    gzip.compress(lines, 9, mtime=0)
    return {"scan_s": scan, "group_s": group, "gzip_s": time.perf_counter() - began, "gzip_lines": lines.count(b"\n")}


def measure(events: int, folder: Path) -> dict[str, float]:
    """Seconds and MB by name."""
    path = folder / "state.db"
    tanks = Tanks(path)
    chosen = {"amplitude.cohort_recompute_s": 10**9, "amplitude.rest_ms": 0}
    tank = tanks.create("bench", clock=clock.start("stepped", start_ms=START_MS + 3 * 3_600_000), settings=chosen)
    pair = tank.credential("amplitude_api_key"), tank.credential("amplitude_secret_key")
    say(f"storing {events:,} events, one for each person")
    fill(tank, 0, events, events)
    with tank.store.write() as conn:
        cohort_computing.save(conn, "everyone", "Everybody", EVERYBODY, START_MS)
        cohort_computing.save(conn, "buyers", "Buyers", BUYERS, START_MS)
        cohort_computing.recompute(conn, "everyone", START_MS)
    say("computing a cohort of 90 days")
    took = []
    for _ in range(3):
        with tank.store.write() as conn:
            began = time.perf_counter()
            cohort_computing.recompute(conn, "buyers", START_MS)
            took.append(time.perf_counter() - began)
    store = tank.store.path
    tanks.close()
    port = free_port()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(str(path), port), daemon=True)
    server.start()
    session = requests.Session()
    session.trust_env = False
    session.auth = pair
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(500):
            try:
                session.get(f"{url}/", timeout=1)
                break
            except requests.RequestException:
                time.sleep(0.02)
        assert server.pid is not None
        idle = most_mb(server.pid)
        say("reading the cohort")
        cohort_s, members = read_cohort(session, url, folder)
        cohort_mb = most_mb(server.pid)
        say("reading the export")
        export_s, lines = read_export(session, url, folder)
        export_mb = most_mb(server.pid)
    finally:
        server.terminate()
        server.join()
    say("yardsticks")
    assert store is not None
    found = {
        "recompute_s": statistics.median(took),
        "idle_mb": idle,
        "cohort_mb": cohort_mb,
        "cohort_s": cohort_s,
        "cohort_members": members,
        "export_mb": export_mb,
        "export_s": export_s,
        "export_lines": lines,
        **yardsticks(store, folder),
    }
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="events, and people (default: 1,000,000)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.events, Path(folder))
    if options.json:
        print(json.dumps(found))
        return
    gzipped = found["gzip_s"] * found["export_lines"] / found["gzip_lines"]
    print(f"cohort of 90 days computed     {found['recompute_s']:7.2f} s (aim: under {AIM_S:.0f}); "
          f"sqlite3 groups the events in {found['group_s']:.2f} s")  # fmt: skip
    print(f"worker when idle               {found['idle_mb']:7.0f} MB")
    print(f"{found['cohort_members']:9,.0f} members downloaded   {found['cohort_mb']:7.0f} MB at most "
          f"(aim: under {AIM_MB}), {found['cohort_s']:.1f} s")  # fmt: skip
    print(f"{found['export_lines']:9,.0f} events exported      {found['export_mb']:7.0f} MB at most "
          f"(aim: under {AIM_MB}), {found['export_s']:.1f} s; gzip alone {gzipped:.1f} s, "
          f"reading the rows {found['scan_s']:.1f} s")  # fmt: skip


if __name__ == "__main__":
    main()
