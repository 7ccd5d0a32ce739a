"""Storage: one SQL database per tank through SQLAlchemy Core, SQLite embedded (memory or a file).

Every table of a tank is declared on :data:`metadata` by the module that owns it. Writers take turns; a
transaction either happens whole or not at all.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Select,
    StaticPool,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    literal,
    select,
)

metadata = MetaData()

OBSERVING: set[str] = set()
"""Names of tables that only observe (journal, refusals …): they are no part of :meth:`Store.digest`."""

_CACHE, _SCAN_CACHE = -32_768, -2_048
"""Page caches of a connection to a file, in SQLite's way of writing KiB; there are several connections."""

_templates: dict[frozenset[str], sqlite3.Connection] = {}
_template_lock = threading.Lock()


class Store:
    """One tank's database (or the directory of tanks, when ``tables`` says so).

    :param path: SQLite file, or None for memory.
    """

    def __init__(self, path: Path | None = None, tables: MetaData = metadata) -> None:
        self.path = path
        self.tables = tables
        self._turn = threading.RLock()
        self.engine = _memory_engine() if path is None else _file_engine(path)
        self._create()

    def _create(self) -> None:
        key = frozenset(self.tables.tables)
        if self.path is not None:
            self.tables.create_all(self.engine)
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
    def write(self) -> Iterator[Connection]:
        """A transaction that may write: begun at once, committed at the end, rolled back on an exception."""
        with self._turn, self.engine.connect() as conn:
            conn.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield conn
            except BaseException:
                conn.exec_driver_sql("ROLLBACK")
                raise
            conn.exec_driver_sql("COMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for reading."""
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
        """As :meth:`read`, for reading through many rows once: keeps next to nothing of them in memory."""
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
        """Empty every table."""
        with self.write() as conn:
            for table in reversed(self.tables.sorted_tables):
                conn.execute(table.delete())

    def digest(self) -> str:
        """A hash over the rows of every table that holds state; equal digests mean equal state."""
        summary = hashlib.sha256()
        with self.read() as conn:
            for table in sorted(self.tables.tables.values(), key=lambda each: each.name):
                if table.name in OBSERVING:
                    continue
                rows = sorted(repr(tuple(row)) for row in conn.execute(select(table)))
                summary.update(f"{table.name}:{len(rows)}\n".encode())
                for row in rows:
                    summary.update(row.encode())
        return summary.hexdigest()

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
        """Release the connections; a memory store is gone after this."""
        with self._turn:
            self.engine.dispose()


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


def json_set(values: Iterable[Any]) -> Select[tuple[Any]]:
    """A one-column subquery over ``values``, bound as one parameter: ``column.in_(json_set(ids))``.

    One statement serves any number of values, which keeps set-based reads cheap and cached.
    """
    text, odd = _as_json(values)
    each = func.json_each(bindparam(None, text, unique=True)).table_valued("value")
    found = select(each.c.value)
    return found if not odd else select(found.union_all(*(select(literal(value)) for value in odd)).subquery().c[0])


def _as_json(values: Iterable[Any]) -> tuple[str, list[str]]:
    """``values`` as a JSON array, and those that SQLite would not read out of one whole: it cuts texts at a NUL."""
    each = list(values)
    text = orjson.dumps(each).decode()
    if "\\u0000" not in text:
        return text, []
    odd = [value for value in each if isinstance(value, str) and "\0" in value]
    return orjson.dumps([value for value in each if value not in odd]).decode(), odd


def rows_in(
    conn: Connection, table: Table, columns: Sequence[str], key: str, values: Iterable[Any], more: str = ""
) -> list[Any]:
    """``columns`` of the rows whose ``key`` is one of ``values``; ``more`` is further SQL of the caller's own.

    The same as a select with :func:`json_set`, without the cost of building a statement: for the ingest path.
    """
    text, odd = _as_json(values)
    inside = "SELECT value FROM json_each(?)" + " UNION ALL SELECT ?" * len(odd)
    sql = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {key} IN ({inside}) {more}"
    return list(conn.exec_driver_sql(sql, (text, *odd)))


def _placeholders(conn: Connection, count: int) -> str:
    mark = "?" if conn.dialect.paramstyle == "qmark" else "%s"
    return ", ".join([mark] * count)


def insert_rows(conn: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert ``rows`` (tuples in the order of ``columns``) with one executemany; nothing for no rows."""
    if rows:
        sql = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({_placeholders(conn, len(columns))})"
        conn.exec_driver_sql(sql, list(rows))


def upsert_rows(
    conn: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], key: Sequence[str]
) -> None:
    """Insert ``rows``; where ``key`` (a unique or primary key) is already there, overwrite the rest."""
    if not rows:
        return
    rest = [column for column in columns if column not in key]
    action = "DO UPDATE SET " + ", ".join(f"{c} = excluded.{c}" for c in rest) if rest else "DO NOTHING"
    sql = (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({_placeholders(conn, len(columns))}) "
        f"ON CONFLICT ({', '.join(key)}) {action}"
    )
    conn.exec_driver_sql(sql, list(rows))
