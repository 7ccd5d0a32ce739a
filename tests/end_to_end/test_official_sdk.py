"""The official Amplitude Python SDK, unmodified, against a tank whose clock runs in real time."""

from __future__ import annotations

from typing import Any

import pytest
from amplitude import BaseEvent
from sdk_client import Outcome, client

pytestmark = pytest.mark.filterwarnings("ignore")


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
