"""Shared by the connector's tests: outboxes in files and in PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest

from connector import shared_outbox


@pytest.fixture
def shared_url(postgresql: str) -> str:
    """A PostgreSQL that holds no outbox yet."""
    with psycopg.connect(postgresql, autocommit=True) as db:
        for (name,) in db.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'connector\\_%'").fetchall():
            db.execute(f'DROP SCHEMA "{name}" CASCADE')
    return postgresql


@pytest.fixture(params=["file", "postgresql"])
def outbox_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Where outboxes are kept: None is a file each. Nobody shares them, so that no time passes in looking again."""
    if request.param == "file":
        return None
    monkeypatch.setattr(shared_outbox, "POLL_MS", 10**14)
    url: str = request.getfixturevalue("shared_url")
    return url
