"""Whole load runs, short and ten times as fast: real servers, real Locust, the reference connector and a broken one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import postgresql as servers
from click.testing import CliRunner

from wavetank import main

HERE = Path(__file__).parent


def load(*arguments: str) -> tuple[int, dict[str, Any]]:
    answer = CliRunner().invoke(main, ["load", *arguments, "--clock", "scaled:10", "--json"])
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.output
    assert answer.exit_code in (0, 1), answer.output
    return answer.exit_code, json.loads(answer.stdout)


def test_the_reference_loses_nothing_with_two_workers(tmp_path: Path) -> None:
    code, found = load(str(HERE / "small-hot.yaml"), "--workers", "2", "--report", str(tmp_path))
    assert (code, found["differences"]) == (0, []), found
    # 20 requests of 10 events and 12 of 30, whoever sends them.
    assert found["counts"]["stored"] == 20 * 10 + 12 * 30
    assert found["throttled_requests"] >= 1
    assert "<svg" in (tmp_path / "load.html").read_text("utf-8")
    assert json.loads((tmp_path / "load.json").read_text("utf-8"))["passed"]
    assert (tmp_path / "seconds.csv").read_text("utf-8").startswith("group,second,offered,accepted")


def test_a_connector_that_ignores_429_fails_because_it_loses_events() -> None:
    code, found = load(str(HERE / "small-hot.yaml"), "--connector", f"{sys.executable} {HERE / 'ignores_429.py'}")
    assert code == 1
    broken = {each["measure"]: each["value"] for each in found["thresholds"] if not each["kept"]}
    assert broken.keys() == {"lost"}
    assert broken["lost"] > 0
    assert any("taken and not in Amplitude" in line for line in found["differences"])


def test_two_processes_on_postgresql_are_reconciled_to_the_event(postgresql: str) -> None:
    where = ("--state", servers.fresh(postgresql), "--simulator-workers", "2")
    code, found = load(str(HERE / "small-writes.yaml"), "--workers", "2", *where)
    assert (code, found["differences"]) == (0, []), found
    assert found["counts"]["stored"] == 60 * 10 + 20 * 100
