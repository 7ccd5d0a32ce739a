"""The verdict on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

COLOURS = {"kept": "green", "broken": "bold red", "not_applicable": "dim", "not_proven": "yellow"}


def show(console: Console, found: Mapping[str, Any]) -> None:
    """Failures first, then the judged rules by flow, the scorecard of all flows, and one line of totals."""
    rules = {rule["id"]: rule for rule in found["rules"]}
    for each in found["scenarios"]:
        for failure in each["failures"][:3]:
            console.print(_failure(each, failure, [rules[rule]["statement"] for rule in failure["rules"]]))
    for flow in found["flows"]:
        judged = [rules[each] for each in flow["rules"] if rules[each]["verdict"] != "not_proven"]
        if judged:
            console.print(_rules(flow["title"], judged))
    console.print(_scorecard(found["flows"]))
    totals = found["totals"]
    parts = [f"{totals[f'rules_{name}']} {name.replace('_', ' ')}" for name in COLOURS]
    number = len(found["scenarios"])
    console.print(f"{number} scenarios in {found['seconds']} s; rules: {', '.join(parts)}", highlight=False)


def _rules(title: str, judged: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", expand=False, pad_edge=False)
    for name in ("Rule", "Level", "Verdict", "Statement", "Source"):
        table.add_column(name, no_wrap=name in ("Rule", "Level", "Verdict"), overflow="fold")
    for rule in judged:
        verdict = Text(rule["verdict"].replace("_", " "), COLOURS[rule["verdict"]])
        source = f"{rule['source']['document']}, {rule['source']['section']}"
        table.add_row(rule["id"], rule["level"], verdict, rule["statement"], Text(source, "dim"))
    return table


def _scorecard(flows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Scorecard", title_justify="left", expand=False, pad_edge=False)
    table.add_column("Flow")
    for name in COLOURS:
        table.add_column(name.replace("_", " ").capitalize(), justify="right")
    for flow in flows:
        numbers = [Text(str(flow[name] or "–"), COLOURS[name] if flow[name] else "dim") for name in COLOURS]
        table.add_row(flow["title"], *numbers)
    return table


def _failure(scenario: Mapping[str, Any], failure: Mapping[str, Any], statements: Sequence[str]) -> Panel:
    lines = [Text(f"{scenario['title']}."), *(Text(each, "bold") for each in statements), Text(failure["text"])]
    if failure["because"]:
        lines.append(Text(failure["because"], "italic"))
    if failure["diff"]:
        lines.append(Text("- expected  + what came", "dim"))
    lines += [Text(line, {"+": "green", "-": "red"}.get(line[:1], "")) for line in failure["diff"][:30]]
    lines += [Text(f"source: {source}", "dim") for source in dict.fromkeys(failure["sources"])]
    lines.append(Text(f"replay: {failure['replay']}"))
    return Panel(Group(*lines), title=f"{scenario['id']}: {', '.join(failure['rules'])}", border_style="red")
