"""The commands of this package: check, rules, mutants."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scenarios import packs
from scenarios.connectors import FEEDS
from scenarios.mutants import mutants as all_mutants
from scenarios.packs import BadPack
from scenarios.proving import prove
from scenarios.report import must_broken, report, write
from scenarios.rulebook import BadRules
from scenarios.rulebook import rules as all_rules
from scenarios.runner import Plan, Result, run
from scenarios.table import show
from scenarios.waiting import mark, seconds_since

UNUSABLE, NEVER_READY = 2, 3


def _fail(text: str, code: int = UNUSABLE) -> NoReturn:
    click.echo(f"wavetank: {text}", err=True)
    sys.exit(code)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _feed_paths(feeds: tuple[str, ...]) -> dict[str, str]:
    known = [name for named in FEEDS.values() for name in named]
    paths = {}
    for each in feeds:
        name, _, value = each.partition("=")
        if name not in known or not value.startswith("/"):
            raise BadPack(f"--feed {each}: write it like currents=/my/path; feeds are {', '.join(known)}")
        paths[name] = value
    return paths


@click.command(epilog="Example: wavetank check --connector 'node my-connector.js' --report report")
@click.option("--connector", default="reference", show_default=True, help="reference, a URL, or a command line.")
@click.option("--pack", "packs_", multiple=True, metavar="NAME", help="Only this pack (may be repeated).")
@click.option("--rule", "rules_", multiple=True, metavar="ID", help="Only scenarios of this rule (may be repeated).")
@click.option("--scenario", "ids", multiple=True, metavar="ID", help="Only this scenario (may be repeated).")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Fixes everything random.")
@click.option("--jobs", type=click.IntRange(min=1), help="Scenarios at once [default: number of processors].")
@click.option("--calm", is_flag=True, help="Leave out scenarios that inject faults, kills or refused keys.")
@click.option("--report", "folder", type=click.Path(path_type=Path), help="Write report.json, junit.xml, report.html.")
@click.option("--feed", "feeds", multiple=True, metavar="NAME=PATH", help="Path of a feed, e.g. currents=/my/path.")
@click.option("--port", default=8700, show_default=True, help="Control port, when the connector runs elsewhere.")
@click.option("--state", metavar="URL", help="Make the tanks in this PostgreSQL database [default: in memory].")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def check(
    connector: str,
    packs_: tuple[str, ...],
    rules_: tuple[str, ...],
    ids: tuple[str, ...],
    seed: int,
    jobs: int | None,
    calm: bool,
    folder: Path | None,
    feeds: tuple[str, ...],
    port: int,
    state: str | None,
    as_json: bool,
) -> None:
    """Judge a connector, rule by rule.

    A command is started once per scenario with what it needs in its environment (PORT, AMPLITUDE_URL,
    AMPLITUDE_API_KEY, CURRENTS_TOKEN, WAVETANK_CLOCK_URL and more). A URL is a connector that runs already; it is
    fed from the fixed ports that start at --port, by a tank named check.
    """
    try:
        feed_paths = _feed_paths(feeds)
        chosen = packs.select(packs.load(), packs_, rules_, ids, calm=calm)
    except (BadPack, BadRules) as error:
        _fail(str(error))
    if not chosen:
        _fail("nothing to check: no scenario fits --pack, --rule, --scenario and --calm together")
    external = connector.startswith(("http://", "https://"))
    plan = Plan(connector, seed, feed_paths, port=port if external else None, state=state)
    began = mark()
    results: list[Result] = []
    with _progress() as progress:
        task = progress.add_task("checking", total=len(chosen))

        def note(result: Result) -> None:
            progress.update(task, advance=1, description=result.id[:40])

        results = run(chosen, plan, jobs or os.cpu_count() or 2, note)
    found = report(chosen, results, plan, seconds_since(began))
    if folder is not None:
        write(folder, found, results)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2, default=str))
    else:
        console = Console(width=None if sys.stdout.isatty() else 160)
        show(console, found)
        if folder is not None:
            console.print(f"report: {folder / 'report.html'}", highlight=False)
    if all(result.never_ready for result in results if result.verdict != "not_applicable") and any(
        result.never_ready for result in results
    ):
        _fail(results[0].failures[0]["text"], NEVER_READY)
    unplayed = [each for each in results if each.verdict == "not_proven"]
    if unplayed and not must_broken(found):
        _fail(f"{unplayed[0].id}: {unplayed[0].failures[0]['text']}")
    sys.exit(1 if must_broken(found) else 0)


@click.command(epilog="Example: wavetank rules --json | jq '.[] | select(.level==\"MUST\").id'")
@click.option("--json", "as_json", is_flag=True, help="Print the rules as JSON.")
def rules(as_json: bool) -> None:
    """List every rule with its level, source and scope."""
    try:
        found = [each.shown() for each in all_rules().values()]
    except BadRules as error:
        _fail(str(error))
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    for each in found:
        source = each["source"]
        console.print(f"[bold]{each['id']}[/] {each['level']} ({each['scope']}, {each['tier']})", highlight=False)
        console.print(f"  {each['statement']}", markup=False, highlight=False)
        console.print(f"  {source['document']}, {source['section']} ({source['date']})", style="dim", markup=False)


@click.command(epilog="Example: wavetank mutants --json")
@click.option("--only", multiple=True, metavar="ID", help="Only this mutant (may be repeated).")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Fixes everything random.")
@click.option("--jobs", type=click.IntRange(min=1), help="Scenarios at once [default: number of processors].")
@click.option("--json", "as_json", is_flag=True, help="Print killed, survived and unproven as JSON.")
def mutants(only: tuple[str, ...], seed: int, jobs: int | None, as_json: bool) -> None:
    """Prove the scenarios: each mutant breaks one rule and has to be caught; the unbroken connector has to pass."""
    unknown = [each for each in only if each not in all_mutants()]
    stale = [each.id for each in all_mutants().values() if not each.resolves()]
    if stale:
        _fail(f"mutant {stale[0]!r} breaks something that is not there: mend its target in scenarios/mutations")
    if unknown:
        _fail(f"mutant {unknown[0]!r} does not exist: see scenarios/mutations")
    try:
        scenarios = packs.load()
    except (BadPack, BadRules) as error:
        _fail(str(error))
    with _progress() as progress:
        total = len(only) or len(all_mutants()) + len(scenarios)
        task = progress.add_task("proving", total=total)
        proof = prove(
            scenarios,
            seed,
            jobs or os.cpu_count() or 2,
            only,
            lambda text: progress.update(task, advance=1, description=text[:40]),
        )
    failed = [each.id for each in proof.reference if each.verdict not in ("kept", "not_applicable")]
    if as_json:
        found = {
            "killed": proof.killed,
            "survived": proof.survived,
            "unproven": proof.unproven,
            "caught_by": proof.caught_by,
            "reference_failed": failed,
        }
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    else:
        console = Console(width=None if sys.stdout.isatty() else 160)
        for each in proof.survived:
            console.print(f"[bold red]survived[/] {each}: {all_mutants()[each].text}")
        for each in failed:
            console.print(f"[bold red]the unbroken connector fails[/] {each}")
        for each in proof.unproven:
            console.print(f"[yellow]unproven[/] {each}: no mutant breaks it")
        console.print(
            f"{len(proof.killed)} mutants caught, {len(proof.survived)} survived, {len(proof.unproven)} rules unproven"
        )
    sys.exit(0 if proof.sound else 1)
