"""The group types that a project tracks: the first five that it is told of. Groups of further types are not kept.

Source: Amplitude docs, Limits; Group Identify API, Considerations.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Column, Connection, String, Table, select

from simulator.store import insert_rows, metadata

MAX_TYPES = 5

_types = Table(
    "amplitude_group_types",
    metadata,
    Column("group_type", String, primary_key=True),
    sqlite_with_rowid=False,
)


def tracked(conn: Connection, given: Collection[str]) -> set[str]:
    """The tracked types; of ``given`` the new ones are taken up, in order, while there is room."""
    known = set(conn.execute(select(_types)).scalars())
    new = [each for each in dict.fromkeys(given) if each not in known][: max(0, MAX_TYPES - len(known))]
    insert_rows(conn, _types, ("group_type",), [(each,) for each in new])
    return known | set(new)


def kept(conn: Connection, events: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """The events without groups of types that are not tracked."""
    given = [kind for event in events for kind in event.get("groups", ())]
    if not given:
        return events
    types = tracked(conn, given)
    if types.issuperset(given):
        return events
    return [
        {**event, "groups": {kind: names for kind, names in event["groups"].items() if kind in types}}
        if "groups" in event
        else event
        for event in events
    ]
