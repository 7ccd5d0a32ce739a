"""A project in memory behind Flask's test client: no server, no other platform, a stepped clock set by hand."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from werkzeug.test import TestResponse

from simulator import amplitude, clock
from simulator.amplitude import state
from simulator.tank import Region, Tanks

START_MS = 1_767_225_600_000
_numbers = itertools.count()


class Project:
    """A tank with both regions' apps; ``post`` uploads, ``at`` sets tank time in ms after the start."""

    def __init__(self, tanks: Tanks, region: Region = "us", **more: Any) -> None:
        self.tank = tanks.create(f"amp-{next(_numbers)}", region=region, clock=clock.start("stepped"), **more)
        self.key = self.tank.credential("amplitude_api_key")
        self.apps = {"us": amplitude.create_app(tanks, "us"), "eu": amplitude.create_app(tanks, "eu")}

    def send(
        self, body: bytes, path: str = "/2/httpapi", region: str | None = None, headers: dict[str, str] | None = None
    ) -> TestResponse:
        client = self.apps[region or self.tank.region].test_client()
        return client.post(path, data=body, headers={"Content-Type": "application/json", **(headers or {})})

    def body(self, events: Any, **more: Any) -> bytes:
        return orjson.dumps({"api_key": self.key, "events": events, **more})

    def post(self, events: Any, path: str = "/2/httpapi", **more: Any) -> TestResponse:
        return self.send(self.body(events, **more), path)

    def at(self, ms: int) -> None:
        now = self.tank.meta().clock
        with self.tank.store.write() as conn:
            self.tank.clock.set(conn, replace(now, tank_ms=START_MS + ms))

    def set(self, **settings: Any) -> None:
        with self.tank.store.write() as conn:
            self.tank.override(conn, {f"amplitude.{name}": value for name, value in settings.items()})

    def events(self) -> list[dict[str, Any]]:
        with self.tank.store.read() as conn:
            found: list[dict[str, Any]] = state.events(conn, limit=1_000_000)["events"]
        return found

    def users(self) -> list[dict[str, Any]]:
        with self.tank.store.read() as conn:
            found: list[dict[str, Any]] = state.users(conn)["users"]
        return found


@pytest.fixture
def make_project() -> Iterator[Callable[..., Project]]:
    tanks = Tanks()
    yield lambda **more: Project(tanks, **more)
    tanks.close()


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project()


class Hook:
    """A webhook that keeps what it gets and answers with the statuses it was given, then 200."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], Any]] = []
        self.statuses: list[int] = []
        self.lock = threading.Lock()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with hook.lock:
                    hook.seen.append((dict(self.headers), json.loads(body)))
                    status = hook.statuses.pop(0) if hook.statuses else 200
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/feeds/amplitude/events"

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body in self.seen]


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()
