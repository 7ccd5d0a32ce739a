"""User deletion jobs from request to run. Expectations: Amplitude docs, User Privacy API, and recorded answers."""

from __future__ import annotations

from typing import Any

import pytest
import requests

JOBS = "/api/2/deletions/users"


def call(tank: Any, method: str, path: str = JOBS, **more: Any) -> requests.Response:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    return requests.request(method, f"{tank.amplitude}{path}", auth=pair, **more)


def person(tank: Any, name: str, device: str) -> int:
    tank.upload([{"user_id": name, "device_id": device, "event_type": "a", "user_properties": {"plan": "pro"}}])
    return search(tank, name)[0]["amplitude_id"]  # type: ignore[no-any-return]


def search(tank: Any, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call(tank, "GET", "/api/2/usersearch", params={"user": name}).json()["matches"]
    return found


def jobs(tank: Any) -> Any:
    return call(tank, "GET", params={"start_day": "2026-01-01", "end_day": "2026-06-30"}).json()


def test_a_job_from_request_to_run(tank: Any) -> None:
    tank.upload([{"device_id": "device-0", "event_type": "before"}])  # merged into person-1 below
    gone, stays = person(tank, "person-1", "device-1"), person(tank, "person-2", "device-2")
    tank.upload([{"user_id": "person-1", "device_id": "device-0", "event_type": "b"}])
    answer = call(tank, "POST", json={"amplitude_ids": [gone], "user_ids": ["person-1"]})
    app = answer.json()[0]["app"]
    job = {
        "active_scrub_done_date": None,
        "amplitude_ids": [{"amplitude_id": gone, "requested_on_day": "2026-01-01", "requester": "rest"}],
        "app": app,
        "day": "2026-01-13",
        "status": "staging",
    }
    assert (answer.status_code, answer.json()) == (200, [job])
    assert isinstance(app, str)
    assert jobs(tank) == [job]
    tank.advance("9d")
    assert jobs(tank) == [{**job, "status": "submitted"}]
    assert len(tank.events()) == 4
    assert call(tank, "DELETE", f"{JOBS}/{gone}/2026-01-13").status_code == 400
    tank.advance("3d")
    assert jobs(tank) == [{**job, "status": "done", "active_scrub_done_date": "2026-01-13"}]
    assert [each["user_id"] for each in tank.events()] == ["person-2"]
    assert search(tank, "person-1") == search(tank, "device-1") == search(tank, "device-0") == []
    people = tank.control("GET", "/amplitude/users").json()["users"]
    assert [each["amplitude_id"] for each in people] == [stays]
    assert tank.control("GET", "/amplitude/merges").json()["merges"] == []
    assert call(tank, "GET", "/api/2/useractivity", params={"user": gone}).json()["userData"]["properties"] == {}
    assert person(tank, "person-1", "device-1") > stays


def test_withdrawn_in_time(tank: Any) -> None:
    mine = person(tank, "person-1", "device-1")
    call(tank, "POST", json={"user_ids": ["person-1"], "requester": "me"})
    answer = call(tank, "DELETE", f"{JOBS}/{mine}/2026-01-13")
    assert answer.json() == {"amplitude_id": mine, "requested_on_day": "2026-01-01", "requester": "me"}
    assert jobs(tank) == []
    assert call(tank, "DELETE", f"{JOBS}/{mine}/2026-01-13").status_code == 404
    tank.advance("14d")
    assert len(tank.events()) == 1


@pytest.mark.parametrize(
    "switch",
    [
        {"ignore_invalid_id": True},
        {"ignore_invalid_ids": "true"},
        {"ignore_invalid_ids": "True"},
        {"delete_from_org": True},
    ],
)
def test_unknown_ids_are_named_when_ignored(tank: Any, switch: dict[str, Any]) -> None:
    person(tank, "person-1", "device-1")
    job = call(tank, "POST", json={"user_ids": ["person-1", "nobody"], "amplitude_ids": [7], **switch}).json()[0]
    assert (len(job["amplitude_ids"]), job["invalid_ids"]) == (1, [7, "nobody"])


@pytest.mark.parametrize(
    "body",
    [
        {"user_ids": ["person-1", "nobody"]},
        {"user_ids": ["nobody"], "ignore_invalid_id": True},
        {"amplitude_ids": [7]},
    ],
)
def test_nothing_is_scheduled_for_unknown_ids(tank: Any, body: dict[str, Any]) -> None:
    person(tank, "person-1", "device-1")
    before = tank.digest()
    answer = call(tank, "POST", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Nothing scheduled due to invalid amplitude/user ids for app ")
    assert tank.digest() == before


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"user_ids": []},
        {"user_ids": "person-1"},
        {"user_ids": [1]},
        {"amplitude_ids": ["1"]},
        {"amplitude_ids": [True]},
        {"amplitude_ids": [2**63]},
        {"user_ids": ["x"] * 101},
        {"user_ids": ["person-1"], "requester": 3},
        {"user_ids": ["person-1"], "ignore_invalid_id": "maybe"},
    ],
)
def test_bad_bodies_are_refused(tank: Any, body: object) -> None:
    person(tank, "person-1", "device-1")
    before = tank.digest()
    assert call(tank, "POST", json=body).status_code == 400
    assert call(tank, "POST", data=b"\xff{").status_code == 400
    assert tank.digest() == before


def test_one_request_a_second(tank: Any) -> None:
    person(tank, "person-1", "device-1")
    body = {"user_ids": ["person-1"]}
    assert [call(tank, "POST", json=body).status_code for _ in range(2)] == [200, 429]
    tank.advance("1s")
    assert call(tank, "POST", json=body).status_code == 200


def test_mapped_people_go_along_when_asked(tank: Any) -> None:
    person(tank, "person-1", "device-1")
    person(tank, "person-2", "device-2")
    mapping = '[{"user_id": "person-1", "global_user_id": "person-2"}]'
    requests.post(f"{tank.amplitude}/usermap", data={"api_key": tank.key, "mapping": mapping})
    alone = call(tank, "POST", json={"user_ids": ["person-1"]}).json()[0]
    assert len(alone["amplitude_ids"]) == 1
    tank.advance("1s")
    both = call(tank, "POST", json={"user_ids": ["person-1"], "include_mapped_user_ids": True}).json()[0]
    assert len(both["amplitude_ids"]) == 2


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"start_day": "2026-01-01"},
        {"start_day": "20260101", "end_day": "20260102"},
        {"start_day": "2026-01-02", "end_day": "2026-01-01"},
        {"start_day": "2026-01-01", "end_day": "2026-12-31"},
    ],
)
def test_ranges_that_cannot_be_listed(tank: Any, query: dict[str, str]) -> None:
    assert call(tank, "GET", params=query).status_code == 400


@pytest.mark.parametrize("path", ["x/2026-01-13", "7/soon", "7777777777777777777777/2026-01-13"])
def test_jobs_that_cannot_be_withdrawn(tank: Any, path: str) -> None:
    assert call(tank, "DELETE", f"{JOBS}/{path}").status_code == 400
