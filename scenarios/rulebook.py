"""The rules: one documented behaviour each, with an id that is for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "rules"
LEVELS = ("MUST", "SHOULD", "MAY")
TIERS = ("documented", "observed", "inferred")
SCOPES = ("connector", "simulator", "configuration")
FLOWS: Mapping[str, str] = {
    "currents": "Braze → Amplitude: Currents",
    "event_stream": "Amplitude → Braze: events and users",
    "cohort_sync": "Amplitude → Braze: cohorts",
    "property_sync": "Amplitude → Braze: properties and computations",
    "connected_content": "Amplitude → Braze: Connected Content",
    "customerio": "Customer.io → Amplitude",
    "messaging": "Messages of the simulated Braze",
    "amplitude": "The simulated Amplitude",
    "braze": "The simulated Braze",
}
"""The titles of flows, in the order of the scorecard."""


@dataclass(frozen=True)
class Rule:
    """A rule: what has to hold, how binding it is, and who says so."""

    id: str
    level: str
    tier: str
    statement: str
    document: str
    section: str
    date: str
    scope: str
    flow: str

    @property
    def source(self) -> str:
        return f"{self.document}, {self.section} ({self.date})"

    def shown(self) -> dict[str, Any]:
        source = {"document": self.document, "section": self.section, "date": self.date}
        return {
            "id": self.id,
            "level": self.level,
            "tier": self.tier,
            "statement": self.statement,
            "source": source,
            "scope": self.scope,
            "flow": self.flow,
        }


class BadRules(ValueError):
    """The rule files contradict themselves."""


@cache
def rules() -> Mapping[str, Rule]:
    """All rules by id, in order of their files. Raises BadRules."""
    found: dict[str, Rule] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        loaded = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        for each in loaded.get("rules", []):
            source = each["source"]
            rule = Rule(
                each["id"],
                each["level"],
                each["tier"],
                " ".join(each["statement"].split()),
                source["document"],
                source["section"],
                str(source["date"]),
                each["scope"],
                each["flow"],
            )
            _check(rule, found, path.name)
            found[rule.id] = rule
    retired = yaml.safe_load((FOLDER / "retired.yaml").read_text("utf-8"))["retired"]
    reused = [each["id"] for each in retired if each["id"] in found]
    if reused:
        raise BadRules(f"rule {reused[0]} is retired: its id is never used again")
    return found


def _check(rule: Rule, found: Mapping[str, Rule], file: str) -> None:
    if rule.id in found:
        raise BadRules(f"{file}: rule {rule.id} is there twice")
    fits = rule.level in LEVELS and rule.tier in TIERS and rule.scope in SCOPES
    if not fits:
        raise BadRules(f"{file}: rule {rule.id} has an unknown level, tier or scope")
    if rule.tier == "inferred" and rule.level == "MUST":
        raise BadRules(f"{file}: rule {rule.id} rests on an inference and cannot be a MUST")
