"""The outbox in PostgreSQL that several connectors share: lanes, claims, kills, lost connections, who leads."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from connector_stubs import KEY, ManualClock, Program, amplitude, currents_event, envelope, eventually, get

from connector import cohort_changes, streaming, syncing
from connector.assembly import Flow, assemble, outbox_of
from connector.config import Config, ConfigError, load
from connector.delivery import Delivery
from connector.engine import Engine
from connector.flows.cohort_sync import CohortSync
from connector.flows.event_stream import Stream
from connector.outbox import Outbox, Taken, Unreachable
from connector.replies import Reply
from connector.sections import CurrentsConfig, StreamConfig
from connector.service import EVENTS, Draining, create_app, straight
from connector.shared_outbox import SharedOutbox
from connector.syncing import Syncs

HOUR_MS = 3_600_000


class Platform:
    """Takes items in memory, tells of trouble at random, and watches that no lane travels in two requests at once."""

    vendor, url, api_key, max_items = "Amplitude", "http://127.0.0.1:9", KEY, 7
    pauses_ms: Sequence[int] = (30_000,)

    def __init__(self, trouble: float = 0) -> None:
        self.taken: list[str] = []
        self.failed = 0
        self.met: list[str] = []
        self._rng, self._trouble = random.Random(11), trouble
        self._turn = threading.Lock()
        self._under_way: set[str] = set()

    def upload(self, events: Sequence[bytes]) -> Reply:
        names = [each.decode() for each in events]
        lanes = {each.partition(":")[0] for each in names}
        with self._turn:
            self.met += lanes & self._under_way
            self._under_way |= lanes
            pause_s, luck = self._rng.uniform(0, 0.003), self._rng.random()
        time.sleep(pause_s)
        with self._turn:
            self._under_way -= lanes
            if luck < self._trouble / 2:
                self.failed += len(names)
                return Reply("failed", "no answer")
            if luck < self._trouble:
                last = names[-1].partition(":")[0]
                late = [i for i, each in enumerate(names) if each.partition(":")[0] == last][-2:]
                return Reply("throttled", "slower", events=tuple(late), eps=1_000)
            self.taken += names
            return Reply("accepted", "")

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def share(shared_url: str) -> Iterator[Any]:
    """Makes outboxes on the same PostgreSQL, as processes do."""
    with ExitStack() as stack:

        def make(flow: str = "currents", tables: str = "") -> SharedOutbox:
            made = SharedOutbox(shared_url, flow, tables)
            stack.callback(made.close)
            return made

        yield make


def _taken(lane: int, number: int) -> Taken:
    text = f"{lane}:{number}"
    return Taken(text, str(lane), text.encode())


def _ended(url: str, state: str = "idle in transaction") -> int:
    """End the connections that are in this state; answers how many."""
    with psycopg.connect(url, autocommit=True) as db:
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = %s AND pid <> pg_backend_pid()"
        return len(db.execute(sql, [state]).fetchall())


def test_order_is_kept_per_user_while_several_take_and_deliver(share: Any) -> None:
    platform, lanes, each_lane, stop = Platform(trouble=0.3), 12, 30, threading.Event()

    def now_ms() -> int:
        return int(time.monotonic() * 1_000_000)  # a thousand times as fast

    def take(outbox: Outbox, mine: list[int]) -> None:
        rng, after = random.Random(mine[0]), dict.fromkeys(mine, 0)
        while after:
            lane = rng.choice(list(after))
            more = min(rng.randint(1, 4), each_lane - after[lane])
            assert outbox.put([_taken(lane, after[lane] + n) for n in range(more)]) == more
            after[lane] += more
            if after[lane] == each_lane:
                del after[lane]

    def deliver(outbox: Outbox) -> None:
        delivery = Delivery(outbox, platform)
        while not stop.is_set():
            if delivery.work(now_ms()) > now_ms():
                time.sleep(0.001)

    takers = [threading.Thread(target=take, args=(share(), list(range(n, lanes, 3)))) for n in range(3)]
    deliverers = [threading.Thread(target=deliver, args=(share(),)) for _ in range(3)]
    for each in (*takers, *deliverers):
        each.start()
    watcher = share()
    for each in takers:
        each.join(20)
    try:
        eventually(lambda: watcher.counts()["sent"] == lanes * each_lane, 20)
    finally:
        stop.set()
        for each in deliverers:
            each.join(20)
    assert platform.met == []
    assert platform.failed > 0
    for lane in range(lanes):
        mine = [each for each in platform.taken if each.startswith(f"{lane}:")]
        assert mine == [f"{lane}:{number}" for number in range(each_lane)]
    assert watcher.note("repeated") == platform.failed


def test_what_is_claimed_is_nobody_elses(share: Any) -> None:
    first, second = share(), share()
    first.put([_taken(1, 1), _taken(1, 2), _taken(2, 1)])
    with first.claimed(0, 1) as mine:
        assert [each.id for each in mine] == ["1:1"]
        first.put([_taken(1, 3), _taken(3, 1)])
        with second.claimed(0, 9) as others:
            assert [each.id for each in others] == ["2:1", "3:1"]
            second.end([each.n for each in others], "sent", 5)
        first.end([mine[0].n], "sent", 5)
        with second.claimed(0, 9) as others:
            assert others == []
    with second.claimed(0, 9) as rest:
        assert [each.id for each in rest] == ["1:2", "1:3"]
    assert first.counts() == {"pending": 2, "sent": 3, "dead": 0, "dropped": 0, "skipped": 0}


def test_a_refused_key_is_probed_by_one_and_drops_nothing_that_is_claimed(share: Any) -> None:
    first, second = share(), share()
    first.put([_taken(1, 1), _taken(2, 1), _taken(3, 1)])
    first.set_note("refused_ms", 0)
    with first.claimed(HOUR_MS, 1) as mine, second.claimed(HOUR_MS, 9) as others:
        assert [each.id for each in mine] == ["1:1"]
        assert others == []
        assert second.drop_pending(HOUR_MS, "too long") == 2
    with second.claimed(HOUR_MS, 9) as rest:
        assert [each.id for each in rest] == ["1:1"]


def test_what_failed_too_long_ago_expires_unless_it_is_claimed(share: Any) -> None:
    first, second = share(), share()
    first.put([_taken(1, 1), _taken(2, 1)])
    with first.claimed(0, 9):
        first.failed(0)
    first.put([_taken(3, 1)])
    second.failed(HOUR_MS)
    first.put([_taken(4, 1)])
    assert second.expire(0, HOUR_MS, "too long") == 0
    with first.claimed(HOUR_MS, 1) as mine:
        assert [each.id for each in mine] == ["1:1"]
        assert second.expire(1, HOUR_MS, "too long") == 1
    assert second.expire(1, HOUR_MS, "too long") == 1
    assert first.reasons() == {"dropped": {"too long": 2}}
    assert second.expire(HOUR_MS + 1, HOUR_MS, "too long") == 1
    assert second.expire(9 * HOUR_MS, HOUR_MS, "too long") == 0
    assert [each.id for each in first.due(HOUR_MS, 9)] == ["4:1"]


def test_a_claim_ends_with_its_connection_and_what_was_sent_is_counted(share: Any, shared_url: str) -> None:
    first, second = share(), share()

    class Cutting(Platform):
        def upload(self, events: Sequence[bytes]) -> Reply:
            reply = super().upload(events)
            if len(self.taken) == 2:
                assert _ended(shared_url) == 1
            return reply

    broken = Cutting()
    first.put([_taken(1, 1), _taken(1, 2)])
    with pytest.raises(Unreachable):
        Delivery(first, broken).work(0)
    assert second.counts()["pending"] == 2
    Delivery(second, broken).work(0)
    assert broken.taken == ["1:1", "1:2", "1:1", "1:2"]
    assert (second.note("repeated"), second.counts()["sent"]) == (2, 2)
    assert second.read("SELECT count(*) FROM uploads") == [(0,)]
    first.put([_taken(1, 3)])
    Delivery(first, broken).work(0)
    assert broken.taken[4:] == ["1:3"]


def test_a_process_that_is_killed_amid_an_upload_leaves_it_to_the_others(shared_url: str, tmp_path: Path) -> None:
    hang, hung, events = threading.Event(), threading.Event(), 240
    with amplitude() as stub, ExitStack() as stack:
        mine: list[list[str]] = []

        def hold(uploaded: list[dict[str, Any]]) -> None:
            mine.append([each["insert_id"] for each in uploaded])
            if len(mine) == 2:
                hung.set()
                hang.wait(10)

        stub.hold = hold
        programs = [Program(stub.url, tmp_path / str(n), CONNECTOR_OUTBOX=shared_url) for n in range(3)]
        for each in programs:
            each.environ.pop("WAVETANK_CLOCK_URL", None)
            stack.callback(each.end, signal.SIGKILL)
        doomed, *others = programs
        doomed.start()
        batch = [currents_event(n, user={"user_id": "0" * 24, "device_id": f"d{n % 8}"}) for n in range(events)]
        assert doomed.feed(batch[:120]) == 200
        assert hung.wait(10)  # stored by Amplitude, and never answered
        for each in others:
            each.start()
        for n in range(120, events, 30):
            assert others[n % 2].feed(batch[n : n + 30]) == 200
        time.sleep(1.2)  # the others have looked again: eight devices are in the claim
        in_claim = {n % 8 for n in range(100, 120)}
        assert in_claim == set(range(8))
        assert len(mine) == 2
        doomed.end(signal.SIGKILL)
        hang.set()
        eventually(lambda: get(others[0].port, "/healthz")[1]["outbox"]["sent"] == events)
        assert stub.repeated == len(mine[1]) == 20
        assert [get(each.port, "/healthz")[1]["repeated"] for each in others] == [20, 20]
        assert stub.ids() == sorted(f"event-{n}" for n in range(events))
        for device in range(8):
            sent = [each for each in itertools.chain(*mine[:1], *mine[2:]) if int(each[6:]) % 8 == device]
            assert sent == [f"event-{n}" for n in range(device, events, 8)]


# -- a server that is away


@pytest.fixture
def fragile(postgresql: str) -> Iterator[Any]:
    """The URL of a database, and a function that closes it and opens it again."""
    with psycopg.connect(postgresql, autocommit=True) as db:
        db.execute("DROP DATABASE IF EXISTS fragile WITH (FORCE)")
        db.execute("CREATE DATABASE fragile")

        def opened(yes: bool) -> None:
            db.execute(f"ALTER DATABASE fragile ALLOW_CONNECTIONS {'true' if yes else 'false'}")
            if not yes:
                db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fragile'")

        yield postgresql.replace("/postgres?", "/fragile?"), opened
        db.execute("DROP DATABASE fragile WITH (FORCE)")


def test_without_the_server_feeds_are_answered_503_and_taken_again_after(fragile: Any, tmp_path: Path) -> None:
    url, opened = fragile
    with amplitude() as stub:
        stream = StreamConfig(stub.url, KEY, Stream(), True)
        config = Config(9000, tmp_path, None, "t", CurrentsConfig(stub.url, KEY), "t", stream, outbox_url=url)
        flows = assemble(config)
        clock = ManualClock()
        engine = Engine([], clock)
        client = create_app(config, flows, engine, Draining()).test_client()

        def statuses(number: int) -> list[int]:
            auth = {"Authorization": "Bearer t"}
            body = envelope([currents_event(number)])
            user = {"user_id": "ada", "user_properties": {"tier": "gold"}}
            return [
                client.post("/feeds/currents", data=body, headers=auth).status_code,
                client.post(EVENTS, json={"event_type": "A", "uuid": str(number)}, headers=auth).status_code,
                client.post("/feeds/amplitude/users", json=user, headers=auth).status_code,
                *(client.get(path).status_code for path in ("/healthz", "/metrics", "/outbox")),
            ]

        assert statuses(1) == [200] * 6
        opened(False)
        assert statuses(2) == [503, 503, 200, 503, 503, 503]  # no user property is chosen: there is nothing to keep
        with pytest.raises(Unreachable):
            flows["currents"].delivery.work(clock.now)
        opened(True)
        assert statuses(2) == [200] * 6
        flows["currents"].delivery.work(clock.now)
        assert stub.ids() == ["event-1", "event-2"]
        _close(flows)


def test_the_short_way_of_events_is_answered_503_too(fragile: Any, tmp_path: Path) -> None:
    url, opened = fragile
    stream = StreamConfig("http://127.0.0.1:9", KEY, Stream(), True)
    config = Config(9000, tmp_path, None, "", None, event_stream=stream, outbox_url=url)
    flows = assemble(config)
    take = straight(config, flows, Draining())[EVENTS]

    async def take_all() -> list[int]:
        event = {"event_type": "A", "user_id": "ada", "event_time": "2026-01-01 09:14:07.250000"}
        bodies = [orjson.dumps({**event, "uuid": str(n)}) for n in range(9)]
        return [status for status, _ in await asyncio.gather(*(take("", each) for each in bodies))]

    opened(False)
    assert asyncio.run(take_all()) == [503] * 9
    opened(True)
    assert asyncio.run(take_all()) == [200] * 9
    assert flows["event_stream"].outbox.counts()["pending"] == 9
    _close(flows)


def test_a_server_that_is_away_stumbles_the_engine_in_one_line(
    fragile: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url, opened = fragile
    outbox = SharedOutbox(url, "currents")
    delivery = Delivery(outbox, Platform())
    monkeypatch.setattr("connector.engine.pause", lambda _s: None)
    opened(False)
    assert Engine([delivery], ManualClock()).round(5_000_000) == 5_001_000
    assert [len(each.getMessage().splitlines()) for each in caplog.records] == [1]
    assert caplog.records[0].exc_info in (None, False)
    outbox.close()


def _close(flows: dict[str, Flow]) -> None:
    for flow in flows.values():
        flow.delivery.client.close()
        flow.outbox.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://nobody@127.0.0.1:1/none", "cannot hold the outbox"),
        ("mysql://127.0.0.1/none", "no URL of a PostgreSQL"),
        ("postgresql://127.0.0.1:x/none", "cannot hold the outbox"),
    ],
)
def test_a_url_that_cannot_be_used_is_told_in_one_line(url: str, told: str) -> None:
    environ = {"AMPLITUDE_URL": "http://127.0.0.1:9", "AMPLITUDE_API_KEY": KEY, "CONNECTOR_OUTBOX": url}
    with pytest.raises(ConfigError, match=told) as raised:
        assemble(load(environ))
    assert len(str(raised.value).splitlines()) == 1


# -- what is taken


def test_strange_ids_are_kept_and_known_again(share: Any) -> None:
    outbox = share()
    rng = random.Random(3)
    long = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(5_000))
    events = [Taken(each, each, b"{}", each) for each in ("", "a\0b", long, long + "!", "'; DROP TABLE events; --", "%s")]
    assert outbox.put(events) == len(events)
    assert outbox.put(events) == 0
    assert outbox.counts()["pending"] == len(events)
    assert {each.body for each in outbox.due(0, 99)} == {b"{}"}


def test_a_request_whose_ids_no_index_holds_is_answered_400(shared_url: str, tmp_path: Path) -> None:
    stream = Stream(send_users=True, user_properties=("tier",))
    config = StreamConfig("http://127.0.0.1:9", KEY, stream, True)
    whole = Config(9000, tmp_path, None, "", None, event_stream=config, outbox_url=shared_url)
    flows = assemble(whole)
    client = create_app(whole, flows, Engine([], ManualClock()), Draining()).test_client()
    rng = random.Random(5)
    for who, status in (("".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(9_000)), 400), ("ada", 200)):
        body = {"user_id": who, "user_properties": {"tier": "gold"}}
        assert client.post("/feeds/amplitude/users", json=body).status_code == status
    assert flows["event_stream"].outbox.counts()["pending"] == 1
    _close(flows)


def test_users_and_cohort_changes_are_remembered_by_all(share: Any) -> None:
    stream = Stream(send_users=True, user_properties=("tier",))
    first, second = (share("event_stream", streaming.TABLES) for _ in range(2))
    body = orjson.dumps({"user_id": "ada", "user_properties": {"tier": "gold"}})
    assert [streaming.take_user(each, stream, body) for each in (first, second, first)] == [1, 0, 0]
    syncs = [CohortSync("c1", "real-time")]
    first, second = (share("cohort_sync", syncing.TABLES + cohort_changes.TABLES) for _ in range(2))
    told = {"cohort_id": "c1", "cohort_name": "Payers", "computed_time": "1767225600", "users": [{"user_id": "ada"}]}
    into = orjson.dumps({**told, "in_cohort": True, "message_id": "m1"})
    out = orjson.dumps({**told, "in_cohort": False, "message_id": "m2"})
    assert [cohort_changes.take(each, syncs, into, 0) for each in (first, second)] == [1, 0]
    assert cohort_changes.take(second, syncs, out, 0) == 1
    items = [json.loads(each.body)["path"] for each in first.due(0, 9)]
    assert items == ["cohorts", "cohorts/users", "cohorts/users"]


# -- scheduled syncs


class Project:
    """An Amplitude project with one cohort."""

    def __init__(self, *members: str) -> None:
        self.members = list(members)
        self.asked = 0

    def request(self, _cohort: str, _props: object) -> str:
        self.asked += 1
        return f"r{self.asked}"

    def is_completed(self, _request: str) -> bool:
        return True

    def cohort_name(self, _cohort: str) -> str:
        return "Payers"

    def file(self, _request: str) -> bytes:
        rows = "".join(f'"{n}","{each}"\n' for n, each in enumerate(self.members))
        return f'"amplitude_id","user_id"\n{rows}'.encode()


def _round(syncs: Syncs, delivery: Delivery, now_ms: int) -> None:
    for _ in range(6):
        syncs.work(now_ms)
        delivery.work(now_ms)


def test_one_process_syncs_and_another_goes_on_when_it_ends(share: Any) -> None:
    project, platform = Project("ada", "bob"), Platform()
    sides = []
    for _ in range(2):
        outbox = share("cohort_sync", syncing.TABLES)
        syncs = Syncs(outbox, project, [CohortSync("c1", "hourly")])  # type: ignore[arg-type]
        sides.append((outbox, syncs, Delivery(outbox, platform)))
    (first, leader, one), (second, follower, two) = sides
    _round(leader, one, 1_000)
    _round(follower, two, 2_000)
    assert (first.leads(), second.leads(), project.asked) == (True, False, 1)
    assert [(each["added"], each["state"]) for each in follower.history(9)] == [(2, "succeeded")]
    project.members.append("eve")
    first.close()
    _round(follower, two, HOUR_MS + 1_000)
    assert [(each["added"], each["state"]) for each in follower.history(9)] == [(1, "succeeded"), (2, "succeeded")]


def test_who_has_lost_the_lead_writes_no_run(share: Any, shared_url: str) -> None:
    first, second = share("cohort_sync", syncing.TABLES), share("cohort_sync", syncing.TABLES)
    assert first.leads()
    second.close()
    assert _ended(shared_url, "idle") >= 1
    with pytest.raises(Unreachable), first.leading():
        raise AssertionError("it does not lead any more")
    assert first.leads()
    with first.leading() as db:
        db.execute("UPDATE syncs SET tries = 0")


def test_a_file_is_led_by_its_only_process(tmp_path: Path) -> None:
    outbox = outbox_of(Config(9000, tmp_path, None, "", None), "cohort_sync", syncing.TABLES)
    project, platform = Project("ada"), Platform()
    syncs = Syncs(outbox, project, [CohortSync("c1", "one-time")])  # type: ignore[arg-type]
    _round(syncs, Delivery(outbox, platform), 1_000)
    assert [(each["added"], each["state"]) for each in syncs.history(9)] == [(1, "succeeded")]
    outbox.close()
