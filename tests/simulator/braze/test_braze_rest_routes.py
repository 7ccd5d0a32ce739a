"""Braze's REST port: who gets in, and what is not simulated says so. Source: Braze docs, REST API, Errors."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.braze import app as braze_app
from simulator.exchange import Request
from simulator.tank import Tanks


@pytest.fixture
def tanks() -> Any:
    made = Tanks()
    made.create("one")
    yield made
    made.close()


def request(path: str, body: bytes = b"", **headers: str) -> Request:
    return Request("POST", path, {}, headers, body, "127.0.0.1")


@pytest.mark.parametrize(
    ("method", "path"), [(each.method, each.path) for each in braze_app.routes() if each.handle is None]
)
def test_a_documented_endpoint_answers_an_honest_501(tanks: Tanks, method: str, path: str) -> None:
    tank = tanks.get("one")
    client = braze_app.create_app(tanks).test_client()
    body = {
        "partner_api_key": tank.credential("braze_partner_api_key"),
        "client_secret": tank.credential("braze_data_import_key"),
    }
    headers = {"Authorization": f"Bearer {tank.credential('braze_rest_api_key')}"}
    answer = client.open(path, method=method, json=body, headers=headers)
    assert answer.status_code == 501
    assert path.split("/")[1] in answer.json["error"]
    assert answer.headers["X-Wavetank-Request"].startswith("one.")


def test_an_unknown_path_answers_404_as_braze_does(tanks: Tanks) -> None:
    client = braze_app.create_app(tanks).test_client()
    for path in ("/users/tracks", "/", "/users/track/5"):
        answer = client.post(path)
        assert (answer.status_code, answer.json) == (404, {"message": "Not Found"})


def test_the_key_finds_the_tank_in_any_case_of_the_scheme(tanks: Tanks) -> None:
    tank = tanks.get("one")
    route = braze_app.routes()[0]
    for scheme in ("Bearer", "bearer", "BEARER"):
        key = f"{scheme} {tank.credential('braze_rest_api_key')}"
        assert route.find(request("/users/track", Authorization=key), tanks).tank is tank


def test_an_unknown_key_is_echoed_and_the_rate_headers_are_empty(tanks: Tanks) -> None:
    route = braze_app.routes()[0]
    asked = request("/users/track", Authorization="Bearer wrong-key")
    found = route.find(asked, tanks)
    assert found.tank is None
    answer = route.refuse(asked, found.detail)
    assert (answer.status, answer.body) == (401, {"message": "Invalid API key: wrong-key"})
    assert set(answer.headers.values()) == {""}
    assert set(answer.headers) == {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    assert route.refuse(request("/users/track"), None).status == 401


def test_a_revoked_key_is_refused_and_noted_in_its_own_tank(tanks: Tanks) -> None:
    tanks.set_credential("one", "braze_rest_api_key", revoked=True)
    tank = tanks.get("one")
    key = f"Bearer {tank.credential('braze_rest_api_key')}"
    found = braze_app.routes()[0].find(request("/users/track", Authorization=key), tanks)
    assert (found.tank, found.owner) == (None, tank)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid Partner API key"),
        (b"[]", "Invalid Partner API key"),
        (b'{"partner_api_key": "x"}', "Invalid Partner API key"),
        (b'{"partner_api_key": "KEY", "client_secret": "x"}', "Invalid client secret"),
    ],
)
def test_partner_calls_carry_their_keys_in_the_body(tanks: Tanks, body: bytes, message: str) -> None:
    (route,) = [each for each in braze_app.routes() if each.path == "/partners/<partner>/cohorts"]
    key = tanks.get("one").credential("braze_partner_api_key")
    asked = request("/partners/amplitude/cohorts", body.replace(b"KEY", key.encode()))
    found = route.find(asked, tanks)
    assert found.tank is None
    answer = route.refuse(asked, found.detail)
    assert (answer.status, answer.body) == (401, {"message": message})


def test_a_head_request_needs_no_content_type(tanks: Tanks) -> None:
    tank = tanks.get("one")
    headers = {"Authorization": f"Bearer {tank.credential('braze_rest_api_key')}"}
    answer = braze_app.create_app(tanks).test_client().head("/events/list", headers=headers)
    assert (answer.status_code, answer.data) == (200, b"")
