"""Customer.io's port: its endpoints and its table in docs. Source: Customer.io docs, App, Track and Pipelines APIs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from simulator.control import customerio as control_customerio
from simulator.customerio import app as customerio_app
from simulator.exchange import Request
from simulator.openapi import contract
from simulator.tank import Tanks


@pytest.fixture
def client() -> Any:
    tanks = Tanks()
    yield customerio_app.create_app(tanks, "us").test_client()
    tanks.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/reporting_webhooks", 401),
        ("PUT", "/v1/reporting_webhooks/5", 401),
        ("GET", "/api/v1/accounts/region", 401),
        ("POST", "/api/v1/metrics", 400),
        ("GET", "/v1/messages", 501),
        ("POST", "/api/v2/entity", 501),
        ("POST", "/v1/identify", 501),
    ],
)
def test_a_documented_endpoint_never_pretends(client: Any, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method, json={})
    assert answer.status_code == status
    assert answer.json
    if status == 501:
        assert path in answer.json["error"]


def test_an_unknown_path_answers_404(client: Any) -> None:
    answer = client.get("/v1/nonsense")
    assert (answer.status_code, answer.json) == (404, {"meta": {"error": "not found"}})


def test_a_misspelt_channel_is_a_method_that_is_not_allowed(client: Any) -> None:
    """Source: Customer.io docs, Common transactional API errors, 405."""
    assert client.post("/v1/send/emial", json={}).status_code == 405
    assert client.get("/v1/send/email").status_code == 405


def test_a_request_without_a_known_key_is_refused() -> None:
    route = next(each for each in customerio_app.routes("us") if each.path == "/v1/reporting_webhooks")
    tanks = Tanks()
    asked = Request("GET", "/v1/reporting_webhooks", {}, {"Authorization": "Bearer x"}, b"", "127.0.0.1")
    found = route.find(asked, tanks)
    tanks.close()
    assert found.tank is None
    assert route.refuse(asked, found.detail).status == 401


def test_every_handler_belongs_to_a_documented_endpoint_and_publishes_a_schema() -> None:
    documented = [each for rows in customerio_app.endpoints().values() for each in rows]
    assert len(documented) == len(set(documented))
    assert set(customerio_app.HANDLERS) <= set(documented)
    for endpoint, (_, schema, _) in customerio_app.HANDLERS.items():
        if endpoint.split()[0] in ("GET", "DELETE") or endpoint.endswith("suppress"):
            assert schema is None
        else:
            assert contract(str(schema))["type"] == "object"


TABLE = (Path(__file__).parents[3] / "docs" / "customerio.md").read_text("utf-8")


def test_the_table_in_the_docs_lists_every_route_with_its_state() -> None:
    rows = re.findall(r"^\| (\w+) \| `([^`]+)` \| (501|simulated) \|$", TABLE, re.M)
    told = {(method, path): state for method, path, state in rows}
    served = {
        (each.method, each.path): "501" if each.handle is None else "simulated" for each in customerio_app.routes("us")
    }
    assert told == served


def test_the_docs_name_every_control_route() -> None:
    rows = re.findall(r"^\| (\w+) \| `(/(?:feeds/)?customerio[^`]*)` \| ([^|]+) \|$", TABLE, re.M)
    plain = {(each.method, each.path.removeprefix("/tanks/<tank_id>"), each.name) for each in control_customerio.ROUTES}
    assert set(rows) == plain
