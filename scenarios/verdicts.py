"""From results of scenarios to a verdict per rule, totals, and the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from scenarios.packs import Scenario
from scenarios.player import BROKEN, KEPT, NOT_APPLICABLE, NOT_PROVEN, Result
from scenarios.rulebook import Rule

VERDICTS = (KEPT, BROKEN, NOT_APPLICABLE, NOT_PROVEN)

EXIT_KEPT, EXIT_BROKEN, EXIT_UNUSABLE, EXIT_NEVER_READY = 0, 1, 2, 3


@dataclass(frozen=True)
class RuleVerdict:
    """A rule, its verdict, and the ids of the scenarios that can break it."""

    rule: Rule
    verdict: str
    scenarios: tuple[str, ...]


def verdicts(
    rules: Mapping[str, Rule],
    scenarios: Sequence[Scenario],
    results: Sequence[Result],
    only: Collection[str] = (),
) -> list[RuleVerdict]:
    """A verdict for each rule of the flows that the scenarios are about, or for ``only`` these."""
    flows = {flow for each in scenarios for flow in each.flows}
    by_id = {each.id: each for each in results}
    found = []
    for rule in rules.values():
        if rule.id not in only if only else rule.flow not in flows:
            continue
        ids = tuple(each.id for each in scenarios if rule.id in each.rules)
        found.append(RuleVerdict(rule, _verdict(rule.id, [by_id[each] for each in ids]), ids))
    return found


def _verdict(rule_id: str, results: Sequence[Result]) -> str:
    if any(rule_id in failure.rules for each in results for failure in each.failures):
        return BROKEN
    if any(each.verdict == NOT_PROVEN and is_error(each) for each in results):
        return NOT_PROVEN
    if any(each.verdict in (KEPT, BROKEN) and rule_id in each.judged for each in results):
        return KEPT
    if results and all(each.verdict == NOT_APPLICABLE for each in results):
        return NOT_APPLICABLE
    return NOT_PROVEN


def is_error(result: Result) -> bool:
    """Whether a scenario could not be played to its end, other than being left out."""
    return result.verdict == NOT_PROVEN and result.why is not None and result.why.startswith("error")


def totals(found: Sequence[str]) -> dict[str, int]:
    """How many of each verdict."""
    counts = Counter(found)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def exit_code(rule_verdicts: Sequence[RuleVerdict], results: Sequence[Result]) -> int:
    """0: all MUST rules hold. 1: one is broken. 2: a scenario could not be played, or none applied."""
    if any(each.verdict == BROKEN and each.rule.level == "MUST" for each in rule_verdicts):
        return EXIT_BROKEN
    if any(is_error(each) for each in results):
        return EXIT_UNUSABLE
    if nothing_applied(results):
        return EXIT_UNUSABLE
    return EXIT_KEPT


def nothing_applied(results: Sequence[Result]) -> bool:
    """Whether every scenario that needs a connector found that it does not implement the flow."""
    return any(each.verdict == NOT_APPLICABLE for each in results) and not any(
        each.verdict in (KEPT, BROKEN) for each in results if each.judged
    )
