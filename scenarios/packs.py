"""Loading packs: scenario files, checked against their published schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import yaml
from jsonschema.exceptions import best_match

from scenarios.rulebook import Rule, rules

FOLDER = Path(__file__).parent / "packs"
SCHEMA = Path(__file__).parent / "schemas" / "scenario.schema.json"
HOSTILE = ("fault", "restart", "stop", "credential", "post", "send_report")


class BadPack(ValueError):
    """A scenario file or a selection cannot be used: one line, what, where, how to mend it."""


@dataclass(frozen=True)
class Scenario:
    """One scenario as written; ``pack`` is its folder, ``group`` its file's title."""

    id: str
    title: str
    pack: str
    group: str
    file: str
    rules: tuple[str, ...]
    spec: Mapping[str, Any]

    @property
    def flows(self) -> Sequence[str]:
        return list(self.spec.get("flows", ["currents"]))

    @property
    def connector(self) -> bool:
        """Whether a connector takes part."""
        return self.spec.get("connector") != "none"

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        return [*self.spec.get("given", []), *self.spec.get("when", [])]

    @property
    def hostile(self) -> bool:
        """Whether it injects trouble."""
        return any(name in step for step in self.steps for name in HOSTILE)


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of scenario files."""
    loaded: dict[str, Any] = orjson.loads(SCHEMA.read_bytes())
    return loaded


def load(folder: Path = FOLDER) -> list[Scenario]:
    """Every scenario of every pack, in order of files. Raises BadPack."""
    found: list[Scenario] = []
    seen: dict[str, str] = {}
    validator = jsonschema.Draft202012Validator(schema())
    for path in sorted(folder.glob("*/*.yaml")):
        where = f"{path.parent.name}/{path.name}"
        try:
            loaded = yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise BadPack(f"{where}: this is not YAML: {' '.join(str(error).split())}") from None
        found_error = best_match(validator.iter_errors(loaded))
        if found_error is not None:
            place = ".".join(str(each) for each in found_error.path)
            raise BadPack(f"{where}: {place}: {found_error.message[:300]}: see scenarios/schemas/scenario.schema.json")
        for spec in loaded["scenarios"]:
            if spec["id"] in seen:
                raise BadPack(f"{where}: scenario {spec['id']} is there twice: rename one")
            seen[spec["id"]] = where
            _check_rules(spec, where)
            found.append(
                Scenario(
                    spec["id"], spec["title"], path.parent.name, loaded["group"], where, tuple(spec["rules"]), spec
                )
            )
    return found


def _check_rules(spec: Mapping[str, Any], where: str) -> None:
    named = set(spec["rules"])
    expectations = list(spec.get("then", []))
    for step in [*spec.get("prepare", []), *spec.get("given", []), *spec.get("when", [])]:
        expectations += step.get("expect", [])
        expectations += [each["expect"] for each in step.values() if isinstance(each, dict) and "expect" in each]
    for expectation in expectations:
        named.update(_named(expectation))
    for rule in sorted(named):
        if rule not in rules():
            raise BadPack(f"{where}: scenario {spec['id']}: rule {rule} does not exist: see wavetank rules")
        if rule not in spec["rules"]:
            raise BadPack(f"{where}: scenario {spec['id']}: rule {rule} is judged and not listed under rules")


def _named(expectation: Mapping[str, Any]) -> list[str]:
    rule = expectation.get("rule")
    return [] if rule is None else [rule] if isinstance(rule, str) else list(rule)


def select(
    scenarios: Sequence[Scenario],
    packs: Sequence[str] = (),
    rule_ids: Sequence[str] = (),
    ids: Sequence[str] = (),
    *,
    calm: bool = False,
) -> list[Scenario]:
    """The scenarios asked for. Raises BadPack when a name is unknown."""
    known = {each.pack for each in scenarios}
    for pack in packs:
        if pack not in known:
            raise BadPack(f"pack {pack!r} does not exist: there is {', '.join(sorted(known))}")
    for rule in rule_ids:
        if rule not in rules():
            raise BadPack(f"rule {rule!r} does not exist: see wavetank rules")
    for each in ids:
        if each not in {scenario.id for scenario in scenarios}:
            raise BadPack(f"scenario {each!r} does not exist: see the ids under scenarios/packs")
    return [
        each
        for each in scenarios
        if (not packs or each.pack in packs)
        and (not rule_ids or set(rule_ids) & set(each.rules))
        and (not ids or each.id in ids)
        and not (calm and each.hostile)
    ]


def unproven(scenarios: Sequence[Scenario]) -> list[Rule]:
    """Rules that no scenario exercises."""
    used = {rule for each in scenarios for rule in each.rules}
    return [rule for rule in rules().values() if rule.id not in used]
