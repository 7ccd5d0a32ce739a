"""What Identify calls, merges and mappings make of a person.

Sources: Amplitude docs, Identify API (keys, device and location groups); Track unique users (merged users); User Mapping
(Aliasing) API.
"""

from __future__ import annotations

import json
from typing import Any

import requests

from simulator.amplitude.people import canonical

START_MS = 1_767_225_600_000


def get(tank: Any, path: str, **query: Any) -> Any:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    answer = requests.get(f"{tank.amplitude}{path}", params=query, auth=pair, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def activity(tank: Any, name: str) -> dict[str, Any]:
    person = get(tank, "/api/2/usersearch", user=name)["matches"][0]["amplitude_id"]
    found: dict[str, Any] = get(tank, "/api/2/useractivity", user=person)
    return found


def identify(tank: Any, *calls: dict[str, Any]) -> None:
    form = {"api_key": tank.key, "identification": json.dumps(list(calls))}
    assert requests.post(f"{tank.amplitude}/identify", data=form, timeout=30).text == "success"


def map_users(tank: Any, *mappings: dict[str, Any]) -> None:
    form = {"api_key": tank.key, "mapping": json.dumps(list(mappings))}
    assert requests.post(f"{tank.amplitude}/usermap", data=form, timeout=30).status_code == 200


def told(tank: Any, name: str = "person-1") -> tuple[Any, ...]:
    data = activity(tank, name)["userData"]
    return tuple(data[each] for each in ("platform", "os", "carrier", "country", "city", "language", "version"))


def test_identify_tells_device_place_language_and_version(tank: Any) -> None:
    first = {"platform": "iOS", "os_name": "ios", "carrier": "c1", "country": "France", "city": "Paris"}
    identify(tank, {"user_id": "person-1", **first, "language": "fr", "app_version": "1.0"})
    assert told(tank) == ("iOS", "ios", "c1", "France", "Paris", "French", "1.0")
    assert activity(tank, "person-1")["userData"]["num_events"] == 0
    tank.advance("1s")
    tank.upload([{"user_id": "person-1", "event_type": "a", "platform": "Web", "app_version": "2.0"}])
    assert told(tank) == ("Web", None, None, "France", "Paris", "French", "2.0")  # the device as a whole
    tank.advance("1s")
    identify(tank, {"user_id": "person-1", "city": "Rome"}, {"user_id": "person-2", "country": "Chile"})
    assert told(tank) == ("Web", None, None, None, "Rome", "French", "2.0")
    assert told(tank, "person-2") == (None, None, None, "Chile", None, None, None)


def test_what_an_anonymous_device_was_told_belongs_to_the_user_it_is_merged_into(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "a", "country": "France"}])
    tank.advance("1s")
    identify(tank, {"device_id": "device-2", "country": "Spain"})
    tank.upload([{"user_id": "person-1", "device_id": "device-2", "event_type": "b"}])
    assert activity(tank, "person-1")["userData"]["country"] == "Spain"


def test_on_a_merge_the_newer_ids_start_version_overwrites_the_older_one(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "a", "app_version": "1.0"}])
    tank.upload([{"device_id": "device-2", "event_type": "a", "app_version": "9.9"}])
    assert activity(tank, "person-1")["userData"]["start_version"] == "1.0"
    tank.upload([{"user_id": "person-1", "device_id": "device-2", "event_type": "b"}])
    assert activity(tank, "person-1")["userData"]["start_version"] == "9.9"


def test_a_global_users_stream_shows_the_mapped_users_events_too(tank: Any) -> None:
    for n, name in enumerate(("person-1", "person-2", "global-1")):
        event = {"user_id": name, "event_type": f"by {name}", "time": START_MS + n, "user_properties": {"n": n}}
        tank.upload([event])
    map_users(tank, {"user_id": "person-1", "global_user_id": "global-1"})
    seen = activity(tank, "global-1")
    assert [row["event_type"] for row in seen["events"]] == ["by global-1", "by person-1"]
    assert seen["userData"]["properties"] == {"n": 2}  # properties are not merged
    assert [row["event_type"] for row in activity(tank, "person-1")["events"]] == ["by person-1"]
    map_users(tank, {"user_id": "person-1", "unmap": True})
    assert [row["event_type"] for row in activity(tank, "global-1")["events"]] == ["by global-1"]


def test_mapped_users_are_one_in_counts_and_two_by_user_id(tank: Any) -> None:
    names = ("person-1", "person-2", "person-3", "global-1")
    tank.upload([{"user_id": name, "event_type": "a"} for name in names])
    days = {"start": "20260101", "end": "20260101"}
    assert get(tank, "/api/2/users", **days)["data"]["series"] == [[4]]
    map_users(tank, {"user_id": "person-1", "global_user_id": "global-1"})
    assert get(tank, "/api/2/users", **days)["data"]["series"] == [[3]]
    by_name = get(tank, "/api/2/users", g="user_id", **days)["data"]
    assert dict(zip(by_name["seriesLabels"], by_name["series"], strict=True)) == {name: [1] for name in names}
    map_users(tank, *({"user_id": name, "global_user_id": "never-seen"} for name in ("person-2", "person-3")))
    assert get(tank, "/api/2/users", **days)["data"]["series"] == [[2]]


def test_one_persons_rows_are_found_through_an_index(make_project: Any) -> None:
    """However many events a project holds: the index is there from the first look at a person on."""
    project = make_project()
    project.post([{"user_id": "person-1", "event_type": "a"}, {"device_id": "device-1", "event_type": "a"}])
    with project.tank.store.write() as conn:
        assert canonical(conn, 1) == (1, [])
        assert canonical(conn, 2) == (2, [])
        if conn.dialect.name == "postgresql":
            made = conn.exec_driver_sql("SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()")
            assert {"amplitude_events_of_person", "amplitude_merges_gone"} <= set(made.scalars())
            return
        for table, where in (
            ("amplitude_events", "amplitude_id IN (1, 2)"),
            ("amplitude_devices", "user_amplitude_id = 1 OR own_id IN (1, 2)"),
            ("amplitude_merges", "amplitude_id = 1"),
            ("amplitude_merges", "merged_amplitude_id = 1"),
        ):
            plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {where}").all()
            assert not any(step[3].startswith("SCAN") for step in plan), plan


def test_identify_calls_are_checked_before_anything_is_kept(tank: Any) -> None:
    for wrong in ({"paying": "perhaps"}, {"start_version": 2}, {"paying": []}):
        form = {"api_key": tank.key, "identification": json.dumps({"user_id": "person-1", **wrong})}
        assert requests.post(f"{tank.amplitude}/identify", data=form, timeout=30).status_code == 400
    assert get(tank, "/api/2/usersearch", user="person-1")["type"] == "nomatch"
    deep: dict[str, Any] = {}
    for _ in range(41):
        deep = {"a": deep}
    form = {
        "api_key": tank.key,
        "identification": json.dumps({"group_type": "t", "group_value": "v", "group_properties": deep}),
    }
    answer = requests.post(f"{tank.amplitude}/groupidentify", data=form, timeout=30)
    assert (answer.status_code, answer.text) == (400, "Invalid group_properties")


def test_paying_is_told_and_taken_back(tank: Any) -> None:
    def pays() -> Any:
        tank.advance("1s")
        tank.upload([{"user_id": "person-1", "event_type": "a"}])
        return activity(tank, "person-1")["events"][0]["paying"]

    assert pays() is None
    identify(tank, {"user_id": "person-1", "paying": "true"})
    assert pays() is True
    identify(tank, {"user_id": "person-1", "paying": "false"})
    assert pays() is None


def test_texts_of_group_properties_are_cut(tank: Any) -> None:
    group = {"group_type": "company", "group_value": "Acme", "group_properties": {"note": "x" * 2000}}
    form = {"api_key": tank.key, "identification": json.dumps(group)}
    assert requests.post(f"{tank.amplitude}/groupidentify", data=form, timeout=30).text == "success"
    tank.upload([{"user_id": "person-1", "event_type": "a", "groups": {"company": "Acme"}}])
    shown = activity(tank, "person-1")["events"][0]["group_properties"]
    assert shown == {"company": {"Acme": {"note": "x" * 1024}}}
