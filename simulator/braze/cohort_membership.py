"""Members of imported cohorts: who is matched, who enters and leaves, what that costs, and how cohorts are called.

Only existing profiles are matched, nobody is created; device ids match anonymous profiles only. Source: Braze docs,
Cohort import for partners; Amplitude for cohort import; Data points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select

from simulator.braze import cohort_blocks, data_points, identity
from simulator.braze.user_tables import cohorts, identifiers, profiles
from simulator.store import rows_in
from simulator.tank import Tank

DAY_MS = 86_400_000


def apply_users(conn: Connection, tank: Tank, payload: Any, _received_ms: int, now_ms: int) -> int:
    """Apply the queued changes; answers the data points of the assignments."""
    cohort, total = payload["cohort"], 0
    for change in payload["changes"]:
        found = sorted(matched(conn, change))
        removing = change.get("should_remove", False)
        (cohort_blocks.discard if removing else cohort_blocks.add)(conn, cohort, found)
        if not removing or tank.settings["braze.cohort_removal_points"]:
            data_points.add(conn, [(uid, now_ms // DAY_MS, 1) for uid in found], "cohort_import")
            total += len(found)
    return total


def matched(conn: Connection, change: Mapping[str, Any]) -> set[int]:
    """The profiles that a change names; a device of an identified person is passed over."""
    external = set(change.get("user_ids") or ())
    devices = set(change.get("device_ids") or ())
    aliases = {identity.alias_text(each["alias_name"], each["alias_label"]) for each in change.get("aliases") or ()}
    by_kind: Mapping[str, set[str]] = {
        "external_id": external,
        "deprecated": external,
        "device": devices,
        "alias": aliases,
    }
    rows = rows_in(conn, identifiers, ("kind", "value", "uid"), "value", external | devices | aliases)
    found = {row[2] for row in rows if row[0] != "device" and row[1] in by_kind.get(row[0], ())}
    on_devices = {row[2] for row in rows if row[0] == "device" and row[1] in devices}
    return found | _anonymous(conn, on_devices)


def _anonymous(conn: Connection, uids: Iterable[int]) -> set[int]:
    return {row[0] for row in rows_in(conn, profiles, ("uid",), "uid", uids, "AND external_id IS NULL")}


# -- reading


def title(partner: str, cohort_id: str, given: str | None) -> str:
    """How a cohort is called in the segment filter: ``[Amplitude] NAME: cohort_id``; not decorated twice."""
    mark, tail = f"[{partner.capitalize()}] ", f": {cohort_id}"
    plain = given or ""
    return plain if plain.startswith(mark) and plain.endswith(tail) else f"{mark}{plain}{tail}"


def titles(conn: Connection) -> dict[tuple[str, str], str]:
    """How every cohort is called, by partner and cohort id."""
    rows = conn.execute(select(cohorts.c.partner, cohorts.c.cohort_id, cohorts.c.name))
    return {(partner, cohort_id): title(partner, cohort_id, name) for partner, cohort_id, name in rows}


def listed(conn: Connection) -> list[dict[str, Any]]:
    """Every cohort with its filter, title and size."""
    sizes = cohort_blocks.sizes(conn)
    return [
        {
            "partner": row.partner,
            "filter": f"{row.partner.capitalize()} Cohorts",
            "cohort_id": row.cohort_id,
            "name": row.name,
            "title": title(row.partner, row.cohort_id, row.name),
            "created_at": row.created_at,
            "size": sizes.get(row.number, 0),
        }
        for row in conn.execute(select(cohorts).order_by(cohorts.c.partner, cohorts.c.cohort_id))
    ]


def member_uids(conn: Connection, partner: str, cohort_id: str) -> list[int]:
    """The numbers of a cohort's members, in order."""
    mine = (cohorts.c.partner == partner, cohorts.c.cohort_id == cohort_id)
    number = conn.execute(select(cohorts.c.number).where(*mine)).scalar()
    return [] if number is None else cohort_blocks.uids(conn, number)
