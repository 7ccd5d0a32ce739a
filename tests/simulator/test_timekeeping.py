"""Time: timers in order, waiting, and time that advances by itself when everybody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from simulator import clock, timekeeper
from simulator.tank import Tank, Tanks
from simulator.timekeeper import Timekeeper

START = clock.STEPPED_START_MS


def keep(handlers: Mapping[str, Any]) -> tuple[Tank, Timekeeper]:
    tank = Tanks().create("time", settings={"clock.settle_ms": 0})
    return tank, Timekeeper(tank, handlers)


def test_timers_go_off_in_order_and_may_set_more() -> None:
    seen: list[tuple[str, int]] = []

    def ring(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
        seen.append((payload["name"], now_ms - START))
        if payload["name"] == "first":
            with tank.store.write() as conn:
                timekeeper.schedule(conn, now_ms + 500, "ring", "again", {"name": "again"})
                timekeeper.schedule(conn, now_ms + 2_000, "ring", "first", {"name": "moved"})

    tank, keeper = keep({"ring": ring})
    with tank.store.write() as conn:
        timekeeper.schedule(conn, START + 3_000, "ring", "third", {"name": "third"})
        timekeeper.schedule(conn, START + 1_000, "ring", "first", {"name": "first"})
    done = keeper.advance(START + 10_000)
    assert seen == [("first", 1_000), ("again", 1_500), ("third", 3_000), ("moved", 3_000)]
    assert (done.now_ms, done.fired) == (START + 10_000, {"ring": 4})


def test_a_timer_that_fails_goes_off_again() -> None:
    calls: list[int] = []

    def ring(_tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
        calls.append(now_ms - START)
        if len(calls) == 1:
            raise RuntimeError("once")

    tank, keeper = keep({"ring": ring})
    with tank.store.write() as conn:
        timekeeper.schedule(conn, START + 1_000, "ring", "k")
    keeper.advance(START + 120_000)
    assert calls == [1_000, 61_000]


def test_a_waiter_is_taken_along_and_replaced_by_its_next_wait() -> None:
    tank, keeper = keep({})
    woken: list[int] = []

    def connector() -> None:
        for minutes in (10, 30, 60):
            while not keeper.wait(START + minutes * 60_000, "c"):
                pass
            woken.append(tank.clock.now_ms() - START)
        keeper.wait(START + 10**12, "c")

    thread = threading.Thread(target=connector, daemon=True)
    thread.start()
    while "c" not in keeper.waiting():
        time.sleep(0.001)
    keeper.advance(START + 3_600_000)
    assert woken == [600_000, 1_800_000, 3_600_000]
    assert keeper.wait(0, "c") is True  # a newer wait under the same name lets the old one go
    thread.join(5)
    assert not thread.is_alive()


def test_auto_advance_goes_to_the_next_timer_by_itself() -> None:
    rung = threading.Event()
    tank, keeper = keep({"ring": lambda *_: rung.set()})
    with tank.store.write() as conn:
        timekeeper.schedule(conn, START + 7 * 86_400_000, "ring", "k")
        tank.write_meta(conn, auto_advance=True)
    keeper.start()
    try:
        assert rung.wait(10)
        assert tank.clock.now_ms() == START + 7 * 86_400_000
    finally:
        keeper.stop()


def test_a_real_clock_runs_its_timers() -> None:
    rung = threading.Event()
    tank = Tanks().create("real", clock=clock.start("scaled", 1000.0))
    keeper = Timekeeper(tank, {"ring": lambda *_: rung.set()})
    keeper.start()
    try:
        with tank.store.write() as conn:
            timekeeper.schedule(conn, tank.clock.now_ms(conn) + 60_000, "ring", "k")
        keeper.poke()
        assert rung.wait(10)
    finally:
        keeper.stop()
