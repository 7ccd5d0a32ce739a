"""The scorecard on the terminal: a table by rule, and a panel for each scenario that failed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from scenarios.player import BROKEN, KEPT, NOT_APPLICABLE, NOT_PROVEN, Result
from scenarios.report import Run
from scenarios.rulebook import Rule
from scenarios.verdicts import is_error, totals

_STYLES = {KEPT: "green", BROKEN: "bold red", NOT_APPLICABLE: "yellow", NOT_PROVEN: "yellow"}
_PIPE_WIDTH = 120


def console(*, stderr: bool = False) -> Console:
    """A console: colours on a terminal only, and a fixed width in a pipe."""
    found = Console(stderr=stderr, highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


def progress(screen: Console) -> Progress:
    """A progress bar for a terminal; shows nothing in a pipe."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )


def scorecard(run: Run, screen: Console) -> None:
    """Print the table by rule, what failed and why, and the totals."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("Rule", "Level", "Verdict", "Scenarios", "What holds"):
        table.add_column(name, no_wrap=name != "What holds", overflow="fold")
    results = {each.id: each for each in run.results}
    for each in run.verdicts:
        ran = [results[name] for name in each.scenarios if results[name].verdict in (KEPT, BROKEN)]
        table.add_row(
            each.rule.id,
            each.rule.level,
            Text(each.verdict.replace("_", " "), style=_STYLES[each.verdict]),
            f"{len(ran)}/{len(each.scenarios)}",
            Text(each.rule.statement),
        )
    screen.print(table)
    for result in run.results:
        if result.verdict == BROKEN:
            screen.print(_panel(run, result))
    for line in _left(run.results):
        screen.print(Text(line, style="yellow"))
    screen.print()
    screen.print(Text(_sum("rules", [each.verdict for each in run.verdicts])))
    screen.print(Text(_sum("scenarios", [each.verdict for each in run.results]) + f" in {run.seconds:.1f} s"))


def _sum(what: str, verdicts: list[str]) -> str:
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in totals(verdicts).items() if count]
    return f"{len(verdicts)} {what}: {', '.join(counts) or 'none'}"


def _panel(run: Run, result: Result) -> Panel:
    scenario = next(each for each in run.scenarios if each.id == result.id)
    lines: list[Any] = []
    for failure in result.failures:
        lines.append(Text(f"{', '.join(failure.rules)}: expected {failure.expectation}"))
        if failure.because:
            lines.append(Text(f"because {failure.because}", style="italic"))
        lines += [Text(f"  {line}", style="red") for line in failure.diff]
        lines += [Text(f"  source: {source}", style="dim") for source in run.sources(failure)]
    lines += [Text(""), Text("again: ", style="dim") + Text(run.replay(result.id))]
    return Panel(
        Group(*lines), title=Text(f"{scenario.id}: {scenario.title}"), title_align="left", border_style="red"
    )


def _left(results: Iterable[Result]) -> list[str]:
    """One line per reason why scenarios proved nothing, errors one by one."""
    reasons: dict[str, int] = {}
    lines = []
    for each in results:
        if is_error(each):
            lines.append(f"{each.id}: {each.why}")
        elif each.verdict in (NOT_APPLICABLE, NOT_PROVEN) and each.why:
            reasons[each.why] = reasons.get(each.why, 0) + 1
    return lines + [f"{count} scenarios: {why}" for why, count in reasons.items()]


def rules_table(rules: Iterable[Rule], screen: Console) -> None:
    """Print the rules with their sources."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("Rule", "Level", "Tier", "Scope", "What holds", "Source"):
        table.add_column(name, no_wrap=name not in ("What holds", "Source"), overflow="fold")
    for rule in rules:
        table.add_row(
            rule.id,
            rule.level,
            rule.tier,
            rule.scope,
            Text(rule.statement),
            Text(str(rule.source), style="dim"),
        )
    screen.print(table)
