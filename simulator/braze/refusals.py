"""The refusals of Braze's REST API, read from one table with their words, statuses and sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from simulator.exchange import Answer, Reason


@dataclass(frozen=True)
class Refusal:
    """One row of the table. ``field`` is the member of the body that carries the words."""

    name: str
    status: int
    text: str
    field: str
    source: str


@cache
def table() -> Mapping[str, Refusal]:
    """All refusals by name."""
    rows = yaml.safe_load(Path(__file__).with_name("refusals.yaml").read_text("utf-8"))
    return {
        name: Refusal(name, row["status"], row["text"], row.get("field", "message"), row["source"])
        for name, row in rows.items()
    }


def refuse(
    name: str,
    headers: Mapping[str, str] | None = None,
    *,
    status: int | None = None,
    more: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
    **words: str,
) -> Answer:
    """The answer of a refusal by its name in the table.

    :param status: in place of the table's, where a setting decides.
    :param more: further members of the body, such as ``errors``.
    :param detail: figures for the explanation.
    :param words: what stands in the braces of the text.
    """
    row = table()[name]
    text = row.text
    for word, value in words.items():
        text = text.replace("{" + word + "}", value)  # not str.format: values come from the caller and may hold braces
    why = Reason(name, text, row.source, detail or {})
    return Answer(status or row.status, {**(more or {}), row.field: text}, headers or {}, why=(why,))
