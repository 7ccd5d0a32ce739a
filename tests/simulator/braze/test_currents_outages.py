"""Trouble end to end: what the connector receives and what becomes of events. Source: Braze docs, Amplitude
for Currents (48 hours); Currents integration for partners; Custom HTTP connector for Currents (2026).
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

HOUR = 3_600_000
MINUTE = 60_000
CLICK = "users.messages.email.Click"
STOPPED = "connector refused the credentials for more than 48 hours"


def quicker(bench: Any) -> None:
    """Probe every four hours: the rules are the same and the test is short."""
    bench.set(probe_min_s=14_000, probe_max_s=14_400)


def test_a_single_bad_event_of_a_batch_is_lost_alone(feed: Any, receiver: Any) -> None:
    bad = {"event_type": CLICK, "id": "bad"}
    receiver.answer = lambda request: 400 if "bad" in request.ids else 200
    good = feed.emit_many(6, CLICK)
    feed.emit(bad)
    good += feed.emit_many(5, CLICK)
    feed.advance(5 * MINUTE)
    assert [len(each.events) for each in receiver.got] == [12] + [1] * 12
    assert feed.fates() == {
        **dict.fromkeys(good, "taken by the connector"),
        "bad": "refused alone by the connector with 400",
    }
    totals = feed.totals()
    assert (totals["dropped"], totals["pending"], totals["balanced"]) == (1, 11, True)
    mail = {"at": "2026-01-01T00:05:00.000Z", "text": "e-mail to the customer: the connector answered 400"}
    assert feed.state()["notices"][0] == mail


def test_413_halves_until_it_fits(feed: Any, receiver: Any) -> None:
    receiver.answer = lambda request: 413 if len(request.events) > 30 else 200
    ids = feed.emit_many(100)
    feed.settle()
    assert [len(each.events) for each in receiver.got] == [100, 50, 25, 25, 50, 25, 25]
    taken = [one for each in receiver.got if len(each.events) == 25 for one in each.ids]
    assert taken == ids
    assert feed.state()["counters"]["taken"] == 100


def test_a_batch_is_sent_again_as_it_was(feed: Any, receiver: Any) -> None:
    answers = iter([503, None, 429, 200])
    receiver.answer = lambda _: next(answers, 200)
    feed.emit_many(3)
    feed.advance(5 * MINUTE)
    feed.emit_many(2)
    feed.advance(2 * MINUTE)
    assert len({each.body for each in receiver.got[:4]}) == 1
    assert len(receiver.got[0].events) == 3
    feed.advance(5 * MINUTE)
    assert [len(each.events) for each in receiver.got] == [3, 3, 3, 3, 2]
    assert feed.state()["counters"] == {"batches": 5, "resent": 3, "taken": 5}


@pytest.mark.parametrize(("back_after_ms", "kept"), [(24 * HOUR - MINUTE, True), (24 * HOUR + MINUTE, False)])
def test_retries_end_after_24_hours(feed: Any, receiver: Any, back_after_ms: int, kept: bool) -> None:
    feed.set(backoff_cap_s=7200)
    receiver.answer = lambda _: 503
    (id_,) = feed.emit_many(1)
    feed.advance(5 * MINUTE + back_after_ms)
    receiver.answer = lambda _: 200
    feed.advance(2 * HOUR)
    assert (feed.fates()[id_] == "taken by the connector") is kept
    if not kept:
        assert feed.fates()[id_] == "connector did not take it for 24 hours"
    later = feed.emit_many(1)
    feed.advance(2 * HOUR)
    assert receiver.ids()[-1:] == later


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize(("mended_after_ms", "kept"), [(48 * HOUR - MINUTE, True), (48 * HOUR + MINUTE, False)])
def test_bad_credentials_lose_everything_after_48_hours(
    feed: Any, receiver: Any, status: int, mended_after_ms: int, kept: bool
) -> None:
    quicker(feed)
    receiver.answer = lambda _: status
    early = feed.emit_many(3)
    feed.advance(5 * MINUTE)
    late = feed.emit_many(150, CLICK)
    assert feed.state()["status"] == "failed"
    feed.advance(mended_after_ms)
    receiver.answer = lambda _: 200
    sent_before = len(receiver.got)
    feed.advance(4 * HOUR)
    state, fates = feed.state(), feed.fates()
    if kept:
        assert {fates[id_] for id_ in early + late} == {"taken by the connector"}
        assert (state["status"], state["failed_since"], state["queues"]) == ("running", None, {})
    else:
        assert {fates[id_] for id_ in early + late} == {STOPPED}
        assert (state["status"], state["lost"], state["queues"]) == ("failed", True, {})
        assert len(receiver.got) == sent_before
    assert feed.totals()["balanced"]


def test_a_halted_connector_sends_no_other_queue(feed: Any, receiver: Any) -> None:
    quicker(feed)
    receiver.answer = lambda _: 401
    feed.emit_many(1)
    feed.advance(5 * MINUTE)
    feed.emit_many(100, CLICK)
    feed.advance(10 * MINUTE)
    assert len(receiver.got) == 1


def test_the_halted_connector_is_tried_every_2_to_5_minutes_with_what_waited_longest(feed: Any, receiver: Any) -> None:
    receiver.answer = lambda _: 401
    feed.emit_many(1)
    feed.emit_many(100, CLICK)
    times: list[int] = []
    original = receiver.answer
    receiver.answer = lambda request: (times.append(feed.now()), original(request))[1]
    feed.advance(2 * HOUR)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) > 20
    assert all(120_000 <= gap <= 300_000 for gap in gaps)
    assert receiver.got[0].types == {CLICK}, "the full batch was refused first"
    assert {frozenset(each.types) for each in receiver.got[1:]} == {frozenset({"users.messages.email.Send"})}


def test_after_the_loss_new_events_are_lost_until_the_connector_is_saved_anew(feed: Any, receiver: Any) -> None:
    quicker(feed)
    receiver.answer = lambda _: 401
    feed.emit_many(1)
    feed.advance(49 * HOUR)
    receiver.answer = lambda _: 200
    (lost,) = feed.emit_many(1)
    assert feed.fates()[lost] == STOPPED
    feed.configure(token="new-token")
    (kept,) = feed.emit_many(1)
    feed.advance(5 * MINUTE)
    assert receiver.got[-1].headers["Authorization"] == "Bearer new-token"
    assert receiver.got[-1].ids == [kept]
    assert feed.state()["status"] == "running"


def test_the_connector_may_start_over_after_the_loss(feed: Any, receiver: Any) -> None:
    quicker(feed)
    feed.set(after_loss="start_over")
    receiver.answer = lambda _: 401
    (lost,) = feed.emit_many(1)
    feed.advance(49 * HOUR)
    receiver.answer = lambda _: 200
    (kept,) = feed.emit_many(1)
    feed.advance(5 * MINUTE)
    assert (feed.fates()[lost], receiver.ids()[-1]) == (STOPPED, kept)


def test_replacing_the_key_within_48_hours_sends_what_is_queued(feed: Any, receiver: Any) -> None:
    receiver.answer = lambda request: 200 if request.headers["Authorization"] == "Bearer right" else 401
    ids = feed.emit_many(120)
    feed.settle()
    feed.configure(token="right")
    feed.advance(5 * MINUTE)
    assert {feed.fates()[id_] for id_ in ids} == {"taken by the connector"}


def test_a_probe_without_an_answer_keeps_the_48_hours_running(feed: Any, receiver: Any) -> None:
    quicker(feed)
    receiver.answer = lambda _: 401
    (id_,) = feed.emit_many(1)
    feed.advance(6 * MINUTE)
    receiver.answer = lambda _: None
    feed.advance(48 * HOUR)
    assert feed.fates()[id_] == STOPPED


def test_2026_loses_the_refused_batch_and_keeps_the_rest_for_7_days(feed: Any, receiver: Any) -> None:
    feed.configure(profile="2026")
    receiver.answer = lambda _: 403
    refused = feed.emit_many(100)
    feed.settle()
    waiting = feed.emit_many(2, CLICK)
    feed.advance(5 * 24 * HOUR - MINUTE)
    assert feed.state()["status"] == "failed"
    assert len(receiver.got) == 1
    feed.advance(MINUTE)
    assert feed.state()["status"] == "disabled"
    feed.advance(2 * 24 * HOUR - MINUTE)
    assert set(feed.state()["queues"]) == {CLICK}
    feed.advance(MINUTE)
    fates = feed.fates()
    not_again = "connector refused the credentials; refused events are not sent again"
    assert {fates[id_] for id_ in refused} == {not_again}
    assert {fates[id_] for id_ in waiting} == {"connector is disabled and its queue has expired"}
    assert feed.totals()["balanced"]


def test_2026_sends_on_when_it_is_enabled_again(feed: Any, receiver: Any) -> None:
    feed.configure(profile="2026")
    feed.set(backoff_cap_s=14_400)
    receiver.answer = lambda _: 500
    ids = feed.emit_many(100)
    feed.advance(6 * 24 * HOUR)
    assert feed.state()["status"] == "disabled"
    receiver.answer = lambda _: 200
    sent = len(receiver.got)
    feed.advance(HOUR)
    assert len(receiver.got) == sent
    feed.configure()
    feed.settle()
    assert receiver.got[-1].ids == ids
    assert feed.state()["status"] == "running"
