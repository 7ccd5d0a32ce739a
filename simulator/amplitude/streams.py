"""Streams out of a project: every event, and every user that changes, to a webhook as soon as it is ingested.

One request per event or user. Nothing from before a stream was set up is sent, order is not kept, and a payload can
arrive twice. Source: Amplitude docs, Webhooks; Event streaming overview.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Index, Integer, String, Table, bindparam, func, select

from simulator import feeds, timekeeper
from simulator.amplitude import redelivery, rows, tables
from simulator.amplitude.redelivery import Progress
from simulator.store import OBSERVING, fetch, insert_rows, json_set, metadata
from simulator.tank import Tank

KINDS = ("events", "users")
PARALLEL = 4
MAX_HEADERS = 5
USER_AGENT = "Amplitude/Webhook/1.0"
EVENT_KEYS = (
    "$insert_id", "amplitude_attribution_ids", "amplitude_id", "app", "city", "client_event_time",
    "client_upload_time", "country", "data", "device_carrier", "device_family", "device_id", "device_type", "dma",
    "event_id", "event_properties", "event_time", "event_type", "group_properties", "groups", "ip_address", "language",
    "library", "location_lat", "location_lng", "os_name", "os_version", "paying", "platform", "processed_time",
    "region", "sample_rate", "server_received_time", "server_upload_time", "session_id", "start_version", "user_id",
    "user_properties", "uuid", "version_name",
)  # fmt: skip
"""What the default body of an event holds."""
_USER_KEYS = (
    "user_id", "device_id", "user_properties", "groups", "app_version", "platform", "os_name", "os_version",
    "device_brand", "device_manufacturer", "device_model", "carrier", "country", "region", "city", "dma", "language",
    "paying", "start_version",
)  # fmt: skip

_streams = Table(
    "amplitude_streams",
    metadata,
    Column("kind", String, primary_key=True),
    Column("sync_id", String, nullable=False),
    Column("url", String, nullable=False),
    Column("headers", String),
    Column("events", String, nullable=False),
    Column("enabled", Integer, nullable=False),
)
_payloads = Table(
    "amplitude_payloads",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("event_n", BigInteger),
    Column("body", String),
    Column("ingested_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("began_ms", BigInteger),
    Index("amplitude_payloads_due", "kind", "due_ms"),
    sqlite_autoincrement=True,
)
outcomes = Table(
    "amplitude_stream_outcomes",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("sync_id", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("outcome", String, nullable=False),
    Column("latency_ms", BigInteger, nullable=False),
    Index("amplitude_stream_outcomes_at", "sync_id", "at_ms"),
)
OBSERVING.add("amplitude_stream_outcomes")
_ALL = select(_streams)
_ENABLED = select(_streams).where(_streams.c.enabled == 1)


# -- setting up


def configure(conn: Connection, tank: Tank, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Set up or edit a stream; answers :func:`state`. What is left out stays as it was.

    ``url``; ``headers``: up to five (default: ``Authorization: Bearer`` and the tank's ``amplitude_feed_token``);
    ``events``: ``"all"`` or a list of event types; ``enabled``. Raises ValueError in one line.
    """
    old = _one(conn, kind)
    values: dict[str, Any] = {"kind": kind, "sync_id": f"{tank.id}-{kind}", "headers": None, "events": '"all"'}
    values["enabled"] = 1
    if old is not None:
        values.update(old._mapping)
    if "url" in config:
        values["url"] = config["url"]
    if not str(values.get("url", "")).startswith(("http://", "https://")):
        sample = f"http://127.0.0.1:9000/feeds/amplitude/{kind}"
        raise ValueError(f"the stream of {kind} has no url yet: give one like {sample}")
    if config.get("body") not in (None, "default"):
        raise ValueError("FreeMarker bodies are not simulated: leave body out, the default body is sent")
    if "headers" in config:
        if config["headers"] is not None and len(config["headers"]) > MAX_HEADERS:
            raise ValueError(f"headers: a stream has up to {MAX_HEADERS} of your own")
        values["headers"] = None if config["headers"] is None else orjson.dumps(config["headers"]).decode()
    if "events" in config:
        values["events"] = orjson.dumps(config["events"]).decode()
    if "enabled" in config:
        values["enabled"] = int(config["enabled"])
    conn.execute(_streams.delete().where(_streams.c.kind == kind))
    conn.execute(_streams.insert().values(**values))
    _set_timer(conn, kind)
    return state(conn, kind)


def _one(conn: Connection, kind: str) -> Any:
    return conn.execute(select(_streams).where(_streams.c.kind == kind)).first()


def state(conn: Connection, kind: str) -> dict[str, Any]:
    """How a stream does: ``{sync_id, status, url, events, pending, outcomes}``; status is enabled, disabled or off."""
    row = _one(conn, kind)
    if row is None:
        return {"status": "off", "url": None, "pending": 0, "outcomes": {}}
    pending = conn.execute(select(func.count()).select_from(_payloads).where(_payloads.c.kind == kind)).scalar_one()
    counted = select(outcomes.c.outcome, func.count()).where(outcomes.c.sync_id == row.sync_id)
    return {
        "sync_id": row.sync_id,
        "status": "enabled" if row.enabled else "disabled",
        "url": row.url,
        "events": orjson.loads(row.events),
        "pending": pending,
        "outcomes": {r[0]: r[1] for r in conn.execute(counted.group_by(outcomes.c.outcome))},
    }


def known(conn: Connection, sync_id: str) -> bool:
    """Whether a stream of this project has this id."""
    return any(row.sync_id == sync_id for row in conn.execute(_ALL))


# -- taking in what is ingested


def watching(conn: Connection) -> int | None:
    """The newest event's number when a stream is enabled, None when there is nobody to stream to."""
    if not fetch(conn, _ANY_ENABLED):
        return None
    return int(conn.execute(_NEWEST).scalar() or 0)


_ANY_ENABLED = f"SELECT 1 FROM {_streams.name} WHERE enabled = 1 LIMIT 1"
_NEWEST = select(func.max(tables.events.c.n))


def offer(conn: Connection, tank: Tank, events: Sequence[Mapping[str, Any]], after_n: int, now_ms: int) -> None:
    """Queue what an upload brings for the enabled streams: rows above ``after_n``, and users whose properties came."""
    for stream in conn.execute(_ENABLED).all():
        if stream.kind == "events":
            wanted = orjson.loads(stream.events)
            table = tables.events
            query = select(table.c.n).where(table.c.n > after_n).order_by(table.c.n)
            if wanted != "all":
                query = query.where(table.c.event_type.in_(json_set(wanted)))
            found: list[tuple[Any, Any]] = [(n, None) for n in conn.execute(query).scalars()]
        else:
            found = [(None, orjson.dumps(user(each)).decode()) for each in events if _tells_of_user(each)]
        _queue(conn, tank, stream.kind, found, now_ms)


def _tells_of_user(event: Mapping[str, Any]) -> bool:
    return bool(event.get("user_properties")) or event["event_type"] == "$identify"


def user(event: Mapping[str, Any]) -> dict[str, Any]:
    """The default body of a user: the Identify API's object with the identifiers the caller used.

    Source: Amplitude docs, Webhooks, Send users.
    """
    return {name: event[name] for name in _USER_KEYS if event.get(name) is not None}


def _queue(conn: Connection, tank: Tank, kind: str, found: Sequence[tuple[Any, Any]], now_ms: int) -> None:
    if not found:
        return
    rng = tank.rng("stream", kind, now_ms, found[0][0], len(found))
    least, spread = (int(tank.settings[f"amplitude.stream_{name}_ms"]) for name in ("latency", "spread"))
    twice = float(tank.settings["amplitude.stream_duplicate_share"])
    new = [
        (kind, event_n, body, now_ms, now_ms + least + (rng.randrange(spread) if spread else 0), 0, 0)
        for event_n, body in found
        for _ in range(2 if twice and rng.random() < twice else 1)
    ]
    insert_rows(conn, _payloads, ("kind", "event_n", "body", "ingested_ms", "due_ms", "attempts", "tries"), new)
    _set_timer(conn, kind)


def _set_timer(conn: Connection, kind: str) -> None:
    due: int | None = conn.execute(_FIRST_DUE, {"kind": kind}).scalar()
    if due is not None:
        timekeeper.schedule(conn, due, "amplitude.stream", f"amplitude.stream:{kind}", {"kind": kind})


_FIRST_DUE = select(func.min(_payloads.c.due_ms)).where(_payloads.c.kind == bindparam("kind"))


# -- sending


def _on_due(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    """Send everything that is due, four requests at a time."""
    kind = payload["kind"]
    with tank.store.read() as conn:
        stream = _one(conn, kind)
        query = select(_payloads).where(_payloads.c.kind == kind, _payloads.c.due_ms <= now_ms)
        due = conn.execute(query.order_by(_payloads.c.due_ms, _payloads.c.n).limit(1000)).all()
        events = _bodies(conn, tank, [row.event_n for row in due if row.event_n is not None])
    if stream is None or not stream.enabled:
        return  # what is queued waits until the stream is enabled again
    headers = headers_of(tank, None if stream.headers is None else orjson.loads(stream.headers))
    timeout_s = float(tank.settings["amplitude.stream_timeout_s"])

    def send(row: Any) -> None:
        body = row.body.encode() if row.event_n is None else events.get(row.event_n)
        outcome = None if body is None else feeds.post(tank, stream.url, body, headers, timeout_s)
        with tank.store.write() as conn:
            _settle(conn, tank, stream.sync_id, row, outcome, now_ms)

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(send, due))
    with tank.store.write() as conn:
        _set_timer(conn, kind)


def headers_of(tank: Tank, own: Mapping[str, str] | None) -> dict[str, str]:
    """What every webhook carries: headers of one's own (None: the tank's feed token), and Amplitude's two."""
    if own is None:
        own = {"Authorization": f"Bearer {tank.credential('amplitude_feed_token')}"}
    return {**own, "Content-Type": "application/json", "User-Agent": USER_AGENT}


def _bodies(conn: Connection, tank: Tank, numbers: Sequence[int]) -> dict[int, bytes]:
    app = rows.project_id(tank.id, tank.seed)
    found = {}
    for row in conn.execute(rows.query().where(tables.events.c.n.in_(json_set(numbers)))):
        line = rows.exported(row, app)
        found[row.n] = orjson.dumps({name: line[name] for name in EVENT_KEYS})
    return found


def _settle(conn: Connection, tank: Tank, sync_id: str, row: Any, outcome: feeds.Outcome | None, now_ms: int) -> None:
    """Note what came of one request; no outcome means that there was nothing left to send (a deleted person)."""
    mine = _payloads.c.n == row.n
    if outcome is None:
        _end(conn, sync_id, row, "discarded", now_ms)
        return
    progress = Progress(row.attempts, row.tries, row.began_ms)
    delays = [round(1000 * float(each)) for each in tank.settings["amplitude.stream_delays_s"]]
    rng = tank.rng("redelivery", row.n, row.attempts, row.tries)
    step = redelivery.answered(progress, outcome.status, now_ms, delays, rng)
    if step.outcome == "pending":
        after = step.progress
        values = {"attempts": after.attempts, "tries": after.tries, "began_ms": after.began_ms, "due_ms": step.due_ms}
        conn.execute(_payloads.update().where(mine).values(**values))
        return
    first = not row.attempts and not row.tries
    _end(conn, sync_id, row, step.outcome if step.outcome == "expired" else "first" if first else "retried", now_ms)


def _end(conn: Connection, sync_id: str, row: Any, outcome: str, now_ms: int) -> None:
    conn.execute(_payloads.delete().where(_payloads.c.n == row.n))
    values = {"sync_id": sync_id, "at_ms": now_ms, "outcome": outcome, "latency_ms": now_ms - row.ingested_ms}
    conn.execute(outcomes.insert().values(**values))


TIMERS: Mapping[str, timekeeper.Handler] = {"amplitude.stream": _on_due}
