"""Connectors under test: the reference, a command, or a URL where one runs already."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import requests

from scenarios.waiting import deadline, passed, short_pause
from scenarios.zygote import Zygote

READY_S = 30.0
GRACE_S = 10.0


class NeverReady(RuntimeError):
    """The connector did not answer GET /healthz with 2xx in time."""


class Connector(Protocol):
    """A connector under test."""

    url: str
    restartable: bool

    def start(self, environ: Mapping[str, str]) -> None:
        """Start with this environment and wait until it is ready. Raises NeverReady."""

    def stop(self, name: str) -> None:
        """Stop it: ``kill`` at once, or ``term`` with 10 s of grace."""


_next_port = itertools.count()


def free_port() -> int:
    """A loopback port that is free now.

    It lies below the ports that systems give to outgoing connections, and each process tries its own hundred of them
    in turn, so that nobody takes it before the connector does.
    """
    base = 20_000 + os.getpid() % 120 * 100
    for _ in range(200):
        port = base + next(_next_port) % 100
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NeverReady(f"no free port from {base} to {base + 99}: end what listens there")


def healthy(url: str) -> dict[str, Any] | None:
    """The body of a 2xx answer to GET /healthz ({} when it is no JSON), None for anything else."""
    try:
        answer = requests.get(f"{url}/healthz", timeout=5)
    except requests.RequestException:
        return None
    if not 200 <= answer.status_code < 300:
        return None
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _await_ready(url: str, alive: Any) -> None:
    until = deadline(READY_S)
    while healthy(url) is None:
        if passed(until) or not alive():
            raise NeverReady(f"the connector did not answer GET {url}/healthz within {READY_S:g} s")
        short_pause()
    if not alive():
        raise NeverReady(f"the connector has ended; somebody else answers at {url}")


class Reference:
    """The reference connector, forked from a zygote."""

    restartable = True

    def __init__(self, zygote: Zygote, folder: Path, mutant: str | None = None) -> None:
        self.url = ""
        self._zygote = zygote
        self._log = str(folder / "connector.log")
        self._mutant = mutant
        self._pid: int | None = None

    def start(self, environ: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{environ['PORT']}"
        self._pid = self._zygote.start(environ, self._log, self._mutant)
        _await_ready(self.url, self._alive)

    def _alive(self) -> bool:
        if self._pid is None:
            return False
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def stop(self, name: str) -> None:
        if self._pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM if name == "term" else signal.SIGKILL)
        until = deadline(GRACE_S)
        while self._alive():
            if passed(until):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
            short_pause()
        self._pid = None


class Command:
    """Any program, started by its command line in its own process group."""

    restartable = True

    def __init__(self, command: str, folder: Path) -> None:
        self.url = ""
        self._command = shlex.split(command)
        self._log = folder / "connector.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environ: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{environ['PORT']}"
        with self._log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self._command, env={**os.environ, **environ}, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise NeverReady(f"{self._command[0]!r} cannot be started: {error.strerror}") from None
        process = self._process
        _await_ready(self.url, lambda: process.poll() is None)

    def stop(self, name: str) -> None:
        if self._process is None:
            return
        self._signal(signal.SIGTERM if name == "term" else signal.SIGKILL)
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._signal(signal.SIGKILL)
        self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class Running:
    """A connector that somebody else runs."""

    restartable = False

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def start(self, environ: Mapping[str, str]) -> None:
        _await_ready(self.url, lambda: True)

    def stop(self, name: str) -> None:
        """It is not ours to stop."""


FEEDS: Mapping[str, Mapping[str, str]] = {
    "currents": {"currents": "/feeds/currents"},
    "event_stream": {"amplitude/events": "/feeds/amplitude/events", "amplitude/users": "/feeds/amplitude/users"},
    "cohort_sync": {"amplitude/cohorts": "/feeds/amplitude/cohorts"},
    "customerio": {"customerio": "/feeds/customerio"},
}
"""The feeds of each flow that has some, with the paths they are posted to."""


def path_of(feed: str, paths: Mapping[str, str]) -> str:
    """Where a feed is posted to: ``paths`` are those that differ from the usual ones."""
    return paths.get(feed) or next(named[feed] for named in FEEDS.values() if feed in named)


def implemented(url: str, paths: Mapping[str, str]) -> set[str]:
    """The flows a ready connector implements: its own list, else those whose feeds take an empty POST.

    A path that answers 404 or 501 is not implemented. A flow without a feed has to be listed.
    """
    body = healthy(url) or {}
    flows = body.get("flows")
    if isinstance(flows, list):
        return {str(each) for each in flows}
    return {flow for flow, feeds in FEEDS.items() if all(_takes(url + path_of(feed, paths)) for feed in feeds)}


def _takes(url: str) -> bool:
    try:
        answer = requests.post(url, data=b"", timeout=10)
    except requests.RequestException:
        return False
    return answer.status_code not in (404, 501)
