"""Waiting: at a tank's clock over HTTP, and in real time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from connector_stubs import TankTime, eventually, free_port, tank_time

from connector.clock import FOREVER_MS, Clock, RealClock, TankClock, open_clock


@pytest.fixture
def tank() -> Iterator[TankTime]:
    with tank_time() as made:
        yield made


@pytest.fixture
def clock(tank: TankTime) -> Iterator[TankClock]:
    made = TankClock(tank.url)
    yield made
    made.close()


def _in_thread(call: Callable[[], int]) -> tuple[threading.Thread, list[int]]:
    answered: list[int] = []
    thread = threading.Thread(target=lambda: answered.append(call()))
    thread.start()
    return thread, answered


def _wait(clock: Clock, until_ms: int, seen: int = 0) -> tuple[threading.Thread, list[int]]:
    return _in_thread(lambda: clock.wait_until(until_ms, seen))


def test_now_is_the_tanks(tank: TankTime, clock: TankClock) -> None:
    assert clock.now_ms() == tank.now
    tank.move(tank.now + 5)
    assert clock.now_ms() == tank.now


def test_a_wait_ends_when_the_tank_gets_there(tank: TankTime, clock: TankClock) -> None:
    until_ms = tank.now + 172_800_000
    thread, answered = _wait(clock, until_ms)
    tank.waited_for(lambda at: at == until_ms)
    assert tank.waits == [("reference-connector", until_ms)]
    tank.move(until_ms)
    thread.join(5)
    assert answered == [0]
    assert clock.now_ms() == until_ms


def test_a_wait_that_was_held_too_long_is_asked_again(tank: TankTime, clock: TankClock) -> None:
    tank.hold_s = 0.02
    until_ms = tank.now + 1000
    thread, answered = _wait(clock, until_ms)
    eventually(lambda: len(tank.waits) >= 3)
    tank.move(until_ms)
    thread.join(5)
    assert answered == [0]


def test_a_nudge_ends_a_wait_and_the_next_is_registered_after_it(tank: TankTime, clock: TankClock) -> None:
    thread, answered = _wait(clock, FOREVER_MS)
    tank.waited_for(lambda at: at == FOREVER_MS)
    clock.nudge()
    thread.join(5)
    assert answered == [1]
    assert ("reference-connector", 0) in tank.waits
    count = len(tank.waits)
    thread, answered = _wait(clock, FOREVER_MS, seen=1)
    eventually(lambda: len(tank.waits) > count)
    assert not answered
    clock.close()
    thread.join(5)


def test_a_nudge_before_the_wait_is_not_lost(tank: TankTime, clock: TankClock) -> None:
    clock.nudge()
    assert clock.wait_until(FOREVER_MS, 0) == 1
    assert tank.waits == []


def test_no_nudge_is_lost_however_it_falls(tank: TankTime, clock: TankClock) -> None:
    seen = [0]

    def waiter() -> int:
        while seen[0] < 60:
            seen[0] = clock.wait_until(FOREVER_MS, seen[0])
        return seen[0]

    thread, answered = _in_thread(waiter)
    for number in range(60):
        clock.nudge()
        eventually(lambda want=number + 1: seen[0] >= want)  # type: ignore[misc]
    thread.join(5)
    assert answered == [60]


def test_no_wait_begins_between_a_feed_and_its_nudge(tank: TankTime, clock: TankClock) -> None:
    thread, answered = _wait(clock, FOREVER_MS)
    tank.waited_for(lambda at: at == FOREVER_MS)
    assert clock.expect()
    clock.release()
    assert tank.waits[-1] == ("reference-connector", 0)
    count = len(tank.waits)
    assert not clock.expect()
    time.sleep(0.05)
    assert (len(tank.waits), answered) == (count, [])
    clock.nudge()
    thread.join(5)
    assert (len(tank.waits), answered) == (count, [1])


def test_a_wait_that_begins_after_a_feed_looks_again_first(tank: TankTime, clock: TankClock) -> None:
    clock.expect()
    thread, answered = _wait(clock, FOREVER_MS)
    time.sleep(0.05)
    assert (tank.waits, answered) == ([], [])
    clock.nudge()
    thread.join(5)
    assert answered == [1]


def test_who_is_fed_before_the_first_wait_makes_itself_known(tank: TankTime, clock: TankClock) -> None:
    assert clock.expect()
    clock.release()
    assert tank.waits == [("reference-connector", 0)]
    assert not clock.expect()


def test_a_clock_that_cannot_be_reached_is_asked_again_until_closed() -> None:
    clock = TankClock(f"http://127.0.0.1:{free_port()}/clock")
    thread, answered = _wait(clock, FOREVER_MS)
    time.sleep(0.05)
    assert not answered
    clock.close()
    thread.join(5)
    assert answered
    assert clock.now_ms() == 0


def test_real_time_is_used_without_a_tank() -> None:
    clock = open_clock(None)
    assert isinstance(clock, RealClock)
    assert abs(clock.now_ms() - time.time() * 1000) < 5_000
    assert clock.wait_until(clock.now_ms() + 30, 0) == 0
    thread, answered = _wait(clock, FOREVER_MS)
    time.sleep(0.02)
    clock.nudge()
    thread.join(5)
    assert answered == [1]
