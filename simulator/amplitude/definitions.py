"""What the definition of a computed cohort means: the people it picks, as one SQL query over what is stored.

``{"andClauses": [{"negated": bool, "orClauses": [clause, …]}]}``: everybody for whom each and-clause holds. A clause is
``{"type": "event", "event_type", "at_least", "within_days", "where"}``, ``{"type": "active", "within_days"}`` or
``{"type": "user_property", "property", "op", "values"}``; see ``contracts/amplitude_cohort_definition.json``.

Source: Amplitude docs, Behavioral Cohorts API (the envelope); Dashboard REST API, Segment definition (operators). How
the clauses are written is our own: Amplitude's inner form is not published.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson
from jsonschema.exceptions import best_match
from sqlalchemy import ColumnElement, Select, and_, func, select, union

from simulator.amplitude import tables
from simulator.amplitude.segments import OPERATORS, Invalid
from simulator.dialect import json_text

DAY_MS = 86_400_000
_SCHEMA = Path(__file__).parent.parent / "contracts" / "amplitude_cohort_definition.json"


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(orjson.loads(_SCHEMA.read_bytes()))


def check(definition: Any) -> None:
    """Raise ValueError, in one line that names the place, when a definition does not fit."""
    error = best_match(_validator().iter_errors(definition))
    if error is not None:
        place = ".".join(["definition", *(str(each) for each in error.absolute_path)])
        raise ValueError(f"{place}: {error.message[:200]}")
    try:
        people(definition, 0)
    except Invalid as invalid:
        raise ValueError(f"definition: {invalid}") from None


def shown(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The definition in the envelope in which the cohort list gives it out."""
    return {
        "version": 3,
        "countGroup": {"name": "User", "is_computed": False},
        "cohortType": "UNIQUES",
        "andClauses": [{"negated": each.get("negated", False), **each} for each in definition["andClauses"]],
        "orClauses": [],
        "referenceFrameTimeParams": {},
    }


@cache
def everybody() -> Select[Any]:
    """Every person of the project by the Amplitude ID that is theirs by now: each was seen on a device."""
    devices = tables.devices.c
    found = union(
        select(devices.own_id.label("person")).where(devices.own_id.is_not(None)),
        select(devices.user_amplitude_id.label("person")).where(devices.user_amplitude_id.is_not(None)),
    )
    return select(found.subquery("everybody").c.person)


def people(definition: Mapping[str, Any], now_ms: int) -> Select[Any]:
    """The Amplitude IDs of everybody whom a definition picks at ``now_ms``; somebody merged counts once."""
    every = everybody().subquery("people")
    conditions = []
    for clause in definition["andClauses"]:
        picked = union(*(_picked(each, now_ms) for each in clause["orClauses"])).subquery()
        inside = every.c.person.in_(select(picked.c[0]))
        conditions.append(~inside if clause.get("negated") else inside)
    return select(every.c.person).where(*conditions)


def people_of_events() -> tuple[Any, ColumnElement[Any]]:
    """Events joined with what their ids were merged into, and the person that each belongs to by now.

    Rows are never rewritten: what belongs to an id that was merged away is found through the merge table.
    """
    events, merges = tables.events, tables.merges
    joined = events.outerjoin(merges, merges.c.amplitude_id == events.c.amplitude_id)
    return joined, func.coalesce(merges.c.merged_amplitude_id, events.c.amplitude_id)


def events_of(clause: Mapping[str, Any], now_ms: int) -> list[ColumnElement[bool]]:
    """Which events a clause counts: its type, its last days, its conditions on event properties."""
    events = tables.events
    wanted: list[ColumnElement[bool]] = []
    if "within_days" in clause:
        wanted += [events.c.time_ms > now_ms - clause["within_days"] * DAY_MS, events.c.time_ms <= now_ms]
    if clause["type"] == "event":
        wanted.append(events.c.event_type == clause["event_type"])
        for each in clause.get("where", ()):
            wanted.append(_condition(json_text(events.c.event, f'$.event_properties."{each["property"]}"'), each))
    return wanted


def _picked(clause: Mapping[str, Any], now_ms: int) -> Select[Any]:
    if clause["type"] == "user_property":
        return _by_property(clause)
    joined, person = people_of_events()
    query = select(person.label("person")).select_from(joined).where(*events_of(clause, now_ms)).group_by(person)
    return query.having(func.count() >= clause.get("at_least", 1))


def _by_property(clause: Mapping[str, Any]) -> Select[Any]:
    every, held = everybody().subquery("owners"), tables.properties
    joined = every.outerjoin(held, held.c.amplitude_id == every.c.person)
    value = json_text(held.c.properties, f'$."{clause["property"]}"')
    return select(every.c.person).select_from(joined).where(_condition(value, clause))


def _condition(value: ColumnElement[Any], given: Mapping[str, Any]) -> ColumnElement[bool]:
    if given["op"] == "is set":
        return value.is_not(None)
    if given["op"] == "is not set":
        return value.is_(None)
    texts = [each if isinstance(each, str) else orjson.dumps(each).decode() for each in given["values"]]
    return and_(OPERATORS[given["op"]](value, texts))
