"""What the delivery does about each of Amplitude's documented answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connector_stubs import KEY, Amplitude, ManualClock, amplitude, currents_event

from connector.amplitude import Client, read
from connector.assembly import outbox_of
from connector.config import Config
from connector.delivery import Delivery, choose, expired
from connector.outbox import Item
from connector.sections import CurrentsConfig
from connector.service import mapped

MINUTE = 60_000
HOUR = 60 * MINUTE


class Bench:
    """An outbox, a delivery and a scripted Amplitude, driven by hand."""

    def __init__(self, stub: Amplitude, folder: Path, outbox_url: str | None = None) -> None:
        self.stub = stub
        self.config = Config(9000, folder, None, "", None, outbox_url=outbox_url)
        self.clock = ManualClock()
        self.outbox = outbox_of(self.config, "currents")
        self.client = Client(stub.url, KEY)
        self.delivery = Delivery(self.outbox, self.client)

    def take(self, events: list[dict[str, Any]]) -> int:
        flow = CurrentsConfig(self.stub.url, KEY)
        return self.outbox.put([mapped(each, flow) for each in events])

    def work(self, later_ms: int = 0) -> int:
        """Move time on and deliver; answers after how many ms the delivery wants to be back."""
        self.clock.now += later_ms
        due = self.delivery.work(self.clock.now)
        while due <= self.clock.now:
            due = self.delivery.work(self.clock.now)
        return due - self.clock.now

    def restart(self, key: str = KEY) -> None:
        self.close()
        self.outbox = outbox_of(self.config, "currents")
        self.client = Client(self.stub.url, key)
        self.delivery = Delivery(self.outbox, self.client)

    def close(self) -> None:
        self.client.close()
        self.outbox.close()


@pytest.fixture
def bench(tmp_path: Path, outbox_url: str | None) -> Iterator[Bench]:
    with amplitude() as stub:
        made = Bench(stub, tmp_path, outbox_url)
        yield made
        made.close()


def _events(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [currents_event(number, **changes) for number in range(count)]


def _ids(count: int) -> list[str]:
    return sorted(f"event-{number}" for number in range(count))


def _on(device: str) -> dict[str, Any]:
    return {"user": {"user_id": "0" * 24, "device_id": device}}


def _throttling(device: str, most: int, **extra: Any) -> Any:
    """Refuse uploads with more than ``most`` events of a device, naming those beyond."""

    def script(events: list[dict[str, Any]]) -> tuple[int, Any] | None:
        mine = [index for index, event in enumerate(events) if event.get("device_id") == device]
        if len(mine) <= most:
            return None
        body = {
            "code": 429,
            "error": "Too many requests for some devices and users",
            "eps_threshold": most,
            "throttled_devices": {device: len(mine)},
            "throttled_users": {},
            "throttled_events": mine[most:],
        }
        return 429, {**body, **extra}

    return script


def test_events_go_in_uploads_of_100_with_nothing_but_key_and_events(bench: Bench) -> None:
    assert bench.take(_events(250)) == 250
    assert bench.work() > 365 * 24 * HOUR
    assert bench.stub.sizes() == [100, 100, 50]
    assert set(bench.stub.paths) == {"/2/httpapi"}
    assert all(set(each) == {"api_key", "events"} for each in bench.stub.uploads)
    assert bench.stub.ids() == _ids(250)
    assert bench.outbox.counts()["sent"] == 250


def test_uploads_stay_below_a_megabyte(bench: Bench) -> None:
    large = {"properties": {"name": "Big", "custom_properties": {"text": "x" * 200_000}}}
    bench.take(_events(10, **large))
    bench.work()
    assert bench.stub.ids() == _ids(10)
    assert all(len(json.dumps(each)) < 1_000_000 for each in bench.stub.uploads)


def test_429_holds_the_named_events_30_s_and_the_rest_goes_on(bench: Bench) -> None:
    bench.take([currents_event(n, **_on("hot")) for n in range(5)] + [currents_event(n) for n in range(5, 9)])
    bench.stub.script = _throttling("hot", 3)
    assert bench.work() == 30_000
    assert bench.stub.sizes() == [9, 7]
    assert bench.stub.ids() == sorted(f"event-{n}" for n in (0, 1, 2, 5, 6, 7, 8))
    assert bench.work(29_999) == 1
    assert len(bench.stub.uploads) == 2
    bench.work(1)
    assert bench.stub.ids() == _ids(9)
    assert bench.stub.repeated == 0


def test_what_is_told_of_one_device_keeps_its_order_through_trouble(bench: Bench) -> None:
    bench.take([currents_event(n, **_on("one")) for n in range(4)])
    bench.stub.script = _throttling("one", 2)
    bench.work()
    bench.stub.script = lambda _events: (503, {"code": 503, "error": "Service Unavailable"})
    held = bench.work(30_000)
    bench.take([currents_event(n, **_on("one")) for n in (4, 5)])
    bench.work(held - 1)
    bench.stub.script = lambda _events: None
    bench.work(HOUR)
    bench.take([currents_event(6, **_on("one")), currents_event(7)])
    bench.work()
    assert [str(name[1]) for name in bench.stub.stored if name[0] == "one"] == [f"event-{n}" for n in range(7)]
    assert bench.stub.ids() == _ids(8)


def test_a_hot_device_holds_up_nobody_else_and_loses_nothing(bench: Bench) -> None:
    bench.take([currents_event(n, **_on("hot")) for n in range(150)])
    bench.stub.script = _throttling("hot", 30)
    bench.work()
    bench.take([currents_event(n) for n in range(150, 160)])
    bench.work(1_000)
    assert {f"event-{n}" for n in range(150, 160)} <= set(bench.stub.ids())
    for _ in range(200):
        if bench.outbox.counts()["pending"] == 0:
            break
        bench.work(1_000)
    assert bench.stub.ids() == _ids(160)
    assert bench.stub.repeated == 0


def test_a_device_over_its_daily_quota_is_tried_again_in_the_next_hour(bench: Bench) -> None:
    bench.clock.now += 20 * MINUTE
    bench.take([currents_event(0, **_on("spam")), currents_event(1)])
    quota = {"throttled_devices": {}, "exceeded_daily_quota_devices": {"spam": 500_001}}
    bench.stub.script = _throttling("spam", 0, **quota)
    assert bench.work() == 40 * MINUTE
    assert bench.stub.ids() == ["event-1"]
    bench.stub.script = lambda _events: None
    bench.work(40 * MINUTE)
    assert bench.stub.ids() == _ids(2)


def test_a_429_that_names_nobody_pauses_everything_for_a_minute(bench: Bench) -> None:
    bench.take(_events(2))
    bench.stub.script = lambda _events: (429, {"code": 429, "error": "Too many requests"})
    assert bench.work() == MINUTE
    bench.stub.script = lambda _events: None
    bench.work(MINUTE)
    assert bench.stub.ids() == _ids(2)


def _refusing(bad: set[str], member: str | None, listed: int = 1000) -> Any:
    """Refuse uploads that hold a bad event, naming the first ``listed`` of them under ``member``."""

    def script(events: list[dict[str, Any]]) -> tuple[int, Any] | None:
        found = [index for index, event in enumerate(events) if event["insert_id"] in bad]
        if not found:
            return None
        body: dict[str, Any] = {"code": 400, "error": "Invalid field values on some events"}
        if member == "silenced_events":
            body = {**body, "error": "Events silenced for device_id", member: found[:listed]}
        elif member is not None:
            body[member] = {"time": found[:listed]}
        return 400, body

    return script


@pytest.mark.parametrize(
    ("member", "listed"),
    [
        ("events_with_invalid_fields", 1000),
        ("events_with_invalid_fields", 1),
        ("events_with_missing_fields", 1000),
        ("events_with_invalid_id_lengths", 1),
        ("silenced_events", 1000),
        (None, 0),
    ],
)
def test_400_gives_up_only_the_event_that_is_refused_alone(bench: Bench, member: str | None, listed: int) -> None:
    bench.take(_events(40))
    bad = {"event-3", "event-17", "event-39"}
    bench.stub.script = _refusing(bad, member, listed)
    bench.work()
    assert bench.stub.ids() == sorted(set(_ids(40)) - bad)
    dead = bench.outbox.listed("dead", 10)
    assert {each["id"] for each in dead} == bad
    assert all(each["reason"] for each in dead)
    refused_alone = [each["events"][0]["insert_id"] for each in bench.stub.uploads if len(each["events"]) == 1]
    assert bad <= set(refused_alone)
    assert bench.outbox.counts()["pending"] == 0


def test_a_400_may_also_name_throttled_events_which_wait(bench: Bench) -> None:
    bench.take(_events(3))
    body = {
        "code": 400,
        "error": "Events silenced for device_id",
        "silenced_events": [0],
        "throttled_events": [1],
    }
    bench.stub.script = lambda events: (400, body) if len(events) == 3 else None
    assert bench.work() == 30_000
    assert bench.stub.ids() == ["event-0", "event-2"]
    bench.work(30_000)
    assert bench.stub.ids() == _ids(3)


def test_413_halves_until_it_fits_and_gives_up_one_that_is_too_large_alone(bench: Bench) -> None:
    bench.take(_events(20))
    answer = (413, {"code": 413, "error": "Payload too large"})

    def script(events: list[dict[str, Any]]) -> tuple[int, Any] | None:
        return answer if len(events) > 5 or any(each["insert_id"] == "event-7" for each in events) else None

    bench.stub.script = script
    bench.work()
    assert bench.stub.ids() == sorted(set(_ids(20)) - {"event-7"})
    assert [each["id"] for each in bench.outbox.listed("dead", 5)] == ["event-7"]
    assert bench.stub.sizes()[:2] == [20, 10]


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {"code": 500, "error": "Internal Server Error"}),
        (502, b"<html>bad gateway</html>"),
        (503, {"code": 503, "error": "Service Unavailable"}),
        (408, {"code": 408, "error": "timeout"}),
        (403, {"code": 403, "error": "Forbidden"}),
        (400, b"<html>not Amplitude</html>"),
        (200, b'{"code":200,"events_ing'),
        (200, b"<html>ok</html>"),
        "reset",
        "reset after",
    ],
    ids=str,
)
def test_trouble_is_met_with_backoff_and_the_same_events(bench: Bench, trouble: Any) -> None:
    bench.take(_events(3))
    bench.stub.script = lambda _events: trouble
    pauses = [bench.work()]
    for _ in range(11):
        pauses.append(bench.work(pauses[-1]))
    assert len(bench.stub.uploads) == 12
    assert 500 <= pauses[0] <= 1_000
    for attempt, pause in enumerate(pauses):
        longest = min(300_000, 1_000 * 2**attempt)
        assert longest / 2 <= pause <= longest
    assert len({pause / min(300_000, 1_000 * 2**n) for n, pause in enumerate(pauses)}) > 6
    bench.stub.script = lambda _events: None
    bench.work(pauses[-1])
    assert bench.stub.ids() == _ids(3)
    assert bench.outbox.counts() == {"pending": 0, "sent": 3, "dead": 0, "dropped": 0, "skipped": 0}
    assert all(each["events"] == bench.stub.uploads[0]["events"] for each in bench.stub.uploads)


def test_events_that_keep_failing_do_not_hold_up_the_others(bench: Bench) -> None:
    poison = {f"event-{n}" for n in range(100)}

    def script(events: list[dict[str, Any]]) -> tuple[int, Any] | None:
        bad = any(each["insert_id"] in poison for each in events)
        return (500, {"code": 500, "error": "Internal Server Error"}) if bad else None

    bench.stub.script = script
    bench.take(_events(200))
    bench.work(bench.work())
    assert bench.stub.ids() == sorted(f"event-{n}" for n in range(100, 200))


def test_a_refused_key_stops_sending_and_is_probed_with_one_event(bench: Bench) -> None:
    bench.take(_events(30))
    bench.stub.key = "another"
    wait_ms = bench.work()
    assert 2 * MINUTE <= wait_ms <= 5 * MINUTE
    bench.take([currents_event(n) for n in range(30, 40)])
    assert bench.work(1_000) == wait_ms - 1_000
    bench.work(wait_ms - 1_000)
    assert bench.stub.sizes() == [30, 1]
    assert bench.outbox.counts()["pending"] == 40
    bench.stub.key = KEY
    bench.work(wait_ms)
    assert bench.stub.ids() == _ids(40)
    assert bench.delivery.status == "running"


def test_48_hours_are_survived(bench: Bench) -> None:
    bench.take(_events(2))
    bench.stub.key = "another"
    bench.work()
    assert bench.work(48 * HOUR) == 1
    assert bench.outbox.counts()["pending"] == 2
    bench.stub.key = KEY
    bench.work(1)
    assert bench.stub.ids() == _ids(2)


def test_more_than_48_hours_lose_the_events_for_good_and_visibly(bench: Bench) -> None:
    bench.take(_events(2))
    bench.stub.key = "another"
    bench.work()
    bench.work(48 * HOUR)
    bench.work(1)
    assert bench.outbox.counts() == {"pending": 0, "sent": 0, "dead": 0, "dropped": 2, "skipped": 0}
    assert bench.outbox.reasons()["dropped"] == {expired("Amplitude"): 2}
    bench.take([currents_event(2)])
    bench.work(5 * MINUTE)
    assert bench.outbox.counts()["dropped"] == 3
    bench.stub.key = KEY
    bench.take([currents_event(3)])
    bench.work(5 * MINUTE)
    assert bench.stub.ids() == ["event-3"]
    bench.take([currents_event(0)])
    bench.work()
    assert bench.stub.ids() == ["event-3"]


def test_the_48_hours_go_on_over_a_restart_but_not_with_another_key(bench: Bench) -> None:
    bench.take(_events(1))
    bench.stub.key = "another"
    bench.work()
    bench.clock.now += 47 * HOUR
    bench.restart()
    bench.work()
    bench.restart(key="third")
    bench.work(2 * HOUR)
    assert bench.outbox.counts()["pending"] == 1
    bench.restart(key="another")
    bench.work()
    assert bench.stub.ids() == _ids(1)


def test_the_key_is_never_repeated() -> None:
    with amplitude() as stub:
        stub.key = "another"
        client = Client(stub.url, KEY)
        reply = client.upload([b'{"insert_id":"1"}'])
        client.close()
    assert reply.kind == "refused"
    assert KEY not in reply.reason


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"code": 400, "error": "Invalid API key"}, "refused"),
        (
            400,
            {"code": 400, "error": "Request missing required field", "missing_field": "api_key"},
            "refused",
        ),
        (400, {"code": 400, "error": "Request missing required field", "missing_field": "events"}, "invalid"),
        (400, {"code": 400, "events_with_invalid_fields": [1], "silenced_events": {"a": 1}}, "invalid"),
        (429, {"code": 429, "throttled_events": ["a", True, -1], "throttled_devices": [["x"]]}, "throttled"),
        (413, [], "too_large"),
        (200, {"code": 500}, "failed"),
        (302, {"code": 302}, "failed"),
    ],
)
def test_odd_answers_are_read_without_trouble(status: int, body: Any, kind: str) -> None:
    reply = read(status, json.dumps(body).encode())
    assert (reply.kind, reply.events) == (kind, ())


def test_a_suspect_travels_alone() -> None:
    items = [Item(n, str(n), "device:a", b"{}", 1 if n == 1 else None) for n in range(4)]
    assert [item.n for item in choose(items, 100)] == [0, 2, 3]
    assert [item.n for item in choose(items[1:], 100)] == [1]
