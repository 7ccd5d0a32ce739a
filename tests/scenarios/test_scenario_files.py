"""Scenario files and rule files: what does not fit is said in one line with file, scenario and mend."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from scenarios import packs, rulebook
from scenarios.checking import HERE, Unusable, read_yaml

RULE = (
    "- {id: %s, level: %s, tier: %s, statement: It holds., scope: connector, flow: currents,"
    " source: {document: Amplitude docs, section: Limits, date: 2025-01-01}}\n"
)
SCENARIO = """
group: Mapping
scenarios:
- id: one
  title: One event
  rules: [CUR-001]
  when:
  - emit: {events: [{event_type: users.behaviors.CustomEvent}]}
  then:
  - ledger: {delivered: 1}
"""


@pytest.fixture
def rules(tmp_path: Path) -> dict[str, rulebook.Rule]:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.yaml").write_text("rules:\n" + RULE % ("CUR-001", "MUST", "documented"))
    return rulebook.load(folder)


def load(tmp_path: Path, text: str, rules: dict[str, rulebook.Rule]) -> list[packs.Scenario]:
    (tmp_path / "pack").mkdir(exist_ok=True)
    (tmp_path / "pack" / "mapping.yaml").write_text(text)
    return packs.load([str(tmp_path / "pack")], rules)


def test_a_scenario_is_read_with_its_defaults(tmp_path: Path, rules: dict[str, rulebook.Rule]) -> None:
    (scenario,) = load(tmp_path, SCENARIO, rules)
    assert (scenario.id, scenario.group, scenario.flows) == ("one", "Mapping", ("currents",))
    assert not scenario.alone
    assert not scenario.hostile
    assert packs.judged(scenario.then[0], scenario) == ("CUR-001",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("rules: [CUR-001]", "rules: [CUR-999]", "mapping.yaml: one: rule CUR-999 is in no rule file"),
        (
            "delivered: 1",
            "delivred: 1",
            "mapping.yaml: one: then.0.ledger: delivred is unknown, did you mean delivered?",
        ),
        ("- emit:", "- emitt:", "mapping.yaml: one: when.0: emitt is unknown, did you mean emit?"),
        ("title: One event", "titel: One", "mapping.yaml: one: "),
        ("- ledger: {delivered: 1}", "- because: nothing", "must hold exactly one of"),
        (
            "- ledger: {delivered: 1}",
            "- {ledger: {}, rule: CUR-002}",
            "names CUR-002, add it to the scenario's rules",
        ),
        ("group: Mapping", "group: [", "mapping.yaml:"),
    ],
)
def test_a_misfit_is_one_line_that_says_where_and_how_to_mend_it(
    tmp_path: Path, rules: dict[str, rulebook.Rule], old: str, new: str, words: str
) -> None:
    with pytest.raises(Unusable) as caught:
        load(tmp_path, SCENARIO.replace(old, new), rules)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ids_are_unique_over_all_files(tmp_path: Path, rules: dict[str, rulebook.Rule]) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "again.yaml").write_text(SCENARIO)
    with pytest.raises(Unusable, match=r"one: again.yaml uses this id"):
        load(tmp_path, SCENARIO, rules)


def test_an_unknown_pack_is_named(rules: dict[str, rulebook.Rule]) -> None:
    with pytest.raises(Unusable, match="--pack nowhere"):
        packs.load(["nowhere"], rules)


def test_yaml_is_read_as_json_would_be(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("when: 2026-01-01T00:00:00Z\nday: 2026-01-01\nword: on\nyes: no\nflag: true\n")
    assert read_yaml(path) == {
        "when": "2026-01-01T00:00:00Z",
        "day": "2026-01-01",
        "word": "on",
        "yes": "no",
        "flag": True,
    }


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a": RULE % ("CUR-001", "MUST", "inferred")}, "CUR-001 is inferred and a MUST"),
        ({"a": RULE % ("CUR-001", "Must", "documented")}, "CUR-001.level"),
        (
            {"a": RULE % ("CUR-001", "MUST", "documented"), "b": RULE % ("CUR-001", "MAY", "observed")},
            "CUR-001 appears twice",
        ),
        ({"a": RULE % ("CUR-002", "MUST", "documented"), "retired": "CUR-002"}, "CUR-002 is retired"),
    ],
)
def test_the_rulebook_keeps_its_promises(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        content = f"retired: [{text}]" if name == "retired" else f"rules:\n{text}"
        (tmp_path / f"{name}.yaml").write_text(content)
    with pytest.raises(Unusable) as caught:
        rulebook.load(tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["scenario", "rules", "report"])
def test_published_schemas_are_schemas_and_describe_every_member(name: str) -> None:
    schema = json.loads((HERE / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    bare: list[str] = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            for key, member in (
                node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ()
            ):
                if isinstance(member, dict) and not {"description", "$ref", "items"} & set(member):
                    bare.append(f"{path}.{key}")
            for key, value in node.items():
                walk(value, f"{path}.{key}")
        elif isinstance(node, list):
            for number, value in enumerate(node):
                walk(value, f"{path}.{number}")

    walk(schema, name)
    assert bare == []
