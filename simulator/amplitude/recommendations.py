"""Recommendations: which items a person should see next, computed from what everybody did.

``{"event_type", "item_property", "size", "control_percent", "child_rec_id"}``: an item is a value of the property. The
model ranks the items that a person has not had by how many of the people who share an item with them had it (of all
people, when nobody does); the control group gets the same items shuffled. Amplitude's own model is not published.
Source: Amplitude docs, Recommendations; User Profile API.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from simulator.amplitude import definitions, models, tables
from simulator.dialect import json_text
from simulator.tank import Tank

MAX_ITEMS, DEFAULT_ITEMS = 100, 50
TYPES = ("model", "random")


def entries(
    conn: Connection, tank: Tank, person: int, rec_ids: list[str], rec_type: str | None
) -> list[dict[str, Any]]:
    """What the profile shows of these recommendations; ids that nobody has set up are left out."""
    known = models.listed(conn, "recommendations")
    return [_entry(conn, tank, person, rec_id, known[rec_id], rec_type) for rec_id in rec_ids if rec_id in known]


def _entry(
    conn: Connection, tank: Tank, person: int, rec_id: str, definition: Mapping[str, Any], rec_type: str | None
) -> dict[str, Any]:
    control = _share(tank, rec_id, person) < definition.get("control_percent", 0)
    if rec_type is not None:
        control = rec_type == "random"
    items = _ranked(conn, person, definition)
    if control:
        tank.rng("recommendation", rec_id, person).shuffle(items)
    return {
        "rec_id": rec_id,
        "child_rec_id": definition.get("child_rec_id", rec_id),
        "items": items[: min(MAX_ITEMS, definition.get("size", DEFAULT_ITEMS))],
        "is_control": control,
        "recommendation_source": "random" if control else "model",
        "last_updated": (models.changed_ms(conn, "recommendations", rec_id) or 0) // 1000,
    }


def _share(tank: Tank, rec_id: str, person: int) -> float:
    """Where a person stands between 0 and 100, for good: who is below the control share sees no treatment."""
    digest = hashlib.sha256(f"{tank.seed}:{rec_id}:{person}".encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 * 100


def _ranked(conn: Connection, person: int, definition: Mapping[str, Any]) -> list[str]:
    events = tables.events
    joined, who = definitions.people_of_events()
    item = json_text(events.c.event, f'$.event_properties."{definition["item_property"]}"')
    had = (
        select(who.label("person"), item.label("item"))
        .select_from(joined)
        .where(events.c.event_type == definition["event_type"], item.is_not(None))
        .distinct()
        .cte("had")
    )
    mine = select(had.c.item).where(had.c.person == person)
    peers = select(had.c.person).where(had.c.item.in_(mine), had.c.person != person)
    popular = select(had.c.item).where(had.c.item.not_in(mine)).group_by(had.c.item)
    popular = popular.order_by(func.count(had.c.person).desc(), had.c.item)
    ranked = list(conn.execute(popular.where(had.c.person.in_(peers))).scalars())
    return ranked or list(conn.execute(popular).scalars())
