"""Connector and simulator are killed at random points of a run of 20,000 events: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

EVENTS = 20_000
SEED = 20_260_101
ROOT = Path(__file__).parents[2]


def free_ports() -> tuple[int, int]:
    """A base with five free ports, and one more, below those that systems give to outgoing connections."""
    for _ in range(200):
        base = random.randrange(10_100, 19_900)
        try:
            held = [socket.create_server(("127.0.0.1", base + offset)) for offset in range(6)]
        except OSError:
            continue
        for each in held:
            each.close()
        return base, base + 5
    raise AssertionError("no free ports")


class Processes:
    """The simulator and the connector as real processes that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base, self.port = free_ports()
        self.control = f"http://127.0.0.1:{self.base}/tanks/demo"
        self._simulator: subprocess.Popen[bytes] | None = None
        self._connector: subprocess.Popen[bytes] | None = None

    def start_simulator(self) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "wavetank", "up", "--port", str(self.base), "--ready-file", str(ready)]
        command += ["--state", str(self.folder / "state.db"), "--clock", "scaled:30", "--limits", "batch"]
        with (self.folder / "simulator.log").open("ab") as log:
            self._simulator = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        wait_until(ready.exists, 60, "the simulator's ready file")

    def start_connector(self) -> None:
        ready = json.loads((self.folder / "ready.json").read_text())
        environ = {
            **os.environ,
            "PORT": str(self.port),
            "AMPLITUDE_URL": ready["amplitude"]["url"],
            "AMPLITUDE_REGION": "us",
            "AMPLITUDE_API_KEY": ready["amplitude"]["api_key"],
            "CURRENTS_TOKEN": ready["braze"]["currents_token"],
            "WAVETANK_CLOCK_URL": ready["control"]["clock_url"],
            "WAVETANK_STATE_DIR": str(self.folder / "connector"),
        }
        with (self.folder / "connector.log").open("ab") as log:
            self._connector = subprocess.Popen(
                [sys.executable, "-m", "connector"], cwd=ROOT, env=environ, stdout=log, stderr=log
            )
        wait_until(lambda: answers(f"http://127.0.0.1:{self.port}/healthz"), 30, "the connector")

    def kill_simulator(self) -> None:
        assert self._simulator is not None
        self._simulator.send_signal(signal.SIGKILL)
        self._simulator.wait()
        wait_until(lambda: not answers(f"http://127.0.0.1:{self.base + 1}/openapi.json"), 20, "the workers' end")

    def kill_connector(self) -> None:
        assert self._connector is not None
        self._connector.send_signal(signal.SIGKILL)
        self._connector.wait()

    def end(self) -> None:
        for process in (self._connector, self._simulator):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code < 500
    except requests.RequestException:
        return False


def wait_until(condition: Any, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} took more than {seconds} s"
        time.sleep(0.02)


def totals(control: str) -> dict[str, Any]:
    for _ in range(50):
        try:
            found: dict[str, Any] = requests.get(f"{control}/ledger?limit=1", timeout=60).json()["totals"]
            return found
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError("the ledger cannot be read")


@contextmanager
def running(folder: Path) -> Iterator[Processes]:
    processes = Processes(folder)
    try:
        processes.start_simulator()
        processes.start_connector()
        yield processes
    finally:
        processes.end()


def test_twenty_thousand_events_survive_kills(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    kills = 8
    thresholds = sorted(rng.sample(range(500, EVENTS - 2000), kills))
    with running(tmp_path) as processes:
        feed = {"url": f"http://127.0.0.1:{processes.port}/feeds/currents"}
        assert requests.put(f"{processes.control}/feeds/currents", json=feed, timeout=30).status_code == 200
        body = {"flow": "currents", "events": EVENTS, "users": 400, "seed": SEED}
        emitted = requests.post(f"{processes.control}/generate", json=body, timeout=120).json()
        assert emitted["emitted"] == EVENTS
        for at in thresholds:
            wait_until(lambda at=at: totals(processes.control)["delivered"] >= at, 120, f"{at} delivered events")
            if rng.random() < 0.5:
                processes.kill_connector()
                processes.start_connector()
            else:
                processes.kill_simulator()
                processes.start_simulator()
        wait_until(lambda: totals(processes.control)["delivered"] >= EVENTS, 200, "the rest")
        found = totals(processes.control)
        assert found["balanced"] is True
        assert (found["emitted"], found["delivered"], found["stored_twice"]) == (EVENTS, EVENTS, 0)
        assert found["not_emitted_here"] == 0
        stored = requests.get(f"{processes.control}/amplitude/events?limit=100000", timeout=120).json()["events"]
        assert len(stored) == EVENTS == len({event["insert_id"] for event in stored})


pytestmark = pytest.mark.filterwarnings("ignore")
