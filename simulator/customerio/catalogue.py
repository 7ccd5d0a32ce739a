"""The catalogue of reports: object types, metrics, the keys of their data, and the names that webhooks select.

Source: Customer.io's OpenAPI document of reporting webhooks; Customer.io docs, App API, reporting webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from simulator.openapi import contract

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
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("catalogue.yaml").read_text("utf-8"))
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
        for object_type, metrics in _loaded().items()
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


@cache
def _envelope() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(contract("customerio_report"))


def unfit(report: Mapping[str, Any]) -> str | None:
    """Why a report does not have the documented shape, in words; None when it does."""
    pair = pair_of(report)
    if pair is None:
        return "object_type and metric are no pair that Customer.io reports"
    for error in _envelope().iter_errors(report):
        where = ".".join(str(each) for each in error.instance_path)
        return f"{where or 'report'}: {error.message[:300]}"
    data = report["data"]
    if pair.by_message and "delivery_id" not in data:
        return "data.delivery_id is missing"
    for key in pair.needs:
        if key not in data:
            return f"data.{key} is missing"
    strange = sorted(set(data) & set(_own_keys()) - {*pair.needs, *pair.may})
    if strange:
        return f"data.{strange[0]} does not belong to {pair.object_type} {pair.metric}"
    if any(not set(pair.each) <= set(item) for item in data.get("recipients", ())):
        return f"data.recipients: each has {' and '.join(pair.each)}"
    return None


@cache
def _own_keys() -> frozenset[str]:
    """Keys that belong to pairs, in contrast to those of every report and every origin."""
    return frozenset(key for pair in pairs().values() for key in (*pair.needs, *pair.may))
