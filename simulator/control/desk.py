"""The desk: all tanks of one server with their timekeepers, in the one process that runs time."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator import clock as clocks
from simulator.amplitude.cohort_computing import active_id
from simulator.customerio.workspace import ACCOUNT_ID, WORKSPACE_ID
from simulator.snapshots import Shelf, shelf
from simulator.tank import Tank, Tanks
from simulator.timekeeper import Handler, Timekeeper


class NotThere(LookupError):
    """What the request names does not exist."""


class Desk:
    """Tanks, their timekeepers, and where the platforms listen.

    :param urls: base URL by platform app name (see :data:`simulator.apps.PLATFORMS`).
    :param snapshots: folder for snapshots; None puts them beside the state file.
    :param default_region: region of a tank whose spec names none.
    :param runs_time: False where another process runs the tanks' time: nothing may be asked but :meth:`ready`.
    """

    def __init__(
        self,
        tanks: Tanks,
        urls: Mapping[str, str],
        handlers: Mapping[str, Handler],
        *,
        seed: int = 0,
        snapshots: Path | None = None,
        default_region: str = "us",
        control_url: str = "",
        token: str | None = None,
        runs_time: bool = True,
    ) -> None:
        self.tanks = tanks
        self.urls = dict(urls)
        tanks.urls = self.urls
        self.handlers = handlers
        self.seed = seed
        self.default_region = default_region
        self.control_url = control_url
        self.token = token
        self._snapshots = snapshots or (tanks.folder / "snapshots" if tanks.folder else None)
        self._keepers: dict[str, Timekeeper] = {}
        self._lock = threading.RLock()
        self._made = 0
        for tank in tanks.list() if runs_time else ():
            self.keeper(tank)

    # -- tanks

    def create(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Make a tank from the body of ``POST /tanks``; answers the ready object. Raises ValueError."""
        with self._lock:
            tank_id = spec.get("id") or self._free_id()
            tank = self.tanks.create(
                tank_id,
                seed=spec.get("seed", self.seed),
                region=spec.get("region", self.default_region),
                limits=spec.get("limits", "currents-2025"),
                clock=start_clock(spec.get("clock", {})),
                settings=spec.get("settings"),
                credentials=spec.get("credentials"),
            )
            self.keeper(tank)
        return self.ready(tank)

    def _free_id(self) -> str:
        taken = {tank.id for tank in self.tanks.list()}
        while True:
            self._made += 1
            if f"tank-{self._made}" not in taken:
                return f"tank-{self._made}"

    def tank(self, tank_id: str) -> Tank:
        """The tank of this id. Raises UnknownTank (a LookupError)."""
        return self.tanks.get(tank_id)

    def keeper(self, tank: Tank) -> Timekeeper:
        """The timekeeper of a tank, started when it was not."""
        with self._lock:
            keeper = self._keepers.get(tank.id)
            if keeper is None or keeper.tank is not tank:
                keeper = Timekeeper(tank, self.handlers)
                keeper.start()
                self._keepers[tank.id] = keeper
            return keeper

    def _stop_keeper(self, tank_id: str) -> None:
        with self._lock:
            keeper = self._keepers.pop(tank_id, None)
        if keeper is not None:
            keeper.stop()

    def delete(self, tank_id: str) -> None:
        """Remove a tank. Raises UnknownTank."""
        self.tanks.get(tank_id)
        self._stop_keeper(tank_id)
        self.tanks.delete(tank_id)

    def reset(self, tank_id: str) -> dict[str, Any]:
        """Empty a tank; answers the ready object. Raises UnknownTank."""
        self.tanks.get(tank_id)
        self._stop_keeper(tank_id)
        tank = self.tanks.reset(tank_id)
        self.keeper(tank)
        return self.ready(tank)

    # -- snapshots

    def _shelf(self, tank: Tank) -> Shelf:
        return shelf(tank.store, None if self._snapshots is None else self._snapshots / tank.id)

    def snapshot(self, tank_id: str, name: str) -> dict[str, Any]:
        """Keep a copy of the tank as it is now; a snapshot of the same name is replaced."""
        tank = self.tanks.get(tank_id)
        note = {
            "tank_time": clocks.iso(tank.clock.now_ms()),
            "credentials": tank.credentials(),
            "revoked": list(self.tanks.revocations(tank_id)),
        }
        self._shelf(tank).keep(name, note)
        return {"name": name, "tank_time": note["tank_time"]}

    def snapshots(self, tank_id: str) -> list[dict[str, Any]]:
        """The tank's snapshots by name."""
        kept = self._shelf(self.tanks.get(tank_id)).kept()
        return [{"name": each["name"], "tank_time": each["tank_time"]} for each in kept]

    def restore(self, tank_id: str, name: str) -> dict[str, Any]:
        """Take the tank back to a snapshot. Raises NotThere."""
        tank = self.tanks.get(tank_id)
        known = {each["name"] for each in self._shelf(tank).kept()}
        if name not in known:
            raise NotThere(f"snapshot {name!r} of tank {tank_id!r} does not exist")
        self._stop_keeper(tank_id)
        kept = self._shelf(tank).take_back(name)
        assert kept is not None
        for credential, value in kept["credentials"].items():
            self.tanks.set_credential(tank_id, credential, value=value, revoked=credential in kept["revoked"])
        self.keeper(tank)
        return self.ready(tank)

    # -- the ready object

    def ready(self, tank: Tank) -> dict[str, Any]:
        """Where everything is and which keys open it: the ready file of the design, with some more members."""
        keys = tank.credentials()
        other = "eu" if tank.region == "us" else "us"
        return {
            "control": {
                "url": self.control_url,
                "clock_url": f"{self.control_url}/tanks/{tank.id}/clock",
            },
            "tank": {"id": tank.id, "seed": tank.seed, "limits": tank.limits},
            "amplitude": {
                "region": tank.region,
                "url": self.urls[f"amplitude_{tank.region}"],
                "other_region_url": self.urls[f"amplitude_{other}"],
                "api_key": keys["amplitude_api_key"],
                "secret_key": keys["amplitude_secret_key"],
                "feed_token": keys["amplitude_feed_token"],
                "active_cohort_id": active_id(tank),
            },
            "braze": {
                "url": self.urls["braze"],
                "rest_api_key": keys["braze_rest_api_key"],
                "app_id": keys["braze_app_id"],
                "data_import_key": keys["braze_data_import_key"],
                "partner_name": "amplitude",
                "partner_api_key": keys["braze_partner_api_key"],
                "currents_token": keys["currents_token"],
            },
            "customerio": {
                "region": tank.region,
                "url": self.urls[f"customerio_{tank.region}"],
                "other_region_url": self.urls[f"customerio_{other}"],
                "signing_key": keys["customerio_signing_key"],
                "account_id": ACCOUNT_ID,
                "workspace_id": WORKSPACE_ID,
                "site_id": keys["customerio_site_id"],
                "track_api_key": keys["customerio_track_api_key"],
                "app_api_key": keys["customerio_app_api_key"],
            },
        }

    def close(self) -> None:
        """Stop all time."""
        for tank_id in list(self._keepers):
            self._stop_keeper(tank_id)


def start_clock(spec: Mapping[str, Any]) -> clocks.ClockState:
    """A clock from ``{mode, scale, start}``; stepped from 2026-01-01 when nothing is said. Raises ValueError."""
    mode = spec.get("mode", "stepped")
    scale = float(spec.get("scale", 60.0 if mode == "scaled" else 1.0))
    start = None if spec.get("start") is None else clocks.parse_instant(spec["start"])
    return clocks.start(mode, scale, start)
