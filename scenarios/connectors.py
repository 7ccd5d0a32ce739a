"""Connectors under test: the reference, a command, or a URL that already runs."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scenarios import reference
from scenarios.checking import Unusable
from scenarios.stopwatch import Stopwatch, pause

READY_S = 30.0
GRACE_S = 10.0

FEEDS = {
    "currents": "/feeds/currents",
    "events": "/feeds/amplitude/events",
    "users": "/feeds/amplitude/users",
    "cohorts": "/feeds/amplitude/cohorts",
    "customerio": "/feeds/customerio",
}
"""Feed paths of the design by short name; ``--feed currents=/my/path`` overrides."""

FLOW_FEEDS = {
    "currents": "currents",
    "event_stream": "events",
    "cohort_sync": "cohorts",
    "property_sync": "users",
    "customerio": "customerio",
}
"""The feed that tells whether a flow is implemented."""


_living: set[Connector] = set()
"""Connectors that this process has started and not ended."""


class NeverReady(Exception):
    """The connector did not answer /healthz with 2xx in time; the text is one line."""


@dataclass(frozen=True)
class Subject:
    """Which connector is under test, as the command line names it. Goes to worker processes."""

    text: str = "reference"
    feeds: Mapping[str, str] = field(default_factory=lambda: dict(FEEDS))
    mutant: str | None = None
    ready_s: float = READY_S

    @property
    def url(self) -> str | None:
        """The URL, for a connector that runs already."""
        return self.text.rstrip("/") if self.text.startswith(("http://", "https://")) else None

    @property
    def is_reference(self) -> bool:
        return self.text == "reference"


def subject(text: str, feeds: tuple[str, ...] = (), ready_s: float = READY_S) -> Subject:
    """Read ``--connector`` and ``--feed NAME=/path``. Raises Unusable."""
    paths = dict(FEEDS)
    for each in feeds:
        name, equals, path = each.partition("=")
        if name not in FEEDS or not equals or not path.startswith("/"):
            known = ", ".join(FEEDS)
            raise Unusable(f"--feed {each}: write NAME=/path, names are {known}")
        paths[name] = path
    found = Subject(text.strip(), paths, None, ready_s)
    if found.url is not None:
        if not urlsplit(found.url).hostname:
            raise Unusable(f"--connector {text}: the URL has no host, write http://127.0.0.1:9000")
    elif not found.is_reference:
        try:
            words = shlex.split(found.text)
        except ValueError as error:
            raise Unusable(f"--connector: {error}, mend the quotes") from None
        if not words:
            raise Unusable("--connector is empty: give reference, a URL or a command")
    return found


def free_port(avoid: frozenset[int] = frozenset()) -> int:
    """A free loopback port below the range that systems give to outgoing connections.

    Each process begins its search elsewhere, so workers do not race for the same one.
    """
    global _next_port
    for _ in range(12_000):
        _next_port = 20_000 + (_next_port - 20_000 + 1) % 12_000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", _next_port))
            except OSError:
                continue
        if _next_port not in avoid:
            return _next_port
    raise Unusable("no port between 20000 and 31999 is free, end some programs")


_next_port = 20_000 + (os.getpid() * 211) % 12_000


class Connector:
    """A connector under test with its port, environment and state folder."""

    def __init__(self, under_test: Subject, environ: Mapping[str, str], folder: Path) -> None:
        self.subject = under_test
        self.environ = dict(environ)
        self.folder = folder
        self.log = folder / "connector.log"
        self.port = 0 if under_test.url else free_port()
        self.url = under_test.url or f"http://127.0.0.1:{self.port}"
        self._process: BaseProcess | subprocess.Popen[bytes] | None = None

    def feed_url(self, flow: str = "currents") -> str:
        """Where the platform posts this flow's feed."""
        return self.url + self.subject.feeds[FLOW_FEEDS[flow]]

    def start(self) -> None:
        """Start the process; :meth:`wait_ready` follows. Raises Unusable when the command cannot be run."""
        if self.subject.url:
            return
        _living.add(self)
        environ = {**self.environ, "PORT": str(self.port)}
        if self.subject.is_reference:
            process = reference.context().Process(
                target=reference.main, args=(environ, str(self.log), self.subject.mutant)
            )
            process.start()
            self._process = process
            return
        with self.log.open("ab") as log:
            words = shlex.split(self.subject.text)
            try:
                self._process = subprocess.Popen(
                    words,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise Unusable(
                    f"--connector: {words[0]!r} cannot be started ({error.strerror}), give a command that can"
                ) from None

    def wait_ready(self) -> dict[str, Any]:
        """Wait for a 2xx from /healthz and answer its JSON body ({} when it is none). Raises NeverReady."""
        watch = Stopwatch()
        rest, seen = 0.002, "nothing listened"
        while watch.seconds < self.subject.ready_s:
            if not self.running:
                raise NeverReady(f"the connector ended before it was ready{self._last_words()}")
            status, body = self.healthz(timeout_s=max(0.5, self.subject.ready_s - watch.seconds))
            if status is not None:
                if 200 <= status < 300:
                    return body
                seen = f"the last answer was {status}"
            pause(rest)
            rest = min(rest * 1.2, 0.05)
        raise NeverReady(
            f"the connector did not answer {self.url}/healthz with 2xx within {self.subject.ready_s:g} s, "
            f"{seen}{self._last_words()}"
        )

    def healthz(self, timeout_s: float = 5.0) -> tuple[int | None, dict[str, Any]]:
        """Status of /healthz, None when nothing answers, and its body when that is a JSON object."""
        return _ask(self.url, "GET", "/healthz", timeout_s)

    def implements(self, flow: str, health: Mapping[str, Any]) -> bool:
        """Whether the connector implements a flow: its own list, or else whether its feed path is there."""
        flows = health.get("flows")
        if isinstance(flows, list):
            return flow in flows
        status, _ = _ask(self.url, "POST", self.subject.feeds[FLOW_FEEDS[flow]], GRACE_S)
        return status not in (404, 501)

    @property
    def running(self) -> bool:
        """Whether the process lives; one that was not started here is taken to."""
        if self._process is None:
            return self.subject.url is not None
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll() is None
        return self._process.exitcode is None

    def stop(self, how: str = "kill") -> None:
        """End the process: ``kill`` at once, ``term`` with 10 s of grace and then at once."""
        process, self._process = self._process, None
        _living.discard(self)
        if process is None:
            return
        if how == "term":
            self._signal(process, signal.SIGTERM)
            if self._ended(process, GRACE_S):
                self._release(process)
                return
        self._signal(process, signal.SIGKILL)
        self._ended(process, GRACE_S)
        self._release(process)

    def _signal(self, process: BaseProcess | subprocess.Popen[bytes], number: int) -> None:
        if process.pid is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if isinstance(process, subprocess.Popen):
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)

    def _ended(self, process: BaseProcess | subprocess.Popen[bytes], within_s: float) -> bool:
        if isinstance(process, subprocess.Popen):
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                return False
            return True
        process.join(within_s)
        return process.exitcode is not None

    def _release(self, process: BaseProcess | subprocess.Popen[bytes]) -> None:
        if isinstance(process, subprocess.Popen):
            # A shell may have left children behind in its group.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.exitcode is not None:
            process.close()

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return f"; its last line: {lines[-1][:300]}" if lines else ""


def _ask(base: str, method: str, path: str, timeout_s: float) -> tuple[int | None, dict[str, Any]]:
    parts = urlsplit(base)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path + path)
        answer = connection.getresponse()
        return answer.status, _object(answer.read(65536))
    except (OSError, http.client.HTTPException):
        return None, {}
    finally:
        connection.close()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def end_all() -> None:
    """Kill every connector this process has started: for a process that has to end at once."""
    for connector in list(_living):
        connector.stop()


@contextmanager
def started(connector: Connector) -> Iterator[dict[str, Any]]:
    """Start a connector, answer its health when ready, and kill it at the end of the block."""
    try:
        connector.start()
        yield connector.wait_ready()
    finally:
        connector.stop()
