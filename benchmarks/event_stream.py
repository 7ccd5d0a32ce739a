"""Whether event streaming keeps up with 2,000 events a second, beside two yardsticks in the same run.

The reference connector is fed as Amplitude's webhooks feed it: one event a call, up to four calls at once, at a fixed
rate, and delivers to a simulated Braze on Granian with every rule on. It keeps up when no call waits for its turn and
the outbox is as short at the end as on the way. The yardsticks: orjson.loads of the bodies, and the same calls, as fast
as they go, to a bare server that reads the request, parses the body and puts one raw row on the disk.
Run: python benchmarks/event_stream.py [--rate N] [--seconds N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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

AIM = 2_000
PARALLEL = 4
TOKEN = "feed-token"
SAMPLE = 4_000
PATIENCE_S = 120
INTEGRATION = """
event_stream:
  status: enabled
  braze: {endpoint: "${BRAZE_URL}", api_key: "${BRAZE_REST_API_KEY}", app_id: "${BRAZE_APP_ID}"}
  mapping: {amplitude_property: user_id, braze_user_id_type: external_id}
  send_events: true
  events: all
  additional_properties: {event: [cart_value, plan], user: [tier]}
"""


def event(number: int) -> bytes:
    """An event of one of 2,000 people in the form of Amplitude's export, as its webhook sends it."""
    person = number % 2_000
    given = {
        "$insert_id": f"insert-{number:012d}", "amplitude_id": 10**11 + person, "app": 100001, "city": "Oslo",
        "client_event_time": "2026-01-01 00:00:00.250000", "client_upload_time": "2026-01-01 00:00:01.000000",
        "country": "Norway", "data": {}, "device_family": "Apple iPhone", "device_id": f"device-{person:08d}",
        "device_type": "Apple iPhone 15", "event_id": number, "event_type": "Checkout",
        "event_properties": {"cart_value": number % 500 + 0.5, "plan": "pro", "items": ["hat", "shoe"]},
        "event_time": "2026-01-01 00:00:00.250000", "language": "English", "library": "http/2.0", "os_name": "ios",
        "platform": "iOS", "processed_time": "2026-01-01 00:00:02.000000", "session_id": 1767225600000,
        "server_received_time": "2026-01-01 00:00:01.500000", "server_upload_time": "2026-01-01 00:00:01.600000",
        "user_id": f"user-{person:08d}", "user_properties": {"tier": "gold", "visits": 3},
        "uuid": f"{number:08x}-0000-4000-8000-000000000000", "version_name": "5.1",
    }  # fmt: skip
    return orjson.dumps(given)


# -- who takes the calls


def serve_braze(path: str, port: int) -> None:
    """The simulated Braze on one worker, until it is terminated."""
    app: Any = platform_apps(Tanks(Path(path)))["braze"]
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


def serve_bare(path: str, port: int) -> None:
    """The yardstick: a thread for each connection, no HTTP beyond what the calls need, a transaction for each body."""
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE events (n INTEGER PRIMARY KEY, body BLOB)")
    turn = threading.Lock()

    def talk(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while lines.readline():
                length = 0
                while (line := lines.readline()) not in (b"\r\n", b""):
                    name, _, value = line.partition(b":")
                    if name.lower() == b"content-length":
                        length = int(value)
                body = lines.read(length)
                orjson.loads(body)
                with turn:
                    db.execute("INSERT INTO events (body) VALUES (?)", (body,))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            connection, _ = listening.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=talk, args=(connection,), daemon=True).start()


def start_connector(folder: Path, port: int, braze_url: str, api_key: str) -> subprocess.Popen[bytes]:
    (folder / "integration.yaml").write_text(INTEGRATION, "utf-8")
    environ = {
        **os.environ,
        "PORT": str(port),
        "BRAZE_URL": braze_url,
        "BRAZE_REST_API_KEY": api_key,
        "BRAZE_APP_ID": "11111111-1111-4111-8111-111111111111",
        "AMPLITUDE_FEED_TOKEN": TOKEN,
        "WAVETANK_INTEGRATION": str(folder / "integration.yaml"),
        "WAVETANK_STATE_DIR": str(folder / "connector"),
    }
    environ.pop("WAVETANK_CLOCK_URL", None)
    return subprocess.Popen([sys.executable, "-m", "connector"], env=environ)


# -- the feed


class Feed:
    """Calls over four kept connections; ``rate`` None is as fast as they go."""

    def __init__(self, port: int, first: int, count: int, rate: float | None) -> None:
        head = f"POST /feeds/amplitude/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += "Content-Type: application/json\r\nUser-Agent: Amplitude/Webhook/1.0\r\nContent-Length: "
        self.calls = [
            head.encode() + f"{len(body)}\r\n\r\n".encode() + body
            for body in (event(number) for number in range(first, first + count))
        ]
        self.port, self.rate = port, rate
        self.took: list[float] = []
        self.late = 0.0
        self.trouble = ""
        self._next = iter(range(count))

    def run(self) -> float:
        """Send all; answers the seconds it took. ``took`` holds each call's, ``late`` how far behind the last was."""
        began = time.perf_counter()
        threads = [threading.Thread(target=self._send, args=(began,)) for _ in range(PARALLEL)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        if self.trouble:
            raise SystemExit(self.trouble)
        return time.perf_counter() - began

    def _send(self, began: float) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for number in self._next:
                due = began if self.rate is None else began + number / self.rate
                left = due - time.perf_counter()
                if left > 0:
                    time.sleep(left)
                sent = time.perf_counter()
                connection.sendall(self.calls[number])
                answer = _answer(connection)
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.trouble = f"the feed was answered {answer[:200]!r}"
                    return
                now = time.perf_counter()
                self.took.append(now - sent)
                self.late = max(0.0, now - due)


def _answer(connection: socket.socket) -> bytes:
    """One answer with a Content-Length."""
    got = b""
    while True:
        got += connection.recv(65536)
        head, found, rest = got.partition(b"\r\n\r\n")
        if not got:
            return b"nothing: the connection was closed"
        if found:
            length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
            if len(rest) >= length:
                return got


# -- measuring


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(port: int) -> None:
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port}")


def outbox(port: int) -> dict[str, int]:
    """How many events the connector holds in each state, and how many may have gone twice."""
    told = requests.get(f"http://127.0.0.1:{port}/healthz", timeout=30).json()["event_stream"]
    return {**told["outbox"], "repeated": told["repeated"]}


def watched(port: int, done: Callable[[], bool]) -> list[int]:
    """The outbox's length, once a second until ``done``."""
    found = []
    while not done():
        found.append(outbox(port)["pending"])
        time.sleep(1)
    return found


def yardsticks(folder: Path, seconds: float) -> dict[str, float]:
    bodies = [event(number) for number in range(SAMPLE)]
    began = time.perf_counter()
    for body in bodies:
        orjson.loads(body)
    loads = (time.perf_counter() - began) / SAMPLE
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(
        target=serve_bare, args=(str(folder / "bare.db"), port), daemon=True
    )
    process.start()
    try:
        wait_for(port)
        count = SAMPLE * max(1, round(seconds / 5))
        spent = cpu_s(process.pid or 0)
        took = Feed(port, 0, count, None).run()
        spent = cpu_s(process.pid or 0) - spent
    finally:
        process.terminate()
        process.join()
    return {"loads_us": loads * 1e6, "bare_per_s": count / took, "bare_cpu_us": spent / count * 1e6}


def measure(rate: float, seconds: float, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = dict(yardsticks(folder, seconds))
    tanks = Tanks(folder / "state.db")
    tank = tanks.create("bench", clock=clock.start("real"))
    key = tank.credential("braze_rest_api_key")
    tanks.close()
    braze_port, port = free_port(), free_port()
    braze = multiprocessing.get_context("spawn").Process(
        target=serve_braze, args=(str(folder / "state.db"), braze_port), daemon=True
    )
    braze.start()
    connector = start_connector(folder, port, f"http://127.0.0.1:{braze_port}", key)
    try:
        wait_for(braze_port)
        wait_for(port)
        Feed(port, 10_000_000, SAMPLE, None).run()  # only warms up
        _drained(port)
        found |= _fastest(port, round(seconds * 500))
        _drained(port)
        found |= _sustained(port, connector.pid, braze.pid or 0, rate, seconds)
    finally:
        connector.send_signal(signal.SIGTERM)
        connector.wait(20)
        braze.terminate()
        braze.join()
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}


def _drained(port: int) -> float:
    began = time.perf_counter()
    while (held := outbox(port))["pending"]:
        if time.perf_counter() - began > PATIENCE_S:
            raise SystemExit(f"the outbox does not get empty: {held}")
        time.sleep(0.05)
    return time.perf_counter() - began


def _fastest(port: int, count: int) -> dict[str, float]:
    took = Feed(port, 20_000_000, count, None).run()
    drained = _drained(port)
    return {"intake_per_s": count / took, "through_per_s": count / (took + drained)}


def _sustained(port: int, connector: int, braze: int, rate: float, seconds: float) -> dict[str, Any]:
    feed = Feed(port, 0, round(rate * seconds), rate)
    before = outbox(port)
    spent = {"connector": cpu_s(connector), "braze": cpu_s(braze)}
    pending: list[int] = []
    ended = threading.Event()
    watcher = threading.Thread(target=lambda: pending.extend(watched(port, ended.is_set)))
    watcher.start()
    took = feed.run()
    ended.set()
    left = outbox(port)["pending"]
    drained = _drained(port)
    watcher.join()
    after = outbox(port)
    count = len(feed.calls)
    sent = after["sent"] - before["sent"]
    if sent != count:
        raise SystemExit(f"{count} events were fed and {sent} delivered")
    calls = sorted(feed.took)
    return {
        "fed_per_s": count / took,
        "late_ms": feed.late * 1000,
        "call_ms": statistics.median(calls) * 1000,
        "call_p99_ms": calls[round(len(calls) * 0.99) - 1] * 1000,
        "pending": pending,
        "pending_at_end": left,
        "drained_s": drained,
        "connector_cpu_us": (cpu_s(connector) - spent["connector"]) / count * 1e6,
        "braze_cpu_us": (cpu_s(braze) - spent["braze"]) / count * 1e6,
        "repeated": after["repeated"] - before["repeated"],
    }


def verdict(found: dict[str, Any], rate: float) -> bool:
    """Kept up: fed at the rate to within 2 %, and at no time more than a second's worth of events in the outbox."""
    return bool(found["fed_per_s"] >= rate * 0.98 and max(found["pending"], default=0) <= rate)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=AIM)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.rate, options.seconds, Path(folder))
    kept = verdict(found, options.rate)
    if options.json:
        print(json.dumps({**found, "kept_up": kept}))
        return
    print(json.dumps(found, indent=1))
    print("kept up" if kept else "did NOT keep up")


if __name__ == "__main__":
    main()
