"""What goes over the wire. Source: Braze docs, Custom HTTP connector for Currents; Setting up Currents,
Testing.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from simulator.braze import currents_feed
from simulator.braze.catalogue import event_types

SEND = {
    "event_type": "users.messages.email.Send",
    "id": "a3b5c7d9-0000-4000-8000-000000000001",
    "time": 1767225600,
    "user": {"user_id": "0123456789abcdef01234567", "external_user_id": "ann", "device_id": "d-1"},
    "properties": {"campaign_name": "Grüße", "send_id": "s-1"},
}


def test_a_batch_is_an_object_of_one_member_events(feed: Any, receiver: Any) -> None:
    feed.emit(SEND, {**SEND, "id": "a3b5c7d9-0000-4000-8000-000000000002"})
    feed.advance(300_000)
    assert receiver.got[0].path == "/feeds/currents"
    one = (
        '{"event_type":"users.messages.email.Send","id":"a3b5c7d9-0000-4000-8000-00000000000%d","time":1767225600,'
        '"user":{"user_id":"0123456789abcdef01234567","external_user_id":"ann","device_id":"d-1"},'
        '"properties":{"campaign_name":"Grüße","send_id":"s-1"}}'
    )
    assert receiver.got[0].body == ('{"events":[' + one % 1 + "," + one % 2 + "]}").encode()


def test_headers_carry_bearer_token_and_version_one(feed: Any, receiver: Any) -> None:
    feed.emit(SEND)
    feed.advance(300_000)
    headers = receiver.got[0].headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == f"Bearer {feed.tank.credential('currents_token')}"
    assert headers["Braze-Currents-Version"] == "1"
    assert "Content-Encoding" not in headers


def test_the_token_is_optional_and_goes_out_as_entered(bench: Any, receiver: Any) -> None:
    bench.configure(url=receiver.url, token="dG9r.en-._~==")
    currents_feed.check(bench.tank)
    bench.configure(token="")
    currents_feed.check(bench.tank)
    assert receiver.got[0].headers["Authorization"] == "Bearer dG9r.en-._~=="
    assert "Authorization" not in receiver.got[1].headers


def test_the_credential_check_has_an_empty_body(feed: Any, receiver: Any) -> None:
    assert currents_feed.check(feed.tank).taken
    receiver.answer = lambda _: 401
    refused = currents_feed.check(feed.tank)
    assert (refused.status, refused.taken) == (401, False)
    assert [each.body for each in receiver.got] == [b"", b""]
    assert receiver.got[0].headers["Braze-Currents-Version"] == "1"
    assert feed.state()["status"] == "running"


def test_send_test_events_sends_one_event_of_each_selected_type(bench: Any, receiver: Any) -> None:
    bench.configure(url=receiver.url, events=["users.messages.email.Click", "Purchase"])
    done = currents_feed.send_test(bench.tank)
    assert done["sent"] == 2
    assert [each.types for each in receiver.got] == [
        {"users.behaviors.Purchase"},
        {"users.messages.email.Click"},
    ]
    for request in receiver.got:
        (event,) = request.events
        assert uuid.UUID(event["user"]["timezone"]).version == 4
        described = event_types()[event["event_type"]]
        assert set(event["properties"]) == set(described.properties) | set(described.own)
    assert isinstance(receiver.got[0].events[0]["properties"]["price"], float)
    assert uuid.UUID(receiver.got[1].events[0]["properties"]["url"])
    totals = bench.totals()
    assert (totals["emitted"], totals["pending"], totals["balanced"]) == (2, 2, True)


def test_a_refused_test_event_is_not_sent_again(bench: Any, receiver: Any) -> None:
    bench.configure(url=receiver.url, events=["Uninstall"])
    receiver.answer = lambda _: 500
    (answer,) = currents_feed.send_test(bench.tank)["answers"]
    bench.advance(3_600_000)
    assert answer["status"] == 500
    assert bench.fates() == {answer["id"]: "test event was refused"}
    assert len(receiver.got) == 1


def test_checking_needs_a_connector(bench: Any) -> None:
    with pytest.raises(ValueError, match="no Currents connector is set up"):
        currents_feed.check(bench.tank)
    with pytest.raises(ValueError, match="no Currents connector is set up"):
        currents_feed.send_test(bench.tank)
