"""Programs of a run: the simulator, the connector under test and Locust, started here and stopped here."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import requests

from loadtests import clock
from loadtests.tanks import Unusable

READY_S, GRACE_S = 60.0, 10.0


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Program:
    """A program in its own process group, its output in a file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
        self.name, self.log = name, log
        with log.open("ab") as out:
            try:
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, **(environ or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            except OSError as error:
                raise Unusable(f"{command[0]!r} cannot be started: {error.strerror}") from None
        self.pid = self._process.pid

    def ended(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def last_words(self) -> str:
        """The end of what it has written."""
        return self.log.read_text("utf-8", "replace").strip()[-800:]

    def cpu_s(self) -> float:
        """Processor seconds used so far by it and its living children."""
        total = 0.0
        with contextlib.suppress(psutil.Error):
            mine = psutil.Process(self.pid)
            for each in (mine, *mine.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = each.cpu_times()
                    total += times.user + times.system
        return total

    def stop(self) -> None:
        """End it, with 10 s of grace."""
        for number, seconds in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def simulator(folder: Path, options: Sequence[str]) -> tuple[Program, dict[str, Any]]:
    """Start `wavetank up`; answers it and its ready object. Raises Unusable."""
    ready = folder / "up.json"
    command = [sys.executable, "-m", "wavetank", "up", "--port", "0", "--ready-file", str(ready), *options]
    program = Program("simulator", command, folder / "simulator.log")
    until = clock.monotonic_s() + READY_S
    while not ready.exists():
        if program.ended() is not None or clock.monotonic_s() > until:
            program.stop()
            raise Unusable(f"the simulator did not start: {program.last_words() or 'no word of why'}")
        clock.sleep(0.05)
    found: dict[str, Any] = json.loads(ready.read_text("utf-8"))
    return program, found


def connector(command: str, environ: Mapping[str, str], folder: Path) -> Program:
    """Start the connector under test, and wait until it is ready. Raises Unusable."""
    words = [sys.executable, "-m", "connector"] if command == "reference" else shlex.split(command)
    if not words:
        raise Unusable("--connector is empty: give reference, a URL, or a command line")
    program = Program("connector", words, folder / "connector.log", environ)
    until = clock.monotonic_s() + READY_S
    while health(f"http://127.0.0.1:{environ['PORT']}") is None:
        if program.ended() is not None or clock.monotonic_s() > until:
            program.stop()
            raise Unusable(f"the connector never became ready: {program.last_words() or 'no word of why'}")
        clock.sleep(0.05)
    return program


def health(url: str) -> dict[str, Any] | None:
    """The body of a 2xx answer to GET /healthz ({} when it is no JSON object), None for anything else."""
    session = requests.Session()
    session.trust_env = False
    try:
        answer = session.get(f"{url}/healthz", timeout=5)
    except requests.RequestException:
        return None
    if not 200 <= answer.status_code < 300:
        return None
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def locust(
    profile: str, folder: Path, workers: int, ui: int | None, bind: tuple[str, int] | None = None
) -> list[Program]:
    """Start Locust: the one that judges first, then its workers when there are several."""
    base = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py"))]
    base += ["--load-profile", profile, "--loglevel", "WARNING"]
    mine = ["--load-deal", str(folder / "deal.json"), "--load-out", str(folder), "--stop-timeout", "5"]
    mine += ["--csv", str(folder / "locust"), "--only-summary"]
    if ui is None:
        mine += ["--headless"]
    else:
        mine += ["--autostart", "--autoquit", "3", "--web-host", "127.0.0.1", "--web-port", str(ui)]
    log = folder / "locust.log"
    if workers <= 1 and bind is None:
        return [Program("load generator", [*base, *mine], log)]
    host, port = bind or ("127.0.0.1", free_port())
    here = 0 if bind else workers
    master = ["--master", "--master-bind-host", host, "--master-bind-port", str(port), "--expect-workers", str(workers)]
    found = [Program("load generator", [*base, *mine, *master], log)]
    for n in range(here):
        join = ["--worker", "--master-host", host, "--master-port", str(port)]
        found.append(Program(f"load worker {n + 1}", [*base, *join], folder / f"locust-worker-{n + 1}.log"))
    return found
