"""Which events are exported at all. Source: Braze docs, Setting up Currents (tick boxes, 900 KB); Currents
FAQ (nothing is sent that happened before launch, no replay).
"""

from __future__ import annotations

from typing import Any

import pytest

CLICK = "users.messages.email.Click"


def test_unselected_events_are_never_sent(bench: Any, receiver: Any) -> None:
    bench.configure(url=receiver.url, events=[CLICK, "Canvas Entry"])
    wanted = bench.emit({"event_type": CLICK}, {"event_type": "users.canvas.Entry"})
    (unwanted,) = bench.emit({"event_type": "users.messages.email.Open"})
    bench.advance(300_000)
    assert sorted(receiver.ids()) == sorted(wanted)
    assert bench.fates()[unwanted] == "event type is not selected in the connector"
    assert bench.state()["counters"]["unselected"] == 1
    bench.configure(events="all")
    bench.advance(86_400_000)
    assert sorted(receiver.ids()) == sorted(wanted)


def test_an_unknown_selection_is_refused_in_one_line(bench: Any, receiver: Any) -> None:
    with pytest.raises(ValueError, match=r"event 'Email Opens' is not exported by Currents: use .*$"):
        bench.configure(url=receiver.url, events=["Email Open", "Email Opens"])
    with pytest.raises(ValueError, match="neither"):
        bench.configure(url=receiver.url, events="most")
    assert bench.state()["status"] == "off"


def test_nothing_that_happened_before_launch_is_sent(bench: Any, receiver: Any) -> None:
    (early,) = bench.emit({"event_type": CLICK})
    bench.configure(url=receiver.url)
    bench.advance(86_400_000)
    assert receiver.got == []
    assert bench.fates() == {early: "no Currents connector is set up"}


def test_an_event_of_more_than_900_kb_is_dropped(feed: Any, receiver: Any) -> None:
    event = {
        "event_type": "users.behaviors.CustomEvent",
        "properties": {"name": "x", "custom_properties": {"a": ""}},
    }
    large = {**event, "properties": {"name": "x", "custom_properties": {"a": "b" * 900_000}}}
    fits = {**event, "properties": {"name": "x", "custom_properties": {"a": "b" * 890_000}}}
    dropped, kept = feed.emit(large, fits)
    feed.advance(300_000)
    assert receiver.ids() == [kept]
    assert feed.fates()[dropped] == "event is larger than 900 KB"


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "no url"),
        ({"url": "ftp://127.0.0.1/"}, "no url"),
        ({"url": "http://127.0.0.1:1/", "profile": "2030"}, "profile '2030' is unknown"),
        ({"url": "http://127.0.0.1:1/", "batch_size": 101}, "batch_size 101 does not fit"),
        ({"url": "http://127.0.0.1:1/", "batch_size": 0}, "batch_size 0 does not fit"),
        ({"url": "http://127.0.0.1:1/", "token": 5}, "token 5 is not text"),
    ],
)
def test_an_unfit_set_up_is_refused_and_changes_nothing(bench: Any, config: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        bench.configure(**config)
    assert bench.state() == {"status": "off", "url": None, "queues": {}, "counters": {}}


def test_editing_a_live_connector_keeps_what_is_left_out(feed: Any, receiver: Any) -> None:
    feed.configure(profile="2026", batch_size=5)
    feed.emit_many(3)
    edited = feed.configure(events=[CLICK])
    assert (edited["url"], edited["profile"], edited["batch_size"]) == (receiver.url, "2026", 5)
    feed.advance(300_000)
    assert len(receiver.ids()) == 3
