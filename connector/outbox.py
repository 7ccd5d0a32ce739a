"""The durable outbox: every event that was taken, until it has come to its end. Survives a kill at any moment.

An event is pending, sent, dead (refused alone), dropped (given up) or skipped (not for Amplitude). Ended events
keep only their id, so that a feed repeated long after still finds it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEEP_MS = 30 * 86_400_000
"""How long the id of an ended event is remembered, in ms; Amplitude itself remembers 7 days."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  lane TEXT NOT NULL,
  body BLOB,
  state TEXT NOT NULL,
  reason TEXT,
  due_ms INTEGER NOT NULL,
  most INTEGER,
  taken_ms INTEGER NOT NULL,
  ended_ms INTEGER
);
CREATE INDEX IF NOT EXISTS events_due ON events (state, due_ms);
CREATE INDEX IF NOT EXISTS events_lane ON events (lane) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Item:
    """A pending event: ``body`` is its Amplitude JSON; ``most`` bounds the request it may travel in."""

    n: int
    id: str
    lane: str
    body: bytes
    most: int | None


@dataclass(frozen=True)
class Taken:
    """An event to put in: ``body`` None means skipped, for ``reason``."""

    id: str
    lane: str
    body: bytes | None
    reason: str | None = None


class Outbox:
    """The outbox in a SQLite file. Its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._turn = threading.RLock()
        self._db.execute("PRAGMA journal_mode = WAL")
        # A taken event has been answered for: it must be on the disk, not only with the system.
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._turn:
            return self._db.execute(sql, values).fetchall()

    def put(self, events: Sequence[Taken], now_ms: int) -> int:
        """Take events for good; ids known already are not taken twice. Answers how many were new."""
        rows = [
            (e.id, e.lane, e.body, "skipped" if e.body is None else "pending", e.reason, now_ms, now_ms)
            for e in events
        ]
        with self._write() as db:
            before = db.total_changes
            db.executemany(
                "INSERT INTO events (id, lane, body, state, reason, due_ms, taken_ms) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO NOTHING",
                rows,
            )
            return db.total_changes - before

    def due(self, now_ms: int, limit: int) -> list[Item]:
        """Pending events that may go now, oldest first; one that follows a held event of its lane waits with it."""
        rows = self._rows(
            "SELECT n, id, lane, body, most FROM events AS e WHERE state = 'pending' AND due_ms <= ? "
            "AND NOT EXISTS (SELECT 1 FROM events AS h WHERE h.lane = e.lane AND h.state = 'pending' "
            "AND h.n < e.n AND h.due_ms > ?) ORDER BY n LIMIT ?",
            now_ms,
            now_ms,
            limit,
        )
        return [Item(*row) for row in rows]

    def next_due_ms(self, now_ms: int) -> int | None:
        """When the next held event may go; None when nothing is held."""
        found: int | None = self._rows(
            "SELECT min(due_ms) FROM events WHERE state = 'pending' AND due_ms > ?", now_ms
        )[0][0]
        return found

    def end(self, numbers: Sequence[int], state: str, now_ms: int, reason: str | None = None) -> None:
        """Events have come to their end; a dead or dropped one keeps its body for whoever looks."""
        keep = "body" if state in ("dead", "dropped") else "NULL"
        with self._write() as db:
            db.executemany(
                f"UPDATE events SET state = ?, reason = ?, ended_ms = ?, body = {keep} WHERE n = ?",
                [(state, reason, now_ms, n) for n in numbers],
            )

    def limit(self, numbers: Sequence[int], most: int) -> None:
        """From now on these events travel in requests of at most ``most`` events."""
        with self._write() as db:
            db.executemany("UPDATE events SET most = ? WHERE n = ?", [(most, n) for n in numbers])

    def hold(self, due: Sequence[tuple[int, int]]) -> None:
        """Hold events back: ``(number, due in ms)``."""
        with self._write() as db:
            db.executemany("UPDATE events SET due_ms = ? WHERE n = ?", [(at, n) for n, at in due])

    def lane(self, lane: str) -> list[tuple[int, int]]:
        """``(number, due in ms)`` of a lane's pending events, oldest first."""
        rows = self._rows("SELECT n, due_ms FROM events WHERE lane = ? AND state = 'pending' ORDER BY n", lane)
        return [(row[0], row[1]) for row in rows]

    def drop_pending(self, now_ms: int, reason: str) -> int:
        """Give every pending event up; answers how many."""
        with self._write() as db:
            return db.execute(
                "UPDATE events SET state = 'dropped', reason = ?, ended_ms = ? WHERE state = 'pending'",
                (reason, now_ms),
            ).rowcount

    def prune(self, now_ms: int) -> None:
        """Forget events that ended long ago."""
        with self._write() as db:
            db.execute("DELETE FROM events WHERE state <> 'pending' AND taken_ms < ?", (now_ms - KEEP_MS,))

    def note(self, name: str) -> int | None:
        """A remembered number, None when there is none."""
        rows = self._rows("SELECT value FROM notes WHERE name = ?", name)
        return int(rows[0][0]) if rows else None

    def set_note(self, name: str, value: int | None) -> None:
        """Remember a number, or forget it."""
        with self._write() as db:
            if value is None:
                db.execute("DELETE FROM notes WHERE name = ?", (name,))
            else:
                db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    def counts(self) -> dict[str, int]:
        """How many events are in each state."""
        found = dict.fromkeys(("pending", "sent", "dead", "dropped", "skipped"), 0)
        found.update({row[0]: row[1] for row in self._rows("SELECT state, count(*) FROM events GROUP BY state")})
        return found

    def listed(self, state: str, limit: int) -> list[dict[str, Any]]:
        """The newest events of a state with their reasons."""
        rows = self._rows(
            "SELECT id, reason, taken_ms, ended_ms FROM events WHERE state = ? ORDER BY n DESC LIMIT ?", state, limit
        )
        return [dict(zip(("id", "reason", "taken_ms", "ended_ms"), row, strict=True)) for row in rows]

    def close(self) -> None:
        with self._turn:
            self._db.close()
