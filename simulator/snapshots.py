"""Where the copies of a tank are kept: files beside an SQLite store, schemas beside one in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import orjson

from simulator.postgres import PostgresStore
from simulator.store import SqliteStore, Store


class Shelf(Protocol):
    """The copies of one tank."""

    def keep(self, name: str, note: dict[str, Any]) -> None:
        """Keep a copy under a name, with a note; a copy of the same name is replaced."""

    def kept(self) -> list[dict[str, Any]]:
        """The notes of all copies by name."""

    def take_back(self, name: str) -> dict[str, Any] | None:
        """Make the store equal to a copy; its note, or None when there is no such copy."""


class Files:
    """Copies as SQLite files in a folder."""

    def __init__(self, store: SqliteStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, name: str, note: dict[str, Any]) -> None:
        self._store.snapshot(self._folder / f"{name}.db")
        (self._folder / f"{name}.json").write_bytes(orjson.dumps({"name": name, **note}))

    def kept(self) -> list[dict[str, Any]]:
        return [orjson.loads(path.read_bytes()) for path in sorted(self._folder.glob("*.json"))]

    def take_back(self, name: str) -> dict[str, Any] | None:
        if not (self._folder / f"{name}.db").exists():
            return None
        self._store.restore(self._folder / f"{name}.db")
        note: dict[str, Any] = orjson.loads((self._folder / f"{name}.json").read_bytes())
        return note


def shelf(store: Store, folder: Path | None) -> Shelf:
    """The shelf that fits a store; ``folder`` is for those that keep files."""
    if isinstance(store, PostgresStore):
        return store
    assert isinstance(store, SqliteStore)
    assert folder is not None
    return Files(store, folder)
