"""The durable outbox: every event taken, until it has come to its end. Survives a kill at any moment.

An event is pending, sent, dead (refused alone), dropped (given up) or skipped (not for Amplitude). Ended
events keep only their id, so that a feed repeated long after still finds it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import orjson

T = TypeVar("T")

KEEP_MS = 30 * 86_400_000
"""How long the id of an ended event is remembered, in ms of tank time: longer than Braze keeps a queue
(7 days) and than Amplitude knows a repeated event (7 days)."""
KEEP_EVENTS = 5_000_000
FREED = -1
"""The instant of an event that goes at once, whatever is held of its lane: the platform has told them apart."""
_PRUNED_AT_ONCE = 5_000
_LAST = 2**62
"""A number beyond every event's."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  n INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  lane TEXT NOT NULL,
  body BLOB,
  state TEXT NOT NULL,
  reason TEXT,
  due_ms INTEGER NOT NULL,
  most INTEGER,
  ended_ms INTEGER
);
CREATE INDEX IF NOT EXISTS events_due ON events (state, due_ms, n);
DROP INDEX IF EXISTS events_held;
CREATE INDEX IF NOT EXISTS events_lane ON events (lane, n, due_ms) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS events_ended ON events (ended_ms) WHERE state <> 'pending';
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS uploads (n INTEGER PRIMARY KEY AUTOINCREMENT, events TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS failures (at_ms INTEGER NOT NULL, upto INTEGER NOT NULL);
"""

COLUMNS = "n, id, lane, body, most, due_ms"
IN_TURN = (
    "(e.due_ms < 0 OR NOT EXISTS (SELECT 1 FROM events AS h WHERE h.lane = e.lane AND h.state = 'pending' "
    "AND h.n < e.n AND h.due_ms > e.due_ms))"
)
"""Whether nothing of its lane goes before a due event ``e``."""
_NOTE = "INSERT INTO notes (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value ="


class Unreachable(Exception):
    """An outbox that is a server does not answer, or cannot do what it is asked."""


class Unfit(ValueError):
    """What is given cannot be kept by any outbox of this kind, however often it comes."""


FAILURES = (sqlite3.Error, Unreachable)
"""What an outbox raises when it does not take something now."""


@dataclass(frozen=True)
class Item:
    """A pending event: ``body`` is what is sent of it; ``most`` bounds the request it may travel in.

    ``due_ms``: the instant until which it was held, 0 when it was not.
    """

    n: int
    id: str
    lane: str
    body: bytes
    most: int | None
    due_ms: int = 0


@dataclass(frozen=True)
class Taken:
    """An event to put in: ``body`` None means skipped, for ``reason``."""

    id: str
    lane: str
    body: bytes | None
    reason: str | None = None


@dataclass
class _Call(Generic[T]):
    """Work that shares a transaction with others; it is undone alone when it fails."""

    work: Callable[[sqlite3.Connection], T]
    result: T | None = None
    error: BaseException | None = None
    done: bool = False

    def run(self, db: sqlite3.Connection) -> None:
        db.execute("SAVEPOINT call")
        try:
            self.result = self.work(db)
        except Exception as error:
            self.error = error
            db.execute("ROLLBACK TO call")
        db.execute("RELEASE call")


class Outbox:
    """The outbox in a SQLite file. Its methods may be called from any thread.

    ``more`` is SQL that makes a flow's own tables beside it, for what has to change together with the events. Its
    words, and those of the statements for these tables, are read by :mod:`connector.shared_outbox` too.
    """

    AMONG = "IN (SELECT value FROM json_each(?))"
    """SQL after a column: one of the texts in a JSON list."""
    UNCLAIMED = ""
    """SQL after a query of events: only those that nobody else is delivering."""

    def __init__(self, path: Path, more: str = "") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._turn = threading.RLock()
        self._joining = threading.Lock()
        self._calls: list[_Call[Any]] = []
        self._db.execute("PRAGMA journal_mode = WAL")
        # Survives a kill. What the delivery notes may go with the power: then an event is sent once more,
        # under the insert id that Amplitude knows. What has been taken may not, see :meth:`put`.
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(SCHEMA + more)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def taking(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on the disk when it ends, not only with the system."""
        with self._turn:
            self._db.execute("PRAGMA synchronous = FULL")
            try:
                with self._write() as db:
                    yield db
            finally:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def together(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work within a transaction of :meth:`taking`, which calls that come meanwhile share: one write to the disk.

        What one of them raises is its own affair; when the disk does not take the transaction, all of them learn it.
        """
        mine: _Call[T] = _Call(work)
        with self._joining:
            self._calls.append(mine)
        with self._turn:
            if not mine.done:
                with self._joining:
                    calls, self._calls = self._calls, []
                self._take(calls)
        if mine.error is not None:
            raise mine.error
        return cast(T, mine.result)

    def _take(self, calls: Sequence[_Call[Any]]) -> None:
        try:
            with self.taking() as db:
                for each in calls:
                    each.run(db)
        except BaseException as error:
            for each in calls:
                each.error = each.error or error
        for each in calls:
            each.done = True

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._turn:
            return self._db.execute(sql, values).fetchall()

    def put(self, events: Sequence[Taken]) -> int:
        """Take events for good; ids known already are not taken twice. Answers how many were new."""
        return self.together(lambda db: self.put_in(db, events))

    def put_in(self, db: sqlite3.Connection, events: Sequence[Taken]) -> int:
        """The same within a transaction of :meth:`taking`."""
        rows = [(e.id, e.lane, e.body, "skipped" if e.body is None else "pending", e.reason) for e in events]
        before = db.total_changes
        db.executemany(
            "INSERT INTO events (id, lane, body, state, reason, due_ms) VALUES (?, ?, ?, ?, ?, 0) "
            "ON CONFLICT (id) DO NOTHING",
            rows,
        )
        return db.total_changes - before

    def read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a flow's own tables."""
        return self._rows(sql, *values)

    def due(self, now_ms: int, limit: int) -> list[Item]:
        """Pending events that may go now, the longest waiting first.

        What is told of a lane keeps its order: one that follows an event which is held, or was held longer than it,
        waits until that has gone. Only what was freed goes before.
        """
        rows = self._rows(
            f"SELECT {COLUMNS} FROM events AS e WHERE state = 'pending' AND due_ms <= ? AND {IN_TURN} "
            "ORDER BY due_ms, n LIMIT ?",
            now_ms,
            limit,
        )
        return [Item(*row) for row in rows]

    @contextmanager
    def claimed(self, now_ms: int, limit: int) -> Iterator[list[Item]]:
        """What is :meth:`due`, nobody else's until the end; a file has only one process that delivers."""
        yield self.due(now_ms, limit)

    @contextmanager
    def sending(self, numbers: Sequence[int]) -> Iterator[None]:
        """Around an upload and its settling: what a kill leaves unsettled is counted when it is sent again.

        Where nothing tells repeated objects from new ones they may become duplicates; the note ``repeated`` is their
        number.
        """
        with self._aside() as db:
            mark = _begin(db, set(numbers))
        yield
        with self._write() as db:
            db.execute("DELETE FROM uploads WHERE n = ?", (mark,))

    @contextmanager
    def _aside(self) -> Iterator[Any]:
        """A transaction of its own, whatever is claimed."""
        with self._write() as db:
            yield db

    def leads(self) -> bool:
        """Whether this process does the scheduled syncs."""
        return True

    @contextmanager
    def leading(self) -> Iterator[Any]:
        """A transaction of :meth:`taking`, of the process that does the scheduled syncs."""
        with self.taking() as db:
            yield db

    def next_due_ms(self, now_ms: int) -> int | None:
        """When the next held event may go; None when nothing is held."""
        found: int | None = self._rows("SELECT min(due_ms) FROM events WHERE state = 'pending' AND due_ms > ?", now_ms)[
            0
        ][0]
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

    def bind(self, items: Sequence[Item]) -> None:
        """What was freed of the lanes of these goes in its turn again."""
        lanes = orjson.dumps(list({each.lane for each in items})).decode()
        with self._write() as db:
            db.execute(
                f"UPDATE events SET due_ms = 0 WHERE state = 'pending' AND due_ms < 0 AND lane {self.AMONG}", (lanes,)
            )

    def lane(self, lane: str) -> list[tuple[int, int]]:
        """``(number, due in ms)`` of a lane's pending events, oldest first."""
        rows = self._rows("SELECT n, due_ms FROM events WHERE lane = ? AND state = 'pending' ORDER BY n", lane)
        return [(row[0], row[1]) for row in rows]

    def drop_pending(self, now_ms: int, reason: str, upto: int | None = None) -> int:
        """Give every pending event up, or those up to a number, but not what others deliver; answers how many."""
        with self._write() as db:
            made = db.execute(
                "UPDATE events SET state = 'dropped', reason = ?, ended_ms = ? WHERE n IN "
                f"(SELECT n FROM events WHERE state = 'pending' AND n <= ? ORDER BY n{self.UNCLAIMED})",
                (reason, now_ms, _LAST if upto is None else upto),
            )
            return int(made.rowcount)

    def failed(self, now_ms: int) -> None:
        """Note that an attempt has failed, for everything that waits now."""
        with self._write() as db:
            db.execute("INSERT INTO failures (at_ms, upto) SELECT ?, COALESCE(max(n), 0) FROM events", (now_ms,))

    def expire(self, before_ms: int, now_ms: int, reason: str) -> int:
        """Give up what has been waiting since an attempt that failed before an instant; answers how many.

        What others deliver at that moment is looked at again the next time.
        """
        upto: int | None = self._rows("SELECT max(upto) FROM failures WHERE at_ms < ?", before_ms)[0][0]
        if upto is None:
            return 0
        dropped = self.drop_pending(now_ms, reason, upto)
        with self._write() as db:
            db.execute(
                "DELETE FROM failures WHERE at_ms < ? AND NOT EXISTS "
                "(SELECT 1 FROM events WHERE state = 'pending' AND n <= ?)",
                (before_ms, upto),
            )
        return dropped

    def prune(self, now_ms: int) -> None:
        """Forget a portion of the events that ended long ago, or that are too many."""
        with self._write() as db:
            # An event that was skipped as it was taken has no end in tank time yet: it counts from now.
            db.execute("UPDATE events SET ended_ms = ? WHERE state <> 'pending' AND ended_ms IS NULL", (now_ms,))
            highest = db.execute("SELECT COALESCE(max(n), 0) FROM events").fetchone()[0]
            db.execute(
                "DELETE FROM events WHERE n IN (SELECT n FROM events WHERE state <> 'pending' "
                "AND (ended_ms < ? OR n <= ?) ORDER BY ended_ms LIMIT ?)",
                (now_ms - KEEP_MS, highest - KEEP_EVENTS, _PRUNED_AT_ONCE),
            )

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
                db.execute(f"{_NOTE} excluded.value", (name, value))

    def add_to_note(self, name: str, more: int) -> None:
        """Let a remembered number grow; it begins at 0."""
        with self._write() as db:
            db.execute(f"{_NOTE} notes.value + excluded.value", (name, more))

    def counts(self) -> dict[str, int]:
        """How many events are in each state."""
        found = dict.fromkeys(("pending", "sent", "dead", "dropped", "skipped"), 0)
        found.update({row[0]: row[1] for row in self._rows("SELECT state, count(*) FROM events GROUP BY state")})
        return found

    def reasons(self) -> dict[str, dict[str, int]]:
        """How many events were given up or left out, by state and reason."""
        found: dict[str, dict[str, int]] = {}
        for state, reason, count in self._rows(
            "SELECT state, reason, count(*) FROM events WHERE state IN ('dead', 'dropped', 'skipped') "
            "GROUP BY state, reason ORDER BY 3 DESC LIMIT 100"
        ):
            found.setdefault(state, {})[str(reason)] = count
        return found

    def listed(self, state: str, limit: int) -> list[dict[str, Any]]:
        """The newest events of a state with their reasons."""
        rows = self._rows(
            "SELECT id, reason, due_ms, ended_ms FROM events WHERE state = ? ORDER BY n DESC LIMIT ?",
            state,
            limit,
        )
        return [dict(zip(("id", "reason", "due_ms", "ended_ms"), row, strict=True)) for row in rows]

    def close(self) -> None:
        with self._turn:
            self._db.close()


def _begin(db: Any, numbers: set[int]) -> int:
    """Note what is being sent; what a killed upload has left of it is counted as repeated."""
    repeated = 0
    for mark, listed in db.execute("SELECT n, events FROM uploads").fetchall():
        left = set(orjson.loads(listed))
        repeated += len(left & numbers)
        if left <= numbers:
            db.execute("DELETE FROM uploads WHERE n = ?", (mark,))
        elif left & numbers:
            db.execute("UPDATE uploads SET events = ? WHERE n = ?", (orjson.dumps([*(left - numbers)]).decode(), mark))
    if repeated:
        db.execute(f"{_NOTE} notes.value + excluded.value", ("repeated", repeated))
    made = db.execute("INSERT INTO uploads (events) VALUES (?) RETURNING n", (orjson.dumps([*numbers]).decode(),))
    return int(made.fetchall()[0][0])
