"""What SQLite and PostgreSQL write differently: the one place that knows both.

Statements are SQLAlchemy Core or plain SQL that both understand (``ON CONFLICT``, ``excluded``); what remains is here.

* Plain SQL: write ``?`` for a parameter; :func:`run`, :func:`rows_in`, :func:`insert_rows`, :func:`upsert_rows`.
* JSON inside a text column: :func:`json_text`, :func:`json_number`, :func:`json_integer`, :func:`json_type`,
  :func:`json_size` and the table :func:`json_members` instead of SQLite's ``json_extract`` and ``json_each``.
* Many values as one parameter: ``column.in_(json_set(values))``.
* :func:`position`, :func:`glob`, :func:`matches`, :func:`as_number`, :func:`as_real`, :func:`decimal_text`.

On PostgreSQL the functions of :data:`FUNCTIONS` do the work. Their types are SQLite's names: ``text``, ``integer``,
``real``, ``true``, ``false``, ``null``, ``object``, ``array``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Connection,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    TableValuedAlias,
    TypeDecorator,
    bindparam,
    literal,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn
from sqlalchemy.sql.functions import FunctionElement

# -- plain SQL


@lru_cache(1024)
def _pyformat(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


def _on_sqlite(conn: Connection) -> bool:
    return conn.dialect.name == "sqlite"


def run(conn: Connection, sql: str, rows: Sequence[tuple[Any, ...]] | tuple[Any, ...]) -> Any:
    """Execute plain SQL with ``?`` for each parameter: once for a tuple, once for each tuple of a list."""
    return conn.exec_driver_sql(sql if _on_sqlite(conn) else _pyformat(sql), rows)


def fetch(conn: Connection, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    """Rows (tuples) of plain SQL with ``?``, asked of the driver itself: for the ingest path.

    A small statement costs a fifth of what it costs through SQLAlchemy. Values are what the driver makes of them: a
    boolean is 0 or 1 on SQLite.
    """
    raw: Any = conn.connection.driver_connection
    found: list[Any] = raw.execute(sql if _on_sqlite(conn) else _pyformat(sql), values).fetchall()
    return found


def command(conn: Connection, sql: str) -> None:
    """A statement without values or rows, given to the driver itself: ``BEGIN``, ``SAVEPOINT`` and the like."""
    raw: Any = conn.connection.driver_connection
    raw.execute(sql)


def rows_in(
    conn: Connection,
    table: Table,
    columns: Sequence[str],
    key: str,
    values: Iterable[Any],
    more: str = "",
    more_values: tuple[Any, ...] = (),
) -> list[Any]:
    """``columns`` of the rows (tuples) whose ``key`` is one of ``values``; ``more`` is further SQL of the caller's own.

    The same as a select with :func:`json_set`, without the cost of building a statement: for the ingest path.
    """
    sql = f"SELECT {', '.join(columns)} FROM {table.name} WHERE {key} "
    if _on_sqlite(conn):
        text, odd = _as_json(list(values))
        sql += f"IN (SELECT value FROM json_each(?){' UNION ALL SELECT ?' * len(odd)}) {more}"
        return fetch(conn, sql, (text, *odd, *more_values))
    sql += f"= ANY(%s::{_array_of(table, key)}) {_pyformat(more)}"
    return list(conn.exec_driver_sql(sql, (list(values), *more_values)))


def insert_rows(conn: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert ``rows`` (tuples in the order of ``columns``) with one statement; nothing for no rows."""
    if not rows:
        return
    sql = f"INSERT INTO {table.name} ({', '.join(columns)}) "
    if _on_sqlite(conn):
        _put(conn, f"{sql}VALUES ({_marks(len(columns))})", rows)
    else:
        conn.exec_driver_sql(f"{sql}{_unnested(table, columns)}", _turned(rows))


def upsert_rows(
    conn: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], key: Sequence[str]
) -> None:
    """Insert ``rows``; where ``key`` (a unique or primary key) is already there, overwrite the rest."""
    if not rows:
        return
    rest = [column for column in columns if column not in key]
    action = "DO UPDATE SET " + ", ".join(f"{c} = excluded.{c}" for c in rest) if rest else "DO NOTHING"
    sql = f"INSERT INTO {table.name} ({', '.join(columns)}) "
    conflict = f" ON CONFLICT ({', '.join(key)}) {action}"
    if _on_sqlite(conn):
        _put(conn, f"{sql}VALUES ({_marks(len(columns))}){conflict}", rows)
        return
    # One statement may not touch a row twice: of several rows of one key the last one stays, as one after another.
    places = [list(columns).index(name) for name in key]
    last = {tuple(row[place] for place in places): row for row in rows}
    conn.exec_driver_sql(f"{sql}{_unnested(table, columns)}{conflict}", _turned(list(last.values())))


def _put(conn: Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    raw: Any = conn.connection.driver_connection
    raw.executemany(sql, rows)


@lru_cache(64)
def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _array_of(table: Table, column: str) -> str:
    kind = table.c[column].type
    for known, name in (
        (Boolean, "boolean[]"),
        (Integer, "bigint[]"),
        (Float, "double precision[]"),
        (LargeBinary, "bytea[]"),
    ):
        if isinstance(kind, known):
            return name
    return "text[]"


def _unnested(table: Table, columns: Sequence[str]) -> str:
    return f"SELECT * FROM unnest({', '.join(f'%s::{_array_of(table, column)}' for column in columns)})"


def _turned(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


# -- many values as one parameter


class _ValueList(TypeDecorator[Any]):
    """A list of texts or of whole numbers: JSON on SQLite, an array on PostgreSQL."""

    impl = String
    cache_ok = True

    def __init__(self, numbers: bool = False) -> None:
        super().__init__()
        self.numbers = numbers

    def load_dialect_impl(self, dialect: Any) -> Any:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String())
        return dialect.type_descriptor(ARRAY(BigInteger if self.numbers else String))

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return orjson.dumps(value).decode() if dialect.name == "sqlite" else value


class _Each(FunctionElement[Any]):
    name = "each"
    inherit_cache = True


@compiles(_Each)
def _each(element: _Each, compiler: Any, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


@compiles(_Each, "postgresql")
def _each_postgresql(element: _Each, compiler: Any, **kw: Any) -> str:
    return f"each_value({compiler.process(element.clauses, **kw)})"


def json_set(values: Iterable[Any]) -> Any:
    """A one-column subquery over ``values`` (all texts or all whole numbers): ``column.in_(json_set(ids))``.

    They are bound as one parameter: one statement serves any number of values, which keeps set-based reads cheap and
    cached. Of nothing it is an empty list, which takes the type of any column.
    """
    given = list(values)
    if not given:
        return []
    odd = _with_nul(given)
    plain = [value for value in given if value not in odd] if odd else given
    numbers = bool(plain) and all(isinstance(each, int) for each in plain)
    each = _Each(bindparam(None, plain, unique=True, type_=_ValueList(numbers))).table_valued("value")
    found = select(each.c.value)
    return found if not odd else select(found.union_all(*(select(literal(value)) for value in odd)).subquery().c[0])


def _with_nul(values: Sequence[Any]) -> list[str]:
    """The values that SQLite would not read out of JSON whole: it cuts texts at a NUL."""
    return [value for value in values if isinstance(value, str) and "\0" in value]


def _as_json(values: Sequence[Any]) -> tuple[str, list[str]]:
    """``values`` as a JSON array, and apart from it those with a NUL."""
    text = orjson.dumps(values).decode()
    if "\\u0000" not in text:
        return text, []
    odd = _with_nul(values)
    return orjson.dumps([value for value in values if value not in odd]).decode(), odd


# -- JSON inside a text column

_PATH_PART = re.compile(r'\."([^"]*)"|\.([^.\["]+)|\[(\d+)\]')


class _Path(TypeDecorator[Any]):
    """A path like ``$.a."b c"[0]``: as it is on SQLite, its parts on PostgreSQL."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else ARRAY(String))

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if dialect.name == "sqlite":
            return value
        return [next(part for part in parts if part or not any(parts)) for parts in _PATH_PART.findall(value)]


def _path(path: str) -> Any:
    return bindparam(None, path, unique=True, type_=_Path())


class json_type(FunctionElement[str]):
    """The type of a member by SQLite's names; NULL when there is none."""

    name = "json_type"
    type = String()
    inherit_cache = True

    def __init__(self, document: Any, path: str) -> None:
        super().__init__(document, _path(path))


class json_text(FunctionElement[str]):
    """A member as text: ``true`` and ``false`` in words, arrays and objects as JSON; null and missing are NULL."""

    name = "json_text"
    type = String()
    inherit_cache = True

    def __init__(self, document: Any, path: str) -> None:
        super().__init__(document, _path(path))


class json_number(FunctionElement[float]):
    """A member that is a number, or missing."""

    name = "json_number"
    type = Float()
    inherit_cache = True

    def __init__(self, document: Any, path: str) -> None:
        super().__init__(document, _path(path))


class json_integer(FunctionElement[int]):
    """A member that is a whole number, or missing."""

    name = "json_integer"
    type = BigInteger()
    inherit_cache = True

    def __init__(self, document: Any, path: str) -> None:
        super().__init__(document, _path(path))


class json_size(FunctionElement[int]):
    """How many elements a member has that is an array; NULL when it is missing."""

    name = "json_size"
    type = BigInteger()
    inherit_cache = True

    def __init__(self, document: Any, path: str) -> None:
        super().__init__(document, _path(path))


class _Members(FunctionElement[Any]):
    name = "json_members"
    inherit_cache = True


def json_members(document: Any, path: str = "$", name: str | None = None) -> TableValuedAlias:
    """The members of an object or array as a table of ``key``, ``type`` and ``value``.

    ``value`` is a text unless it is a number on SQLite: compare it as text, or by way of :func:`as_number`.
    """
    return _Members(document, _path(path)).table_valued("key", "type", "value", name=name)


@compiles(json_type, "sqlite")
@compiles(_Members, "sqlite")
@compiles(json_size, "sqlite")
@compiles(json_number, "sqlite")
@compiles(json_integer, "sqlite")
def _sqlite_json(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
    called = {
        "json_members": "json_each",
        "json_size": "json_array_length",
        "json_number": "json_extract",
        "json_integer": "json_extract",
    }
    return f"{called.get(element.name, element.name)}({compiler.process(element.clauses, **kw)})"


@compiles(json_text, "sqlite")
def _sqlite_json_text(element: json_text, compiler: Any, **kw: Any) -> str:
    inner = compiler.process(element.clauses, **kw)
    value = f"CAST(json_extract({inner}) AS VARCHAR)"
    return f"(CASE json_type({inner}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE {value} END)"


@compiles(json_type, "postgresql")
@compiles(json_text, "postgresql")
@compiles(json_number, "postgresql")
@compiles(json_integer, "postgresql")
@compiles(json_size, "postgresql")
@compiles(_Members, "postgresql")
def _postgresql_json(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
    name = "json_kind" if element.name == "json_type" else element.name
    return f"{name}({compiler.process(element.clauses, **kw)})"


# -- texts and numbers


class as_number(FunctionElement[float]):
    """A value of :func:`json_members` as the number that it is; NULL on PostgreSQL when it is none."""

    name = "as_number"
    type = Float()
    inherit_cache = True


class as_real(FunctionElement[float]):
    """A text as a decimal number; 0 when it is none."""

    name = "as_real"
    type = Float()
    inherit_cache = True


class decimal_text(FunctionElement[str]):
    """A number as decimal text: ``5000000.0``."""

    name = "decimal_text"
    type = String()
    inherit_cache = True


class position(FunctionElement[int]):
    """``position(text, part)``: where a part begins, counted from 1; 0 when it is not there."""

    name = "position"
    type = Integer()
    inherit_cache = True


class glob(FunctionElement[bool]):
    """``glob(pattern, text)``: whether the whole text fits a pattern of classes like ``[0-9]`` and plain characters."""

    name = "glob"
    type = Boolean()
    inherit_cache = True


class matches(FunctionElement[bool]):
    """``matches(text, regex)``. An expression that PostgreSQL cannot read matches nothing there."""

    name = "matches"
    type = Boolean()
    inherit_cache = True


class joined(FunctionElement[str]):
    """``joined(text, separator, by)``: the texts of the rows in one, in the order of ``by``, which they come in."""

    name = "joined"
    type = String()
    inherit_cache = True


_FORMS = {
    "as_number": ("{}", "as_number({}::text)"),
    "as_real": ("CAST({} AS FLOAT)", "coalesce(as_number({}::text), 0)"),
    "decimal_text": ("CAST(CAST({} AS FLOAT) AS VARCHAR)", "decimal_text({})"),
    "position": ("instr({})", "strpos({})"),
    "glob": ("glob({})", "glob({})"),
}


@compiles(as_number)
@compiles(as_real)
@compiles(decimal_text)
@compiles(position)
@compiles(glob)
def _form(element: FunctionElement[Any], compiler: Any, **kw: Any) -> str:
    form = _FORMS[element.name][0 if compiler.dialect.name == "sqlite" else 1]
    return form.format(compiler.process(element.clauses, **kw))


@compiles(joined)
def _joined(element: joined, compiler: Any, **kw: Any) -> str:
    text, separator, by = (compiler.process(each, **kw) for each in element.clauses)
    # SQLite knows an order within only since 3.44; before, it is the order in which the rows come.
    if compiler.dialect.name == "sqlite":
        return f"group_concat({text}, {separator})"
    return f"string_agg({text}, {separator} ORDER BY {by})"


@compiles(matches)
def _matches(element: matches, compiler: Any, **kw: Any) -> str:
    text, regex = (compiler.process(each, **kw) for each in element.clauses)
    return f"({text} REGEXP {regex})" if compiler.dialect.name == "sqlite" else f"matches({text}, {regex})"


# -- types

# SQLite's whole numbers have 64 bits and its texts are compared byte by byte.


@compiles(Integer, "postgresql")
def _integer(_element: Integer, _compiler: Any, **_kw: Any) -> str:
    return "BIGINT"


@compiles(CreateColumn, "postgresql")
def _column(element: CreateColumn, compiler: Any, **kw: Any) -> str:
    text: str = compiler.visit_create_column(element, **kw)
    return text.replace(" VARCHAR", ' VARCHAR COLLATE "C"', 1).replace(" SERIAL ", " BIGSERIAL ", 1)


ZERO = "\U0010ffff0"
"""Stands for a NUL in stored text, which PostgreSQL cannot hold; U+10FFFF is no character."""

FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION each_value(given text[], OUT value text) RETURNS SETOF text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT unnest($1)';
CREATE OR REPLACE FUNCTION each_value(given bigint[], OUT value bigint) RETURNS SETOF bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT unnest($1)';
CREATE OR REPLACE FUNCTION json_of(document text) RETURNS json
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN strpos($1, '\u0000') = 0 THEN $1::json
      ELSE regexp_replace($1, '(?<!\\)((?:\\\\)*)\\u0000', '\1' || U&'\+10FFFF0', 'g')::json END
  $$;
CREATE OR REPLACE FUNCTION json_kind(given json) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE json_typeof($1) WHEN 'string' THEN 'text' WHEN 'boolean' THEN $1::text
      WHEN 'number' THEN CASE WHEN $1::text ~ '[.eE]' THEN 'real' ELSE 'integer' END ELSE json_typeof($1) END
  $$;
CREATE OR REPLACE FUNCTION json_kind(document text, path text[]) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT json_kind(json_of($1) #> $2)';
CREATE OR REPLACE FUNCTION json_text(document text, path text[]) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT json_of($1) #>> $2';
CREATE OR REPLACE FUNCTION as_number(given text) RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN $1 ~ '^-?[0-9]{1,200}(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$' THEN $1::double precision END
  $$;
CREATE OR REPLACE FUNCTION json_number(document text, path text[]) RETURNS double precision
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN json_typeof(found) = 'number' THEN as_number(found #>> '{}') END
    FROM (SELECT json_of($1) #> $2 AS found) AS inside
  $$;
CREATE OR REPLACE FUNCTION json_integer(document text, path text[]) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN found::text ~ '^-?[0-9]{1,18}$' THEN (found #>> '{}')::bigint
      WHEN json_typeof(found) = 'number' AND abs(as_number(found #>> '{}')) < 9.2e18
      THEN trunc((found #>> '{}')::numeric)::bigint END
    FROM (SELECT json_of($1) #> $2 AS found) AS inside
  $$;
CREATE OR REPLACE FUNCTION json_size(document text, path text[]) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE json_typeof(found) WHEN 'array' THEN json_array_length(found) ELSE 0 * length(found::text) END
    FROM (SELECT json_of($1) #> $2 AS found) AS inside
  $$;
CREATE OR REPLACE FUNCTION json_members(document text, path text[]) RETURNS TABLE (key text, type text, value text)
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE ROWS 20 AS $$
    DECLARE inside json := json_of(document) #> path;
    BEGIN
      IF json_typeof(inside) = 'object' THEN
        RETURN QUERY SELECT each.key, json_kind(each.value), each.value #>> '{}' FROM json_each(inside) AS each;
      ELSIF json_typeof(inside) = 'array' THEN
        RETURN QUERY SELECT (each.n - 1)::text, json_kind(each.value), each.value #>> '{}'
          FROM json_array_elements(inside) WITH ORDINALITY AS each(value, n);
      ELSIF inside IS NOT NULL THEN
        RETURN QUERY SELECT NULL::text, json_kind(inside), inside #>> '{}';
      END IF;
    END
  $$;
CREATE OR REPLACE FUNCTION substr(given text, start bigint, count bigint) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT pg_catalog.substr($1, $2::integer, $3::integer)';
CREATE OR REPLACE FUNCTION substr(given bytea, start bigint, count bigint) RETURNS bytea
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT pg_catalog.substr($1, $2::integer, $3::integer)';
CREATE OR REPLACE FUNCTION decimal_text(given double precision) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN $1::text ~ '^-?[0-9]+$' THEN $1::text || '.0' ELSE $1::text END
  $$;
CREATE OR REPLACE FUNCTION glob(pattern text, given text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT $2 ~ ('^' || replace($1, '.', '\.') || '$') $$;
CREATE OR REPLACE FUNCTION matches(given text, regex text) RETURNS boolean
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
      RETURN given ~ replace(replace(regex, '\b', '\y'), '\B', '\Y');
    EXCEPTION WHEN invalid_regular_expression THEN
      RETURN false;
    END
  $$;
"""
"""What a PostgreSQL database needs for the above; run once for a database, in the directory's schema."""
