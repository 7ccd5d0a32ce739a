"""The official Amplitude Python SDK, unmodified, against a tank whose clock runs in real time."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from amplitude import Amplitude, BaseEvent

pytestmark = pytest.mark.filterwarnings("ignore")


class Outcome:
    """What the SDK said of each event."""

    def __init__(self, expected: int) -> None:
        self.codes: Counter[int] = Counter()
        self._left = expected
        self._lock = threading.Lock()
        self.done = threading.Event()

    def __call__(self, event: Any, code: int, message: str = "") -> None:
        with self._lock:
            self.codes[code] += 1
            self._left -= 1
            if self._left <= 0:
                self.done.set()


def client(tank: Any, outcome: Outcome) -> Amplitude:
    made = Amplitude(tank.key)
    made.configuration.server_url = f"{tank.amplitude}/2/httpapi"
    made.configuration.callback = outcome
    made.configuration.flush_interval_millis = 200
    return made


def test_five_thousand_events_of_fifty_users(make_tank: Any) -> None:
    tank = make_tank(limits="batch", clock={"mode": "real"})
    outcome = Outcome(5000)
    sdk = client(tank, outcome)
    for n in range(5000):
        sdk.track(
            BaseEvent(
                "Checked Out",
                user_id=f"person-{n % 50:04d}",
                device_id=f"device-{n % 50:04d}",
                insert_id=f"sdk-{n}",
                event_properties={"n": n},
            )
        )
    assert outcome.done.wait(60)
    sdk.shutdown()
    assert outcome.codes == {200: 5000}
    assert sorted(event["event"]["event_properties"]["n"] for event in tank.events()) == list(range(5000))
    assert len(tank.control("GET", "/amplitude/users").json()["users"]) == 50


def test_a_hot_device_is_throttled_and_loses_nothing(make_tank: Any) -> None:
    """HTTP V2 lets a device have 30 events a second, averaged; the SDK waits 30 s with what was throttled."""
    tank = make_tank(limits="http-v2", clock={"mode": "real"})
    outcome = Outcome(200)
    sdk = client(tank, outcome)
    for n in range(200):
        sdk.track(BaseEvent("Loop", device_id="device-hot", insert_id=f"hot-{n}", event_properties={"n": n}))
    assert outcome.done.wait(90)
    sdk.shutdown()
    journal = tank.control("GET", "/journal", limit=1000).json()["entries"]
    assert 429 in {entry["status"] for entry in journal}
    assert outcome.codes == {200: 200}
    assert sorted(event["event"]["event_properties"]["n"] for event in tank.events()) == list(range(200))
