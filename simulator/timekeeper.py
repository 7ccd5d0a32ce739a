"""Timers and waiting: takes a tank through its time, in the one process that may.

In stepped time a tank is a discrete-event simulation: :meth:`Timekeeper.advance` runs the due timers in order,
releases the connectors that wait at the clock, and waits for quiet between the steps.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, func, select

from simulator import clock as clocks
from simulator import journal
from simulator.store import metadata
from simulator.tank import Tank

log = logging.getLogger(__name__)

_timers = Table(
    "timers",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("due_ms", BigInteger, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("key", String, nullable=False, unique=True),
    Column("payload", String, nullable=False),
    # Without it SQLite gives a number out again, and a handler that sets its own timer anew would lose it.
    sqlite_autoincrement=True,
)

Handler = Callable[[Tank, Mapping[str, Any], int], None]
"""A timer's work: ``handler(tank, payload, now_ms)``. It runs outside any transaction and opens its own."""

WAIT_S = 25.0
"""Real seconds a wait at the clock is held before it is answered 204."""

RETRY_MS = 60_000
"""A timer whose handler failed goes off again after this, in ms of tank time."""

_POLL_S = 0.001


def schedule(conn: Connection, due_ms: int, kind: str, key: str, payload: Mapping[str, Any] | None = None) -> None:
    """Set the timer ``key`` to go off at ``due_ms`` tank time; a timer of the same key is replaced."""
    conn.execute(_timers.delete().where(_timers.c.key == key))
    conn.execute(
        _timers.insert().values(due_ms=due_ms, kind=kind, key=key, payload=orjson.dumps(payload or {}).decode())
    )


def scheduled(conn: Connection, key: str) -> int | None:
    """When the timer ``key`` is due (tank time in ms), or None."""
    due: int | None = conn.execute(select(_timers.c.due_ms).where(_timers.c.key == key)).scalar()
    return due


def cancel(conn: Connection, key: str) -> None:
    """Remove the timer ``key`` if it is there."""
    conn.execute(_timers.delete().where(_timers.c.key == key))


@dataclass
class _Wait:
    """One connector's newest wait at the clock."""

    until_ms: int
    order: int
    released_ms: int | None = None
    """When it was let go, in real ms: its connector is at work since then."""

    @property
    def released(self) -> bool:
        return self.released_ms is not None

    def release(self) -> None:
        """Let the connector go."""
        if self.released_ms is None:
            self.released_ms = clocks.real_ms()


@dataclass(frozen=True)
class Advanced:
    """What an advance did: number of steps and how many timers of each kind fired."""

    now_ms: int
    steps: int
    fired: Mapping[str, int]


class NotStepped(ValueError):
    """Only a stepped clock can be advanced."""


class Timekeeper:
    """Runs one tank's timers and holds the connectors that wait at its clock.

    :param handlers: what to do for each kind of timer.
    """

    def __init__(self, tank: Tank, handlers: Mapping[str, Handler]) -> None:
        self.tank = tank
        self.handlers = handlers
        self._waits: dict[str, _Wait] = {}
        self._changed = threading.Condition()
        self._advancing = threading.RLock()
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._pool = ThreadPoolExecutor(8, thread_name_prefix=f"timers-{tank.id}")
        self._running: set[int] = set()
        self._handling = 0

    # -- connectors at the clock

    def wait(self, until_ms: int, name: str, hold_s: float = WAIT_S) -> bool:
        """Hold until tank time reaches ``until_ms``; False after ``hold_s`` real seconds or when a newer wait
        under the same name takes this one's place."""
        deadline = clocks.real_us() + int(hold_s * 1_000_000)
        mine = _Wait(until_ms, self.tank.next_order())
        with self._changed:
            self._waits[name] = mine
            self._changed.notify_all()
            while not self._stopped:
                state = self.tank.meta().clock
                if state.now_ms() >= until_ms:
                    mine.release()
                    return True
                left = (deadline - clocks.real_us()) / 1_000_000
                if left <= 0 or self._waits.get(name) is not mine:
                    mine.release()
                    return False
                self._changed.wait(min(left, max(0.001, state.real_delay_s(until_ms)), 5.0))
        return False

    def waiting(self) -> dict[str, dict[str, Any]]:
        """Who has waited at the clock, until when, and whether it is waiting now."""
        with self._changed:
            return {
                name: {"until": clocks.iso(min(wait.until_ms, 253_402_300_799_000)), "waiting": not wait.released}
                for name, wait in self._waits.items()
            }

    # -- quiet

    def _quiet(self) -> bool:
        if self.tank.open_requests or self._handling:
            return False
        with self.tank.store.read() as conn:
            last_traffic = journal.last_real_ms(conn)
        idle_ms = clocks.real_ms() - last_traffic
        settings = self.tank.settings
        if idle_ms < 0:
            return False  # a delayed answer is still under way
        settled = idle_ms >= int(settings["clock.settle_ms"])
        with self._changed:
            if not self._waits:
                return settled
            for wait in self._waits.values():
                if wait.released_ms is not None:
                    # It may have been let go long after the last traffic: it has to have its time.
                    if min(idle_ms, clocks.real_ms() - wait.released_ms) < settings["clock.busy_ms"]:
                        return False
                elif wait.order < self.tank.sent_order and idle_ms < settings["clock.lag_ms"]:
                    return False  # it has not looked up since the last feed: it has yet to notice
                elif wait.order < self.tank.fed_order and not settled:
                    return False
        return True

    def wait_quiet(self, hold_s: float = 120.0) -> bool:
        """Wait until nothing is going on; False when that does not happen within ``hold_s`` real seconds."""
        deadline = clocks.real_us() + int(hold_s * 1_000_000)
        pause = _POLL_S
        while not self._quiet():
            if self._stopped or clocks.real_us() > deadline:
                return False
            with self._changed:
                self._changed.wait(pause)
            pause = min(pause * 1.5, 0.02)
        return True

    # -- moving time

    def advance(self, until_ms: int) -> Advanced:
        """Take a stepped tank to ``until_ms``, through every timer and wait that is due on the way.

        Raises NotStepped when the clock runs by itself, ValueError when the instant lies in the past.
        """
        with self._advancing:
            state = self.tank.meta().clock
            if state.mode != "stepped":
                raise NotStepped("the clock runs by itself: only a stepped tank can be advanced")
            if until_ms < state.tank_ms:
                raise ValueError(
                    f"{clocks.iso(until_ms)} is in the past of this tank: it is {clocks.iso(state.tank_ms)} now"
                )
            steps = 0
            fired: dict[str, int] = {}
            self.wait_quiet()
            while not self._stopped:
                at = self._next_instant()
                if at is None or at > until_ms:
                    break
                self._step_to(max(at, self._now()), fired)
                steps += 1
                self.wait_quiet()
            if self._now() < until_ms:
                self._step_to(until_ms, fired)
                steps += 1
                self.wait_quiet()
            return Advanced(self._now(), steps, fired)

    def settle(self) -> Advanced:
        """Run what is due at this very instant and wait for quiet, without moving a stepped clock."""
        return self.advance(self._now())

    def _now(self) -> int:
        return self.tank.meta().clock.now_ms()

    def _next_instant(self) -> int | None:
        with self.tank.store.read() as conn:
            due: int | None = conn.execute(select(func.min(_timers.c.due_ms))).scalar()
        with self._changed:
            waits = [wait.until_ms for wait in self._waits.values() if not wait.released]
        instants = [each for each in (due, *waits) if each is not None]
        return min(instants) if instants else None

    def _step_to(self, at: int, fired: dict[str, int]) -> None:
        if at > self._now():
            with self.tank.store.write() as conn:
                state = self.tank.meta(conn).clock
                self.tank.clock.set(conn, clocks.ClockState("stepped", 1.0, at, state.anchor_ms))
        for timer in self._due(at):
            fired[timer.kind] = fired.get(timer.kind, 0) + 1
            self._run(timer, at)
        with self._changed:
            for wait in self._waits.values():
                if wait.until_ms <= at:
                    wait.release()
            self._changed.notify_all()

    def _due(self, now_ms: int) -> list[Any]:
        with self.tank.store.read() as conn:
            query = select(_timers).where(_timers.c.due_ms <= now_ms).order_by(_timers.c.due_ms, _timers.c.id)
            return list(conn.execute(query).all())

    def _run(self, timer: Any, now_ms: int) -> None:
        with self._changed:
            self._handling += 1
        try:
            self.handlers[timer.kind](self.tank, orjson.loads(timer.payload), now_ms)
        except Exception:
            log.exception("timer %s of tank %s failed, it goes off again in a minute", timer.key, self.tank.id)
            with self.tank.store.write() as conn:
                conn.execute(_timers.update().where(_timers.c.id == timer.id).values(due_ms=now_ms + RETRY_MS))
        else:
            # The row goes last: a process killed in between runs the timer again.
            with self.tank.store.write() as conn:
                conn.execute(_timers.delete().where(_timers.c.id == timer.id))
        finally:
            with self._changed:
                self._handling -= 1

    # -- time that runs by itself

    def start(self) -> None:
        """Run timers by themselves when the clock is real or scaled, or auto-advances."""
        thread = threading.Thread(target=self._run_by_itself, name=f"time-{self.tank.id}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def poke(self) -> None:
        """Look at timers and waits again: something has changed."""
        with self._changed:
            self._changed.notify_all()

    def _run_by_itself(self) -> None:
        while not self._stopped:
            try:
                meta = self.tank.meta()
                if meta.clock.mode != "stepped":
                    pause = self._run_due(meta.clock)
                elif meta.auto_advance:
                    pause = self._auto_step(meta.horizon_ms)
                else:
                    pause = 1.0
            except Exception:
                if self._ended():
                    return
                log.exception("the timers of tank %s stumbled", self.tank.id)
                pause = 1.0
            with self._changed:
                if not self._stopped:
                    self._changed.wait(pause)

    def _run_due(self, state: clocks.ClockState) -> float:
        now_ms = state.now_ms()
        for timer in self._due(now_ms):
            if timer.id not in self._running:
                self._running.add(timer.id)
                self._pool.submit(self._run_pooled, timer, now_ms)
        with self.tank.store.read() as conn:
            query = select(func.min(_timers.c.due_ms)).where(_timers.c.due_ms > now_ms)
            due: int | None = conn.execute(query).scalar()
        # Other processes may add timers, so the store is looked at now and then in any case.
        return 0.25 if due is None else min(0.25, max(0.001, state.real_delay_s(due)))

    def _run_pooled(self, timer: Any, now_ms: int) -> None:
        try:
            self._run(timer, now_ms)
        finally:
            self._running.discard(timer.id)
            self.poke()

    def _auto_step(self, horizon_ms: int) -> float:
        with self._advancing:
            at = self._next_instant()
            if at is None or at > self._now() + horizon_ms or not self.wait_quiet(hold_s=1.0):
                return 0.05
            at = self._next_instant()
            if at is not None and at <= self._now() + horizon_ms:
                self._step_to(max(at, self._now()), {})
        return 0.0001

    def _ended(self) -> bool:
        return self._stopped

    def stop(self) -> None:
        """End the threads and release every wait."""
        self._stopped = True
        self.poke()
        for thread in self._threads:
            thread.join(5)
        self._pool.shutdown(wait=True, cancel_futures=True)
