"""The reports of a run: load.json, seconds.csv, and one HTML file with pictures."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2

from loadtests.charts import chart
from loadtests.running import Outcome, Plan
from loadtests.tally import COLUMNS, of_group, percentile


def shown(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """The run as plain data: ``{profile, passed, thresholds, differences, warnings, counts, latency_ms, …}``."""
    counts = Counter[str]()
    for (_, _, column), n in outcome.tally.seconds.items():
        counts[column] += n
    latencies = {
        name: {f"p{round(share * 100)}": percentile(found, share) for share in (0.5, 0.95, 0.99)}
        for name in [each.name for each in plan.profile.groups]
        if (found := of_group(outcome.tally.latencies.items(), name))
    }
    return {
        "profile": plan.profile.id,
        "title": plan.profile.title,
        "connector": plan.connector if plan.profile.into == "connector" else None,
        "seed": plan.seed,
        "workers": plan.workers,
        "scale": plan.scale,
        "seconds": round(outcome.seconds, 1),
        "passed": outcome.passed,
        "thresholds": [each.shown() for each in outcome.judged],
        "differences": outcome.differences,
        "warnings": outcome.warnings,
        "counts": {**{name: counts[name] for name in COLUMNS}, "stored": sum(outcome.seen.arrived.values())},
        "latency_ms": latencies,
        "throttled_requests": outcome.seen.throttled,
        "processors": {name: round(max(shares), 2) for name, shares in outcome.seen.busy.items() if shares},
    }


def write(folder: Path, plan: Plan, outcome: Outcome) -> None:
    """Write all reports into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    found = shown(plan, outcome)
    (folder / "load.json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    with (folder / "seconds.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("group", "second", *COLUMNS))
        lines.writerows(_rows(outcome))
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    page = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    html = page.get_template("load.html").render(run=found, plan=plan, charts=_charts(plan, outcome))
    (folder / "load.html").write_text(html, "utf-8")


def _rows(outcome: Outcome) -> Iterable[tuple[Any, ...]]:
    counted = outcome.tally.seconds
    for group, second in sorted({(group, second) for group, second, _ in counted}):
        yield (group, second, *(counted[group, second, column] for column in COLUMNS))


def _series(counted: Counter[int]) -> list[tuple[float, float]]:
    """Points for every second from the first to the last, nothing being 0."""
    if not counted:
        return []
    return [(float(second), float(counted[second])) for second in range(min(counted), max(counted) + 1)]


def _charts(plan: Plan, outcome: Outcome) -> list[tuple[str, Any]]:
    seen, charts = outcome.seen, []
    offered: dict[str, Counter[int]] = {}
    for (group, second, column), n in outcome.tally.seconds.items():
        if column in ("offered", "accepted", "throttled"):
            name = column if len(plan.profile.groups) == 1 else f"{column}: {group}"
            offered.setdefault(name, Counter())[second] += n
    whom = "the connector" if plan.profile.into == "connector" else plan.profile.into.capitalize()
    charts.append((f"Objects per second at {whom}", chart({name: _series(n) for name, n in offered.items()})))
    if seen.answers:
        kinds: dict[str, Counter[int]] = {}
        for (second, kind), n in seen.answers.items():
            kinds.setdefault(kind, Counter())[second] += n
        charts.append(
            ("Events per second at Amplitude", chart({kind: _series(n) for kind, n in sorted(kinds.items())}))
        )
    busiest = _busiest_device(outcome)
    if busiest is not None:
        device, counted = busiest
        limit = 60 if plan.profile.tank.get("limits") == "currents-2021" else 30
        name = f"limit: {limit} events/s of a device"
        charts.append(
            (f"Events per second of the busiest device ({device})", chart({device: _series(counted)}, (name, limit)))
        )
    if seen.backlog:
        charts.append(("Events that the connector still holds", chart({"backlog": seen.backlog})))
    return charts


def _busiest_device(outcome: Outcome) -> tuple[str, Counter[int]] | None:
    devices: dict[str, Counter[int]] = {}
    for (device, second), n in outcome.seen.devices.items():
        devices.setdefault(device, Counter())[second] += n
    if not devices:
        return None
    return max(devices.items(), key=lambda each: max(each[1].values()))
