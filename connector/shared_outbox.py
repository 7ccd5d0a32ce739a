"""An outbox in PostgreSQL that several connector processes share: a schema for each flow.

Taking is one process's at a time, so that numbers follow the order of commits. Delivering claims lanes: a claim is a
lock on the oldest pending event of a lane, got with SKIP LOCKED and held by the transaction in which the upload is
settled. Nobody else takes anything of that lane meanwhile, and a claim ends with its connection.
Source: PostgreSQL docs, SELECT, The Locking Clause; Explicit Locking, Advisory Locks.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from connector.outbox import COLUMNS, IN_TURN, SCHEMA, Item, Outbox, Taken, Unfit, Unreachable

POLL_MS = 1_000
"""How often a process looks for what others have taken, or have left behind, in ms of tank time."""
LONGEST_KEY = 1_000
"""Bytes of an id or a lane; a longer one is kept by its hash, as an index of PostgreSQL holds 2,704 bytes."""
FEW = 8
"""A claim begins with the lanes of an eighth of a request, and goes on while there is room: others want some too."""
SETTINGS = {
    "connect_timeout": 3,  # s
    "tcp_user_timeout": 10_000,  # ms
    "keepalives_idle": 10,  # s
    "keepalives_interval": 5,  # s
    "keepalives_count": 3,
}
"""A server that is gone is noticed within seconds: Amplitude waits 4 s for an answer."""
SESSION = "SET synchronous_commit = off; SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '60s'"
"""A process that hangs loses its claims; an upload takes some 10 s at most."""
PLAIN = "; ".join(f"SET enable_{each} = off" for each in ("bitmapscan", "hashjoin", "mergejoin", "seqscan"))
"""Claims are found by indexes: a queue's statistics are always old, and would have all of it read for each."""
_TAKING, _PROBING, _PRUNING, _LEADING = range(4)


class Database:
    """A connection that speaks the outbox's SQL: ``?`` for values. Everything raises Unreachable, and Unfit.

    One that was lost is made anew by the next read or transaction.
    """

    def __init__(self, url: str, session: str) -> None:
        self._url, self._session = url, session
        self._made: psycopg.Connection[Any] | None = None
        self.generation = 0
        """Grows with each connection: what an earlier one held is lost."""

    def execute(self, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run a statement."""
        with _failures():
            return self._connection().execute(sql.replace("?", "%s"), [_plain(each) for each in values])

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row."""
        with _failures(), self._connection().cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), [[_plain(each) for each in row] for row in rows])

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read outside a transaction."""
        return self._anew(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Begin, and commit at the end; on an exception nothing has happened."""
        self._anew("BEGIN")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._made is not None:
            self._made.close()
            self._made = None

    def _anew(self, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run a first statement, once more when the connection was lost while nobody used it."""
        if self._made is not None:
            try:
                return self.execute(sql, values)
            except Unreachable:
                if not self._made.closed:
                    raise
                self.close()
        return self.execute(sql, values)

    def _undo(self) -> None:
        try:
            if self._made is not None:
                self._made.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def _connection(self) -> psycopg.Connection[Any]:
        if self._made is None:
            self._made = psycopg.connect(self._url, autocommit=True, **SETTINGS)  # type: ignore[arg-type]
            self.generation += 1
            self._made.execute(self._session)
        return self._made


class SharedOutbox(Outbox):
    """The outbox of one flow in the schema ``connector_<flow>`` of a PostgreSQL. Everything raises Unreachable.

    One thread delivers; the other methods may be called from any thread. As in a file, what is taken is on the disk
    before it is answered, and what the delivery notes may go with the power: then an event is sent once more.
    """

    AMONG = "IN (SELECT jsonb_array_elements_text(?::jsonb))"
    UNCLAIMED = " FOR UPDATE SKIP LOCKED"

    def __init__(self, url: str, flow: str, more: str = "") -> None:
        schema = f"connector_{flow}"
        self._lock = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:4], "big", signed=True)
        self._turn = threading.RLock()
        self._joining = threading.Lock()
        self._calls = []
        self._pg = Database(url, f'SET search_path = "{schema}"; {SESSION}')
        self._claims = Database(url, f'SET search_path = "{schema}"; {SESSION}; {PLAIN}')
        self._claimer: int | None = None
        """The thread that delivers, while it holds a claim."""
        self._led: int | None = None
        """The generation of the connection with which this process leads."""
        try:
            with self.taking() as db:
                db.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
                db.execute(_tables(SCHEMA + more))
        except Unreachable:
            self.close()
            raise

    @contextmanager
    def _write(self) -> Iterator[Any]:
        if self._claimer == threading.get_ident():
            yield self._claims  # settled with the claim, in one transaction
        else:
            with self._aside() as db:
                yield db

    @contextmanager
    def _aside(self) -> Iterator[Any]:
        with self._turn, self._pg.transaction():
            yield self._pg

    @contextmanager
    def taking(self) -> Iterator[Any]:
        with self._aside() as db:
            db.execute("SET LOCAL synchronous_commit = on")
            db.execute("SELECT pg_advisory_xact_lock(?::int, ?::int)", (self._lock, _TAKING))
            yield db

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        if self._claimer == threading.get_ident():
            return self._claims.execute(sql, values).fetchall()
        with self._turn:
            return self._pg.rows(sql, values)

    def put_in(self, db: Any, events: Sequence[Taken]) -> int:
        made = db.execute(
            "INSERT INTO events (id, lane, body, state, reason, due_ms) SELECT id, lane, body, state, reason, 0 "
            "FROM unnest(?::text[], ?::text[], ?::bytea[], ?::text[], ?::text[]) WITH ORDINALITY "
            "AS t (id, lane, body, state, reason, place) ORDER BY place ON CONFLICT (id) DO NOTHING",
            (
                [_key(each.id) for each in events],
                [_key(each.lane) for each in events],
                [each.body for each in events],
                ["skipped" if each.body is None else "pending" for each in events],
                [_plain(each.reason) for each in events],
            ),
        )
        return int(made.rowcount)

    @contextmanager
    def claimed(self, now_ms: int, limit: int) -> Iterator[list[Item]]:
        """Events that are due, nobody else's until the end; what is settled meanwhile is committed then."""
        with self._claims.transaction():
            self._claimer = threading.get_ident()
            try:
                yield self._claim(now_ms, limit)
            finally:
                self._claimer = None

    def _claim(self, now_ms: int, limit: int) -> list[Item]:
        if self.note("refused_ms") is not None and not self._is_free(_PROBING):
            return []  # one process probes a refused key
        if (self.note("paused_ms") or 0) > now_ms:
            return []
        found: list[Item] = []
        tried: list[str] = []
        more = max(1, limit // FEW)
        while len(found) < limit and (lanes := self._waiting(now_ms, tried, more)):
            # A statement of its own sees what the last holder of a lane has left there.
            found += self._of(self._locked(lanes), now_ms, limit - len(found))
            tried += lanes
            more *= 2
        return found

    def _waiting(self, now_ms: int, tried: Sequence[str], limit: int) -> list[str]:
        """The lanes of the ``limit`` events that are due and waiting longest."""
        rows = self._rows(
            f"SELECT lane FROM events AS e WHERE state = 'pending' AND due_ms <= ? AND lane <> ALL(?::text[]) "
            f"AND {IN_TURN} ORDER BY due_ms, n LIMIT ?",
            now_ms,
            tried,
            limit,
        )
        return list(dict.fromkeys(row[0] for row in rows))

    def _of(self, lanes: Sequence[str], now_ms: int, limit: int) -> list[Item]:
        """The due events of these lanes."""
        rows = self._rows(
            f"SELECT {COLUMNS} FROM unnest(?::text[]) AS given (lane_) CROSS JOIN LATERAL (SELECT {COLUMNS} "
            f"FROM events AS e WHERE lane = lane_ AND state = 'pending' AND due_ms <= ? AND {IN_TURN} "
            "ORDER BY n LIMIT ?) AS mine ORDER BY due_ms, n LIMIT ?",
            lanes,
            now_ms,
            limit,
            limit,
        )
        return [Item(*row) for row in rows]

    def _locked(self, lanes: Sequence[str]) -> list[str]:
        """Those of the lanes whose oldest event nobody else has locked."""
        rows = self._rows(
            "SELECT lane FROM events AS e WHERE state = 'pending' AND n IN (SELECT (SELECT h.n FROM events AS h "
            "WHERE h.lane = given.lane AND h.state = 'pending' ORDER BY h.n LIMIT 1) "
            "FROM unnest(?::text[]) AS given (lane)) FOR UPDATE OF e SKIP LOCKED",
            lanes,
        )
        return [row[0] for row in rows]

    def _is_free(self, purpose: int) -> bool:
        """Whether no other process is at it; none will be until the end of the transaction."""
        return bool(self._rows("SELECT pg_try_advisory_xact_lock(?::int, ?::int)", self._lock, purpose)[0][0])

    def next_due_ms(self, now_ms: int) -> int:
        """When to look again: others may take events, or die and leave theirs."""
        found = super().next_due_ms(now_ms)
        return now_ms + POLL_MS if found is None else min(found, now_ms + POLL_MS)

    def leads(self) -> bool:
        """Whether this process does the scheduled syncs: it does until its connection ends."""
        with self._turn:
            self._pg.rows("SELECT 1")
            if self._led != self._pg.generation:
                found = self._pg.execute("SELECT pg_try_advisory_lock(?::int, ?::int)", (self._lock, _LEADING))
                self._led = self._pg.generation if found.fetchall()[0][0] else None
            return self._led is not None

    @contextmanager
    def leading(self) -> Iterator[Any]:
        with self.taking() as db:
            if self._led != self._pg.generation:
                raise Unreachable("the connection was lost, and with it the lead")
            yield db

    def close(self) -> None:
        with self._turn:
            self._pg.close()
            self._claims.close()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
        raise Unfit(_line(error)) from None
    except psycopg.Error as error:
        raise Unreachable(_line(error)) from None


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


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
