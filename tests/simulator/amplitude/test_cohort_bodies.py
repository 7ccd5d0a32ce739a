"""Bodies of cohort uploads and membership changes that do not fit. Source: Amplitude docs, Behavioral Cohorts API."""

from __future__ import annotations

from typing import Any

import pytest
import requests

TOO_MANY = [str(n) for n in range(100_001)]


def post(tank: Any, path: str, body: Any) -> requests.Response:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    return requests.post(f"{tank.amplitude}/api/3/cohorts/{path}", json=body, auth=pair, timeout=30)


@pytest.fixture
def good(tank: Any) -> dict[str, Any]:
    """An upload that is taken."""
    tank.upload([{"user_id": "person-1", "event_type": "a"}, {"user_id": "person-2", "event_type": "a"}])
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    people = f"{tank.amplitude}/api/2/usersearch"
    person = requests.get(people, params={"user": "person-1"}, auth=pair, timeout=30).json()["matches"][0]
    stream = f"{tank.amplitude}/api/2/useractivity"
    query = {"user": person["amplitude_id"]}
    app = requests.get(stream, params=query, auth=pair, timeout=30).json()["events"][0]["app"]
    return {"name": "c", "app_id": app, "id_type": "BY_USER_ID", "ids": ["person-1"], "owner": "a@example.com",
            "published": True}  # fmt: skip


def refused(answer: requests.Response) -> None:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["http_code"], error["type"]) == (400, "invalid")
    assert isinstance(error["message"], str)
    assert isinstance(error["metadata"]["details"], str)


@pytest.mark.parametrize(
    "change",
    [
        *({"name": each} for each in ("", None, 5, ["c"])),
        *({"app_id": each} for each in (None, 1.5, True, "0", [])),
        *({"id_type": each} for each in ("BY_NAME", None, ["BY_USER_ID"], {})),
        *({"ids": each} for each in ([], "person-1", None, {}, [None], [True], [1.5], [[]], [{}], TOO_MANY)),
        *({"owner": each} for each in ("", None, 5)),
        *({"published": each} for each in ("true", None, 1)),
        *({"existing_cohort_id": each} for each in (5, ["c"], {"a": 1}, True, "c-unknown")),
        *({"skip_save": each} for each in ("true", 1, None)),
        *({"skip_invalid_ids": each} for each in ("false", 0, None)),
        *({"cg": each} for each in ("org", 7, [])),
    ],
    ids=lambda change: f"{next(iter(change))}={str(next(iter(change.values())))[:20]}",
)
def test_an_upload_that_does_not_fit_is_refused_in_the_envelope(tank: Any, good: Any, change: Any) -> None:
    before = tank.digest()
    refused(post(tank, "upload", {**good, **change}))
    assert tank.digest() == before
    assert post(tank, "upload", good).status_code == 200


def test_an_upload_is_answered_as_recorded(tank: Any, good: dict[str, Any]) -> None:
    found = post(tank, "upload", {**good, "ids": ["person-1", "person-9"], "cg": "User"}).json()
    assert set(found) == {"cohortId", "metadata", "cohortsById"}
    assert found["metadata"] == {"matched": 1, "totals": 2, "invalid_ids_sample": ["person-9"]}
    cohort = found["cohortsById"][found["cohortId"]]
    assert (cohort["name"], cohort["type"], cohort["size"]) == ("c", "manual_upload", 1)
    assert "cohortsById" not in post(tank, "upload", {**good, "skip_save": True}).json()


@pytest.mark.parametrize(
    "change",
    [
        {"cohort_id": 5},
        {"cohort_id": ["c"]},
        {"cohort_id": "c-unknown"},
        {"count_group": 5},
        {"count_group": "org"},
        {"skip_invalid_ids": "no"},
        {"memberships": []},
        {"memberships": {}},
        {"memberships": [5]},
        *({"ids": each} for each in ("person-2", None, [{}], [[1]], [None], [True], [1.5], TOO_MANY)),
        *({"id_type": each} for each in ("BY_USER_ID", None, [])),
        *({"operation": each} for each in ("add", None, {})),
    ],
    ids=lambda change: f"{next(iter(change))}={str(next(iter(change.values())))[:20]}",
)
def test_a_membership_change_that_does_not_fit_is_refused_in_the_envelope(tank: Any, good: Any, change: Any) -> None:
    cohort_id = post(tank, "upload", good).json()["cohortId"]
    one = {"ids": ["person-2"], "id_type": "BY_NAME", "operation": "ADD"}
    body = {"cohort_id": cohort_id, "memberships": [one]}
    inner = {name: value for name, value in change.items() if name in one}
    before = tank.digest()
    refused(post(tank, "membership", {**body, "memberships": [{**one, **inner}]} if inner else {**body, **change}))
    assert tank.digest() == before
    assert post(tank, "membership", body).json()["memberships_result"][0]["skipped_ids"] == []


def test_all_memberships_of_a_request_together_hold_100_000_ids(tank: Any, good: dict[str, Any]) -> None:
    cohort_id = post(tank, "upload", good).json()["cohortId"]
    parts = [{"ids": TOO_MANY[:n], "id_type": "BY_NAME", "operation": "ADD"} for n in (60_000, 40_001)]
    refused(post(tank, "membership", {"cohort_id": cohort_id, "memberships": parts}))


def test_the_id_of_a_cohort_that_is_there_is_not_given_again(tank: Any, good: dict[str, Any]) -> None:
    made = [post(tank, "upload", good).json()["cohortId"] for _ in range(3)]
    assert tank.control("DELETE", f"/amplitude/cohorts/{made[0]}").status_code == 204
    assert post(tank, "upload", good).json()["cohortId"] not in made[1:]
