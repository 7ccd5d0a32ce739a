"""The tables of a Braze workspace's people.

A profile is one row; everything that finds it (ids, aliases, addresses, devices, push tokens) is a row of one
identifier table, so that a request of any mix of identifiers is resolved by a single statement.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table, text

from simulator.store import metadata

profiles = Table(
    "braze_profiles",
    metadata,
    Column("uid", Integer, primary_key=True, autoincrement=False),
    Column("braze_id", String, nullable=False),
    Column("external_id", String),
    Column("updated_ms", BigInteger, nullable=False),
    # Which write was the last one, over all profiles: tells the most recently updated of several.
    Column("updated_n", BigInteger, nullable=False),
    Column("data", String, nullable=False),
    # '' while it lives, then 'merged', 'deleted' or 'orphaned'; the row stays, numbers are never given out again.
    Column("gone", String, nullable=False, default=""),
    Column("into_uid", Integer),
)
identifiers = Table(
    "braze_identifiers",
    metadata,
    Column("value", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("uid", Integer, primary_key=True),
    sqlite_with_rowid=False,
)
counters = Table(
    "braze_counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
activity = Table(
    "braze_activity",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("uid", Integer, nullable=False, index=True),
    # 'event', 'purchase' or 'session'
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("detail", String, nullable=False),
)
names = Table(
    "braze_names",
    metadata,
    # 'attribute', 'event', 'product' or 'external_id'
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    # The first type seen, or the one that the dashboard forces.
    Column("type", String, nullable=False),
    Column("forced", Integer, nullable=False),
    Column("blocked", Integer, nullable=False),
    # Few names are forced or blocked among many that were seen.
    Index(
        "braze_names_special",
        "kind",
        sqlite_where=text("forced = 1 OR blocked = 1"),
        postgresql_where=text("forced = 1 OR blocked = 1"),
    ),
    sqlite_with_rowid=False,
)
# Only ever appended to, and added up when somebody asks: an index would cost every write more than it saves.
data_points = Table(
    "braze_data_points",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("uid", Integer, nullable=False),
    Column("day", Integer, nullable=False),
    # 'api', 'cohort_import' or 'sdk'
    Column("source", String, nullable=False),
    Column("points", Integer, nullable=False),
)
cohorts = Table(
    "braze_cohorts",
    metadata,
    Column("partner", String, primary_key=True),
    Column("cohort_id", String, primary_key=True),
    # Stands for the pair in the table of its members.
    Column("number", Integer, nullable=False, unique=True),
    Column("name", String),
    Column("created_at", String),
    Column("changed_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
cohort_blocks = Table(
    "braze_cohort_blocks",
    metadata,
    Column("cohort", Integer, primary_key=True),
    # Profile numbers divided by the length of a block
    Column("block", Integer, primary_key=True),
    # One byte for each number: '1' for a member, else '0'
    Column("marks", LargeBinary, nullable=False),
    # How many '1' there are
    Column("size", Integer, nullable=False),
)
