"""The measures of a run, and whether they keep the profile's thresholds: plain functions over what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtests.paths import UPLOADS, event_id
from loadtests.profiles import Profile, Threshold
from loadtests.tally import Tally, of_group, percentile
from loadtests.watching import Seen

WINDOW_S = 5
"""Rates per device are averaged over so many seconds: no window is named, and the shortest bursts are let through."""


@dataclass(frozen=True)
class Judged:
    """A threshold with what was measured; None when there was nothing to measure."""

    threshold: Threshold
    value: float | None

    @property
    def kept(self) -> bool:
        """Whether it holds. What could not be measured has not been shown to hold."""
        wanted = self.threshold
        if self.value is None:
            return False
        if wanted.at_most is not None and self.value > wanted.at_most:
            return False
        return wanted.at_least is None or self.value >= wanted.at_least

    def shown(self) -> dict[str, Any]:
        wanted = self.threshold
        return {
            "measure": wanted.measure,
            "group": wanted.group,
            "at_most": wanted.at_most,
            "at_least": wanted.at_least,
            "value": self.value,
            "kept": self.kept,
            "because": wanted.because,
            "source": wanted.source,
        }


def judge(profile: Profile, tally: Tally, seen: Seen) -> list[Judged]:
    """Every threshold of the profile with its measure."""
    return [Judged(each, measure(each.measure, each.group, profile, tally, seen)) for each in profile.expect]


def measure(name: str, group: str | None, profile: Profile, tally: Tally, seen: Seen) -> float | None:
    """One measure, of one group or of the whole run; None when there was nothing to measure."""
    found = _MEASURES[name](_Run(profile, tally, seen, group))
    return None if found is None else round(found, 3)


@dataclass(frozen=True)
class _Run:
    profile: Profile
    tally: Tally
    seen: Seen
    group: str | None

    @property
    def groups(self) -> list[str]:
        return [each.name for each in self.profile.groups if self.group in (None, each.name)]

    def objects(self, column: str) -> int:
        """Objects (or requests) counted in a column."""
        return sum(n for (name, _, col), n in self.tally.seconds.items() if col == column and name in self.groups)

    def travels(self) -> list[tuple[int, int]]:
        return [each for name in self.groups for each in self.seen.travels.get(name, ())]


def taken_ids(profile: Profile, tally: Tally, group: str) -> set[str]:
    """The ids of all objects of a group that were taken for good."""
    found = next(each for each in profile.groups if each.name == group)
    per = 1 if found.path == "customerio" else found.events
    return {event_id(group, k, j) for k in tally.accepted.get(group, ()) for j in range(per)}


def _lost(run: _Run) -> float:
    uploads = {each.name for each in run.profile.groups if each.path in UPLOADS}
    return sum(
        len(taken_ids(run.profile, run.tally, name) - run.seen.arrived.keys()) for name in run.groups if name in uploads
    )


def _twice(run: _Run) -> float:
    return sum(n - 1 for n in run.seen.arrived.values() if n > 1)


def _given_up(run: _Run) -> float:
    outbox = run.seen.health.get("outbox")
    if run.profile.into == "connector" and isinstance(outbox, Mapping):
        return float(outbox.get("dead", 0) + outbox.get("dropped", 0))
    return float(run.objects("refused"))


def _share(column: str) -> Callable[[_Run], float | None]:
    def found(run: _Run) -> float | None:
        offered = run.objects("offered")
        return run.objects(column) / offered if offered else None

    return found


def _throttled_requests(run: _Run) -> float:
    if run.profile.into == "connector":
        return run.seen.throttled
    sizes = {each.name: each.events for each in run.profile.groups}
    counted = run.tally.seconds.items()
    return sum(n / sizes[name] for (name, _, col), n in counted if col == "throttled" and name in run.groups)


def _throttled_share(run: _Run) -> float | None:
    if run.profile.into != "connector":
        return _share("throttled")(run)
    whole = sum(run.seen.answers.values())
    return sum(n for (_, kind), n in run.seen.answers.items() if kind == "throttled") / whole if whole else None


def _per_device(run: _Run) -> float | None:
    """The most events of one device that were stored within the window, per second."""
    seconds: dict[str, Counter[int]] = {}
    for (device, second), n in run.seen.devices.items():
        if run.group is None or run.group in device:
            seconds.setdefault(device, Counter())[second] += n
    best = [sum(mine[at + n] for n in range(WINDOW_S)) for mine in seconds.values() for at in mine]
    return max(best) / WINDOW_S if best else None


def _per_second(run: _Run) -> float | None:
    """Events stored per second, from the first to the last."""
    received = [at for _, at in run.travels()]
    if len(received) < 2:
        return None
    return len(received) * 1000 / max(1000, max(received) - min(received))


def _pause(run: _Run) -> float | None:
    return min(run.seen.pauses_ms) / 1000 if run.seen.pauses_ms else None


def _delay(share: float) -> Callable[[_Run], float | None]:
    def found(run: _Run) -> float | None:
        delays = Counter(max(0, received - own) for own, received in run.travels())
        return percentile(delays, share) / 1000 if delays else None

    return found


def _latency(share: float) -> Callable[[_Run], float | None]:
    def found(run: _Run) -> float | None:
        latencies = of_group(run.tally.latencies.items(), run.group)
        return percentile(latencies, share) if latencies else None

    return found


def _recovery(run: _Run) -> float | None:
    """From the end of the trouble until everything that had happened by then has arrived."""
    if not run.seen.troubles:
        return None
    end_ms = max(end for _, end in run.seen.troubles) * 1000
    late = [received for own, received in run.travels() if own <= end_ms]
    return max(0.0, (max(late) - end_ms) / 1000) if late else None


def _busiest(run: _Run) -> float | None:
    if run.profile.into == "connector":
        requests: Mapping[int, int] = run.seen.requests
    else:
        counted: Counter[int] = Counter()
        for (name, second, col), n in run.tally.seconds.items():
            if col == "requests" and name in run.groups:
                counted[second] += n
        requests = counted
    return max(requests.values()) * len(requests) / sum(requests.values()) if requests else None


_MEASURES: Mapping[str, Callable[[_Run], float | None]] = {
    "lost": _lost,
    "arrived": lambda run: float(len(run.travels())),
    "stored_twice": _twice,
    "given_up": _given_up,
    "answered_2xx_share": _share("accepted"),
    "throttled_requests": _throttled_requests,
    "throttled_share": _throttled_share,
    "accepted_per_device_s": _per_device,
    "accepted_per_s": _per_second,
    "retry_pause_s": _pause,
    "delay_p50_s": _delay(0.5),
    "delay_p95_s": _delay(0.95),
    "delay_p99_s": _delay(0.99),
    "latency_p50_ms": _latency(0.5),
    "latency_p95_ms": _latency(0.95),
    "latency_p99_ms": _latency(0.99),
    "recovery_s": _recovery,
    "busiest_to_mean": _busiest,
}
