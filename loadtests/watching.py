"""Watching a run while it goes: what Amplitude received, how far the connector is behind, who uses the processors.

One thread asks the tank and the connector in turns and keeps what is needed to judge; trouble is set and ended in time.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests import clock, programs
from loadtests.paths import origin
from loadtests.profiles import Profile
from loadtests.tanks import Tank, Unusable

EVERY_S = 0.5
BUSY = 0.9
"""Share of a processor from which on a process counts as saturated."""
UPLOADS = ("/2/httpapi", "/batch")


@dataclass
class Seen:
    """What was seen; ``second`` is tank time since the run began, in whole seconds."""

    began_ms: int = 0
    arrived: Counter[str] = field(default_factory=Counter)
    """How often each insert_id is stored."""
    travels: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Each arrival's own time and when it was received, in ms since the run began, by group."""
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Objects by second and ``accepted`` / ``throttled`` / ``other``, as Amplitude answered the connector."""
    requests: Counter[int] = field(default_factory=Counter)
    """Requests that Amplitude received, by second."""
    throttled: int = 0
    pauses_ms: list[int] = field(default_factory=list)
    """From every 429 that named an event to the next request with that event."""
    devices: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Events stored by device and second."""
    backlog: list[tuple[float, int]] = field(default_factory=list)
    """Seconds since the run began, and events that the connector still holds (or has not delivered)."""
    busy: dict[str, list[float]] = field(default_factory=dict)
    """Processors used, by program, at every look."""
    server_ms: list[float] = field(default_factory=list)
    """How long the simulator worked on each request that it noted."""
    troubles: list[tuple[float, float]] = field(default_factory=list)
    """From when to when there was trouble, in seconds since the run began."""
    health: Mapping[str, Any] = field(default_factory=dict)


class Watch:
    """Looks every half second until it is stopped; :attr:`seen` may be read afterwards."""

    def __init__(
        self, tank: Tank, profile: Profile, scale: float, connector_url: str | None, watched: Sequence[programs.Program]
    ) -> None:
        self.seen = Seen()
        self._tank, self._profile, self._scale = tank, profile, scale
        self._connector, self._watched = connector_url, watched
        self._rows = self._entries = 0
        self._open: dict[str, int] = {}
        self._cpu: dict[str, tuple[float, float]] = {}
        self._coming = sorted(profile.trouble, key=lambda each: each["at"])
        self._faults: list[tuple[float, int]] = []
        self._stopping = threading.Event()
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self, began_ms: int) -> None:
        """Begin to look; ``began_ms`` is the tank time at which the run begins."""
        self.seen.began_ms = began_ms
        self._thread.start()

    def stop(self) -> None:
        """Look once more and end."""
        self._stopping.set()
        self._thread.join()
        if self.failure is None:
            self.look()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self.look()
            except Unusable as error:
                self.failure = str(error)
                return

    def look(self) -> None:
        """One look at everything."""
        at = (int(self._tank.now()["epoch_ms"]) - self.seen.began_ms) / 1000
        self._trouble(at)
        self._read_arrivals()
        if self._profile.into == "connector":
            self._read_journal()
            self._read_connector(at)
        self._read_processors()

    def _trouble(self, at: float) -> None:
        while self._coming and self._coming[0]["at"] <= at:
            each = self._coming.pop(0)
            fault = self._tank.call("POST", f"{self._tank.path}/faults", each["fault"])
            self._faults.append((at + each["for"], fault["id"]))
            self.seen.troubles.append((at, at + each["for"]))
        for end, fault_id in [each for each in self._faults if each[0] <= at]:
            self._tank.call("DELETE", f"{self._tank.path}/faults/{fault_id}")
            self._faults.remove((end, fault_id))
            self.seen.troubles = [(a, at if b == end else b) for a, b in self.seen.troubles]

    def _read_arrivals(self) -> None:
        for row in self._tank.arrivals(self._rows):
            self._rows = row["n"]
            self.seen.arrived[row["insert_id"]] += 1
            self.seen.devices[row["device_id"], (row["received"] - self.seen.began_ms) // 1000] += 1
            found = origin(row["insert_id"])
            if found is not None:
                began_ms = self.seen.began_ms
                travel = (row["time"] - began_ms, row["received"] - began_ms)
                self.seen.travels.setdefault(found[0], []).append(travel)

    def _read_journal(self) -> None:
        for entry in self._tank.journal(self._entries, "amplitude"):
            self._entries = entry["n"]
            self.seen.server_ms.append(entry["latency_ms"])
            if entry["path"] in UPLOADS:
                self._upload(entry)

    def _upload(self, entry: Mapping[str, Any]) -> None:
        second = (entry["tank_ms"] - self.seen.began_ms) // 1000
        self.seen.requests[second] += 1
        try:
            ids = [each.get("insert_id") for each in json.loads(entry["request_body"])["events"]]
            answer = json.loads(entry["response_body"] or "{}")
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        kind = {200: "accepted", 429: "throttled"}.get(entry["status"], "other")
        self.seen.answers[second, kind] += len(ids)
        for each in self._open.keys() & set(ids):
            self.seen.pauses_ms.append(entry["tank_ms"] - self._open.pop(each))
        if entry["status"] == 429:
            self.seen.throttled += 1
            named = answer.get("throttled_events") if isinstance(answer, dict) else None
            # A client re-sends at once what was not named (Amplitude docs, HTTP V2 API, 429).
            self._open.update({ids[n]: entry["tank_ms"] for n in named or () if n < len(ids)})

    def _read_connector(self, at: float) -> None:
        if self._connector is None:
            return
        found = programs.health(self._connector)
        if found is None:
            return
        self.seen.health = found
        pending = pending_of(found)
        if pending is not None:
            self.seen.backlog.append((at, pending))

    def _read_processors(self) -> None:
        for program in self._watched:
            now_s, used = clock.monotonic_s(), program.cpu_s()
            before = self._cpu.get(program.name)
            self._cpu[program.name] = (now_s, used)
            if before is not None and now_s > before[0] and used >= before[1]:
                share = (used - before[1]) / (now_s - before[0])
                self.seen.busy.setdefault(program.name, []).append(share)


def pending_of(health: Mapping[str, Any]) -> int | None:
    """Events that a connector says it still holds, over all flows; None when it says nothing of it."""
    boxes = [health.get("outbox"), *(each.get("outbox") for each in health.values() if isinstance(each, Mapping))]
    told = [each["pending"] for each in boxes if isinstance(each, Mapping) and isinstance(each.get("pending"), int)]
    return sum(told) if told else None
