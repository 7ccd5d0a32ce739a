"""Segments against a naive model: walk through everybody and evaluate the definition in plain Python.

People come in over the REST API, the SDK and cohort import; the model has the same people as plain dicts and shares
nothing with the simulator. Source: Braze docs, Connected audience object; Analytics; Segmentation filters.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.braze import sdk, segments

DAY_MS = 86_400_000
NAMES = ["plan", 'a"b', "x.y", "größe", "when", "tags", "home"]
TEXTS = ["gold", "silver", "", "a'b", "100%"]
NUMBERS = [0, 1, -3, 2.5, 10**12]
DATES = ["2026-01-01", "2026-10-20T10:00:00Z", "1999-12-31T23:59:59.999Z"]
EVENTS = ["opened", 'he said "hi"', "paid"]
PRODUCTS = ["sku-1", "sku-2"]
GROUPS = ["6b9bdc4b-8a5b-4a0e-9d6e-2c6a3f3c0001", "6b9bdc4b-8a5b-4a0e-9d6e-2c6a3f3c0002"]
COHORTS = ["c1", "c2"]
STATES = ["opted_in", "subscribed", "unsubscribed"]
PEOPLE = 40


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(6 if depth == 0 else 3)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return rng.choice(NUMBERS)
    if kind == 2:
        return rng.random() < 0.5
    if kind == 3:
        return rng.choice(DATES)
    if kind == 4:
        return list(dict.fromkeys(rng.choice([*TEXTS, "red"]) for _ in range(rng.randrange(4))))
    return {name: _value(rng, 1) for name in ("city", 'q"') if rng.random() < 0.7}


def _person(rng: random.Random, number: int, now_ms: int) -> dict[str, Any]:
    """What the model knows of somebody; instants in ms."""
    custom = {name: _value(rng) for name in NAMES if rng.random() < 0.5}
    standard = {"email": f"p{number}@example.com"} if rng.random() < 0.7 else {}
    if rng.random() < 0.4:
        standard["country"] = rng.choice(["DE", "FR"])
    for name in ("email_subscribe", "push_subscribe"):
        if rng.random() < 0.4:
            standard[name] = rng.choice(STATES)
    if rng.random() < 0.3:
        standard["dob"] = rng.choice(["1980-05-05", "2001-01-01"])
    times = [now_ms - rng.randrange(60 * DAY_MS) // 1000 * 1000 for _ in range(4)]
    return {
        "id": f"user-{number}",
        "custom": custom,
        "standard": standard,
        "events": [(rng.choice(EVENTS), rng.choice(times)) for _ in range(rng.choice([0, 0, 1, 3, 6]))],
        "purchases": [
            (rng.choice(PRODUCTS), rng.choice(times), rng.choice([1, 2]), 4.25) for _ in range(rng.choice([0, 0, 1, 3]))
        ],
        "groups": {each: rng.choice(["subscribed", "unsubscribed"]) for each in GROUPS if rng.random() < 0.4},
        "token": rng.random() < 0.3,
        "cohorts": {each for each in COHORTS if rng.random() < 0.3},
        "sessions": rng.choice([0, 0, 1, 3]),
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def _load(workspace: Any, people: list[dict[str, Any]]) -> None:
    for each in people:
        one = {"external_id": each["id"], **each["custom"], **each["standard"]}
        one["subscription_groups"] = [
            {"subscription_group_id": group, "subscription_state": state} for group, state in each["groups"].items()
        ]
        if each["token"]:
            one["push_tokens"] = [{"app_id": "app", "token": f"token-{each['id']}"}]
        events = [{"external_id": each["id"], "name": name, "time": _iso(at)} for name, at in each["events"]]
        purchases = [
            {
                "external_id": each["id"],
                "product_id": product,
                "currency": "USD",
                "price": price,
                "quantity": quantity,
                "time": _iso(at),
            }
            for product, at, quantity, price in each["purchases"]
        ]
        answer = workspace.track(attributes=[one], events=events, purchases=purchases)
        assert "errors" not in answer.json, answer.json
    for cohort in COHORTS:
        ids = [each["id"] for each in people if cohort in each["cohorts"]]
        workspace.cohort("cohorts/users", cohort_id=cohort, cohort_changes=[{"user_ids": ids}])
    now_ms = workspace.tank.clock.now_ms()
    with workspace.tank.store.write() as conn:
        for each in people:
            phone = {"device_id": f"phone-{each['id']}"}
            actions = [{"do": "change_user", "external_id": each["id"]}]
            actions += [{"do": "session_start", "app": "shop"}] * each["sessions"]
            each["seen"] = now_ms if each["sessions"] else None
            for action in actions if each["sessions"] else ():
                sdk.act(conn, workspace.tank, {**phone, **action}, now_ms)


# -- the model


def _moment(value: Any) -> int | None:
    """A stored date in ms, None for anything else."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d", value):
        return None
    moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _in_time(comparison: str, value: Any, at: int | None, now: int) -> bool:
    if at is None:
        return False
    if comparison in ("before", "after"):
        limit = _moment(value)
        assert limit is not None
        return at < limit if comparison == "before" else at > limit
    days = value * DAY_MS
    return {
        "less_than_x_days_ago": now - days < at <= now,
        "greater_than_x_days_ago": at < now - days,
        "less_than_x_days_in_the_future": now < at < now + days,
        "greater_than_x_days_in_the_future": at > now + days,
    }[comparison]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(held: Any, value: Any) -> bool:
    if isinstance(value, bool) or isinstance(held, bool):
        return held is value
    if isinstance(value, str):
        # A text that looks like a date is stored as one, so it is no longer the text.
        return isinstance(held, str) and _moment(held) is None and held == value
    return _is_number(held) and held == value


def _compare(test: dict[str, Any], has: bool, held: Any, now: int, strict: bool) -> bool:
    comparison, value = test["comparison"], test.get("value")
    if comparison in ("exists", "does_not_exist"):
        return has == (comparison == "exists")
    negative = {
        "not_equal": "equals",
        "does_not_equal": "equals",
        "does_not_match_regex": "matches_regex",
        "does_not_include_value": "includes_value",
    }
    if comparison in negative:
        if strict and not has:
            return False
        return not _compare({"comparison": negative[comparison], "value": value}, has, held, now, strict)
    if not has:
        return False
    if comparison == "equals":
        return _same(held, value)
    if comparison == "matches_regex":
        return isinstance(held, str) and _moment(held) is None and re.search(value, held) is not None
    if comparison == "includes_value":
        return isinstance(held, list) and any(_same(each, value) for each in held)
    if comparison.endswith(("_than", "_to")):
        ways: dict[str, Callable[[Any, Any], bool]] = {
            "greater_than": lambda a, b: a > b,
            "greater_than_or_equal_to": lambda a, b: a >= b,
            "less_than": lambda a, b: a < b,
            "less_than_or_equal_to": lambda a, b: a <= b,
        }
        return _is_number(held) and ways[comparison](held, value)
    return _in_time(comparison, value, _moment(held), now)


def _count(comparison: str, held: int, value: int) -> bool:
    return {"more_than": held > value, "less_than": held < value, "exactly": held == value}[comparison]


def _figure(test: dict[str, Any], held: float) -> bool:
    a, b = held, test["value"]
    return {
        "equals": a == b,
        "not_equal": a != b,
        "greater_than": a > b,
        "greater_than_or_equal_to": a >= b,
        "less_than": a < b,
        "less_than_or_equal_to": a <= b,
    }[test["comparison"]]


def _matches(node: dict[str, Any], who: dict[str, Any], now: int, strict: bool) -> bool:
    ((kind, test),) = node.items()
    if kind == "AND":
        return all(_matches(each, who, now, strict) for each in test)
    if kind == "OR":
        return any(_matches(each, who, now, strict) for each in test)
    if kind == "NOT":
        return not _matches(test, who, now, strict)
    is_ = test.get("comparison") == "is"
    if kind == "custom_attribute":
        held: Any = who["custom"]
        for key in [test["custom_attribute_name"], *test.get("path", [])]:
            if not isinstance(held, dict) or key not in held:
                return _compare(test, False, None, now, strict)
            held = held[key]
        return _compare(test, True, held, now, strict)
    if kind == "standard_attribute":
        return _compare(test, test["name"] in who["standard"], who["standard"].get(test["name"]), now, strict)
    if kind == "external_id":
        return _compare(test, True, who["id"], now, strict)
    if kind in ("custom_event", "purchase"):
        name = test.get("event_name", test.get("product_id"))
        done = [(each[0], each[1], 1) for each in who["events"]] if kind == "custom_event" else who["purchases"]
        since = now - test["days"] * DAY_MS if "days" in test else 0
        held = sum(each[2] for each in done if name in (None, each[0]) and each[1] > since)
        return _count(test["comparison"], held, test["value"])
    if kind in ("first_custom_event", "last_custom_event", "first_purchase", "last_purchase"):
        name = test.get("event_name", test.get("product_id"))
        done = who["events"] if kind.endswith("event") else who["purchases"]
        times = [each[1] for each in done if name in (None, each[0])]
        at = (min(times) if kind.startswith("first") else max(times)) if times else None
        return _in_time(test["comparison"], test["value"], at, now)
    if kind in ("first_used_app", "last_used_app"):
        at = who["seen"] if test.get("app", "shop") == "shop" else None
        return _in_time(test["comparison"], test["value"], at, now)
    if kind == "session_count":
        return _figure(test, who["sessions"])
    if kind == "money_spent":
        return _figure(test, sum(each[2] * each[3] for each in who["purchases"]))
    if kind in ("email_subscription_status", "push_subscription_status"):
        state = who["standard"].get(kind.split("_")[0] + "_subscribe", "subscribed")
        return (state == test["value"]) == is_
    if kind == "subscription_group":
        state = who["groups"].get(test["subscription_group_id"])
        if not is_ and strict and state is None:
            return False
        return (state == test["value"]) == is_
    if kind == "partner_cohort":
        return (test["partner"] == "amplitude" and test["cohort_id"] in who["cohorts"]) == is_
    refused = who["standard"].get(kind.split("_")[0] + "_subscribe") == "unsubscribed"
    if kind == "push_enabled":
        return bool(who["token"] and not refused) == test["value"]
    assert kind == "email_available"
    return ("email" in who["standard"] and not refused) == test["value"]


# -- definitions

_days = st.sampled_from([0, 1, 5, 30, 90])
_dated = st.one_of(
    st.fixed_dictionaries({"comparison": st.sampled_from(["before", "after"]), "value": st.sampled_from(DATES)}),
    st.fixed_dictionaries(
        {
            "comparison": st.sampled_from(
                [
                    "less_than_x_days_ago",
                    "greater_than_x_days_ago",
                    "less_than_x_days_in_the_future",
                    "greater_than_x_days_in_the_future",
                ]
            ),
            "value": _days,
        }
    ),
)
_number = st.sampled_from(NUMBERS)
_compared = st.one_of(
    st.fixed_dictionaries({"comparison": st.sampled_from(["exists", "does_not_exist"])}),
    st.fixed_dictionaries(
        {
            "comparison": st.sampled_from(["equals", "not_equal", "does_not_equal"]),
            "value": st.sampled_from([*TEXTS, *NUMBERS, True, False]),
        }
    ),
    st.fixed_dictionaries(
        {
            "comparison": st.sampled_from(["matches_regex", "does_not_match_regex"]),
            "value": st.sampled_from(["^g", "l", "'", "^$", "[%]", "DE|FR"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "comparison": st.sampled_from(["includes_value", "does_not_include_value"]),
            "value": st.sampled_from([*TEXTS, "red"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "comparison": st.sampled_from(
                ["greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to"]
            ),
            "value": _number,
        }
    ),
    _dated,
)


def _with(tests: st.SearchStrategy[dict[str, Any]], **more: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda test, extra: {**test, **extra}, tests, st.fixed_dictionaries(more))


_is = st.sampled_from(["is", "is_not"])
_counts = st.sampled_from(["more_than", "less_than", "exactly"])
_counted = st.one_of(
    st.fixed_dictionaries({"comparison": _counts, "value": st.integers(0, 7)}),
    st.fixed_dictionaries(
        {"comparison": _counts, "value": st.integers(0, 7), "days": st.sampled_from([1, 3, 7, 14, 21, 30])}
    ),
)
_figures = st.fixed_dictionaries(
    {
        "comparison": st.sampled_from(["equals", "not_equal", "greater_than", "less_than", "less_than_or_equal_to"]),
        "value": st.sampled_from([0, 1, 3, 4.25, 8.5]),
    }
)
_status = st.fixed_dictionaries({"comparison": _is, "value": st.sampled_from(STATES)})
_flag = st.fixed_dictionaries({"comparison": st.just("is"), "value": st.booleans()})
_event = {"event_name": st.sampled_from(EVENTS)}
_product = {"product_id": st.sampled_from(PRODUCTS)}
_filters: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "custom_attribute": st.one_of(
        _with(_compared, custom_attribute_name=st.sampled_from(NAMES)),
        _with(
            _compared,
            custom_attribute_name=st.sampled_from(NAMES),
            path=st.sampled_from([["city"], ['q"'], ["city", "none"]]),
        ),
    ),
    "standard_attribute": _with(_compared, name=st.sampled_from(["email", "country", "dob"])),
    "external_id": st.fixed_dictionaries(
        {"comparison": st.sampled_from(["matches_regex", "does_not_match_regex"]), "value": st.just("[1-4]$")}
    ),
    "custom_event": _with(_counted, **_event),
    "purchase": st.one_of(_counted, _with(_counted, **_product)),
    "first_custom_event": _with(_dated, **_event),
    "last_custom_event": _with(_dated, **_event),
    "first_purchase": st.one_of(_dated, _with(_dated, **_product)),
    "last_purchase": st.one_of(_dated, _with(_dated, **_product)),
    "first_used_app": _dated,
    "last_used_app": st.one_of(_dated, _with(_dated, app=st.sampled_from(["shop", "other"]))),
    "session_count": _figures,
    "money_spent": _figures,
    "email_subscription_status": _status,
    "push_subscription_status": _status,
    "subscription_group": st.fixed_dictionaries(
        {
            "comparison": _is,
            "value": st.sampled_from(["subscribed", "unsubscribed"]),
            "subscription_group_id": st.sampled_from(GROUPS),
        }
    ),
    "partner_cohort": st.fixed_dictionaries(
        {
            "comparison": _is,
            "partner": st.sampled_from(["amplitude", "amplitude", "mixpanel"]),
            "cohort_id": st.sampled_from([*COHORTS, "none"]),
        }
    ),
    "push_enabled": _flag,
    "email_available": _flag,
}
_leaf = st.one_of([tests.map(lambda test, kind=kind: {kind: test}) for kind, tests in _filters.items()])
definitions = st.recursive(
    _leaf,
    lambda below: st.one_of(
        st.lists(below, min_size=1, max_size=3).map(lambda each: {"AND": each}),
        st.lists(below, min_size=1, max_size=3).map(lambda each: {"OR": each}),
        below.map(lambda each: {"NOT": each}),
    ),
    max_leaves=5,
)


def test_every_filter_takes_whom_a_naive_model_takes(make_workspace: Callable[..., Any]) -> None:
    """1,500 definitions over five populations of 40 people, with both readings of negation."""
    worlds = []
    for seed in range(5):
        workspace = make_workspace()
        rng = random.Random(seed)
        now = workspace.tank.clock.now_ms()
        people = [_person(rng, number, now) for number in range(PEOPLE)]
        _load(workspace, people)
        workspace.set(segment_negation="needs_a_value" if seed % 2 else "holds_without_value")
        worlds.append((workspace, people, workspace.tank.clock.now_ms(), bool(seed % 2)))
    used: set[str] = set()
    taken = [0, 0]

    @settings(max_examples=1500, suppress_health_check=list(HealthCheck), database=None, deadline=None)
    @given(st.sampled_from(range(len(worlds))), definitions)
    def compare(world: int, definition: dict[str, Any]) -> None:
        workspace, people, now, strict = worlds[world]
        expected = [each["id"] for each in people if _matches(definition, each, now, strict)]
        with workspace.tank.store.read() as conn:
            query = segments.audience(workspace.tank, definition, now)
            found = conn.exec_driver_sql("SELECT uid, external_id FROM braze_profiles").all()
            ids = dict(map(tuple, found))
            assert [ids[uid] for uid in conn.execute(query).scalars()] == expected
        used.update(re.findall("'([a-z_]+)': {", repr(definition)))
        taken[0] += 0 < len(expected) < PEOPLE
        taken[1] += 1

    compare()
    assert used >= set(_filters), "every filter was drawn"
    assert taken[0] > taken[1] / 3, "most definitions divide the people"


@pytest.mark.parametrize("days", [1, 3, 7, 14, 21, 30])
def test_an_event_leaves_the_last_y_days_as_time_goes(make_workspace: Callable[..., Any], days: int) -> None:
    workspace = make_workspace()
    now = workspace.tank.clock.now_ms()
    workspace.track(events=[{"external_id": "ann", "name": "opened", "time": _iso(now)}])
    definition = {"custom_event": {"event_name": "opened", "comparison": "more_than", "value": 0, "days": days}}

    def size(at_ms: int) -> int:
        with workspace.tank.store.read() as conn:
            return len(conn.execute(segments.audience(workspace.tank, definition, at_ms)).all())

    assert size(now + days * DAY_MS - 1001) == 1
    assert size(now + days * DAY_MS + 1) == 0
