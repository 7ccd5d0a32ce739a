"""The simulated Braze over the control API, through real HTTP."""

from __future__ import annotations

from typing import Any

import pytest
import requests


class Braze:
    """A tank's REST port with its key."""

    def __init__(self, tank: Any) -> None:
        self.tank = tank
        self.ready = tank.ready["braze"]

    def post(self, path: str, body: Any, key: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {key or self.ready['rest_api_key']}"}
        return self.tank.session.post(f"{self.ready['url']}{path}", json=body, headers=headers, timeout=60)

    def control(self, method: str, path: str, body: Any = None, **query: Any) -> requests.Response:
        return self.tank.control(method, f"/braze{path}", body, **query)


@pytest.fixture
def brz(tank: Any) -> Braze:
    return Braze(tank)


def test_a_write_is_applied_in_tank_time_and_reading_tells_its_cost(brz: Braze) -> None:
    assert brz.post("/users/track", {"attributes": [{"external_id": "ann", "x": 1, "y": 1}]}).status_code == 201
    assert brz.control("GET", "/users").json() == {"count": 0, "users": []}
    assert brz.control("GET", "/writes").json()["writes"][0]["applied"] is False
    brz.tank.control("POST", "/clock/advance", {"by": "50ms"})
    (person,) = brz.control("GET", "/users").json()["users"]
    assert (person["external_id"], person["custom_attributes"], person["data_points"]) == ("ann", {"x": 1, "y": 1}, 2)
    assert brz.control("GET", "/data-points").json()["by_source"] == {"api": 2}
    (write,) = brz.control("GET", "/writes").json()["writes"]
    assert (write["kind"], write["applied"], write["points"]) == ("track", True, 2)


def test_the_timer_applies_without_anybody_reading(brz: Braze) -> None:
    brz.post("/users/track", {"attributes": [{"external_id": "ann"}]})
    done = brz.tank.control("POST", "/clock/advance", {"by": "1s"}).json()
    assert done["fired"]["braze.apply"] == 1


def test_people_are_found_by_any_identifier_and_paged(brz: Braze) -> None:
    people = [{"external_id": f"p{n}", "email": "same@example.com"} for n in range(5)]
    brz.post("/users/track", {"attributes": people})
    alias = {"external_id": "p1", "alias_name": "n", "alias_label": "l"}
    brz.post("/users/alias/new", {"user_aliases": [alias]})
    brz.tank.control("POST", "/clock/advance", {"by": "1s"})
    assert len(brz.control("GET", "/users", email="same@example.com").json()["users"]) == 5
    (one,) = brz.control("GET", "/users", email="same@example.com", external_id="p3").json()["users"]
    assert one["external_id"] == "p3"
    first = brz.control("GET", "/users", limit=2).json()
    rest = brz.control("GET", "/users", after=first["users"][-1]["uid"]).json()
    assert (first["count"], len(first["users"]), len(rest["users"])) == (5, 2, 3)
    assert brz.control("GET", "/aliases/l/n").json()["external_id"] == "p1"
    assert brz.control("GET", "/aliases/l/other").status_code == 404


def test_keys_are_made_and_invalidated(brz: Braze) -> None:
    body = {"kind": "rest", "name": "reader", "permissions": ["users.export.ids"]}
    made = brz.control("POST", "/keys", body)
    assert made.status_code == 201
    value = made.json()["value"]
    assert brz.post("/users/track", {"attributes": [{"external_id": "a"}]}, value).status_code == 403
    assert brz.control("GET", "/keys").json()["keys"] == [made.json()]
    assert brz.control("DELETE", f"/keys/{value}").json()["status"] == "revoked"
    assert brz.post("/users/export/ids", {}, value).status_code == 401
    assert brz.control("DELETE", "/keys/nothing").status_code == 404
    assert brz.control("POST", "/keys", {**body, "permissions": ["fly"]}).status_code == 400


def test_devices_act_and_names_are_blocked(brz: Braze) -> None:
    names = [{"kind": "event", "name": "noise", "blocked": True}, {"kind": "attribute", "name": "n", "type": "Number"}]
    listed = brz.control("PUT", "/names", {"names": names}).json()["names"]
    assert {(each["name"], each["blocked"], each["forced"]) for each in listed} == {
        ("noise", True, False),
        ("n", False, True),
    }
    actions = [
        {"device_id": "device-1", "do": "session_start"},
        {"device_id": "device-1", "do": "event", "name": "noise"},
        {"device_id": "device-1", "do": "attributes", "attributes": {"n": "12"}},
        {"device_id": "device-1", "do": "change_user", "external_id": "ann"},
    ]
    users = brz.control("POST", "/sdk", {"actions": actions}).json()["users"]
    assert [each["external_id"] for each in users] == [None, None, None, "ann"]
    assert len({each["braze_id"] for each in users}) == 1
    (person,) = brz.control("GET", "/users", device_id="device-1").json()["users"]
    assert (person["custom_attributes"], person["custom_events"], person["data_points"]) == ({"n": 12}, [], 2)
    bad = brz.control("POST", "/sdk", {"actions": [{"device_id": "d", "do": "change_user"}]})
    assert (bad.status_code, bad.json()["error"]["what"]) == (400, "change_user needs external_id")


def test_imported_cohorts_are_listed_with_their_members(brz: Braze) -> None:
    brz.post("/users/track", {"attributes": [{"external_id": "ann"}, {"external_id": "bob"}]})
    brz.tank.control("POST", "/clock/advance", {"by": "1s"})
    keys = {"partner_api_key": brz.ready["partner_api_key"], "client_secret": brz.ready["data_import_key"]}
    named = {**keys, "cohort_id": "c1", "name": "VIP", "created_at": "2026-01-01T00:00:00Z"}
    assert brz.post("/partners/amplitude/cohorts", named).status_code == 201
    changes = {**keys, "cohort_id": "c1", "cohort_changes": [{"user_ids": ["bob", "nobody"]}]}
    assert brz.post("/partners/amplitude/cohorts/users", changes).status_code == 201
    brz.tank.control("POST", "/clock/advance", {"by": "1s"})
    (cohort,) = brz.control("GET", "/cohorts").json()["cohorts"]
    assert (cohort["title"], cohort["size"]) == ("[Amplitude] VIP: c1", 1)
    found = brz.control("GET", "/cohorts/amplitude/c1").json()
    assert (found["size"], [each["external_id"] for each in found["members"]]) == (1, ["bob"])


def test_an_address_is_marked_once_whatever_it_is_made_of(brz: Braze) -> None:
    """One that is marked stays marked since its first time, also one with a NUL, which SQLite's JSON cuts short."""
    for emails in (
        ["a@example.com"] * 2,
        ["a@example.com", "A@example.com"],
        ["a\0b@example.com"],
        ["a\0b@example.com"],
    ):
        marked = brz.control("POST", "/email-marks", {"kind": "hard_bounce", "emails": emails})
        assert marked.status_code == 200, marked.text
    headers = {"Authorization": f"Bearer {brz.ready['rest_api_key']}"}
    query = {"start_date": "2020-01-01", "end_date": "2030-01-01"}
    url = f"{brz.ready['url']}/email/hard_bounces"
    listed = brz.tank.session.get(url, params=query, headers=headers, timeout=60).json()["emails"]
    assert sorted(each["email"] for each in listed) == ["A@example.com", "a\0b@example.com", "a@example.com"]
