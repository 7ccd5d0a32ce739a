"""Connector and simulator are killed at random points of a run of 20,000 events: nothing is lost or doubled."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from processes import running, wait_until

EVENTS = 20_000
SEED = 20_260_101
def totals(control: str) -> dict[str, Any]:
    for _ in range(50):
        try:
            found: dict[str, Any] = requests.get(f"{control}/ledger?limit=1", timeout=60).json()["totals"]
            return found
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError("the ledger cannot be read")


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
