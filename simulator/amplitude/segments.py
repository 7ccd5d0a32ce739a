"""Segment definitions of the dashboard API: ``[{"prop", "op", "values"}]`` as conditions on stored events.

Source: Amplitude docs, Dashboard REST API, Segment definition. How an operator treats somebody without the
property, and arrays, is inferred: a negation holds, and an array is compared element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, and_, false, func, not_, or_, select

from simulator.amplitude import tables
from simulator.amplitude.cohort_tables import members
from simulator.dialect import as_real, json_text, position
from simulator.store import json_set

NONE = "(none)"
COHORT = "userdata_cohort"
MAX_VALUES, MAX_CONDITIONS = 100, 50
"""More than these are refused (inferred): the database nests conditions only so deep."""
BUILT_IN: Mapping[str, str] = {
    **{name: name for name in ("country", "region", "city", "dma", "language", "platform", "carrier")},
    "version": "app_version",
    "os": "os_name",
    "device": "device_model",
}
"""Segment properties that events carry, by their field there."""


class Invalid(ValueError):
    """The definition does not fit; the text says why."""


def column(prop: str) -> ColumnElement[Any]:
    """The value of a property on an event, as text: one of :data:`BUILT_IN`, an id, or ``gp:<user property>``."""
    events = tables.events
    if prop in ("user_id", "device_id"):
        return events.c[prop]
    if prop in BUILT_IN:
        return json_text(events.c.event, f"$.{BUILT_IN[prop]}")
    if prop.startswith("gp:") and len(prop) > 3 and '"' not in prop and len(prop) < 1024:
        return json_text(events.c.user_properties, f'$."{prop[3:]}"')
    raise Invalid(f"Invalid user property {prop}")


def _any_of(value: ColumnElement[Any], values: list[str]) -> ColumnElement[bool]:
    plain = value.in_(json_set(each for each in values if each != NONE))
    elements = or_(*(_holds(value, each) for each in values if each != NONE)) if values != [NONE] else plain
    missing = value.is_(None) if NONE in values else plain
    return func.coalesce(or_(plain, elements, missing), false())


def _holds(value: ColumnElement[Any], element: str) -> ColumnElement[bool]:
    """Whether a stored array has this element: arrays are compared by their JSON text."""
    return and_(func.substr(value, 1, 1) == "[", position(value, orjson.dumps(element).decode()) > 0)


def _containing(value: ColumnElement[Any], values: list[str]) -> ColumnElement[bool]:
    found = or_(*(position(func.lower(value), each.lower()) > 0 for each in values))
    return func.coalesce(found, false())


def _all_of(value: ColumnElement[Any], values: list[str]) -> ColumnElement[bool]:
    return func.coalesce(and_(*(or_(value == each, _holds(value, each)) for each in values)), false())


def _number(values: list[str]) -> float:
    try:
        return float(values[0])
    except ValueError as error:
        raise Invalid(f"Invalid value {values[0]}: this operator compares numbers") from error


def _order(compare: Callable[[Any, float], ColumnElement[bool]]) -> Callable[[Any, list[str]], ColumnElement[bool]]:
    return lambda value, values: and_(value.is_not(None), compare(as_real(value), _number(values)))


OPERATORS: Mapping[str, Callable[[Any, list[str]], ColumnElement[bool]]] = {
    "is": _any_of,
    "is not": lambda value, values: not_(_any_of(value, values)),
    "contains": _containing,
    "does not contain": lambda value, values: not_(_containing(value, values)),
    "less": _order(lambda value, number: value < number),
    "less or equal": _order(lambda value, number: value <= number),
    "greater": _order(lambda value, number: value > number),
    "greater or equal": _order(lambda value, number: value >= number),
    "set is": _all_of,
    "set is not": lambda value, values: not_(_all_of(value, values)),
}


def parse(text: str) -> list[ColumnElement[bool]]:
    """The conditions of ``s``, all of which have to hold; Invalid when it is no segment definition."""
    if not text:
        return []
    try:
        given = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid("Invalid segment definition") from error
    if not isinstance(given, list) or len(given) > MAX_CONDITIONS:
        raise Invalid("Invalid segment definition")
    return [_condition(each) for each in given]


def _condition(given: Any) -> ColumnElement[bool]:
    if not isinstance(given, dict) or not isinstance(given.get("prop"), str):
        raise Invalid("Invalid segment definition")
    values = given.get("values")
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_VALUES:
        raise Invalid(f"Invalid segment definition: values is a list of 1 to {MAX_VALUES}")
    if not all(isinstance(each, str | int | float) for each in values):
        raise Invalid("Invalid segment definition: values are texts or numbers")
    operator = given.get("op")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise Invalid(f"Invalid operator {operator}")
    texts = [each if isinstance(each, str) else orjson.dumps(each).decode() for each in values]
    if given["prop"] == COHORT:
        if operator not in ("is", "is not"):
            raise Invalid(f"Invalid operator {operator}")
        inside = select(members.c.amplitude_id).where(members.c.cohort_id.in_(json_set(texts)))
        # Whoever is a member has the events of the ids merged into theirs; an id with a user is never merged itself.
        merged = select(tables.merges.c.amplitude_id).where(tables.merges.c.merged_amplitude_id.in_(inside))
        found = or_(tables.events.c.amplitude_id.in_(inside), tables.events.c.amplitude_id.in_(merged))
        return found if operator == "is" else not_(found)
    return OPERATORS[operator](column(given["prop"]), texts)
