"""Packs, rules and mutants hold together."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import yaml

from scenarios import mutants, packs, rulebook
from scenarios.packs import BadPack


def test_every_rule_is_exercised_and_no_inference_is_a_must() -> None:
    scenarios = packs.load()
    assert packs.unproven(scenarios) == []
    assert all(rule.level != "MUST" for rule in rulebook.rules().values() if rule.tier == "inferred")
    assert len(rulebook.rules()) >= 40


def test_every_rule_has_a_mutant_and_every_mutant_a_target() -> None:
    broken = {rule for each in mutants.mutants().values() for rule in each.rules}
    assert broken == set(rulebook.rules())
    assert [each.id for each in mutants.mutants().values() if not each.resolves()] == []


def test_a_mutant_takes_what_it_replaces_takes() -> None:
    """One that fails when it is called would be caught without having broken its rule."""
    unfit = []
    for each in mutants.mutants().values():
        original = each.original()
        made = each.make(original) if inspect.isfunction(original) else None
        if not inspect.isfunction(made):
            continue
        needed = [p for p in inspect.signature(original).parameters.values() if p.default is p.empty]
        given = [None for p in needed if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        named = {p.name: None for p in needed if p.kind is p.KEYWORD_ONLY}
        try:
            inspect.signature(made).bind(*given, **named)
        except TypeError as error:
            unfit.append(f"{each.id}: {error}")
    assert unfit == []


def test_two_mutants_of_one_name_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from scenarios.mutations import customerio

    monkeypatch.setattr(customerio, "MUTANTS", (*customerio.MUTANTS, customerio.MUTANTS[0]))
    with pytest.raises(ValueError, match=f"two mutants are called {customerio.MUTANTS[0].id}"):
        mutants.mutants.__wrapped__()


def test_a_mutant_is_mended_again() -> None:
    from connector.flows import currents

    original = currents.milliseconds
    mend = mutants.apply("seconds")
    assert currents.milliseconds(5) == 5
    mend()
    assert currents.milliseconds is original
    assert currents.milliseconds(5) == 5000


GOOD = {
    "id": "one",
    "title": "t",
    "rules": ["CUR-001"],
    "when": [{"settle": True}],
    "then": [{"ledger": {"delivered": 0}}],
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"then": [{"legder": {}}]}, "scenario.schema.json"),
        ({"when": [{"jump": "high"}]}, "scenario.schema.json"),
        ({"rules": ["CUR-999"]}, "CUR-999"),
        ({"then": [{"ledger": {}, "rule": "CUR-002"}]}, "CUR-002"),
        ({"id": "Not Kebab"}, "scenario.schema.json"),
    ],
)
def test_bad_scenarios_are_told_in_one_line(tmp_path: Path, change: dict[str, object], words: str) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    file = folder / "file.yaml"
    file.write_text(yaml.safe_dump({"group": "g", "scenarios": [GOOD]}), "utf-8")
    assert [each.id for each in packs.load(tmp_path)] == ["one"]
    file.write_text(yaml.safe_dump({"group": "g", "scenarios": [{**GOOD, **change}]}), "utf-8")
    with pytest.raises(BadPack, match=words) as error:
        packs.load(tmp_path)
    assert "\n" not in str(error.value)
    assert "pack/file.yaml" in str(error.value)


def test_selecting() -> None:
    scenarios = packs.load()
    calm = packs.select(scenarios, calm=True)
    assert 0 < len(calm) < len(scenarios)
    assert not any(each.hostile for each in calm)
    chosen = packs.select(scenarios, rule_ids=["CUR-059"])
    assert [each.id for each in chosen] == ["key-expired-48-hours-plus-a-minute"]
    for wrong in ({"packs": ["x"]}, {"rule_ids": ["x"]}, {"ids": ["x"]}):
        with pytest.raises(BadPack):
            packs.select(scenarios, **wrong)  # type: ignore[arg-type]
