"""What a workspace sends: campaigns, API-triggered broadcasts, newsletters and transactional messages.

Source: Customer.io docs, App API (send messages); the messages of a new workspace are this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml
from sqlalchemy import Column, Connection, Integer, String, Table, select

from simulator.store import metadata, upsert_rows

KINDS = ("campaign", "broadcast", "newsletter", "transactional")
CHANNELS = ("email", "push", "sms", "whatsapp", "in_app", "slack", "webhook")

_messages = Table(
    "customerio_messages",
    metadata,
    Column("kind", String, primary_key=True),
    Column("id", Integer, primary_key=True),
    Column("body", String, nullable=False),
)


@dataclass(frozen=True)
class Message:
    """One message of a workspace; see messages.yaml for the members."""

    kind: str
    id: int
    channel: str
    name: str = ""
    action_id: int | None = None
    content_id: int | None = None
    trigger: str | None = None
    recipient: str | None = None
    subject: str = ""
    content: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Message:
        return cls(**{**given, "links": tuple(given.get("links", ()))})


@cache
def _preset() -> Mapping[tuple[str, int], Mapping[str, Any]]:
    rows = yaml.safe_load(Path(__file__).with_name("messages.yaml").read_text("utf-8"))
    return {(row["kind"], row["id"]): row for row in rows}


def every(conn: Connection) -> list[Message]:
    """All messages: those of a new workspace and those put in since."""
    own = {(row.kind, row.id): orjson.loads(row.body) for row in conn.execute(select(_messages))}
    return [Message.of(each) for _, each in sorted({**_preset(), **own}.items())]


def one(conn: Connection, kind: str, number: int) -> Message | None:
    """The message of this kind and id."""
    return next((each for each in every(conn) if each.kind == kind and each.id == number), None)


def triggered(conn: Connection, kind: str, trigger: str) -> list[Message]:
    """The messages that an event sends, or the transactional message of a name."""
    return [each for each in every(conn) if each.kind == kind and each.trigger == trigger]


def put(conn: Connection, given: Mapping[str, Any]) -> None:
    """Add a message, or change the one of the same kind and id."""
    row = (given["kind"], given["id"], orjson.dumps(given).decode())
    upsert_rows(conn, _messages, ("kind", "id", "body"), [row], ("kind", "id"))


def shown(message: Message) -> dict[str, Any]:
    """A message for the control API."""
    plain = {name: getattr(message, name) for name in Message.__dataclass_fields__}
    return {name: list(value) if name == "links" else value for name, value in plain.items() if value not in (None, "")}
