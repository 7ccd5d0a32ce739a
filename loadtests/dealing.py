"""Dealing a run out: when it began, where it goes, and which share every user sends.

The master (or the only process) deals once all users stand; workers are told by a message of Locust's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import Event

from loadtests import clock
from loadtests.paths import Target
from loadtests.profiles import Group
from loadtests.tally import Tally, received

DEAL, HEAD_START_S = "load_deal", 1.0


@dataclass
class Run:
    """This process's part of a run. Times are in seconds of tank time since the run began."""

    target: Target = field(default_factory=lambda: Target(""))
    scale: float = 1.0
    tank_began_ms: int = 0
    tally: Tally = field(default_factory=Tally)
    dealt: Event = field(default_factory=Event)
    _began_s: float = 0.0
    _shares: dict[str, list[int]] = field(default_factory=dict)

    def begin(self, data: Mapping[str, Any]) -> None:
        """Take what the master deals: ``{target, keys, scale, tank_ms, shares: {group: [first, users, of]}}``."""
        self.target = Target(data["target"], data["keys"])
        self.scale = data["scale"]
        self.tank_began_ms = round(data["tank_ms"] + HEAD_START_S * self.scale * 1000)
        self._began_s = clock.monotonic_s() + HEAD_START_S
        self._shares = {name: list(share) for name, share in data["shares"].items()}
        self.dealt.set()

    def elapsed(self) -> float:
        return (clock.monotonic_s() - self._began_s) * self.scale

    def now_ms(self) -> int:
        """Tank time in ms."""
        return self.tank_began_ms + round(self.elapsed() * 1000)

    def real_s(self, seconds: float) -> float:
        return seconds / self.scale

    def real_ms(self, seconds: float) -> float:
        return seconds * 1000 / self.scale

    def sleep_until(self, at: float) -> None:
        left = self.real_s(at - self.elapsed())
        if left > 0:
            gevent.sleep(left)

    def note_late(self, due: float) -> None:
        self.tally.late_ms = max(self.tally.late_ms, round(self.real_ms(self.elapsed() - due)))

    def share(self, group: Group) -> tuple[str, Iterator[int]]:
        """Which user of this group the asking one is, and the numbers of its requests."""
        self.dealt.wait()
        first, _, of = self._shares[group.name]
        self._shares[group.name][0] += 1
        user = f"{group.name}:{first}"
        self.tally.done[user] = False
        return user, iter(range(first, group.timetable.total, of))


_run = Run()


def run() -> Run:
    """The run of this process."""
    return _run


def shares(hosts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, list[int]]]:
    """Number the users of every group through all hosts: per host and group ``[first, users, of]``.

    ``hosts`` tells how many users of which group stand on each.
    """
    total: dict[str, int] = {}
    for counts in hosts.values():
        for name, n in counts.items():
            total[name] = total.get(name, 0) + n
    seen: dict[str, int] = dict.fromkeys(total, 0)
    found: dict[str, dict[str, list[int]]] = {}
    for host, counts in hosts.items():
        found[host] = {}
        for name, n in counts.items():
            found[host][name] = [seen[name], n, total[name]]
            seen[name] += n
    return found


def report(data: dict[str, Any]) -> None:
    """Put what is new into a worker's report, and start a new tally."""
    data["tally"] = _run.tally.sent()
    # Who is still at it has to be known in the next report as well.
    _run.tally = Tally(done=dict(_run.tally.done))


def take_report(data: Mapping[str, Any]) -> None:
    """Add a worker's report to the master's tally."""
    if "tally" in data:
        _run.tally.add(received(data["tally"]))
