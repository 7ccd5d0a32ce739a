"""Runs scenarios in parallel over worker processes, each with a lab of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver

from scenarios import reference, worker
from scenarios.checking import Unusable
from scenarios.connectors import NeverReady, Subject
from scenarios.matching import duration_ms
from scenarios.packs import Scenario, kind
from scenarios.player import NOT_APPLICABLE, NOT_PROVEN, Result
from scenarios.worker import Job

OnResult = Callable[[Result], None]

BOUND_STEPS = {"restart", "stop", "start"}
"""Steps that a connector which runs already cannot take part in."""


@dataclass(frozen=True)
class Options:
    """How to run: processes, seed, calm, whether to draw timelines, the tank of a URL connector."""

    seed: int = 0
    jobs: int = 0
    calm: bool = False
    draw: bool = False
    tank_url: str | None = None

    @property
    def processes(self) -> int:
        return self.jobs or os.cpu_count() or 1


def warm_up() -> None:
    """Begin loading what all processes are forked from, while the caller does other things."""
    reference.context()
    forkserver.ensure_running()


def pool(processes: int) -> ProcessPoolExecutor:
    """Worker processes, each serving a lab of its own."""
    return ProcessPoolExecutor(processes, mp_context=reference.context(), initializer=worker.warm)


def run(
    scenarios: Sequence[Scenario],
    subject: Subject,
    options: Options,
    on_result: OnResult = lambda _result: None,
) -> list[Result]:
    """Run scenarios and answer a result for each, in their order.

    Raises NeverReady when the connector does not get ready, Unusable when it cannot be started at all.
    """
    job = _job(subject, options)
    results: dict[str, Result] = {}

    def note(result: Result) -> None:
        results[result.id] = result
        on_result(result)

    with pool(max(1, min(options.processes, len(scenarios)))) as executor:
        try:
            waiting = _sift(executor, scenarios, job, options, note)
            serial = [each for each in waiting if job.tank is not None and not each.alone]
            free = [each for each in waiting if job.tank is None or each.alone]
            # The long ones first, so that no worker is left with one at the end.
            futures = [
                executor.submit(worker.play_here, each, job) for each in sorted(free, key=cost, reverse=True)
            ]
            _gather(futures, note)
            for each in serial:
                _gather([executor.submit(worker.play_here, each, job)], note)
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise
    return [results[each.id] for each in scenarios]


def _job(subject: Subject, options: Options) -> Job:
    if subject.url is None:
        return Job(subject, options.seed, options.draw)
    url = options.tank_url or "http://127.0.0.1:8700/tanks/demo"
    control_url, found, tank = url.rstrip("/").rpartition("/tanks/")
    if not found or not tank or "/" in tank:
        raise Unusable(f"--tank {url}: write the tank's address, like http://127.0.0.1:8700/tanks/demo")
    return Job(subject, options.seed, options.draw, control_url, tank)


def _sift(
    executor: ProcessPoolExecutor, scenarios: Sequence[Scenario], job: Job, options: Options, note: OnResult
) -> list[Scenario]:
    """Those scenarios that can run; the others get their result here."""
    kept = []
    for each in scenarios:
        why = _left_out(each, job, options)
        if why is None:
            kept.append(each)
        else:
            note(Result(each.id, NOT_PROVEN, 0.0, why=why))
    flows = sorted({flow for each in kept if not each.alone for flow in each.flows})
    if not flows:
        return kept
    found = executor.submit(worker.probe, job, flows).result()
    if found.unusable is not None:
        raise Unusable(found.unusable)
    if found.never_ready is not None:
        raise NeverReady(found.never_ready)
    running = []
    for each in kept:
        missing = [flow for flow in each.flows if flow not in found.flows]
        if each.alone or not missing:
            running.append(each)
        else:
            why = f"the connector does not implement {', '.join(missing)}"
            note(Result(each.id, NOT_APPLICABLE, 0.0, why=why))
    return running


def _left_out(scenario: Scenario, job: Job, options: Options) -> str | None:
    if options.calm and scenario.hostile:
        return "left out by --calm: it makes trouble on purpose"
    if job.tank is None or scenario.alone:
        return None
    if any(kind(step) in BOUND_STEPS for step in scenario.steps):
        return "it restarts the connector, which a connector given by URL cannot be"
    if any("value" in step.get("credential", {}) for step in scenario.steps):
        return "it replaces a key, which a connector given by URL would not learn"
    if scenario.integration:
        return "it needs an integration.yaml of its own, which a connector given by URL would not read"
    if set(scenario.tank) - {"settings"}:
        return "it needs a tank of its own, which a connector given by URL does not write to"
    return None


def cost(scenario: Scenario) -> float:
    """A guess at how long a scenario takes, good enough to order by."""
    cost = 0.0
    for step in scenario.steps:
        name = kind(step)
        body = step[name]
        if name == "emit":
            cost += body.get("repeat", len(body.get("events", ()))) / 200
        elif name == "generate":
            cost += body["events"] / 200
        elif name == "advance":
            by = body.get("by", "1h") if isinstance(body, dict) else body
            cost += 0.2 + duration_ms(by) / 3_600_000 / 12
        elif name in ("restart", "stop", "start"):
            cost += 1
    return cost


def _gather(futures: Iterable[Future[Result]], note: OnResult) -> None:
    try:
        for future in as_completed(futures):
            result = future.result()
            if result.never_ready:
                raise NeverReady(f"{result.id}: {result.why}")
            note(result)
    except BrokenProcessPool:
        raise Unusable("a worker process ended at once (out of memory?), try --jobs 1") from None
