"""The tables of an Amplitude project."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table

from simulator.store import OBSERVING, metadata

events = Table(
    "amplitude_events",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("amplitude_id", BigInteger, nullable=False),
    Column("user_id", String),
    Column("device_id", String, nullable=False),
    Column("event_type", String, nullable=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("insert_id", String, nullable=False),
    # A checksum of the insert_id: a third of the index pages to write, and a hit is compared in full anyway.
    Column("insert_key", BigInteger, nullable=False, index=True),
    Column("received_ms", BigInteger, nullable=False),
    Column("route", String, nullable=False),
    Column("event", String, nullable=False),
    Column("user_properties", String),
    Column("user_groups", String),
    Column("group_properties", String),
    Column("upload_ms", BigInteger),
)
facts = Table(
    "amplitude_facts",
    metadata,
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("start_version", String),
    Column("paying_from_ms", BigInteger),
)
user_groups = Table(
    "amplitude_user_groups",
    metadata,
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("groups", String, nullable=False),
)
mappings = Table(
    "amplitude_mappings",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("global_user_id", String, nullable=False, index=True),
    sqlite_with_rowid=False,
)
devices = Table(
    "amplitude_devices",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("own_id", BigInteger),
    Column("user_amplitude_id", BigInteger),
    sqlite_with_rowid=False,
)
users = Table(
    "amplitude_users",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("amplitude_id", BigInteger, nullable=False, index=True),
    sqlite_with_rowid=False,
)
merges = Table(
    "amplitude_merges",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("amplitude_id", BigInteger, nullable=False),
    Column("merged_amplitude_id", BigInteger, nullable=False),
    Column("merge_time_ms", BigInteger, nullable=False),
)
properties = Table(
    "amplitude_user_properties",
    metadata,
    Column("amplitude_id", BigInteger, primary_key=True),
    Column("properties", String, nullable=False),
    Column("hour", BigInteger, nullable=False),
    Column("updates", Integer, nullable=False),
)
groups = Table(
    "amplitude_groups",
    metadata,
    Column("group_type", String, primary_key=True),
    Column("group_name", String, primary_key=True),
    Column("properties", String, nullable=False),
    sqlite_with_rowid=False,
)
counters = Table(
    "amplitude_counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
usage = Table(
    "amplitude_usage",
    metadata,
    Column("id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("used", String, nullable=False),
    sqlite_with_rowid=False,
)
request_rates = Table(
    "amplitude_request_rates",
    metadata,
    Column("name", String, primary_key=True),
    Column("used", String, nullable=False),
    sqlite_with_rowid=False,
)
"""Calls of the APIs that are limited by their number. Refused calls count too: they observe, and change no state."""
silenced = Table("amplitude_silenced", metadata, Column("device_id", String, primary_key=True))
event_ids = Table(
    "amplitude_event_ids",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("event_id", BigInteger, primary_key=True),
    Column("time_ms", BigInteger, primary_key=True),
    Column("received_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
duplicates = Table(
    "amplitude_duplicates",
    metadata,
    Column("insert_id", String, primary_key=True),
    Column("arrivals", Integer, nullable=False),
)
refusals = Table(
    "amplitude_refusals",
    metadata,
    Column("insert_id", String, primary_key=True),
    Column("reason", String, nullable=False),
    Column("final", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
OBSERVING.update({"amplitude_duplicates", "amplitude_refusals", "amplitude_request_rates"})
