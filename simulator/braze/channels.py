"""The channels of messages, read from one table: what a message needs, whom it reaches, what may follow.

Source: Braze docs, Messaging objects; Errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml

from simulator.braze import templates

VERBATIM = frozenset({"app_id", "message_variation_id", "subscription_group_id", "email_template_id", "type"})
"""Members of a message that are no templates."""


@dataclass(frozen=True)
class Channel:
    """One channel. ``required`` lists groups of members of which one each has to be there; ``reactions`` are the
    Currents events of what a person can do, by word."""

    name: str
    family: str
    reach: str
    statistic: str
    required: tuple[tuple[str, ...], ...]
    reactions: Mapping[str, str]
    platforms: tuple[str, ...] = ()
    longest: Mapping[str, Any] = field(default_factory=dict)


@cache
def channels() -> Mapping[str, Channel]:
    """All channels by their member of a ``messages`` object."""
    loaded = yaml.safe_load(Path(__file__).with_name("channels.yaml").read_text("utf-8"))
    return {
        name: Channel(
            name,
            row["family"],
            row["reach"],
            row["statistic"],
            tuple(tuple(group) for group in row["required"]),
            row["reactions"],
            tuple(row.get("platforms", ())),
            row.get("longest", {}),
        )
        for name, row in loaded.items()
    }


def unfit(channel: Channel, message: Any) -> str | None:
    """The refusal that a message meets, by its name in the table of refusals; None when it is fine."""
    if not isinstance(message, dict) or not message:
        return "no_message"
    if channel.reach == "push" and not isinstance(message.get("extra", {}), dict):
        return "extra_push_payload"
    if not all(any(message.get(name) not in (None, "") for name in group) for group in channel.required):
        return "no_message"
    if not channel.longest:
        return None
    value = message.get(channel.longest["member"], "")
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    size = len(text) if channel.reach == "app" else len(text.encode("utf-8", "surrogatepass"))
    return str(channel.longest["refusal"]) if size > channel.longest["limit"] else None


def texts(message: Any, name: str = "") -> list[str]:
    """Every text of a message that is a template."""
    if isinstance(message, str):
        return [] if name in VERBATIM else [message]
    if isinstance(message, Mapping):
        return [text for key, value in message.items() for text in texts(value, key)]
    if isinstance(message, list):
        return [text for value in message for text in texts(value)]
    return []


def liquid_problem(message: Any) -> str | None:
    """What is wrong with the Liquid of a message; None when all of it can be read."""
    return next((found for text in texts(message) if (found := templates.problem(text)) is not None), None)
