"""Events list, active and new users, releases: what the Dashboard REST and Releases documents promise."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

DAY = 86_400_000
JAN_1 = 1_767_225_600_000  # 2026-01-01, a Thursday: the tank's first day


def get(tank: Any, path: str, **query: Any) -> requests.Response:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    return requests.get(f"{tank.amplitude}{path}", params=query, auth=pair)


def post(tank: Any, path: str, **more: Any) -> requests.Response:
    return requests.post(f"{tank.amplitude}{path}", auth=(tank.key, tank.ready["amplitude"]["secret_key"]), **more)


def event(device: str, kind: str = "a", day: float = 0, **more: Any) -> dict[str, Any]:
    return {"device_id": device, "event_type": kind, "time": JAN_1 + int(day * DAY), **more}


def users(tank: Any, **query: Any) -> dict[str, Any]:
    answer = get(tank, "/api/2/users", **{"start": "20260101", "end": "20260103", **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def test_events_list_counts_this_week_and_leaves_hidden_out(make_tank: Any) -> None:
    tank = make_tank(settings={"amplitude.block_delay_min": 10})
    tank.upload([event("device-1"), event("device-1", day=-3), event("device-1", day=-4), event("device-1", "b")])
    first = {
        "non_active": False,
        "value": "a",
        "totals": 2,
        "deleted": False,
        "flow_hidden": False,
        "hidden": False,
        "display": "a",
    }
    assert get(tank, "/api/2/events/list").json() == {
        "data": [first, {**first, "value": "b", "display": "b", "totals": 1}]
    }
    assert tank.control("PUT", "/amplitude/event-types", {"hidden": ["b"], "deleted": ["a"]}).status_code == 200
    assert get(tank, "/api/2/events/list").json() == {"data": [{**first, "deleted": True}]}


def test_days_are_the_projects(make_tank: Any) -> None:
    tank = make_tank(settings={"amplitude.time_zone": "America/New_York"})
    tank.upload([event("device-1", day=1 / 24)])  # the evening before, in New York
    assert users(tank, start="20251231", end="20260101")["series"] == [[1, 0]]


def test_blocked_and_deleted_events_are_taken_and_dropped_after_ten_minutes(tank: Any) -> None:
    states = {"blocked": ["b"], "deleted": ["d"], "hidden": ["h"]}
    tank.control("PUT", "/amplitude/event-types", states)
    tank.advance("9m")
    tank.upload([event("device-1", "b")])
    assert [each["event_type"] for each in tank.events()] == ["b"]
    tank.advance("1m")
    answer = tank.upload([event("device-2", kind) for kind in "bdha"])
    assert (answer.status_code, answer.json()["events_ingested"]) == (200, 4)
    assert [each["event_type"] for each in tank.events()] == ["b", "h", "a"]
    tank.control("PUT", "/amplitude/event-types", {})
    tank.upload([event("device-3", "b")])
    assert len(tank.events()) == 4


def test_active_and_new_users_count_merged_people_once(tank: Any) -> None:
    tank.upload([event("device-1"), event("device-2"), event("device-3", day=1)])
    tank.upload([event("device-1", user_id="person-1", day=1), event("device-2", user_id="person-1", day=1)])
    assert users(tank) == {
        "series": [[1, 2, 0]],
        "seriesMeta": [{"segmentIndex": 0}],
        "xValues": ["2026-01-01", "2026-01-02", "2026-01-03"],
    }
    assert users(tank, m="new")["series"] == [[1, 1, 0]]
    assert users(tank, i="7", end="20260110")["xValues"] == ["2025-12-29", "2026-01-05"]
    assert users(tank, i="7", end="20260110")["series"] == [[2, 0]]
    assert users(tank, i="30", end="20260210")["series"] == [[2, 0]]
    assert users(tank, i="30", end="20260210")["xValues"] == ["2026-01-01", "2026-02-01"]


@pytest.mark.parametrize(
    ("prop", "operator", "values", "count"),
    [
        ("country", "is", ["Spain"], 1),
        ("country", "is", ["Spain", "Peru"], 2),
        ("country", "is not", ["Spain"], 2),
        ("country", "is", ["(none)"], 1),
        ("country", "contains", ["PAI"], 1),
        ("country", "does not contain", ["pai"], 2),
        ("gp:age", "less", ["30"], 1),
        ("gp:age", "less or equal", ["30"], 2),
        ("gp:age", "greater", ["30"], 1),
        ("gp:age", "greater or equal", [30], 2),
        ("gp:tags", "set is", ["x", "y"], 1),
        ("gp:tags", "set is not", ["x", "y"], 2),
        ("gp:tags", "is", ["x"], 2),
        ("gp:nothing", "is", ["x"], 0),
        ("userdata_cohort", "is", ["nowhere"], 0),
        ("userdata_cohort", "is not", ["nowhere"], 3),
    ],
)
def test_segments(tank: Any, prop: str, operator: str, values: list[Any], count: int) -> None:
    tank.upload(
        [
            event("device-1", country="Spain", user_properties={"age": 20, "tags": ["x", "y"]}),
            event("device-2", country="Peru", user_properties={"age": 30, "tags": ["x"]}),
            event("device-3", user_properties={"age": 40}),
        ]
    )
    segment = json.dumps([{"prop": prop, "op": operator, "values": values}])
    assert users(tank, s=segment)["series"] == [[count, 0, 0]]


def test_group_by(tank: Any) -> None:
    tank.upload([event("device-1", country="Peru"), event("device-2", country="Peru"), event("device-3")])
    data = users(tank, g="country")
    assert (data["seriesLabels"], data["series"]) == (["Peru", "(none)"], [[2, 0, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    "bad",
    [
        {"start": ""},
        {"start": "2026-01-01"},
        {"start": "20261301"},
        {"end": "20251231"},
        {"end": "20290101"},
        {"m": "old"},
        {"i": "2"},
        {"s": "{"},
        {"s": "{}"},
        {"s": "[3]"},
        {"s": '[{"prop":"country","op":"like","values":["x"]}]'},
        {"s": '[{"prop":"country","op":["is"],"values":["x"]}]'},
        {"s": '[{"prop":"country","op":"is","values":[]}]'},
        {"s": '[{"prop":"gp:age","op":"less","values":["x"]}]'},
        {"s": '[{"prop":"userdata_cohort","op":"less","values":["1"]}]'},
        {"s": '[{"prop":"nowhere","op":"is","values":["x"]}]'},
        {"s": json.dumps([{"prop": "country", "op": "is", "values": ["x"] * 101}])},
        {"s": json.dumps([{"prop": "country", "op": "is", "values": ["x"]}] * 51)},
        {"g": "nowhere"},
    ],
)
def test_bad_charts_are_refused(tank: Any, bad: dict[str, str]) -> None:
    before = tank.digest()
    answer = get(tank, "/api/2/users", **{"start": "20260101", "end": "20260103", **bad})
    error = answer.json()["error"]
    assert (answer.status_code, error["http_code"], error["type"]) == (400, 400, "invalid")
    assert error["message"] == "Invalid chart definition"
    assert tank.digest() == before


def test_an_unknown_property_is_named(tank: Any) -> None:
    answer = get(tank, "/api/2/users", start="20260101", end="20260103", g="shoe")
    assert answer.json()["error"]["metadata"] == {"details": "Invalid user property shoe"}


RELEASE = {"version": "1.2", "release_start": "2026-01-01 00:00:00", "title": "Twelve"}


@pytest.mark.parametrize("form", ["json", "params"])
def test_release(tank: Any, form: str) -> None:
    answer = post(tank, "/api/2/release", **{form: RELEASE})
    release = answer.json()["release"]
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert (release["description"], release["platforms"], release["type"]) == ("", None, "integration")
    assert {name: release[name] for name in RELEASE} == RELEASE
    now = "2026-01-01 00:00:00"
    assert release["params"] == {"created": now, "created_by": "", "last_modified": now, "last_modified_by": ""}


@pytest.mark.parametrize(
    "bad",
    [
        {"version": None},
        {"title": 3},
        {"release_start": "2026-01-01"},
        {"release_end": "soon"},
        {"platforms": "iOS"},
        {"chart_visibility": "yes"},
    ],
)
def test_bad_releases_are_refused(tank: Any, bad: dict[str, Any]) -> None:
    before = tank.digest()
    assert post(tank, "/api/2/release", json={**RELEASE, **bad}).status_code == 400
    for body in (b"", b"[", b"[]", b"\xff"):
        headers = {"Content-Type": "application/json"}
        assert post(tank, "/api/2/release", data=body, headers=headers).status_code == 400
    assert tank.digest() == before


def test_documented_but_not_simulated_is_told_to_callers_with_the_right_key(tank: Any) -> None:
    for path in ("/api/2/funnels", "/api/3/chart/abc/csv", "/api/2/taxonomy/event/a", "/api/2/dsar/requests/1"):
        assert get(tank, path).status_code == 501
        assert path.split("/")[2] in get(tank, path).json()["error"]


def test_europe_answers_its_own_keys_only(make_tank: Any) -> None:
    tank = make_tank(region="eu")
    assert get(tank, "/api/2/events/list").json() == {"data": []}
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    american = tank.ready["amplitude"]["other_region_url"]
    answer = requests.get(f"{american}/api/2/events/list", auth=pair)
    assert (answer.status_code, answer.text) == (403, "Invalid API Key")


def test_the_largest_segment_is_computed(tank: Any) -> None:
    values = [f"v{n}" for n in range(100)]
    tank.upload([event("device-1", country="v7")])
    for operator in ("is", "contains"):
        wide = [{"prop": "country", "op": operator, "values": values}]
        assert users(tank, s=json.dumps(wide))["series"] == [[1, 0, 0]]
    deep = [{"prop": "country", "op": "set is not", "values": ["x"]}] * 50
    assert users(tank, s=json.dumps(deep))["series"] == [[1, 0, 0]]
