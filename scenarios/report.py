"""The report of a check as report.json (see schemas/report.schema.json), junit.xml and report.html."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, StrictUndefined

from scenarios.checking import HERE
from scenarios.expectations import Failure
from scenarios.packs import Scenario
from scenarios.player import BROKEN, KEPT, Result
from scenarios.rulebook import Rule
from scenarios.timeline import picture
from scenarios.verdicts import RuleVerdict, is_error, totals


@dataclass(frozen=True)
class Run:
    """A finished check."""

    connector: str
    feeds: tuple[str, ...]
    seed: int
    calm: bool
    seconds: float
    date_ms: int
    rules: Mapping[str, Rule]
    scenarios: Sequence[Scenario]
    results: Sequence[Result]
    verdicts: Sequence[RuleVerdict]

    def replay(self, scenario_id: str) -> str:
        """The command that plays one scenario again."""
        words = ["wavetank", "check", "--scenario", scenario_id, "--seed", str(self.seed)]
        words += ["--connector", self.connector]
        for each in self.feeds:
            words += ["--feed", each]
        packs = {each.pack for each in self.scenarios if each.id == scenario_id}
        for pack in sorted(packs):
            if "/" in pack or pack.endswith(".yaml"):
                words += ["--pack", pack]
        return shlex.join(words)

    def sources(self, failure: Failure) -> list[str]:
        """The sources of the rules a failure breaks."""
        return [f"{rule}: {self.rules[rule].source}" for rule in failure.rules if rule in self.rules]


def as_json(run: Run) -> dict[str, Any]:
    """The report as plain JSON."""
    by_id = {each.id: each for each in run.scenarios}
    return {
        "connector": run.connector,
        "seed": run.seed,
        "calm": run.calm,
        "date": datetime.fromtimestamp(run.date_ms / 1000, UTC).isoformat(timespec="seconds"),
        "seconds": round(run.seconds, 3),
        "totals": {
            "rules": totals([each.verdict for each in run.verdicts]),
            "scenarios": totals([each.verdict for each in run.results]),
        },
        "rules": [
            {**each.rule.as_json(), "verdict": each.verdict, "scenarios": list(each.scenarios)}
            for each in run.verdicts
        ],
        "scenarios": [_scenario(run, by_id[each.id], each) for each in run.results],
    }


def _scenario(run: Run, scenario: Scenario, result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": scenario.id,
        "title": scenario.title,
        "pack": scenario.pack,
        "group": scenario.group,
        "rules": list(scenario.rules),
        "verdict": result.verdict,
        "seconds": round(result.seconds, 3),
    }
    if result.why is not None:
        found["why"] = result.why
    if result.failures:
        found["failures"] = [
            {
                "rules": list(each.rules),
                "expectation": each.expectation,
                "because": each.because,
                "diff": list(each.diff),
                "sources": run.sources(each),
            }
            for each in result.failures
        ]
        found["replay"] = run.replay(scenario.id)
    if result.timeline is not None:
        found["timeline"] = result.timeline
    return found


def junit(run: Run) -> str:
    """The report in JUnit's XML, a suite per group."""
    root = ElementTree.Element("testsuites", name="wavetank check", time=f"{run.seconds:.3f}")
    results = {each.id: each for each in run.results}
    groups: dict[tuple[str, str], list[Scenario]] = {}
    for each in run.scenarios:
        groups.setdefault((each.pack, each.group), []).append(each)
    for (pack, group), members in groups.items():
        found = [results[each.id] for each in members]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=group,
            tests=str(len(found)),
            failures=str(sum(each.verdict == BROKEN for each in found)),
            errors=str(sum(map(is_error, found))),
            skipped=str(sum(each.verdict not in (KEPT, BROKEN) and not is_error(each) for each in found)),
            time=f"{sum(each.seconds for each in found):.3f}",
        )
        for scenario, result in zip(members, found, strict=True):
            _case(run, suite, f"{pack}.{group}", scenario, result)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(run: Run, suite: ElementTree.Element, classname: str, scenario: Scenario, result: Result) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=classname, name=scenario.id, time=f"{result.seconds:.3f}"
    )
    if result.verdict == BROKEN:
        rules = sorted({rule for each in result.failures for rule in each.rules})
        node = ElementTree.SubElement(
            case, "failure", message=_clean(f"{scenario.title} ({', '.join(rules)})")
        )
        node.text = _clean("\n".join([*_told(run, result), f"replay: {run.replay(scenario.id)}"]))
    elif is_error(result):
        ElementTree.SubElement(case, "error", message=_clean(result.why or ""))
    elif result.verdict != KEPT:
        ElementTree.SubElement(case, "skipped", message=_clean(result.why or result.verdict))


def _told(run: Run, result: Result) -> list[str]:
    lines = []
    for each in result.failures:
        lines.append(f"expected: {each.expectation}")
        if each.because:
            lines.append(f"because: {each.because}")
        lines += each.diff
        lines += [f"source: {source}" for source in run.sources(each)]
    return lines


def _clean(text: str) -> str:
    # XML has no place for most control characters.
    return "".join(each if each >= " " or each in "\n\t" else "\ufffd" for each in text)


def html(run: Run) -> str:
    """The report as one page that needs nothing from anywhere else."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((HERE / "templates" / "report.html").read_text("utf-8"))
    content = as_json(run)
    for each in content["scenarios"]:
        each["picture"] = picture(each["timeline"]) if each.get("timeline") else None
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in content["scenarios"]:
        groups.setdefault(each["group"], []).append(each)
    return template.render(report=content, groups=groups)


def write(run: Run, folder: Path) -> list[Path]:
    """Write the three files into ``folder``, which is made if need be; answers their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "report.json": json.dumps(as_json(run), indent=1, ensure_ascii=False) + "\n",
        "junit.xml": junit(run),
        "report.html": html(run),
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return [folder / name for name in files]
