"""Storage in PostgreSQL: a schema per tank, one more for the directory of tanks and the functions that all use.

A write transaction begins with the tank's advisory lock, so writers take turns over every process and machine, as
they do at SQLite's one writer: what a request reads of limits, duplicates and identity nobody else changes meanwhile.
"""

from __future__ import annotations

import hashlib
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex, CreateTable

from simulator.dialect import FUNCTIONS, ZERO
from simulator.store import LAYOUT, OtherVersion, Store, metadata

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,11}")
_SETUP_LOCK = 0x77617665


class Unreachable(ValueError):
    """The database cannot be used as asked: one line, what and how to mend it."""


class Database:
    """A PostgreSQL database as this process sees it; its connections serve every tank.

    All servers of one database serve the same tanks. ``?state=NAME`` after the URL keeps tanks apart from those of
    other names; what else stands there goes to the driver.

    :param url: ``postgresql://user:password@host:port/database``. Raises Unreachable.
    """

    def __init__(self, url: str) -> None:
        parsed, name = _read(url)
        self.common = f"wavetank-{name}" if name else "wavetank"
        """The schema of the directory and of the functions; its name begins those of the tanks' schemas."""
        self.engine = _engine(parsed)
        try:
            with self.engine.connect() as conn:
                raw = _raw(conn)
                raw.execute(
                    f'BEGIN; SELECT pg_advisory_xact_lock({_SETUP_LOCK}); CREATE SCHEMA IF NOT EXISTS "{self.common}"; '
                    f'SET LOCAL search_path TO "{self.common}"; {FUNCTIONS}; COMMIT'
                )
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise Unreachable(f"{reason}: start PostgreSQL, or mend the URL") from None
        self._control: Any = None

    def directory(self, tables: MetaData) -> PostgresStore:
        """The store of the directory. Raises OtherVersion, and is closed then."""
        try:
            return PostgresStore(self, self.common, tables)
        except OtherVersion:
            self.close()
            raise

    def tank(self, tank_id: str, born: int) -> PostgresStore:
        """The store of a tank, made when it is not there yet."""
        # Names have at most 63 characters.
        short = tank_id if len(tank_id) <= 26 else f"{tank_id[:17]}-{zlib.crc32(tank_id.encode()):08x}"
        return PostgresStore(self, f"{self.common}-{short}-{born}", metadata)

    def claim_control(self) -> bool:
        """Become the one process that runs time, until it ends or closes; False when another one is."""
        if self._control is None:
            self._control = self.engine.connect()
        lock = _lock_of(f"control of {self.common}")
        found = _raw(self._control).execute("SELECT pg_try_advisory_lock(%s)", (lock,)).fetchone()
        return bool(found[0])

    def close(self) -> None:
        """Release the connections."""
        if self._control is not None:
            self._control.invalidate()
            self._control.close()
            self._control = None
        self.engine.dispose()


class PostgresStore(Store):
    """A store in one schema. Get one from :class:`Database`."""

    def __init__(self, database: Database, schema: str, tables: MetaData) -> None:
        self.tables = tables
        self.schema = schema
        self._database = database
        self._turn = threading.RLock()
        self._copies = f"wavetank-copy-{_digest(schema)}-"
        path = f'SET LOCAL search_path TO "{schema}", "{database.common}"'
        self._begin_write = f"BEGIN; {path}; SELECT pg_advisory_xact_lock({_lock_of(schema)})"
        self._begin_read = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {path}"
        self._create()

    def _create(self) -> None:
        statements, mark = _definition(frozenset(self.tables.tables), self.tables)
        query = "SELECT obj_description(to_regnamespace(%s)::oid, 'pg_namespace')"
        with self._database.engine.connect() as conn:
            found = _raw(conn).execute(query, (f'"{self.schema}"',)).fetchone()
        if found is not None and found[0] == mark:
            return
        held = "" if found is None else found[0] or ""
        if held and held.partition(":")[0] != str(LAYOUT):
            raise OtherVersion(held.partition(":")[0] if ":" in held else 1)
        with self._database.engine.connect() as conn:
            # Several processes may come here at once: the first makes the tables, the others find them.
            _raw(conn).execute(
                f"BEGIN; SELECT pg_advisory_xact_lock({_SETUP_LOCK}); "
                f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"; '
                f'SET LOCAL search_path TO "{self.schema}", "{self._database.common}"; '
                f"{statements}; COMMENT ON SCHEMA \"{self.schema}\" IS '{mark}'; COMMIT"
            )

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._turn, self._database.engine.connect() as conn:
            raw = _raw(conn)
            raw.execute(self._begin_write)
            try:
                yield conn
            except BaseException:
                raw.execute("ROLLBACK")
                raise
            raw.execute("COMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._database.engine.connect() as conn:
            raw = _raw(conn)
            raw.execute(self._begin_read)
            try:
                yield conn
            finally:
                raw.execute("ROLLBACK")

    def clear(self) -> None:
        with self.write() as conn:
            _raw(conn).execute(f"TRUNCATE {', '.join(self.tables.tables)} RESTART IDENTITY")

    def close(self) -> None:
        """Nothing is held: the connections are the database's."""

    def drop(self) -> None:
        with self._database.engine.connect() as conn:
            for schema in (self.schema, *self._snapshots().values()):
                _raw(conn).execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    # -- snapshots: copies of the schema, with a note in its comment

    def _snapshots(self) -> dict[str, str]:
        """The schemas of this store's snapshots by name."""
        return {orjson.loads(note)["name"]: schema for schema, note in self._notes().items()}

    def _notes(self) -> dict[str, str]:
        query = "SELECT nspname, obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname LIKE %s"
        with self._database.engine.connect() as conn:
            rows = _raw(conn).execute(query, (f"{self._copies}%",)).fetchall()
        return {schema: note for schema, note in rows if note}

    def keep(self, name: str, note: dict[str, Any]) -> None:
        """Keep a copy under a name, with a note; a copy of the same name is replaced."""
        copy = self._copies + _digest(name)
        text = orjson.dumps({**note, "name": name}).decode().replace("'", "''")
        tables = list(self.tables.tables)
        with self.write() as conn:
            _raw(conn).execute(
                f'DROP SCHEMA IF EXISTS "{copy}" CASCADE; CREATE SCHEMA "{copy}"; '
                + "".join(f'CREATE TABLE "{copy}".{each} AS TABLE {each}; ' for each in tables)
                + f"COMMENT ON SCHEMA \"{copy}\" IS '{text}'"
            )

    def kept(self) -> list[dict[str, Any]]:
        """The notes of all copies by name."""
        return sorted((orjson.loads(note) for note in self._notes().values()), key=lambda each: str(each["name"]))

    def take_back(self, name: str) -> dict[str, Any] | None:
        """Make the tables equal to a copy; its note, or None when there is no such copy."""
        copy = self._snapshots().get(name)
        if copy is None:
            return None
        parts = [f"TRUNCATE {', '.join(self.tables.tables)} RESTART IDENTITY"]
        for table in self.tables.sorted_tables:
            parts.append(f'INSERT INTO {table.name} SELECT * FROM "{copy}".{table.name}')
            counted = table.autoincrement_column
            if counted is not None:
                highest = f"(SELECT max({counted.name}) FROM {table.name})"
                parts.append(f"SELECT setval(pg_get_serial_sequence('{table.name}', '{counted.name}'), {highest})")
        with self.write() as conn:
            _raw(conn).execute("; ".join(parts))
        return next(each for each in self.kept() if each["name"] == name)


def _digest(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:16]


def _lock_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"wavetank:{name}".encode()).digest()[:8], "big", signed=True)


@cache
def _definition(names: frozenset[str], tables: MetaData) -> tuple[str, str]:
    """The statements that make what is missing of the tables, and a mark that tells this set of tables."""
    dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]
    parts = []
    for table in tables.sorted_tables:
        parts.append(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda each: str(each.name))
        parts += [str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect)) for index in indexes]
    text = ";\n".join(parts).replace("%%", "%")
    return text, f"{LAYOUT}:{hashlib.sha256(text.encode()).hexdigest()}"


def _raw(conn: Connection) -> Any:
    """The driver's own connection: it takes several statements at once, in one round trip."""
    return conn.connection.driver_connection


def _read(url: str) -> tuple[URL, str | None]:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise Unreachable(f"{error}: write postgresql://user:password@host:port/database") from None
    if parsed.get_backend_name() != "postgresql":
        raise Unreachable(f"{parsed.get_backend_name()} is no database that is known: give a file or postgresql://…")
    name = parsed.query.get("state")
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise Unreachable(f"state {name!r} does not fit: use up to 12 of a-z, 0-9 and -")
    return parsed.difference_update_query(["state"]), name


def _engine(url: URL) -> Engine:
    try:
        import psycopg
        from psycopg.adapt import Loader as BaseLoader
        from psycopg.types.string import TextLoader
    except ImportError:
        raise Unreachable("the PostgreSQL driver is missing: pip install 'wavetank[postgresql]'") from None

    class Cursor(psycopg.Cursor[Any]):
        """Writes NULs in texts as :data:`simulator.dialect.ZERO`, which costs nothing as long as there are none."""

        def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
            try:
                return super().execute(query, params, **more)
            except psycopg.DataError as error:
                if "NUL" not in str(error) or self.connection.info.transaction_status.name == "INERROR":
                    raise
                return super().execute(query, _without_nul(params), **more)

        def executemany(self, query: Any, params_seq: Any, **more: Any) -> None:
            rows = [_without_nul(each) for each in params_seq]
            super().executemany(query, rows, **more)

    class Loader(TextLoader):
        def load(self, data: Any) -> Any:
            text = super().load(data)
            return text.replace(ZERO, "\0") if "\U0010ffff" in text else text  # type: ignore[arg-type]

    class Number(BaseLoader):
        """A sum of whole numbers is numeric in PostgreSQL; as in SQLite it is a whole number here."""

        def load(self, data: Any) -> Any:
            text = bytes(data)
            return int(text) if text.lstrip(b"-").isdigit() else float(text)

    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        pool_size=4,
        max_overflow=30,
        pool_timeout=60,
        pool_pre_ping=False,
        connect_args={"cursor_factory": Cursor},
    )

    def prepare(connection: Any, _record: object) -> None:
        connection.adapters.register_loader("text", Loader)
        connection.adapters.register_loader("varchar", Loader)
        connection.adapters.register_loader("numeric", Number)
        connection.add_notice_handler(lambda _notice: None)

    event.listen(engine, "connect", prepare)
    return engine


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", ZERO) if "\0" in value else value
    if isinstance(value, list | tuple):
        return type(value)(_without_nul(each) for each in value)
    if isinstance(value, dict):
        return {name: _without_nul(each) for name, each in value.items()}
    return value
