"""Where cohorts are kept: what is known of each, and its members by Amplitude ID.

``definition`` is set for computed cohorts only, ``computed_ms`` when their members were computed last.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, String, Table, select

from simulator.store import metadata

cohorts = Table(
    "amplitude_cohorts",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("published", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("definition", String),
    Column("computed_ms", BigInteger),
)
members = Table(
    "amplitude_cohort_members",
    metadata,
    Column("cohort_id", String, primary_key=True),
    Column("amplitude_id", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)


def row(conn: Connection, cohort_id: str) -> Any:
    """A cohort, or None when there is no such one."""
    return conn.execute(select(cohorts).where(cohorts.c.id == cohort_id)).first()


def remove(conn: Connection, cohort_id: str) -> None:
    """Delete a cohort and its members."""
    conn.execute(members.delete().where(members.c.cohort_id == cohort_id))
    conn.execute(cohorts.delete().where(cohorts.c.id == cohort_id))
