"""Delete, external ids, export. Source: Braze docs, Delete users; External ID migration; Export user profile by
identifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator.braze import profile_store

OK = {"message": "success"}


def alias(name: str = "cookie", label: str = "web") -> dict[str, str]:
    return {"alias_name": name, "alias_label": label}


def new_alias(workspace: Any, name: str = "cookie", label: str = "web", **more: Any) -> Any:
    return workspace.post("/users/alias/new", {"user_aliases": [{**alias(name, label), **more}]})


# -- delete


def test_deleted_is_what_was_queued_and_the_profile_is_gone(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace()
    workspace.attributes({"external_id": "a", "email": "a@example.com"})
    workspace.set(apply_delay_ms=500)
    answer = workspace.post("/users/delete", {"external_ids": ["a", "nobody"]})
    assert (answer.status_code, answer.json) == (201, {"deleted": 2, **OK})
    assert workspace.person("a") is not None
    workspace.advance(500)
    found = workspace.export(external_ids=["a"])
    assert (found["users"], found["invalid_user_ids"]) == ([], ["a"])
    assert workspace.export(email_address="a@example.com")["users"] == []


def test_every_kind_of_identifier_deletes(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"}, {"email": "b@example.com"}, {"phone": "+14155550100"})
    new_alias(workspace)
    braze_id = workspace.person("a")["braze_id"]
    for body in (
        {"braze_ids": [braze_id]},
        {"user_aliases": [alias()]},
        {"email_addresses": [{"email": "b@example.com", "prioritization": ["unidentified"]}]},
        {"phone_numbers": [{"phone": "415-555-0100", "prioritization": ["most_recently_updated"]}]},
    ):
        assert workspace.post("/users/delete", body).json == {"deleted": 1, **OK}
    assert workspace.people() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"external_ids": ["a"], "braze_ids": ["b"]},
        {"external_ids": "a"},
        {"external_ids": ["a"] * 51},
        {"email_addresses": [{"email": "a@example.com", "prioritization": ["least_recently_updated"]}]},
        {"email_addresses": [{"email": "a@example.com", "prioritization": ["identified", "unidentified"]}]},
    ],
)
def test_delete_refusals_change_nothing(workspace: Any, body: Any) -> None:
    workspace.attributes({"external_id": "a"})
    before = workspace.digest()
    assert workspace.post("/users/delete", body).status_code == 400
    assert workspace.digest() == before


def test_numbers_and_braze_ids_are_never_given_out_again(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"})
    first = workspace.person("a")
    workspace.post("/users/delete", {"external_ids": ["a"]})
    workspace.attributes({"external_id": "a"})
    assert workspace.person("a")["braze_id"] != first["braze_id"]
    assert workspace.person("a")["uid"] != first["uid"]


# -- external ids


def rename(workspace: Any, *pairs: tuple[str, str]) -> Any:
    body = [{"current_external_id": current, "new_external_id": new} for current, new in pairs]
    return workspace.post("/users/external_ids/rename", {"external_id_renames": body})


def test_both_ids_resolve_after_a_rename_until_the_old_one_is_removed(workspace: Any) -> None:
    workspace.attributes({"external_id": "old", "x": 1})
    answer = rename(workspace, ("old", "new"))
    pair = {"current_external_id": "old", "new_external_id": "new"}
    assert (answer.status_code, answer.json) == (201, {"rename_errors": [], "external_ids": [pair], **OK})
    workspace.attributes({"external_id": "old", "y": 2})
    (user,) = workspace.export(external_ids=["old"])["users"]
    assert (user["external_id"], user["custom_attributes"]) == ("new", {"x": 1, "y": 2})
    removed = workspace.post("/users/external_ids/remove", {"external_ids": ["old", "new"]})
    assert removed.json["removed_ids"] == ["old"]
    assert [index for index, _ in removed.json["removal_errors"]] == [1]
    assert workspace.export(external_ids=["old"])["invalid_user_ids"] == ["old"]


def test_a_name_in_use_cannot_be_taken(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"}, {"external_id": "b"})
    rename(workspace, ("a", "a2"))
    answer = rename(workspace, ("a2", "b"), ("b", "a"), ("nobody", "c"), ("a", "d"))
    assert answer.json["external_ids"] == []
    assert answer.json["rename_errors"][0] == [0, "new_external_id is already in use"]
    assert [index for index, _ in answer.json["rename_errors"]] == [0, 1, 2, 3]


def test_deleting_by_a_deprecated_id_removes_the_whole_profile(workspace: Any) -> None:
    workspace.attributes({"external_id": "old"})
    rename(workspace, ("old", "new"))
    workspace.post("/users/delete", {"external_ids": ["old"]})
    assert workspace.people() == []


@pytest.mark.parametrize("path", ["rename", "remove"])
def test_empty_and_overlong_lists_are_refused(workspace: Any, path: str) -> None:
    field = {"rename": "external_id_renames", "remove": "external_ids"}[path]
    one: Any = {"current_external_id": "a", "new_external_id": "b"} if path == "rename" else "a"
    for given in ([], [one] * 51, [5], None):
        assert workspace.post(f"/users/external_ids/{path}", {field: given}).status_code == 400


# -- export


def test_export_needs_its_fields_and_at_most_fifty_ids(workspace: Any) -> None:
    assert workspace.post("/users/export/ids", {"external_ids": ["a"]}).status_code == 400
    body = {"external_ids": ["a"] * 51, "fields_to_export": ["external_id"]}
    words = "The max number of external_ids and aliases per request was exceeded"
    assert workspace.post("/users/export/ids", body).json == {"message": words}
    workspace.set(export_needs_fields=False)
    workspace.attributes({"external_id": "a"})
    (user,) = workspace.post("/users/export/ids", {"external_ids": ["a"]}).json["users"]
    assert (user["appboy_id"], user["user_aliases"], user["total_revenue"]) == (user["braze_id"], [], 0.0)
    assert "email" not in user


def test_export_finds_by_every_identifier_and_all_profiles_of_an_email(workspace: Any) -> None:
    workspace.attributes({"email": "x@example.com"}, {"external_id": "a", "email": "x@example.com"})
    new_alias(workspace, external_id="a")
    assert len(workspace.export(email_address="x@example.com")["users"]) == 2
    assert [each["external_id"] for each in workspace.export(user_aliases=[alias()])["users"]] == ["a"]
    assert "invalid_user_ids" not in workspace.export(external_ids=["a"])


def test_events_older_than_ninety_days_are_not_exported(workspace: Any) -> None:
    old = {"external_id": "a", "name": "old", "time": "2025-09-01T00:00:00Z"}
    workspace.track(events=[old, {**old, "name": "new", "time": "2025-12-01T00:00:00Z"}])
    (user,) = workspace.export(["custom_events"], external_ids=["a"])["users"]
    assert [each["name"] for each in user["custom_events"]] == ["new"]


def test_later_steps_can_page_through_profiles(workspace: Any) -> None:
    workspace.post("/users/track/bulk", {"attributes": [{"external_id": f"p{n}"} for n in range(25)]})
    with workspace.tank.store.read() as conn:
        sizes = [len(page) for page in profile_store.pages(conn, 10)]
        assert (sizes, profile_store.count(conn)) == ([10, 10, 5], 25)
