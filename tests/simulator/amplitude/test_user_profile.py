"""The User Profile API. Sources: Amplitude docs, User Profile API; Computed properties; Recommendations."""

from __future__ import annotations

from typing import Any

import pytest
import requests

DAY_MS = 86_400_000
START_MS = 1_767_225_600_000


def profile(tank: Any, **query: str) -> requests.Response:
    headers = {"Authorization": f"Api-Key {tank.ready['amplitude']['secret_key']}"}
    return requests.get(f"{tank.amplitude}/v1/userprofile", params=query, headers=headers, timeout=30)


def data(tank: Any, **query: str) -> dict[str, Any]:
    answer = profile(tank, **query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["userData"]
    return found


def bought(name: str, *items: str, days_ago: int = 0) -> list[dict[str, Any]]:
    at = START_MS - days_ago * DAY_MS
    return [
        {"user_id": name, "event_type": "Bought", "time": at, "event_properties": {"item": item, "price": n + 1}}
        for n, item in enumerate(items)
    ]


def test_what_is_not_asked_for_is_null(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "a", "user_properties": {"tier": "gold"}}])
    nothing = {"recommendations": None, "user_id": "person-1", "device_id": None, "amp_props": None, "cohort_ids": None}
    assert data(tank, user_id="person-1") == nothing
    props = data(tank, user_id="person-1", get_amp_props="true")["amp_props"]
    assert props == {"library": "http/2.0", "first_used": "2026-01-01", "last_used": "2026-01-01", "tier": "gold"}


def test_computations_are_texts_and_unknown_ones_null(tank: Any) -> None:
    tank.upload(bought("person-1", "hat", "shoe"))
    for each, body in {
        "c1": {"name": "times", "type": "count"},
        "c2": {"name": "spent", "type": "sum", "property": "price"},
        "c3": {"name": "dearest", "type": "max", "property": "price"},
        "c4": {"name": "cheapest", "type": "min", "property": "price"},
        "c5": {"name": "mean", "type": "avg", "property": "price"},
        "c6": {"name": "first_item", "type": "first", "property": "item"},
        "c7": {"name": "hats", "type": "count", "where": [{"property": "item", "op": "is", "values": ["hat"]}]},
    }.items():
        made = tank.control("PUT", f"/amplitude/computations/{each}", {"event_type": "Bought", **body})
        assert made.status_code == 200, made.text
    every = data(tank, user_id="person-1", get_computations="true")["amp_props"]
    assert every == {"times": "2", "spent": "3.0", "dearest": "2.0", "cheapest": "1.0", "mean": "1.5",
                     "first_item": "hat", "hats": "1"}  # fmt: skip
    assert data(tank, user_id="person-1", comp_id="c1,nope")["amp_props"] == {"times": "2", "nope": None}


def test_a_computation_needs_its_property_and_fitting_conditions(tank: Any) -> None:
    before = tank.digest()
    for body in (
        {"name": "n", "type": "sum", "event_type": "a"},
        {"name": "n", "type": "median", "event_type": "a", "property": "p"},
        {"name": "n", "type": "count", "event_type": "a", "where": [{"property": "p", "op": "resembles"}]},
    ):
        assert tank.control("PUT", "/amplitude/computations/c1", body).status_code == 400
    assert tank.digest() == before


def test_only_cohorts_that_are_synced_to_the_profile_are_shown(tank: Any) -> None:
    tank.upload([*bought("person-1", "hat"), {"user_id": "person-2", "event_type": "a"}])
    definition = {"andClauses": [{"orClauses": [{"type": "event", "event_type": "Bought"}]}]}
    for each in ("buyers1", "buyers2"):
        tank.control("PUT", f"/amplitude/cohorts/{each}", {"name": each, "definition": definition})
    assert data(tank, user_id="person-1", get_cohort_ids="true")["cohort_ids"] == []
    sync = {"cohort_id": "buyers1", "target": "profile_api", "cadence": "hourly"}
    assert tank.control("PUT", "/amplitude/syncs/s1", sync).status_code == 200
    assert data(tank, user_id="person-1", get_cohort_ids="true")["cohort_ids"] == ["buyers1"]
    assert data(tank, user_id="person-2", get_cohort_ids="true")["cohort_ids"] == []


def test_recommendations_are_what_people_of_like_taste_had(tank: Any) -> None:
    tank.upload(bought("person-1", "hat"))
    tank.upload(bought("person-2", "hat", "shoe") + bought("person-3", "hat", "shoe", "sock"))
    tank.upload(bought("person-4", "tie") + bought("person-5", "tie"))
    body = {"event_type": "Bought", "item_property": "item", "size": 2}
    tank.control("PUT", "/amplitude/recommendations/r1", body)
    entry = data(tank, user_id="person-1", get_recs="true", rec_id="r1,unknown")["recommendations"]
    assert entry == [
        {"rec_id": "r1", "child_rec_id": "r1", "items": ["shoe", "sock"], "is_control": False,
         "recommendation_source": "model", "last_updated": START_MS // 1000}
    ]  # fmt: skip
    assert data(tank, user_id="person-1", get_recs="true", rec_id="unknown")["recommendations"] is None
    # A newcomer shares nothing with anybody: what most people had comes first.
    tank.upload([{"user_id": "person-6", "event_type": "a"}])
    items = data(tank, user_id="person-6", get_recs="true", rec_id="r1")["recommendations"][0]["items"]
    assert items == ["hat", "shoe"]
    logged = [each for each in tank.events() if each["event_type"] == "[Recs] Recommendation Event"]
    assert [each["event"]["event_properties"]["rec_id"] for each in logged] == ["r1", "r1"]


def test_the_control_group_sees_a_random_order_and_can_be_overridden(tank: Any) -> None:
    tank.upload(bought("person-1", *(f"item-{n:02d}" for n in range(30))))
    tank.upload([{"user_id": "person-2", "event_type": "a"}])
    body = {"event_type": "Bought", "item_property": "item", "control_percent": 100}
    tank.control("PUT", "/amplitude/recommendations/r1", body)
    ask = {"user_id": "person-2", "get_recs": "true", "rec_id": "r1"}
    control = data(tank, **ask)["recommendations"][0]
    model = data(tank, **ask, rec_type="model")["recommendations"][0]
    assert (control["is_control"], control["recommendation_source"]) == (True, "random")
    assert (model["is_control"], model["recommendation_source"]) == (False, "model")
    assert sorted(control["items"]) == model["items"] != control["items"]
    assert data(tank, **ask)["recommendations"][0] == control


def test_propensity_grows_with_the_days_on_which_somebody_did_it(tank: Any) -> None:
    tank.upload([each for n in range(5) for each in bought("person-1", "hat", days_ago=n)])
    tank.upload([*bought("person-2", "hat", "shoe"), {"user_id": "person-3", "event_type": "a"}])
    tank.upload([{"user_id": "person-4", "event_type": "a"}])
    for each in ("p1", "p2"):
        tank.control("PUT", f"/amplitude/predictions/{each}", {"event_type": "Bought", "within_days": 8})

    def ask(name: str, kind: str = "score", ids: str = "p1") -> dict[str, Any]:
        return data(tank, user_id=name, get_propensity="", prediction_id=ids, propensity_type=kind)

    # The rule of succession: five of eight days, one of eight, none.
    assert [ask(f"person-{n}")["propensity"] for n in (1, 2, 3)] == [0.6, 0.2, 0.1]
    assert [ask(f"person-{n}", "pct")["propensity"] for n in (1, 2, 3)] == [75.0, 50.0, 0.0]
    both = ask("person-1", ids="p1,p2")
    assert both["propensity"] is None
    assert both["propensities"] == [{"prop": 0.6, "pred_id": each, "prop_type": "score"} for each in ("p1", "p2")]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"user_id": "person-1", "get_recs": "true"},
        {"user_id": "person-1", "get_recs": "true", "rec_id": "r", "rec_type": "best"},
        {"user_id": "person-1", "get_propensity": ""},
        {"user_id": "person-1", "get_propensity": "", "prediction_id": "p", "propensity_type": "odds"},
    ],
)
def test_what_is_missing_is_named(tank: Any, query: dict[str, str]) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "a"}])
    answer = profile(tank, **query)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
