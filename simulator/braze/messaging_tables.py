"""The tables of messaging: what the marketer made, what was asked for, each message, and what is yet to happen.

Rows that belong to a person carry ``uid`` and go over to the kept profile when it is merged away.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table

from simulator.braze.profile_store import FOLLOWING
from simulator.store import metadata

objects = Table(
    "braze_marketing",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    # 'campaign' or 'canvas'
    Column("kind", String, nullable=False),
    Column("data", String, nullable=False),
    # 'draft', 'active', 'paused' or 'archived'
    Column("status", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("first_sent_ms", BigInteger),
    Column("last_sent_ms", BigInteger),
)
send_ids = Table(
    "braze_send_ids",
    metadata,
    Column("send_id", String, primary_key=True),
    Column("campaign_id", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # None for those of /sends/id/create; else what a transactional send answered, for its repeats
    Column("answer", String),
)
dispatches = Table(
    "braze_dispatches",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("dispatch_id", String, nullable=False, unique=True),
    # 'messages', 'campaign' or 'canvas'
    Column("kind", String, nullable=False),
    Column("object_id", String),
    Column("send_id", String),
    Column("request", String, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    # The last person whose messages are made
    Column("after_uid", Integer, nullable=False, default=0),
    # None once all messages are made
    Column("due_ms", BigInteger, index=True),
    sqlite_autoincrement=True,
)
schedules = Table(
    "braze_schedules",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("schedule_id", String, nullable=False, unique=True),
    Column("dispatch_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("schedule", String, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
)
contents = Table(
    "braze_contents",
    metadata,
    # Digest of the data: the same content for a million people is one row.
    Column("key", String, primary_key=True),
    Column("data", String, nullable=False),
)
messages = Table(
    "braze_messages",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("dispatch_id", String, nullable=False, index=True),
    Column("uid", Integer, nullable=False, index=True),
    Column("channel", String, nullable=False),
    Column("content", String, nullable=False),
    # Ids and names that its events carry, and what its body may use beside the profile
    Column("facts", String, nullable=False),
    Column("properties", String, nullable=False),
    # 'due', 'waiting' (for the next session), 'sent', 'skipped' or 'aborted'
    Column("state", String, nullable=False),
    Column("due_ms", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("reason", String),
    Column("at_ms", BigInteger),
    Column("rendered", String),
    Column("calls", String),
    # What the person did with it, in the words of exports
    Column("engaged", String),
    Index("braze_messages_due", "state", "due_ms"),
    sqlite_autoincrement=True,
)
entries = Table(
    "braze_canvas_entries",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("canvas_id", String, nullable=False, index=True),
    Column("variant_id", String, nullable=False),
    Column("uid", Integer, nullable=False, index=True),
    Column("dispatch_id", String, nullable=False),
    Column("in_control", Boolean, nullable=False),
    Column("properties", String, nullable=False),
    Column("entered_ms", BigInteger, nullable=False),
    Column("step", Integer, nullable=False),
    # When the next step is due; None once the person has left
    Column("due_ms", BigInteger, index=True),
    Column("exited_ms", BigInteger),
    Column("exit_reason", String),
)
happenings = Table(
    "braze_happenings",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("due_ms", BigInteger, nullable=False, index=True),
    Column("message_n", Integer, nullable=False),
    Column("uid", Integer, nullable=False),
    # The type of the Currents event, '' when it is none
    Column("type", String, nullable=False),
    # What it changes in Braze, '' for nothing
    Column("does", String, nullable=False),
    Column("properties", String, nullable=False),
)
windows = Table(
    "braze_conversion_windows",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("uid", Integer, nullable=False, index=True),
    Column("object_id", String, nullable=False),
    # All messages of one send, on whatever channel, are one chance to convert
    Column("dispatch_id", String, nullable=False),
    Column("facts", String, nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    # Indexes of the behaviors that have converted, one digit each
    Column("converted", String, nullable=False),
)
counts = Table(
    "braze_message_counts",
    metadata,
    Column("object_id", String, primary_key=True),
    Column("part", String, primary_key=True),
    Column("send_id", String, primary_key=True),
    Column("channel", String, primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("what", String, primary_key=True),
    Column("number", Integer, nullable=False),
    sqlite_with_rowid=False,
)
FOLLOWING.extend((messages, entries, happenings, windows))
