"""What the documents promise is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from wavetank import main

ROOT = Path(__file__).parents[1]
COMMANDS = ("up", "check", "rules", "mutants", "explain", "feed", "connect")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    answer = CliRunner().invoke(main, [command, "--help"])
    assert answer.exit_code == 0
    assert f"Example: wavetank {command}" in " ".join(answer.output.split())


def test_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    first = text.split("```")[1]
    targets = re.findall(r"^make (\w+)", first, re.M)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


def test_readme_names_only_commands_and_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text("utf-8") + (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    for name in re.findall(r"wavetank (\w+)", text):
        assert name in main.commands or name in {"simulates", "makes", "does", "report", "check"}, name
    for path in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:simulator|connector|scenarios|benchmarks)/[\w./-]+\.\w+)`", text):
        assert (ROOT / path).exists(), path


def test_schemas_are_schemas() -> None:
    for path in [
        *ROOT.glob("simulator/contracts/*.json"),
        *ROOT.glob("scenarios/schemas/*.json"),
        *ROOT.glob("connector/*.schema.json"),
    ]:
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text("utf-8")))


def test_rules_as_json() -> None:
    rules = json.loads(CliRunner().invoke(main, ["rules", "--json"]).output)
    assert len(rules) >= 40
    assert {"id", "level", "tier", "statement", "source", "scope"} <= set(rules[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "--pack", "nowhere"], "nowhere"),
        (["check", "--rule", "CUR-999"], "CUR-999"),
        (["check", "--scenario", "nope"], "nope"),
        (["check", "--feed", "currents"], "--feed"),
        (["up", "--clock", "sideways"], "sideways"),
        (["up", "--host", "0.0.0.0"], "--token"),
        (["feed", "--events", "1", "--control", "http://127.0.0.1:9"], "127.0.0.1:9"),
        (["feed"], "--events"),
        (["connect", "/no/such/integration.yaml"], "/no/such/integration.yaml"),
        (["mutants", "--only", "nobody"], "nobody"),
    ],
)
def test_unusable_requests_are_one_line_and_exit_2(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == 2
    assert words in answer.output
    assert "Traceback" not in answer.output
