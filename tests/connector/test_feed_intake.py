"""Taking feeds: authentication, credential check, malformed requests, duplicates, flows that are off."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connector_stubs import KEY, ManualClock, currents_event, envelope
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from connector.assembly import assemble, outbox_of
from connector.config import Config
from connector.engine import Engine
from connector.outbox import Unreachable
from connector.sections import CurrentsConfig
from connector.service import Draining, create_app

AUTH = {"Authorization": "Bearer token-1"}


class Desk:
    """A service without a server: ``post`` feeds it, ``outbox`` shows what it kept."""

    def __init__(
        self, folder: Path, outbox_url: str | None, *, flow_on: bool = True, token: str = "token-1"
    ) -> None:
        flow = CurrentsConfig("http://127.0.0.1:9", KEY, frozenset(["Custom Event"])) if flow_on else None
        self.draining = Draining()
        self.config = Config(9000, folder, None, token, flow, outbox_url=outbox_url)
        self.flows = assemble(self.config)
        self.outbox = self.flows["currents"].outbox if flow_on else outbox_of(self.config, "currents")
        self.engine = Engine([], ManualClock())
        self.client: FlaskClient = create_app(self.config, self.flows, self.engine, self.draining).test_client()

    def post(self, body: bytes, path: str = "/feeds/currents", **headers: str) -> TestResponse:
        return self.client.post(path, data=body, headers=headers or AUTH)


@pytest.fixture
def desk(tmp_path: Path, outbox_url: str | None) -> Iterator[Desk]:
    made = Desk(tmp_path, outbox_url)
    yield made
    made.outbox.close()


def test_health_names_flows_and_counts_events(desk: Desk) -> None:
    desk.post(envelope([currents_event(1), currents_event(2, event_type="users.behaviors.Purchase")]))
    answer = desk.client.get("/healthz")
    assert answer.status_code == 200
    body = answer.get_json()
    assert body["flows"] == ["currents", "event_stream", "cohort_sync", "property_sync", "customerio"]
    assert body["outbox"] == {"pending": 1, "sent": 0, "dead": 0, "dropped": 0, "skipped": 1, "held": 0}
    assert body["reasons"] == {"skipped": {"event type is not selected": 1}}


@pytest.mark.parametrize("headers", [{"X": "y"}, {"Authorization": "Bearer nope"}, {"Authorization": "token-1"}])
def test_a_wrong_token_is_answered_401_and_nothing_is_taken(desk: Desk, headers: dict[str, str]) -> None:
    assert desk.post(envelope([currents_event(1)]), **headers).status_code == 401
    assert desk.post(b"", **headers).status_code == 401
    assert desk.outbox.counts()["pending"] == 0


def test_without_a_configured_token_everybody_may_feed(tmp_path: Path, outbox_url: str | None) -> None:
    desk = Desk(tmp_path, outbox_url, token="")
    assert desk.post(envelope([currents_event(1)]), X="y").status_code == 200
    desk.outbox.close()


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"events":[]}', b'{"events":null}'])
def test_a_request_without_events_checks_the_credentials(desk: Desk, body: bytes) -> None:
    assert desk.post(body).status_code == 200
    assert sum(desk.outbox.counts().values()) == 0


def test_a_batch_is_stored_before_it_is_answered(desk: Desk) -> None:
    answer = desk.post(envelope([currents_event(1), currents_event(2)]))
    assert answer.status_code == 200
    other = outbox_of(desk.config, "currents")
    rows = other.read("SELECT id, state, body FROM events ORDER BY n")
    other.close()
    assert [row[:2] for row in rows] == [("event-1", "pending"), ("event-2", "pending")]
    assert json.loads(rows[0][2])["insert_id"] == "event-1"


def test_an_event_that_comes_again_is_the_same_event(desk: Desk) -> None:
    assert desk.post(envelope([currents_event(1), currents_event(1)])).get_json() == {"taken": 2, "new": 1}
    assert desk.post(envelope([currents_event(1), currents_event(2)])).get_json() == {"taken": 2, "new": 1}
    assert desk.outbox.counts()["pending"] == 2


def test_an_event_that_was_sent_is_not_sent_again_within_30_days(desk: Desk) -> None:
    day = 86_400_000
    desk.post(envelope([currents_event(1)]))
    desk.outbox.end([1], "sent", 0)
    desk.outbox.prune(29 * day)
    assert desk.post(envelope([currents_event(1)])).get_json()["new"] == 0
    desk.outbox.prune(31 * day)
    assert desk.post(envelope([currents_event(1)])).get_json()["new"] == 1


BAD: list[tuple[bytes, str]] = [
    (b"{", "not JSON"),
    (b"\xff\xfe", "not JSON"),
    (b"[]", "not an object"),
    (b'"events"', "not an object"),
    (b'{"events":{}}', "not a list"),
    (b'{"events":[1]}', "events[0]"),
    (b'{"events":[' + b"[" * 5000 + b"]" * 5000 + b"]}", "not JSON"),
    (envelope([currents_event(1), currents_event(2, id=None)]), "events[1]: id"),
    (envelope([currents_event(1, id=7)]), "events[0]: id"),
    (envelope([currents_event(1, event_type="")]), "events[0]: event_type"),
    (envelope([currents_event(1, time="2026-01-01")]), "events[0]: time"),
    (envelope([currents_event(1, time=1.5)]), "events[0]: time"),
    (envelope([currents_event(1, time=True)]), "events[0]: time"),
    (envelope([currents_event(1, time=10**30)]), "events[0]: time"),
    (envelope([currents_event(1, user="me")]), "events[0]: user"),
    (envelope([currents_event(1, user={"external_user_id": ["a"]})]), "external_user_id"),
    (envelope([currents_event(1, properties=[])]), "events[0]: properties"),
    (b'{"events":[{"id":"\\ud800"}]}', "not JSON"),
]


@pytest.mark.parametrize(("body", "where"), BAD)
def test_a_malformed_request_is_answered_400_with_the_place(desk: Desk, body: bytes, where: str) -> None:
    answer = desk.post(body)
    assert answer.status_code == 400
    assert where in answer.get_json()["error"]
    assert sum(desk.outbox.counts().values()) == 0


def test_an_event_nested_too_deeply_is_answered_400(desk: Desk) -> None:
    nested: Any = 1
    for _ in range(400):
        nested = {"a": nested}
    event = currents_event(1, properties={"name": "Deep", "custom_properties": {"deep": nested}})
    assert desk.post(envelope([event])).status_code == 400


def test_a_flow_that_is_off_is_answered_and_nothing_is_kept(tmp_path: Path, outbox_url: str | None) -> None:
    desk = Desk(tmp_path, outbox_url, flow_on=False)
    assert desk.post(envelope([currents_event(1)])).status_code == 200
    assert desk.post(b"").status_code == 200
    assert sum(desk.outbox.counts().values()) == 0
    assert desk.client.get("/healthz").get_json()["currents"] == "off"
    desk.outbox.close()


@pytest.mark.parametrize("kind", ["events", "users", "cohorts"])
def test_a_feed_of_a_flow_that_is_off_is_taken_and_nothing_is_sent(desk: Desk, kind: str) -> None:
    answer = desk.post(b'{"event_type": "Bought"}', f"/feeds/amplitude/{kind}")
    assert (answer.status_code, answer.get_json()) == (200, {"new": 0})
    assert sum(desk.outbox.counts().values()) == 0


def test_other_requests_are_refused_in_json(desk: Desk) -> None:
    assert desk.post(b"", "/feeds/nothing").status_code == 404
    for answer, status in (
        (desk.client.get("/feeds/currents"), 405),
        (desk.client.get("/nothing"), 404),
        (desk.client.get("/outbox?state=strange"), 400),
    ):
        assert (answer.status_code, list(answer.get_json())) == (status, ["error"])


def test_while_draining_feeds_are_turned_away(desk: Desk) -> None:
    desk.draining.set()
    assert desk.post(envelope([currents_event(1)])).status_code == 503
    assert desk.client.get("/healthz").status_code == 503
    assert sum(desk.outbox.counts().values()) == 0


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), Unreachable("gone")])
def test_an_outbox_that_cannot_be_written_is_answered_503(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(_rows: object) -> int:
        raise error

    monkeypatch.setattr(desk.outbox, "put", full)
    assert desk.post(envelope([currents_event(1)])).status_code == 503


def test_every_answered_feed_wakes_the_delivery(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []
    monkeypatch.setattr(desk.engine, "wake", lambda: woken.append(1))
    for body in (envelope([currents_event(1)]), b"", b"{"):
        desk.post(body).close()
    desk.post(b"", Authorization="Bearer nope").close()
    assert len(woken) == 4
    desk.client.get("/healthz").close()
    assert len(woken) == 4


def test_the_dead_can_be_looked_at(desk: Desk) -> None:
    desk.post(envelope([currents_event(1)]))
    desk.outbox.end([1], "dead", 5, "400 Invalid field values on some events: time")
    listed = desk.client.get("/outbox?state=dead").get_json()["events"]
    assert [(each["id"], each["reason"]) for each in listed] == [
        ("event-1", "400 Invalid field values on some events: time")
    ]
