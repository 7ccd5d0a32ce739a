"""Requests of one moment share a transaction: each part for itself, one commit, no result before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from simulator import together
from simulator.store import SqliteStore, command, fetch

tables = MetaData()
Table("numbers", tables, Column("n", Integer, primary_key=True))


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(None if request.param == "memory" else tmp_path / "store.db", tables)
    yield made
    made.close()


def put(store: SqliteStore, *numbers: int, fail: bool = False) -> int:
    with store.write() as conn:
        for number in numbers:
            command(conn, f"INSERT INTO numbers VALUES ({number})")
        if fail:
            raise ValueError(numbers)
    return kept(store)[-1]


def kept(store: SqliteStore) -> list[int]:
    with store.read() as conn:
        return [row[0] for row in fetch(conn, "SELECT n FROM numbers ORDER BY n")]


def test_one_commit_for_all_and_no_result_before_it(store: SqliteStore) -> None:
    with store.write():
        pass  # the connection of the writers is there now
    seen: list[str] = []
    assert store._writer is not None
    raw = store._writer.connection.driver_connection
    raw.set_trace_callback(seen.append)  # type: ignore[union-attr]
    # Each reads after its transaction: all of them see what the last one wrote.
    assert together.run([partial(put, store, n) for n in (1, 2, 3)]) == [3, 3, 3]
    assert [each for each in seen if each in ("BEGIN IMMEDIATE", "COMMIT")] == ["BEGIN IMMEDIATE", "COMMIT"]


def test_a_part_that_fails_is_undone_alone(store: SqliteStore) -> None:
    first, second, third = together.run(
        [partial(put, store, 1), partial(put, store, 2, 3, fail=True), partial(put, store, 4)]
    )
    assert (first, third) == (4, 4)
    assert isinstance(second, ValueError)
    assert kept(store) == [1, 4]


def test_a_commit_that_fails_fails_everybody(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(conn: object, sql: str) -> None:
        if sql == "COMMIT":
            raise OSError("the disk is full")
        command(conn, sql)  # type: ignore[arg-type]

    monkeypatch.setattr("simulator.store.command", refuse)
    results = together.run([partial(put, store, n) for n in (1, 2)])
    monkeypatch.undo()
    assert [type(each) for each in results] == [OSError, OSError]
    assert kept(store) == []
    assert put(store, 7) == 7


def test_two_transactions_of_a_request_and_two_stores(tmp_path: Path) -> None:
    one, other = (SqliteStore(tmp_path / f"{name}.db", tables) for name in ("one", "other"))

    def both(number: int) -> tuple[int, int, int]:
        return put(one, number), put(other, number), put(one, number + 10)

    works: list[Callable[[], tuple[int, int, int]]] = [partial(both, 1), partial(both, 2)]
    assert together.run(works) == [(2, 2, 12), (2, 2, 12)]
    assert kept(one) == [1, 2, 11, 12]
    for each in (one, other):
        each.close()
