"""Cohort syncs that Amplitude runs itself: to a cohort webhook, and to the User Profile API.

A sync's first run sends every member; each later one the difference to the members at the last run that succeeded.
A run that fails does not move that baseline, so the next one brings what it missed. A run sends entries and exits in
requests of their own, up to 1,000 people each, unordered, and again when the receiver does not answer in time.

Source: Amplitude docs, Webhooks (cohorts); Sync cohorts with destinations; Schedule a cohort sync.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, func, select

from simulator import feeds, timekeeper
from simulator.amplitude import cohort_computing, cohort_tables, streams, tables
from simulator.amplitude.cohort_tables import members
from simulator.store import OBSERVING, insert_rows, json_set, metadata, upsert_rows
from simulator.tank import Tank

TARGETS = ("webhook", "profile_api")
PERIOD_MS: Mapping[str, int] = {"real-time": 60_000, "hourly": 3_600_000, "daily": 86_400_000}
CADENCES = ("one-time", *PERIOD_MS)
_FREQUENCY = {"real-time": "minute", "hourly": "hourly", "daily": "daily"}
MAX_REAL_TIME = 1_000_000
MAX_PROPERTIES = 50
PARALLEL = 4
RUN, SEND = "amplitude.cohort_sync.run", "amplitude.cohort_sync.send"

_syncs = Table(
    "amplitude_cohort_syncs",
    metadata,
    Column("id", String, primary_key=True),
    Column("cohort_id", String, nullable=False),
    Column("target", String, nullable=False),
    Column("cadence", String, nullable=False),
    Column("config", String, nullable=False),
    Column("enabled", Integer, nullable=False),
    Column("last_successful_ms", BigInteger),
    Column("last_failure_ms", BigInteger),
)
_baseline = Table(
    "amplitude_cohort_sync_members",
    metadata,
    Column("sync_id", String, primary_key=True),
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("user_id", String, nullable=False),
    sqlite_with_rowid=False,
)
_runs = Table(
    "amplitude_cohort_sync_runs",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("sync_id", String, nullable=False, index=True),
    Column("began_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("added", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("outcome", String, nullable=False),
)
_batches = Table(
    "amplitude_cohort_sync_batches",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("run", Integer, nullable=False, index=True),
    Column("body", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_ms", BigInteger),
    Column("state", String, nullable=False),
)
OBSERVING.add("amplitude_cohort_sync_runs")


# -- setting up


def configure(conn: Connection, tank: Tank, sync_id: str, config: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """Create or edit a sync, which runs it at once; answers :func:`state`. What is left out stays as it was.

    ``cohort_id``; ``target``: one of :data:`TARGETS`; ``cadence``: one of :data:`CADENCES`; for a webhook ``url``,
    ``headers`` (up to five) and ``user_properties`` (up to 50 names); ``enabled``. Raises ValueError in one line.
    """
    old = _one(conn, sync_id)
    known: dict[str, Any] = {} if old is None else _config(old)
    new = {"target": "webhook", "cadence": "hourly", "enabled": True, **known, **config}
    cohort_id = new.get("cohort_id")
    if not isinstance(cohort_id, str) or cohort_tables.row(conn, cohort_id) is None:
        raise ValueError(f"cohort_id: the project has no cohort {cohort_id!r}")
    if new["target"] == "webhook":
        if not str(new.get("url", "")).startswith(("http://", "https://")):
            raise ValueError("url: a cohort webhook needs one, like http://127.0.0.1:9000/feeds/amplitude/cohorts")
        if len(new.get("headers") or {}) > streams.MAX_HEADERS:
            raise ValueError(f"headers: a webhook has up to {streams.MAX_HEADERS} of your own")
        if len(new.get("user_properties", ())) > MAX_PROPERTIES:
            raise ValueError(f"user_properties: up to {MAX_PROPERTIES} travel with each user")
    if new["cadence"] == "real-time":
        cohort_computing.refresh(conn, tank, cohort_id, now_ms)
        if _size(conn, cohort_id) > MAX_REAL_TIME:
            raise ValueError(f"cadence: real-time syncs take cohorts of up to {MAX_REAL_TIME:,} users")
    kept = ("url", "headers", "user_properties")
    values = {
        "id": sync_id,
        "cohort_id": cohort_id,
        "target": new["target"],
        "cadence": new["cadence"],
        "config": orjson.dumps({name: new[name] for name in kept if name in new}).decode(),
        "enabled": int(new["enabled"]),
    }
    if old is None:
        conn.execute(_syncs.insert().values(**values))
    else:
        conn.execute(_syncs.update().where(_syncs.c.id == sync_id).values(**values))
    timekeeper.cancel(conn, f"{RUN}:{sync_id}")
    if new["enabled"]:
        timekeeper.schedule(conn, now_ms, RUN, f"{RUN}:{sync_id}", {"sync_id": sync_id})
    return state(conn, sync_id)


def remove(conn: Connection, sync_id: str) -> bool:
    """Stop a sync for good; what it has sent stays where it is. False when there is no such one."""
    timekeeper.cancel(conn, f"{RUN}:{sync_id}")
    timekeeper.cancel(conn, f"{SEND}:{sync_id}")
    conn.execute(_batches.delete().where(_batches.c.run.in_(select(_runs.c.n).where(_runs.c.sync_id == sync_id))))
    conn.execute(_baseline.delete().where(_baseline.c.sync_id == sync_id))
    return conn.execute(_syncs.delete().where(_syncs.c.id == sync_id)).rowcount > 0


def _one(conn: Connection, sync_id: str) -> Any:
    return conn.execute(select(_syncs).where(_syncs.c.id == sync_id)).first()


def _config(row: Any) -> dict[str, Any]:
    shown = {"cohort_id": row.cohort_id, "target": row.target, "cadence": row.cadence, "enabled": bool(row.enabled)}
    return {**shown, **orjson.loads(row.config)}


def state(conn: Connection, sync_id: str) -> dict[str, Any]:
    """A sync, its last runs (newest first), and how many people its baseline holds. Raises LookupError."""
    row = _one(conn, sync_id)
    if row is None:
        raise LookupError(sync_id)
    runs = conn.execute(select(_runs).where(_runs.c.sync_id == sync_id).order_by(_runs.c.n.desc()).limit(100))
    held = select(func.count()).select_from(_baseline).where(_baseline.c.sync_id == sync_id)
    names = ("began_ms", "ended_ms", "added", "removed", "skipped", "outcome")
    return {
        "sync_id": row.id,
        **_config(row),
        "last_successful_ms": row.last_successful_ms,
        "last_failure_ms": row.last_failure_ms,
        "delivered_members": conn.execute(held).scalar_one(),
        "runs": [{name: getattr(run, name) for name in names} for run in runs],
    }


def listed(conn: Connection) -> list[dict[str, Any]]:
    """Every sync, in order of their ids."""
    ids = conn.execute(select(_syncs.c.id).order_by(_syncs.c.id)).scalars().all()
    return [state(conn, each) for each in ids]


def cohorts_of(conn: Connection, target: str) -> list[str]:
    """Cohorts with an enabled sync to a target."""
    query = select(_syncs.c.cohort_id).where(_syncs.c.target == target, _syncs.c.enabled == 1)
    return sorted(set(conn.execute(query).scalars()))


def shown(conn: Connection, cohort_id: str) -> list[dict[str, Any]]:
    """``syncMetadata`` of a cohort; one-time and disabled syncs are left out. Times are epoch seconds.

    Source: Amplitude docs, Behavioral Cohorts API, Get all cohorts.
    """
    query = select(_syncs).where(_syncs.c.cohort_id == cohort_id, _syncs.c.enabled == 1).order_by(_syncs.c.id)
    return [
        {
            "target": row.target,
            "frequency": _FREQUENCY[row.cadence],
            "last_successful": _seconds(row.last_successful_ms),
            "last_failure": _seconds(row.last_failure_ms),
            "params": {},
        }
        for row in conn.execute(query)
        if row.cadence in _FREQUENCY
    ]


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000


def _size(conn: Connection, cohort_id: str) -> int:
    mine = members.c.cohort_id == cohort_id
    return int(conn.execute(select(func.count()).select_from(members).where(mine)).scalar_one())


# -- running


def _run(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    """Compute the cohort and queue what has changed; a run that is still sending is not overtaken."""
    sync_id = payload["sync_id"]
    with tank.store.write() as conn:
        sync = _one(conn, sync_id)
        if sync is None or not sync.enabled:
            return
        if sync.cadence in PERIOD_MS:
            again = now_ms + PERIOD_MS[sync.cadence]
            timekeeper.schedule(conn, again, RUN, f"{RUN}:{sync_id}", {"sync_id": sync_id})
        going = select(_runs.c.n).where(_runs.c.sync_id == sync_id, _runs.c.outcome == "running")
        if conn.execute(going).first() is not None:
            return
        if _is_computed(conn, sync.cohort_id):
            cohort_computing.recompute(conn, sync.cohort_id, now_ms)
        if sync.target == "webhook":
            _begin(conn, tank, sync, now_ms)
        else:
            conn.execute(_syncs.update().where(_syncs.c.id == sync_id).values(last_successful_ms=now_ms))


def _is_computed(conn: Connection, cohort_id: str) -> bool:
    row = cohort_tables.row(conn, cohort_id)
    return row is not None and row.definition is not None


def _begin(conn: Connection, tank: Tank, sync: Any, now_ms: int) -> None:
    entering, skipped = _entering(conn, sync)
    leaving = _leaving(conn, sync)
    counts = {"added": len(entering), "removed": len(leaving), "skipped": skipped}
    made = conn.execute(
        _runs.insert().values(sync_id=sync.id, began_ms=now_ms, ended_ms=None, outcome="running", **counts)
    )
    key = made.inserted_primary_key
    assert key is not None
    run = int(key[0])
    bodies = list(_bodies(conn, tank, sync, entering, leaving, run, now_ms))
    tank.rng("cohort-sync", sync.id, run).shuffle(bodies)  # the order of delivery is not the order of making
    twice, rng = float(tank.settings["amplitude.stream_duplicate_share"]), tank.rng("cohort-twice", sync.id, run)
    new = [(run, each, 0, now_ms, "due") for each in bodies for _ in range(2 if twice and rng.random() < twice else 1)]
    insert_rows(conn, _batches, ("run", "body", "attempts", "due_ms", "state"), new)
    if bodies:
        timekeeper.schedule(conn, now_ms, SEND, f"{SEND}:{sync.id}", {"sync_id": sync.id, "run": run})
    else:
        _end(conn, sync.id, run, now_ms)


def _entering(conn: Connection, sync: Any) -> tuple[list[tuple[int, str]], int]:
    """Members that the baseline has not got, with their user ids; and how many have none and are skipped."""
    held = select(_baseline.c.amplitude_id).where(_baseline.c.sync_id == sync.id)
    users = tables.users
    query = (
        select(members.c.amplitude_id, users.c.user_id)
        .select_from(members.outerjoin(users, users.c.amplitude_id == members.c.amplitude_id))
        .where(members.c.cohort_id == sync.cohort_id, members.c.amplitude_id.not_in(held))
        .order_by(members.c.amplitude_id)
    )
    found = [(row[0], row[1]) for row in conn.execute(query)]
    named = [(amplitude_id, user_id) for amplitude_id, user_id in found if user_id is not None]
    return named, len(found) - len(named)


def _leaving(conn: Connection, sync: Any) -> list[tuple[int, str]]:
    inside = select(members.c.amplitude_id).where(members.c.cohort_id == sync.cohort_id)
    query = select(_baseline.c.amplitude_id, _baseline.c.user_id)
    query = query.where(_baseline.c.sync_id == sync.id, _baseline.c.amplitude_id.not_in(inside))
    return [(row[0], row[1]) for row in conn.execute(query.order_by(_baseline.c.amplitude_id))]


def _bodies(
    conn: Connection,
    tank: Tank,
    sync: Any,
    entering: Sequence[tuple[int, str]],
    leaving: Sequence[tuple[int, str]],
    run: int,
    now_ms: int,
) -> Iterator[str]:
    """The requests of a run in the default body; entries and exits never share one."""
    name = cohort_tables.row(conn, sync.cohort_id).name
    message = uuid.UUID(int=tank.rng("cohort-message", sync.id, run).getrandbits(128), version=4)
    wanted = orjson.loads(sync.config).get("user_properties", [])
    most = int(tank.settings["amplitude.cohort_webhook_batch"])
    number = 0
    for inside, word, people in ((True, "enter", entering), (False, "exit", leaving)):
        for start in range(0, len(people), most):
            page = people[start : start + most]
            held = _properties(conn, [each for each, _ in page]) if wanted else {}
            users = [
                {
                    "user_id": user_id,
                    **({"user_properties": {n: held.get(a, {}).get(n) for n in wanted}} if wanted else {}),
                }
                for a, user_id in page
            ]
            number += 1
            body = {
                "cohort_name": name,
                "cohort_id": sync.cohort_id,
                "in_cohort": inside,
                "computed_time": str(now_ms // 1000),
                "message_id": f"{message}::{word}::{number}",
                "users": users,
            }
            yield orjson.dumps(body).decode()


def _properties(conn: Connection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    table = tables.properties
    query = select(table.c.amplitude_id, table.c.properties).where(table.c.amplitude_id.in_(json_set(ids)))
    return {row[0]: orjson.loads(row[1]) for row in conn.execute(query)}


# -- sending


def _send(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    """Send the requests of a run that are due, four at a time."""
    sync_id, run = payload["sync_id"], payload["run"]
    with tank.store.read() as conn:
        sync = _one(conn, sync_id)
        mine = (_batches.c.run == run) & (_batches.c.state == "due") & (_batches.c.due_ms <= now_ms)
        due = conn.execute(select(_batches).where(mine).order_by(_batches.c.due_ms, _batches.c.n).limit(1000)).all()
    if sync is None:
        return
    config = orjson.loads(sync.config)
    headers = streams.headers_of(tank, config.get("headers"))
    timeout_s = float(tank.settings["amplitude.cohort_webhook_timeout_s"])
    delays = [round(1000 * float(each)) for each in tank.settings["amplitude.cohort_webhook_delays_s"]]

    def send(batch: Any) -> None:
        outcome = feeds.post(tank, config["url"], batch.body.encode(), headers, timeout_s)
        if outcome.taken:
            values: dict[str, Any] = {"state": "delivered", "due_ms": None}
        elif batch.attempts >= len(delays):
            values = {"state": "failed", "due_ms": None}
        else:
            values = {"attempts": batch.attempts + 1, "due_ms": now_ms + delays[batch.attempts]}
        with tank.store.write() as conn:
            conn.execute(_batches.update().where(_batches.c.n == batch.n).values(**values))

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(send, due))
    with tank.store.write() as conn:
        waiting = select(func.min(_batches.c.due_ms)).where(_batches.c.run == run, _batches.c.state == "due")
        next_ms = conn.execute(waiting).scalar()
        if next_ms is None:
            _end(conn, sync_id, run, now_ms)
        else:
            timekeeper.schedule(conn, next_ms, SEND, f"{SEND}:{sync_id}", dict(payload))


def _end(conn: Connection, sync_id: str, run: int, now_ms: int) -> None:
    """Close a run; the baseline moves only when everything was delivered."""
    lost = conn.execute(select(_batches.c.n).where(_batches.c.run == run, _batches.c.state == "failed")).first()
    if lost is None:
        for body in conn.execute(select(_batches.c.body).where(_batches.c.run == run)).scalars().all():
            _move_baseline(conn, sync_id, orjson.loads(body))
    outcome, column = ("succeeded", "last_successful_ms") if lost is None else ("failed", "last_failure_ms")
    conn.execute(_batches.delete().where(_batches.c.run == run))
    conn.execute(_runs.update().where(_runs.c.n == run).values(outcome=outcome, ended_ms=now_ms))
    conn.execute(_syncs.update().where(_syncs.c.id == sync_id).values({column: now_ms}))


def _move_baseline(conn: Connection, sync_id: str, body: Mapping[str, Any]) -> None:
    names = [each["user_id"] for each in body["users"]]
    if not body["in_cohort"]:
        gone = (_baseline.c.sync_id == sync_id) & _baseline.c.user_id.in_(json_set(names))
        conn.execute(_baseline.delete().where(gone))
        return
    users = tables.users
    query = select(users.c.amplitude_id, users.c.user_id).where(users.c.user_id.in_(json_set(names)))
    pairs = [(sync_id, row[0], row[1]) for row in conn.execute(query)]
    upsert_rows(conn, _baseline, ("sync_id", "amplitude_id", "user_id"), pairs, ("sync_id", "amplitude_id"))


TIMERS: Mapping[str, timekeeper.Handler] = {RUN: _run, SEND: _send}
