"""Taking Amplitude's event and user streams: what they carry goes into the outbox as objects for Braze.

Users are remembered: a body carries what its caller sent, and only a chosen property that changes is sent on.
Source: Amplitude docs, Braze (Event Stream); Webhooks.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from connector import braze
from connector.flows import event_stream
from connector.flows.event_stream import Discarded, Stream
from connector.outbox import Outbox, Taken

TABLES = """
CREATE TABLE IF NOT EXISTS people (key TEXT PRIMARY KEY, identifier TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS known (
  identifier TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (identifier, name)
) WITHOUT ROWID;
"""


class Malformed(ValueError):
    """Not what the stream sends: the message says what is wrong with it."""


def read(body: bytes) -> dict[str, Any]:
    """The object of a stream's request. Raises Malformed."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise Malformed("the body is not an object")
    return data


def event_row(stream: Stream, body: bytes) -> Taken:
    """What the outbox keeps of one event in export form. Raises Malformed."""
    given = read(body)
    mark = event_id(given, body)
    try:
        made = event_stream.event(stream, given)
        return Taken(mark, lane(made), braze.item("events", made))
    except Discarded as reason:
        return Taken(mark, "", None, str(reason))
    except orjson.JSONEncodeError as error:
        raise Malformed(f"the event cannot be written as JSON: {error}") from None


def figures(outbox: Outbox) -> dict[str, float]:
    """How the delivery of events and users does, in the words of Amplitude's delivery metrics.

    What has no identifier, or is refused by Braze, is discarded; what was not delivered within four hours has
    expired; both count as not delivered. What is not selected does not count.
    Source: Amplitude docs, Event Streaming Metrics Summary API (the relations are inferred).
    """
    counts = outbox.counts()
    discarded = counts["dead"] + outbox.reasons().get("skipped", {}).get(event_stream.NO_IDENTIFIER, 0)
    lost = counts["dropped"] + discarded
    ended = counts["sent"] + lost
    return {
        "eventsDelivered": counts["sent"],
        "eventsNotDelivered": lost,
        "eventsDiscarded": discarded,
        "eventsExpired": counts["dropped"],
        "deliveryRate": counts["sent"] / ended if ended else 1.0,
    }


def event_id(given: Mapping[str, Any], body: bytes) -> str:
    """What makes an event that arrives twice one: Amplitude's own id of it, else all it says."""
    own = given.get("uuid")
    return f"event:{own}" if isinstance(own, str) and own else f"event:{hashlib.sha256(body).hexdigest()}"


def lane(made: Mapping[str, Any]) -> str:
    """Whom an object is about: what is told of one person keeps its order."""
    return orjson.dumps([made.get(each) for each in ("external_id", "braze_id", "user_alias", "email")]).decode()


def take_user(outbox: Outbox, stream: Stream, body: bytes) -> int:
    """Take one user in Identify form; 0 when no chosen property changes. Raises Malformed."""
    given = read(body)
    if not stream.send_users or not stream.user_properties:
        return 0
    return outbox.together(lambda db: _take_user(db, outbox, stream, given))


def _take_user(db: sqlite3.Connection, outbox: Outbox, stream: Stream, given: Mapping[str, Any]) -> int:
    value = _identifier(db, stream, given)
    if value is None:
        return outbox.put_in(db, [Taken(_fresh(db), "", None, event_stream.NO_IDENTIFIER)])
    held = _known(db, value)
    changed = event_stream.changes(stream, held, given.get("user_properties"))
    if not changed:
        return 0
    made = event_stream.attributes(stream, value, held, changed)
    db.executemany(
        "INSERT INTO known (identifier, name, value) VALUES (?, ?, ?) "
        "ON CONFLICT (identifier, name) DO UPDATE SET value = excluded.value",
        [(value, name, orjson.dumps(each).decode()) for name, each in changed.items()],
    )
    return outbox.put_in(db, [Taken(_fresh(db), lane(made), braze.item("attributes", made))])


def _identifier(db: sqlite3.Connection, stream: Stream, given: Mapping[str, Any]) -> str | None:
    """The mapped value; a user whose update does not carry it is known by what an earlier one said."""
    key = next((f"{name}:{given[name]}" for name in ("user_id", "device_id") if given.get(name)), None)
    found = event_stream.identifier(stream, given)
    if found is None and key is not None:
        row = db.execute("SELECT identifier FROM people WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])
    if found is not None and key is not None and stream.mapping.amplitude_property not in event_stream.IDS:
        db.execute(
            "INSERT INTO people (key, identifier) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET identifier = excluded.identifier",
            (key, found),
        )
    return found


def _known(db: sqlite3.Connection, value: str) -> dict[str, Any]:
    rows = db.execute("SELECT name, value FROM known WHERE identifier = ?", (value,))
    return {row[0]: orjson.loads(row[1]) for row in rows}


def _fresh(db: sqlite3.Connection) -> str:
    """An id for an update: it has none of its own, and the same one may come again with a meaning."""
    row = db.execute("SELECT COALESCE(max(n), 0) + 1 FROM events").fetchone()
    return f"user:{row[0]}"
