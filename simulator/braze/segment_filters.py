"""The filters of segments as SQL over the stored profiles: each is one condition, whatever the number of people.

The shape is the connected audience object's, which is the only form of filters that Braze publishes, with ``NOT``
and the further filters of its dashboard; see ``contracts/braze_segment_definition.json``. Source: Braze docs,
Connected audience object; Analytics (segmentation options of events and purchases); Segmentation filters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import orjson
from jsonschema.exceptions import best_match
from sqlalchemy import ColumnElement, and_, case, false, func, literal, not_, or_, select

from simulator.braze import cohort_blocks, email_tables
from simulator.braze.comparisons import DAY_MS, ORDERS, Condition, Invalid, Sight, Test, compared, equals, exists, span
from simulator.braze.user_tables import activity
from simulator.braze.user_tables import profiles as p
from simulator.dialect import json_integer, json_members, json_number, json_size, json_text

MAX_DEPTH, MAX_FILTERS = 8, 200
"""Deeper or longer definitions are refused (inferred): the database nests conditions only so deep."""


@cache
def _validators() -> tuple[Any, Any]:
    path = Path(__file__).parent.parent / "contracts" / "braze_segment_definition.json"
    schema = orjson.loads(path.read_bytes())
    return jsonschema_rs.Draft202012Validator(schema), jsonschema.Draft202012Validator(schema)


def check(definition: Any) -> None:
    """Raise Invalid when this is no definition: its shape, its size, its regular expressions and its dates."""
    if _measure(definition, 1) > MAX_FILTERS:
        raise Invalid(f"definition: more than {MAX_FILTERS} filters")
    fast, slow = _validators()
    if not fast.is_valid(definition):
        error = best_match(slow.iter_errors(definition))
        where = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.absolute_path)
        raise Invalid(f"definition{where}: {error.message[:200]}")
    where_(definition, Sight(0))


def _measure(node: Any, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise Invalid(f"definition: groups are nested more than {MAX_DEPTH} deep")
    if not isinstance(node, dict):
        return 1
    below = [node["NOT"]] if "NOT" in node else [*_list(node.get("AND")), *_list(node.get("OR"))]
    return max(1, sum(_measure(each, depth + 1) for each in below))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def where_(node: Mapping[str, Any], sight: Sight) -> Condition:
    """The condition of a checked definition on a row of the profiles' table."""
    kind, given = next(iter(node.items()))
    if kind == "AND":
        return and_(*(where_(each, sight) for each in given))
    if kind == "OR":
        return or_(*(where_(each, sight) for each in given))
    if kind == "NOT":
        return not_(where_(given, sight))
    return _FILTERS[kind](given, sight)


# -- values of attributes


def _attribute(path: str, keys: list[str], test: Test) -> Condition:
    """Whether the member of ``data`` below ``path`` has a value that passes. Names are compared as values, since
    they may hold anything that a JSON path gives a meaning."""
    each = json_members(p.c.data, path, "each_0")
    query = select(literal(1)).select_from(each).where(each.c.key == keys[0]).correlate(p)
    for number, key in enumerate(keys[1:], 1):
        inside = case((each.c.type == "object", each.c.value), else_="{}")
        each = json_members(inside, name=f"each_{number}")
        query = query.join(each, literal(1) == 1).where(each.c.key == key)
    return query.where(each.c.type != "null", test(each.c.type, each.c.value)).exists()


def _custom(given: Mapping[str, Any], sight: Sight) -> Condition:
    keys = [given["custom_attribute_name"], *given.get("path", ())]
    return compared(given, sight, lambda test: _attribute("$.custom", keys, test))


def _standard(given: Mapping[str, Any], sight: Sight) -> Condition:
    return compared(given, sight, lambda test: _attribute("$.standard", [given["name"]], test))


def _external_id(given: Mapping[str, Any], sight: Sight) -> Condition:
    return compared(
        given, sight, lambda test: and_(p.c.external_id.is_not(None), test(literal("text"), p.c.external_id))
    )


# -- figures, counts and instants


def _figure(path: str) -> Callable[[Mapping[str, Any], Sight], Condition]:
    def condition(given: Mapping[str, Any], _sight: Sight) -> Condition:
        found: Condition = ORDERS[given["comparison"]](func.coalesce(json_number(p.c.data, path), 0), given["value"])
        return found

    return condition


def _tally(path: str, name: str, index: int) -> ColumnElement[Any]:
    """``first ms``, ``last ms`` or ``count`` of an event or product, NULL when there is none."""
    each = json_members(p.c.data, path, "tally")
    query = select(json_integer(each.c.value, f"$[{index}]")).select_from(each).where(each.c.key == name)
    return query.correlate(p).scalar_subquery()


def _counted(kind: str, path: str, name_of: str) -> Callable[[Mapping[str, Any], Sight], Condition]:
    def condition(given: Mapping[str, Any], sight: Sight) -> Condition:
        name, value = given.get(name_of), given["value"]
        if "days" in given:
            return _recent(kind, name, given["comparison"], value, sight.now_ms - given["days"] * DAY_MS)
        held = json_integer(p.c.data, "$.stats.purchases") if name is None else _tally(path, name, 2)
        found: Condition = ORDERS[given["comparison"]](func.coalesce(held, 0), value)
        return found

    return condition


def _recent(kind: str, name: str | None, comparison: str, value: int, since_ms: int) -> Condition:
    """So often since an instant. Who never did it is in no group, so what takes 0 is asked the other way round."""
    a = activity.c
    times = func.count() if kind == "event" else func.sum(func.coalesce(json_integer(a.detail, "$.quantity"), 1))
    query = select(a.uid).where(a.kind == kind, a.time_ms > since_ms).group_by(a.uid)
    if name is not None:
        query = query.where(a.name == name)
    compare = ORDERS[comparison]
    if compare(0, value):
        return p.c.uid.not_in(query.having(not_(compare(times, value))))
    return p.c.uid.in_(query.having(compare(times, value)))


def _instant(
    held: Callable[[Mapping[str, Any]], ColumnElement[Any]],
) -> Callable[[Mapping[str, Any], Sight], Condition]:
    def condition(given: Mapping[str, Any], sight: Sight) -> Condition:
        low, high = span(given["comparison"], given["value"], sight.now_ms)
        at_ms = held(given)
        return func.coalesce(and_(at_ms > low, at_ms < high), false())

    return condition


def _app(given: Mapping[str, Any], first: bool) -> ColumnElement[Any]:
    if "app" not in given:
        return json_integer(p.c.data, f"$.stats.{'first' if first else 'last'}_session_ms")
    each = json_members(p.c.data, "$.apps", "app")
    member = f"$.{'first' if first else 'last'}_ms"
    query = select(json_integer(each.c.value, member)).select_from(each).where(each.c.key == given["app"])
    return query.correlate(p).scalar_subquery()


def _purchase_time(given: Mapping[str, Any], first: bool) -> ColumnElement[Any]:
    if "product_id" in given:
        return _tally("$.purchases", given["product_id"], 0 if first else 1)
    return json_integer(p.c.data, f"$.stats.{'first' if first else 'last'}_purchase_ms")


# -- states


def _state(name: str) -> Callable[[Mapping[str, Any], Sight], Condition]:
    def condition(given: Mapping[str, Any], _sight: Sight) -> Condition:
        held = func.coalesce(json_text(p.c.data, f"$.standard.{name}"), "subscribed")
        found: Condition = held == given["value"]
        return found if given["comparison"] == "is" else not_(found)

    return condition


def _group(given: Mapping[str, Any], sight: Sight) -> Condition:
    positive = _attribute("$.subscriptions", [given["subscription_group_id"]], equals(given["value"]))
    if given["comparison"] == "is":
        return positive
    has = _attribute("$.subscriptions", [given["subscription_group_id"]], exists)
    return not_(positive) if sight.negation_holds else and_(has, not_(positive))


def _push_enabled(given: Mapping[str, Any], _sight: Sight) -> Condition:
    able = and_(
        func.coalesce(json_size(p.c.data, "$.tokens"), 0) > 0,
        func.coalesce(json_text(p.c.data, "$.standard.push_subscribe"), "subscribed") != "unsubscribed",
    )
    return able if given["value"] else not_(able)


def _email_available(given: Mapping[str, Any], _sight: Sight) -> Condition:
    able = and_(
        json_text(p.c.data, "$.standard.email").is_not(None),
        func.coalesce(json_text(p.c.data, "$.standard.email_subscribe"), "subscribed") != "unsubscribed",
        json_text(p.c.data, "$.standard.email").not_in(email_tables.suppressed()),
    )
    able = func.coalesce(able, false())
    return able if given["value"] else not_(able)


def _cohort(given: Mapping[str, Any], _sight: Sight) -> Condition:
    inside = cohort_blocks.inside(p.c.uid, given["partner"], given["cohort_id"])
    return inside if given["comparison"] == "is" else not_(inside)


_FILTERS: Mapping[str, Callable[[Mapping[str, Any], Sight], Condition]] = {
    "custom_attribute": _custom,
    "standard_attribute": _standard,
    "external_id": _external_id,
    "random_bucket": _figure("$.random_bucket"),
    "money_spent": _figure("$.stats.revenue"),
    "session_count": _figure("$.stats.sessions"),
    "custom_event": _counted("event", "$.events", "event_name"),
    "purchase": _counted("purchase", "$.purchases", "product_id"),
    "first_custom_event": _instant(lambda given: _tally("$.events", given["event_name"], 0)),
    "last_custom_event": _instant(lambda given: _tally("$.events", given["event_name"], 1)),
    "first_purchase": _instant(lambda given: _purchase_time(given, True)),
    "last_purchase": _instant(lambda given: _purchase_time(given, False)),
    "first_used_app": _instant(lambda given: _app(given, True)),
    "last_used_app": _instant(lambda given: _app(given, False)),
    "push_subscription_status": _state("push_subscribe"),
    "email_subscription_status": _state("email_subscribe"),
    "subscription_group": _group,
    "push_enabled": _push_enabled,
    "email_available": _email_available,
    "partner_cohort": _cohort,
}
