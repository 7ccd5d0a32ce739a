"""An outbox in PostgreSQL that several connector processes share: a schema for each flow.

Taking is one process's at a time, so that numbers follow the order of commits. Delivering claims lanes: a claim is a
row lock on the oldest pending event of a lane, got with SKIP LOCKED and held by the transaction in which the upload
is settled. Nobody else takes anything of that lane meanwhile, and a claim dies with its connection.
Source: PostgreSQL docs, SELECT (the locking clause); Advisory Locks.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from connector.outbox import SCHEMA, Item, Outbox, Taken, Unreachable

POLL_MS = 1_000
"""How often a process looks for what others have taken, or have left behind, in ms of tank time."""
LONGEST_KEY = 1_000
"""Longer ids and lanes are kept by their hash: an index of PostgreSQL holds 2,704 bytes."""
_TAKING, _PROBING, _PRUNING, _LEADING = range(4)


class Database:
    """A connection that speaks the outbox's SQL: ``?`` for values, failures as Unreachable."""

    def __init__(self, url: str, schema: str, commit: str) -> None:
        self._url, self._schema, self._commit = url, schema, commit
        self._made: psycopg.Connection[Any] | None = None
        self.generation = 0
        """Grows whenever the connection is made anew: what it held is lost."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run a statement. Raises Unreachable."""
        try:
            return self._connection().execute(_spoken(sql), [_plain(each) for each in values])
        except psycopg.Error as error:
            raise Unreachable(str(error).strip()) from None

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row. Raises Unreachable."""
        try:
            with self._connection().cursor() as cursor:
                cursor.executemany(_spoken(sql), [[_plain(each) for each in row] for row in rows])
        except psycopg.Error as error:
            raise Unreachable(str(error).strip()) from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin, and commit at the end; on an exception nothing has happened."""
        if self._made is not None and self._made.closed:
            self._made = None
        self.execute("BEGIN")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Give up the transaction; a connection that cannot even do that is closed."""
        try:
            if self._made is not None:
                self._made.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def is_lost(self) -> bool:
        """Whether the connection has to be made anew."""
        return self._made is None or self._made.closed

    def close(self) -> None:
        """Close the connection; the next statement outside a transaction makes a new one."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _connection(self) -> psycopg.Connection[Any]:
        if self._made is None:
            self._made = psycopg.connect(self._url, autocommit=True, connect_timeout=10)
            self._made.execute(f'SET search_path = "{self._schema}"')
            self._made.execute(f"SET synchronous_commit = {self._commit}")
            self.generation += 1
        return self._made


class SharedOutbox(Outbox):
    """The outbox of one flow in the schema ``connector_<flow>`` of a PostgreSQL. Raises Unreachable.

    One thread delivers; the other methods may be called from any thread. As in a file, what is taken is on the disk
    before it is answered, and what the delivery notes may go with the power: then an event is sent once more.
    """

    AMONG = "IN (SELECT jsonb_array_elements_text(?::jsonb))"

    def __init__(self, url: str, flow: str, more: str = "") -> None:
        schema = f"connector_{flow}"
        self._flow = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:4], "big", signed=True)
        self._turn = threading.RLock()
        self._joining = threading.Lock()
        self._calls = []
        self._pg = Database(url, schema, "on")
        self._claims = Database(url, schema, "off")
        self._claimer: int | None = None
        self._led: int | None = None
        with self._pg.transaction():
            self._alone(_TAKING)
            self._pg.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
            self._pg.execute(_tables(SCHEMA + more))
            self._pg.execute("CREATE INDEX IF NOT EXISTS events_turn ON events (due_ms, n) WHERE state = 'pending'")
            self._pg.execute("CREATE INDEX IF NOT EXISTS events_lane ON events (lane, n) WHERE state = 'pending'")

    def _alone(self, purpose: int) -> None:
        """Wait until no other process is at it; until the end of the transaction."""
        self._pg.execute("SELECT pg_advisory_xact_lock(?::int, ?::int)", (self._flow, purpose))

    @contextmanager
    def _write(self) -> Iterator[Any]:
        if self._claimer == threading.get_ident():
            yield self._claims  # settled with the claim, in one transaction
            return
        with self._turn, self._pg.transaction():
            yield self._pg

    @contextmanager
    def taking(self) -> Iterator[Any]:
        with self._turn, self._pg.transaction():
            self._alone(_TAKING)
            yield self._pg

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if self._claimer == threading.get_ident():
            return self._claims.execute(sql, values).fetchall()
        with self._turn:
            if self._pg.is_lost():
                self._pg.close()
            return self._pg.execute(sql, values).fetchall()

    def put_in(self, db: Any, events: Sequence[Taken]) -> int:
        states = ["skipped" if each.body is None else "pending" for each in events]
        made = db.execute(
            "INSERT INTO events (id, lane, body, state, reason, due_ms) SELECT id, lane, body, state, reason, 0 "
            "FROM unnest(?::text[], ?::text[], ?::bytea[], ?::text[], ?::text[]) WITH ORDINALITY "
            "AS t (id, lane, body, state, reason, place) ORDER BY place ON CONFLICT (id) DO NOTHING",
            (
                [_key(each.id) for each in events],
                [_key(each.lane) for each in events],
                [each.body for each in events],
                states,
                [_plain(each.reason) for each in events],
            ),
        )
        return int(made.rowcount)

    @contextmanager
    def claimed(self, now_ms: int, limit: int) -> Iterator[list[Item]]:
        """Events that may go now, nobody else's until the end; what is settled meanwhile is committed then."""
        with self._claims.transaction():
            self._claimer = threading.get_ident()
            try:
                yield self._claim(now_ms, limit)
            finally:
                self._claimer = None

    def _claim(self, now_ms: int, limit: int) -> list[Item]:
        if self.note("refused_ms") is not None and not self._is_mine(_PROBING):
            return []  # a refused key is probed by one process
        if (self.note("paused_ms") or 0) > now_ms:
            return []
        # A lane has something to send when its oldest event is due, or one that was freed from those held.
        lanes = self._rows(
            "SELECT lane FROM events AS e WHERE state = 'pending' AND NOT EXISTS "
            "(SELECT 1 FROM events AS h WHERE h.lane = e.lane AND h.state = 'pending' AND h.n < e.n) "
            "AND (due_ms <= ? OR EXISTS (SELECT 1 FROM events AS f WHERE f.lane = e.lane AND f.state = 'pending' "
            "AND f.due_ms > 0 AND f.due_ms <= ?)) ORDER BY due_ms, n LIMIT ? FOR UPDATE OF e SKIP LOCKED",
            now_ms,
            now_ms,
            limit,
        )
        # A statement of its own: it sees what the last holder of a lane has left there.
        rows = self._rows(
            "SELECT n, id, lane, body, most FROM events AS e WHERE state = 'pending' AND due_ms <= ? "
            "AND lane = ANY(?::text[]) AND (due_ms > 0 OR NOT EXISTS (SELECT 1 FROM events AS h WHERE h.lane = e.lane "
            "AND h.state = 'pending' AND h.due_ms > ? AND h.n < e.n)) ORDER BY due_ms, n LIMIT ?",
            now_ms,
            [row[0] for row in lanes],
            now_ms,
            limit,
        )
        return [Item(*row) for row in rows]

    def _is_mine(self, purpose: int) -> bool:
        sql = "SELECT pg_try_advisory_xact_lock(?::int, ?::int)"
        return bool(self._rows(sql, self._flow, purpose)[0][0])

    def next_due_ms(self, now_ms: int) -> int:
        """When to look again: others may take events, or die and leave theirs."""
        found = super().next_due_ms(now_ms)
        return now_ms + POLL_MS if found is None else min(found, now_ms + POLL_MS)

    def drop_pending(self, now_ms: int, reason: str) -> int:
        """The same, but for what another process is uploading: it learns of the key itself."""
        with self._write() as db:
            made = db.execute(
                "UPDATE events SET state = 'dropped', reason = ?, ended_ms = ? WHERE n IN "
                "(SELECT n FROM events WHERE state = 'pending' ORDER BY n FOR UPDATE SKIP LOCKED)",
                (reason, now_ms),
            )
            return int(made.rowcount)

    def prune(self, now_ms: int) -> None:
        with self._turn, self._pg.transaction():
            self._alone(_PRUNING)
            self._prune_in(self._pg, now_ms)

    def leads(self) -> bool:
        """Whether this process does the scheduled syncs: it does until its connection ends."""
        with self._turn:
            if self._pg.is_lost():
                self._pg.close()
            self._pg.execute("SELECT 1")
            if self._led != self._pg.generation:
                row = self._pg.execute("SELECT pg_try_advisory_lock(?::int, ?::int)", (self._flow, _LEADING)).fetchone()
                self._led = self._pg.generation if row is not None and row[0] else None
            return self._led is not None

    def close(self) -> None:
        with self._turn:
            self._pg.close()
            self._claims.close()


def _spoken(sql: str) -> str:
    return sql.replace("?", "%s")


def _plain(value: Any) -> Any:
    """A text of PostgreSQL holds no NUL."""
    return value.replace("\0", "\N{SYMBOL FOR NULL}") if isinstance(value, str) else value


def _key(text: str) -> str:
    if len(text.encode()) > LONGEST_KEY:
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return str(_plain(text))


def _tables(sql: str) -> str:
    """The outbox's tables in the words of PostgreSQL."""
    sql = sql.replace("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
    sql = sql.replace(" WITHOUT ROWID", "").replace("BLOB", "BYTEA")
    return re.sub(r"\bINTEGER\b", "BIGINT", sql)
