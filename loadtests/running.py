"""One run from beginning to end: start what is needed, load, let it come to rest, count again, judge."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from loadtests import clock, measures, preparing, programs, reconciling, tally
from loadtests.paths import UPLOADS
from loadtests.profiles import Profile
from loadtests.tanks import Tank, Unusable
from loadtests.watching import BUSY, Seen, Watch, pending_of

QUIET_S = 3.0
LONGEST_PAUSE_S = 90.0
"""Tank seconds without an upload after which a connector that tells nothing of its backlog counts as done: longer than
the longest pause that Amplitude asks for (60 s, SDK troubleshooting)."""


@dataclass(frozen=True)
class Plan:
    """How a profile is run. ``connector``: ``reference``, a URL, or a command line; ``bind`` is where a master waits
    for the workers of other machines."""

    profile: Profile
    source: str
    connector: str = "reference"
    workers: int = 1
    seed: int = 0
    scale: float = 1.0
    state: str | None = None
    simulator_workers: int = 1
    control: str | None = None
    token: str = ""
    ui: int | None = None
    bind: tuple[str, int] | None = None


@dataclass
class Outcome:
    """What came of a run."""

    judged: list[measures.Judged]
    differences: list[str]
    tally: tally.Tally
    seen: Seen
    warnings: list[str]
    seconds: float
    rates: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.differences and all(each.kept for each in self.judged)


Note = Callable[[str, float, float], None]
"""Told what is going on: a text, how far it is, and how far it goes (both in seconds)."""


def run(plan: Plan, note: Note) -> Outcome:
    """Carry the plan out. Raises Unusable."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="wavetank-load-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        note("starting", 0, 1)
        tank, watched = _tank(plan, folder, stack)
        connector_url = None
        if plan.profile.into == "connector":
            connector_url, more = _connector(plan, tank, folder, stack)
            watched += more
        preparing.prepare(plan.profile, tank)
        target = connector_url or tank.ready[plan.profile.into]["url"]
        _write_deal(plan, tank, target, folder)
        generators = programs.locust(plan.source, folder, plan.workers, plan.ui, plan.bind)
        for each in generators:
            stack.callback(each.stop)
        watch = Watch(tank, plan.profile, plan.scale, connector_url, [*watched, *generators])
        counted = _load(plan, tank, generators[0], folder, watch, note)
        _rest(plan, watch, counted, note)
        watch.stop()
        if watch.failure:
            raise Unusable(f"the tank could not be watched: {watch.failure}")
        note("counting again", 0, 1)
        mine = tally.received(counted)
        judged = measures.judge(plan.profile, mine, watch.seen)
        differences = reconciling.differences(plan.profile, mine, watch.seen, tank, counted["workers_lost"])
        warnings = _warnings(watch.seen, mine, counted)
        return Outcome(judged, differences, mine, watch.seen, warnings, counted["elapsed"])


def _tank(plan: Plan, folder: Path, stack: contextlib.ExitStack) -> tuple[Tank, list[programs.Program]]:
    """A tank of its own, on a simulator that runs already or one started for it."""
    watched: list[programs.Program] = []
    control = plan.control
    if control is None:
        options = ["--workers", str(plan.simulator_workers), "--seed", str(plan.seed)]
        if plan.state is not None:
            options += ["--state", plan.state]
        program, ready = programs.simulator(folder, options)
        stack.callback(program.stop)
        watched.append(program)
        control = ready["control"]["url"]
    tank = Tank(control, token=plan.token)
    time: dict[str, Any] = {"mode": "real"} if plan.scale == 1 else {"mode": "scaled", "scale": plan.scale}
    settings = {"journal.max_body_bytes": 4_000_000, **plan.profile.tank.get("settings", {})}
    spec: dict[str, Any] = {"seed": plan.seed, "clock": time, "settings": settings}
    if "limits" in plan.profile.tank:
        spec["limits"] = plan.profile.tank["limits"]
    tank.make(spec)
    if plan.control is not None:
        stack.callback(lambda: tank.call("DELETE", tank.path))
    return tank, watched


def _connector(plan: Plan, tank: Tank, folder: Path, stack: contextlib.ExitStack) -> tuple[str, list[programs.Program]]:
    """The URL of the connector under test, started unless it runs already."""
    if plan.connector.startswith(("http://", "https://")):
        url = plan.connector.rstrip("/")
        if programs.health(url) is None:
            raise Unusable(f"no connector answers GET {url}/healthz with 2xx: start it, or give its command line")
        return url, []
    environ = environment(plan, tank.ready, folder)
    program = programs.connector(plan.connector, environ, folder)
    stack.callback(program.stop)
    return f"http://127.0.0.1:{environ['PORT']}", [program]


def environment(plan: Plan, ready: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """What a connector under test finds in its environment; see the README."""
    amplitude, braze, customerio = ready["amplitude"], ready["braze"], ready["customerio"]
    integration: dict[str, Any] = {}
    if "currents" in plan.profile.flows:
        region = amplitude["region"].upper()
        integration["currents"] = {"amplitude": {"api_key": "${AMPLITUDE_API_KEY}", "region": region}, "events": "all"}
    if "customerio" in plan.profile.flows:
        integration["customerio"] = {
            "amplitude": {"api_key": "${AMPLITUDE_API_KEY}"},
            "signing_key": "${CUSTOMERIO_SIGNING_KEY}",
            "events": "all",
        }
    integration.update(plan.profile.integration)
    state = folder / "state"
    state.mkdir(exist_ok=True)
    (folder / "integration.yaml").write_text(yaml.safe_dump(integration), "utf-8")
    (folder / "tank.json").write_text(json.dumps(ready), "utf-8")
    found = {
        "PORT": str(programs.free_port()),
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
        "BRAZE_PARTNER_NAME": braze["partner_name"],
        "BRAZE_PARTNER_API_KEY": braze["partner_api_key"],
        "CURRENTS_TOKEN": braze["currents_token"],
        "CUSTOMERIO_SIGNING_KEY": customerio["signing_key"],
        "CUSTOMERIO_ACCOUNT_ID": customerio["account_id"],
        "CUSTOMERIO_WORKSPACE_ID": customerio["workspace_id"],
        "WAVETANK_INTEGRATION": str(folder / "integration.yaml"),
        "WAVETANK_TANK": str(folder / "tank.json"),
        "WAVETANK_STATE_DIR": str(state),
    }
    if plan.scale != 1:
        found["WAVETANK_CLOCK_URL"] = ready["control"]["clock_url"]
    return found


def _write_deal(plan: Plan, tank: Tank, target: str, folder: Path) -> None:
    ready = tank.ready
    keys = {
        "amplitude_api_key": ready["amplitude"]["api_key"],
        "customerio_signing_key": ready["customerio"]["signing_key"],
        **{
            f"braze_{name}": ready["braze"][name]
            for name in ("rest_api_key", "app_id", "partner_api_key", "data_import_key")
        },
        "currents_token": ready["braze"]["currents_token"],
    }
    read_s = clock.monotonic_s()
    tank_ms = tank.now()["epoch_ms"]
    deal = {"target": target, "keys": keys, "scale": plan.scale, "tank_ms": tank_ms, "read_s": read_s}
    (folder / "deal.json").write_text(json.dumps(deal), "utf-8")


def _load(
    plan: Plan, tank: Tank, generator: programs.Program, folder: Path, watch: Watch, note: Note
) -> dict[str, Any]:
    """Wait for Locust to send everything; answers what it counted. Raises Unusable."""
    whole = plan.profile.seconds
    limit_s = clock.monotonic_s() + 60 + (whole + 2 * plan.profile.patience) / plan.scale
    started = False
    while generator.ended() is None:
        if clock.monotonic_s() > limit_s:
            raise Unusable(f"the load generator does not come to its end: {generator.last_words()}")
        found = _read(folder / "progress.json")
        if found:
            if not started:
                watch.start(int(tank.now()["epoch_ms"] - found["elapsed"] * 1000))
                started = True
            text = f"{found['offered']} offered, {found['accepted']} accepted, {found['throttled']} throttled"
            note(text, min(found["elapsed"], whole), whole)
        clock.sleep(0.2)
    counted = _read(folder / "client.json")
    if counted is None or not started:
        raise Unusable(f"the load generator counted nothing: {generator.last_words() or 'no word of why'}")
    return counted


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _rest(plan: Plan, watch: Watch, counted: Mapping[str, Any], note: Note) -> None:
    """Wait until everything taken has arrived, at most as long as the profile is patient."""
    mine = tally.received(counted)
    held = plan.profile.held
    groups = [each.name for each in plan.profile.groups if each.path in UPLOADS and each.name not in held]
    wanted = sum(len(measures.taken_ids(plan.profile, mine, name)) for name in groups)
    patience_s = plan.profile.patience / plan.scale
    began = last = clock.monotonic_s()
    quiet_s = max(QUIET_S, LONGEST_PAUSE_S / plan.scale) if plan.profile.into == "connector" else QUIET_S
    moves = (-1, -1)
    while watch.failure is None and clock.monotonic_s() - began < patience_s:
        now, here = clock.monotonic_s(), len(watch.seen.arrived)
        if (here, sum(watch.seen.requests.values())) != moves:
            moves, last = (here, sum(watch.seen.requests.values())), now
        pending = pending_of(watch.seen.health)
        if here >= wanted and (held or not pending):
            return
        if pending is None and now - last > quiet_s:
            return
        note(f"{here} of {wanted} events have arrived", now - began, patience_s)
        clock.sleep(0.2)


def _warnings(seen: Seen, mine: tally.Tally, counted: Mapping[str, Any]) -> list[str]:
    """What makes the run's figures doubtful."""
    found = []
    for name, shares in seen.busy.items():
        high = sum(1 for share in shares if share >= BUSY)
        if len(shares) >= 4 and high > len(shares) / 2 and name != "connector":
            found.append(f"the {name} was saturated for most of the run: figures may be its limit, not the connector's")
    if mine.late_ms > 1000:
        found.append(f"the load generator was up to {mine.late_ms / 1000:.1f} s late with a request")
    found += [f"{each['name']}: {each['error']} ({each['occurrences']} times)" for each in _failures(counted["errors"])]
    return found


def _failures(errors: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return iter(sorted(errors, key=lambda each: -int(each["occurrences"]))[:5])
