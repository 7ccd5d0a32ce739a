"""Two connector processes of one flow share an outbox in PostgreSQL, against one simulated tank."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

ROOT = Path(__file__).parents[2]
EVENTS = 800


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Side:
    """One of the two processes."""

    def __init__(self, tank: Any, outbox: str, folder: Path) -> None:
        self.url = ""
        self._tank, self._outbox, self._folder = tank, outbox, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port, ready = _free_port(), self._tank.ready
        self.url = f"http://127.0.0.1:{port}"
        environ = {
            **os.environ,
            "PORT": str(port),
            "AMPLITUDE_URL": ready["amplitude"]["url"],
            "AMPLITUDE_API_KEY": ready["amplitude"]["api_key"],
            "CURRENTS_TOKEN": ready["braze"]["currents_token"],
            "WAVETANK_CLOCK_URL": ready["control"]["clock_url"],
            "CONNECTOR_OUTBOX": self._outbox,
            "WAVETANK_STATE_DIR": str(self._folder),
        }
        self._process = subprocess.Popen([sys.executable, "-m", "connector"], cwd=ROOT, env=environ)

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = requests.get(f"{self.url}/healthz", timeout=5).json()
        return found

    def uploads(self) -> int:
        """How many requests of this process Amplitude has taken."""
        lines = requests.get(f"{self.url}/metrics", timeout=5).text.splitlines()
        named = [each for each in lines if each.startswith("connector_uploads_total{") and '"accepted"' in each]
        return round(sum(float(each.split()[-1]) for each in named))

    def is_ready(self) -> bool:
        try:
            return bool(self.health())
        except requests.RequestException:
            return False

    def end(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def sides(make_tank: Any, postgresql: str, tmp_path: Path) -> Iterator[tuple[Any, list[Side]]]:
    with psycopg.connect(postgresql, autocommit=True) as db:
        db.execute("DROP SCHEMA IF EXISTS connector_currents CASCADE")
    tank = make_tank(clock={"mode": "scaled", "scale": 300}, settings={"amplitude.project_eps": 10**6})
    made = [Side(tank, postgresql, tmp_path / str(n)) for n in range(2)]
    try:
        for each in made:
            each.start()
        for each in made:
            _until(each.is_ready, "a connector did not become ready")
        yield tank, made
    finally:
        for each in made:
            each.end()


def test_two_processes_are_reconciled_to_the_event(sides: tuple[Any, list[Side]]) -> None:
    tank, (first, second) = sides

    def emit(side: Side, seed: int) -> None:
        feed = tank.control("PUT", "/feeds/currents", {"url": f"{side.url}/feeds/currents"})
        assert feed.status_code == 200, feed.text
        body = {"flow": "currents", "events": EVENTS // 2, "users": 100, "seed": seed}
        assert tank.control("POST", "/generate", body).json()["emitted"] == EVENTS // 2

    def totals() -> dict[str, Any]:
        found: dict[str, Any] = tank.control("GET", "/ledger", limit=1).json()["totals"]
        return found

    slow = {"platform": "amplitude", "kind": "latency", "params": {"ms": 150}}
    assert tank.control("POST", "/faults", slow).status_code in (200, 201)
    emit(first, 1)
    _until(lambda: first.health()["outbox"]["sent"] >= 100 and second.uploads() > 0, "the second does not help")
    emit(second, 2)
    _until(lambda: second.health()["outbox"]["pending"] > 0, "nothing is under way")
    first.end()
    _until(lambda: bool(totals()["delivered"] == EVENTS), "not everything has arrived")
    _until(lambda: bool(second.health()["outbox"]["sent"] == EVENTS), "the connector's ledger does not end")
    found, health = totals(), second.health()
    assert (found["balanced"], found["emitted"], found["delivered"]) == (True, EVENTS, EVENTS)
    assert (found["stored_twice"], found["not_emitted_here"]) == (0, 0)
    assert sum(health["outbox"].values()) == EVENTS
    events = tank.events()
    assert len(events) == EVENTS == len({event["insert_id"] for event in events})
    assert found.get("deduplicated", 0) <= health["repeated"]
