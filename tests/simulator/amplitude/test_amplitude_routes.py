"""The table in docs/amplitude.md and the routes say the same."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from simulator.amplitude import create_app
from simulator.tank import Tanks

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "docs" / "amplitude.md"


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


def test_the_page_lists_every_inferred_setting_with_its_default() -> None:
    declared = yaml.safe_load((ROOT / "simulator" / "amplitude" / "settings.yaml").read_text())
    wanted = {f"| `{name}` | `{each['default']}` |" for name, each in declared.items() if "inferred" in each["source"]}
    page = (ROOT / "docs" / "amplitude.md").read_text().splitlines()
    assert {line for line in page if line.startswith("| `amplitude.")} == wanted
