"""The people of a workspace: identifiers, attributes, devices; who is meant by an identifier, and how one changes.

Source: Customer.io docs, Track API (customers); identifying people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, delete, func, or_, select

from simulator.store import metadata
from simulator.tank import Tank

MAX_IDENTIFIER_BYTES = 150
_RESERVED = ("_timestamp", "_update", "cio_relationships")

people = Table(
    "customerio_people",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("cio_id", String, nullable=False, unique=True),
    Column("id", String, unique=True),
    Column("email", String),
    Column("email_key", String, unique=True),
    Column("attributes", String, nullable=False),
    Column("unsubscribed", Integer, nullable=False, default=0),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
devices = Table(
    "customerio_devices",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("token", String, nullable=False, unique=True),
    Column("cio_id", String, nullable=False, index=True),
    Column("platform", String, nullable=False),
    Column("last_used_s", BigInteger),
    Column("attributes", String, nullable=False),
    Column("bounced", Integer, nullable=False, default=0),
)
events = Table(
    "customerio_events",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("cio_id", String, index=True),
    Column("anonymous_id", String),
    Column("name", String, nullable=False),
    Column("type", String, nullable=False),
    Column("dedupe_id", String, unique=True),
    Column("at_s", BigInteger, nullable=False),
    Column("data", String, nullable=False),
)
blocked = Table("customerio_blocked", metadata, Column("identifier", String, primary_key=True))
"""Identifiers of people who were suppressed: nobody is made under them again."""


@dataclass(frozen=True)
class Person:
    """A person as others need it."""

    cio_id: str
    id: str | None
    email: str | None
    attributes: Mapping[str, Any]
    unsubscribed: bool

    def name(self) -> str:
        """What messages call the person."""
        found = self.attributes.get("first_name") or self.id or self.email or self.cio_id
        return str(found)

    def identifiers(self, several: bool) -> dict[str, Any]:
        """The object of reports: an ID-only workspace has just the id."""
        if not several:
            return {"id": self.id}
        return {"id": self.id, "email": self.email, "cio_id": self.cio_id}


def several(tank: Tank) -> bool:
    """Whether the workspace allows several identifiers."""
    return bool(tank.settings["customerio.identifiers"] == "several")


def _person(row: Any) -> Person:
    return Person(row.cio_id, row.id, row.email, orjson.loads(row.attributes), bool(row.unsubscribed))


def find(conn: Connection, tank: Tank, identifier: str) -> Person | None:
    """The person of an identifier in a path: ``cio_`` and the canonical id, an e-mail address, or an id."""
    kind = _kind(tank, identifier)
    return find_by(conn, kind, identifier.removeprefix("cio_") if kind == "cio_id" else identifier)


def _kind(tank: Tank, identifier: str) -> str:
    if identifier.startswith("cio_"):
        return "cio_id"
    return "email" if several(tank) and "@" in identifier else "id"


def find_by(conn: Connection, kind: str, value: str) -> Person | None:
    """The person whose ``id``, ``email`` or ``cio_id`` this is."""
    columns = {"id": people.c.id, "email": people.c.email_key, "cio_id": people.c.cio_id}
    wanted = value.casefold() if kind == "email" else value
    row = conn.execute(select(people).where(columns[kind] == wanted)).first()
    return None if row is None else _person(row)


def every(conn: Connection, after: int = 0, limit: int | None = None) -> list[tuple[int, Person]]:
    """People in order of creation."""
    query = select(people).where(people.c.n > after).order_by(people.c.n)
    return [(row.n, _person(row)) for row in conn.execute(query if limit is None else query.limit(limit))]


def count(conn: Connection) -> int:
    """How many people there are."""
    return int(conn.execute(select(func.count()).select_from(people)).scalar_one())


def is_true(value: object) -> bool:
    """What ``unsubscribed`` counts as true: true in any case, 1 or "1"."""
    return value is True or value == 1 or (isinstance(value, str) and value.lower() in ("true", "1"))


@dataclass(frozen=True)
class Change:
    """What an update did: the person afterwards, None when nobody is there, and what reports speak of.

    :param subscribed: the new state when ``unsubscribed`` has changed, else None.
    :param preferences: the new subscription preferences when they have changed, else None.
    """

    person: Person | None
    subscribed: bool | None = None
    preferences: Any = None


def identify(
    conn: Connection, tank: Tank, identifier: str, given: Mapping[str, Any], now_ms: int, kind: str | None = None
) -> Change:
    """Add or update the person of ``identifier`` with attributes; an identifier of somebody else is not taken over.

    :param kind: what the identifier is (``id``, ``email``, ``cio_id``); told by its looks when absent.
    """
    kind = kind or _kind(tank, identifier)
    person = find_by(conn, kind, identifier.removeprefix("cio_") if kind == "cio_id" else identifier)
    if person is None and kind != "cio_id":
        owner = _owner(conn, tank, given)
        if owner is not None and getattr(owner, kind) is not None:
            return Change(owner)  # the vendor answers 200 and notes an attribute update failure
        person = owner
    made = person is None
    if person is None:
        if kind == "cio_id" or given.get("_update") is True or _is_blocked(conn, identifier):
            return Change(None)
        person = _make(conn, tank, now_ms)
    values = _identifiers(
        conn, tank, person, {**_texts(given), **({} if kind == "cio_id" else {kind: identifier})}, kind
    )
    attributes = {**person.attributes}
    attributes.update({k: v for k, v in given.items() if k not in (*_RESERVED, "id", "email", "unsubscribed")})
    preferences = _preferences(person, attributes, given)
    unsubscribed = is_true(given["unsubscribed"]) if "unsubscribed" in given else person.unsubscribed
    conn.execute(
        people.update()
        .where(people.c.cio_id == person.cio_id)
        .values(**values, attributes=orjson.dumps(attributes).decode(), unsubscribed=int(unsubscribed))
    )
    after = find_by(conn, "cio_id", person.cio_id)
    changed = unsubscribed != person.unsubscribed or (made and unsubscribed)
    return Change(after, (not unsubscribed) if changed else None, preferences)


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for kind in ("id", "email"):
        value = given.get(kind)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            found[kind] = str(value)
    return found


def _owner(conn: Connection, tank: Tank, given: Mapping[str, Any]) -> Person | None:
    for kind, value in _texts(given).items():
        if kind == "id" or several(tank):
            found = find_by(conn, kind, value)
            if found is not None:
                return found
    return None


def _identifiers(conn: Connection, tank: Tank, person: Person, wanted: Mapping[str, str], kind: str) -> dict[str, Any]:
    """The identifiers that the person really gets: free ones, and over an old one only by ``cio_id``, or an e-mail."""
    values: dict[str, Any] = {}
    for name, value in wanted.items():
        old = getattr(person, name)
        same = old is not None and (old.casefold() == value.casefold() if name == "email" else old == value)
        if same or len(value.encode()) > MAX_IDENTIFIER_BYTES:
            continue
        unique = name == "id" or several(tank)
        holder = find_by(conn, name, value) if unique else None
        if holder is not None and holder.cio_id != person.cio_id:
            continue
        if old is not None and kind != "cio_id" and name == "id":
            continue
        values[name] = value
        if name == "email":
            values["email_key"] = value.casefold() if unique else None
    return values


def _preferences(person: Person, attributes: dict[str, Any], given: Mapping[str, Any]) -> Any:
    """Merge dotted preference names into the object; answers the preferences when they have changed."""
    name = "cio_subscription_preferences"
    old = person.attributes.get(name)
    for key in [each for each in attributes if each.startswith(f"{name}.topics.")]:
        value = attributes.pop(key)
        current = attributes.get(name)
        topics = dict(current.get("topics") or {}) if isinstance(current, dict) else {}
        attributes[name] = {"topics": {**topics, key.removeprefix(f"{name}.topics."): value}}
    new = attributes.get(name)
    return new if any(key.startswith(name) for key in given) and new != old and isinstance(new, dict) else None


def _make(conn: Connection, tank: Tank, now_ms: int) -> Person:
    last = int(conn.execute(select(func.max(people.c.n))).scalar() or 0)
    cio_id = f"{tank.rng('customerio_workspace').getrandbits(24):06x}{last + 1:06x}"
    conn.execute(people.insert().values(cio_id=cio_id, attributes="{}", created_ms=now_ms))
    return Person(cio_id, None, None, {}, False)


def unsubscribe(conn: Connection, cio_id: str) -> bool:
    """Unsubscribe a person of everything; whether that changed something."""
    changed = people.update().where(people.c.cio_id == cio_id, people.c.unsubscribed == 0).values(unsubscribed=1)
    return conn.execute(changed).rowcount > 0


def remove(conn: Connection, person: Person, *, block: bool = False) -> None:
    """Delete a person with devices and events; ``block`` keeps the identifiers from coming back."""
    for table in (devices, events, people):
        conn.execute(delete(table).where(table.c.cio_id == person.cio_id))
    if block:
        keys = {each for each in (person.id, (person.email or "").casefold() or None) if each}
        known = set(conn.execute(select(blocked.c.identifier).where(blocked.c.identifier.in_(keys))).scalars())
        for each in sorted(keys - known):
            conn.execute(blocked.insert().values(identifier=each))


def unblock(conn: Connection, identifier: str) -> None:
    """Let an identifier be used again."""
    conn.execute(blocked.delete().where(or_(*(blocked.c.identifier == each for each in _spellings(identifier)))))


def block(conn: Connection, identifier: str) -> None:
    """Keep an identifier that nobody has from being used."""
    if not _is_blocked(conn, identifier):
        conn.execute(blocked.insert().values(identifier=identifier))


def _spellings(identifier: str) -> tuple[str, str]:
    return identifier, identifier.casefold()


def _is_blocked(conn: Connection, identifier: str) -> bool:
    query = select(blocked.c.identifier).where(blocked.c.identifier.in_(_spellings(identifier)))
    return conn.execute(query).first() is not None


# -- devices and events


def add_device(conn: Connection, person: Person, given: Mapping[str, Any]) -> None:
    """Add or update a device; a token that somebody else had moves to this person."""
    values = {
        "cio_id": person.cio_id,
        "platform": given["platform"],
        "last_used_s": given.get("last_used"),
        "attributes": orjson.dumps(given.get("attributes", {})).decode(),
        "bounced": 0,
    }
    mine = devices.c.token == given["id"]
    if conn.execute(devices.update().where(mine).values(**values)).rowcount == 0:
        conn.execute(devices.insert().values(token=given["id"], **values))


def remove_device(conn: Connection, person: Person, token: str) -> None:
    """Remove a device of a person."""
    conn.execute(devices.delete().where(devices.c.token == token, devices.c.cio_id == person.cio_id))


def devices_of(conn: Connection, cio_id: str) -> list[Any]:
    """The devices of a person, oldest first: rows of ``token, platform, last_used_s, bounced``."""
    return list(conn.execute(select(devices).where(devices.c.cio_id == cio_id).order_by(devices.c.n)))


def lose_token(conn: Connection, token: str) -> None:
    """A token bounced: the device gets no more push."""
    conn.execute(devices.update().where(devices.c.token == token).values(bounced=1))


def record(conn: Connection, cio_id: str | None, given: Mapping[str, Any], now_ms: int) -> bool:
    """Keep an event; False when its ``id`` has been received before."""
    dedupe = given.get("id")
    if dedupe and conn.execute(select(events.c.n).where(events.c.dedupe_id == dedupe)).first():
        return False
    conn.execute(
        events.insert().values(
            cio_id=cio_id,
            anonymous_id=given.get("anonymous_id"),
            name=given["name"].strip(),
            type=given.get("type", "event"),
            dedupe_id=dedupe or None,
            at_s=given.get("timestamp", now_ms // 1000),
            data=orjson.dumps(given.get("data", {})).decode(),
        )
    )
    return True


def shown(conn: Connection, found: Sequence[tuple[int, Person]]) -> list[dict[str, Any]]:
    """People for the control API."""
    return [
        {
            "n": n,
            "id": each.id,
            "email": each.email,
            "cio_id": each.cio_id,
            "unsubscribed": each.unsubscribed,
            "attributes": dict(each.attributes),
            "devices": [
                {"id": row.token, "platform": row.platform, "last_used": row.last_used_s, "bounced": bool(row.bounced)}
                for row in devices_of(conn, each.cio_id)
            ],
        }
        for n, each in found
    ]
