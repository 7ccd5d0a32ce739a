"""The connector as a process: feeds in, events out, killed in the middle, stopped in order."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from connector_stubs import (
    KEY,
    ROOT,
    Amplitude,
    Program,
    TankTime,
    amplitude,
    currents_event,
    eventually,
    get,
    tank_time,
)

from connector.commands import connect

FAR = 253_402_300_799_000


@pytest.fixture
def stub() -> Iterator[Amplitude]:
    with amplitude() as made:
        yield made


@pytest.fixture
def tank() -> Iterator[TankTime]:
    with tank_time() as made:
        yield made


@pytest.fixture
def program(stub: Amplitude, tank: TankTime, tmp_path: Path) -> Iterator[Program]:
    made = Program(stub.url, tmp_path / "state", WAVETANK_CLOCK_URL=tank.url)
    yield made
    made.end(signal.SIGKILL)


def _ids(numbers: range) -> list[str]:
    return sorted(f"event-{number}" for number in numbers)


def test_a_feed_arrives_and_the_connector_waits_again(program: Program, stub: Amplitude, tank: TankTime) -> None:
    program.start()
    tank.waited_for(lambda at: at == FAR)
    before = len(tank.waits)
    assert program.feed([currents_event(n) for n in range(5)]) == 200
    eventually(lambda: stub.ids() == _ids(range(5)))
    eventually(lambda: tank.waits[-1] == ("reference-connector", FAR) and len(tank.waits) >= before + 2)
    count = len(tank.waits)
    assert program.feed([]) == 200
    assert tank.waits[count] == ("reference-connector", 0)  # nobody waits while an answer is on its way
    eventually(lambda: len(tank.waits) >= count + 2 and tank.waits[-1][1] == FAR)
    assert {name for name, _ in tank.waits} == {"reference-connector"}


def test_time_that_is_moved_brings_retries(program: Program, stub: Amplitude, tank: TankTime) -> None:
    stub.script = lambda _events: (503, {"code": 503, "error": "Service Unavailable"})
    program.start()
    program.feed([currents_event(1)])
    for attempt in range(10):
        eventually(lambda tried=attempt: len(stub.uploads) > tried)  # type: ignore[misc]
        tank.move(tank.waited_for(lambda at: at < FAR))
    eventually(lambda: len(stub.uploads) == 11)
    stub.script = lambda _events: None
    tank.move(tank.waited_for(lambda at: at < FAR))
    eventually(lambda: stub.ids() == ["event-1"])


def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(program: Program, stub: Amplitude) -> None:
    rng = random.Random(7)
    turns = [0]

    def script(_events: list[dict[str, Any]]) -> str | None:
        turns[0] += 1
        time.sleep(0.002)
        return "reset after" if turns[0] % 7 == 0 else None

    stub.script = script
    program.environ.pop("WAVETANK_CLOCK_URL")
    taken = 0
    for _ in range(5):
        program.start()
        kill_at = taken + 100 * rng.randrange(2, 7)
        while taken < kill_at:
            assert program.feed([currents_event(n) for n in range(taken, taken + 50)]) == 200
            taken += 50
        time.sleep(rng.uniform(0, 0.05))
        program.end(signal.SIGKILL)
    program.start()
    assert program.feed([currents_event(n) for n in range(50)]) == 200
    eventually(lambda: get(program.port, "/healthz")[1]["outbox"]["pending"] == 0, 20)
    assert stub.ids() == _ids(range(taken))
    assert len(stub.stored) == taken


def test_sigterm_delivers_what_is_due_and_ends_with_0(program: Program, stub: Amplitude) -> None:
    program.environ.pop("WAVETANK_CLOCK_URL")

    def slowly(_events: list[dict[str, Any]]) -> None:
        time.sleep(0.05)

    stub.script = slowly
    program.start()
    for start in range(0, 1000, 100):
        program.feed([currents_event(n) for n in range(start, start + 100)])
    code, written = program.end(signal.SIGTERM)
    assert (code, written) == (0, b"")
    assert stub.ids() == _ids(range(1000))


def test_sigterm_keeps_what_cannot_be_delivered(program: Program, stub: Amplitude, tank: TankTime) -> None:
    stub.script = lambda _events: (503, {"code": 503, "error": "Service Unavailable"})
    program.start()
    program.feed([currents_event(n) for n in range(3)])
    tank.waited_for(lambda at: at < FAR)
    assert program.end(signal.SIGTERM)[0] == 0
    stub.script = lambda _events: None
    tank.move(tank.now + 300_000)
    program.start()
    eventually(lambda: stub.ids() == _ids(range(3)))


def test_an_unusable_configuration_ends_with_2_and_one_line(stub: Amplitude, tmp_path: Path) -> None:
    (tmp_path / "integration.yaml").write_text("curents: {}\n", "utf-8")
    program = Program(stub.url, tmp_path, WAVETANK_INTEGRATION=str(tmp_path / "integration.yaml"))
    done = subprocess.run(
        [sys.executable, "-m", "connector"], env=program.environ, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 1
    assert b"did you mean 'currents'" in done.stderr


def test_a_port_that_is_taken_ends_with_2(program: Program, stub: Amplitude, tmp_path: Path) -> None:
    program.start()
    second = Program(stub.url, tmp_path / "second", PORT=str(program.port))
    done = subprocess.run(
        [sys.executable, "-m", "connector"], env=second.environ, cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"is taken" in done.stderr


def test_the_command_explains_itself_and_refuses_a_bad_file(tmp_path: Path) -> None:
    shown = CliRunner().invoke(connect, ["--help"])
    assert shown.exit_code == 0
    assert "Example: wavetank connect integration.yaml --port 9000" in shown.output
    environ = {"AMPLITUDE_API_KEY": KEY, "WAVETANK_STATE_DIR": str(tmp_path)}
    missing = CliRunner().invoke(connect, [str(tmp_path / "none.yaml")], env=environ)
    assert missing.exit_code == 2


def test_importing_the_connector_starts_nothing() -> None:
    code = "import threading, connector.run; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.strip() == b"1"
