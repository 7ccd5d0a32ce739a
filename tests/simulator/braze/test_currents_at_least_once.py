"""At least once, with the same ids. Source: Braze docs, Event delivery semantics."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulator import faults, ledger
from simulator.braze import currents_feed, currents_queue
from simulator.tank import Tanks
from simulator.timekeeper import Timekeeper


def test_a_lost_answer_makes_a_duplicate_with_the_same_ids(feed: Any, receiver: Any) -> None:
    with feed.tank.store.write() as conn:
        faults.add(feed.tank, conn, platform="connector", kind="reset_after", times=1)
    ids = feed.emit_many(100)
    feed.advance(300_000)
    assert [each.ids for each in receiver.got] == [ids, ids]
    assert receiver.got[0].body == receiver.got[1].body
    assert feed.totals()["emitted"] == 100
    assert feed.state()["counters"] == {"batches": 2, "resent": 1, "taken": 100}


def test_a_batch_stays_queued_while_its_answer_is_open(feed: Any, receiver: Any) -> None:
    seen: list[int] = []

    def answer(_: Any) -> int:
        seen.append(feed.state()["queues"]["users.messages.email.Send"]["pending"])
        return 200

    receiver.answer = answer
    feed.emit_many(100)
    feed.settle()
    assert seen == [100]
    assert feed.state()["queues"] == {}


def test_a_handler_that_fails_is_run_again(
    feed: Any, receiver: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = feed.emit_many(100)
    with monkeypatch.context() as patch, caplog.at_level(logging.CRITICAL):
        patch.setattr(currents_queue, "remove", lambda *_: 1 / 0)
        feed.settle()
    assert feed.state()["queues"] != {}
    feed.advance(60_000)
    assert [each.ids for each in receiver.got] == [ids, ids]
    assert feed.state()["queues"] == {}


def test_a_queue_sends_one_request_at_a_time(feed: Any, receiver: Any) -> None:
    again: list[int] = []

    def answer(_: Any) -> int:
        # The timer goes off once more while this request is under way.
        again.append(len(receiver.got))
        currents_feed.TIMERS["currents.flush"](feed.tank, {"type": "users.messages.email.Send"}, feed.now())
        return 200

    receiver.answer = answer
    ids = feed.emit_many(100)
    feed.settle()
    assert again == [1]
    feed.advance(60_000)
    assert receiver.ids() == ids


_SCRIPT = """
import sys
from pathlib import Path
from simulator.braze import currents_feed
from simulator.tank import Tanks
from simulator.timekeeper import Timekeeper

tanks = Tanks(Path(sys.argv[1]))
tank = tanks.create("killed", settings={"clock.settle_ms": 1})
with tank.store.write() as conn:
    currents_feed.configure(conn, tank, {"url": sys.argv[2]})
    currents_feed.generate(conn, tank, tank.clock.now_ms(conn), events=1500, users=20)
print(flush=True)
Timekeeper(tank, currents_feed.TIMERS).advance(tank.clock.now_ms() + 400_000)
"""


def test_kill_between_answer_and_commit_loses_nothing(receiver: Any, tmp_path: Path) -> None:
    state = tmp_path / "tanks.db"
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(state), receiver.url], stdout=subprocess.PIPE)

    def answer(_: Any) -> int:
        if len(receiver.got) == 7:
            # The request has arrived, the answer has not: the sender dies here.
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        return 200

    receiver.answer = answer
    with process:
        assert process.wait(30) == -signal.SIGKILL
    before = [each.ids for each in receiver.got]
    assert len(before) == 7
    receiver.answer = lambda _: 200
    tanks = Tanks(state)
    tank = tanks.get("killed")
    keeper = Timekeeper(tank, currents_feed.TIMERS)
    keeper.advance(tank.clock.now_ms() + 400_000)
    keeper.stop()
    assert receiver.got[7].ids == before[6], "the batch of unknown fate goes out again"
    with tank.store.read() as conn:
        totals = ledger.read(conn, {}, limit=5000)
        emitted = [each["event_id"] for each in totals["entries"]]
        queues = currents_feed.state(conn, tank)["queues"]
    tanks.close()
    assert len(emitted) == 1500
    assert set(receiver.ids()) == set(emitted)
    assert len(receiver.ids()) == 1500 + len(before[6])
    assert queues == {}
    assert totals["totals"]["balanced"]
