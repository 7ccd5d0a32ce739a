"""Timeouts, failures, order and the seven days of a reporting webhook.

Source: Customer.io's OpenAPI document of reporting webhooks, timeouts and failures (2026-08); the figures of the backoff
are inferred and stand in settings.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from simulator import clock, customerio
from simulator.customerio import retrying
from simulator.customerio.retrying import Progress, Rules
from simulator.settings import Settings
from simulator.tank import Tanks

MINUTE, HOUR, DAY = 60, 3600, 86_400
LISTED = (400, 401, 402, 403, 404, 405, 410, 429, 500, 502, 521)


def waits(statuses: Any, broken: bool = False, **settings: Any) -> list[float]:
    """Seconds between the attempts of a report that gets these answers."""
    rules = Rules.of(Settings({f"customerio.retry.{k}": v for k, v in settings.items()}))
    progress, now_ms, found = Progress(), 0, []
    for status in statuses:
        step = retrying.answered(progress, status, broken and status is None, 0, now_ms, rules)
        if step.end != "pending":
            break
        assert step.progress.resume_ms is not None
        found.append((step.progress.resume_ms - now_ms) / 1000)
        progress, now_ms = step.progress, step.progress.resume_ms
    return found


@pytest.mark.parametrize("status", LISTED)
def test_the_listed_answers_pause_for_an_hour_before_the_first_retry(status: int) -> None:
    assert waits([status] * 5) == [HOUR, MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert waits([status] * 3, after_pause="continue") == [HOUR, 2 * MINUTE, 4 * MINUTE]


def test_a_broken_connection_counts_as_a_listed_answer() -> None:
    assert waits([None] * 3, broken=True) == [HOUR, MINUTE, 2 * MINUTE]


@pytest.mark.parametrize("status", [None, 301, 409, 422, 503, 504])
def test_timeouts_and_other_answers_wait_shortly(status: int | None) -> None:
    found = waits([status] * 12)
    assert found[:9] == [MINUTE * 2**n for n in range(9)]
    assert found[9:] == [8 * HOUR] * 3


def test_the_pause_is_before_the_first_retry_only() -> None:
    assert waits([503, 500, 500]) == [MINUTE, 2 * MINUTE, 4 * MINUTE]


def test_the_last_attempt_takes_place_at_the_end_of_seven_days() -> None:
    for statuses in ([500] * 100, [None] * 100):
        found = waits(statuses)
        assert sum(found) == 7 * DAY
        assert max(found[1:]) <= 8 * HOUR


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    assert retrying.answered(Progress(), status, False, 0, 0, Rules.of(Settings({}))).end == "delivered"


# -- end to end


def signed(received: Any, key: str) -> bool:
    stamp = received.headers["X-CIO-Timestamp"]
    expected = hmac.new(key.encode(), b"v0:" + stamp.encode() + b":" + received.body, hashlib.sha256).hexdigest()
    return bool(received.headers["X-CIO-Signature"] == expected)


def test_a_report_is_one_signed_object(hooked: Any, receiver: Any) -> None:
    hooked.report({"object_type": "email", "metric": "sent"})
    hooked.settle()
    (got,) = receiver.got
    assert isinstance(got.report, dict)
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["X-CIO-Timestamp"] == str(hooked.now() // 1000)
    assert len(got.headers["X-CIO-Signature"]) == 64
    assert signed(got, hooked.tank.credential("customerio_signing_key"))


def test_a_retry_is_the_same_body_signed_anew(hooked: Any, receiver: Any) -> None:
    receiver.answer = lambda _: 503 if len(receiver.got) < 3 else 200
    hooked.report({"object_type": "email", "metric": "sent"})
    hooked.advance(HOUR)
    key = hooked.tank.credential("customerio_signing_key")
    assert len({each.body for each in receiver.got}) == 1
    assert [each.headers["X-CIO-Timestamp"] for each in receiver.got] == [
        str(1_767_225_600 + at) for at in (0, MINUTE, 3 * MINUTE)
    ]
    assert all(signed(each, key) for each in receiver.got)


def test_a_retry_repeats_the_first_signature_when_it_is_set_so(hooked: Any, receiver: Any) -> None:
    hooked.set(**{"webhook.resign": False})
    receiver.answer = lambda _: 503 if len(receiver.got) < 3 else 200
    hooked.report({"object_type": "email", "metric": "sent"})
    hooked.advance(HOUR)
    assert len({each.headers["X-CIO-Signature"] for each in receiver.got}) == 1
    assert len(receiver.got) == 3


def test_later_reports_wait_behind_a_failing_one(hooked: Any, receiver: Any) -> None:
    ids = hooked.report_many(3)
    receiver.answer = lambda request: 500 if request.id == ids[0] and hooked.now() < 1_767_225_600_000 + HOUR else 200
    hooked.settle()
    assert receiver.ids() == ids[:1]
    more = hooked.report_many(2)
    hooked.advance(HOUR - 1)
    assert receiver.ids() == ids[:1]
    receiver.answer = lambda _: 200
    hooked.advance(1)
    assert receiver.ids() == [ids[0], *ids, *more]


def test_a_day_of_a_dead_receiver_costs_nothing(hooked: Any, receiver: Any) -> None:
    """Everything arrives, once, in order; the receiver is back after a day and takes it within the longest wait."""
    url, hooks = receiver.url, "http://127.0.0.1:9/feeds/customerio"
    hooked.configure(url=hooks)
    ids = []
    for _ in range(4):
        ids += hooked.report_many(5)
        hooked.advance(6 * HOUR)
    assert receiver.got == []
    hooked.configure(url=url)
    hooked.advance(8 * HOUR)
    assert receiver.ids() == ids
    assert hooked.totals() == {"emitted": 20, "delivered": 20, "pending": 0, "given_up": 0, "not_selected": 0}


def test_seven_days_lose_the_report_at_the_head_alone(hooked: Any, receiver: Any) -> None:
    receiver.answer = lambda _: 500
    ids = hooked.report_many(20)
    hooked.advance(7 * DAY)
    assert hooked.ends() == {ids[0]: "given_up", **dict.fromkeys(ids[1:], "pending")}
    receiver.answer = lambda _: 200
    hooked.advance(8 * HOUR)
    assert receiver.ids()[-19:] == ids[1:]
    assert hooked.totals() == {"emitted": 20, "delivered": 19, "pending": 0, "given_up": 1, "not_selected": 0}
    totals = hooked.ledger()["totals"]
    assert (totals["emitted"], totals["dropped"], totals["balanced"]) == (20, 1, True)
    assert totals["reasons"]["dropped: the receiver did not take it for seven days"] == 1


def test_seven_days_lose_everything_when_they_count_from_the_queue(hooked: Any, receiver: Any) -> None:
    hooked.set(**{"retry.give_up_from": "queued"})
    receiver.answer = lambda _: 500
    hooked.report_many(20)
    hooked.advance(7 * DAY)
    receiver.answer = lambda _: 200
    later = hooked.report_many(1)
    hooked.advance(HOUR)
    assert hooked.totals() == {"emitted": 21, "delivered": 1, "pending": 0, "given_up": 20, "not_selected": 0}
    assert receiver.ids()[-1:] == later


def test_a_lost_answer_makes_a_duplicate_an_hour_later(hooked: Any, receiver: Any) -> None:
    hooked.fault("reset_after")
    ids = hooked.report_many(2)
    hooked.advance(HOUR)
    assert receiver.ids() == [ids[0], ids[0], ids[1]]
    assert [(each.tank_ms - receiver.got[0].tank_ms) // 1000 for each in receiver.got] == [0, HOUR, HOUR]


def test_a_late_answer_is_a_timeout(hooked: Any, receiver: Any) -> None:
    hooked.fault("late_answer")
    ids = hooked.report_many(1)
    hooked.advance(MINUTE)
    assert receiver.ids() == ids * 2
    assert receiver.got[1].tank_ms - receiver.got[0].tank_ms == MINUTE * 1000


@pytest.mark.parametrize(("ms", "times"), [(5, 1), (3_600_000, 2)])
def test_latency_makes_an_answer_late_from_four_seconds_on(hooked: Any, receiver: Any, ms: int, times: int) -> None:
    hooked.fault("latency", ms=ms)
    ids = hooked.report_many(1)
    hooked.advance(MINUTE)
    assert receiver.ids() == ids * times


def test_a_receiver_that_takes_too_long(hooked: Any, receiver: Any) -> None:
    hooked.set(**{"webhook.timeout_s": 0.5})
    receiver.answer = lambda _: clock.real_sleep(0.8) or 200 if len(receiver.got) == 1 else 200  # type: ignore[func-returns-value]
    ids = hooked.report_many(1)
    hooked.advance(MINUTE)
    assert receiver.ids() == ids * 2


def test_webhooks_do_not_wait_for_each_other(hooked: Any, receiver: Any) -> None:
    made = hooked.app("POST", "/v1/reporting_webhooks", {"name": "b", "endpoint": receiver.url + "/b",
                                                       "events": ["email_delivered"]}).json  # fmt: skip
    receiver.answer = lambda request: 200 if request.path.endswith("/b") else 500
    ids = hooked.report_many(3)
    hooked.advance(1)
    assert [each.id for each in receiver.got if each.path.endswith("/b")] == ids
    assert [each.id for each in receiver.got if not each.path.endswith("/b")] == ids[:1]
    shown = {each["id"]: each for each in hooked.configure(name="a")["webhooks"]}
    keys = {each["signing_key"] for each in shown.values()}
    assert len(keys) == 2
    for each in receiver.got:
        assert signed(each, shown[made["id"] if each.path.endswith("/b") else 1]["signing_key"])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_duplicates_when_they_are_asked_for(hooked: Any, receiver: Any, share: float) -> None:
    hooked.set(**{"webhook.duplicate_share": share})
    ids = hooked.report_many(3)
    hooked.settle()
    assert receiver.ids() == [each for each in ids for _ in range(1 + int(share))]


def test_the_queue_survives_a_restart(tmp_path: Path, receiver: Any, opened: Any) -> None:
    tanks = Tanks(tmp_path / "state.db")
    before = opened(tanks, "kept")
    before.configure(url="http://127.0.0.1:9/feeds/customerio")
    ids = before.report_many(3)
    before.advance(30 * MINUTE)
    before.keeper.stop()
    tanks.close()

    tanks = Tanks(tmp_path / "state.db")
    after = opened(tanks, "kept")
    after.configure(url=receiver.url)
    after.advance(30 * MINUTE - 1)
    assert receiver.got == []
    after.advance(1)
    assert receiver.ids() == ids
    after.keeper.stop()
    tanks.close()


def test_a_killed_process_sends_again(hooked: Any, receiver: Any) -> None:
    """The answer came, the note of it did not: the same report goes out once more, with the same id."""
    ids = hooked.report_many(1)
    handler = customerio.TIMERS["customerio.post"]
    handler(hooked.tank, {"webhook_id": 1}, hooked.now())
    with hooked.tank.store.write() as conn:
        conn.exec_driver_sql("UPDATE customerio_posts SET state = 'pending'")
    handler(hooked.tank, {"webhook_id": 1}, hooked.now())
    assert receiver.ids() == ids * 2
