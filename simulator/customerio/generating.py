"""Seeded traffic: people with devices, and messages to them."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

from faker import Faker
from sqlalchemy import Connection

from simulator.customerio import deliveries, messages, people, samples
from simulator.customerio.people import Person
from simulator.tank import Tank

_turn = threading.Lock()


@cache
def _faker() -> Faker:
    return Faker("en_US")


def generate(
    conn: Connection,
    tank: Tank,
    now_ms: int,
    *,
    people_count: int,
    delivery_count: int,
    channels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Make people and let messages be sent to the people there are; what becomes of the messages follows in tank time.

    Raises ValueError when there is nobody to send to, or for a channel that no message has.
    """
    for number in range(people_count):
        _person(conn, tank, people.count(conn) + number, now_ms)
    known = [each for _, each in people.every(conn)]
    sendable = [each for each in messages.every(conn) if channels is None or each.channel in channels]
    if delivery_count and not known:
        raise ValueError("people: there is nobody to send to, make some people")
    if delivery_count and not sendable:
        raise ValueError(f"channels: no message goes by {channels}")
    rng = tank.rng("customerio_generate", now_ms, len(known), delivery_count)
    made = []
    for _ in range(delivery_count):
        message, person = rng.choice(sendable), rng.choice(known)
        trigger = {"trigger_id": rng.randrange(1, 100)} if message.kind == "broadcast" else None
        made.append(deliveries.send(conn, tank, message, person, now_ms, block=trigger))
    return {"people": people_count, "deliveries": len(made), "delivery_ids": made}


def deliver(
    conn: Connection, tank: Tank, now_ms: int, kind: str, number: int, who: Sequence[str] | None = None
) -> list[str]:
    """Send one message to the people of these identifiers, or to everybody who is not unsubscribed.

    Raises ValueError for an unknown message or person.
    """
    message = messages.one(conn, kind, number)
    if message is None:
        raise ValueError(f"id: there is no {kind} {number}")
    if who is None:
        chosen = [each for _, each in people.every(conn) if not each.unsubscribed]
    else:
        found = [people.find(conn, tank, each) for each in who]
        if None in found:
            raise ValueError(f"people: nobody is known as {who[found.index(None)]!r}")
        chosen = [each for each in found if each is not None]
    trigger = {"trigger_id": 1} if kind == "broadcast" else None
    return [deliveries.send(conn, tank, message, each, now_ms, block=trigger) for each in chosen]


def _person(conn: Connection, tank: Tank, number: int, now_ms: int) -> Person:
    rng = tank.rng("customerio_person", number, now_ms)
    first, last = _name(rng)
    email = f"{first}.{last}.{number}@example.org".lower().replace(" ", "")
    identifier = f"acct_{rng.randrange(10**5, 10**6)}{number}"
    attributes = {"email": email, "first_name": first, "phone": f"+1555{rng.randrange(10**7):07d}", "plan": "free"}
    person = people.identify(conn, tank, identifier, attributes, now_ms).person
    assert person is not None
    for _ in range(rng.choice((0, 1, 1, 2))):
        platform = rng.choice(("ios", "android"))
        device = {"id": samples.token(rng, platform), "platform": platform, "last_used": now_ms // 1000}
        people.add_device(conn, person, device)
    return person


def _name(rng: random.Random) -> tuple[str, str]:
    with _turn:
        fake = _faker()
        fake.seed_instance(rng.getrandbits(32))
        return fake.first_name(), fake.last_name()
