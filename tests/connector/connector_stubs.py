"""Stand-ins for the connector's tests: a scripted Amplitude, a steppable clock, and small builders.

None of it comes from the simulator: what Amplitude answers here is written from its documents.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Script = Callable[[list[dict[str, Any]]], "tuple[int, Any] | str | None"]
"""Takes the events of an upload; answers status and body, ``reset`` or ``reset after``, or None to accept."""

KEY = "0123456789abcdef0123456789abcdef"
ROOT = Path(__file__).parents[2]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def _served(handler: type[_Handler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Amplitude:
    """Stores what it accepts once per ``(device_id, insert_id)``, as Amplitude's HTTP V2 API does.

    ``uploads`` holds each request as it came, ``script`` may answer in another way. ``hold`` is told of an upload
    once it is stored and before it is answered; several may be there at once.
    """

    def __init__(self) -> None:
        self.url = ""
        self.key = KEY
        self.script: Script = lambda _events: None
        self.hold: Callable[[list[dict[str, Any]]], None] = lambda _events: None
        self.uploads: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.stored: dict[tuple[Any, Any], dict[str, Any]] = {}
        self.repeated = 0
        self._turn = threading.Lock()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes] | str:
        """What the script or the document says to this request."""
        with self._turn:
            data = json.loads(body)
            self.uploads.append(data)
            self.paths.append(path)
            if data["api_key"] != self.key:
                error = f"Invalid API key: {data['api_key']}"
                return 400, json.dumps({"code": 400, "error": error}).encode()
            scripted = self.script(data["events"])
            if isinstance(scripted, tuple):
                text = scripted[1]
                return scripted[0], text if isinstance(text, bytes) else json.dumps(text).encode()
            if scripted == "reset":
                return "reset"
            for event in data["events"]:
                name = (event.get("device_id"), event["insert_id"])
                self.repeated += name in self.stored
                self.stored.setdefault(name, event)
            if scripted == "reset after":
                return "reset"
            accepted = {"code": 200, "events_ingested": len(data["events"]), "payload_size_bytes": len(body)}
            return 200, json.dumps(accepted).encode()

    def sizes(self) -> list[int]:
        """How many events each upload held."""
        return [len(each["events"]) for each in self.uploads]

    def ids(self) -> list[str]:
        """The insert ids of what is stored, sorted."""
        return sorted(str(name[1]) for name in self.stored)


@contextmanager
def amplitude() -> Iterator[Amplitude]:
    """A scripted Amplitude on a port of its own."""
    stub = Amplitude()

    class Handler(_Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answered = stub.answer(self.path, body)
            stub.hold(json.loads(body)["events"])
            if isinstance(answered, str):
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                self.respond(*answered)

    with _served(Handler) as url:
        stub.url = url
        yield stub


class ManualClock:
    """Time that a test sets by hand; nobody waits at it."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        self.now = now_ms
        self.nudges = 0

    def now_ms(self) -> int:
        return self.now

    def wait_until(self, until_ms: int, seen: int) -> int:
        raise AssertionError("nobody waits here")

    def nudge(self) -> None:
        self.nudges += 1

    def expect(self) -> bool:
        return False

    def release(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing waits."""


class TankTime:
    """A clock server as the design describes it: ``now``, and ``wait`` that holds until time is moved."""

    def __init__(self) -> None:
        self.url = ""
        self.now = 1_767_225_600_000
        self.waits: list[tuple[str, int]] = []
        self.hold_s = 25.0
        self._newest: dict[str, int] = {}
        self._until: dict[str, int] = {}
        self._changed = threading.Condition()

    def wait(self, name: str, until_ms: int) -> bool:
        """Hold one wait; a newer one under the same name takes its place."""
        deadline = time.monotonic() + self.hold_s
        with self._changed:
            self.waits.append((name, until_ms))
            mine = self._newest[name] = self._newest.get(name, 0) + 1
            self._until[name] = until_ms
            self._changed.notify_all()
            while self.now < until_ms:
                left = deadline - time.monotonic()
                if self._newest[name] != mine or left <= 0:
                    return False
                self._changed.wait(min(left, 0.5))
            return True

    def move(self, now_ms: int) -> None:
        """Move time on; waits that are due are answered."""
        with self._changed:
            self.now = now_ms
            self._changed.notify_all()

    def waited_for(self, holds: Callable[[int], bool], timeout_s: float = 5.0) -> int:
        """Wait in real time until the connector waits for an instant that fits; answers it."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for until_ms in self._until.values():
                    if until_ms > self.now and holds(until_ms):
                        return until_ms
                left = deadline - time.monotonic()
                assert left > 0, f"waits so far: {self.waits[-10:]}"
                self._changed.wait(left)


@contextmanager
def tank_time() -> Iterator[TankTime]:
    """A steppable clock on a port of its own."""
    tank = TankTime()

    class Handler(_Handler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.endswith("/wait"):
                query = parse_qs(parts.query)
                if not tank.wait(query["name"][0], int(query["until"][0])):
                    self.respond(204, b"")
                    return
            self.respond(200, json.dumps({"epoch_ms": tank.now, "mode": "stepped"}).encode())

    with _served(Handler) as url:
        tank.url = f"{url}/clock"
        yield tank


def currents_event(number: int, **changes: Any) -> dict[str, Any]:
    """A Currents event with the id ``event-<number>``: a custom event of its own person and device."""
    return {
        "event_type": "users.behaviors.CustomEvent",
        "id": f"event-{number}",
        "time": 1_767_225_000,
        "user": {
            "user_id": f"{number:024x}",
            "external_user_id": f"person-{number}",
            "device_id": f"device-{number}",
        },
        "properties": {"name": "Checkout", "app_id": "app-1"},
        **changes,
    }


def envelope(events: Sequence[dict[str, Any]]) -> bytes:
    """The body of a Currents request."""
    return json.dumps({"events": list(events)}).encode()


def post(port: int, path: str, body: bytes, token: str | None = "token-1") -> tuple[int, dict[str, Any]]:
    """POST to a connector on this machine: status and JSON answer."""
    headers = {"Content-Type": "application/json", "Braze-Currents-Version": "1"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """GET from a connector on this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(holds: Callable[[], bool], timeout_s: float = 8.0) -> None:
    """Wait in real time until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


class Program:
    """A connector process that can be killed and started again with the same folder."""

    def __init__(self, url: str, folder: Path, **environ: str) -> None:
        self.port = free_port()
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WAVETANK_")},
            "PORT": str(self.port),
            "AMPLITUDE_URL": url,
            "AMPLITUDE_REGION": "US",
            "AMPLITUDE_API_KEY": KEY,
            "CURRENTS_TOKEN": "token-1",
            "WAVETANK_STATE_DIR": str(folder),
            **environ,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "connector"], env=self.environ, cwd=ROOT, stderr=subprocess.PIPE
        )
        eventually(self.ready, 20)

    def ready(self) -> bool:
        try:
            return get(self.port, "/healthz")[0] == 200
        except OSError:
            return False

    def feed(self, events: list[dict[str, Any]]) -> int:
        return post(self.port, "/feeds/currents", envelope(events))[0]

    def end(self, how: signal.Signals) -> tuple[int, bytes]:
        """Signal the process and wait for its end: exit code and what it wrote to stderr."""
        process, self.process = self.process, None
        if process is None:
            return 0, b""
        process.send_signal(how)
        written = process.communicate(timeout=15)[1]
        return process.returncode, written
