"""Storage: one SQL store per tank through SQLAlchemy Core, SQLite embedded (memory or a file) or PostgreSQL by URL.

Every table of a tank is declared on :data:`metadata` by the module that owns it. Writers take turns; a
transaction either happens whole or not at all. How the two databases differ: :mod:`simulator.dialect`.
"""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, MetaData, StaticPool, create_engine, event, select

from simulator import together
from simulator.dialect import command, fetch, insert_rows, json_set, rows_in, run, upsert_rows

__all__ = [
    "OBSERVING",
    "OtherVersion",
    "SqliteStore",
    "Store",
    "command",
    "fetch",
    "insert_rows",
    "json_set",
    "metadata",
    "rows_in",
    "run",
    "upsert_rows",
]

metadata = MetaData()

LAYOUT = 2
"""Number of the tables' layout in states that are kept. It grows when a table or a column goes or changes its meaning:
nothing moves the rows of an older state, so it is refused."""

OBSERVING: set[str] = set()
"""Names of tables that only observe (journal, refusals …): they are no part of :meth:`Store.digest`."""

_CACHE, _SCAN_CACHE = -32_768, -2_048
"""Page caches of a connection to a file, in SQLite's way of writing KiB; there are several connections."""

_templates: dict[frozenset[str], sqlite3.Connection] = {}
_template_lock = threading.Lock()


class OtherVersion(ValueError):
    """A kept state has the tables of another version: one line, what and how to mend it."""

    def __init__(self, layout: object) -> None:
        super().__init__(
            f"it was made by another version of wavetank (layout {layout}, this one has {LAYOUT}): "
            "name a new state, or use that version"
        )


class Store(ABC):
    """One tank's tables (or those of the directory of tanks, when ``tables`` says so)."""

    tables: MetaData

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction that may write: begun at once, committed at the end, rolled back on an exception.

        One writer at a time, over all processes that serve the tank. Requests of one moment share it: their parts
        follow one another.
        """
        return self.transaction() if together.alone() else together.part(self.transaction)

    @abstractmethod
    def transaction(self) -> AbstractContextManager[Connection]:
        """As :meth:`write`, shared with nobody."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """A consistent view for reading."""

    def scan(self) -> AbstractContextManager[Connection]:
        """As :meth:`read`, for reading through many rows once: keeps next to nothing of them in memory."""
        return self.read()

    def version(self) -> int | None:
        """A number that is another one once anybody has changed anything; None when the store cannot tell."""
        return None

    @abstractmethod
    def clear(self) -> None:
        """Empty every table."""

    @abstractmethod
    def close(self) -> None:
        """Release the connections; a memory store is gone after this."""

    @abstractmethod
    def drop(self) -> None:
        """Close the store and remove all that it holds."""

    def digest(self) -> str:
        """A hash over the rows of every table that holds state; equal digests mean equal state."""
        summary = hashlib.sha256()
        tables = {each.name: each for each in self.tables.tables.values() if each.name not in OBSERVING}
        # Most tables are empty, and looking at each would cost many statements.
        filled = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name})" for name in tables)
        with self.read() as conn:
            for name in sorted(row[0] for row in conn.exec_driver_sql(filled)):
                table = tables[name]
                rows = sorted(repr(tuple(row)) for row in conn.execute(select(table)))
                summary.update(f"{table.name}:{len(rows)}\n".encode())
                for row in rows:
                    summary.update(row.encode())
        return summary.hexdigest()


class SqliteStore(Store):
    """A store in SQLite.

    :param path: SQLite file, or None for memory.
    """

    def __init__(self, path: Path | None = None, tables: MetaData = metadata) -> None:
        self.path = path
        self.tables = tables
        self._turn = threading.RLock()
        self._line: IO[str] | None = None
        self.engine = _memory_engine() if path is None else _file_engine(path)
        self._writer: Connection | None = None
        """Writers take turns, so one connection does for all of them."""
        self._watcher: Connection | None = None
        self._watching = threading.Lock()
        self._create()

    def _create(self) -> None:
        key = frozenset(self.tables.tables)
        if self.path is not None:
            self._create_in_file()
            return
        with _template_lock:
            template = _templates.get(key)
            if template is None:
                self.tables.create_all(self.engine)
                template = sqlite3.connect(":memory:", check_same_thread=False)
                with self._raw() as raw:
                    raw.backup(template)
                _templates[key] = template
                return
            with self._raw() as raw:
                template.backup(raw)

    def _create_in_file(self) -> None:
        """Make the tables that are missing; raises OtherVersion."""
        with self.engine.connect() as conn:
            if conn.exec_driver_sql("PRAGMA user_version").scalar() == LAYOUT:
                self.tables.create_all(conn)
                return
            command(conn, "BEGIN IMMEDIATE")
            layout = conn.exec_driver_sql("PRAGMA user_version").scalar()
            if layout != LAYOUT and conn.exec_driver_sql("SELECT 1 FROM sqlite_master LIMIT 1").first() is not None:
                command(conn, "ROLLBACK")
                raise OtherVersion(layout or 1)
            self.tables.create_all(conn)
            conn.exec_driver_sql(f"PRAGMA user_version = {LAYOUT}")
            command(conn, "COMMIT")

    @contextmanager
    def _raw(self) -> Iterator[sqlite3.Connection]:
        connection = self.engine.raw_connection()
        try:
            raw = connection.driver_connection
            assert isinstance(raw, sqlite3.Connection)
            yield raw
        finally:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._turn, self._first_in_line():
            conn = self._writer
            if conn is None:
                conn = self._writer = self.engine.connect()
            command(conn, "BEGIN IMMEDIATE")
            try:
                yield conn
                command(conn, "COMMIT")
            except BaseException:
                if conn.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
                    command(conn, "ROLLBACK")
                raise

    @contextmanager
    def _first_in_line(self) -> Iterator[None]:
        """SQLite lets processes that wait for its one writer sleep ever longer; here the next one is woken at once."""
        if self.path is None:
            yield
            return
        if self._line is None:
            self._line = self.path.with_name(f"{self.path.name}-line").open("w")
        fcntl.flock(self._line, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._line, fcntl.LOCK_UN)

    def version(self) -> int | None:
        with self._watching:
            if self._watcher is None:
                self._watcher = self.engine.connect()
            if self.path is None:
                raw = self._watcher.connection.driver_connection
                assert isinstance(raw, sqlite3.Connection)
                return raw.total_changes
            return int(fetch(self._watcher, "PRAGMA data_version")[0][0])

    @contextmanager
    def read(self) -> Iterator[Connection]:
        if self.path is None:
            with self._turn, self.engine.connect() as conn:
                yield conn
            return
        with self.engine.connect() as conn:
            conn.exec_driver_sql("BEGIN")
            try:
                yield conn
            finally:
                conn.exec_driver_sql("COMMIT")

    @contextmanager
    def scan(self) -> Iterator[Connection]:
        with self.read() as conn:
            if self.path is None:
                yield conn
                return
            conn.exec_driver_sql(f"PRAGMA cache_size = {_SCAN_CACHE}")
            try:
                yield conn
            finally:
                conn.exec_driver_sql(f"PRAGMA cache_size = {_CACHE}")

    def clear(self) -> None:
        with self.write() as conn:
            for table in reversed(self.tables.sorted_tables):
                conn.execute(table.delete())

    def snapshot(self, target: Path) -> None:
        """Copy the whole database into the SQLite file ``target`` (replaced when there)."""
        target.unlink(missing_ok=True)
        copy = sqlite3.connect(target)
        try:
            with self._turn, self._raw() as raw:
                raw.backup(copy)
        finally:
            copy.close()

    def restore(self, source: Path) -> None:
        """Make the database equal to the snapshot in ``source``."""
        copy = sqlite3.connect(source)
        try:
            with self._turn, self._raw() as raw:
                copy.backup(raw)
        finally:
            copy.close()

    def close(self) -> None:
        with self._turn, self._watching:
            for each in (self._writer, self._watcher):
                if each is not None:
                    each.close()
            self._writer = self._watcher = None
            self.engine.dispose()
            if self._line is not None:
                self._line.close()
                self._line = None

    def drop(self) -> None:
        self.close()
        if self.path is not None:
            for ending in ("", "-wal", "-shm", "-line"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)


def _memory_engine() -> Engine:
    engine = create_engine(
        "sqlite://",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "isolation_level": None},
        skip_autocommit_rollback=True,
        isolation_level="AUTOCOMMIT",
    )
    event.listen(engine, "connect", _memory_pragmas)
    return engine


def _file_engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=4,
        max_overflow=60,
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 30},
        skip_autocommit_rollback=True,
        isolation_level="AUTOCOMMIT",
    )
    event.listen(engine, "connect", _file_pragmas)
    return engine


def _memory_pragmas(raw: sqlite3.Connection, _record: object) -> None:
    raw.execute("PRAGMA temp_store = MEMORY")


def _file_pragmas(raw: sqlite3.Connection, _record: object) -> None:
    # WAL lets readers work beside the one writer; NORMAL survives a killed process (a power cut may
    # lose the last transactions, never consistency).
    raw.execute("PRAGMA journal_mode = WAL")
    raw.execute("PRAGMA synchronous = NORMAL")
    # Checkpoints are rarer and larger than by default (1,000 pages): ingest writes some hundred pages at a time.
    raw.execute("PRAGMA wal_autocheckpoint = 8000")
    raw.execute(f"PRAGMA cache_size = {_CACHE}")
    raw.execute("PRAGMA temp_store = MEMORY")
