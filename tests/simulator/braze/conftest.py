"""A tank with a Currents feed and a tiny connector that answers as told; and a workspace behind the REST API."""

from __future__ import annotations

import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from werkzeug.test import TestResponse

from simulator import braze, ledger
from simulator.braze import currents_feed, marketing, profile_store
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


class Workspace:
    """A tank behind Braze's REST app: writes take effect at once unless a test says otherwise."""

    numbers = itertools.count()

    def __init__(self, tanks: Tanks, name: str | None = None, **settings: Any) -> None:
        given = {"braze.apply_delay_ms": 0, "braze.merge_delay_ms": 0, "clock.settle_ms": 0}
        given.update({f"braze.{name}": value for name, value in settings.items()})
        self.join(tanks, tanks.create(name or f"brz-{next(self.numbers)}", settings=given).id)

    def join(self, tanks: Tanks, tank_id: str) -> None:
        """Take up a tank that is there already."""
        self.tank = tanks.get(tank_id)
        self.keeper = Timekeeper(self.tank, braze.TIMERS)
        self.client = braze.create_app(tanks).test_client()

    @property
    def key(self) -> str:
        return self.tank.credential("braze_rest_api_key")

    def post(self, path: str, body: Any, **headers: str) -> TestResponse:
        auth = {"Authorization": f"Bearer {self.key}", **headers}
        return self.client.post(path, data=json.dumps(body), headers={"Content-Type": "application/json", **auth})

    def track(self, **body: Any) -> TestResponse:
        return self.post("/users/track", body)

    def attributes(self, *objects: Any) -> TestResponse:
        return self.track(attributes=list(objects))

    def cohort(self, path: str, **body: Any) -> TestResponse:
        keys = {
            "partner_api_key": self.tank.credential("braze_partner_api_key"),
            "client_secret": self.tank.credential("braze_data_import_key"),
        }
        return self.post(f"/partners/amplitude/{path}", {**keys, **body})

    def download(self, url: str) -> TestResponse:
        """What lies behind a link, read to its end: an answer that stays open is work that time waits for."""
        return self.client.get(url, buffered=True)

    def export(self, fields: list[str] | None = None, **ids: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.post(
            "/users/export/ids",
            {**ids, "fields_to_export": fields or ["external_id", "braze_id", "custom_attributes", "user_aliases"]},
        ).json
        return found

    def person(self, external_id: str) -> dict[str, Any] | None:
        """The applied profile of an external id."""
        return self.one("external_id", external_id)

    def one(self, kind: str, value: str) -> dict[str, Any] | None:
        with self.tank.store.read() as conn:
            found = profile_store.find(conn, kind, value)
        return profile_store.shown(found[0]) if found else None

    def people(self) -> list[dict[str, Any]]:
        with self.tank.store.read() as conn:
            return [profile_store.shown(each) for page in profile_store.pages(conn) for each in page]

    def set(self, **settings: Any) -> None:
        with self.tank.store.write() as conn:
            self.tank.override(conn, {f"braze.{name}": value for name, value in settings.items()})

    def advance(self, ms: int) -> None:
        self.keeper.advance(self.tank.clock.now_ms() + ms)

    def digest(self) -> str:
        return self.tank.store.digest()


@pytest.fixture
def make_workspace() -> Iterator[Callable[..., Workspace]]:
    tanks = Tanks()
    yield lambda **settings: Workspace(tanks, **settings)
    tanks.close()


@pytest.fixture
def workspace(make_workspace: Callable[..., Workspace]) -> Workspace:
    return make_workspace()


class Messaging:
    """A workspace with a marketer: campaigns by definition, messages by person."""

    def __init__(self, workspace: Any) -> None:
        self.workspace = workspace
        self.tank = workspace.tank

    def campaign(self, *variations: Any, **more: Any) -> marketing.Marketed:
        return self._made("campaign", {"name": "Spring", "variations": list(variations), **more})

    def canvas(self, *steps: Any, **more: Any) -> marketing.Marketed:
        return self._made("canvas", {"name": "Flow", "variants": [{"name": "A", "steps": list(steps)}], **more})

    def _made(self, kind: Any, definition: Any) -> marketing.Marketed:
        with self.tank.store.write() as conn:
            return marketing.make(conn, self.tank, kind, definition, self.tank.clock.now_ms(conn))

    def post(self, path: str, **body: Any) -> Any:
        return self.workspace.post(path, body)

    def get(self, path: str, **query: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.workspace.key}"}
        return self.workspace.client.get(path, query_string=query, headers=headers)

    def messages(self, **equal: Any) -> list[dict[str, Any]]:
        """Messages in order: ``who``, ``channel``, ``state``, ``reason``, ``rendered``, ``at``."""
        with self.tank.store.read() as conn:
            rows = conn.exec_driver_sql(
                "SELECT m.*, p.external_id FROM braze_messages m JOIN braze_profiles p ON p.uid = m.uid ORDER BY m.n"
            ).mappings()
            shown = [
                {**row, "who": row["external_id"], "rendered": orjson.loads(row["rendered"] or "null")} for row in rows
            ]
        return [each for each in shown if all(each[name] == value for name, value in equal.items())]

    def sent(self, **equal: Any) -> list[str]:
        return [each["who"] for each in self.messages(state="sent", **equal)]

    def advance(self, ms: int) -> None:
        self.workspace.advance(ms)


@pytest.fixture
def shop(make_workspace: Callable[..., Workspace]) -> Messaging:
    """People a to d have an address; b is unsubscribed, c has opted in; nobody opens anything."""
    workspace = make_workspace(behaviour={"users.messages.email.Open": {"p": 0}})
    people: list[dict[str, Any]] = [
        {"external_id": each, "email": f"{each}@example.com", "first_name": each.upper()} for each in "abcd"
    ]
    people[1]["email_subscribe"], people[2]["email_subscribe"] = "unsubscribed", "opted_in"
    workspace.attributes(*people)
    return Messaging(workspace)


@pytest.fixture
def make_shop(make_workspace: Callable[..., Workspace]) -> Callable[..., Messaging]:
    """A workspace with a marketer, by its settings."""
    return lambda **settings: Messaging(make_workspace(**settings))


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[..., Messaging]]:
    """Opens one workspace that is kept in a file, anew at every call; settings make it at the first."""
    opened: list[Tanks] = []

    def open_(**settings: Any) -> Messaging:
        tanks = Tanks(tmp_path / "state.db")
        opened.append(tanks)
        if not tanks.list():
            return Messaging(Workspace(tanks, name="kept", **settings))
        workspace = Workspace.__new__(Workspace)
        workspace.join(tanks, "kept")
        return Messaging(workspace)

    yield open_
    for tanks in opened:
        tanks.close()
