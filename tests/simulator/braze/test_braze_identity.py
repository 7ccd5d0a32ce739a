"""Aliases, identify, merge, delete, external ids, export. Source: Braze docs, the page of each endpoint; Merge
behavior; User profile lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator.braze import profile_store

NOW = "2026-01-01T00:00:00Z"
OK = {"message": "success"}


def alias(name: str = "cookie", label: str = "web") -> dict[str, str]:
    return {"alias_name": name, "alias_label": label}


def new_alias(workspace: Any, name: str = "cookie", label: str = "web", **more: Any) -> Any:
    return workspace.post("/users/alias/new", {"user_aliases": [{**alias(name, label), **more}]})


def identify(workspace: Any, external_id: str, **more: Any) -> Any:
    entry = {"external_id": external_id, "user_alias": alias()}
    return workspace.post("/users/identify", {"aliases_to_identify": [entry], **more})


def merge(workspace: Any, source: Any, keep: Any) -> Any:
    return workspace.post(
        "/users/merge", {"merge_updates": [{"identifier_to_merge": source, "identifier_to_keep": keep}]}
    )


# -- aliases


def test_an_alias_goes_to_the_external_id_or_makes_an_alias_only_profile(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"})
    answer = new_alias(workspace, external_id="a")
    assert (answer.status_code, answer.json) == (201, {"aliases_processed": 1, **OK})
    new_alias(workspace, "other")
    new_alias(workspace, "nobody", external_id="unknown")
    known, alone = workspace.people()
    assert known["user_aliases"] == [alias()]
    assert (alone["external_id"], alone["user_aliases"]) == (None, [alias("other")])


def test_a_taken_pair_or_label_changes_nothing(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"}, {"external_id": "b"})
    new_alias(workspace, external_id="a")
    for again in ({"external_id": "b"}, {}, {"external_id": "a"}):
        assert new_alias(workspace, **again).json == {"aliases_processed": 1, **OK}
    new_alias(workspace, "second", external_id="a")
    assert [each["user_aliases"] for each in workspace.people()] == [[alias()], []]


def test_a_nested_pair_is_taken_too(workspace: Any) -> None:
    body = {"user_aliases": [{"user_alias": alias()}]}
    assert workspace.post("/users/alias/new", body).json["aliases_processed"] == 1
    assert len(workspace.people()) == 1


def test_alias_update_renames_within_the_label(workspace: Any) -> None:
    new_alias(workspace, "one")
    new_alias(workspace, "two")
    updates = [{"alias_label": "web", "old_alias_name": "one", "new_alias_name": "uno"}]
    assert workspace.post("/users/alias/update", {"alias_updates": updates}).json == OK
    taken = [{"alias_label": "web", "old_alias_name": "uno", "new_alias_name": "two"}]
    workspace.post("/users/alias/update", {"alias_updates": taken})
    assert [each["user_aliases"][0]["alias_name"] for each in workspace.people()] == ["uno", "two"]


# -- identify


def test_an_unknown_external_id_is_given_to_the_alias_only_profile(workspace: Any) -> None:
    new_alias(workspace)
    workspace.attributes({"user_alias": alias(), "x": 1})
    braze_id = workspace.people()[0]["braze_id"]
    answer = identify(workspace, "a")
    assert (answer.status_code, answer.json) == (201, {"aliases_processed": 1, **OK})
    (person,) = workspace.people()
    assert (person["external_id"], person["braze_id"], person["user_aliases"]) == ("a", braze_id, [alias()])
    assert person["custom_attributes"] == {"x": 1}


def test_a_known_external_id_takes_what_it_lacks_and_the_other_profile_is_gone(workspace: Any) -> None:
    new_alias(workspace)
    workspace.attributes({"user_alias": alias(), "x": 1, "y": 1, "first_name": "Anon", "home_city": "Oslo"})
    workspace.attributes({"external_id": "a", "x": 2, "first_name": "Ann"})
    workspace.track(events=[{"user_alias": alias(), "name": "seen", "time": NOW}])
    identify(workspace, "a")
    (person,) = workspace.people()
    assert person["custom_attributes"] == {"x": 2, "y": 1}
    assert (person["first_name"], person["home_city"]) == ("Ann", "Oslo")
    assert (person["custom_events"][0]["count"], person["user_aliases"]) == (1, [alias()])
    assert workspace.one("external_id", "a")["braze_id"] == person["braze_id"]


def test_the_old_merge_behavior_none_leaves_attributes_behind(workspace: Any) -> None:
    new_alias(workspace)
    token = {"app_id": "app", "token": "t", "device_id": "device-01"}
    workspace.attributes({"user_alias": alias(), "x": 1, "push_tokens": [token]}, {"external_id": "a"})
    identify(workspace, "a", merge_behavior="none")
    (person,) = workspace.people()
    assert (person["custom_attributes"], [each["token"] for each in person["push_tokens"]]) == ({}, ["t"])


@pytest.mark.parametrize("case", ["label", "spelling", "nobody"])
def test_cases_that_do_nothing_succeed_silently(workspace: Any, case: str) -> None:
    new_alias(workspace)
    workspace.attributes({"external_id": "a"})
    if case == "label":
        new_alias(workspace, "mine", external_id="a")
    entry = {"external_id": "a", "user_alias": alias()}
    if case == "spelling":
        entry["user_alias"] = alias("Cookie")
    if case == "nobody":
        entry["user_alias"] = alias("nobody")
    before = len(workspace.people())
    answer = workspace.post("/users/identify", {"aliases_to_identify": [entry]})
    assert (answer.status_code, answer.json["message"]) == (201, "success")
    assert len(workspace.people()) == before == 2


def test_an_email_only_profile_is_identified_by_email(workspace: Any) -> None:
    workspace.attributes({"email": "a@example.com", "x": 1})
    entry = {"external_id": "a", "email": "a@example.com", "prioritization": ["unidentified", "most_recently_updated"]}
    workspace.post("/users/identify", {"emails_to_identify": [entry]})
    (person,) = workspace.people()
    assert (person["external_id"], person["custom_attributes"]) == ("a", {"x": 1})


def test_an_email_that_the_target_has_too_merges_nothing(workspace: Any) -> None:
    workspace.attributes({"email": "a@example.com", "x": 1}, {"external_id": "a", "email": "a@example.com"})
    entry = {"external_id": "a", "email": "a@example.com", "prioritization": ["unidentified"]}
    workspace.post("/users/identify", {"emails_to_identify": [entry]})
    assert len(workspace.people()) == 2


def test_several_matches_need_a_prioritization_that_leaves_one(workspace: Any) -> None:
    token_alias = [alias("one"), alias("two")]
    for number, pair in enumerate(token_alias):
        workspace.attributes({"user_alias": pair, "phone": "+14155550100", "n": number, "_update_existing_only": False})
    entry = {"external_id": "a", "phone": "415-555-0100", "prioritization": ["unidentified"]}
    workspace.post("/users/identify", {"phone_numbers_to_identify": [entry]})
    assert workspace.person("a") is None
    entry["prioritization"] = ["unidentified", "least_recently_updated"]
    workspace.post("/users/identify", {"phone_numbers_to_identify": [entry]})
    assert workspace.person("a")["custom_attributes"] == {"n": 0}


# -- merge


def full(workspace: Any) -> None:
    """Two people whose every field differs."""
    workspace.track(
        attributes=[
            {"external_id": "keep", "first_name": "Ann", "both": "keep", "mine": 1, "nested": {"a": 1}},
            {
                "external_id": "source",
                "first_name": "Old",
                "last_name": "Lee",
                "gender": "F",
                "dob": "1980-01-01",
                "home_city": "Oslo",
                "country": "NO",
                "language": "no",
                "time_zone": "Europe/Oslo",
                "phone": "+14155550100",
                "email": "old@example.com",
                "both": "source",
                "theirs": 2,
                "nested": {"b": 2},
                "push_tokens": [{"app_id": "app", "token": "t", "device_id": "device-01"}],
            },
        ],
        events=[
            {"external_id": "keep", "name": "seen", "time": "2025-12-05T00:00:00Z"},
            {"external_id": "source", "name": "seen", "time": "2025-12-01T00:00:00Z"},
            {"external_id": "source", "name": "seen", "time": "2025-12-09T00:00:00Z"},
        ],
        purchases=[
            {"external_id": who, "product_id": "p", "currency": "USD", "price": 5, "time": NOW}
            for who in ("keep", "source")
        ],
    )
    new_alias(workspace, "kept", external_id="keep")
    new_alias(workspace, "lost", external_id="source")
    new_alias(workspace, "extra", "app", external_id="source")


def test_a_merge_carries_what_the_table_says(workspace: Any) -> None:
    full(workspace)
    before = workspace.person("keep")["braze_id"]
    answer = merge(workspace, {"external_id": "source"}, {"external_id": "keep"})
    assert (answer.status_code, answer.json) == (202, OK)
    (kept,) = workspace.people()
    assert (kept["braze_id"], kept["external_id"]) == (before, "keep")
    assert {name: kept[name] for name in ("first_name", "last_name", "gender", "dob", "home_city", "country")} == {
        "first_name": "Ann",
        "last_name": "Lee",
        "gender": "F",
        "dob": "1980-01-01",
        "home_city": "Oslo",
        "country": "NO",
    }
    assert (kept["language"], kept["time_zone"], kept["phone"]) == ("no", "Europe/Oslo", "+14155550100")
    assert kept["email"] == "old@example.com"
    # No deep merge of nested values is stated.
    assert kept["custom_attributes"] == {"both": "keep", "mine": 1, "nested": {"a": 1}, "theirs": 2}
    assert kept["custom_events"] == [
        {"name": "seen", "first": "2025-12-01T00:00:00.000Z", "last": "2025-12-09T00:00:00.000Z", "count": 3}
    ]
    assert (kept["purchases"][0]["count"], kept["stats"]["revenue"]) == (2, 10)
    assert sorted(each["alias_name"] for each in kept["user_aliases"]) == ["extra", "kept"]
    assert [each["token"] for each in kept["push_tokens"]] == ["t"]
    assert workspace.person("source") is None
    assert workspace.one("email", "old@example.com")["external_id"] == "keep"


def test_a_merge_takes_its_time_and_the_source_stays_findable(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(merge_delay_ms=60_000)
    full(workspace)
    merge(workspace, {"external_id": "source"}, {"external_id": "keep"})
    workspace.advance(59_999)
    assert workspace.person("source") is not None
    workspace.advance(1)
    assert workspace.person("source") is None


def test_the_two_sides_may_be_of_different_kinds(workspace: Any) -> None:
    new_alias(workspace)
    workspace.attributes({"user_alias": alias(), "x": 1}, {"external_id": "a", "email": "a@example.com"})
    merge(workspace, {"user_alias": alias()}, {"email": "a@example.com", "prioritization": ["identified"]})
    (person,) = workspace.people()
    assert (person["external_id"], person["custom_attributes"]) == ("a", {"x": 1})


def test_equal_emails_are_merged_only_when_asked(workspace: Any) -> None:
    workspace.attributes({"email": "a@example.com", "x": 1})
    workspace.attributes({"external_id": "a", "email": "a@example.com"})
    assert len(workspace.people()) == 2
    order = {"email": "a@example.com", "prioritization": ["unidentified", "most_recently_updated"]}
    merge(workspace, {"email": "a@example.com"}, {"external_id": "a"})
    assert len(workspace.people()) == 2
    merge(workspace, order, {"external_id": "a"})
    assert [each["custom_attributes"] for each in workspace.people()] == [{"x": 1}]


def test_a_merge_with_nobody_or_itself_does_nothing(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "x": 1})
    for source in ({"external_id": "a"}, {"external_id": "nobody"}):
        assert merge(workspace, source, {"external_id": "a"}).status_code == 202
    assert len(workspace.people()) == 1


def test_two_profiles_with_invalid_phone_numbers_are_not_merged(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "phone": "none"}, {"external_id": "b", "phone": "n/a"})
    assert merge(workspace, {"external_id": "a"}, {"external_id": "b"}).status_code == 202
    assert len(workspace.people()) == 2
    workspace.attributes({"external_id": "b", "phone": "+14155550100"})
    merge(workspace, {"external_id": "a"}, {"external_id": "b"})
    assert len(workspace.people()) == 1


PAIR = {"identifier_to_merge": {"external_id": "a"}, "identifier_to_keep": {"external_id": "b"}}
WORDS = (
    "identifiers must be objects with an 'external_id' property that is a string, 'user_alias' property that is an "
    "object, 'email' property that is a string, or 'phone' property that is a string"
)


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        (None, "'merge_updates' must be an array of objects"),
        ({}, "'merge_updates' must be an array of objects"),
        ([1], "'merge_updates' must be an array of objects"),
        ([PAIR] * 51, "a single request may not contain more than 50 merge updates"),
        ([{**PAIR, "x": 1}], "'merge_updates' must only have 'identifier_to_merge' and 'identifier_to_keep'"),
        (
            [{"identifier_to_merge": {}}],
            "'merge_updates' must only have 'identifier_to_merge' and 'identifier_to_keep'",
        ),
        ([{**PAIR, "identifier_to_keep": {"external_id": 5}}], WORDS),
        ([{**PAIR, "identifier_to_keep": "b"}], WORDS),
        ([{**PAIR, "identifier_to_keep": {"braze_id": "b"}}], WORDS),
        ([{**PAIR, "identifier_to_keep": {"user_alias": "b"}}], WORDS),
    ],
)
def test_merge_refusals_in_the_documents_words(workspace: Any, updates: Any, words: str) -> None:
    answer = workspace.post("/users/merge", {"merge_updates": updates})
    assert (answer.status_code, answer.json) == (400, {"message": words})


def test_members_that_do_not_belong_to_an_identifier_are_passed_over(workspace: Any) -> None:
    workspace.attributes({"external_id": "keep"}, {"external_id": "other", "email": "x@example.com"})
    entry = {"external_id": "new", "email": "y@example.com", "user_alias": 5, "braze_id": 7}
    assert workspace.post("/users/identify", {"emails_to_identify": [entry]}).status_code == 201
    source = {"email": "x@example.com", "braze_id": 7}
    assert merge(workspace, source, {"external_id": "keep"}).status_code == 202
    assert [each["external_id"] for each in workspace.people()] == ["keep"]
    body = {"email_addresses": [{"email": "x@example.com", "external_id": "nobody"}]}
    workspace.post("/users/delete", body)
    assert workspace.people() == []


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
