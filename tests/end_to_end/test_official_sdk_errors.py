"""Each class of answer and what the official Amplitude Python SDK makes of it, unmodified, over real HTTP.

What it does with each: Amplitude docs, Python SDK; HTTP V2 API, Responses. Every test also holds that the tank has
exactly the events that the SDK calls sent, each once.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from amplitude import Amplitude, BaseEvent, EventOptions, Identify, Revenue
from sdk_client import Outcome, client, close

pytestmark = pytest.mark.filterwarnings("ignore")
OK = (200, "Event sent successfully.")


@pytest.fixture
def clients() -> Iterator[list[Amplitude]]:
    made: list[Amplitude] = []
    yield made
    for each in made:
        close(each)


class Bench:
    """An SDK client over a tank, and the events it is given by insert_id."""

    def __init__(self, tank: Any, expected: int, clients: list[Amplitude], path: str = "/2/httpapi") -> None:
        self.tank, self.outcome = tank, Outcome(expected)
        self.sdk = client(tank, self.outcome, path)
        # Nothing leaves but through flush: one upload for all that is waiting.
        self.sdk.configuration.flush_interval_millis = 20_000
        self.sdk.configuration.flush_queue_size = 10_000
        clients.append(self.sdk)

    def track(self, *events: dict[str, Any]) -> None:
        for n, each in enumerate(events):
            self.sdk.track(BaseEvent("Tracked", **{"insert_id": f"i-{n}", **each}))

    def flush(self) -> None:
        """Send what waits, and what the answers make the SDK send again, until nothing is left."""
        while futures := [each for each in self.sdk.flush() if each is not None]:
            for each in futures:
                each.result(60)

    def fault(self, kind: str, times: int = 1, **params: Any) -> None:
        body = {"platform": "amplitude", "kind": kind, "times": times, "params": params}
        assert self.tank.control("POST", "/faults", body).status_code == 201

    def statuses(self) -> list[int | None]:
        entries = self.tank.control("GET", "/journal", limit=1000).json()["entries"]
        return [each["status"] for each in entries if each["path"] in ("/2/httpapi", "/batch")]

    def stored(self) -> list[str]:
        return sorted(each["insert_id"] for each in self.tank.events())

    def sent(self) -> list[str]:
        return sorted(name for name, said in self.outcome.said.items() if said == [OK])


def people(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"user_id": f"person-{n}", "device_id": f"device-{n}"} for n in range(first, first + count)]


@pytest.fixture
def bench(tank: Any, clients: list[Amplitude]) -> Bench:
    return Bench(tank, 1000, clients)


def test_track_identify_groups_and_revenue(bench: Bench) -> None:
    options = EventOptions(user_id="person-1", device_id="device-1")
    identify = Identify()
    identify.set("plan", "gold").set_once("first", "a").add("visits", 2).append("tags", "x").prepend("tags2", "y")
    bench.sdk.identify(identify, options)
    bench.sdk.set_group("org", ["acme", "globex"], options)
    group = Identify()
    group.set("seats", 10)
    bench.sdk.group_identify("org", "acme", group, options)
    revenue = Revenue(price=3.5, quantity=2, product_id="sku-1", revenue_type="sale")
    bench.sdk.revenue(revenue, options)
    bench.sdk.track(BaseEvent("Viewed", user_id="person-1", device_id="device-1", groups={"org": "acme"}))
    again = Identify()
    again.add("visits", 3).unset("first").post_insert("tags", "z")
    bench.sdk.identify(again, options)
    bench.sdk.track(BaseEvent("Viewed", user_id="person-1", device_id="device-1"))
    bench.flush()
    assert bench.statuses() == [200]
    paid, viewed, later = bench.tank.events()
    assert paid["event_type"] == "revenue_amount"
    given = paid["event"]["event_properties"]
    assert (given["$price"], given["$quantity"], given["$productId"]) == (3.5, 2, "sku-1")
    held = {"plan": "gold", "first": "a", "visits": 2, "tags": ["x"], "tags2": ["y"], "org": ["acme", "globex"]}
    assert viewed["user_properties"] == held
    assert viewed["event"]["groups"] == {"org": "acme"}
    del held["first"]
    assert later["user_properties"] == {**held, "visits": 5, "tags": ["x", "z"]}
    assert len(bench.tank.control("GET", "/amplitude/users").json()["users"]) == 1


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
def test_six_thousand_events_in_one_flush(make_tank: Any, clients: list[Amplitude], path: str) -> None:
    """Uploads of 1,000 go out in parallel; everything is stored once."""
    bench = Bench(make_tank(limits="batch"), 6000, clients, path)
    bench.sdk.configuration.flush_queue_size = 1000
    for n in range(6000):
        bench.sdk.track(BaseEvent("Bulk", user_id=f"person-{n % 97:03d}", insert_id=f"b-{n:04d}"))
    bench.flush()
    assert bench.outcome.done.wait(60)
    assert bench.outcome.codes == {200: 6000}
    assert bench.stored() == [f"b-{n:04d}" for n in range(6000)]


@pytest.mark.parametrize(
    ("wrong", "member"),
    [
        ({"user_id": "anonymous", "device_id": None}, "events_with_invalid_fields"),
        ({"user_id": "abc", "device_id": "device-x"}, "events_with_invalid_id_lengths"),
    ],
)
@pytest.mark.parametrize(("path", "uploads"), [("/2/httpapi", [400, 400, 200]), ("/batch", [400, 200])])
def test_400_drops_what_is_named_and_sends_the_rest(
    tank: Any, clients: list[Amplitude], wrong: dict[str, Any], member: str, path: str, uploads: list[int]
) -> None:
    """HTTP V2 names the first bad event of each field, so every further one costs a round; batch names all."""
    bench = Bench(tank, 1000, clients, path)
    events = people(6)
    events[1] = events[4] = wrong
    bench.track(*events)
    bench.flush()
    assert bench.statuses() == uploads
    assert bench.stored() == bench.sent() == ["i-0", "i-2", "i-3", "i-5"]
    assert [bench.outcome.said[name][0][0] for name in ("i-1", "i-4")] == [400, 400]
    first = tank.control("GET", "/journal", limit=1).json()["entries"][0]
    assert member in first["response_body"]


def test_400_with_missing_fields_of_events(bench: Bench) -> None:
    """The SDK holds back what has no id or type, so the answer is given in the tank's place."""
    body = {
        "code": 400,
        "error": "Request missing required field",
        "events_with_missing_fields": {"event_type": [1, 3], "user_id": [3]},
    }
    bench.fault("status", status=400, body=body)
    bench.sdk.track(BaseEvent("Nobody", insert_id="nobody"))
    bench.track(*people(5))
    bench.flush()
    assert bench.statuses() == [400, 200]
    assert bench.stored() == bench.sent() == ["i-0", "i-2", "i-4"]
    assert bench.outcome.codes == {200: 3, 400: 2}


def test_silenced_devices_are_dropped(bench: Bench) -> None:
    bench.tank.control("PUT", "/amplitude/silenced", {"device_ids": ["device-2"]})
    bench.track(*people(4))
    bench.flush()
    assert bench.statuses() == [400, 200]
    assert bench.stored() == bench.sent() == ["i-0", "i-1", "i-3"]
    assert bench.outcome.said["i-2"] == [(400, "Events silenced for device_id")]


def test_an_invalid_key_drops_everything(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.sdk.configuration.api_key = "0" * 32
    bench.track(*people(3))
    with caplog.at_level(logging.ERROR, "amplitude"):
        bench.flush()
    assert "Invalid API Key" in caplog.text
    assert (bench.outcome.said, bench.stored(), bench.statuses()) == ({}, [], [])


def test_a_missing_field_of_the_request_drops_everything(bench: Bench) -> None:
    body = {"code": 400, "error": "Request missing required field", "missing_field": "api_key"}
    bench.fault("status", status=400, body=body)
    bench.track(*people(3))
    bench.flush()
    assert bench.outcome.codes == {400: 3}
    assert bench.outcome.said["i-0"] == [(400, "Request missing required field api_key")]
    assert bench.stored() == []


def test_413_is_split_until_it_fits(make_tank: Any, clients: list[Amplitude]) -> None:
    """The batch is the configured size over 2, over 3 and so on; a single event that is too large is dropped."""
    tank = make_tank(settings={"amplitude.http_v2.max_body_bytes": 20_000})
    bench = Bench(tank, 1000, clients)
    bench.sdk.configuration.flush_queue_size = 120
    bench.track(*({**each, "event_properties": {"text": "x" * 200}} for each in people(120)))
    bench.flush()
    statuses = bench.statuses()
    assert statuses[0] == 413
    assert statuses.count(413) >= 2
    assert set(statuses) == {200, 413}
    assert bench.stored() == bench.sent()
    assert len(bench.stored()) == 120
    bench.sdk.track(BaseEvent("Huge", user_id="person-1", insert_id="huge", event_properties={"t": ["y" * 900] * 30}))
    bench.flush()
    assert bench.outcome.said["huge"] == [(413, "Payload too large")]
    assert len(bench.stored()) == 120


def test_429_waits_with_what_is_throttled_and_sends_the_rest(make_tank: Any, clients: list[Amplitude]) -> None:
    """30 a second averaged over 5 s are 150 events: the other ten come back after the pause."""
    bench = Bench(make_tank(limits="http-v2"), 150, clients)
    bench.sdk.configuration.flush_interval_millis = 300
    bench.sdk.configuration.flush_queue_size = 160
    bench.track(*[{"device_id": "device-hot"}] * 160)
    assert bench.outcome.done.wait(30)
    first, *rest = bench.statuses()
    assert (first, set(rest)) == (429, {200})
    assert bench.stored() == bench.sent() == sorted(f"i-{n}" for n in range(150))
    bench.tank.advance("30s")
    bench.flush()  # the SDK's own 30 s are real ones: what waits is sent now
    assert bench.statuses() == [429, *rest, 200]
    assert bench.stored() == bench.sent() == sorted(f"i-{n}" for n in range(160))


def test_an_exceeded_daily_quota_drops_that_user_alone(make_tank: Any, clients: list[Amplitude]) -> None:
    tank = make_tank(limits="batch")
    usage = {"users": [{"id": "person-0", "events": 499_999}], "devices": [{"id": "device-1", "events": 500_000}]}
    tank.control("PUT", "/amplitude/usage", usage)
    bench = Bench(tank, 1000, clients, "/batch")
    bench.track(*people(3), {"user_id": "person-0"}, {"device_id": "device-1"}, {"user_id": "person-3"})
    bench.flush()
    assert bench.statuses() == [429, 200]
    assert bench.stored() == bench.sent() == ["i-2", "i-5"]
    for name in ("i-0", "i-1", "i-3", "i-4"):
        assert bench.outcome.said[name] == [(429, "Exceeded daily quota")]


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 502}),
        ("status", {"status": 503}),
        ("status", {"status": 504, "applied": True}),
        ("status", {"status": 500, "applied": True}),
        ("status", {"status": 408}),
        ("status", {"status": 403}),
        ("non_json", {"status": 502}),
        ("throttle_burst", {}),
    ],
)
def test_trouble_is_sent_again_and_stored_once(bench: Bench, kind: str, params: dict[str, Any]) -> None:
    """After a 5xx or a 408 all is sent again, after a 403 too (no index is named), and insert_ids keep it single."""
    bench.fault(kind, times=2, **params)
    bench.track(*people(5))
    bench.flush()
    failed = params.get("status", 429)
    assert bench.statuses() == [failed, failed, 200]
    assert bench.stored() == bench.sent() == [f"i-{n}" for n in range(5)]


def test_the_sdk_gives_events_an_insert_id(bench: Bench) -> None:
    """An applied 500 does not double what the caller gave no insert_id."""
    bench.fault("status", status=500, applied=True)
    bench.track(*({**each, "insert_id": None} for each in people(3)))
    bench.flush()
    assert bench.statuses() == [500, 200]
    assert len(bench.tank.events()) == 3


def test_trouble_that_stays_is_given_up(bench: Bench) -> None:
    bench.sdk.configuration.flush_max_retries = 3
    bench.fault("status", times=100, status=503)
    bench.track(*people(2))
    bench.flush()
    assert bench.statuses() == [503, 503, 503]
    assert bench.outcome.said["i-0"] == [(503, "Event reached max retry times 3.")]
    assert bench.stored() == []


def test_an_unreachable_server_is_tried_again(bench: Bench) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url, port = bench.sdk.configuration.server_url, nobody.getsockname()[1]
        bench.sdk.configuration.server_url = f"http://127.0.0.1:{port}/2/httpapi"
        bench.track(*people(3))
        for future in bench.sdk.flush():
            future.result(60)
    assert bench.outcome.said == {}
    bench.sdk.configuration.server_url = url
    bench.flush()
    assert bench.stored() == bench.sent() == ["i-0", "i-1", "i-2"]
