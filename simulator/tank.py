"""Tanks: isolated worlds, each with a clock, a store, credentials and settings; and the directory of them.

A request reaches its tank by its credential, as with the vendors' own tenants.
"""

from __future__ import annotations

import fcntl
import hashlib
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    select,
)

from simulator import clock as clocks
from simulator import settings as named
from simulator.credentials import CREDENTIALS, check_credential, readable_credentials
from simulator.postgres import Database
from simulator.store import OBSERVING, SqliteStore, Store, fetch, metadata

Region = Literal["us", "eu"]
T = TypeVar("T")

REMEMBERED = 1_000
"""Answers of the directory that a process keeps; unknown keys are among them."""

_FOUND_BY = (
    "amplitude_api_key",
    "amplitude_secret_key",
    "braze_rest_api_key",
    "braze_partner_api_key",
    "customerio_site_id",
    "customerio_app_api_key",
)

directory = MetaData()
_tanks = Table(
    "tanks",
    directory,
    Column("id", String, primary_key=True),
    Column("seed", BigInteger, nullable=False),
    Column("region", String, nullable=False),
    Column("limits", String, nullable=False),
    Column("clock", String, nullable=False),
    Column("created_real_ms", BigInteger, nullable=False),
)
_credentials = Table(
    "credentials",
    directory,
    Column("tank_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False, index=True),
    Column("revoked", Boolean, nullable=False, default=False),
)

_meta = Table(
    "tank_meta",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("mode", String, nullable=False),
    Column("scale", Float, nullable=False),
    Column("tank_ms", BigInteger, nullable=False),
    Column("anchor_ms", BigInteger, nullable=False),
    Column("auto_advance", Boolean, nullable=False, default=False),
    Column("horizon_ms", BigInteger, nullable=False, default=30 * 86_400_000),
    Column("faults", Integer, nullable=False, default=0),
    Column("settings", String, nullable=False, default="{}"),
)
OBSERVING.add("tank_meta")


@dataclass(frozen=True)
class Meta:
    """The one row that every request reads: clock, settings, and whether faults are set."""

    clock: clocks.ClockState
    auto_advance: bool
    horizon_ms: int
    faults: int
    settings: str


class Clock:
    """A tank's clock, kept in the tank's store."""

    def __init__(self, tank: Tank) -> None:
        self._tank = tank

    def now_ms(self, conn: Connection | None = None) -> int:
        """Tank time in ms since the epoch."""
        return self._tank.meta(conn).clock.now_ms()

    @property
    def mode(self) -> clocks.Mode:
        return self._tank.meta().clock.mode

    def set(self, conn: Connection, state: clocks.ClockState) -> None:
        """Store the clock anew."""
        conn.execute(
            _meta.update().values(mode=state.mode, scale=state.scale, tank_ms=state.tank_ms, anchor_ms=state.anchor_ms)
        )


class Tank:
    """One isolated world. Get one from :class:`Tanks`."""

    def __init__(
        self, tank_id: str, born: int, seed: int, region: Region, limits: str, store: Store, tanks: Tanks
    ) -> None:
        self.id = tank_id
        self.born = born
        self.seed = seed
        self.region: Region = region
        self.limits = limits
        self.store = store
        self.tanks = tanks
        self.clock = Clock(self)
        self.settings = named.Settings({})
        self.fed_order = 0
        self.sent_order = 0
        self.order_lock = threading.Lock()
        self.order = 0
        self.open_requests = 0
        self._settings_text = "{}"

    def meta(self, conn: Connection | None = None) -> Meta:
        """Read the tank's current clock and switches; settings are refreshed on the way."""
        if conn is None:
            with self.store.read() as own:
                return self.meta(own)
        mode, scale, tank_ms, anchor_ms, auto_advance, horizon_ms, faults, settings = fetch(conn, _SELECT_META)[0]
        if settings != self._settings_text:
            self.settings = named.Settings(orjson.loads(settings))
            self._settings_text = settings
        clock = clocks.ClockState(mode, scale, tank_ms, anchor_ms)
        return Meta(clock, bool(auto_advance), horizon_ms, faults, settings)

    def write_meta(self, conn: Connection, **values: object) -> None:
        """Change columns of the meta row (``faults``, ``settings``, ``auto_advance``, ``horizon_ms``)."""
        conn.execute(_meta.update().values(**values))

    def override(self, conn: Connection, values: Mapping[str, Any]) -> None:
        """Override named settings; raises ValueError for an unknown name or an unfit value."""
        named.check(values)
        current = orjson.loads(self.meta(conn).settings)
        text = orjson.dumps({**current, **values}).decode()
        self.write_meta(conn, settings=text)
        self.meta(conn)

    def rng(self, *names: object) -> random.Random:
        """A random source fixed by the tank's seed and ``names``."""
        text = ":".join(str(name) for name in (self.seed, *names))
        return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))

    def credential(self, name: str) -> str:
        """The current value of a credential, one of :data:`CREDENTIALS`."""
        return self.tanks.credential(self.id, name)[0]

    def revoked(self, name: str, conn: Connection | None = None) -> bool:
        """Whether a credential has been revoked (expired) at its platform."""
        return self.tanks.credential(self.id, name)[1]

    def credentials(self) -> dict[str, str]:
        """All credentials by name."""
        return self.tanks.credentials(self.id)

    def next_order(self) -> int:
        """A number that grows with everything this process sees of the tank (feeds, waits, requests)."""
        with self.order_lock:
            self.order += 1
            return self.order

    def enter(self) -> None:
        """Count a request that a platform is working on."""
        with self.order_lock:
            self.open_requests += 1

    def leave(self) -> None:
        """Count a request as answered."""
        with self.order_lock:
            self.open_requests -= 1

    def note_fed(self, sent_order: int) -> None:
        """Remember that a feed, sent at ``sent_order``, has just been answered by the connector."""
        self.fed_order = self.next_order()
        self.sent_order = max(self.sent_order, sent_order)


_SELECT_META = "SELECT mode, scale, tank_ms, anchor_ms, auto_advance, horizon_ms, faults, settings FROM tank_meta"


class UnknownTank(LookupError):
    """There is no tank of this id."""


class Tanks:
    """The directory of tanks of one server.

    :param state: None keeps everything in memory; a path names the directory database, the tanks' own
        databases live in the folder beside it named after it with ``.tanks``; a text is the URL of a PostgreSQL
        database, where each tank has a schema.
    """

    def __init__(self, state: Path | str | None = None) -> None:
        self.state = state
        self.folder: Path | None = None
        self._database: Database | None = None
        self._claim: IO[str] | None = None
        if isinstance(state, str):
            self._database = Database(state)
            self.store: Store = self._database.directory(directory)
        elif state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
            self.folder = state.with_name(state.name + ".tanks")
            self.folder.mkdir(exist_ok=True)
            self.store = SqliteStore(state, directory)
        else:
            self.store = SqliteStore(None, directory)
        self.urls: dict[str, str] = {}
        """Base URL of each platform of this server by name; empty in a process that only answers requests."""
        self._open: dict[str, Tank] = {}
        self._remembering = threading.Lock()
        self._remembered: dict[tuple[str, ...], Any] = {}
        self._version: int | None = None
        self._lock = threading.RLock()

    def create(
        self,
        tank_id: str,
        *,
        seed: int = 0,
        region: Region = "us",
        limits: str = "currents-2025",
        clock: clocks.ClockState | None = None,
        settings: Mapping[str, Any] | None = None,
        credentials: Mapping[str, str] | None = None,
    ) -> Tank:
        """Make a tank. Raises ValueError when the id, a credential or a setting does not fit."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", tank_id):
            raise ValueError(f"tank id {tank_id!r} does not fit: use up to 64 of a-z, 0-9 and -")
        named.check(settings or {})
        values = {**readable_credentials(tank_id, seed), **(credentials or {})}
        unknown = sorted(set(values) - set(CREDENTIALS))
        if unknown:
            raise ValueError(f"credential {unknown[0]!r} is unknown: give one of {', '.join(CREDENTIALS)}")
        for name, value in values.items():
            check_credential(name, value)
        start = clock or clocks.start("stepped")
        born = clocks.real_ms()
        with self.store.write() as conn:
            if conn.execute(select(_tanks.c.id).where(_tanks.c.id == tank_id)).first():
                raise ValueError(f"tank {tank_id!r} exists already: choose another id or delete it first")
            self._check_free(conn, tank_id, values)
            conn.execute(
                _tanks.insert().values(
                    id=tank_id,
                    seed=seed,
                    region=region,
                    limits=limits,
                    clock=orjson.dumps({"mode": start.mode, "scale": start.scale, "start": start.tank_ms}).decode(),
                    created_real_ms=born,
                )
            )
            conn.execute(
                _credentials.insert(),
                [{"tank_id": tank_id, "name": n, "value": v, "revoked": False} for n, v in values.items()],
            )
            tank = self._load(tank_id, born, seed, region, limits)
            self._begin(tank, start, settings or {})
        return tank

    def _begin(self, tank: Tank, clock: clocks.ClockState, settings: Mapping[str, Any]) -> None:
        with tank.store.write() as conn:
            conn.execute(_meta.delete())
            conn.execute(
                _meta.insert().values(
                    id=1,
                    mode=clock.mode,
                    scale=clock.scale,
                    tank_ms=clock.tank_ms,
                    anchor_ms=clock.anchor_ms,
                    settings=orjson.dumps(dict(settings)).decode(),
                )
            )
            tank.meta(conn)

    def _check_free(self, conn: Connection, tank_id: str, values: Mapping[str, str]) -> None:
        for name in _FOUND_BY:
            if name not in values:
                continue
            taken = conn.execute(
                select(_credentials.c.tank_id).where(
                    _credentials.c.name == name,
                    _credentials.c.value == values[name],
                    _credentials.c.tank_id != tank_id,
                )
            ).first()
            if taken:
                raise ValueError(f"credential {name} is in use by tank {taken.tank_id!r}: choose another value")

    def _load(self, tank_id: str, born: int, seed: int, region: Region, limits: str) -> Tank:
        with self._lock:
            tank = self._open.get(tank_id)
            if tank is None or tank.born != born:
                # Another process may have deleted the tank and made it anew: its file is then another one.
                if tank is not None:
                    tank.store.close()
                tank = Tank(tank_id, born, seed, region, limits, self._store_of(tank_id, born), self)
                self._open[tank_id] = tank
            return tank

    def _store_of(self, tank_id: str, born: int) -> Store:
        if self._database is not None:
            return self._database.tank(tank_id, born)
        return SqliteStore(None if self.folder is None else self.folder / f"{tank_id}-{born}.db")

    def get(self, tank_id: str) -> Tank:
        """The tank of this id. Raises UnknownTank."""
        with self.store.read() as conn:
            row = conn.execute(select(_tanks).where(_tanks.c.id == tank_id)).first()
        if row is None:
            self._forget(tank_id)
            raise UnknownTank(f"tank {tank_id!r} does not exist: POST /tanks makes one")
        return self._load(row.id, row.created_real_ms, row.seed, row.region, row.limits)

    def _forget(self, tank_id: str) -> None:
        with self._lock:
            tank = self._open.pop(tank_id, None)
        if tank is not None:
            tank.store.close()

    def list(self) -> list[Tank]:
        """All tanks, oldest first."""
        with self.store.read() as conn:
            rows = conn.execute(select(_tanks).order_by(_tanks.c.created_real_ms, _tanks.c.id)).all()
        return [self._load(row.id, row.created_real_ms, row.seed, row.region, row.limits) for row in rows]

    def delete(self, tank_id: str) -> None:
        """Remove a tank with all it holds. Raises UnknownTank."""
        tank = self.get(tank_id)
        with self.store.write() as conn:
            conn.execute(_tanks.delete().where(_tanks.c.id == tank_id))
            conn.execute(_credentials.delete().where(_credentials.c.tank_id == tank_id))
        self._forget(tank_id)
        tank.store.drop()

    def reset(self, tank_id: str) -> Tank:
        """Empty a tank: same id, seed, keys, settings and kind of clock, everything else as new."""
        tank = self.get(tank_id)
        overrides = orjson.loads(tank.meta().settings)
        with self.store.read() as conn:
            first = orjson.loads(conn.execute(select(_tanks.c.clock).where(_tanks.c.id == tank_id)).scalar_one())
        start_ms = first["start"] if first["mode"] == "stepped" else None
        clock = clocks.start(first["mode"], first["scale"], start_ms)
        tank.store.clear()
        self._begin(tank, clock, overrides)
        with self.store.write() as conn:
            conn.execute(_credentials.update().where(_credentials.c.tank_id == tank_id).values(revoked=False))
        return tank

    def claim_control(self) -> bool:
        """Become the one process that runs time, for as long as it lives; False when another one is."""
        if self._database is not None:
            return self._database.claim_control()
        if self.folder is None:
            return True
        if self._claim is None:
            self._claim = (self.folder / "control.lock").open("w")
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def destroy(self) -> None:
        """Remove every tank and the directory, and release every store."""
        for tank in self.list():
            self.delete(tank.id)
        self.store.drop()
        self.close()

    def revocations(self, tank_id: str) -> Sequence[str]:
        """Names of the tank's credentials that are revoked now."""
        with self.store.read() as conn:
            query = select(_credentials.c.name).where(
                _credentials.c.tank_id == tank_id, _credentials.c.revoked.is_(True)
            )
            return conn.execute(query.order_by(_credentials.c.name)).scalars().all()

    def _as_it_is(self, what: tuple[str, ...], read: Callable[[Connection], T]) -> T:
        """Something of the directory, read again only when the directory has changed."""
        version = self.store.version()
        if version is None:
            with self.store.read() as conn:
                return read(conn)
        with self._remembering:
            if version != self._version:
                self._version = version
                self._remembered.clear()
            elif what in self._remembered:
                found: T = self._remembered[what]
                return found
        with self.store.read() as conn:
            found = read(conn)
        with self._remembering:
            if version == self._version and len(self._remembered) < REMEMBERED:
                self._remembered[what] = found
        return found

    def find(self, name: str, value: str) -> tuple[Tank | None, bool]:
        """The tank whose credential ``name`` has this value, and whether that credential is revoked."""
        row = self._as_it_is(
            ("find", name, value), lambda conn: conn.execute(_FIND, {"name": name, "value": value}).first()
        )
        if row is None:
            return None, False
        return self._load(row.id, row.created_real_ms, row.seed, row.region, row.limits), row.revoked

    def credential(self, tank_id: str, name: str) -> tuple[str, bool]:
        """Value and revoked flag of a tank's credential."""
        with self.store.read() as conn:
            row = conn.execute(
                select(_credentials.c.value, _credentials.c.revoked).where(
                    _credentials.c.tank_id == tank_id, _credentials.c.name == name
                )
            ).one()
        return row.value, row.revoked

    def credentials(self, tank_id: str) -> dict[str, str]:
        """All credentials of a tank by name."""
        with self.store.read() as conn:
            return {row.name: row.value for row in conn.execute(_OF_TANK, {"id": tank_id})}

    def secrets(self, tank_id: str) -> tuple[bytes, ...]:
        """What no journal may show of a tank."""
        return self._as_it_is(("secrets", tank_id), lambda conn: _secrets(conn, tank_id))

    def set_credential(self, tank_id: str, name: str, *, value: str | None = None, revoked: bool | None = None) -> None:
        """Replace, revoke or mend a credential. Raises ValueError when it does not fit."""
        if name not in CREDENTIALS:
            raise ValueError(f"credential {name!r} is unknown: give one of {', '.join(CREDENTIALS)}")
        changes: dict[str, object] = {}
        if value is not None:
            check_credential(name, value)
            changes["value"] = value
        if revoked is not None:
            changes["revoked"] = revoked
        if not changes:
            raise ValueError("nothing to change: give status, value or both")
        with self.store.write() as conn:
            if value is not None:
                self._check_free(conn, tank_id, {name: value})
            conn.execute(
                _credentials.update()
                .where(_credentials.c.tank_id == tank_id, _credentials.c.name == name)
                .values(**changes)
            )

    def close(self) -> None:
        """Release every store."""
        with self._lock:
            for tank in self._open.values():
                tank.store.close()
            self._open.clear()
        self.store.close()
        if self._claim is not None:
            self._claim.close()
        if self._database is not None:
            self._database.close()


def _secrets(conn: Connection, tank_id: str) -> tuple[bytes, ...]:
    # The app id names nothing secret; masking all others keeps the rule simple.
    rows = conn.execute(_OF_TANK, {"id": tank_id})
    return tuple(row.value.encode() for row in rows if row.name != "braze_app_id")


_OF_TANK = select(_credentials.c.name, _credentials.c.value).where(_credentials.c.tank_id == bindparam("id"))
_FIND = (
    select(
        _tanks.c.id,
        _tanks.c.created_real_ms,
        _tanks.c.seed,
        _tanks.c.region,
        _tanks.c.limits,
        _credentials.c.revoked,
    )
    .join(_credentials, _credentials.c.tank_id == _tanks.c.id)
    .where(_credentials.c.name == bindparam("name"), _credentials.c.value == bindparam("value"))
)
