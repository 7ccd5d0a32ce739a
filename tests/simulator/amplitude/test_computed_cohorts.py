"""Computed cohorts against a model of their own: every person's events in a list, every clause a loop.

Sources: Amplitude docs, Behavioral Cohorts API; Dashboard REST API, Segment definition (operators).
"""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.amplitude import cohort_computing, cohorts, storing

DAY_MS = 86_400_000
NOW_DAY = 200
NAMES = tuple(f"person-{n}" for n in range(12))
TYPES = ("Bought", "Looked")
COLOURS = ("red", "blue", "dark red")

_events = st.lists(
    st.fixed_dictionaries(
        {"user": st.sampled_from(NAMES), "type": st.sampled_from(TYPES), "day": st.integers(90, NOW_DAY)},
        optional={"colour": st.sampled_from(COLOURS), "plan": st.sampled_from(("pro", "free"))},
    ),
    max_size=42,
)
_condition = st.one_of(
    st.builds(
        lambda op, values: {"op": op, "values": values},
        st.sampled_from(("is", "is not", "contains", "does not contain")),
        st.lists(st.sampled_from((*COLOURS, "red")), min_size=1, max_size=2, unique=True),
    ),
    st.sampled_from(({"op": "is set"}, {"op": "is not set"})),
)
_clause = st.one_of(
    st.builds(
        lambda kind, least, within, where: {
            "type": "event",
            "event_type": kind,
            "at_least": least,
            **({} if within is None else {"within_days": within}),
            **({} if where is None else {"where": [{"property": "colour", **where}]}),
        },
        st.sampled_from(TYPES),
        st.integers(1, 3),
        st.none() | st.integers(1, 110),
        st.none() | _condition,
    ),
    st.builds(lambda days: {"type": "active", "within_days": days}, st.integers(1, 110)),
    st.builds(
        lambda op, values: {"type": "user_property", "property": "plan", "op": op, "values": values},
        st.sampled_from(("is", "is not", "contains")),
        st.lists(st.sampled_from(("pro", "free", "r")), min_size=1, max_size=2, unique=True),
    ),
)
_definition = st.lists(
    st.builds(
        lambda negated, clauses: {"negated": negated, "orClauses": clauses},
        st.booleans(),
        st.lists(_clause, min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


def fits(value: str | None, condition: dict[str, Any]) -> bool:
    """One condition on one value, which is missing when None."""
    op, values = condition["op"], condition.get("values", [])
    found = {
        "is": value in values,
        "contains": value is not None and any(each in value for each in values),
        "is set": value is not None,
    }
    if op in ("is not", "does not contain", "is not set"):
        return not found[{"is not": "is", "does not contain": "contains", "is not set": "is set"}[op]]
    return found[op]


def holds(clause: dict[str, Any], events: list[dict[str, Any]], plan: str | None) -> bool:
    """One clause for one person."""
    if clause["type"] == "user_property":
        return fits(plan, clause)
    recent = [each for each in events if each["day"] > NOW_DAY - clause.get("within_days", 10_000)]
    if clause["type"] == "active":
        return bool(recent)
    counted = [
        each
        for each in recent
        if each["type"] == clause["event_type"]
        and all(fits(each.get("colour"), condition) for condition in clause.get("where", []))
    ]
    return len(counted) >= clause["at_least"]


def expected(definition: list[dict[str, Any]], events: list[dict[str, Any]]) -> set[str]:
    """Who is in the cohort, by the words of the definition."""
    found = set()
    for name in {each["user"] for each in events}:
        mine = [each for each in events if each["user"] == name]
        plans = [each["plan"] for each in mine if "plan" in each]
        plan = plans[-1] if plans else None
        if all(any(holds(c, mine, plan) for c in group["orClauses"]) != group["negated"] for group in definition):
            found.add(name)
    return found


def upload(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events as checked uploads, in the order of arrival."""
    return [
        {
            "user_id": each["user"],
            "event_type": each["type"],
            "time": each["day"] * DAY_MS,
            "insert_id": str(n),
            "event_properties": {"colour": each["colour"]} if "colour" in each else {},
            **({"user_properties": {"plan": each["plan"]}} if "plan" in each else {}),
        }
        for n, each in enumerate(events)
    ]


class _Undone(Exception):
    """Takes back what an example has written: the next one finds the project empty again."""


# Each of twelve people is a case of its own, and what takes time is making SQL of a definition.
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(events=_events, first=_definition, second=_definition)
def test_the_members_are_those_whom_the_definition_names(
    project: Any, events: list[dict[str, Any]], first: Any, second: Any
) -> None:
    tank = project.tank
    now_ms = NOW_DAY * DAY_MS
    with suppress(_Undone), tank.store.write() as conn:
        storing.store(conn, tank, upload(events), "/batch", now_ms, "127.0.0.1")
        before: set[str] = set()
        for definition in (first, second):
            cohort_computing.save(conn, "c1", "A", {"andClauses": definition}, now_ms)
            change = cohort_computing.recompute(conn, "c1", now_ms)
            wanted = expected(definition, events)
            shown = set(cohorts.members_of(conn, "c1")[1])
            assert shown == wanted
            assert (change.entered, change.left) == (len(wanted - before), len(before - wanted))
            assert change.size == len(wanted)
            before = wanted
        raise _Undone


# -- over the wire


BUYERS = {"andClauses": [{"orClauses": [{"type": "event", "event_type": "Bought", "within_days": 30}]}]}


def pair(tank: Any) -> tuple[str, str]:
    return tank.key, tank.ready["amplitude"]["secret_key"]


def put(tank: Any, cohort_id: str, definition: Any = BUYERS, **more: Any) -> requests.Response:
    body = {"name": "Buyers", "definition": definition, **more}
    answer: requests.Response = tank.control("PUT", f"/amplitude/cohorts/{cohort_id}", body)
    return answer


def download(tank: Any, cohort_id: str, **query: Any) -> list[list[str]]:
    url, keys = f"{tank.amplitude}/api/5/cohorts", pair(tank)
    asked = requests.get(f"{url}/request/{cohort_id}", params=query, auth=keys, timeout=30)
    assert asked.status_code == 202, asked.text
    request_id = asked.json()["request_id"]
    while requests.get(f"{url}/request-status/{request_id}", auth=keys, timeout=30).status_code == 202:
        pass
    answer = requests.get(f"{url}/request/{request_id}/file", auth=keys, timeout=30)
    return list(csv.reader(io.StringIO(answer.text)))


def test_a_computed_cohort_follows_tank_time(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "Bought"}, {"user_id": "person-2", "event_type": "Looked"}])
    made = put(tank, "buyers1").json()
    assert (made["entered"], made["size"], made["type"]) == (1, 1, "redshift")
    assert [row[1] for row in download(tank, "buyers1")] == ["user_id", "person-1"]
    tank.upload([{"user_id": "person-2", "event_type": "Bought"}])
    assert [row[1] for row in download(tank, "buyers1")] == ["user_id", "person-1"]  # not recomputed yet
    tank.advance("1h")
    assert [row[1] for row in download(tank, "buyers1")] == ["user_id", "person-1", "person-2"]
    tank.advance("30d")
    assert download(tank, "buyers1") == [["amplitude_id", "user_id"]]


def test_the_list_shows_definition_and_age_but_not_the_cohort_of_active_users(tank: Any) -> None:
    put(tank, "buyers1")
    put(tank, "hidden1", published=False)
    listed = requests.get(f"{tank.amplitude}/api/3/cohorts", auth=pair(tank), timeout=30).json()["cohorts"]
    assert [(each["id"], each["type"], each["size"]) for each in listed] == [("buyers1", "redshift", 0)]
    definition = listed[0]["definition"]
    assert (definition["version"], definition["cohortType"]) == (3, "UNIQUES")
    assert definition["andClauses"][0]["orClauses"] == BUYERS["andClauses"][0]["orClauses"]
    assert listed[0]["lastComputed"] == 1_767_225_600


def test_users_active_in_the_last_90_days_have_a_cohort_of_their_own(tank: Any) -> None:
    active = tank.ready["amplitude"]["active_cohort_id"]
    tank.upload([{"user_id": "person-1", "event_type": "a", "user_properties": {"tier": "gold"}}])
    tank.upload([{"user_id": "person-2", "event_type": "a", "time": 1_767_225_600_000 - 91 * DAY_MS}])
    rows = download(tank, active, props="1", propKeys="tier")
    assert [row[1:] for row in rows] == [["user_id", "tier"], ["person-1", "gold"]]
    tank.advance("90d")
    assert download(tank, active, props="1", propKeys="tier") == [["amplitude_id", "user_id", "tier"]]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ({"andClauses": []}, "andClauses"),
        ({"andClauses": [{"orClauses": [{"type": "dreamt"}]}]}, "type"),
        ({"andClauses": [{"orClauses": [{"type": "active"}]}]}, "within_days"),
        ({"andClauses": [{"orClauses": [{"type": "user_property", "property": "a", "op": "is"}]}]}, "values"),
        ({"andClauses": [{"orClauses": [{"type": "event", "event_type": "a", "at_least": 0}]}]}, "at_least"),
        (
            {
                "andClauses": [
                    {"orClauses": [{"type": "user_property", "property": "a", "op": "less", "values": ["x"]}]}
                ]
            },
            "numbers",
        ),
    ],
)
def test_a_definition_that_does_not_fit_is_refused_in_one_line(tank: Any, definition: Any, words: str) -> None:
    before = tank.digest()
    answer = put(tank, "buyers1", definition)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert words in error["what"] + error["where"]
    assert "\n" not in error["what"]
    assert tank.digest() == before


def test_computed_and_uploaded_cohorts_do_not_mix(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "Bought"}])
    put(tank, "buyers1")
    shown = tank.control("GET", "/amplitude/cohorts/buyers1").json()
    body = {"name": "n", "app_id": shown["appId"], "id_type": "BY_USER_ID", "ids": ["person-1"],
            "owner": "a@example.com", "published": True}  # fmt: skip
    url = f"{tank.amplitude}/api/3/cohorts"
    again = {**body, "existing_cohort_id": "buyers1"}
    assert requests.post(f"{url}/upload", json=again, auth=pair(tank), timeout=30).status_code == 400
    change = {"cohort_id": "buyers1",
              "memberships": [{"ids": ["person-1"], "id_type": "BY_NAME", "operation": "REMOVE"}]}  # fmt: skip
    assert requests.post(f"{url}/membership", json=change, auth=pair(tank), timeout=30).status_code == 400
    uploaded = requests.post(f"{url}/upload", json=body, auth=pair(tank), timeout=30).json()["cohortId"]
    assert put(tank, uploaded).status_code == 409
    assert tank.control("DELETE", "/amplitude/cohorts/buyers1").status_code == 204
    assert tank.control("GET", "/amplitude/cohorts/buyers1").status_code == 404


def test_downloads_carry_computed_properties(tank: Any) -> None:
    events = [
        {"user_id": "person-1", "event_type": "Bought", "event_properties": {"price": price, "item": item}}
        for price, item in ((10, "hat"), (2.5, "shoe"), ("free", "sock"))
    ]
    tank.upload([*events, {"user_id": "person-2", "event_type": "Looked"}])
    for name, kind, wanted in (("times", "count", None), ("spent", "sum", "price"), ("last_item", "last", "item")):
        body = {"name": name, "type": kind, "event_type": "Bought", **({"property": wanted} if wanted else {})}
        assert tank.control("PUT", f"/amplitude/computations/{kind}1", body).status_code == 200
    active = tank.ready["amplitude"]["active_cohort_id"]
    rows = download(tank, active, props="1", propKeys=["times", "spent", "last_item"])
    assert [row[1:] for row in rows] == [
        ["user_id", "times", "spent", "last_item"],
        ["person-1", "3", "12.5", "sock"],
        ["person-2", "", "", ""],
    ]


def test_four_downloads_may_be_under_way(tank: Any) -> None:
    put(tank, "buyers1")
    url = f"{tank.amplitude}/api/5/cohorts/request/buyers1"
    codes = [requests.get(url, auth=pair(tank), timeout=30).status_code for _ in range(5)]
    assert codes == [202] * 4 + [429]
    tank.advance("1m")
    assert requests.get(url, auth=pair(tank), timeout=30).status_code == 202
