"""Connector and simulator are killed at seeded moments while Amplitude's events, users, cohorts and properties go to Braze.

No event is lost, and what arrives twice is what the connector's outbox tells of; after every crash the cohort in Braze
is the one in Amplitude, and so are the properties. ``WAVETANK_KILLS`` asks for more crashes than the three of a quick run.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from processes import Processes, running, wait_until

SEED = 20_260_102
KILLS = int(os.environ.get("WAVETANK_KILLS", "3"))
PEOPLE, TYPES = 40, 5 * KILLS
MEMBERS, CHURN = 1_100, 150

STREAM = """
event_stream:
  status: enabled
  braze: {endpoint: "${BRAZE_URL}", api_key: "${BRAZE_REST_API_KEY}", app_id: "${BRAZE_APP_ID}"}
  mapping: {amplitude_property: user_id, braze_user_id_type: external_id}
  send_events: true
  events: all
  send_users: true
  user_properties: [tier]
"""
SYNCS = """
cohort_sync:
  braze: {endpoint: "${BRAZE_URL}", data_import_key: "${BRAZE_DATA_IMPORT_KEY}"}
  syncs: [{cohort_id: golden1, identifier: user_id, cadence: hourly}]
property_sync:
  braze: {endpoint: "${BRAZE_URL}", api_key: "${BRAZE_REST_API_KEY}"}
  syncs: [{kind: user_property, name: tier, cadence: hourly}]
"""


def control(processes: Processes, method: str, path: str, body: Any = None) -> Any:
    """The control API, which may be coming up again just now."""
    for _ in range(100):
        try:
            answer = requests.request(method, f"{processes.control}{path}", json=body, timeout=60)
        except requests.RequestException:
            time.sleep(0.1)
            continue
        assert answer.status_code < 300, answer.text
        return answer.json()
    raise AssertionError(f"{path} is not answered")


def upload(processes: Processes, events: list[dict[str, Any]]) -> None:
    side = processes.ready["amplitude"]
    body = {"api_key": side["api_key"], "events": events}
    answer = requests.post(f"{side['url']}/batch", json=body, timeout=60)
    assert answer.status_code == 200, answer.text


def people(processes: Processes) -> dict[str, dict[str, Any]]:
    found = control(processes, "GET", "/braze/users?limit=100000")["users"]
    return {each["external_id"]: each for each in found}


def stored(processes: Processes) -> Counter[tuple[str, str]]:
    """How often Braze has each person's events."""
    every = people(processes).items()
    return Counter({(who, event["name"]): event["count"] for who, each in every for event in each["custom_events"]})


def kill(processes: Processes, rng: random.Random) -> None:
    if rng.random() < 0.6:
        processes.kill_connector()
        processes.start_connector()
    else:
        processes.kill_simulator()
        processes.start_simulator()


def test_no_event_is_lost_and_the_outbox_tells_what_came_twice(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    every = [(f"person-{person}", f"Event {number}") for number in range(TYPES) for person in range(PEOPLE)]
    with running(tmp_path, integration=STREAM) as processes:
        for kind in ("events", "users"):
            url = f"http://127.0.0.1:{processes.port}/feeds/amplitude/{kind}"
            control(processes, "PUT", f"/feeds/amplitude/{kind}", {"url": url})
        events = [{"user_id": who, "event_type": name, "insert_id": f"{who} {name}"} for who, name in every]
        for number, event in enumerate(events[:PEOPLE]):
            event["user_properties"] = {"tier": f"tier {number}"}
        upload(processes, events)
        for at in sorted(rng.sample(range(len(every) // 10, len(every) * 9 // 10), KILLS)):
            wait_until(lambda at=at: stored(processes).total() >= at, 120, f"{at} events in Braze")
            kill(processes, rng)
        wait_until(lambda: len(stored(processes)) == len(every), 120, "the rest")
        _quiet(processes, "event_stream")
        copies = stored(processes)
        assert set(copies) == set(every)
        told = control_of_connector(processes, "/outbox?flow=event_stream&state=sent")["events"]
        repeated = control_of_connector(processes, "/healthz")["event_stream"]["repeated"]
        assert len(told) >= len(every)
        assert copies.total() - len(every) <= repeated
        tiers = {who: each["custom_attributes"]["tier"] for who, each in people(processes).items()}
        assert tiers == {f"person-{number}": f"tier {number}" for number in range(PEOPLE)}


def control_of_connector(processes: Processes, path: str) -> Any:
    return requests.get(f"http://127.0.0.1:{processes.port}{path}", timeout=30).json()


def _quiet(processes: Processes, flow: str) -> None:
    """Wait until the connector has nothing left of a flow."""
    wait_until(
        lambda: control_of_connector(processes, "/healthz")[flow]["outbox"]["pending"] == 0, 60, "an empty outbox"
    )


def test_answers_that_are_lost_make_exactly_the_repetitions_that_the_outbox_tells_of(tmp_path: Path) -> None:
    every = [(f"person-{person}", "Bought") for person in range(PEOPLE)]
    with running(tmp_path, integration=STREAM) as processes:
        fault = {"platform": "braze", "route": "/users/track", "kind": "reset_after", "times": 2}
        control(processes, "POST", "/faults", fault)
        url = f"http://127.0.0.1:{processes.port}/feeds/amplitude/events"
        control(processes, "PUT", "/feeds/amplitude/events", {"url": url})
        upload(processes, [{"user_id": who, "event_type": name, "insert_id": who * 2} for who, name in every])
        wait_until(lambda: len(stored(processes)) == len(every), 60, "every event in Braze")
        _quiet(processes, "event_stream")
        copies = stored(processes)
        repeated = control_of_connector(processes, "/healthz")["event_stream"]["repeated"]
        assert copies.total() - len(every) == repeated > 0


def test_after_every_crash_cohort_and_property_in_braze_are_those_of_amplitude(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    everybody = [f"person-{number}" for number in range(MEMBERS + CHURN)]
    with running(tmp_path, "scaled:2400", SYNCS) as processes:
        clause = {"type": "user_property", "property": "tier", "op": "is", "values": ["gold"]}
        body = {"name": "Golden", "definition": {"andClauses": [{"orClauses": [clause]}]}}
        control(processes, "PUT", "/amplitude/cohorts/golden1", body)
        tiers = {who: "gold" if number < MEMBERS else "silver" for number, who in enumerate(everybody)}
        _make_known_to_braze(processes, everybody)
        _tell(processes, tiers)
        _wait_for_equality(processes, tiers)
        for _ in range(KILLS):
            changed = {who: "silver" if tiers[who] == "gold" else "gold" for who in rng.sample(everybody, CHURN)}
            tiers.update(changed)
            _tell(processes, changed)
            time.sleep(rng.uniform(0.0, 1.5))  # an hour of the tank: the next run begins somewhere in it
            kill(processes, rng)
            _wait_for_equality(processes, tiers)
        runs = control_of_connector(processes, "/runs")["runs"]["cohort_sync"]
        assert sum(each["state"] == "succeeded" and each["added"] + each["removed"] > 0 for each in runs) > KILLS


def _make_known_to_braze(processes: Processes, everybody: list[str]) -> None:
    """Profiles for everybody: a cohort run that comes before the first property run would find none, and makes none."""
    side = processes.ready["braze"]
    for first in range(0, len(everybody), 75):
        attributes = [{"external_id": who, "tier": "none"} for who in everybody[first : first + 75]]
        headers = {"Authorization": f"Bearer {side['rest_api_key']}"}
        answer = requests.post(f"{side['url']}/users/track", json={"attributes": attributes}, headers=headers, timeout=60)
        assert answer.status_code == 201, answer.text
    wait_until(lambda: len(people(processes)) == len(everybody), 60, "a profile for everybody")


def _tell(processes: Processes, tiers: dict[str, str]) -> None:
    """Let Amplitude know new tiers: who has one is active, and so goes to Braze."""
    given = [
        {"user_id": who, "event_type": "Seen", "user_properties": {"tier": tier}} for who, tier in tiers.items()
    ]
    upload(processes, given)


def _wait_for_equality(processes: Processes, tiers: dict[str, str]) -> None:
    golden = {who for who, tier in tiers.items() if tier == "gold"}

    def equal() -> bool:
        here = set(control(processes, "GET", "/amplitude/cohorts/golden1")["user_ids"])
        cohorts = {each["cohort_id"] for each in control(processes, "GET", "/braze/cohorts")["cohorts"]}
        if "golden1" not in cohorts:
            return False
        path = "/braze/cohorts/amplitude/golden1?limit=100000"
        there = {each["external_id"] for each in control(processes, "GET", path)["members"]}
        if not here == golden == there:
            return False
        found = {who: each["custom_attributes"].get("tier") for who, each in people(processes).items()}
        return found == tiers

    wait_until(equal, 120, "the same cohort and the same tiers on both sides")


pytestmark = pytest.mark.filterwarnings("ignore")
