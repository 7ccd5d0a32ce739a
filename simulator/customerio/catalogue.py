"""The catalogue of reports: object types, metrics, the keys of their data, and the names that webhooks select.

Source: Customer.io's OpenAPI document of reporting webhooks; Customer.io docs, App API, reporting webhooks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPEATED = ("opened", "clicked")
"""Metrics of which a webhook without full resolution gets the first per person and message only."""


@dataclass(frozen=True)
class Pair:
    """One object type with one metric.

    :param needs: keys of ``data`` that it always has; :param may: keys it can have besides.
    :param each: keys of every item of ``recipients`` besides its token.
    :param name: what webhooks select it by; None when no name is documented.
    :param by_message: whether only a message can cause it.
    :param schema: whether its shape is documented.
    """

    object_type: str
    metric: str
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    name: str | None = None
    by_message: bool = True
    schema: bool = True


@cache
def _loaded() -> Mapping[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("catalogue.yaml").read_text("utf-8"))
    return loaded


@cache
def pairs() -> Mapping[tuple[str, str], Pair]:
    """Every pair by ``(object_type, metric)``."""
    return {
        (object_type, metric): Pair(
            object_type,
            metric,
            tuple(row.get("needs", ())),
            tuple(row.get("may", ())),
            tuple(row.get("each", ())),
            row.get("name", f"{object_type}_{metric}"),
            row.get("origin", "always") == "always",
            row.get("schema", True),
        )
        for object_type, metrics in _loaded()["pairs"].items()
        for metric, row in metrics.items()
    }


@cache
def names() -> tuple[str, ...]:
    """The names that a webhook can select, in the order of the catalogue."""
    return tuple(dict.fromkeys(each.name for each in pairs().values() if each.name is not None))


def pair_of(report: object) -> Pair | None:
    """The pair of a report; None when it is none that Customer.io makes."""
    if not isinstance(report, Mapping):
        return None
    object_type, metric = report.get("object_type"), report.get("metric")
    return pairs().get((object_type, metric)) if isinstance(object_type, str) and isinstance(metric, str) else None


def selected(events: object) -> tuple[str, ...] | None:
    """The selected names, None for all. Raises ValueError in one line for a name that is not documented."""
    if events == "all":
        return None
    if not isinstance(events, list | tuple):
        raise ValueError(f'events {events!r} is no selection: give "all" or a list of names like email_sent')
    for each in events:
        if each not in names():
            raise ValueError(f"event {each!r} is unknown: names are like email_sent or push_opened")
    return tuple(dict.fromkeys(events))


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "string?": lambda value: value is None or isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "integer?": lambda value: value is None or (isinstance(value, int) and not isinstance(value, bool)),
    "boolean": lambda value: isinstance(value, bool),
    "headers": lambda value: (
        isinstance(value, dict) and all(isinstance(each, list) and each for each in value.values())
    ),
    "recipients": lambda value: isinstance(value, list) and bool(value) and all(map(_is_recipient, value)),
}


def _is_recipient(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("device_id"), str)
        and value.get("device_platform", "ios") in ("ios", "android")
        and set(value) <= {"device_id", "device_platform", "failure_message"}
    )


def unfit(report: Mapping[str, Any]) -> str | None:
    """Why a report does not have the documented shape, in words; None when it does."""
    pair = pair_of(report)
    if pair is None:
        return f"{report.get('object_type')!r} has no metric {report.get('metric')!r}"
    if set(report) != {"event_id", "object_type", "metric", "timestamp", "data"}:
        return "a report has event_id, object_type, metric, timestamp and data"
    if not isinstance(report["event_id"], str) or not _KINDS["integer"](report["timestamp"]):
        return "event_id is text and timestamp whole seconds"
    data = report["data"]
    if not isinstance(data, dict) or not isinstance(data.get("identifiers"), dict):
        return "data is an object with identifiers"
    return _unfit_data(pair, data)


def _unfit_data(pair: Pair, data: Mapping[str, Any]) -> str | None:
    kinds: dict[str, str] = {"identifiers": "object", "customer_id": "string"}
    block = _origin(data)
    if block is None and (pair.by_message or "delivery_id" in data):
        return "data names exactly one origin: broadcast, campaign, newsletter or transactional message"
    known = {**kinds, **_loaded()["keys"]}
    needs = list(pair.needs)
    allowed = {*kinds, *pair.needs, *pair.may}
    if block is not None:
        known |= {**block["needs"], **block["may"]}
        needs += block["needs"]
        allowed |= {*block["needs"], *block["may"]}
    for key in needs:
        if key not in data:
            return f"data.{key} is missing"
    for key, value in data.items():
        if key not in allowed:
            return f"data.{key} does not belong to {pair.object_type} {pair.metric}"
        if known[key] in _KINDS and not _KINDS[known[key]](value):
            return f"data.{key} is no {known[key]}"
    for item in data.get("recipients", ()):
        if not set(pair.each) <= set(item):
            return f"data.recipients: each has {' and '.join(pair.each)}"
    return None


def _origin(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    marks = {
        "broadcast": "trigger_id",
        "campaign": "campaign_id",
        "newsletter": "newsletter_id",
        "transactional": "transactional_message_id",
    }
    found = [name for name, key in marks.items() if key in data]
    blocks: Mapping[str, Any] = _loaded()["origins"]
    return blocks[found[0]] if len(found) == 1 else None
