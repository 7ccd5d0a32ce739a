"""The commands ``check``, ``rules`` and ``mutants``; the top-level command line gathers :data:`COMMANDS`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from scenarios import packs, report, rulebook, runner, table
from scenarios.checking import Unusable
from scenarios.connectors import READY_S, NeverReady, subject
from scenarios.mutation import catalogue
from scenarios.player import Result
from scenarios.stopwatch import Stopwatch, today_ms
from scenarios.trial import Trial, prove
from scenarios.verdicts import EXIT_NEVER_READY, EXIT_UNUSABLE, exit_code, nothing_applied, verdicts


class Stop(click.ClickException):
    """Ends a command with one line on stderr; what was asked for is unusable."""

    exit_code = EXIT_UNUSABLE


class NotReady(Stop):
    """The connector never became ready."""

    exit_code = EXIT_NEVER_READY


def _known(given: Collection[str], known: Collection[str], option: str) -> None:
    for each in given:
        if each not in known:
            close = difflib.get_close_matches(each, list(known), 1)
            raise Stop(
                f"{option} {each} is unknown, "
                + (f"did you mean {close[0]}?" if close else "see wavetank rules")
            )


@click.command(
    epilog="""\b
Examples:
  wavetank check
  wavetank check --connector 'node my-connector.js' --report out
  wavetank check --connector ./connector --feed currents=/braze --rule CUR-013

Exit codes: 0 all MUST rules hold, 1 one is broken, 2 the request is unusable, 3 never ready."""
)
@click.option(
    "--connector",
    default="reference",
    metavar="reference|URL|COMMAND",
    help="Which connector is under test (default: the reference connector).",
)
@click.option(
    "--pack",
    "pack_names",
    multiple=True,
    metavar="NAME",
    help="Only this pack; a path to your own works too. May be repeated.",
)
@click.option(
    "--rule",
    "rule_ids",
    multiple=True,
    metavar="ID",
    help="Only scenarios that can break this rule. May be repeated.",
)
@click.option(
    "--scenario", "scenario_ids", multiple=True, metavar="ID", help="Only this scenario. May be repeated."
)
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is random.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Worker processes (default: one per CPU).")
@click.option(
    "--calm",
    is_flag=True,
    help="No faults and no hostile timing: leaves out the scenarios that make trouble.",
)
@click.option(
    "--feed",
    "feeds",
    multiple=True,
    metavar="NAME=/PATH",
    help="Where the connector takes a feed: currents, events, users, cohorts, customerio.",
)
@click.option(
    "--report",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write report.json, junit.xml and report.html here.",
)
@click.option(
    "--tank",
    "tank_url",
    metavar="URL",
    help="The tank that a connector given by URL writes to (default: http://127.0.0.1:8700/tanks/demo).",
)
@click.option(
    "--ready-within",
    default=READY_S,
    show_default=True,
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="How long a connector may take to answer /healthz.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def check(
    context: click.Context,
    connector: str,
    pack_names: tuple[str, ...],
    rule_ids: tuple[str, ...],
    scenario_ids: tuple[str, ...],
    seed: int,
    jobs: int | None,
    calm: bool,
    feeds: tuple[str, ...],
    folder: Path | None,
    tank_url: str | None,
    ready_within: float,
    as_json: bool,
) -> None:
    """Judge a connector, rule by rule, on simulated platforms.

    A command is started for every scenario with a tank of its own. A connector given by URL runs already and
    writes to one tank of `wavetank up` (--tank): that tank is emptied before each scenario, scenarios run one
    after the other, and those that restart the connector or need another configuration are not proven.
    """
    watch = Stopwatch()
    runner.warm_up()
    try:
        under_test = subject(connector, feeds, ready_within)
        rules = rulebook.load()
        _known(rule_ids, rules, "--rule")
        scenarios = packs.load(pack_names, rules)
        _known(scenario_ids, [each.id for each in scenarios], "--scenario")
        scenarios = packs.chosen(scenarios, rules=rule_ids, ids=scenario_ids)
        if not scenarios:
            raise Unusable("no scenario is left to run, name another --pack, --rule or --scenario")
        options = runner.Options(seed, jobs or 0, calm, folder is not None, tank_url)
        screen = table.console(stderr=True)
        with table.progress(screen) as bar:
            task = bar.add_task("scenarios", total=len(scenarios))
            results = runner.run(scenarios, under_test, options, lambda _result: bar.advance(task))
    except Unusable as error:
        raise Stop(str(error)) from None
    except NeverReady as error:
        raise NotReady(str(error)) from None
    found = verdicts(rules, scenarios, results, rule_ids)
    run = report.Run(
        connector, feeds, seed, calm, watch.seconds, today_ms(), rules, scenarios, results, found
    )
    _show(run, folder, as_json)
    if nothing_applied(results):
        click.echo(
            "the connector implements none of the flows under check, name its path with --feed NAME=/PATH",
            err=True,
        )
    context.exit(exit_code(found, results))


def _show(run: report.Run, folder: Path | None, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.as_json(run), ensure_ascii=False))
    else:
        table.scorecard(run, table.console())
    if folder is None:
        return
    try:
        written = report.write(run, folder)
    except OSError as error:
        raise Stop(f"--report {folder}: {error.strerror}, name a folder that can be written") from None
    click.echo(f"report: {written[-1]}", err=True)


@click.command(
    name="rules",
    epilog="""\b
Example:
  wavetank rules --json""",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a list of {id, level, tier, statement, source, scope}."
)
def rules_command(as_json: bool) -> None:
    """List every rule with its level and its source."""
    try:
        rules = rulebook.load()
    except Unusable as error:
        raise Stop(str(error)) from None
    if as_json:
        click.echo(json.dumps([each.as_json() for each in rules.values()], ensure_ascii=False))
    else:
        table.rules_table(rules.values(), table.console())


@click.command(
    name="mutants",
    epilog="""\b
Examples:
  wavetank mutants
  wavetank mutants --mutant seconds-not-milliseconds --json

Exit codes: 0 every mutant is caught, 1 one survived or the unbroken one fails, 2 unusable.""",
)
@click.option(
    "--mutant",
    "mutant_ids",
    multiple=True,
    metavar="ID",
    help="Only this mutant, without the unbroken run. May be repeated.",
)
@click.option("--pack", "pack_names", multiple=True, metavar="NAME", help="Only this pack. May be repeated.")
@click.option("--seed", default=0, show_default=True, help="Seed of everything that is random.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Worker processes (default: one per CPU).")
@click.option("--json", "as_json", is_flag=True, help="Print {killed, survived, unproven} with more members.")
@click.pass_context
def mutants_command(
    context: click.Context,
    mutant_ids: tuple[str, ...],
    pack_names: tuple[str, ...],
    seed: int,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Prove the scenarios: break one rule at a time and see that they notice.

    The unbroken reference connector goes first and must pass. A mutant is killed when an expectation that
    names its rule fails; a rule that no killed mutant breaks is unproven.
    """
    runner.warm_up()
    try:
        rules = rulebook.load()
        scenarios = packs.load(pack_names, rules)
        _known(mutant_ids, catalogue(), "--mutant")
        chosen = [catalogue()[each] for each in mutant_ids] or list(catalogue().values())
        strays = sorted({rule for each in chosen for rule in each.rules} - set(rules))
        if strays:
            raise Unusable(
                f"mutants name {', '.join(strays)}, which no rule file holds: mend scenarios/mutants"
            )
        screen = table.console(stderr=True)
        with table.progress(screen) as bar:
            total = len(chosen) + (0 if mutant_ids else len(scenarios))
            task = bar.add_task("mutants", total=total)
            trial = prove(
                scenarios,
                rules,
                chosen,
                runner.Options(seed, jobs or 0),
                lambda: bar.advance(task),
                unbroken=not mutant_ids,
            )
    except Unusable as error:
        raise Stop(str(error)) from None
    except NeverReady as error:
        raise NotReady(str(error)) from None
    if as_json:
        click.echo(json.dumps(trial.as_json(), ensure_ascii=False))
    else:
        _tell(trial)
    context.exit(1 if trial.survived or trial.broken else 0)


def _tell(trial: Trial) -> None:
    screen = table.console()
    for result in trial.broken:
        screen.print(
            f"the unbroken connector fails {result.id}: {_first_line(result)}", style="red", markup=False
        )
    for mutant, why in trial.survived:
        screen.print(
            f"survived: {mutant.id} ({', '.join(mutant.rules)}): {mutant.breaks}; {why}",
            style="red",
            markup=False,
        )
    for rule in trial.unproven:
        screen.print(
            f"unproven: {rule.id} {rule.level} ({rule.scope}): {rule.statement}", style="yellow", markup=False
        )
    for mutant, by in trial.killed:
        screen.print(
            f"killed: {mutant.id} ({', '.join(mutant.rules)}) by {', '.join(by)}", style="green", markup=False
        )
    screen.print(
        f"{len(trial.killed)} killed, {len(trial.survived)} survived, {len(trial.unproven)} rules unproven "
        f"in {trial.seconds:.1f} s"
    )


def _first_line(result: Result) -> Any:
    return result.failures[0].diff[0] if result.failures else result.why


COMMANDS = [check, rules_command, mutants_command]
