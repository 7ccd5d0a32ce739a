"""Cohorts that partners import. Source: Braze docs, Cohort import for partners; Amplitude for cohort import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator import braze
from simulator.braze import cohort_membership, permissions, sdk
from simulator.tank import Tanks

NAME = {"cohort_id": "cxyzz3hz", "name": "COHORT_NAME", "created_at": "2026-01-01T00:00:00Z"}
CHANGES_WORDS = (
    "cohort_changes must be an array of objects each having `user_ids` and/or `device_ids` mapped to string arrays, or "
    "an `aliases` object"
)


def change(workspace: Any, *changes: Any, cohort_id: Any = "cxyzz3hz") -> Any:
    return workspace.cohort("cohorts/users", cohort_id=cohort_id, cohort_changes=list(changes))


def cohorts(workspace: Any) -> list[dict[str, Any]]:
    with workspace.tank.store.read() as conn:
        found: list[dict[str, Any]] = cohort_membership.listed(conn)
    return found


def members(workspace: Any, cohort_id: str = "cxyzz3hz") -> list[str | None]:
    with workspace.tank.store.read() as conn:
        uids = cohort_membership.member_uids(conn, "amplitude", cohort_id)
    by_uid = {each["uid"]: each["external_id"] for each in workspace.people()}
    return [by_uid[uid] for uid in uids]


def device(workspace: Any, device_id: str, **more: Any) -> None:
    with workspace.tank.store.write() as conn:
        action = {"device_id": device_id, "do": "session_start", **more}
        sdk.act(conn, workspace.tank, action, workspace.tank.clock.now_ms(conn))


def test_a_cohort_is_titled_with_its_partner_and_id(workspace: Any) -> None:
    answer = workspace.cohort("cohorts", **NAME)
    assert (answer.status_code, answer.json) == (201, {"message": "success"})
    (made,) = cohorts(workspace)
    assert (made["filter"], made["title"]) == ("Amplitude Cohorts", "[Amplitude] COHORT_NAME: cxyzz3hz")
    workspace.cohort("cohorts", **{**NAME, "name": "New name"})
    (renamed,) = cohorts(workspace)
    assert (renamed["cohort_id"], renamed["title"]) == ("cxyzz3hz", "[Amplitude] New name: cxyzz3hz")
    workspace.cohort("cohorts", **{**NAME, "name": renamed["title"]})
    assert cohorts(workspace)[0]["title"] == "[Amplitude] New name: cxyzz3hz"


def test_changes_add_and_remove_existing_people_only(workspace: Any) -> None:
    workspace.cohort("cohorts", **NAME)
    workspace.attributes({"external_id": "a"}, {"external_id": "b"}, {"external_id": "c"})
    answer = change(workspace, {"user_ids": ["a", "b", "nobody"]})
    assert (answer.status_code, answer.json) == (201, {"message": "success"})
    assert members(workspace) == ["a", "b"]
    change(workspace, {"user_ids": ["c"]}, {"user_ids": ["a", "nobody"], "should_remove": True})
    assert members(workspace) == ["b", "c"]
    change(workspace, {"user_ids": ["b", "b"]}, {"user_ids": ["a"], "should_remove": True})
    assert members(workspace) == ["b", "c"]
    assert len(workspace.people()) == 3


def test_devices_find_anonymous_people_only(workspace: Any) -> None:
    device(workspace, "device-1")
    device(workspace, "device-2")
    change(workspace, {"device_ids": ["device-1", "device-2", "device-9"]})
    assert members(workspace) == [None, None]
    device(workspace, "device-1", do="change_user", external_id="ann")
    change(workspace, {"device_ids": ["device-1", "device-2"], "should_remove": True})
    # Ann was anonymous once; by her device she is found no longer.
    assert members(workspace) == ["ann"]
    change(workspace, {"user_ids": ["ann"], "should_remove": True})
    assert members(workspace) == []


def test_aliases_need_the_whole_pair(workspace: Any) -> None:
    pair = {"alias_name": "n", "alias_label": "l"}
    workspace.post("/users/alias/new", {"user_aliases": [pair]})
    change(workspace, {"aliases": [{**pair, "alias_label": "other"}]})
    assert members(workspace) == []
    change(workspace, {"aliases": [pair], "user_ids": [], "device_ids": []})
    assert members(workspace) == [None]


def test_cohorts_are_apart_and_no_attribute(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"})
    change(workspace, {"user_ids": ["a"]}, cohort_id="one")
    change(workspace, {"user_ids": ["a"]}, cohort_id="two")
    change(workspace, {"user_ids": ["a"], "should_remove": True}, cohort_id="one")
    assert (members(workspace, "one"), members(workspace, "two")) == ([], ["a"])
    assert workspace.export(["custom_attributes"], external_ids=["a"])["users"] == [{}]


def test_the_kept_profile_takes_the_place_of_the_merged_one_and_deleted_ones_leave(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"}, {"external_id": "b"})
    change(workspace, {"user_ids": ["b"]})
    pair = {"identifier_to_merge": {"external_id": "b"}, "identifier_to_keep": {"external_id": "a"}}
    workspace.post("/users/merge", {"merge_updates": [pair]})
    assert members(workspace) == ["a"]
    workspace.post("/users/delete", {"external_ids": ["a"]})
    assert members(workspace) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"cohort_id": 5}, "cohort_id must be a valid string"),
        ({"cohort_id": ""}, "cohort_id must be a valid string"),
        ({"name": ""}, "name must be a non-empty string"),
        ({"name": None}, "name must be a non-empty string"),
        ({"created_at": "soon"}, "created_at must be valid ISO 8601"),
        ({"created_at": 5}, "created_at must be valid ISO 8601"),
    ],
)
def test_refused_names(workspace: Any, more: Any, words: str) -> None:
    answer = workspace.cohort("cohorts", **{**NAME, **more})
    assert (answer.status_code, answer.json) == (400, {"message": words})
    assert cohorts(workspace) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (None, CHANGES_WORDS),
        ({}, CHANGES_WORDS),
        ([5], CHANGES_WORDS),
        ([{}], CHANGES_WORDS),
        ([{"should_remove": True}], CHANGES_WORDS),
        ([{"user_ids": "a"}], CHANGES_WORDS),
        ([{"user_ids": [5]}], CHANGES_WORDS),
        ([{"aliases": [{"alias_name": "x"}]}], CHANGES_WORDS),
        (
            [{"user_ids": ["a"] * 600}, {"device_ids": ["b"] * 401}],
            "Only 1,000 `user_ids`, `device_ids`, and `aliases` are allowed per request",
        ),
    ],
)
def test_refused_changes(workspace: Any, changes: Any, words: str) -> None:
    workspace.attributes({"external_id": "a"})
    before = workspace.digest()
    answer = workspace.cohort("cohorts/users", cohort_id="c", cohort_changes=changes)
    assert (answer.status_code, answer.json) == (400, {"message": words})
    assert workspace.digest() == before


def test_empty_changes_are_a_connection_test(workspace: Any) -> None:
    assert change(workspace).status_code == 201
    assert cohorts(workspace) == []


def test_who_may_import(workspace: Any) -> None:
    made = permissions.make(workspace.tank, "data_import", "second")
    good = {
        "partner_api_key": workspace.tank.credential("braze_partner_api_key"),
        "client_secret": made["value"],
        **NAME,
    }

    def words(path: str = "amplitude", **more: Any) -> tuple[int, str]:
        answer = workspace.post(f"/partners/{path}/cohorts", {**good, **more}, Authorization="")
        return answer.status_code, answer.json["message"]

    assert words() == (201, "success")
    assert words(partner_api_key="x") == (401, "Invalid Partner API key")
    assert words(client_secret="x") == (401, "Invalid client secret")
    assert words(client_secret=5) == (401, "Invalid client secret")
    secret = made["value"]
    assert words("mixpanel") == (401, f"Partner not enabled for client with client secret: {secret}")
    permissions.revoke(workspace.tank, secret)
    assert words() == (401, "Invalid client secret")


def test_a_key_for_rest_is_no_data_import_key(workspace: Any) -> None:
    rest = permissions.make(workspace.tank, "rest", "r", permissions=["users.track"])
    body = {"partner_api_key": workspace.tank.credential("braze_partner_api_key"), "client_secret": rest["value"]}
    assert workspace.post("/partners/amplitude/cohorts", {**body, **NAME}).status_code == 401


def test_readings_that_no_document_decides(make_workspace: Callable[..., Any]) -> None:
    nameless = make_workspace()
    nameless.attributes({"external_id": "a"})
    assert change(nameless, {"user_ids": ["a"]}).status_code == 201
    assert cohorts(nameless)[0]["name"] is None
    strict = make_workspace(cohort_unknown="refuse")
    assert change(strict, {"user_ids": ["a"]}).status_code == 400
    strict.cohort("cohorts", **NAME)
    assert change(strict, {"user_ids": ["a"]}).status_code == 201
    locked = make_workspace(cohort_lock_ms=1000)
    assert locked.cohort("cohorts", **NAME).status_code == 201
    answer = change(locked, {"user_ids": ["a"]})
    assert (answer.status_code, answer.json) == (423, {"message": "Resource locked"})
    locked.advance(1000)
    assert change(locked, {"user_ids": ["a"]}).status_code == 201


def test_import_is_counted_apart_from_the_workspace_pool(workspace: Any) -> None:
    answer = workspace.cohort("cohorts", **NAME)
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("250000", "249999")
    assert change(workspace).headers["X-RateLimit-Remaining"] == "249998"
    again = workspace.post("/users/delete", {"external_ids": ["x"]})
    assert again.headers["X-RateLimit-Remaining"] == "19999"


@pytest.mark.parametrize("when", ["01/02/2026", "2026-01-01 next", "Mon 01 02 10:00:00 2026", "yesterday"])
def test_created_at_is_iso_8601_and_nothing_else(workspace: Any, when: str) -> None:
    answer = workspace.cohort("cohorts", **{**NAME, "created_at": when})
    assert (answer.status_code, answer.json["message"]) == (400, "created_at must be valid ISO 8601")
    assert cohorts(workspace) == []


def test_a_partner_has_a_key_of_its_own_in_the_eu() -> None:
    """The key for the other clusters is unknown there; between two of them it is the customer's key that is wrong."""
    tanks = Tanks()
    mine = {region: tanks.create(f"{region}-{n}", region=region) for n, region in enumerate(("us", "eu"))}
    other = tanks.create("us-other")
    client = braze.create_app(tanks).test_client()

    def message(partner: Any, customer: Any) -> str:
        keys = {
            "partner_api_key": partner.credential("braze_partner_api_key"),
            "client_secret": customer.credential("braze_data_import_key"),
        }
        answer = client.post("/partners/amplitude/cohorts", json={**NAME, **keys})
        assert answer.status_code in (201, 401)
        return str(answer.json["message"])

    assert message(mine["eu"], mine["eu"]) == "success"
    assert message(mine["us"], mine["eu"]) == message(mine["eu"], mine["us"]) == "Invalid Partner API key"
    assert message(mine["us"], other) == "Invalid client secret"
    tanks.close()
