"""A project in a file answers every API as before when the process has been started anew.

The requests and their order come from the documents' lists of endpoints; what is compared is answer against answer.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator import amplitude, clock
from simulator.amplitude import cohort_computing, models
from simulator.tank import Tanks

START_MS = 1_767_225_600_000
SETTINGS = {"amplitude.export_delay_h": 0, "amplitude.rest_ms": 0, "amplitude.cohort_redirect_above": 1}
BUYERS = {"andClauses": [{"orClauses": [{"type": "event", "event_type": "Bought"}]}]}


class Process:
    """Everything that one process holds of a project in a file."""

    def __init__(self, path: Path) -> None:
        self.tanks = Tanks(path)
        known = [each for each in self.tanks.list() if each.id == "lasting"]
        self.tank = (
            known[0] if known else self.tanks.create("lasting", clock=clock.start("stepped"), settings=SETTINGS)
        )
        self.app = amplitude.create_app(self.tanks, "us")
        self.key = self.tank.credential("amplitude_api_key")
        self.secret = self.tank.credential("amplitude_secret_key")

    def call(self, method: str, path: str, body: Any = None, form: Any = None, **query: Any) -> tuple[Any, ...]:
        """Status, content type, place and body of an answer."""
        pair = base64.b64encode(f"{self.key}:{self.secret}".encode()).decode()
        proof = f"Api-Key {self.secret}" if path.startswith("/v1/") else f"Basic {pair}"
        answer = self.app.test_client().open(
            path, method=method, query_string=query, json=body, data=form, headers={"Authorization": proof}
        )
        return answer.status_code, answer.content_type, answer.headers.get("Location"), answer.get_data()

    def good(self, method: str, path: str, body: Any = None, form: Any = None, **query: Any) -> Any:
        status, kind, _, text = self.call(method, path, body, form, **query)
        assert status in (200, 202), text
        return json.loads(text) if "json" in kind else text.decode()

    def upload(self, *events: dict[str, Any]) -> Any:
        return self.good("POST", "/2/httpapi", {"api_key": self.key, "events": list(events)})

    def form(self, path: str, **fields: Any) -> None:
        texts = {name: json.dumps(value) for name, value in fields.items()}
        assert self.good("POST", path, form={"api_key": self.key, **texts}) == "success"

    def at(self, ms: int) -> None:
        now = self.tank.meta().clock
        with self.tank.store.write() as conn:
            self.tank.clock.set(conn, replace(now, tank_ms=START_MS + ms))


def fill(process: Process) -> dict[str, str]:
    """Something of every kind; answers the names that paths need."""
    for n, name in enumerate(("person-1", "person-2", "person-3")):
        event = {"user_id": name, "event_type": "Bought", "insert_id": f"i{n}", "price": n + 1.5, "country": "Chile"}
        process.upload({**event, "user_properties": {"plan": f"p{n}"}, "groups": {"org": "acme"}})
    process.upload({"device_id": "device-9", "event_type": "Looked"})
    process.upload({"device_id": "device-9", "user_id": "person-1", "event_type": "Looked"})
    process.form("/identify", identification={"user_id": "person-2", "city": "Rome", "user_properties": {"x": [1]}})
    group = {"group_type": "org", "group_value": "acme", "group_properties": {"size": 5}}
    process.form("/groupidentify", identification=group)
    process.form("/usermap", mapping={"user_id": "person-3", "global_user_id": "person-2"})
    person = process.good("GET", "/api/2/usersearch", user="person-1")["matches"][0]["amplitude_id"]
    app = process.good("GET", "/api/2/useractivity", user=person)["events"][0]["app"]
    people = {"name": "List", "app_id": app, "id_type": "BY_USER_ID", "ids": ["person-1", "person-2"],
              "owner": "a@example.com", "published": True}  # fmt: skip
    listed = process.good("POST", "/api/3/cohorts/upload", people)["cohortId"]
    with process.tank.store.write() as conn:
        cohort_computing.save(conn, "buyers1", "Buyers", BUYERS, START_MS)
        for kind, spec in MODELS.items():
            models.save(conn, kind, "m1", spec, START_MS)
    asked = process.good("GET", f"/api/5/cohorts/request/{listed}", props="1", propKeys="plan")["request_id"]
    process.good("GET", f"/api/5/cohorts/request-status/{asked}")
    mark = {"label": "Launch", "start": "2026-01-02T00:00:00Z"}
    annotation = process.good("POST", "/api/3/annotations", mark)["data"]["id"]
    category = process.good("POST", "/api/3/annotation-categories", {"category": "Sales"})["data"]["id"]
    release = {"version": "1", "release_start": "2026-01-02 00:00:00", "title": "One"}
    process.good("POST", "/api/2/release", release)
    process.good("POST", "/api/2/deletions/users", {"user_ids": ["person-3"]})
    return {"<cohort_id>": listed, "<request_id>": asked, "<annotation_id>": str(annotation), "<person>": str(person),
            "<category_id>": str(category), "<tank_id>": process.tank.id}  # fmt: skip


MODELS: dict[str, dict[str, Any]] = {
    "computations": {"name": "times", "type": "count", "event_type": "Bought"},
    "recommendations": {"event_type": "Bought", "item_property": "item", "size": 3, "control_percent": 0},
    "predictions": {"event_type": "Bought", "within_days": 30},
}
QUERIES: dict[str, dict[str, Any]] = {
    "/identify": {"identification": "{oops", "api_key": "-"},
    "/groupidentify": {"identification": "{oops", "api_key": "-"},
    "/api/2/usermap": {"user_ids": "person-2,person-3"},
    "/api/2/export": {"start": "20260101T00", "end": "20260101T00"},
    "/api/2/usersearch": {"user": "person"},
    "/api/2/useractivity": {"user": "<person>"},
    "/api/3/cohorts": {"includeSyncInfo": "true"},
    "/api/2/users": {"start": "20260101", "end": "20260102", "g": "country"},
    "/api/2/event-streaming/delivery-metrics-summary": {"sync_id": "none", "time_period": "ONE_HOUR"},
    "/api/2/deletions/users": {"start_day": "2026-01-01", "end_day": "2026-01-31"},
    "/v1/userprofile": {"user_id": "person-1", "get_amp_props": "true", "get_computations": "true",
                        "get_cohort_ids": "true", "get_propensity": "", "prediction_id": "m1"},
}  # fmt: skip

ASK = "/api/5/cohorts/request/<cohort_id>"
"""Gives out a new request each time; that it is the one that would have come anyway, the twin shows."""


def answers(process: Process, names: dict[str, str]) -> dict[str, tuple[Any, ...]]:
    """What every GET of the app that is simulated says."""
    found = {}
    for route in process.app.extensions["wavetank"].routes:
        if route.method != "GET" or route.handle is None:
            continue
        path = route.path
        for name, value in names.items():
            path = path.replace(name, value)
        query = {key: names.get(value, value) for key, value in QUERIES.get(route.path, {}).items()}
        found[route.path] = process.call("GET", path, **query)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_every_api_answers_as_before(path: Path) -> None:
    first = Process(path)
    names = fill(first)
    first.at(2 * 3_600_000)
    before = answers(first, names)
    refused = {"/identify", "/groupidentify", "/api/2/event-streaming/delivery-metrics-summary",
               "/cohort-files/<tank_id>/<request_id>.csv"}  # fmt: skip
    assert {each for each, answer in before.items() if answer[0] >= 400} == refused
    digest = first.tank.store.digest()
    first.tanks.close()
    second = Process(path)
    assert second.tank.store.digest() == digest
    after = answers(second, names)
    for each in before.keys() - {ASK}:
        assert after[each] == before[each], each
    assert after[ASK][:3] == before[ASK][:3]
    second.tanks.close()


def test_what_comes_after_a_restart_is_what_would_have_come(tmp_path: Path) -> None:
    """One project goes through a restart, its twin does not; both are told and asked the same then."""
    restarted, twin = Process(tmp_path / "a.db"), Process(tmp_path / "b.db")
    names = fill(restarted)
    assert fill(twin) == names
    restarted.tanks.close()
    restarted = Process(tmp_path / "a.db")
    for process in (restarted, twin):
        process.upload({"user_id": "person-1", "event_type": "Bought", "insert_id": "i0", "device_id": "device-1"})
        process.upload({"user_id": "person-4", "event_type": "Bought", "user_properties": {"$add": {"n": 2}}})
        process.upload({"device_id": "device-9", "event_type": "Looked"})
        process.form("/identify", identification={"user_id": "person-1", "user_properties": {"$append": {"l": "a"}}})
        process.at(3 * 3_600_000)
    secrets = {each.secret for each in (restarted, twin)}
    assert len(secrets) == 1  # the same seed makes the same keys
    left, right = answers(restarted, names), answers(twin, names)
    for each, answer in left.items():
        assert right[each] == answer, each
    restarted.tanks.close()
    twin.tanks.close()
