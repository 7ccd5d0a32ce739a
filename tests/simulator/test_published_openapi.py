"""Schemathesis throws requests at every published route of the control, the Amplitude and the Customer.io port."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from simulator.serving import Lab

NO_5XX = CHECKS.get_one("not_a_server_error")
DOCUMENTED = [status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def ready(lab: Lab) -> Any:
    return lab.create_tank({"id": "schema", "settings": {"clock.settle_ms": 0}})


def operations(url: str) -> list[Any]:
    document = requests.get(f"{url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    return [each.ok() for each in schema.get_all_operations()]


def _within_reason(body: dict[str, Any]) -> None:
    """Feeds go to loopback only, and no test takes a million events or a thousand years."""
    if isinstance(body.get("url"), str):
        body["url"] = "http://127.0.0.1:9/feeds/currents"
    if isinstance(body.get("events"), int) and body["events"] > 50:
        body["events"] = 50
    if "by" in body or "until" in body:
        body.update({name: 1000 for name in ("by", "until") if isinstance(body.get(name), int)})
    if body.get("mode") in ("real", "scaled"):
        body["mode"] = "stepped"


def _authorization(path: str, keys: dict[str, str]) -> dict[str, str]:
    if "app_api_key" in keys:
        return _customerio(path, keys)
    if path.startswith("/v1/"):
        return {"Authorization": f"Api-Key {keys['secret_key']}"}
    pair = base64.b64encode(f"{keys['api_key']}:{keys['secret_key']}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _customerio(path: str, keys: dict[str, str]) -> dict[str, str]:
    if path.startswith("/v1/"):
        return {"Authorization": f"Bearer {keys['app_api_key']}"}
    pair = base64.b64encode(f"{keys['site_id']}:{keys['track_api_key']}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def throw(operation: Any, fixed: dict[str, str], keys: dict[str, str] | None = None) -> None:
    """Throw requests at an operation; with ``keys`` they come from somebody who may."""

    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        for name, value in fixed.items():
            if name in case.path_parameters:
                case.path_parameters[name] = value
        if isinstance(case.body, dict):
            _within_reason(case.body)
        if keys is not None:
            case.headers = {**(case.headers or {}), **_authorization(operation.path, keys)}
            for holder in (case.query, case.body):
                if isinstance(holder, dict) and "api_key" in holder:
                    holder["api_key"] = keys["api_key"]
        answer = case.call(timeout=60)
        case.validate_response(answer, checks=[NO_5XX, *DOCUMENTED])

    run()


def test_amplitude_port(ready: Any) -> None:
    found = operations(ready["amplitude"]["url"])
    assert {each.path for each in found} >= {"/2/httpapi", "/batch", "/identify", "/usermap", "/api/2/export"}
    for operation in found:
        throw(operation, {})
        throw(operation, {}, ready["amplitude"])


def test_customerio_port(lab: Lab) -> None:
    limits = {f"customerio.limit.{name}": 0 for name in ("app", "send", "broadcast", "track")}
    made = lab.create_tank({"id": "schema-cio", "settings": {"clock.settle_ms": 0, **limits}})
    found = operations(made["customerio"]["url"])
    assert {each.path for each in found} >= {"/v1/reporting_webhooks", "/v1/send/push", "/api/v1/metrics"}
    for operation in found:
        throw(operation, {}, made["customerio"])


def test_control_port(ready: Any) -> None:
    found = operations(ready["control"]["url"])
    assert len(found) > 35
    for operation in found:
        # Waiting is held for 25 s by design, and deleting the tank would leave nothing to throw at.
        deletes = operation.method == "delete" and operation.path == "/tanks/{tank_id}"
        if deletes or operation.path.endswith("/clock/wait"):
            continue
        throw(operation, {"tank_id": "schema"})
