"""The table in docs/braze.md and the routes say the same."""

from __future__ import annotations

import re
from pathlib import Path

from simulator.braze import app, permissions
from simulator.control import braze, braze_segments
from simulator.openapi import contract

TABLE = Path(__file__).parents[3] / "docs" / "braze.md"


def test_the_table_lists_every_route_with_its_state() -> None:
    rows = re.findall(r"^\| (\w+) \| `([^`]+)` \| ([^|]+) \|$", TABLE.read_text("utf-8"), re.M)
    told = {(method, path): state.strip() for method, path, state in rows}
    served = {(each.method, each.path): "501" if each.handle is None else "simulated" for each in app.routes()}
    assert told == served


def test_the_document_names_every_control_route() -> None:
    told = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]+)`", TABLE.read_text("utf-8")))
    plain = [
        (each.method, each.path.removeprefix("/tanks/<tank_id>/braze"))
        for each in (*braze.ROUTES, *braze_segments.ROUTES)
    ]
    assert {(method, re.sub(r"<(\w+)>", r"{\1}", path)) for method, path in plain} == told


def test_every_handler_belongs_to_a_documented_endpoint_and_publishes_a_schema() -> None:
    documented = {endpoint for folder in permissions.endpoints().values() for endpoint in folder}
    assert set(app.HANDLERS) | set(app.READERS) <= documented
    assert not set(app.HANDLERS) & set(app.READERS)
    for endpoint, (_, schema, _) in app.HANDLERS.items():
        assert (schema is None) == endpoint.startswith("GET ")
        assert schema is None or contract(schema)["type"] == "object"
