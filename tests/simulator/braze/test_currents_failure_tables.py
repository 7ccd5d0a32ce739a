"""The failure table, row by row and profile by profile. Source: Braze docs, Currents integration for partners
(January 2021; later version); Custom HTTP connector for Currents (2026)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.braze.currents import Connector, Queue, answered, deadline_ms, due_ms, overdue, shortened
from simulator.braze.profiles import DEFAULT, Rules, profiles, rules

HOUR = 3_600_000
DAY = 24 * HOUR
T0 = 1_767_225_600_000
ROWS = {
    # answer: (2021, late, 2026)
    200: ("deliver", "deliver", "deliver"),
    201: ("deliver", "deliver", "deliver"),
    204: ("deliver", "deliver", "deliver"),
    500: ("retry", "retry", "retry"),
    502: ("retry", "retry", "retry"),
    503: ("retry", "retry", "retry"),
    400: ("split", "split", "split"),
    401: ("halt", "halt", "halt_lossy"),
    403: ("halt", "halt", "halt_lossy"),
    404: ("retry", "halt", "halt_lossy"),
    413: ("halve", "halve", "halve"),
    429: ("retry", "retry", "retry"),
    409: ("retry", "retry", "retry"),
    422: ("retry", "retry", "retry"),
    302: ("retry", "retry", "retry"),
    None: ("retry", "retry", "retry"),
}


def rule(profile: str, **changes: object) -> Rules:
    return replace(Rules(profiles()[profile]), **changes)  # type: ignore[arg-type]


def answer(
    profile: str,
    status: int | None,
    *,
    size: int = 100,
    queue: Queue | None = None,
    connector: Connector | None = None,
    now_ms: int = T0,
    oldest_ms: int = T0,
) -> object:
    return answered(
        queue or Queue(),
        connector or Connector(),
        size,
        oldest_ms,
        status,
        now_ms,
        rule(profile),
        random.Random(1),
    )


@pytest.mark.parametrize("status", list(ROWS))
@pytest.mark.parametrize(("column", "profile"), list(enumerate(("2021", "late", "2026"))))
def test_what_each_answer_earns(status: int | None, column: int, profile: str) -> None:
    assert rule(profile).act(status) == ROWS[status][column]


@pytest.mark.parametrize("profile", ["2021", "late", "2026"])
def test_2xx_delivers_the_batch_and_ends_all_trouble(profile: str) -> None:
    trouble = Connector("failed", refused_ms=T0, failing_ms=T0, mailed=True)
    step = answered(Queue((100, 7), 0, 3, T0, T0), trouble, 100, T0, 202, T0 + 5, rule(profile), random.Random(1))
    assert (step.taken, step.dropped, step.queue) == (100, 0, Queue((7,)))
    assert step.connector == Connector(taken_ms=T0 + 5)


@pytest.mark.parametrize("profile", ["2021", "late", "2026"])
def test_400_splits_into_batches_of_one(profile: str) -> None:
    step = answered(Queue(), Connector(), 3, T0, 400, T0, rule(profile), random.Random(1))
    assert (step.queue.parts, step.dropped) == ((1, 1, 1), 0)
    alone = answered(step.queue, step.connector, 1, T0, 400, T0, rule(profile), random.Random(1))
    assert (alone.dropped, alone.reason, alone.queue.parts) == (
        1,
        "refused alone by the connector with 400",
        (1, 1),
    )


def test_400_on_a_batch_of_one_re_sends_it_once() -> None:
    first = answered(Queue(), Connector(), 1, T0, 400, T0, rule("late"), random.Random(1))
    assert (first.dropped, first.queue.parts) == (0, (1,))
    second = answered(first.queue, Connector(), 1, T0, 400, T0, rule("late"), random.Random(1))
    assert second.dropped == 1


@pytest.mark.parametrize("profile", ["2021", "late", "2026"])
def test_413_re_sends_smaller_batches(profile: str) -> None:
    step = answered(Queue((5, 9)), Connector(), 5, T0, 413, T0, rule(profile), random.Random(1))
    assert (step.queue.parts, step.dropped) == ((3, 2, 9), 0)
    alone = answered(Queue((1,)), Connector(), 1, T0, 413, T0, rule(profile), random.Random(1))
    assert (alone.dropped, alone.reason) == (1, "too large alone for the connector (413)")


@pytest.mark.parametrize("status", [500, 429, None])
@pytest.mark.parametrize("profile", ["2021", "late", "2026"])
def test_retries_back_off_exponentially_with_jitter(profile: str, status: int | None) -> None:
    queue, now, pauses = Queue(), T0, []
    for _ in range(12):
        step = answered(queue, Connector(), 10, T0, status, now, rule(profile), random.Random(now))
        queue = step.queue
        assert queue.resume_ms is not None
        pauses.append(queue.resume_ms - now)
        now = queue.resume_ms
        assert (step.taken, step.dropped, step.lose, queue.parts) == (0, 0, False, (10,))
    wanted = [min(10_000 * 2**n, 900_000) for n in range(12)]
    assert all(0.8 * want <= pause <= want for pause, want in zip(pauses, wanted, strict=True))
    assert len({pause / want for pause, want in zip(pauses, wanted, strict=True)}) > 6


@pytest.mark.parametrize("profile", ["2021", "late"])
def test_retried_events_are_lost_after_24_hours(profile: str) -> None:
    queue = Queue((10,), 0, 40, T0, T0)
    before = answered(queue, Connector(), 10, T0 - 1, 503, T0 + DAY - 60_000, rule(profile), random.Random(1))
    assert before.cutoff_ms is None
    assert before.queue.resume_ms == T0 + DAY, "a last try takes place at the very end"
    after = answered(queue, Connector(), 10, T0 - 1, 503, T0 + DAY, rule(profile), random.Random(1))
    assert (after.cutoff_ms, after.reason) == (T0, "connector did not take it for 24 hours")


def test_an_event_queued_during_the_trouble_has_its_own_24_hours() -> None:
    queue = Queue((), 0, 40, T0, T0)
    step = answered(queue, Connector(), 10, T0 + HOUR, 503, T0 + DAY, rule("late"), random.Random(1))
    assert step.cutoff_ms is None


def test_2026_retries_for_5_days_and_is_disabled_then() -> None:
    trouble = Connector(failing_ms=T0)
    queue = Queue((10,), 0, 40, T0, T0)
    step = answered(queue, trouble, 10, T0, 503, T0 + 5 * DAY - 60_000, rule("2026"), random.Random(1))
    assert (step.connector.status, step.queue.resume_ms) == ("running", T0 + 5 * DAY)
    step = answered(queue, trouble, 10, T0, 503, T0 + 5 * DAY, rule("2026"), random.Random(1))
    assert (step.connector.status, step.dropped, step.lose) == ("disabled", 0, False)
    assert deadline_ms(step.connector, rule("2026")) == T0 + 7 * DAY
    assert overdue(step.connector, T0 + 7 * DAY - 1, rule("2026")) == (step.connector, False)
    assert overdue(step.connector, T0 + 7 * DAY, rule("2026"))[1]


@pytest.mark.parametrize("profile", ["2021", "late"])
def test_bad_credentials_halt_and_are_tried_again_after_2_to_5_minutes(profile: str) -> None:
    pauses = set()
    for seed in range(50):
        step = answered(Queue(), Connector(), 10, T0, 401, T0, rule(profile), random.Random(seed))
        assert (step.connector.status, step.connector.refused_ms, step.dropped) == ("failed", T0, 0)
        assert step.probe_ms is not None
        assert 120_000 <= step.probe_ms - T0 <= 300_000
        pauses.add(step.probe_ms)
    assert len(pauses) > 40


def test_2026_does_not_send_refused_events_again() -> None:
    step = answered(Queue(), Connector(), 10, T0, 403, T0, rule("2026"), random.Random(1))
    assert (step.dropped, step.connector.status, step.probe_ms) == (10, "failed", None)
    assert step.reason == "connector refused the credentials; refused events are not sent again"
    disabled, lose = overdue(step.connector, T0 + 5 * DAY, rule("2026"))
    assert (disabled.status, lose) == ("disabled", False)


@pytest.mark.parametrize(("profile", "lost"), [("2021", True), ("late", True)])
def test_everything_is_lost_when_refusal_lasts_for_48_hours(profile: str, lost: bool) -> None:
    refused = Connector("failed", refused_ms=T0, failing_ms=T0)
    before = answered(Queue((1,)), refused, 1, T0, 401, T0 + 48 * HOUR - 60_000, rule(profile), random.Random(1))
    assert (before.lose, before.probe_ms) == (False, T0 + 48 * HOUR)
    after = answered(Queue((1,)), refused, 1, T0, 401, T0 + 48 * HOUR, rule(profile), random.Random(1))
    assert (after.lose, after.connector.lost, after.connector.status) == (lost, True, "failed")
    assert after.reason == "connector refused the credentials for more than 48 hours"


def test_the_48_hours_may_count_from_the_last_success_instead() -> None:
    told = Connector(taken_ms=T0 - 47 * HOUR)
    by_success = rule("late", counts_from="last_success")
    step = answered(Queue(), told, 1, T0, 401, T0, by_success, random.Random(1))
    assert (step.connector.refused_ms, step.lose) == (T0 - 47 * HOUR, False)
    step = answered(step.queue, step.connector, 1, T0, 401, T0 + HOUR, by_success, random.Random(1))
    assert step.lose


def test_the_connector_may_start_over_after_the_loss() -> None:
    refused = Connector("failed", refused_ms=T0, failing_ms=T0)
    again = rule("late", after_loss="start_over")
    step = answered(Queue((1,)), refused, 1, T0, 401, T0 + 48 * HOUR, again, random.Random(1))
    assert (step.lose, step.connector.status, step.connector.lost) == (True, "running", False)


def test_a_4xx_may_stretch_retention_to_7_days_where_the_document_says_so() -> None:
    refused = Connector("failed", refused_ms=T0, failing_ms=T0)
    for profile, lost in (("late", False), ("2021", True)):
        stretched = rule(profile, stretch=True)
        step = answered(Queue((1,)), refused, 1, T0, 401, T0 + 48 * HOUR, stretched, random.Random(1))
        assert step.lose is lost
    queue = Queue((1,), 0, 40, T0, T0)
    throttled = answered(queue, Connector(), 1, T0, 429, T0 + DAY, rule("late", stretch=True), random.Random(1))
    failed = answered(queue, Connector(), 1, T0, 503, T0 + DAY, rule("late", stretch=True), random.Random(1))
    assert (throttled.cutoff_ms, failed.cutoff_ms) == (None, T0)


def test_the_48_hours_may_be_5_days_for_all_partners() -> None:
    refused = Connector("failed", refused_ms=T0, failing_ms=T0)
    later = rule("late", loss_after_ms=5 * DAY)
    for now, lose in ((T0 + 48 * HOUR, False), (T0 + 5 * DAY - 60_000, False), (T0 + 5 * DAY, True)):
        step = answered(Queue((1,)), refused, 1, T0, 401, now, later, random.Random(1))
        assert step.lose is lose
    assert step.reason == "connector refused the credentials for more than 120 hours"


def test_who_is_told_what() -> None:
    mail = ("e-mail to the customer: the connector answered 400",)
    for profile, status, told in (
        ("2021", 401, ()),
        ("late", 400, mail),
        ("late", 503, ()),
        ("2026", 400, ()),
        ("2026", 403, ("e-mail to the customer: the connector answered 403",)),
    ):
        step = answered(Queue(), Connector(), 2, T0, status, T0, rule(profile), random.Random(1))
        assert step.notices == told
        if told:
            again = answered(step.queue, step.connector, 1, T0, status, T0, rule(profile), random.Random(1))
            assert again.notices == ()
    stuck = Connector(failing_ms=T0)
    for profile, alerts in (("2021", 0), ("late", 1), ("2026", 1)):
        step = answered(Queue(), stuck, 2, T0 + DAY, 503, T0 + DAY, rule(profile), random.Random(1))
        assert len(step.notices) == alerts


def test_the_default_profile_keeps_the_48_hours_of_the_amplitude_connector() -> None:
    # Braze docs, Amplitude for Currents: 48 hours; the generic pages of 2026 say 5 days.
    assert profiles()[DEFAULT].halt_lost_ms == 48 * HOUR
    assert profiles()[DEFAULT].halt_disable_ms is None


def test_rules_come_from_the_named_settings() -> None:
    settings = {
        "batch_wait_s": 1.5,
        "backoff_base_s": 2,
        "backoff_cap_s": 3,
        "backoff_jitter": 0.5,
        "probe_min_s": 4,
        "probe_max_s": 5,
        "loss_counts_from": "last_success",
        "after_loss": "start_over",
        "stretch_retention": True,
        "loss_after_h": 120,
    }
    made = rules("2021", 9, {f"braze.currents.{name}": value for name, value in settings.items()})
    wanted = Rules(
        profiles()["2021"], 9, 1500, 2000, 3000, 0.5, 4000, 5000, "last_success", "start_over", True, 5 * DAY
    )
    assert made == wanted


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(0, 60))
def test_shortening_takes_events_from_the_front(parts: list[int], gone: int) -> None:
    left = shortened(Queue(tuple(parts)), gone).parts
    assert sum(left) == max(0, sum(parts) - gone)
    assert list(left[1:]) == (parts[-len(left) + 1 :] if len(left) > 1 else [])


@given(
    st.sampled_from(["2021", "late", "2026"]),
    st.lists(st.sampled_from(list(ROWS)), min_size=1, max_size=40),
    st.integers(1, 100),
    st.integers(0, 2**32),
)
def test_no_event_is_both_taken_and_dropped_and_none_goes_missing(
    profile: str, answers: list[int | None], pending: int, seed: int
) -> None:
    rng, queue, connector, now = random.Random(seed), Queue(), Connector(), T0
    left = pending
    for status in answers:
        if not left or connector.status != "running":
            break
        size = min(left, queue.parts[0] if queue.parts else 100)
        step = answered(queue, connector, size, T0, status, now, rule(profile), rng)
        gone = step.taken + step.dropped
        assert gone in (0, 1, size)
        assert not (step.taken and step.dropped)
        left -= gone
        queue, connector = step.queue, step.connector
        assert sum(queue.parts) <= left
        assert all(part > 0 for part in queue.parts)
        due = due_ms(queue, left, T0, rule(profile))
        assert (due is None) == (left == 0)
        now = max(now, due or 0)
