"""The refusals of Customer.io's APIs, read from one table with their words, statuses and sources."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from simulator.exchange import Answer, Reason


@cache
def table() -> Mapping[str, Mapping[str, Any]]:
    """All refusals by name."""
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("refusals.yaml").read_text("utf-8"))
    return loaded


def refuse(name: str, problem: str = "", detail: Mapping[str, Any] | None = None) -> Answer:
    """The answer of a refusal by its name; ``problem`` stands where the words leave room for it."""
    row = table()[name]
    text = row["text"].replace("{problem}", problem)
    status = row["status"]
    bodies: Mapping[str, Any] = {
        "error": {"meta": {"error": text}},
        "errors": {"meta": {"errors": [text]}},
        "list": {"errors": [{"detail": text, "status": str(status)}]},
    }
    why = Reason(name, text, row["source"], detail or {})
    return Answer(status, bodies[row["shape"]], why=(why,))
