"""Query parameters of the messaging lists and figures, and the frame of their answers."""

from __future__ import annotations

from typing import Any

from simulator.braze import dates
from simulator.exchange import Answer, Call, Reason


class BadQuery(Exception):
    """A query parameter that does not fit."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


def query_text(call: Call, name: str, default: str = "") -> str:
    """A parameter of the query, or its default."""
    return call.request.query.get(name, [default])[0]


def query_integer(call: Call, name: str, low: int, high: int, default: int) -> int:
    """A whole number of the query. Raises BadQuery."""
    text = query_text(call, name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise BadQuery(name)
    return int(text)


def query_moment(call: Call, name: str, default_ms: int) -> int:
    """An instant of the query in ms. Raises BadQuery."""
    text = query_text(call, name)
    at_ms = dates.instant(text) if text else default_ms
    if at_ms is None:
        raise BadQuery(name)
    return at_ms


def answered(body: dict[str, Any], source: str) -> Answer:
    """200 with what was found; ``source`` is the page of the endpoint."""
    return Answer(
        200, {**body, "message": "success"}, why=(Reason("read", "as it is stored", f"Braze docs, {source}"),)
    )
