"""What Locust loads: the users of a profile, its shape, and the reports between workers and master.

`wavetank load` runs it; on several machines Locust's own master and workers do, see docs/load.md:
`locust -f loadtests/locustfile.py --worker --master-host HOST --load-profile NAME`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gevent
from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests import clock, dealing, profiles
from loadtests.users import user_class


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--load-profile", required=True, include_in_web_ui=False, help="Profile, by name or file.")
    parser.add_argument("--load-deal", include_in_web_ui=False, default="", help="JSON file of what the run needs.")
    parser.add_argument("--load-out", include_in_web_ui=False, default="", help="Folder for what was counted.")


def _given(name: str) -> str:
    """An option by name, before Locust has parsed them: the user classes depend on the profile."""
    flags = [n for n, each in enumerate(sys.argv) if each == name or each.startswith(f"{name}=")]
    if not flags:
        return ""
    _, _, value = sys.argv[flags[0]].partition("=")
    return value or sys.argv[flags[0] + 1]


_profile = profiles.load(_given("--load-profile")) if _given("--load-profile") else None
globals().update({each.__name__: each for each in map(user_class, _profile.groups if _profile else ())})


class Whole(LoadTestShape):
    """Every user from the first second on; over when all have sent their shares, or out of patience."""

    def tick(self) -> tuple[int, float] | None:
        if _profile is None:
            return None
        run, users = dealing.run(), sum(each.users for each in _profile.groups)
        if run.dealt.is_set():
            finished = len(run.tally.done) >= users and all(run.tally.done.values())
            if finished or run.elapsed() > _profile.seconds + _profile.patience:
                return None
        return users, 1000.0


@events.init.add_listener
def _init(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message(dealing.DEAL, lambda msg, **_more: dealing.run().begin(msg.data))
        environment.events.report_to_master.add_listener(lambda client_id, data: dealing.report(data))
        return
    if isinstance(runner, MasterRunner):
        environment.events.worker_report.add_listener(lambda client_id, data: dealing.take_report(data))
    environment.events.spawning_complete.add_listener(lambda user_count: _deal(environment))
    environment.events.test_stop.add_listener(lambda environment, **_more: _write(environment, "client.json"))
    gevent.spawn(_progress, environment)


def _deal(environment: Environment) -> None:
    runner = environment.runner
    options = environment.parsed_options
    if runner is None or options is None or dealing.run().dealt.is_set():
        return
    deal: dict[str, Any] = json.loads(Path(options.load_deal).read_text("utf-8"))
    # What the tank's clock said then, on the clock that all programs of a machine share.
    deal["tank_ms"] += (clock.monotonic_s() - deal.pop("read_s")) * deal["scale"] * 1000
    if isinstance(runner, MasterRunner):
        hosts = {client: node.user_classes_count for client, node in runner.clients.items()}
    else:
        hosts = {"": runner.user_classes_count}
    dealt = dealing.shares({host: _by_group(counts) for host, counts in hosts.items()})
    for host, shares in dealt.items():
        if host:
            runner.send_message(dealing.DEAL, {**deal, "shares": shares}, client_id=host)
    dealing.run().begin({**deal, "shares": dealt.get("", {})})


def _by_group(counts: dict[str, int]) -> dict[str, int]:
    return {name.partition("_")[2]: n for name, n in counts.items() if n}


def _progress(environment: Environment) -> None:
    while True:
        gevent.sleep(0.5)
        _write(environment, "progress.json")


def _write(environment: Environment, name: str) -> None:
    folder = environment.parsed_options.load_out if environment.parsed_options else ""
    run = dealing.run()
    if not folder or not run.dealt.is_set():
        return
    if name == "progress.json":
        found: dict[str, Any] = {"elapsed": run.elapsed(), "offered": 0, "accepted": 0, "throttled": 0}
        for (_, _, column), n in run.tally.seconds.items():
            if column in found:
                found[column] += n
    else:
        found = {**run.tally.sent(), "began_ms": run.tank_began_ms, "elapsed": run.elapsed()}
        found["errors"] = [
            {"name": each.name, "error": str(each.error), "occurrences": each.occurrences}
            for each in (environment.runner.errors.values() if environment.runner else ())
        ]
        found["workers_lost"] = _lost(environment)
    partial = Path(folder) / f"{name}.partial"
    partial.write_text(json.dumps(found), "utf-8")
    partial.replace(Path(folder) / name)


def _lost(environment: Environment) -> int:
    runner = environment.runner
    return len(runner.clients.missing) if isinstance(runner, MasterRunner) else 0
