"""The command of this package: load."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtests import profiles
from loadtests.reports import shown, write
from loadtests.running import Outcome, Plan, run
from loadtests.tanks import Unusable

UNUSABLE, NEVER_READY = 2, 3


def _fail(text: str, code: int = UNUSABLE) -> NoReturn:
    click.echo(f"wavetank: {text}", err=True)
    sys.exit(code)


def _scale(text: str) -> float:
    mode, _, scale = text.partition(":")
    try:
        found = float(scale or 60) if mode == "scaled" else 1.0
    except ValueError:
        found = 0.0
    if mode not in ("real", "scaled") or (mode == "real" and scale) or not 0 < found <= 1000:
        raise Unusable(f"--clock {text}: write real, or scaled:10 (up to 1000)")
    return found


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise Unusable(f"--master {text}: write HOST:PORT, where the workers of other machines shall connect to")
    return host, int(port)


@click.command(epilog="Example: wavetank load hot-device --connector 'node my-connector.js' --report load")
@click.argument("profile", required=False)
@click.option("--list", "listed", is_flag=True, help="List the profiles that come with wavetank.")
@click.option("--connector", default="reference", show_default=True, help="reference, a URL, or a command line.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Load generator processes.")
@click.option("--master", metavar="HOST:PORT", help="Wait there for --workers Locust workers of other machines.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Fixes everything random.")
@click.option("--clock", default="real", show_default=True, help="real, or scaled:10 for ten times as fast.")
@click.option("--state", help="State of the simulator that is started: a file, or postgresql://…")
@click.option("--simulator-workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Its processes.")
@click.option("--control", metavar="URL", help="Use the simulator that runs already, by its control URL.")
@click.option("--token", default="", help="Control token, when that one has one.")
@click.option("--ui", is_flag=True, help="Show Locust's own page while it runs.")
@click.option("--ui-port", default=8089, show_default=True, help="Port of that page.")
@click.option("--report", "folder", type=click.Path(path_type=Path), help="Write load.json, seconds.csv, load.html.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def load(
    profile: str | None,
    listed: bool,
    connector: str,
    workers: int,
    master: str | None,
    seed: int,
    clock: str,
    state: str | None,
    simulator_workers: int,
    control: str | None,
    token: str,
    ui: bool,
    ui_port: int,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Load a connector or a platform as PROFILE says, and judge what came of it."""
    if listed:
        _list(as_json)
        return
    try:
        if profile is None:
            raise Unusable("name a PROFILE: --list shows them")
        plan = Plan(
            profiles.load(profile),
            profile,
            connector,
            workers,
            seed,
            _scale(clock),
            state,
            simulator_workers,
            control,
            token,
            ui_port if ui else None,
            _address(master) if master else None,
        )
        outcome = _watched(plan)
    except (profiles.BadProfile, Unusable) as error:
        _fail(str(error), NEVER_READY if "never became ready" in str(error) else UNUSABLE)
    if folder is not None:
        write(folder, plan, outcome)
    if as_json:
        click.echo(json.dumps(shown(plan, outcome), indent=2))
    else:
        _show(plan, outcome, folder)
    sys.exit(0 if outcome.passed else 1)


def _list(as_json: bool) -> None:
    found = [profiles.load(name) for name in profiles.names()]
    if as_json:
        click.echo(json.dumps([{"id": each.id, "title": each.title, "into": each.into} for each in found], indent=2))
        return
    for each in found:
        click.echo(f"{each.id:<20} {each.title}")


def _watched(plan: Plan) -> Outcome:
    console = Console(stderr=True)
    if plan.ui is not None:
        console.print(f"Locust's page: http://127.0.0.1:{plan.ui}", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(plan.profile.id, total=1.0)

        def note(text: str, at: float, of: float) -> None:
            progress.update(task, description=text, completed=at, total=of or 1.0)

        return run(plan, note)


def _show(plan: Plan, outcome: Outcome, folder: Path | None) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table(title=plan.profile.title, title_justify="left")
    for name in ("measure", "group", "wanted", "measured", ""):
        table.add_column(name)
    for each in outcome.judged:
        wanted = each.threshold
        bounds = [
            f"{word} {value:g}"
            for word, value in (("at least", wanted.at_least), ("at most", wanted.at_most))
            if value is not None
        ]
        value = "nothing to measure" if each.value is None else f"{each.value:g}"
        verdict = "[green]kept[/]" if each.kept else "[bold red]broken[/]"
        table.add_row(wanted.measure, wanted.group or "", " and ".join(bounds), value, verdict)
    console.print(table)
    for each in outcome.judged:
        if not each.kept:
            source = f" ({each.threshold.source})" if each.threshold.source else ""
            console.print(f"[bold red]broken[/] {each.threshold.measure}: {each.threshold.because}{source}")
    for line in outcome.differences:
        console.print(f"[bold red]difference[/] {line}", highlight=False)
    for line in outcome.warnings:
        console.print(f"[yellow]warning[/] {line}", highlight=False)
    if not outcome.differences:
        stored = sum(outcome.seen.arrived.values())
        told = f"{stored} events stored: " if stored else ""
        console.print(f"{told}load generator, simulator and connector agree to the object", highlight=False)
    if folder is not None:
        console.print(f"report: {folder / 'load.html'}", highlight=False)
