"""`wavetank check` from outside: exit codes, reports and words, judged on tiny scripted connectors."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import scripted_connectors as scripted
from click.testing import CliRunner, Result

from scenarios import rulebook
from scenarios.checking import schema
from scenarios.commands import check, rules_command
from scenarios.connectors import free_port
from scenarios.environment import environment
from simulator.serving import serve


@pytest.fixture(autouse=True)
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "currents.yaml").write_text(scripted.RULES)
    monkeypatch.setattr(rulebook, "RULES", folder)


def run(tmp_path: Path, connector: str, *words: str, alone: bool = False) -> Result:
    pack = scripted.pack(tmp_path, alone=alone)
    return CliRunner().invoke(check, ["--pack", pack, "--jobs", "2", "--connector", connector, *words])


def verdicts(result: Result) -> dict[str, str]:
    return {each["id"]: each["verdict"] for each in json.loads(result.stdout)["rules"]}


def test_a_right_connector_keeps_all_rules_and_leaves_reports(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result = run(tmp_path, scripted.server(), "--json", "--report", str(folder), alone=True)
    assert result.exit_code == 0, result.output
    assert verdicts(result) == dict.fromkeys(["CUR-001", "CUR-002", "CUR-003", "CUR-004"], "kept")
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    jsonschema.validate(report, schema("report"))
    assert report["totals"]["scenarios"]["kept"] == 4
    lanes = {lane["name"]: lane["points"] for lane in _scenario(report, "one-arrives")["timeline"]["lanes"]}
    assert sum(point["count"] for point in lanes["emitted"]) == 2
    assert sum(point["count"] for point in lanes["stored"]) == 2
    assert {point["status"] for point in lanes["amplitude"]} == {"200"}
    page = (folder / "report.html").read_text()
    assert "<svg" in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    assert "https://" not in page
    suite = ElementTree.fromstring((folder / "junit.xml").read_text())
    assert suite.find("testsuite").attrib["tests"] == "4"  # type: ignore[union-attr]


def _scenario(report: dict[str, Any], scenario_id: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in report["scenarios"] if each["id"] == scenario_id)
    return found


def test_a_connector_that_loses_events_breaks_a_must_and_is_told_how(tmp_path: Path) -> None:
    result = run(tmp_path, scripted.server(skip=1), "--report", str(tmp_path / "out"))
    assert result.exit_code == 1
    words = " ".join(result.stdout.replace("│", " ").split())
    assert "insert_id evt-0: expected, not received" in words
    assert "what is emitted arrives" in words
    assert "Amplitude docs" in words
    assert "wavetank check --scenario one-arrives --seed 0 --connector" in words
    assert "\x1b[" not in result.output
    cases = ElementTree.fromstring((tmp_path / "out" / "junit.xml").read_text()).iter("testcase")
    failed = [case.attrib["name"] for case in cases if case.find("failure") is not None]
    assert failed == ["one-arrives"]


def test_a_broken_should_is_told_but_all_musts_hold(tmp_path: Path) -> None:
    program = scripted.server(once=True)
    result = run(tmp_path, program, "--json")
    assert result.exit_code == 0, result.output
    assert verdicts(result)["CUR-003"] == "broken"


@pytest.mark.parametrize("body", ["{}", '{"flows": ["customerio"]}'])
def test_a_flow_that_is_not_implemented_is_never_kept(tmp_path: Path, body: str) -> None:
    path = "/elsewhere" if body == "{}" else "/feeds/currents"
    result = run(tmp_path, scripted.server(path=path, body=body), "--json", alone=True)
    found = verdicts(result)
    assert {found[each] for each in ("CUR-001", "CUR-002", "CUR-003")} == {"not_applicable"}
    assert found["CUR-004"] == "kept"
    assert result.exit_code == 0


def test_a_connector_that_implements_nothing_proves_nothing(tmp_path: Path) -> None:
    result = run(tmp_path, scripted.server(path="/elsewhere"))
    assert result.exit_code == 2
    assert "--feed NAME=/PATH" in result.stderr


def test_a_feed_may_have_another_path(tmp_path: Path) -> None:
    result = run(tmp_path, scripted.server(path="/my/own"), "--feed", "currents=/my/own", "--json")
    assert result.exit_code == 0, result.output
    assert verdicts(result)["CUR-001"] == "kept"


@pytest.mark.parametrize(
    ("connector", "words"),
    [
        (scripted.server(health=503), "the last answer was 503"),
        (f'{sys.executable} -I -S -c "import time; time.sleep(60)"', "nothing listened"),
        (
            f"{sys.executable} -I -S -c \"raise SystemExit('no such option')\"",
            "its last line: no such option",
        ),
        ("http://127.0.0.1:9", "/healthz"),
    ],
)
def test_a_connector_that_is_never_ready_is_exit_code_3(tmp_path: Path, connector: str, words: str) -> None:
    with serve() as lab:
        lab.create_tank({"id": "demo"})
        tank = f"{lab.control_url}/tanks/demo"
        result = run(tmp_path, connector, "--ready-within", "0.7", "--tank", tank)
    assert result.exit_code == 3, result.output
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ["--rule", "CUR-01"],
        ["--scenario", "nothing"],
        ["--feed", "currents"],
        ["--connector", "/no/such/program"],
        ["--connector", "'"],
        ["--connector", "http://"],
        ["--jobs", "0"],
    ],
)
def test_what_cannot_be_used_is_exit_code_2_and_one_line(tmp_path: Path, words: list[str]) -> None:
    result = run(tmp_path, scripted.server(), *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words[0].lstrip("-") in result.stderr
    assert "Traceback" not in result.stderr


def test_calm_leaves_trouble_out_and_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, scripted.server(), "--calm")
    assert result.exit_code == 0
    assert "1 scenarios: left out by --calm" in result.stdout


def test_a_connector_by_url_is_judged_on_its_tank(tmp_path: Path) -> None:
    with serve() as lab:
        ready = lab.create_tank({"id": "demo"})
        port = free_port()
        environ = {**environment(ready, tmp_path, clock=True), "PORT": str(port)}
        process = subprocess.Popen(shlex.split(scripted.server()), env=environ)
        try:
            tank = f"{lab.control_url}/tanks/demo"
            result = run(tmp_path, f"http://127.0.0.1:{port}", "--tank", tank, "--json", alone=True)
        finally:
            process.kill()
            process.wait()
    assert result.exit_code == 0, result.output
    found = verdicts(result)
    assert found == {"CUR-001": "kept", "CUR-002": "kept", "CUR-003": "not_proven", "CUR-004": "kept"}


def test_rules_are_listed_with_their_sources() -> None:
    result = CliRunner().invoke(rules_command, ["--json"])
    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert [each["id"] for each in listed] == ["CUR-001", "CUR-002", "CUR-003", "CUR-004"]
    assert {"id", "level", "tier", "statement", "source", "scope"} <= set(listed[0])
    assert "Wrong tokens are refused." in CliRunner().invoke(rules_command, []).stdout
