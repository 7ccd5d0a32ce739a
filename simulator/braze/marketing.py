"""What the marketer makes in the dashboard: campaigns with variations, Canvases with variants and steps.

Braze has no call that makes one, so the control API plays the dashboard. Source: Braze docs, Campaigns; Canvas;
Multivariate testing; Conversion events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, func, select

from simulator import clock
from simulator.braze import channels
from simulator.braze.messaging_tables import objects
from simulator.braze.people import uuid_text
from simulator.tank import Tank

Kind = Literal["campaign", "canvas"]
STATUSES = ("draft", "active", "paused", "archived")


@dataclass(frozen=True)
class Marketed:
    """A campaign or Canvas as it is stored; ``data`` is its definition with every id filled in."""

    n: int
    id: str
    kind: str
    data: Mapping[str, Any]
    status: str
    created_ms: int
    updated_ms: int
    first_sent_ms: int | None
    last_sent_ms: int | None

    @property
    def name(self) -> str:
        return str(self.data["name"])

    @property
    def type(self) -> str:
        """How it is sent: ``scheduled``, ``api_triggered``, ``api_messages`` or ``transactional``."""
        return str(self.data["type"])

    def variation(self, variation_id: object) -> Mapping[str, Any] | None:
        """A campaign's variation by id."""
        return next((each for each in self.data.get("variations", ()) if each["id"] == variation_id), None)

    def variant(self, variant_id: object) -> Mapping[str, Any] | None:
        """A Canvas's variant by id."""
        return next((each for each in self.data.get("variants", ()) if each["id"] == variant_id), None)


def make(conn: Connection, tank: Tank, kind: Kind, given: Mapping[str, Any], now_ms: int) -> Marketed:
    """Make a campaign or Canvas; ids that are not given are made up. Raises ValueError when it does not fit."""
    n = int(conn.execute(select(func.coalesce(func.max(objects.c.n), 0) + 1)).scalar_one())
    data = _completed(tank, kind, n, given)
    _check(kind, data)
    if find(conn, data["id"]) is not None:
        raise ValueError(f"there is a campaign or Canvas of the id {data['id']} already")
    status = data.pop("status", "active")
    row = {"n": n, "id": data["id"], "kind": kind, "status": status, "created_ms": now_ms, "updated_ms": now_ms}
    conn.execute(objects.insert().values(**row, data=orjson.dumps(data).decode()))
    found = find(conn, data["id"])
    assert found is not None
    return found


def change(conn: Connection, tank: Tank, old: Marketed, given: Mapping[str, Any], now_ms: int) -> Marketed:
    """Change a definition, or only the status; the id stays. Raises ValueError when it does not fit."""
    data = _completed(
        tank, "canvas" if old.kind == "canvas" else "campaign", old.n, {**old.data, **given, "id": old.id}
    )
    _check(old.kind, data)
    status = data.pop("status", old.status)
    values = {"data": orjson.dumps(data).decode(), "status": status, "updated_ms": now_ms}
    conn.execute(objects.update().where(objects.c.n == old.n).values(**values))
    found = find(conn, old.id)
    assert found is not None
    return found


def _completed(tank: Tank, kind: Kind, n: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """The definition with ids and defaults: the same definition gets the same ids in every run."""

    def new(*what: object) -> str:
        return uuid_text(tank.rng("braze_marketing", n, *what))

    data = {"type": "api_triggered", "conversions": [], "control_share": 0, **given}
    data.setdefault("id", new("id"))
    data.setdefault("control_id", new("control"))
    if kind == "campaign":
        data["variations"] = [
            {"id": new("variation", index), "name": f"Variation {index + 1}", "share": 100, **each}
            for index, each in enumerate(given["variations"])
        ]
        return data
    data["variants"] = [
        {
            "id": new("variant", index),
            "name": f"Variant {index + 1}",
            "share": 100,
            **variant,
            "steps": [
                {"id": new("step", index, number), "name": f"Step {number + 1}", "after_s": 0, "messages": {}, **step}
                for number, step in enumerate(variant["steps"])
            ],
        }
        for index, variant in enumerate(given["variants"])
    ]
    return data


def _messages(kind: str, data: Mapping[str, Any]) -> Sequence[tuple[str, str, Any]]:
    """Every message of a definition: where it stands, its channel, its content."""
    if kind == "campaign":
        return [
            (f"variations[{n}].message", each["channel"], each["message"]) for n, each in enumerate(data["variations"])
        ]
    return [
        (f"variants[{n}].steps[{m}].messages.{channel}", channel, message)
        for n, variant in enumerate(data["variants"])
        for m, step in enumerate(variant["steps"])
        for channel, message in step["messages"].items()
    ]


def _check(kind: str, data: Mapping[str, Any]) -> None:
    for where, channel, message in _messages(kind, data):
        if channels.unfit(channels.channels()[channel], message) is not None:
            raise ValueError(f"{where}: this is no message of the channel {channel}")
        problem = channels.liquid_problem(message)
        if problem is not None:
            raise ValueError(f"{where}: {problem}")


def find(conn: Connection, object_id: object, kind: Kind | None = None) -> Marketed | None:
    """A campaign or Canvas by id."""
    if not isinstance(object_id, str):
        return None
    row = conn.execute(select(objects).where(objects.c.id == object_id)).first()
    return None if row is None or kind not in (None, row.kind) else _read(row)


def _read(row: Any) -> Marketed:
    times = (row.created_ms, row.updated_ms, row.first_sent_ms, row.last_sent_ms)
    return Marketed(row.n, row.id, row.kind, orjson.loads(row.data), row.status, *times)


def listed(conn: Connection, kind: Kind) -> list[Marketed]:
    """All of one kind, oldest first."""
    return [_read(row) for row in conn.execute(select(objects).where(objects.c.kind == kind).order_by(objects.c.n))]


def active(conn: Connection, kind: Kind) -> list[Marketed]:
    """Those that may send."""
    return [each for each in listed(conn, kind) if each.status == "active"]


def note_sent(conn: Connection, object_ids: set[str], now_ms: int) -> None:
    """Remember when they sent."""
    for object_id in sorted(object_ids):
        mine = objects.c.id == object_id
        conn.execute(objects.update().where(mine, objects.c.first_sent_ms.is_(None)).values(first_sent_ms=now_ms))
        conn.execute(objects.update().where(mine).values(last_sent_ms=now_ms))


def shown(each: Marketed) -> dict[str, Any]:
    """For the control API."""
    times = {"created_at": each.created_ms, "updated_at": each.updated_ms, "first_sent": each.first_sent_ms}
    moments = {name: None if ms is None else clock.iso(ms) for name, ms in times.items()}
    last = None if each.last_sent_ms is None else clock.iso(each.last_sent_ms)
    return {**each.data, "kind": each.kind, "status": each.status, **moments, "last_sent": last}
