"""A tank with a Currents feed and a tiny connector that answers as told."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from simulator import ledger
from simulator.braze import currents_feed
from simulator.tank import Tank, Tanks
from simulator.timekeeper import Timekeeper

MINUTE_MS = 60_000
HOUR_MS = 3_600_000


@dataclass
class Received:
    """One request that the connector got."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)["events"]
        return found

    @property
    def ids(self) -> list[str]:
        return [each["id"] for each in self.events]

    @property
    def types(self) -> set[str]:
        return {each["event_type"] for each in self.events}


@dataclass
class Receiver:
    """``answer`` decides the status of each request; None hangs up without an answer."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: Callable[[Received], int | None] = lambda _: 200

    def ids(self) -> list[str]:
        return [one for each in self.got if each.body for one in each.ids]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Received(self.path, dict(self.headers.items()), body)
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
    state.url = f"http://127.0.0.1:{server.server_port}/feeds/currents"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Bench:
    """The tank, its time, and short words for what tests do with the feed."""

    tank: Tank
    keeper: Timekeeper

    def configure(self, **config: Any) -> dict[str, Any]:
        with self.tank.store.write() as conn:
            return currents_feed.configure(conn, self.tank, config)

    def set(self, **settings: Any) -> None:
        with self.tank.store.write() as conn:
            self.tank.override(conn, {f"braze.currents.{name}": value for name, value in settings.items()})

    def emit(self, *events: Mapping[str, Any], strict: bool = False) -> list[str]:
        with self.tank.store.write() as conn:
            return currents_feed.emit(conn, self.tank, events, self.now(), strict=strict)

    def emit_many(self, count: int, event_type: str = "users.messages.email.Send") -> list[str]:
        return self.emit(*({"event_type": event_type, "user": {"external_user_id": "ann"}} for _ in range(count)))

    def now(self) -> int:
        return self.tank.clock.now_ms()

    def advance(self, ms: int) -> None:
        self.keeper.advance(self.now() + ms)

    def settle(self) -> None:
        self.keeper.settle()

    def state(self) -> dict[str, Any]:
        with self.tank.store.read() as conn:
            return currents_feed.state(conn, self.tank)

    def fates(self) -> dict[str, str | None]:
        """Reason by event id, for every event that is not delivered."""
        with self.tank.store.read() as conn:
            return {each["event_id"]: each["reason"] for each in ledger.read(conn, {})["entries"]}

    def totals(self) -> dict[str, Any]:
        with self.tank.store.read() as conn:
            found: dict[str, Any] = ledger.read(conn, {})["totals"]
            return found


@pytest.fixture
def bench() -> Iterator[Bench]:
    tanks = Tanks()
    tank = tanks.create("braze", seed=7, settings={"clock.settle_ms": 1})
    keeper = Timekeeper(tank, currents_feed.TIMERS)
    yield Bench(tank, keeper)
    keeper.stop()
    tanks.close()


@pytest.fixture
def feed(bench: Bench, receiver: Receiver) -> Bench:
    """A bench whose connector is set up at the receiver, with every event selected."""
    bench.configure(url=receiver.url)
    return bench
