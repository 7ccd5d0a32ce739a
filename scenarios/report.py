"""Reports: report.json, junit.xml and a self-contained report.html with a picture per scenario."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import orjson

from scenarios.packs import Scenario
from scenarios.picture import picture
from scenarios.rulebook import FLOWS, Rule, rules
from scenarios.runner import Plan, Result

VERDICTS = ("kept", "broken", "not_applicable", "not_proven")


def verdicts(scenarios: Sequence[Scenario], results: Sequence[Result]) -> list[dict[str, Any]]:
    """Every rule with its verdict: kept, broken, not_applicable or not_proven (no scenario judged it)."""
    by_id = {result.id: result for result in results}
    found = []
    for rule in rules().values():
        mine = [each for each in scenarios if rule.id in each.rules and each.id in by_id]
        said = {by_id[each.id].rules.get(rule.id) for each in mine} - {None}
        if "broken" in said:
            verdict = "broken"
        elif "kept" in said:
            verdict = "kept"
        elif mine and all(by_id[each.id].verdict == "not_applicable" for each in mine):
            verdict = "not_applicable"
        else:
            verdict = "not_proven"
        found.append({**rule.shown(), "verdict": verdict, "scenarios": [each.id for each in mine]})
    return found


def replay(scenario_id: str, plan: Plan) -> str:
    """The command that plays one scenario again."""
    connector = "" if plan.connector == "reference" else f" --connector '{plan.connector}'"
    return f"wavetank check --scenario {scenario_id} --seed {plan.seed}{connector}"


def report(scenarios: Sequence[Scenario], results: Sequence[Result], plan: Plan, seconds: float) -> dict[str, Any]:
    """The whole outcome as ``schemas/report.schema.json`` describes it."""
    judged = verdicts(scenarios, results)
    by_id = {each.id: each for each in scenarios}
    shown = []
    for result in results:
        scenario = by_id[result.id]
        failures = [
            {
                **failure,
                "sources": [rules()[rule].source for rule in failure["rules"]],
                "replay": replay(result.id, plan),
            }
            for failure in result.failures
        ]
        shown.append(
            {
                "id": result.id,
                "title": scenario.title,
                "pack": scenario.pack,
                "group": scenario.group,
                "verdict": result.verdict,
                "seconds": result.seconds,
                "rules": result.rules,
                "failures": failures,
            }
        )
    totals: dict[str, int] = {f"rules_{name}": 0 for name in VERDICTS}
    for rule in judged:
        totals[f"rules_{rule['verdict']}"] += 1
    for result in results:
        totals[f"scenarios_{result.verdict}"] = totals.get(f"scenarios_{result.verdict}", 0) + 1
    return {
        "connector": plan.connector,
        "seed": plan.seed,
        "seconds": round(seconds, 1),
        "totals": totals,
        "flows": by_flow(judged),
        "rules": judged,
        "scenarios": shown,
    }


def by_flow(judged: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The scorecard: rules by flow, each flow with its title and how many of its rules have which verdict."""
    names = list(dict.fromkeys((*FLOWS, *(each["flow"] for each in judged))))
    found = []
    for name in names:
        mine = [each for each in judged if each["flow"] == name]
        counts = {verdict: sum(each["verdict"] == verdict for each in mine) for verdict in VERDICTS}
        if mine:
            ids = [each["id"] for each in mine]
            found.append({"flow": name, "title": FLOWS.get(name, name), **counts, "rules": ids})
    return found


def must_broken(found: Mapping[str, Any]) -> bool:
    """Whether a rule is broken that a document demands."""
    return any(rule["verdict"] == "broken" and rule["level"] == "MUST" for rule in found["rules"])


def write(folder: Path, found: Mapping[str, Any], results: Sequence[Result]) -> None:
    """Write all three reports into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2, default=str))
    (folder / "junit.xml").write_bytes(_junit(found))
    (folder / "report.html").write_text(_html(found, results), "utf-8")


def _junit(found: Mapping[str, Any]) -> bytes:
    suite = ElementTree.Element(
        "testsuite",
        name="wavetank",
        tests=str(len(found["scenarios"])),
        failures=str(sum(1 for each in found["scenarios"] if each["verdict"] == "broken")),
        skipped=str(sum(1 for each in found["scenarios"] if each["verdict"] == "not_applicable")),
        time=str(found["seconds"]),
    )
    for each in found["scenarios"]:
        name = f"wavetank.{each['pack']}"
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=each["id"], time=str(each["seconds"]))
        if each["verdict"] == "not_applicable":
            ElementTree.SubElement(case, "skipped", message="the connector does not implement this flow")
        for failure in each["failures"]:
            node = ElementTree.SubElement(
                case, "failure", message=_clean(failure["text"]), type=", ".join(failure["rules"])
            )
            said = [rules()[rule].statement for rule in failure["rules"]]
            lines = [*said, failure["because"], *failure["diff"], *failure["sources"], failure["replay"]]
            node.text = _clean("\n".join(filter(None, lines)))
    body: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return body


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE)


def _html(found: Mapping[str, Any], results: Sequence[Result]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pictures = {result.id: picture(result.timeline) for result in results if result.timeline}
    sources: dict[str, Rule] = dict(rules())
    return environment.get_template("report.html").render(report=found, pictures=pictures, rules=sources)
