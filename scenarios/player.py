"""Plays one scenario on a fresh tank with a connector of its own, and judges it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios import steps, timeline
from scenarios.checking import Unusable
from scenarios.connectors import Connector, NeverReady, Subject
from scenarios.control import Control, ControlError, TankHandle
from scenarios.environment import environment, integration, lay_out, merged
from scenarios.expectations import Failure, judge
from scenarios.packs import Scenario, expectations, judged
from scenarios.readback import Reading, needed
from scenarios.stopwatch import Stopwatch

KEPT, BROKEN, NOT_APPLICABLE, NOT_PROVEN = "kept", "broken", "not_applicable", "not_proven"

_ROOM = {"journal.max_body_bytes": 21_000_000, "journal.max_entries": 200_000}
"""A tank under check keeps all of its journal: what was dropped could not be judged."""


@dataclass(frozen=True)
class Result:
    """What came of a scenario. ``why`` says in one line why it proved nothing, or what stopped it."""

    id: str
    verdict: str
    seconds: float
    judged: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    why: str | None = None
    timeline: Mapping[str, Any] | None = None
    never_ready: bool = False


def seed_of(seed: int, scenario_id: str) -> int:
    """The tank's seed: fixed by ``--seed`` and the scenario's id."""
    digest = hashlib.sha256(f"{seed}:{scenario_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def play(
    scenario: Scenario,
    under_test: Subject,
    control_url: str,
    seed: int,
    *,
    draw: bool = False,
    tank_id: str | None = None,
) -> Result:
    """Play a scenario against the control API of a lab.

    :param draw: read back what the delivery timeline needs, too.
    :param tank_id: use this tank (reset first) rather than a fresh one: for a connector that runs already.
    """
    watch = Stopwatch()
    control = Control(control_url)
    folder = Path(tempfile.mkdtemp(prefix="wavetank-check-"))
    rules = tuple({rule: None for each in expectations(scenario) for rule in judged(each, scenario)})
    play_one = _Play(scenario, under_test, control, seed, folder, tank_id, draw)
    try:
        play_one.run()
        verdict = BROKEN if play_one.failures else KEPT
        return Result(
            scenario.id, verdict, watch.seconds, rules, tuple(play_one.failures), None, play_one.drawing
        )
    except steps.Gone as error:
        failures = (Failure("the connector comes back after a restart", None, (str(error),), scenario.rules),)
        return Result(scenario.id, BROKEN, watch.seconds, rules, (*play_one.failures, *failures), str(error))
    except NeverReady as error:
        return Result(scenario.id, NOT_PROVEN, watch.seconds, (), (), str(error), None, True)
    except (ControlError, Unusable) as error:
        return Result(scenario.id, NOT_PROVEN, watch.seconds, (), tuple(play_one.failures), f"error: {error}")
    except Exception as error:  # a mistake in the runner must not pass for a verdict
        place = traceback.extract_tb(error.__traceback__)[-1]
        why = f"error: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return Result(scenario.id, NOT_PROVEN, watch.seconds, (), tuple(play_one.failures), why)
    finally:
        play_one.clear()
        control.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Play:
    """One scenario's run; ``clear`` takes down what it put up, however far it came."""

    def __init__(
        self,
        scenario: Scenario,
        under_test: Subject,
        control: Control,
        seed: int,
        folder: Path,
        tank_id: str | None,
        draw: bool,
    ) -> None:
        self.scenario = scenario
        self.subject = under_test
        self.control = control
        self.seed = seed_of(seed, scenario.id)
        self.folder = folder
        self.borrowed = tank_id
        self.draw = draw and scenario.timeline
        self.failures: list[Failure] = []
        self.drawing: dict[str, Any] | None = None
        self.tank: TankHandle | None = None
        self.connector: Connector | None = None

    def run(self) -> None:
        tank = self.tank = self._tank()
        content = integration(tank.ready, self.scenario.integration)
        if not self.scenario.alone:
            stepped = self.scenario.tank.get("clock", {}).get("mode", "stepped") != "real"
            lay_out(tank.ready, self.folder, content)
            environ = environment(tank.ready, self.folder, clock=stepped)
            self.connector = Connector(self.subject, environ, self.folder)
            self.connector.start()
        stage = steps.Stage(tank, self.connector, tank.now_ms(), integration=content)
        if self.connector is not None:
            self.connector.wait_ready()
            if self.scenario.feed is not None:
                stage.feed = merged({"url": self.connector.feed_url()}, self.scenario.feed)
                tank.call("PUT", "/feeds/currents", stage.feed)
        elif self.scenario.feed:
            # Nobody listens there: such a scenario says with a fault what the connector answers.
            stage.feed = merged({"url": "http://127.0.0.1:9/feeds/currents"}, self.scenario.feed)
            tank.call("PUT", "/feeds/currents", stage.feed)
        for step in self.scenario.steps:
            if "expect" in step:
                self._judge(step["expect"], stage, set())
            else:
                steps.run(step, stage)
        reading = self._judge(self.scenario.then, stage, set(timeline.NEEDS) if self.draw else set())
        if self.draw:
            self.drawing = timeline.drawn(reading)

    def _tank(self) -> TankHandle:
        if self.borrowed is not None:
            tank = TankHandle(self.control, self.control.call("POST", f"/tanks/{self.borrowed}/reset"))
            tank.call("PUT", "/clock", {"mode": "stepped"})
            changes = {**_ROOM, **self.scenario.tank.get("settings", {})}
            tank.call("PATCH", "/settings", changes)
            return tank
        spec = {"id": f"{self.scenario.id[:50]}-{self.seed % 99991}", "seed": self.seed, **self.scenario.tank}
        spec["settings"] = {**_ROOM, **self.scenario.tank.get("settings", {})}
        return TankHandle(self.control, self.control.call("POST", "/tanks", spec))

    def _judge(self, wanted: Sequence[Mapping[str, Any]], stage: steps.Stage, more: set[str]) -> Reading:
        tank = stage.tank
        if self.scenario.tank.get("clock", {}).get("mode", "stepped") == "stepped":
            tank.settle()
        reading = _read(tank, stage, needed(wanted) | more)
        for each in wanted:
            ready = steps.filled(each, reading.now_ms, stage.start_ms) if steps.uses_moments(each) else each
            failure = judge(ready, reading, judged(each, self.scenario))
            if failure is not None:
                self.failures.append(failure)
        return reading

    def clear(self) -> None:
        if self.connector is not None:
            self.connector.stop()
        if self.tank is not None and self.borrowed is None:
            with suppress(ControlError):
                self.tank.delete()


def _read(tank: TankHandle, stage: steps.Stage, parts: set[str]) -> Reading:
    health = stage.connector.healthz()[0] if "health" in parts and stage.connector is not None else None
    return Reading(
        start_ms=stage.start_ms,
        now_ms=tank.now_ms(),
        events=tank.events() if "events" in parts else (),
        ledger=tank.ledger() if "ledger" in parts else {},
        journal=tank.journal() if "journal" in parts else (),
        feed=tank.feed() if "feed" in parts else {},
        users=tank.users() if "users" in parts else (),
        merges=tank.merges() if "merges" in parts else (),
        answers=tuple(stage.answers),
        emissions=tuple(stage.emissions),
        health=health,
    )
