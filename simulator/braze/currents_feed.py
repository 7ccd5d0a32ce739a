"""The Currents feed: a queue per event type, batches to the connector, and what becomes of them.

Everything is in the store, so a killed process loses nothing: a batch leaves its queue only after the connector
has taken it. Source: Braze docs, Currents FAQ, Currents integration for partners, Setting up Currents.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, bindparam, func, select

from simulator import clock, feeds, ledger, timekeeper
from simulator.braze import currents, generator
from simulator.braze.catalogue import event_types, selected_types
from simulator.store import insert_rows, json_set, metadata
from simulator.tank import Tank

FLOW = "currents"
UNSELECTED = "event type is not selected in the connector"
NO_CONNECTOR = "no Currents connector is set up"
TOO_LARGE = "event is larger than 900 KB"
STOPPED = "connector refused the credentials for more than 48 hours"
DISABLED = "connector is disabled and its queue has expired"

_connector = Table(
    "currents_connector",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("url", String, nullable=False),
    Column("token", String),
    Column("events", String, nullable=False),
    Column("profile", String, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("failed_since_ms", BigInteger),
    Column("counters", String, nullable=False),
)
_queue = Table(
    "currents_queue",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("type", String, nullable=False, index=True),
    Column("event_id", String, nullable=False),
    Column("body", String, nullable=False),
    Column("queued_ms", BigInteger, nullable=False),
    Column("tried_ms", BigInteger),
    Column("attempts", Integer, nullable=False, default=0),
    Column("most", Integer),
    Column("alone", Integer, nullable=False, default=0),
)
_stream = Table(
    "currents_stream",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("due_ms", BigInteger, nullable=False, index=True),
    Column("body", String, nullable=False),
)
_QUEUE_COLUMNS = ("type", "event_id", "body", "queued_ms", "attempts", "alone")
_sending: dict[tuple[int, str], threading.Lock] = {}
_sending_guard = threading.Lock()


def catalogue() -> list[dict[str, Any]]:
    """The event types with their properties."""
    return [
        {"type": each.type, "name": each.name, "category": each.category, "properties": dict(each.properties)}
        for each in event_types().values()
    ]


# -- setting up


def configure(conn: Connection, tank: Tank, config: Mapping[str, Any]) -> dict[str, Any]:
    """Set up or edit the connector: ``url``, ``token``, ``events``, ``profile``, ``batch_size``; answers its state.

    What is left out stays. Saving a failed connector enables it again: what is queued goes out at once.
    Raises ValueError.
    """
    row = conn.execute(select(_connector)).first()
    if row is None and "url" not in config:
        raise ValueError("the Currents feed has no url yet: give one like http://127.0.0.1:9000/feeds/currents")
    selected_types(config.get("events"))
    values: dict[str, Any] = {
        "url": config.get("url", row.url if row else ""),
        "token": config.get("token", row.token if row else None),
        "events": orjson.dumps(config["events"]).decode() if "events" in config else (row.events if row else '"all"'),
        "profile": config.get("profile", row.profile if row else "late"),
        "batch_size": config.get("batch_size", row.batch_size if row else 100),
        "status": "running",
        "failed_since_ms": None,
        "counters": row.counters if row else "{}",
    }
    conn.execute(_connector.delete())
    conn.execute(_connector.insert().values(id=1, **values))
    for key in ("probe", "expire", "disable"):
        timekeeper.cancel(conn, f"currents.{key}")
    now_ms = tank.clock.now_ms(conn)
    for type_ in conn.execute(select(_queue.c.type).distinct()).scalars():
        _schedule_flush(conn, tank, type_, now_ms)
    return state(conn, tank)


def state(conn: Connection, _tank: Tank) -> dict[str, Any]:
    """The connector: ``{status, url, events, profile, batch_size, queues, counters}``; status ``off`` without one."""
    row = conn.execute(select(_connector)).first()
    if row is None:
        return {"status": "off", "url": None, "queues": {}, "counters": {}}
    query = select(_queue.c.type, func.count(), func.min(_queue.c.queued_ms)).group_by(_queue.c.type)
    return {
        "status": row.status,
        "url": row.url,
        "events": orjson.loads(row.events),
        "profile": row.profile,
        "batch_size": row.batch_size,
        "failed_since": None if row.failed_since_ms is None else clock.iso(row.failed_since_ms),
        "queues": {
            each[0]: {"pending": each[1], "oldest": clock.iso(each[2])} for each in conn.execute(query.order_by("type"))
        },
        "counters": orjson.loads(row.counters),
    }


# -- emitting


def emit(
    conn: Connection, tank: Tank, events: Sequence[Mapping[str, Any]], now_ms: int, *, strict: bool = False
) -> list[str]:
    """Let events happen in Braze; answers their ids.

    An absent ``id``, ``time`` or ``user`` is filled in. An id that was emitted before is the same event once more
    (at least once). With ``strict`` an event that does not have the documented shape raises ValueError.
    """
    made = [_completed(tank, conn, each, now_ms, index, strict) for index, each in enumerate(events)]
    ids = [str(each["id"]) for each in made]
    known = ledger.known(conn, FLOW, ids)
    fresh: dict[str, str] = {}
    for each_id, each in zip(ids, made, strict=True):
        if each_id not in known:
            fresh.setdefault(each_id, str(each.get("event_type")))
    ledger.emitted(conn, FLOW, fresh.items(), now_ms)
    row = conn.execute(select(_connector)).first()
    if row is None:
        ledger.mark(conn, FLOW, list(fresh), ledger.DROPPED, now_ms, NO_CONNECTOR)
        return ids
    if row.status == "expired":
        ledger.mark(conn, FLOW, list(fresh), ledger.DROPPED, now_ms, _lost(row.profile))
        _count(conn, {"dropped": len(fresh)})
        return ids
    _enqueue(conn, tank, row, made, ids, now_ms)
    return ids


def _completed(
    tank: Tank, conn: Connection, event: Mapping[str, Any], now_ms: int, index: int, strict: bool
) -> dict[str, Any]:
    made = dict(event)
    if "id" not in made:
        last = conn.execute(select(func.max(_queue.c.n))).scalar() or 0
        made["id"] = generator.uuid_text(tank.rng("emit", now_ms, last, index, orjson.dumps(made)))
    if "time" not in made:
        made["time"] = now_ms // 1000
    if "user" not in made:
        made["user"] = {}
    if isinstance(made["user"], Mapping) and "user_id" not in made["user"]:
        made["user"] = {"user_id": generator.hex_text(tank.rng("user", str(made["id"]))), **made["user"]}
    made.setdefault("properties", {})
    if strict:
        _check_shape(made, index)
    return made


def _check_shape(event: Mapping[str, Any], index: int) -> None:
    type_ = event.get("event_type")
    if type_ not in event_types():
        raise ValueError(f"events[{index}].event_type: {type_!r} is not a Currents event type")
    checks: tuple[tuple[str, bool], ...] = (
        ("id", isinstance(event["id"], str)),
        ("time", isinstance(event["time"], int) and not isinstance(event["time"], bool)),
        ("user", isinstance(event["user"], Mapping)),
        ("properties", isinstance(event["properties"], Mapping)),
    )
    for name, fits in checks:
        if not fits:
            raise ValueError(f"events[{index}].{name}: {event[name]!r} does not fit")
    kinds: dict[str, tuple[type, ...]] = {
        "string": (str,),
        "float": (int, float),
        "int": (int,),
        "boolean": (bool,),
    }
    for name, kind in event_types()[str(type_)].properties.items():
        value = event["properties"].get(name)
        if value is not None and not isinstance(value, kinds[kind]):
            raise ValueError(f"events[{index}].properties.{name}: {value!r} is no {kind}")


def _enqueue(
    conn: Connection, tank: Tank, row: Any, made: Sequence[Mapping[str, Any]], ids: Sequence[str], now_ms: int
) -> None:
    wanted = selected_types(orjson.loads(row.events))
    most = int(tank.settings["braze.currents.max_event_bytes"])
    queued, unselected, large = [], [], []
    for each_id, each in zip(ids, made, strict=True):
        body = orjson.dumps(each)
        type_ = str(each.get("event_type"))
        if wanted is not None and type_ not in wanted:
            unselected.append(each_id)
        elif len(body) > most:
            large.append(each_id)
        else:
            queued.append((type_, each_id, body.decode(), now_ms, 0, 0))
    if unselected:
        ledger.mark(conn, FLOW, unselected, ledger.DROPPED, now_ms, UNSELECTED)
    if large:
        ledger.mark(conn, FLOW, large, ledger.DROPPED, now_ms, TOO_LARGE)
    _count(conn, {"unselected": len(unselected), "too_large": len(large)})
    insert_rows(conn, _queue, _QUEUE_COLUMNS, queued)
    if row.status == "running":
        for type_ in {each[0]: None for each in queued}:
            _schedule_flush(conn, tank, type_, now_ms)


def _schedule_flush(conn: Connection, tank: Tank, type_: str, now_ms: int) -> None:
    """Set the queue's timer: now when a batch is full, else when its oldest event has waited long enough.

    A queue that is backing off keeps its timer.
    """
    head = conn.execute(
        select(_queue.c.attempts, _queue.c.queued_ms, _queue.c.alone, _queue.c.most)
        .where(_queue.c.type == type_)
        .order_by(_queue.c.n)
        .limit(1)
    ).first()
    if head is None:
        return
    key = f"currents.flush:{type_}"
    if head.attempts and timekeeper.scheduled(conn, key) is not None:
        return
    waiting = conn.execute(select(func.count()).select_from(_queue).where(_queue.c.type == type_)).scalar_one()
    size = conn.execute(select(_connector.c.batch_size)).scalar_one()
    full = waiting >= size or head.attempts or head.alone or head.most is not None
    due = now_ms if full else head.queued_ms + round(float(tank.settings["braze.currents.batch_wait_s"]) * 1000)
    timekeeper.schedule(conn, max(now_ms, due), "currents.flush", key, {"type": type_})


def generate(
    conn: Connection,
    tank: Tank,
    now_ms: int,
    *,
    events: int,
    users: int | None = None,
    rate: float | None = None,
    types: Sequence[str] | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Generate traffic: all at once, or as a stream of ``rate`` events per second of tank time."""
    wanted = selected_types(list(types)) if types is not None else None
    waiting = conn.execute(select(func.count()).select_from(_stream)).scalar_one()
    rng = tank.rng("generate", seed if seed is not None else f"run {ledger.count(conn, FLOW) + waiting}")
    made = generator.generate(rng, events, users or max(1, events // 20), now_ms, wanted)
    if rate is None:
        emit(conn, tank, made, now_ms)
        return {"emitted": len(made), "scheduled": 0}
    rows = [
        (due, orjson.dumps({**each, "time": due // 1000}).decode())
        for each, due in ((each, now_ms + round(i * 1000 / rate)) for i, each in enumerate(made))
    ]
    insert_rows(conn, _stream, ("due_ms", "body"), rows)
    timekeeper.schedule(conn, now_ms, "currents.stream", "currents.stream")
    return {"emitted": 0, "scheduled": len(rows)}


def _on_stream(tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
    with tank.store.write() as conn:
        rows = conn.execute(select(_stream).where(_stream.c.due_ms <= now_ms).order_by(_stream.c.n)).all()
        emit(conn, tank, [orjson.loads(row.body) for row in rows], now_ms)
        conn.execute(_stream.delete().where(_stream.c.n.in_(json_set([row.n for row in rows]))))
        following = conn.execute(select(func.min(_stream.c.due_ms))).scalar()
        if following is not None:
            # Ticks of a tenth of a second keep fast streams cheap.
            due = max(following, now_ms + 100)
            timekeeper.schedule(conn, due, "currents.stream", "currents.stream")


# -- sending


def _headers(tank: Tank, row: Any) -> dict[str, str]:
    token = row.token if row.token is not None else tank.credential("currents_token")
    return {
        "Content-Type": "application/json",
        "Authorization": f"Bearer {token}",
        "Braze-Currents-Version": "1",
    }


def _row(tank: Tank) -> Any:
    with tank.store.read() as conn:
        return conn.execute(select(_connector)).first()


def check(tank: Tank) -> feeds.Outcome:
    """The credential check: a request with an empty body. The connector has to be set up."""
    row = _row(tank)
    return feeds.post(tank, row.url, b"", _headers(tank, row), float(tank.settings["braze.currents.timeout_s"]))


def send_test(tank: Tank) -> dict[str, Any]:
    """Send Test Events: one event per selected type, values of the right kind and no sense."""
    row = _row(tank)
    wanted = selected_types(orjson.loads(row.events))
    answers = []
    for type_ in event_types():
        if wanted is not None and type_ not in wanted:
            continue
        with tank.store.write() as conn:
            now_ms = tank.clock.now_ms(conn)
            event = generator.one(tank.rng("test", type_, now_ms), type_, now_ms)
            event["user"]["timezone"] = generator.uuid_text(tank.rng("test-zone", type_, now_ms))
            ledger.emitted(conn, FLOW, [(event["id"], type_)], now_ms)
        body = orjson.dumps({"events": [event]})
        outcome = feeds.post(tank, row.url, body, _headers(tank, row), float(tank.settings["braze.currents.timeout_s"]))
        end, reason = (ledger.TAKEN, None) if outcome.taken else (ledger.DROPPED, "test event was refused")
        with tank.store.write() as conn:
            ledger.mark(conn, FLOW, [event["id"]], end, now_ms, reason)
        answers.append({"event_type": type_, "id": event["id"], "status": outcome.status})
    return {"sent": len(answers), "answers": answers}


def _lock(tank: Tank, type_: str) -> threading.Lock:
    with _sending_guard:
        return _sending.setdefault((id(tank), type_), threading.Lock())


def _on_flush(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    """Send what a queue holds, batch by batch, until it is empty, not full enough, or refused."""
    with _lock(tank, payload["type"]):
        while _send_batch(tank, payload["type"], now_ms):
            pass


def _send_batch(tank: Tank, type_: str, now_ms: int, *, probe: bool = False) -> bool:
    """Send one batch; True when another may follow at once."""
    with tank.store.write() as conn:
        row = conn.execute(select(_connector)).first()
        if row is None or (row.status != "running" and not probe):
            return False
        batch = _batch(conn, row, type_)
        if not batch:
            return False
        full = len(batch) >= row.batch_size or batch[0].attempts or batch[0].alone or batch[0].most is not None
        wait_ms = round(float(tank.settings["braze.currents.batch_wait_s"]) * 1000)
        if not full and not probe and batch[0].queued_ms + wait_ms > now_ms:
            _schedule_flush(conn, tank, type_, now_ms)
            return False
    body = b'{"events":[' + b",".join(each.body.encode() for each in batch) + b"]}"
    timeout_s = float(tank.settings["braze.currents.timeout_s"])
    outcome = feeds.post(tank, row.url, body, _headers(tank, row), timeout_s)
    with tank.store.write() as conn:
        return _settle(conn, tank, row, type_, batch, outcome, now_ms)


def _batch(conn: Connection, row: Any, type_: str) -> list[Any]:
    rows = list(
        conn.execute(select(_queue).where(_queue.c.type == type_).order_by(_queue.c.n).limit(row.batch_size)).all()
    )
    if not rows:
        return []
    size = 1 if rows[0].alone else (rows[0].most or row.batch_size)
    taken = rows[:size]
    return [each for each in taken if not each.alone] if not rows[0].alone else taken


def _settle(
    conn: Connection,
    tank: Tank,
    row: Any,
    type_: str,
    batch: Sequence[Any],
    outcome: feeds.Outcome,
    now_ms: int,
) -> bool:
    profile = currents.profiles()[row.profile]
    action = currents.action(profile, outcome.status)
    numbers = [each.n for each in batch]
    mine = _queue.c.n.in_(json_set(numbers))
    _count(conn, {"batches": 1, "resent": 1 if batch[0].attempts else 0})
    if action == "deliver":
        conn.execute(_queue.delete().where(mine))
        ledger.mark(conn, FLOW, [each.event_id for each in batch], ledger.TAKEN, now_ms)
        _count(conn, {"taken": len(batch)})
        return True
    conn.execute(
        _queue.update().where(mine).values(attempts=_queue.c.attempts + 1, tried_ms=func.coalesce(_queue.c.tried_ms, now_ms))
    )
    if action == "split":
        if batch[0].alone:
            _drop(conn, batch, now_ms, "refused alone by the connector with 400")
        else:
            conn.execute(_queue.update().where(mine).values(alone=1))
        return True
    if action == "halve":
        if len(batch) == 1:
            _drop(conn, batch, now_ms, "too large alone for the connector (413)")
        else:
            conn.execute(_queue.update().where(mine).values(most=bindparam("m")), {"m": (len(batch) + 1) // 2})
        return True
    if action == "retry":
        return _retry(conn, tank, profile, type_, batch, now_ms)
    _halt(conn, tank, row, profile, batch, now_ms, lossy=action == "halt_lossy")
    return False


def _retry(
    conn: Connection, tank: Tank, profile: currents.Profile, type_: str, batch: Sequence[Any], now_ms: int
) -> bool:
    limit_ms = profile.retry_disable_ms or profile.retry_give_up_ms
    first = min(each.tried_ms if each.tried_ms is not None else now_ms for each in batch)
    if now_ms - first >= limit_ms:
        if profile.retry_disable_ms is None:
            hours = profile.retry_give_up_ms // currents.HOUR_MS
            _drop(conn, batch, now_ms, f"connector did not take it for {hours} hours")
            return True
        _set_status(conn, "disabled")
        _on_disable_in(conn, now_ms, profile)
        return False
    settings = tank.settings
    attempt = batch[0].attempts + 2
    pause = currents.pause_ms(
        attempt,
        tank.rng("currents", type_, batch[0].n, attempt),
        float(settings["braze.currents.backoff_base_s"]),
        float(settings["braze.currents.backoff_cap_s"]),
        float(settings["braze.currents.backoff_jitter"]),
    )
    due = min(now_ms + pause, first + limit_ms)
    timekeeper.schedule(conn, due, "currents.flush", f"currents.flush:{type_}", {"type": type_})
    return False


def _halt(
    conn: Connection,
    tank: Tank,
    row: Any,
    profile: currents.Profile,
    batch: Sequence[Any],
    now_ms: int,
    *,
    lossy: bool,
) -> None:
    if lossy:
        _drop(conn, batch, now_ms, "connector refused the credentials; refused events are not sent again")
    if row.status == "running":
        conn.execute(_connector.update().values(status="failed", failed_since_ms=now_ms))
        if profile.halt_disable_ms is not None:
            _on_disable_in(conn, now_ms, profile)
        else:
            timekeeper.schedule(conn, now_ms + profile.halt_give_up_ms, "currents.expire", "currents.expire")
    if not lossy:
        low = float(tank.settings["braze.currents.probe_min_s"])
        high = float(tank.settings["braze.currents.probe_max_s"])
        pause_s = tank.rng("currents-probe", now_ms).uniform(low, high)
        due = now_ms + round(pause_s * 1000)
        timekeeper.schedule(conn, due, "currents.probe", "currents.probe")


def _on_disable_in(conn: Connection, now_ms: int, profile: currents.Profile) -> None:
    """From here: disabled after the documented span, the queue lost after the longer one."""
    assert profile.halt_disable_ms is not None
    since = conn.execute(select(_connector.c.failed_since_ms)).scalar()
    start = now_ms if since is None else since
    timekeeper.schedule(conn, max(now_ms, start + profile.halt_disable_ms), "currents.disable", "currents.disable")
    timekeeper.schedule(conn, max(now_ms, start + profile.halt_give_up_ms), "currents.expire", "currents.expire")


def _on_probe(tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
    """Try a halted connector with the oldest batch; everything goes on when it is taken."""
    _probe(tank, now_ms)


def _probe(tank: Tank, now_ms: int) -> None:
    with tank.store.read() as conn:
        type_ = conn.execute(select(_queue.c.type).order_by(_queue.c.n).limit(1)).scalar()
        status = conn.execute(select(_connector.c.status)).scalar()
    if status != "failed":
        return
    if type_ is None:
        _resume_if(tank, check(tank).taken, now_ms)
        return
    with _lock(tank, type_):
        _resume_if(tank, _send_batch(tank, type_, now_ms, probe=True), now_ms)


def _resume_if(tank: Tank, taken: bool, now_ms: int) -> None:
    if not taken:
        return
    with tank.store.write() as conn:
        conn.execute(_connector.update().values(status="running", failed_since_ms=None))
        for key in ("expire", "disable", "probe"):
            timekeeper.cancel(conn, f"currents.{key}")
        for type_ in conn.execute(select(_queue.c.type).distinct().order_by(_queue.c.type)).scalars():
            _schedule_flush(conn, tank, type_, now_ms)


def _on_expire(tank: Tank, _payload: Mapping[str, Any], now_ms: int) -> None:
    """The refusal has lasted too long: after a last try, what is queued is lost, and so is what follows, until
    somebody saves the connector anew."""
    _probe(tank, now_ms)
    with tank.store.write() as conn:
        row = conn.execute(select(_connector)).first()
        if row is None or row.status == "running":
            return
        _drop(conn, conn.execute(select(_queue)).all(), now_ms, _lost(row.profile))
        _set_status(conn, "expired")
        timekeeper.cancel(conn, "currents.probe")


def _on_disable(tank: Tank, _payload: Mapping[str, Any], _now_ms: int) -> None:
    with tank.store.write() as conn:
        if conn.execute(select(_connector.c.status)).scalar() != "running":
            _set_status(conn, "disabled")


def _lost(profile: str) -> str:
    return STOPPED if currents.profiles()[profile].halt_disable_ms is None else DISABLED


def _set_status(conn: Connection, status: str) -> None:
    conn.execute(_connector.update().values(status=bindparam("s")), {"s": status})


def _drop(conn: Connection, batch: Sequence[Any], now_ms: int, reason: str) -> None:
    conn.execute(_queue.delete().where(_queue.c.n.in_(json_set([each.n for each in batch]))))
    ledger.mark(conn, FLOW, [each.event_id for each in batch], ledger.DROPPED, now_ms, reason)
    _count(conn, {"dropped": len(batch)})


def _count(conn: Connection, more: Mapping[str, int]) -> None:
    if not any(more.values()):
        return
    counters = orjson.loads(conn.execute(select(_connector.c.counters)).scalar_one())
    for name, value in more.items():
        counters[name] = counters.get(name, 0) + value
    conn.execute(_connector.update().values(counters=bindparam("t")), {"t": orjson.dumps(counters).decode()})


TIMERS: Mapping[str, timekeeper.Handler] = {
    "currents.flush": _on_flush,
    "currents.stream": _on_stream,
    "currents.probe": _on_probe,
    "currents.expire": _on_expire,
    "currents.disable": _on_disable,
}
