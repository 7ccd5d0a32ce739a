"""Running scenarios: each on a fresh tank with its own connector, several at once in worker processes."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import yaml

from scenarios import mutants
from scenarios.connectors import Command, Connector, NeverReady, Reference, Running, free_port, implemented, path_of
from scenarios.control import Control, ControlError
from scenarios.packs import Scenario
from scenarios.steps import CannotGoOn, NotOffered, World
from scenarios.timeline import timeline
from scenarios.waiting import deadline, mark, passed, seconds_since, short_pause
from scenarios.zygote import Zygote
from simulator.serving import Lab

SELF_STARTING = frozenset(("cohort_sync", "property_sync"))
"""Flows that no feed sets going: the connector has to have come to the clock before time moves."""
COMES_S = 5.0


@dataclass(frozen=True)
class Plan:
    """How scenarios are run. ``connector``: ``reference``, a URL, or a command line; ``feeds``: paths of its own."""

    connector: str = "reference"
    seed: int = 0
    feeds: Mapping[str, str] = field(default_factory=dict)
    mutant: str | None = None
    port: int | None = None
    state: str | None = None
    """URL of a PostgreSQL database in which the tanks are made; None makes them in memory."""
    pictures: bool = True


@dataclass
class Result:
    """What came of one scenario. ``rules`` holds the verdict of every judged rule."""

    id: str
    verdict: str
    seconds: float = 0.0
    failures: list[dict[str, Any]] = field(default_factory=list)
    rules: dict[str, str] = field(default_factory=dict)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    never_ready: bool = False


class Worker:
    """One lab with what it takes to start connectors; lives in its own process."""

    def __init__(self, port: int | None = None, state: str | None = None) -> None:
        self.zygote = Zygote()  # before the lab: it must be forked while there are no threads
        # Requests hop between threads all the time; the default of 5 ms would be most of their latency.
        sys.setswitchinterval(0.0005)
        # Connectors write through to the disk; where there is a disk in memory, that costs nothing.
        memory = Path("/dev/shm")
        self.folder = Path(
            tempfile.mkdtemp(prefix="wavetank-check-", dir=memory if os.access(memory, os.W_OK) else None)
        )
        # Each process keeps its tanks apart from those of the others.
        own = None if state is None else f"{state}{'&' if '?' in state else '?'}state=check-{os.getpid() % 100_000}"
        self.lab = Lab(0, own, port)
        self._destroy = own is not None
        self._flows: dict[str, set[str]] = {}

    def close(self) -> None:
        if self._destroy:
            self.lab.tanks.destroy()
        self.lab.close()
        self.zygote.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def play(self, scenario: Scenario, plan: Plan) -> Result:
        """Run one scenario; what goes wrong outside of it is told as a failure, never raised."""
        began = mark()
        folder = Path(tempfile.mkdtemp(prefix=f"{scenario.id}-", dir=self.folder))
        try:
            with self._lab(plan.mutant) as lab:
                result = self._play(scenario, plan, folder, lab)
        except NotOffered:
            result = Result(scenario.id, "not_applicable")
        except NeverReady as error:
            result = _broken(scenario, str(error) + _tail(folder))
            result.never_ready = True
        except ControlError as error:
            result = _unplayed(scenario, f"the scenario cannot be played: {error}")
        except Exception:
            result = _unplayed(scenario, "a defect of wavetank: " + traceback.format_exc(limit=6))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        result.seconds = round(seconds_since(began), 3)
        return result

    @contextlib.contextmanager
    def _lab(self, mutant_id: str | None) -> Iterator[Lab]:
        """The lab of this worker; for a mutant of the simulator one that is made of the broken parts.

        Route tables are built with a lab, so a broken view or table has its effect too, and nothing of the mutant
        outlives it.
        """
        if mutant_id is None or mutants.find(mutant_id).side != "simulator":
            yield self.lab
            return
        mend = mutants.apply(mutant_id)
        try:
            broken = Lab(0)
            try:
                yield broken
            finally:
                broken.close()
        finally:
            mend()

    def _play(self, scenario: Scenario, plan: Plan, folder: Path, lab: Lab) -> Result:
        spec = {"seed": tank_seed(plan.seed, scenario.id), **scenario.spec.get("tank", {})}
        external = plan.connector.startswith(("http://", "https://"))
        # Expectations look into whole bodies; and nobody has to settle where no connector takes part.
        quick: dict[str, Any] = {} if scenario.connector else {"clock.settle_ms": 0}
        spec["settings"] = {"journal.max_body_bytes": 32_000_000, **quick, **spec.get("settings", {})}
        if external:
            spec["id"] = "check"
        ready = lab.create_tank(spec)
        control = Control(lab.control_url, ready["tank"]["id"])
        connector: Connector | None = None
        try:
            environ: dict[str, str] = {}
            world = World(control, ready, None, environ, scenario.rules)
            if not _played(world, scenario.spec.get("prepare", [])):
                return _finished(scenario, world, [])
            if scenario.connector:
                environ = environment(scenario, ready, folder)
                connector = self._connector(plan, folder)
                connector.start(environ)
                flows = self._implemented(plan, connector)
                if not set(scenario.flows) <= flows or not _possible(scenario, connector):
                    return Result(scenario.id, "not_applicable")
                _point_feeds(scenario, control, connector.url, plan.feeds)
                if SELF_STARTING & set(scenario.flows):
                    _await_at_the_clock(control)
                world.connect(connector, environ)
            if _played(world, scenario.steps):
                world.judge(scenario.spec["then"])
            points = timeline(world.view()) if plan.pictures and scenario.spec.get("timeline", True) else []
        finally:
            if connector is not None:
                connector.stop("kill")
            else:
                # The last answer may still be on its way out of the tank.
                with contextlib.suppress(ControlError):
                    control.call("POST", "/clock/settle", {})
            lab.desk.delete(ready["tank"]["id"])
        return _finished(scenario, world, points)

    def _connector(self, plan: Plan, folder: Path) -> Connector:
        if plan.connector == "reference":
            mutant = mutants.find(plan.mutant) if plan.mutant else None
            return Reference(self.zygote, folder, mutant.id if mutant and mutant.side == "connector" else None)
        if plan.connector.startswith(("http://", "https://")):
            return Running(plan.connector)
        return Command(plan.connector, folder)

    def _implemented(self, plan: Plan, connector: Connector) -> set[str]:
        if plan.connector not in self._flows:
            self._flows[plan.connector] = implemented(connector.url, plan.feeds)
        return self._flows[plan.connector]


def _await_at_the_clock(control: Control) -> None:
    """Wait until somebody waits at the tank's clock, in real time; one that does not use it is not waited for long."""
    until = deadline(COMES_S)
    while not control.call("GET", "/clock/waiting")["waiting"] and not passed(until):
        short_pause()


def _point_feeds(scenario: Scenario, control: Control, url: str, paths: Mapping[str, str]) -> None:
    """Point the feeds of a scenario's flows at the connector; ``feed`` is for the one that the scenario is about."""
    pushed = "customerio" if "customerio" in scenario.flows else "currents"
    if scenario.spec.get("feed") != "none":
        usual = {"full_resolution": True} if pushed == "customerio" else {}
        feed = {"url": url + path_of(pushed, paths), **usual, **scenario.spec.get("feed", {})}
        control.call("PUT", f"/feeds/{pushed}", feed)
    if "event_stream" in scenario.flows:
        for name in ("amplitude/events", "amplitude/users"):
            control.call("PUT", f"/feeds/{name}", {"url": url + path_of(name, paths)})


def _possible(scenario: Scenario, connector: Connector) -> bool:
    """Whether the scenario can be played with a connector that somebody else runs."""
    if connector.restartable:
        return True
    moves = {name for step in scenario.steps for name in step}
    return not (
        moves & {"restart", "stop", "start"}
        or "integration" in scenario.spec
        or "region" in scenario.spec.get("tank", {})
    )


def _played(world: World, steps: Iterable[Mapping[str, Any]]) -> bool:
    """Play steps in order; False when one of them leaves the next without what it needs."""
    try:
        for step in steps:
            world.play(step)
    except CannotGoOn:
        return False
    return True


def _finished(scenario: Scenario, world: World, points: list[dict[str, Any]]) -> Result:
    """What a scenario that was played says of its rules."""
    failures = [each.shown() for each in world.verdict.failures]
    broken = {rule for each in world.verdict.failures for rule in each.rules}
    judged = {rule: "broken" if rule in broken else "kept" for rule in sorted(world.verdict.judged)}
    return Result(scenario.id, "broken" if failures else "kept", 0.0, failures, judged, points)


def _unplayed(scenario: Scenario, text: str) -> Result:
    """Nothing is said of the rules when the fault is not the connector's."""
    found = _broken(scenario, text)
    return Result(scenario.id, "not_proven", 0.0, found.failures)


def _broken(scenario: Scenario, text: str) -> Result:
    failure = {
        "rules": list(scenario.rules),
        "text": text,
        "because": "",
        "expected": None,
        "received": None,
        "diff": [],
    }
    return Result(scenario.id, "broken", 0.0, [failure], dict.fromkeys(scenario.rules, "broken"))


def _tail(folder: Path) -> str:
    log = folder / "connector.log"
    text = log.read_text("utf-8", "replace").strip() if log.exists() else ""
    return f"; it said: {text[-600:]}" if text else ""


def tank_seed(seed: int, scenario_id: str) -> int:
    """The seed of a scenario's tank: the same for the same scenario and seed, whatever runs beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{scenario_id}".encode()).digest()[:6], "big")


def environment(scenario: Scenario, ready: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """What a connector under test finds in its environment."""
    integration = usual_integration(scenario.flows, ready["amplitude"]["region"])
    for name, section in scenario.spec.get("integration", {}).items():
        if section is None:
            integration.pop(name, None)
        elif isinstance(section, Mapping):
            integration[name] = {**integration.get(name, {}), **section}
        else:
            integration[name] = section
    (folder / "integration.yaml").write_text(yaml.safe_dump(integration, allow_unicode=True), "utf-8")
    (folder / "tank.json").write_bytes(orjson.dumps(ready))
    state = folder / "state"
    state.mkdir()
    amplitude, braze, customerio = ready["amplitude"], ready["braze"], ready["customerio"]
    return {
        "PORT": str(free_port()),
        "AMPLITUDE_URL": amplitude["url"],
        "AMPLITUDE_REGION": amplitude["region"],
        "AMPLITUDE_API_KEY": amplitude["api_key"],
        "AMPLITUDE_SECRET_KEY": amplitude["secret_key"],
        "AMPLITUDE_ACTIVE_COHORT_ID": amplitude["active_cohort_id"],
        "AMPLITUDE_FEED_TOKEN": amplitude["feed_token"],
        "BRAZE_URL": braze["url"],
        "BRAZE_REST_API_KEY": braze["rest_api_key"],
        "BRAZE_APP_ID": braze["app_id"],
        "BRAZE_DATA_IMPORT_KEY": braze["data_import_key"],
        "BRAZE_PARTNER_NAME": "amplitude",
        "BRAZE_PARTNER_API_KEY": braze["partner_api_key"],
        "CURRENTS_TOKEN": braze["currents_token"],
        "CUSTOMERIO_SIGNING_KEY": customerio["signing_key"],
        "CUSTOMERIO_ACCOUNT_ID": customerio["account_id"],
        "CUSTOMERIO_WORKSPACE_ID": customerio["workspace_id"],
        "WAVETANK_CLOCK_URL": ready["control"]["clock_url"],
        "WAVETANK_INTEGRATION": str(folder / "integration.yaml"),
        "WAVETANK_TANK": str(folder / "tank.json"),
        "WAVETANK_STATE_DIR": str(state),
    }


def usual_integration(flows: Sequence[str], region: str) -> dict[str, Any]:
    """The integration.yaml that scenarios of these flows begin with; ``region`` is us or eu."""
    key = "${AMPLITUDE_API_KEY}"
    if "customerio" in flows:
        amplitude = {"api_key": key, "eu_data_residency": region == "eu"}
        return {"customerio": {"amplitude": amplitude, "signing_key": "${CUSTOMERIO_SIGNING_KEY}", "events": "all"}}
    return {"currents": {"amplitude": {"api_key": key, "region": region.upper()}, "events": "all"}}


_worker: Worker | None = None


def _begin(port: int | None, state: str | None) -> None:
    global _worker
    _worker = Worker(port, state)
    atexit.register(_worker.close)


def _one(scenario: Scenario, plan: Plan) -> Result:
    assert _worker is not None
    return _worker.play(scenario, plan)


class Pool:
    """Worker processes that play scenarios."""

    def __init__(self, jobs: int, port: int | None = None, state: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(port, state))

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def play(self, orders: Sequence[tuple[Scenario, Plan]]) -> Iterator[tuple[Scenario, Plan, Result]]:
        """Results as they come."""
        futures: dict[Future[Result], tuple[Scenario, Plan]] = {
            self._executor.submit(_one, scenario, plan): (scenario, plan) for scenario, plan in orders
        }
        for done in as_completed(futures):
            scenario, plan = futures[done]
            yield scenario, plan, done.result()


def run(
    scenarios: Sequence[Scenario], plan: Plan, jobs: int, note: Callable[[Result], None] = lambda _result: None
) -> list[Result]:
    """Play scenarios; answers their results in the scenarios' order. ``note`` is told of each as it ends."""
    jobs = 1 if plan.connector.startswith(("http://", "https://")) else max(1, min(jobs, len(scenarios)))
    found: dict[str, Result] = {}
    # Long scenarios first, so that no worker ends with one.
    order = sorted(scenarios, key=weight, reverse=True)
    with Pool(jobs, plan.port, plan.state) as pool:
        if plan.connector != "reference":
            # A connector that never gets ready is not waited for eighty times.
            first = next((each for each in reversed(order) if each.connector), order[-1])
            for _, _, result in pool.play([(first, plan)]):
                found[result.id] = result
                note(result)
            if found[first.id].never_ready:
                return [found[first.id]]
            order.remove(first)
        for _, _, result in pool.play([(each, plan) for each in order]):
            found[result.id] = result
            note(result)
    return [found[each.id] for each in scenarios]


def weight(scenario: Scenario) -> int:
    """A guess at a scenario's cost: minutes of tank time, numbers of events and of requests."""
    from scenarios.instants import duration_ms

    total = 0
    for step in scenario.steps:
        span = step.get("advance")
        total += duration_ms(span) // 60_000 if isinstance(span, str | int) else 0
        total += step.get("generate", {}).get("events", 0) + step.get("emit", {}).get("repeat", 0)
        total += step.get("amplitude", {}).get("times", 0)
    return total
