"""Every Currents event of the catalogue, caused by a marketer and by people with their devices: one campaign, stepped time."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from simulator.openapi import contract

DOCUMENTED = yaml.safe_load((Path(__file__).parent / "documented_events.yaml").read_text("utf-8"))
ENVELOPE = jsonschema.Draft202012Validator(contract("currents_envelope"))
GROUP = "5f0a5f0a-0000-4000-8000-000000000001"
SMS_GROUP = "5f0a5f0a-0000-4000-8000-000000000002"
IPHONE = {"platform": "ios", "os_version": "17.6.1", "device_model": "iPhone 15"}
ALWAYS: dict[str, Any] = {"p": 1, "after": [1, 2]}
NEVER: dict[str, Any] = {"p": 0}


class Shop:
    """A marketer's and some people's view of one tank; ``events`` is what the connector has got."""

    def __init__(self, tank: Any, receiver: Any) -> None:
        self.tank = tank
        self.receiver = receiver
        self.braze = tank.ready["braze"]
        answer = tank.control("PUT", "/feeds/currents", {"url": receiver.url})
        assert answer.status_code == 200, answer.text

    def rest(self, path: str, body: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.braze['rest_api_key']}"}
        answer = self.tank.session.post(f"{self.braze['url']}{path}", json=body, headers=headers, timeout=60)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def desk(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = self.tank.control(method, f"/braze{path}", body, **query)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    def set(self, **behaviour: Any) -> None:
        full = {_full(name): value for name, value in behaviour.items()}
        answer = self.tank.control("PATCH", "/settings", {"braze.behaviour": full})
        assert answer.status_code == 200, answer.text

    def do(self, device_id: str, do: str, **more: Any) -> None:
        self.desk("POST", "/sdk", {"actions": [{"device_id": device_id, "do": do, **more}]})

    def advance(self, by: str) -> None:
        self.tank.advance(by)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for each in self.receiver.got if each.body for event in each.events]


def _full(name: str) -> str:
    known = [each["type"] for each in DOCUMENTED["events"]] if isinstance(DOCUMENTED, dict) else list(DOCUMENTED)
    return next(each for each in known if each.endswith("." + name.replace("__", "."))) if name != "convert" else name


@pytest.fixture
def shop(make_tank: Any, receiver: Any) -> Shop:
    return Shop(make_tank(settings={"clock.settle_ms": 1}), receiver)


def test_every_event_is_caused_by_acting(shop: Shop) -> None:
    print(DOCUMENTED)
