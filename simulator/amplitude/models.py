"""What an analyst has set up over events: computed properties, recommendations and predictions, by id.

Source: Amplitude docs, Computed properties; Recommendations; Predictions. How a definition is written is our own:
they are made in the dashboard, and what it stores is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, String, Table, select

from simulator.amplitude import definitions
from simulator.store import metadata, upsert_rows

KINDS = ("computations", "recommendations", "predictions")

_models = Table(
    "amplitude_models",
    metadata,
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("definition", String, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def save(conn: Connection, kind: str, model_id: str, definition: Mapping[str, Any], now_ms: int) -> None:
    """Set up a model, or edit it. Raises ValueError, in one line, for conditions that do not fit."""
    if kind == "computations":
        definitions.check({"andClauses": [{"orClauses": [_clause(definition)]}]})
    row = (kind, model_id, orjson.dumps(definition).decode(), now_ms)
    upsert_rows(conn, _models, ("kind", "id", "definition", "changed_ms"), [row], ("kind", "id"))


def _clause(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A computation's events as the clause of a cohort, so that both are read alike."""
    kept = ("event_type", "within_days", "where")
    return {"type": "event", **{name: definition[name] for name in kept if name in definition}}


def remove(conn: Connection, kind: str, model_id: str) -> bool:
    """Remove a model; False when there is no such one."""
    mine = (_models.c.kind == kind) & (_models.c.id == model_id)
    return conn.execute(_models.delete().where(mine)).rowcount > 0


def listed(conn: Connection, kind: str) -> dict[str, dict[str, Any]]:
    """Definitions by id, in order of their ids."""
    query = select(_models.c.id, _models.c.definition).where(_models.c.kind == kind).order_by(_models.c.id)
    return {row[0]: orjson.loads(row[1]) for row in conn.execute(query)}


def changed_ms(conn: Connection, kind: str, model_id: str) -> int | None:
    """When a model was set up or edited last."""
    found: int | None = conn.execute(
        select(_models.c.changed_ms).where(_models.c.kind == kind, _models.c.id == model_id)
    ).scalar()
    return found
