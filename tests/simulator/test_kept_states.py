"""States that are kept between runs: one of another version is refused in one line, and changed tables are noticed."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import postgresql as servers
import pytest
from click.testing import CliRunner

import simulator.apps  # noqa: F401  (every table is declared)
from simulator import postgres
from simulator.commands import up
from simulator.store import LAYOUT, OtherVersion, SqliteStore, metadata
from simulator.tank import Tanks, directory

DECLARED = (2, "199dac2162298d49")
"""The layout's number, and a digest of every declared column: when tables change, the digest here changes with them.

New tables are made in older states, so they leave the number as it is; a column that comes, goes or changes, and a
table that goes, raise it."""


def test_changed_tables_are_noticed() -> None:
    columns = sorted(
        f"{table.name}.{column.name} {column.type!r}"
        for each in (directory, metadata)
        for table in each.sorted_tables
        for column in table.columns
    )
    assert (LAYOUT, hashlib.sha256("\n".join(columns).encode()).hexdigest()[:16]) == DECLARED


def test_a_state_of_this_version_is_taken_up_again(tmp_path: Path) -> None:
    tanks = Tanks(tmp_path / "state.db")
    tanks.create("kept")
    tanks.close()
    again = Tanks(tmp_path / "state.db")
    assert [each.id for each in again.list()] == ["kept"]
    again.close()


@pytest.mark.parametrize("layout", [0, LAYOUT - 1, LAYOUT + 1])
def test_a_state_of_another_version_is_refused_as_it_is(tmp_path: Path, layout: int) -> None:
    file = tmp_path / "state.db"
    held = sqlite3.connect(file)
    held.executescript(f"CREATE TABLE braze_cohort_members (cohort, uid); PRAGMA user_version = {layout}")
    before = list(held.iterdump())
    with pytest.raises(OtherVersion, match="made by another version of wavetank"):
        SqliteStore(file)
    assert list(held.iterdump()) == before
    held.close()


def test_a_postgresql_state_of_another_version_is_refused(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = servers.fresh(postgresql)
    tanks = Tanks(state)
    tanks.create("kept")
    tanks.close()
    monkeypatch.setattr(postgres, "LAYOUT", LAYOUT + 1)
    monkeypatch.setattr(postgres, "_definition", postgres._definition.__wrapped__)
    with pytest.raises(OtherVersion, match=f"layout {LAYOUT}"):
        Tanks(state)
    monkeypatch.undo()
    again = Tanks(state)
    assert [each.id for each in again.list()] == ["kept"]
    again.close()


def test_the_server_says_so_in_one_line(tmp_path: Path) -> None:
    held = sqlite3.connect(tmp_path / "state.db")
    held.executescript("CREATE TABLE tanks (id)")
    held.close()
    result = CliRunner().invoke(up, ["--state", str(tmp_path / "state.db"), "--port", "0"])
    assert result.exit_code != 0
    assert "--state: it was made by another version of wavetank" in result.output
    assert "Traceback" not in result.output
