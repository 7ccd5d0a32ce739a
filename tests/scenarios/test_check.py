"""`wavetank check` as its user meets it: exit codes, reports, and what a failure tells."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("scripted_connector.py")
SCENARIO = "mapping-uninstall-events"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wavetank", "check", "--jobs", "1", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def scripted(mode: str) -> tuple[str, str]:
    return "--connector", f"{sys.executable} {SCRIPT} {mode}"


def test_the_reference_passes_and_reports(tmp_path: Path) -> None:
    chosen = ("answer-lost-after-apply", "key-expired-for-hours", "upload-dedupe")
    done = check(*(part for each in chosen for part in ("--scenario", each)), "--report", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Scorecard" in done.stdout
    assert "\x1b[" not in done.stdout  # no colours in a pipe
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    jsonschema.validate(report, json.loads((ROOT / "scenarios/schemas/report.schema.json").read_text("utf-8")))
    assert {each["id"]: each["verdict"] for each in report["scenarios"]} == dict.fromkeys(chosen, "kept")
    assert [each["title"] for each in report["flows"] if each["kept"]] == ["Braze → Amplitude: Currents"]
    assert sorted(rule for each in report["flows"] for rule in each["rules"]) == sorted(r["id"] for r in report["rules"])
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("3", "0")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<svg") == 3
    assert not re.search(r'(?:src|href)="(?!#)', page)  # nothing is loaded from elsewhere


def test_a_right_little_connector_passes() -> None:
    done = check(*scripted("right"), "--scenario", SCENARIO)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_rule_is_exit_1_with_diff_source_and_replay() -> None:
    done = check(*scripted("seconds"), "--scenario", SCENARIO, "--json")
    assert done.returncode == 1
    report: dict[str, Any] = json.loads(done.stdout)
    broken = {each["id"] for each in report["rules"] if each["verdict"] == "broken"}
    assert broken == {"CUR-031"}
    failure = report["scenarios"][0]["failures"][0]
    assert any(line.startswith("-") for line in failure["diff"])
    assert failure["sources"] == ["Amplitude docs, HTTP V2 API, Keys for the event argument (2026-03)"]
    assert failure["replay"].startswith(f"wavetank check --scenario {SCENARIO} --seed 0 --connector ")


def test_a_connector_without_the_flow_is_not_applicable() -> None:
    done = check(*scripted("other-flow"), "--scenario", SCENARIO, "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["scenarios"][0]["verdict"] == "not_applicable"
    assert "kept" not in {each["verdict"] for each in report["rules"]}


@pytest.mark.parametrize("command", [f"{sys.executable} -c pass", "/no/such/program"])
def test_a_connector_that_never_gets_ready_is_exit_3(command: str) -> None:
    done = check("--connector", command, "--scenario", SCENARIO)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_the_same_seed_plays_the_same(tmp_path: Path) -> None:
    def run(folder: Path) -> Any:
        assert check("--scenario", "mixed-trouble", "--seed", "5", "--report", str(folder)).returncode == 0
        return json.loads((folder / "report.json").read_text("utf-8"))["scenarios"][0]["rules"]

    assert run(tmp_path / "a") == run(tmp_path / "b")


def test_a_mutant_is_caught() -> None:
    command = [sys.executable, "-m", "wavetank", "mutants", "--json", "--only", "seconds", "--only", "sim-no-dedupe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["killed"] == ["seconds", "sim-no-dedupe"]
