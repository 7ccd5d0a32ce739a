"""Packs: folders of scenario files, loaded, checked against the published schema, and filtered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenarios.checking import HERE, Unusable, misfit, read_yaml
from scenarios.rulebook import Rule

PACKS = HERE / "packs"

HOSTILE_STEPS = {"fault", "restart", "stop", "credential", "usage", "silence"}
"""Steps that are trouble made on purpose: ``--calm`` leaves their scenarios out."""

EXPECTATION_NOTES = {"rule", "because"}


@dataclass(frozen=True)
class Scenario:
    """One given / when / then. Steps and expectations are kept as the file says them."""

    id: str
    title: str
    group: str
    pack: str
    rules: tuple[str, ...]
    flows: tuple[str, ...]
    tank: Mapping[str, Any]
    feed: Mapping[str, Any] | None
    integration: Mapping[str, Any]
    alone: bool
    """About the simulator alone: no connector is started."""
    steps: tuple[Mapping[str, Any], ...]
    then: tuple[Mapping[str, Any], ...]
    timeline: bool = True
    hostile: bool = False
    notes: Mapping[str, Any] = field(default_factory=dict)


def kind(step: Mapping[str, Any]) -> str:
    """Which step or expectation this one-key mapping is."""
    return next(key for key in step if key not in EXPECTATION_NOTES)


def judged(expectation: Mapping[str, Any], scenario: Scenario) -> tuple[str, ...]:
    """The rules an expectation judges: its own, or all of the scenario."""
    named = expectation.get("rule")
    if named is None:
        return scenario.rules
    return (named,) if isinstance(named, str) else tuple(named)


def expectations(scenario: Scenario) -> list[Mapping[str, Any]]:
    """Every expectation, those in the middle first."""
    found: list[Mapping[str, Any]] = []
    for step in scenario.steps:
        found.extend(step.get("expect", ()))
    return [*found, *scenario.then]


def available(folder: Path = PACKS) -> list[str]:
    """Names of the packs that come along."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.rglob("*.yaml")))


def load(names: Sequence[str], rules: Mapping[str, Rule], folder: Path = PACKS) -> list[Scenario]:
    """The scenarios of the named packs (all when none is named), ids checked unique.

    A name is that of a folder in ``packs/``, or a path to a folder or file of one's own. Raises Unusable.
    """
    found: list[Scenario] = []
    where: dict[str, str] = {}
    for name in names or available(folder):
        for path in _files(name, folder):
            for scenario in read_file(path, name, rules):
                if scenario.id in where:
                    raise Unusable(
                        f"{path.name}: {scenario.id}: {where[scenario.id]} uses this id, choose another"
                    )
                where[scenario.id] = path.name
                found.append(scenario)
    return found


def _files(name: str, folder: Path) -> list[Path]:
    for base in (folder / name, Path(name)):
        if base.is_file():
            return [base]
        if base.is_dir():
            files = sorted(base.rglob("*.yaml"))
            if files:
                return files
    known = ", ".join(available(folder)) or "none"
    raise Unusable(f"--pack {name}: there is no such pack, known: {known}; a path to a folder works too")


def read_file(path: Path, pack: str, rules: Mapping[str, Rule]) -> list[Scenario]:
    """The scenarios of one file. Raises Unusable as ``file: scenario: what, how to mend it``."""
    content = read_yaml(path)
    wrong = misfit(content, "scenario")
    if wrong:
        raise Unusable(f"{path.name}: {_named(content, wrong)}")
    return [_scenario(each, content["group"], path, pack, rules) for each in content["scenarios"]]


def _named(content: Any, wrong: str) -> str:
    # "scenarios.3.when.0: …" is easier to find as "the-id: when.0: …".
    parts = wrong.split(".", 2)
    if len(parts) >= 2 and parts[0] == "scenarios":
        number, _, message = parts[1].partition(":")
        rest = (
            parts[2]
            if len(parts) == 3 and number.isdigit() and not message
            else wrong.split(":", 1)[1].strip()
        )
        if number.isdigit():
            entry = content["scenarios"][int(number)]
            if isinstance(entry, Mapping) and isinstance(entry.get("id"), str):
                return f"{entry['id']}: {rest}"
    return wrong


def _scenario(
    entry: Mapping[str, Any], group: str, path: Path, pack: str, rules: Mapping[str, Rule]
) -> Scenario:
    steps = (*entry.get("given", ()), *entry.get("when", ()))
    feed = entry.get("feed", {})
    scenario = Scenario(
        id=entry["id"],
        title=entry["title"],
        group=group,
        pack=pack,
        rules=tuple(entry["rules"]),
        flows=tuple(entry.get("flows", ("currents",))),
        tank=entry.get("tank", {}),
        feed=None if feed == "none" else feed,
        integration=entry.get("integration", {}),
        alone=entry.get("connector") == "none",
        steps=steps,
        then=tuple(entry["then"]),
        timeline=entry.get("timeline", True),
        hostile=entry.get("hostile", False) or any(kind(step) in HOSTILE_STEPS for step in steps),
    )
    where = f"{path.name}: {scenario.id}"
    for rule_id in scenario.rules:
        if rule_id not in rules:
            raise Unusable(f"{where}: rule {rule_id} is in no rule file, add it to rules/ or mend the id")
    for expectation in expectations(scenario):
        stray = [each for each in judged(expectation, scenario) if each not in scenario.rules]
        if stray:
            raise Unusable(f"{where}: an expectation names {stray[0]}, add it to the scenario's rules")
    return scenario


def chosen(
    scenarios: Iterable[Scenario], *, rules: Collection[str] = (), ids: Collection[str] = ()
) -> list[Scenario]:
    """Those scenarios that can break one of ``rules`` and have one of ``ids`` (empty: any)."""
    return [
        each
        for each in scenarios
        if (not rules or any(rule in rules for rule in each.rules)) and (not ids or each.id in ids)
    ]
