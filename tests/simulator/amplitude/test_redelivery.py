"""The two loops of event streaming. Sources: Amplitude docs, Webhooks (retries); Event streaming overview."""

from __future__ import annotations

import itertools
import random

import pytest

from simulator.amplitude.redelivery import Progress, answered
from simulator.settings import declared

DELAYS = [round(1000 * each) for each in declared()["amplitude.stream_delays_s"].default]


def run(status: int | None, seed: int = 0) -> list[int]:
    """When requests are made until the payload is delivered or has expired, in ms."""
    now, progress, rng, times = 0, Progress(), random.Random(seed), []
    while True:
        times.append(now)
        step = answered(progress, status, now, DELAYS, rng)
        if step.outcome != "pending":
            return times
        progress, now = step.progress, step.due_ms


def test_nine_further_attempts_lie_within_four_hours() -> None:
    assert len(DELAYS) == 9
    assert 0.9 * 4 * 3_600_000 < sum(DELAYS) <= 4 * 3_600_000


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_worst_case_is_ten_attempts_of_three_requests(status: int) -> None:
    for seed in range(50):
        times = run(status, seed)
        assert len(times) == 30
        for attempt in range(10):
            first, second, third = times[3 * attempt : 3 * attempt + 3]
            assert 50 <= second - first <= 150
            assert 100 <= third - second <= 300


@pytest.mark.parametrize("status", [400, 401, 404, 302, None])
def test_other_errors_are_tried_once_in_each_of_ten_attempts(status: int | None) -> None:
    times = run(status)
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == DELAYS


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_taken(status: int) -> None:
    assert run(status) == [0]


def test_no_request_later_than_four_seconds_into_an_attempt() -> None:
    late = Progress(attempts=0, tries=1, began_ms=0)
    step = answered(late, 503, 3_950, DELAYS, random.Random(0))
    assert step.progress == Progress(attempts=1)
    assert step.due_ms == 3_950 + DELAYS[0]
