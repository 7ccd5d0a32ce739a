"""The trial of the scenarios: the unbroken connector passes, each mutant is caught by those of its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from scenarios import runner, worker
from scenarios.checking import Unusable
from scenarios.connectors import Subject
from scenarios.mutation import Mutant
from scenarios.packs import Scenario
from scenarios.player import KEPT, Result
from scenarios.rulebook import Rule
from scenarios.stopwatch import Stopwatch
from scenarios.worker import Hunt


@dataclass(frozen=True)
class Trial:
    """What came of it. ``broken`` holds the scenarios that the unbroken connector does not pass.

    ``killed`` pairs each mutant with the scenarios that caught it, ``survived`` with why nothing did;
    ``unproven`` are the rules that no killed mutant breaks.
    """

    broken: tuple[Result, ...]
    killed: tuple[tuple[Mutant, tuple[str, ...]], ...]
    survived: tuple[tuple[Mutant, str], ...]
    unproven: tuple[Rule, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """As ``wavetank mutants --json`` prints it: lists of ids, and the details beside them."""
        return {
            "killed": [each.id for each, _ in self.killed],
            "survived": [each.id for each, _ in self.survived],
            "unproven": [each.id for each in self.unproven],
            "unbroken_fails": [each.id for each in self.broken],
            "mutants": [
                *({**each.as_json(), "killed_by": list(by)} for each, by in self.killed),
                *({**each.as_json(), "why_it_survived": why} for each, why in self.survived),
            ],
            "seconds": round(self.seconds, 3),
        }


def prove(
    scenarios: Sequence[Scenario],
    rules: Mapping[str, Rule],
    mutants: Sequence[Mutant],
    options: runner.Options,
    tick: Callable[[], None] = lambda: None,
    *,
    unbroken: bool = True,
) -> Trial:
    """Run the unbroken connector (unless told otherwise), then each mutant on the scenarios of its rules.

    Raises Unusable and NeverReady as a check does.
    """
    watch = Stopwatch()
    broken: tuple[Result, ...] = ()
    if unbroken:
        results = runner.run(scenarios, Subject(), options, lambda _result: tick())
        broken = tuple(each for each in results if each.verdict != KEPT)
    hunts = _hunts(scenarios, mutants, options, tick)
    killed, survived = [], []
    proven: set[str] = set()
    for mutant in mutants:
        found = hunts[mutant.id]
        proven.update(found.caught)
        if set(found.caught) >= set(mutant.rules):
            killed.append((mutant, found.by))
        else:
            survived.append((mutant, _why(mutant, found)))
    about = {rule for each in mutants for rule in each.rules} if not unbroken else set(rules)
    flows = {flow for each in scenarios for flow in each.flows}
    unproven = tuple(
        each for each in rules.values() if each.id in about and each.id not in proven and each.flow in flows
    )
    return Trial(broken, tuple(killed), tuple(survived), unproven, watch.seconds)


def _hunts(
    scenarios: Sequence[Scenario],
    mutants: Sequence[Mutant],
    options: runner.Options,
    tick: Callable[[], None],
) -> dict[str, Hunt]:
    found: dict[str, Hunt] = {}
    with runner.pool(max(1, min(options.processes, len(mutants)))) as executor:
        try:
            futures = [
                executor.submit(worker.hunt, each.id, _concerned(each, scenarios), options.seed)
                for each in mutants
            ]
            for future in as_completed(futures):
                hunt = future.result()
                found[hunt.mutant] = hunt
                tick()
        except BrokenProcessPool:
            raise Unusable("a worker process ended at once (out of memory?), try --jobs 1") from None
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return found


def _concerned(mutant: Mutant, scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Scenarios of the mutant's rules: the ones it names first, then those with the fewest steps."""
    found = [
        each
        for each in scenarios
        if any(rule in mutant.rules for rule in each.rules)
        and (mutant.where == "simulator" or not each.alone)
    ]
    return sorted(found, key=lambda each: (each.id not in mutant.scenarios, runner.cost(each)))


def _why(mutant: Mutant, found: Hunt) -> str:
    if found.why is not None:
        return found.why
    if not found.tried:
        return "no scenario is about its rule"
    missing = ", ".join(sorted(set(mutant.rules) - set(found.caught)))
    return f"{found.tried} scenarios ran and none broke {missing}"
