"""Deliveries: a message on its way to a person, and what is reported of it as tank time goes on.

Source: Customer.io's OpenAPI document of reporting webhooks; Track API, report metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, func, select

from simulator import clock, timekeeper
from simulator.customerio import catalogue, ids, life, people, reporting, samples
from simulator.customerio.messages import Message
from simulator.customerio.people import Person
from simulator.store import insert_rows, json_set, metadata
from simulator.tank import Tank

_LIFE = "customerio.life"
REPLIES_S = 72 * 3600
"""A reply this long after its message is still reported. Source: reporting webhooks, sms and whatsapp replied."""

deliveries = Table(
    "customerio_deliveries",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("delivery_id", String, nullable=False, unique=True),
    Column("channel", String, nullable=False),
    Column("cio_id", String, nullable=False, index=True),
    Column("origin", String, nullable=False),
    Column("facts", String, nullable=False),
    Column("metrics", String, nullable=False, default="{}"),
    Column("created_ms", BigInteger, nullable=False),
)
_due = Table(
    "customerio_due",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("delivery_id", String, nullable=False, index=True),
    Column("due_ms", BigInteger, nullable=False, index=True),
    Column("happened_s", BigInteger, nullable=False),
    Column("metric", String, nullable=False),
    Column("extra", String, nullable=False),
    Column("does", String),
    sqlite_autoincrement=True,
)
suppressed = Table("customerio_suppressed", metadata, Column("email", String, primary_key=True))
"""Addresses that bounced or complained."""


@dataclass(frozen=True)
class Addressing:
    """Where a delivery goes, and why it cannot if it cannot: ``refused`` is ``(metric, reason)``."""

    recipient: str | None = None
    recipients: tuple[Mapping[str, str], ...] = ()
    refused: tuple[str, str] | None = None


def send(
    conn: Connection,
    tank: Tank,
    message: Message,
    person: Person,
    now_ms: int,
    *,
    to: str | None = None,
    block: Mapping[str, Any] | None = None,
    begins_ms: int | None = None,
    draft: bool = False,
) -> str:
    """Send a message to a person; its life begins now. Answers the delivery id.

    :param to: the address in place of the person's.
    :param block: further keys of the source block (``trigger_id``).
    :param begins_ms: when its life begins, for a message that is to be sent later.
    :param draft: it stays a draft.
    """
    number = int(conn.execute(select(func.max(deliveries.c.n))).scalar() or 0) + 1
    rng = tank.rng("customerio_delivery", number)
    delivery_id = ids.delivery_id(rng, ids.mark(tank.id), now_ms)
    goes = _addressing(conn, message, person, to)
    facts = {
        "recipient": goes.recipient,
        "recipients": list(goes.recipients),
        "subject": message.subject,
        "content": message.content.replace("{name}", person.name()),
        "headers": dict(message.headers),
        "links": list(message.links) or ["https://example.org/"],
        "who": person.identifiers(True),
        "kind": message.kind,
        "id": message.id,
    }
    origin = {**_origin(rng, message, now_ms), **(block or {})}
    conn.execute(
        deliveries.insert().values(
            n=number,
            delivery_id=delivery_id,
            channel=message.channel,
            cio_id=person.cio_id,
            origin=orjson.dumps(origin).decode(),
            facts=orjson.dumps(facts).decode(),
            created_ms=now_ms,
        )
    )
    begins_ms = now_ms if begins_ms is None else begins_ms
    if draft:
        steps = [life.Step("drafted", 0, 0)]
    elif goes.refused is not None:
        steps = life.refused(*goes.refused, message.channel)
    else:
        quiet = tank.settings["customerio.people"] == "silent"
        steps = life.plan(rng, message.channel, tank.settings["customerio.behaviour"], alone=quiet)
    tick_ms = max(1, round(1000 * float(tank.settings["customerio.tick_s"])))
    insert_rows(
        conn,
        _due,
        ("delivery_id", "due_ms", "happened_s", "metric", "extra", "does"),
        [
            (
                delivery_id,
                _tick(begins_ms + each.known_ms, tick_ms),
                (begins_ms + each.happens_ms) // 1000,
                each.metric,
                orjson.dumps(dict(each.values)).decode(),
                each.does,
            )
            for each in steps
        ],
    )
    _wake(conn, now_ms)
    return delivery_id


def _tick(at_ms: int, tick_ms: int) -> int:
    """When something is looked at: at the end of its tick."""
    return -(-at_ms // tick_ms) * tick_ms


def _origin(rng: Any, message: Message, now_ms: int) -> dict[str, Any]:
    if message.kind == "campaign":
        block: dict[str, Any] = {"campaign_id": message.id, "action_id": message.action_id or 0}
        return {**block, "journey_id": ids.ulid(rng, now_ms), "trigger_event_id": ids.ulid(rng, now_ms)}
    if message.kind == "broadcast":
        block = {"trigger_id": 0, "broadcast_id": message.id, "action_id": message.action_id or 0}
        return {**block, "journey_id": ids.ulid(rng, now_ms)}
    if message.kind == "newsletter":
        block = {"newsletter_id": message.id}
        return block if message.content_id is None else {**block, "content_id": message.content_id}
    return {"transactional_message_id": message.id}


def _addressing(conn: Connection, message: Message, person: Person, to: str | None) -> Addressing:
    channel = message.channel
    if channel == "push":
        found = people.devices_of(conn, person.cio_id)
        chosen = [row for row in found if to in (None, "all", row.token)]
        if to == "last_used":
            chosen = sorted(found, key=lambda row: row.last_used_s or 0)[-1:]
        if not chosen:
            return Addressing(refused=("failed", "NoDevicesSynced"))
        items = tuple({"device_id": row.token, "device_platform": row.platform} for row in chosen)
        if all(row.bounced for row in chosen):
            why = "token bounced earlier"
            return Addressing(
                recipients=tuple({**each, "failure_message": why} for each in items), refused=("dropped", why)
            )
        alive = tuple(each for each, row in zip(items, chosen, strict=True) if not row.bounced)
        return Addressing(recipients=alive)
    if channel == "email":
        address = to or person.email
        if address is None:
            return Addressing("", refused=("failed", "the person has no email address"))
        known = select(suppressed.c.email).where(suppressed.c.email == address.casefold())
        if conn.execute(known).first():
            return Addressing(address, refused=("dropped", "suppressed address"))
        return Addressing(address)
    if channel in ("sms", "whatsapp"):
        phone = to or person.attributes.get("phone")
        if not phone:
            return Addressing("", refused=("failed", "the person has no phone number"))
        return Addressing(str(phone))
    if channel == "in_app":
        return Addressing(person.id or person.email or person.cio_id)
    return Addressing(to or message.recipient or "#general")


# -- what is reported


def happen(
    conn: Connection,
    tank: Tank,
    row: Any,
    metric: str,
    happened_s: int,
    extra: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """What one metric of a delivery makes known: reports in their order. State follows; reporting is the caller's.

    A click of an e-mail that nobody is known to have opened implies an open (``synthetic``).
    """
    extra = dict(extra or {})
    seen: dict[str, int] = orjson.loads(row.metrics)
    made = []
    if row.channel == "email" and metric == "clicked" and "opened" not in seen and not extra.get("machine"):
        made.append(_report(conn, tank, row, "opened", happened_s, {"synthetic": True}))
        seen["opened"] = happened_s
    if not (metric == "opened" and extra.get("prefetched")):
        seen.setdefault(metric, happened_s)
    if metric != "replied" or happened_s - seen.get("sent", happened_s) <= REPLIES_S:
        made.append(_report(conn, tank, row, metric, happened_s, extra))
    mine = deliveries.c.delivery_id == row.delivery_id
    conn.execute(deliveries.update().where(mine).values(metrics=orjson.dumps(seen).decode()))
    return [each for each in made if each is not None]


def happen_now(
    conn: Connection,
    tank: Tank,
    delivery_id: str,
    metric: str,
    happened_s: int,
    now_ms: int,
    values: Mapping[str, Any] | None = None,
) -> list[str]:
    """Let something happen to a delivery and report it; answers the event ids.

    Raises ValueError for an unknown delivery, and for a metric that its channel does not have.
    """
    row = find(conn, delivery_id)
    if row is None:
        raise ValueError(f"delivery_id: there is no delivery {delivery_id!r}")
    if (row.channel, metric) not in catalogue.pairs():
        raise ValueError(f"metric: {row.channel} has no metric {metric!r}")
    made = happen(conn, tank, row, metric, happened_s, values)
    for each in made:
        wrong = catalogue.unfit({"event_id": "new", **each})
        if wrong is not None:
            raise ValueError(f"values: {wrong}")
    if metric == "unsubscribed":
        people.unsubscribe(conn, row.cio_id)
    elif row.channel == "email" and metric in ("bounced", "spammed"):
        suppress(conn, orjson.loads(row.facts)["recipient"])
    elif row.channel == "push" and metric == "bounced":
        _lose_tokens(conn, made)
    return reporting.report(conn, tank, made, now_ms)


def _report(
    conn: Connection, tank: Tank, row: Any, metric: str, happened_s: int, extra: Mapping[str, Any]
) -> dict[str, Any] | None:
    pair = catalogue.pairs().get((row.channel, metric))
    if pair is None:
        return None  # the metric is kept, and no webhook tells of it
    facts = orjson.loads(row.facts)
    rng = tank.rng("customerio_values", row.n, metric, happened_s)
    person = people.find_by(conn, "cio_id", row.cio_id)
    several = people.several(tank)
    if person is None:
        who = facts["who"] if several else {}
        identifiers: dict[str, Any] = {**({"email": None, "cio_id": who["cio_id"]} if several else {}), "id": None}
        customer_id: str | None = ""  # blank when the person was deleted
    else:
        identifiers, customer_id = person.identifiers(several), person.id
    data: dict[str, Any] = {} if customer_id is None else {"customer_id": customer_id}
    data |= {"delivery_id": row.delivery_id, **orjson.loads(row.origin), "identifiers": identifiers}
    values = _values(rng, pair, facts, person)
    for key in (*pair.needs, *pair.may):
        value = extra.get(key, values.get(key))
        if key in pair.needs or value not in (None, {}, ""):
            data[key] = value
    if "failure_message" in pair.each and "recipients" not in extra:
        why = extra.get("failure_message") or samples.failure(rng, row.channel, metric)
        data["recipients"] = [{**each, "failure_message": why} for each in data["recipients"]]
    return {"object_type": row.channel, "metric": metric, "timestamp": happened_s, "data": data}


def _values(rng: Any, pair: catalogue.Pair, facts: Mapping[str, Any], person: Person | None) -> dict[str, Any]:
    number = rng.randrange(len(facts["links"])) if facts["links"] else 0
    devices = facts["recipients"]
    one = devices[number % len(devices) : number % len(devices) + 1] if devices else []
    every_device = pair.metric in ("sent", "dropped")
    made = {
        "recipient": facts["recipient"] or "",
        "recipients": devices if every_device else one,
        "subject": facts["subject"],
        "headers": facts["headers"],
        "content": samples.topics(rng) if "preferences" in pair.metric else facts["content"],
        "email_address": facts["who"]["email"] or "",
        "href": facts["links"][number],
        "link_id": number + 1,
        "inbound_event_id": ids.ulid(rng, 0),
        "to": "+12025550143",
    }
    if "failure_message" in pair.needs:
        made["failure_message"] = samples.failure(rng, pair.object_type, pair.metric)
    return made


def find(conn: Connection, delivery_id: str) -> Any:
    """The delivery of this id, None without one."""
    return conn.execute(select(deliveries).where(deliveries.c.delivery_id == delivery_id)).first()


# -- tank time


def _wake(conn: Connection, now_ms: int) -> None:
    following: int | None = conn.execute(select(func.min(_due.c.due_ms))).scalar()
    if following is not None:
        timekeeper.schedule(conn, max(now_ms, following), _LIFE, _LIFE)


def _on_life(tank: Tank, _payload: Mapping[str, Any], _now_ms: int) -> None:
    """Let everything happen that is due."""
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        rows = conn.execute(select(_due).where(_due.c.due_ms <= now_ms).order_by(_due.c.due_ms, _due.c.n)).all()
        made: list[dict[str, Any]] = []
        for each in rows:
            row = find(conn, each.delivery_id)
            extra = orjson.loads(each.extra)
            if row is None or (each.does == "unsubscribe" and not people.unsubscribe(conn, row.cio_id)):
                continue
            told = happen(conn, tank, row, each.metric, each.happened_s, extra)
            if each.does == "suppress":
                suppress(conn, orjson.loads(row.facts)["recipient"])
            elif each.does == "lose_token":
                _lose_tokens(conn, told)
            made += told
        conn.execute(_due.delete().where(_due.c.n.in_(json_set([each.n for each in rows]))))
        if made:
            reporting.report(conn, tank, made, now_ms)
        _wake(conn, now_ms)


def _lose_tokens(conn: Connection, made: Sequence[Mapping[str, Any]]) -> None:
    """The devices that these reports name get no more push."""
    for report in made:
        for each in report["data"]["recipients"]:
            people.lose_token(conn, each["device_id"])


def suppress(conn: Connection, address: str | None) -> None:
    """An address bounced or complained: it gets no more e-mail."""
    key = (address or "").casefold()
    if key and not conn.execute(select(suppressed.c.email).where(suppressed.c.email == key)).first():
        conn.execute(suppressed.insert().values(email=key))


def listed(conn: Connection, after: int = 0, limit: int = 1000, delivery_id: str | None = None) -> list[dict[str, Any]]:
    """Deliveries for the control API, oldest first, with what has happened to each."""
    query = select(deliveries).where(deliveries.c.n > after).order_by(deliveries.c.n).limit(limit)
    if delivery_id is not None:
        query = query.where(deliveries.c.delivery_id == delivery_id)
    rows = conn.execute(query).all()
    left: dict[str, int] = {
        row[0]: row[1] for row in conn.execute(select(_due.c.delivery_id, func.count()).group_by(_due.c.delivery_id))
    }
    return [
        {
            "n": row.n,
            "delivery_id": row.delivery_id,
            "object_type": row.channel,
            "cio_id": row.cio_id,
            "created": clock.iso(row.created_ms),
            "metrics": {name: clock.iso(at * 1000) for name, at in orjson.loads(row.metrics).items()},
            "to_come": left.get(row.delivery_id, 0),
            "origin": orjson.loads(row.origin),
        }
        for row in rows
    ]


TIMERS: Mapping[str, timekeeper.Handler] = {_LIFE: _on_life}
