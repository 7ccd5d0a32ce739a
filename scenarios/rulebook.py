"""The rulebook: every rule with its level and source, loaded from ``rules/*.yaml`` and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.checking import HERE, Unusable, misfit, read_yaml

RULES = HERE / "rules"
RETIRED = "retired.yaml"


@dataclass(frozen=True)
class Source:
    """Where a rule is written: document, section and the date of the text."""

    document: str
    section: str
    date: str

    def __str__(self) -> str:
        parts = [
            self.document,
            f"“{self.section}”" if self.section else "",
            f"({self.date})" if self.date else "",
        ]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Rule:
    """One documented behaviour. ``level`` is MUST, SHOULD or MAY; ``scope`` says whose behaviour it is."""

    id: str
    level: str
    tier: str
    statement: str
    source: Source
    scope: str
    flow: str

    def as_json(self) -> dict[str, Any]:
        """The rule as ``wavetank rules --json`` shows it."""
        return {
            "id": self.id,
            "level": self.level,
            "tier": self.tier,
            "statement": self.statement,
            "source": {
                "document": self.source.document,
                "section": self.source.section,
                "date": self.source.date,
            },
            "scope": self.scope,
            "flow": self.flow,
        }


def load(folder: Path | None = None) -> dict[str, Rule]:
    """All rules by id, in the order of their ids.

    Raises Unusable when an id appears twice or is retired, when an inferred rule is a MUST, or when a file
    does not fit its schema.
    """
    folder = folder or RULES
    retired = _retired(folder)
    rules: dict[str, Rule] = {}
    for path in sorted(folder.glob("*.yaml")):
        if path.name == RETIRED:
            continue
        for rule in _file(path):
            if rule.id in rules:
                raise Unusable(f"{path.name}: {rule.id} appears twice, give each rule an id of its own")
            if rule.id in retired:
                raise Unusable(f"{path.name}: {rule.id} is retired, ids are never used again: take a new one")
            if rule.tier == "inferred" and rule.level == "MUST":
                raise Unusable(f"{path.name}: {rule.id} is inferred and a MUST, make it SHOULD or MAY")
            rules[rule.id] = rule
    return {rule_id: rules[rule_id] for rule_id in sorted(rules)}


def _retired(folder: Path) -> set[str]:
    path = folder / RETIRED
    if not path.exists():
        return set()
    content = read_yaml(path)
    wrong = misfit(content, "rules", "retired_file")
    if wrong:
        raise Unusable(f"{path.name}: {wrong}")
    ids = [each if isinstance(each, str) else each["id"] for each in content["retired"]]
    twice = sorted({each for each in ids if ids.count(each) > 1})
    if twice:
        raise Unusable(f"{path.name}: {twice[0]} is retired twice, keep one entry")
    return set(ids)


def _file(path: Path) -> list[Rule]:
    content = read_yaml(path)
    wrong = misfit(content, "rules")
    if wrong:
        raise Unusable(f"{path.name}: {_named(content, wrong)}")
    return [_rule(each) for each in content["rules"]]


def _named(content: Any, wrong: str) -> str:
    # "rules.4.level: …" is easier to find as "CUR-005.level: …".
    parts = wrong.split(".", 2)
    if len(parts) == 3 and parts[0] == "rules" and parts[1].isdigit():
        entry = content["rules"][int(parts[1])]
        if isinstance(entry, Mapping) and isinstance(entry.get("id"), str):
            return f"{entry['id']}.{parts[2]}"
    return wrong


def _rule(entry: Mapping[str, Any]) -> Rule:
    source = entry["source"]
    return Rule(
        entry["id"],
        entry["level"],
        entry["tier"],
        entry["statement"],
        Source(source["document"], str(source.get("section", "")), str(source.get("date", ""))),
        entry["scope"],
        entry["flow"],
    )
