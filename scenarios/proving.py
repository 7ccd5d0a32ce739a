"""Proving the pack: the unbroken reference passes, and every mutant is caught by a scenario of its rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scenarios.mutants import Mutant, mutants
from scenarios.packs import Scenario
from scenarios.rulebook import rules
from scenarios.runner import Plan, Pool, Result, weight


@dataclass
class Proof:
    """Mutants killed and survived, rules no mutant breaks, and what the unbroken connector failed."""

    killed: list[str] = field(default_factory=list)
    survived: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    reference: list[Result] = field(default_factory=list)
    caught_by: dict[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether every mutant was caught and the unbroken connector passes."""
        return not self.survived and all(each.verdict in ("kept", "not_applicable") for each in self.reference)


def prove(
    scenarios: Sequence[Scenario],
    seed: int,
    jobs: int,
    only: Sequence[str] = (),
    note: Callable[[str], None] = lambda _text: None,
) -> Proof:
    """Play every mutant against the scenarios of its rules, cheapest first, until one catches it.

    A mutant is caught when a scenario judges one of its rules broken.
    """
    proof = Proof()
    plan = Plan(seed=seed, pictures=False)
    chosen = [each for each in mutants().values() if not only or each.id in only]
    with Pool(jobs) as pool:
        if not only:
            order = sorted(scenarios, key=weight, reverse=True)
            for scenario, _, result in pool.play([(each, plan) for each in order]):
                proof.reference.append(result)
                note(f"unbroken: {scenario.id}")
        pending = {each.id: _suspects(each, scenarios) for each in chosen}
        by_id = {each.id: each for each in chosen}
        while pending:
            # One scenario per mutant and round; a caught mutant needs no more.
            orders = []
            for mutant_id, suspects in list(pending.items()):
                if suspects:
                    orders.append((suspects.pop(0), Plan(seed=seed, mutant=mutant_id, pictures=False)))
                else:
                    proof.survived.append(mutant_id)
                    del pending[mutant_id]
            for scenario, played, result in pool.play(orders):
                assert played.mutant is not None
                mutant = by_id[played.mutant]
                if any(result.rules.get(rule) == "broken" for rule in mutant.rules) and not result.never_ready:
                    proof.killed.append(mutant.id)
                    proof.caught_by[mutant.id] = scenario.id
                    del pending[mutant.id]
                    note(f"caught: {mutant.id}")
    caught = {rule for each in chosen if each.id in proof.caught_by for rule in each.rules}
    proof.unproven = [each for each in rules() if each not in caught] if not only else []
    proof.killed.sort()
    proof.survived.sort()
    return proof


def _suspects(mutant: Mutant, scenarios: Sequence[Scenario]) -> list[Scenario]:
    mine = [each for each in scenarios if set(each.rules) & set(mutant.rules)]
    return sorted(mine, key=weight)
