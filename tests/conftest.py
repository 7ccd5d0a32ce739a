"""Shared by all tests: one lab per test session and fresh tanks on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import postgresql as servers
import pytest
import requests
from hypothesis import HealthCheck, settings

from simulator.serving import Lab, serve
from simulator.tank import Tanks

os.environ.pop("WAVETANK_CLOCK_URL", None)
# The same examples every time, and no verdict about the machine's speed.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


class TankUnderTest:
    """A fresh tank with short ways to its platforms and its control API."""

    def __init__(self, lab: Lab, spec: dict[str, Any]) -> None:
        self.lab = lab
        self.ready = lab.create_tank(spec)
        self.id: str = self.ready["tank"]["id"]
        self.url = f"{lab.control_url}/tanks/{self.id}"
        self.key: str = self.ready["amplitude"]["api_key"]
        self.amplitude: str = self.ready["amplitude"]["url"]
        self.session = requests.Session()
        self.session.trust_env = False

    def control(self, method: str, path: str, body: object = None, **query: Any) -> requests.Response:
        return self.session.request(method, f"{self.url}{path}", json=body, params=query, timeout=120)

    def upload(self, events: Any, path: str = "/2/httpapi", **more: Any) -> requests.Response:
        body = {"api_key": self.key, "events": events, **more}
        return self.session.post(f"{self.amplitude}{path}", json=body, timeout=60)

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", "/amplitude/events", limit=100000).json()["events"]
        return found

    def advance(self, by: str) -> dict[str, Any]:
        answer = self.control("POST", "/clock/advance", {"by": by})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def digest(self) -> str:
        return self.lab.tanks.get(self.id).store.digest()


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "where tanks live that would be in memory: sqlite, or postgresql on a server of the tests' own"
    parser.addoption("--store", choices=["sqlite", "postgresql"], default="sqlite", help=help_)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a real PostgreSQL."""
    with servers.postgresql() as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def _store(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.config.getoption("--store") == "sqlite":
        yield
        return
    url, begin = request.getfixturevalue("postgresql"), Tanks.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tanks, "__init__", lambda self, state=None: begin(self, state or servers.fresh(url)))
        yield


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with serve(seed=0) as running:
        yield running


@pytest.fixture
def make_tank(lab: Lab) -> Iterator[Any]:
    made: list[str] = []

    def make(**spec: Any) -> TankUnderTest:
        spec.setdefault("settings", {}).setdefault("clock.settle_ms", 5)
        tank = TankUnderTest(lab, spec)
        made.append(tank.id)
        return tank

    yield make
    for tank_id in made:
        if any(tank.id == tank_id for tank in lab.tanks.list()):
            lab.desk.delete(tank_id)


@pytest.fixture
def tank(make_tank: Any) -> Any:
    return make_tank()
