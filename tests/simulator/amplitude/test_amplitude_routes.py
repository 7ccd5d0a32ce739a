"""The table in docs/amplitude.md and the routes say the same."""

from __future__ import annotations

import re
from pathlib import Path

from simulator.amplitude import create_app
from simulator.tank import Tanks

TABLE = Path(__file__).parents[3] / "docs" / "amplitude.md"


def test_the_table_lists_every_route_with_its_state() -> None:
    text = TABLE.read_text("utf-8")
    told = {
        (method, path): "simulated" if state.startswith("simulated") else state
        for method, path, state in re.findall(r"^\| (\w+) \| `([^`]+)` \| ([^|]+) \|$", text, re.M)
    }
    routes = create_app(Tanks(), "us").extensions["wavetank"].routes
    served = {(route.method, route.path): "501" if route.handle is None else "simulated" for route in routes}
    assert told == served


def test_europe_lacks_the_profile_only() -> None:
    def paths(region: str) -> set[tuple[str, str]]:
        routes = create_app(Tanks(), region).extensions["wavetank"].routes  # type: ignore[arg-type]
        return {(route.method, route.path) for route in routes}

    assert paths("us") - paths("eu") == {("GET", "/v1/userprofile")}
