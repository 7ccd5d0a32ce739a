"""The simulator and the connector as processes that can be killed at any moment."""

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

import requests

ROOT = Path(__file__).parents[2]


def free_ports() -> tuple[int, int]:
    """A base with six free ports, and one more, below those that systems give to outgoing connections."""
    for _ in range(200):
        base = random.randrange(10_100, 19_900)
        try:
            held = [socket.create_server(("127.0.0.1", base + offset)) for offset in range(7)]
        except OSError:
            continue
        for each in held:
            each.close()
        return base, base + 6
    raise AssertionError("no free ports")


class Processes:
    """The simulator and the connector as real processes that can be killed."""

    def __init__(self, folder: Path, clock: str, integration: str | None) -> None:
        self.folder = folder
        self.clock = clock
        self.integration = integration
        self.ready: dict[str, Any] = {}
        self.base, self.port = free_ports()
        self.control = f"http://127.0.0.1:{self.base}/tanks/demo"
        self._simulator: subprocess.Popen[bytes] | None = None
        self._connector: subprocess.Popen[bytes] | None = None

    def start_simulator(self) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "wavetank", "up", "--port", str(self.base), "--ready-file", str(ready)]
        command += ["--state", str(self.folder / "state.db"), "--clock", self.clock, "--limits", "batch"]
        with (self.folder / "simulator.log").open("ab") as log:
            self._simulator = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        wait_until(ready.exists, 60, "the simulator's ready file")
        self.ready = json.loads(ready.read_text())

    def start_connector(self) -> None:
        amplitude, braze, control = (self.ready[name] for name in ("amplitude", "braze", "control"))
        environ = {
            **os.environ,
            "PORT": str(self.port),
            "AMPLITUDE_URL": amplitude["url"],
            "AMPLITUDE_REGION": "us",
            "AMPLITUDE_API_KEY": amplitude["api_key"],
            "AMPLITUDE_SECRET_KEY": amplitude["secret_key"],
            "AMPLITUDE_ACTIVE_COHORT_ID": amplitude["active_cohort_id"],
            "AMPLITUDE_FEED_TOKEN": amplitude["feed_token"],
            "BRAZE_URL": braze["url"],
            "BRAZE_REST_API_KEY": braze["rest_api_key"],
            "BRAZE_APP_ID": braze["app_id"],
            "BRAZE_DATA_IMPORT_KEY": braze["data_import_key"],
            "BRAZE_PARTNER_NAME": "amplitude",
            "BRAZE_PARTNER_API_KEY": braze["partner_api_key"],
            "CURRENTS_TOKEN": braze["currents_token"],
            "WAVETANK_CLOCK_URL": control["clock_url"],
            "WAVETANK_STATE_DIR": str(self.folder / "connector"),
        }
        if self.integration is not None:
            file = self.folder / "integration.yaml"
            file.write_text(self.integration, "utf-8")
            environ["WAVETANK_INTEGRATION"] = str(file)
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


@contextmanager
def running(folder: Path, clock: str = "scaled:30", integration: str | None = None) -> Iterator[Processes]:
    """Both of them, with a demo tank; without an integration.yaml the connector does Currents."""
    processes = Processes(folder, clock, integration)
    try:
        processes.start_simulator()
        processes.start_connector()
        yield processes
    finally:
        processes.end()
