"""Reporting webhooks: a workspace has any number, each with its own selection, options, signing key and queue.

The first one has the tank's ``customerio_signing_key``; the keys of others are shown over the control API, as the
vendor shows them on the webhook's page. Source: Customer.io docs, App API, reporting webhooks; guide to reporting
webhooks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import BigInteger, Boolean, Column, Connection, Integer, String, Table, bindparam, func, select

from simulator.customerio.catalogue import names, selected
from simulator.customerio.retrying import Progress
from simulator.store import metadata
from simulator.tank import Tank

_webhooks = Table(
    "customerio_webhooks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("events", String, nullable=False),
    Column("with_content", Boolean, nullable=False),
    Column("full_resolution", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("backoffs", Integer, nullable=False, default=0),
    Column("began_ms", BigInteger),
    Column("resume_ms", BigInteger),
    sqlite_autoincrement=True,
)
FIRST = 1


@dataclass(frozen=True)
class Webhook:
    """A reporting webhook. ``events`` None selects everything, also what has no name."""

    id: int
    name: str
    endpoint: str
    events: tuple[str, ...] | None
    with_content: bool
    full_resolution: bool
    disabled: bool
    progress: Progress

    def wants(self, name: str | None) -> bool:
        """Whether it selects reports of this name."""
        return self.events is None or name in self.events

    def shown(self) -> dict[str, Any]:
        """The object that the App API answers."""
        return {
            "id": self.id,
            "name": self.name,
            "endpoint": self.endpoint,
            "disabled": self.disabled,
            "type": "webhook",
            "full_resolution": self.full_resolution,
            "with_content": self.with_content,
            "events": list(names() if self.events is None else self.events),
        }


def signing_key(tank: Tank, webhook_id: int) -> str:
    """The key that signs a webhook's requests."""
    if webhook_id == FIRST:
        return tank.credential("customerio_signing_key")
    return hashlib.sha256(f"customerio_webhook:{tank.id}:{tank.seed}:{webhook_id}".encode()).hexdigest()


def every(conn: Connection) -> list[Webhook]:
    """All webhooks in order of creation."""
    return [_webhook(row) for row in conn.execute(_ALL)]


_ONE = select(_webhooks).where(_webhooks.c.id == bindparam("webhook"))
_ALL = select(_webhooks).order_by(_webhooks.c.id)


def one(conn: Connection, webhook_id: int) -> Webhook | None:
    """The webhook of this id."""
    row = conn.execute(_ONE, {"webhook": webhook_id}).first()
    return None if row is None else _webhook(row)


def _webhook(row: Any) -> Webhook:
    return Webhook(
        row.id,
        row.name,
        row.endpoint,
        None if row.events == '"all"' else tuple(orjson.loads(row.events)),
        row.with_content,
        row.full_resolution,
        row.disabled,
        Progress(row.attempts, row.backoffs, row.began_ms, row.resume_ms),
    )


def save(
    conn: Connection, config: Mapping[str, Any], webhook_id: int | None = None, new_id: int | None = None
) -> Webhook:
    """Make a webhook, or edit one; what is left out stays as it was.

    ``name``, ``endpoint``, ``events`` (``"all"`` or a list of names), ``with_content``, ``full_resolution``,
    ``disabled``; ``new_id`` is the id of a new one (the next when absent). Raises ValueError in one line for an unknown
    event name.
    """
    values: dict[str, Any] = {
        key: config[key] for key in ("name", "endpoint", "with_content", "full_resolution", "disabled") if key in config
    }
    if "events" in config:
        chosen = selected(config["events"])
        values["events"] = orjson.dumps("all" if chosen is None else chosen).decode()
    if webhook_id is None:
        plain = {"name": "", "events": '"all"', "with_content": False, "full_resolution": False, "disabled": False}
        if new_id is not None:
            plain["id"] = new_id
        made = conn.execute(_webhooks.insert().values(**{**plain, **values})).inserted_primary_key
        assert made is not None
        webhook_id = int(made[0])
    elif values:
        conn.execute(_webhooks.update().where(_webhooks.c.id == webhook_id).values(**values))
    found = one(conn, webhook_id)
    assert found is not None
    return found


def save_progress(conn: Connection, webhook_id: int, progress: Progress) -> None:
    """Store how far the head of a webhook's queue is."""
    conn.execute(
        _webhooks.update()
        .where(_webhooks.c.id == webhook_id)
        .values(
            attempts=progress.attempts,
            backoffs=progress.backoffs,
            began_ms=progress.began_ms,
            resume_ms=progress.resume_ms,
        )
    )


def remove(conn: Connection, webhook_id: int) -> None:
    """Delete a webhook; its queue is the caller's to end."""
    conn.execute(_webhooks.delete().where(_webhooks.c.id == webhook_id))


def first(conn: Connection) -> Webhook | None:
    """The oldest webhook: the one that the control API's feed speaks of."""
    found: int | None = conn.execute(select(func.min(_webhooks.c.id))).scalar()
    return None if found is None else one(conn, found)
