"""`wavetank up` as a user meets it: real processes on Granian, several workers, one store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore")


@contextmanager
def up(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "wavetank", "up", "--port", "0", "--ready-file", str(ready), *options]
    with (folder / "up.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None, (folder / "up.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield json.loads(ready.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def wavetank(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wavetank", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env={**os.environ})


def upload(ready: dict[str, Any], count: int) -> requests.Response:
    events = [{"device_id": f"device-{n}", "event_type": "a", "insert_id": f"i-{n}"} for n in range(count)]
    body = {"api_key": ready["amplitude"]["api_key"], "events": events}
    return requests.post(f"{ready['amplitude']['url']}/2/httpapi", json=body, timeout=30)


def test_workers_share_a_store_that_survives(tmp_path: Path) -> None:
    options = ("--workers", "2", "--state", str(tmp_path / "state.db"), "--clock", "stepped")
    with up(tmp_path, *options) as ready:
        assert ready["amplitude"]["api_key"] == "deadbeefdeadbeefdeadbeefdeadbeef"
        for _ in range(10):
            # New connections each time, so that both workers get some.
            assert upload(ready, 20).status_code == 200
        control = f"{ready['control']['url']}/tanks/demo"
        assert len(requests.get(f"{control}/amplitude/events?limit=1000", timeout=30).json()["events"]) == 20
        fed = wavetank(
            "feed", "--control", ready["control"]["url"], "--connector", "http://127.0.0.1:9", "--events", "30"
        )
        assert fed.stdout.strip() == "30 events emitted"
        events = tmp_path / "events.jsonl"
        events.write_text('{"event_type": "users.messages.email.Open"}\n{"event_type": "users.behaviors.Uninstall"}\n')
        assert "2 events" in wavetank("feed", "--control", ready["control"]["url"], "--file", str(events)).stdout
        assert requests.post(f"{control}/clock/advance", json={"by": "1h"}, timeout=60).status_code == 200
        assert requests.get(f"{control}/ledger?limit=1", timeout=30).json()["totals"]["emitted"] == 32
        explained = wavetank("explain", "demo.1", "--control", ready["control"]["url"])
        assert "accepted" in explained.stdout
        assert "Amplitude docs" in explained.stdout
    with up(tmp_path, *options) as ready:
        control = f"{ready['control']['url']}/tanks/demo"
        assert requests.get(f"{control}/clock/now", timeout=30).json()["now"] == "2026-01-01T01:00:00.000Z"
        assert len(requests.get(f"{control}/amplitude/events?limit=1000", timeout=30).json()["events"]) == 20
        assert upload(ready, 20).json()["events_ingested"] == 20
        assert len(requests.get(f"{control}/amplitude/events?limit=1000", timeout=30).json()["events"]) == 20


def test_faults_are_carried_out_on_granian(tmp_path: Path) -> None:
    with up(tmp_path, "--token", "let-me-in", "--region", "eu") as ready:
        control = f"{ready['control']['url']}/tanks/demo"
        key = {"Authorization": "Bearer let-me-in"}
        assert requests.get(f"{control}/ledger", timeout=30).status_code == 401
        assert requests.get(f"{control}/clock/now", timeout=30).status_code == 200
        assert ready["amplitude"]["region"] == "eu"

        def fault(kind: str, **params: Any) -> None:
            body = {"platform": "amplitude", "kind": kind, "times": 1, "params": params}
            assert requests.post(f"{control}/faults", json=body, headers=key, timeout=30).status_code == 201

        def stored() -> int:
            found = requests.get(f"{control}/amplitude/events?limit=1000", headers=key, timeout=30).json()
            return len(found["events"])

        fault("reset_before")
        with pytest.raises(requests.ConnectionError):
            upload(ready, 1)
        assert stored() == 0
        fault("reset_after")
        with pytest.raises(requests.ConnectionError):
            upload(ready, 2)
        assert stored() == 2
        fault("truncated_body")
        with pytest.raises(requests.RequestException):
            upload(ready, 3).json()
        assert stored() == 3
        fault("latency", ms=400)
        began = time.monotonic()
        assert upload(ready, 3).status_code == 200
        assert time.monotonic() - began >= 0.4
        fault("slow_body", bytes_per_s=200)
        assert upload(ready, 3).json()["code"] == 200
        fault("non_json", status=502)
        assert upload(ready, 3).headers["Content-Type"] == "text/html"
        wrong = requests.post(
            f"{ready['amplitude']['other_region_url']}/2/httpapi",
            json={"api_key": ready["amplitude"]["api_key"], "events": []},
            timeout=30,
        )
        assert wrong.json()["error"].startswith("Invalid API key")


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with up(tmp_path) as ready:
        port = ready["control"]["url"].rpartition(":")[2]
        answer = wavetank("up", "--port", port)
    assert answer.returncode == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert port in answer.stderr
