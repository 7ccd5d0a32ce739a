"""When a batch leaves. Source: Braze docs, Currents FAQ (full, or after 5 minutes); Custom HTTP connector
(100 events); Currents integration for partners (a queue per event type).
"""

from __future__ import annotations

from typing import Any

OPEN = "users.messages.email.Open"
SEND = "users.messages.email.Send"


def test_a_lone_event_leaves_after_five_minutes(feed: Any, receiver: Any) -> None:
    feed.emit_many(1)
    feed.advance(299_999)
    assert receiver.got == []
    feed.advance(1)
    assert [len(each.events) for each in receiver.got] == [1]


def test_the_five_minutes_count_from_the_first_event_of_the_batch(feed: Any, receiver: Any) -> None:
    feed.emit_many(1)
    feed.advance(240_000)
    feed.emit_many(2)
    feed.advance(60_000)
    assert [len(each.events) for each in receiver.got] == [3]


def test_a_full_batch_leaves_at_once_and_the_rest_waits(feed: Any, receiver: Any) -> None:
    feed.emit_many(99)
    feed.settle()
    assert receiver.got == []
    ids = feed.emit_many(151)
    feed.settle()
    assert [len(each.events) for each in receiver.got] == [100, 100]
    feed.advance(299_999)
    assert len(receiver.got) == 2
    feed.advance(1)
    assert [len(each.events) for each in receiver.got] == [100, 100, 50]
    assert receiver.ids()[99:] == ids


def test_batch_size_and_waiting_time_can_be_set(feed: Any, receiver: Any) -> None:
    feed.set(batch_wait_s=10)
    feed.configure(batch_size=7)
    feed.emit_many(10)
    feed.settle()
    assert [len(each.events) for each in receiver.got] == [7]
    feed.advance(10_000)
    assert [len(each.events) for each in receiver.got] == [7, 3]


def test_every_event_type_has_its_own_queue(feed: Any, receiver: Any) -> None:
    feed.emit_many(60, SEND)
    feed.emit_many(60, OPEN)
    feed.settle()
    assert receiver.got == []
    assert {type_: each["pending"] for type_, each in feed.state()["queues"].items()} == {OPEN: 60, SEND: 60}
    feed.emit_many(40, OPEN)
    feed.settle()
    assert [each.types for each in receiver.got] == [{OPEN}]
    feed.advance(300_000)
    assert [each.types for each in receiver.got] == [{OPEN}, {SEND}]


def test_a_queue_that_backs_off_does_not_hold_up_the_others(feed: Any, receiver: Any) -> None:
    receiver.answer = lambda request: 503 if SEND in request.types else 200
    feed.emit_many(100, SEND)
    feed.emit_many(100, OPEN)
    feed.settle()
    assert [each.types for each in receiver.got] == [{SEND}, {OPEN}]
    assert set(feed.state()["queues"]) == {SEND}


def test_batches_due_at_the_same_instant_leave_in_one_order(feed: Any, receiver: Any) -> None:
    types = [
        "users.messages.sms.Send",
        "users.behaviors.Uninstall",
        "users.canvas.Entry",
        "users.messages.email.Send",
    ]
    for type_ in types:
        feed.emit_many(1, type_)
    feed.emit(*({"event_type": type_} for type_ in types))
    feed.advance(300_000)
    assert [each.types for each in receiver.got] == [{type_} for type_ in sorted(types)]


def test_events_keep_their_order_within_a_queue(feed: Any, receiver: Any) -> None:
    ids = feed.emit_many(250)
    feed.advance(300_000)
    assert receiver.ids() == ids
    assert feed.state()["counters"] == {"batches": 3, "taken": 250}
    assert feed.state()["queues"] == {}
