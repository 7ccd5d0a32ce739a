"""Customer.io's port: nothing is simulated yet. Source: Customer.io docs, App API and Track API."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.customerio import app as customerio_app
from simulator.exchange import Request
from simulator.tank import Tanks


@pytest.fixture
def client() -> Any:
    tanks = Tanks()
    yield customerio_app.create_app(tanks).test_client()
    tanks.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/reporting_webhooks"),
        ("PUT", "/v1/reporting_webhooks/5"),
        ("GET", "/api/v1/accounts/region"),
        ("POST", "/api/v1/metrics"),
    ],
)
def test_a_documented_endpoint_never_pretends(client: Any, method: str, path: str) -> None:
    answer = client.open(path, method=method, json={})
    assert answer.status_code in (401, 501)
    assert answer.json


def test_an_unknown_path_answers_404(client: Any) -> None:
    answer = client.get("/v1/nonsense")
    assert (answer.status_code, answer.json) == (404, {"meta": {"error": "not found"}})


def test_a_request_without_a_known_key_is_refused() -> None:
    route = customerio_app.routes()[0]
    tanks = Tanks()
    asked = Request("GET", "/v1/reporting_webhooks", {}, {"Authorization": "Bearer x"}, b"", "127.0.0.1")
    found = route.find(asked, tanks)
    tanks.close()
    assert found.tank is None
    assert route.refuse(asked, found.detail).status == 401
