"""One worker process of a check: holds a lab of its own and plays the scenarios it is given."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path

from scenarios import mutation, reference
from scenarios.checking import Unusable
from scenarios.connectors import Connector, NeverReady, Subject, end_all, started
from scenarios.control import Control, TankHandle
from scenarios.environment import environment, integration, lay_out
from scenarios.packs import Scenario
from scenarios.player import BROKEN, Result, play
from simulator.serving import Lab, serve


@dataclass(frozen=True)
class Job:
    """What every scenario of a run has in common. ``tank`` and ``control_url`` name a tank to borrow."""

    subject: Subject
    seed: int
    draw: bool = False
    control_url: str | None = None
    tank: str | None = None


@dataclass(frozen=True)
class Probe:
    """What a connector says of itself: flows it implements, or why it never got ready."""

    flows: tuple[str, ...] = ()
    never_ready: str | None = None
    unusable: str | None = None


@dataclass(frozen=True)
class Hunt:
    """What became of a mutant: the rules that caught it, by which scenarios; or what hindered."""

    mutant: str
    caught: tuple[str, ...]
    by: tuple[str, ...]
    tried: int
    why: str | None = None


_lab: Lab | None = None


def lab() -> Lab:
    """The lab of this process, served from the first call until the process ends."""
    global _lab
    if _lab is None:
        stack = ExitStack()
        _lab = stack.enter_context(serve())
        util.Finalize(None, stack.close, exitpriority=100)
    return _lab


def warm() -> None:
    """Serve before the first scenario asks, and end with the command that started this worker."""
    reference.end_with_parent(end_all)
    lab()


def probe(job: Job, flows: Sequence[str]) -> Probe:
    """Start the connector once: does it get ready, and which of ``flows`` does it implement?"""
    with tempfile.TemporaryDirectory(prefix="wavetank-probe-") as name:
        folder = Path(name)
        control = Control(job.control_url or lab().control_url)
        borrowed = job.tank is not None
        ready = control.call("GET", f"/tanks/{job.tank}") if borrowed else control.call("POST", "/tanks", {})
        tank = TankHandle(control, ready)
        lay_out(ready, folder, integration(ready, {}))
        connector = Connector(job.subject, environment(ready, folder, clock=True), folder)
        try:
            with started(connector) as health:
                return Probe(tuple(flow for flow in flows if connector.implements(flow, health)))
        except NeverReady as error:
            return Probe(never_ready=str(error))
        except Unusable as error:
            return Probe(unusable=str(error))
        finally:
            if not borrowed:
                tank.delete()
            control.close()


def play_here(scenario: Scenario, job: Job) -> Result:
    """Play a scenario in this process' lab, or on the borrowed tank."""
    if scenario.alone or job.control_url is None:
        return play(scenario, job.subject, lab().control_url, job.seed, draw=job.draw)
    return play(scenario, job.subject, job.control_url, job.seed, draw=job.draw, tank_id=job.tank)


def hunt(mutant_id: str, scenarios: Sequence[Scenario], seed: int) -> Hunt:
    """Run scenarios against a mutant until each of its rules has caught it."""
    mutant = mutation.find(mutant_id)
    inside = mutant.where == "connector"
    subject = Subject(mutant=mutant_id if inside else None)
    caught: dict[str, str] = {}
    tried = 0
    why: str | None = None
    try:
        with nullcontext() if inside else mutation.replaced(mutant):
            for scenario in scenarios:
                if set(caught) >= set(mutant.rules):
                    break
                tried += 1
                result = play(scenario, subject, lab().control_url, seed)
                if result.verdict == BROKEN:
                    named = {rule for failure in result.failures for rule in failure.rules}
                    caught.update({rule: scenario.id for rule in named if rule in mutant.rules})
                elif result.why is not None:
                    why = f"{scenario.id}: {result.why}"
    except mutation.NoSuchSeam as error:
        why = str(error)
    return Hunt(mutant_id, tuple(sorted(caught)), tuple(sorted(set(caught.values()))), tried, why)
