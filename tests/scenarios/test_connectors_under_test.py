"""Which flows a connector implements, and connectors of Customer.io's reports that somebody else has written."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from scenarios import packs
from scenarios.commands import check
from scenarios.connectors import implemented
from scenarios.runner import Plan, Pool

SCRIPT = Path(__file__).with_name("scripted_reports_connector.py")


@contextmanager
def answering(statuses: dict[str, int], flows: list[str] | None = None) -> Iterator[str]:
    """A connector that answers an empty POST so; other paths with 404."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _respond(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._respond(200, b"ok" if flows is None else json.dumps({"flows": flows}).encode())

        def do_POST(self) -> None:
            self._respond(statuses.get(self.path, 404))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


CURRENTS, EVENTS, USERS = "/feeds/currents", "/feeds/amplitude/events", "/feeds/amplitude/users"
OWN = {"customerio": "/hooks/customer-io"}
COHORTS, CUSTOMERIO = "/feeds/amplitude/cohorts", "/feeds/customerio"


@pytest.mark.parametrize(
    ("statuses", "flows"),
    [
        ({}, set()),
        ({CURRENTS: 200}, {"currents"}),
        ({CURRENTS: 501, CUSTOMERIO: 401}, {"customerio"}),
        ({CUSTOMERIO: 501}, set()),
        ({EVENTS: 401}, set()),
        ({EVENTS: 401, USERS: 400, COHORTS: 500}, {"event_stream", "cohort_sync"}),
        (dict.fromkeys((CURRENTS, EVENTS, USERS, COHORTS, CUSTOMERIO), 501), set()),
    ],
)
def test_a_feed_path_that_answers_404_or_501_is_not_implemented(statuses: dict[str, int], flows: set[str]) -> None:
    with answering(statuses) as url:
        assert implemented(url, {}) == flows


def test_a_list_of_flows_decides_and_paths_can_be_others() -> None:
    with answering({CUSTOMERIO: 401}, ["currents"]) as url:
        assert implemented(url, {}) == {"currents"}
    with answering({"/hooks/cio": 401}) as url:
        assert implemented(url, {}) == set()
        assert implemented(url, {"customerio": "/hooks/cio"}) == {"customerio"}


def test_a_connector_of_reports_in_any_language_is_judged_at_a_path_of_its_own() -> None:
    (scenario,) = packs.select(packs.load(), ids=["who-is-sent"])
    orders = {
        mode: Plan(f"{sys.executable} {SCRIPT} {mode}", feeds=feeds, pictures=False)
        for mode, feeds in (("right", OWN), ("everybody", OWN), ("elsewhere", {}))
    }
    with Pool(1) as pool:
        played = {plan.connector: result for _, plan, result in pool.play([(scenario, each) for each in orders.values()])}
    found = {mode: played[plan.connector] for mode, plan in orders.items()}
    assert found["right"].rules == dict.fromkeys(("CIO-001", "CIO-002", "CIO-003", "CIO-009"), "kept")
    assert found["everybody"].rules["CIO-002"] == "broken"
    assert found["elsewhere"].verdict == "not_applicable"


def test_a_connector_without_test_connection_is_not_judged_by_it() -> None:
    (scenario,) = packs.select(packs.load(), ids=["connection-tested"])
    plan = Plan(f"{sys.executable} {SCRIPT} right", feeds=OWN, pictures=False)
    with Pool(1) as pool:
        ((_, _, result),) = pool.play([(scenario, plan)])
    assert result.verdict == "not_applicable"


@pytest.mark.parametrize("feed", ["customer=/hooks", "customerio=hooks", "customerio"])
def test_a_feed_that_cannot_be_is_told_in_one_line(feed: str) -> None:
    done = CliRunner().invoke(check, ["--feed", feed])
    assert done.exit_code == 2
    assert f"--feed {feed}: write it like currents=/my/path" in done.output
