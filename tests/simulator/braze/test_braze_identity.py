"""Aliases, identify, merge. Source: Braze docs, the page of each endpoint; Merge
behavior; User profile lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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
