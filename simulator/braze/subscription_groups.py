"""The subscription groups of a workspace: made in the dashboard, here over the control API.

A workspace where none was made takes every id that has a group's shape. Source: Braze docs, Subscription groups.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Column, Connection, Integer, String, Table, func, select

from simulator.braze import track_checks
from simulator.store import metadata
from simulator.tank import Tank

CHANNELS = ("email", "sms", "whatsapp")

table = Table(
    "braze_subscription_groups",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("group_id", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("channel", String, nullable=False),
    sqlite_autoincrement=True,
)


def make(conn: Connection, tank: Tank, name: str, channel: str, group_id: str | None = None) -> dict[str, str]:
    """Make a group, or rename the one of ``group_id``."""
    if group_id is None:
        count = conn.execute(select(func.coalesce(func.max(table.c.n), 0))).scalar_one()
        digits = hashlib.sha256(f"{tank.seed}:braze_subscription_group:{count}".encode()).hexdigest()
        group_id = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
    changed = conn.execute(table.update().where(table.c.group_id == group_id).values(name=name, channel=channel))
    if not changed.rowcount:
        conn.execute(table.insert().values(group_id=group_id, name=name, channel=channel))
    return {"id": group_id, "name": name, "channel": channel}


def listed(conn: Connection) -> dict[str, dict[str, Any]]:
    """Groups by id: ``id``, ``name``, ``channel``."""
    rows = conn.execute(select(table).order_by(table.c.n))
    return {row.group_id: {"id": row.group_id, "name": row.name, "channel": row.channel} for row in rows}


def known(conn: Connection, tank: Tank) -> frozenset[str] | None:
    """The ids of the workspace, None when it takes every id."""
    made = {row[0] for row in conn.exec_driver_sql("SELECT group_id FROM braze_subscription_groups")}
    return frozenset(made | set(tank.settings["braze.subscription_groups"])) or None


def is_known(conn: Connection, tank: Tank, group_id: object) -> bool:
    """Whether the workspace takes this id."""
    return track_checks.is_group(group_id, known(conn, tank))
