"""A workspace behind Customer.io's port, its time, and a tiny receiver that answers as told."""

from __future__ import annotations

import base64
import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from simulator import customerio, faults, ledger
from simulator.customerio import feed, generating, queue, reporting
from simulator.tank import Tanks
from simulator.timekeeper import Timekeeper


@dataclass
class Received:
    """One request that the receiver got."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    tank_ms: int

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def id(self) -> str:
        return str(self.report["event_id"])


@dataclass
class Receiver:
    """``answer`` decides the status of each request; None hangs up without an answer."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: Callable[[Received], int | None] = lambda _: 200
    now_ms: Callable[[], int] = lambda: 0

    def ids(self) -> list[str]:
        return [each.id for each in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Received(self.path, dict(self.headers.items()), body, state.now_ms())
            state.got.append(request)
            status = state.answer(request)
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/feeds/customerio"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


class Workspace:
    """A tank with its Customer.io app, and short words for what tests do with it."""

    numbers = itertools.count()

    def __init__(self, tanks: Tanks, name: str | None = None, region: Any = "us", **settings: Any) -> None:
        given = {f"customerio.{key}": value for key, value in settings.items()}
        made = tanks.create(
            name or f"cio-{next(self.numbers)}", seed=7, region=region, settings={"clock.settle_ms": 1, **given}
        )
        self.join(tanks, made.id)

    def join(self, tanks: Tanks, tank_id: str) -> None:
        """Take up a tank that is there already."""
        self.tanks = tanks
        self.tank = tanks.get(tank_id)
        self.keeper = Timekeeper(self.tank, customerio.TIMERS)

    @cached_property
    def client(self) -> FlaskClient:
        return customerio.create_app(self.tanks, self.tank.region).test_client()

    # -- time and settings

    def now(self) -> int:
        return self.tank.clock.now_ms()

    def advance(self, seconds: float) -> None:
        self.keeper.advance(self.now() + round(seconds * 1000))

    def settle(self) -> None:
        self.keeper.settle()

    def set(self, **settings: Any) -> None:
        with self.tank.store.write() as conn:
            self.tank.override(conn, {f"customerio.{name}": value for name, value in settings.items()})

    def fault(self, kind: str, times: int = 1, **params: Any) -> None:
        with self.tank.store.write() as conn:
            faults.add(self.tank, conn, platform="connector", kind=kind, times=times, params=params)

    # -- reports

    def configure(self, **config: Any) -> dict[str, Any]:
        with self.tank.store.write() as conn:
            return feed.configure(conn, self.tank, config)

    def report(self, *reports: Any, **more: Any) -> list[str]:
        with self.tank.store.write() as conn:
            return reporting.report(conn, self.tank, list(reports), self.now(), **more)

    def generate(self, people: int, deliveries: int, **more: Any) -> dict[str, Any]:
        with self.tank.store.write() as conn:
            return generating.generate(
                conn, self.tank, self.now(), people_count=people, delivery_count=deliveries, **more
            )

    def report_many(self, count: int) -> list[str]:
        return self.report(*({"object_type": "email", "metric": "delivered"} for _ in range(count)))

    def reports(self) -> list[dict[str, Any]]:
        with self.tank.store.read() as conn:
            found: list[dict[str, Any]] = queue.listed(conn, limit=100_000)["reports"]
            return found

    def totals(self) -> dict[str, Any]:
        with self.tank.store.read() as conn:
            return queue.totals(conn)

    def ends(self) -> dict[str, str]:
        return {each["event_id"]: each["end"] for each in self.reports()}

    def ledger(self) -> dict[str, Any]:
        with self.tank.store.read() as conn:
            return ledger.read(conn, {})

    # -- APIs

    def app(self, method: str, path: str, body: Any = None, key: str | None = None) -> TestResponse:
        headers = {"Authorization": f"Bearer {key or self.tank.credential('customerio_app_api_key')}"}
        return self.client.open(path, method=method, json=body, headers=headers)

    def track(self, method: str, path: str, body: Any = None, key: str | None = None) -> TestResponse:
        pair = (
            self.tank.credential("customerio_site_id"),
            key or self.tank.credential("customerio_track_api_key"),
        )
        basic = base64.b64encode(":".join(pair).encode()).decode()
        return self.client.open(f"/api/v1{path}", method=method, json=body, headers={"Authorization": f"Basic {basic}"})


@pytest.fixture
def tanks() -> Iterator[Tanks]:
    made = Tanks()
    yield made
    made.close()


@pytest.fixture
def make(tanks: Tanks) -> Iterator[Callable[..., Workspace]]:
    made: list[Workspace] = []

    def workspace(**more: Any) -> Workspace:
        made.append(Workspace(tanks, **more))
        return made[-1]

    yield workspace
    for each in made:
        each.keeper.stop()


@pytest.fixture
def opened() -> Callable[[Tanks, str], Workspace]:
    """Opens a workspace of this name, which may be there already."""

    def workspace(tanks: Tanks, name: str) -> Workspace:
        if not any(each.id == name for each in tanks.list()):
            return Workspace(tanks, name)
        made = Workspace.__new__(Workspace)
        made.join(tanks, name)
        return made

    return workspace


@pytest.fixture
def workspace(make: Any) -> Workspace:
    made: Workspace = make()
    return made


@pytest.fixture
def hooked(workspace: Workspace, receiver: Receiver) -> Workspace:
    """A workspace whose webhook reports everything to the receiver."""
    receiver.now_ms = workspace.now
    workspace.configure(url=receiver.url, full_resolution=True, with_content=True)
    return workspace
