"""POST /users/track, /bulk, /sync. Source: Braze docs, the pages of the endpoints and of their objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator import braze
from simulator.braze import profile_store
from simulator.tank import Tanks
from simulator.timekeeper import Timekeeper

NOW = "2026-01-01T00:00:00Z"
MISSING = "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
ALIAS = {"alias_name": "cookie-1", "alias_label": "web"}
GROUP = "7c2d1c1e-0000-4000-a000-000000000001"


def event(**more: Any) -> dict[str, Any]:
    return {"external_id": "ann", "name": "seen", "time": NOW, **more}


# -- envelope


def test_refused_objects_stand_beside_the_processed_ones(workspace: Any) -> None:
    answer = workspace.attributes(
        {"external_id": "a", "plan": "pro"},
        {"plan": "pro"},
        {"external_id": "b"},
        {"external_id": "c", "braze_id": "d"},
        {"external_id": "e", "email": "nope"},
    )
    assert answer.status_code == 201
    assert answer.json == {
        "attributes_processed": 2,
        "errors": [
            {"index": 1, "input_array": "attributes", "type": MISSING},
            {
                "index": 3,
                "input_array": "attributes",
                "type": "You must specify only one of 'external_id', 'user_alias' or 'braze_id'",
            },
            {
                "index": 4,
                "input_array": "attributes",
                "type": "The value provided for the 'email' field is not a valid email.",
            },
        ],
        "message": "success",
    }
    assert [each["external_id"] for each in workspace.people()] == ["a", "b"]


def test_indexes_count_inside_the_named_array(workspace: Any) -> None:
    answer = workspace.track(attributes=[{"external_id": "a"}], events=[event(), {"name": "x", "time": NOW}])
    assert answer.json["errors"] == [{"index": 1, "input_array": "events", "type": MISSING}]
    assert (answer.json["attributes_processed"], answer.json["events_processed"]) == (1, 1)


@pytest.mark.parametrize("body", [{}, {"attributes": []}, {"attributes": {}}, {"events": "x"}, {"attributes": [1, {}]}])
def test_nothing_valid_is_400(workspace: Any, body: Any) -> None:
    before = workspace.digest()
    answer = workspace.post("/users/track", body)
    words = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
    assert (answer.status_code, answer.json["message"]) == (400, words)
    assert len(answer.json.get("errors", [])) == len(body.get("attributes", []))
    assert workspace.digest() == before


@pytest.mark.parametrize(
    ("plan", "attributes", "events", "status"),
    [
        ("shared_75", 40, 35, 201),
        ("shared_75", 40, 36, 400),
        ("each_75", 75, 75, 201),
        ("each_75", 76, 0, 400),
        ("combined_50", 25, 25, 201),
        ("combined_50", 26, 25, 400),
    ],
)
def test_objects_per_request_as_the_plan_says(
    make_workspace: Callable[..., Any], plan: str, attributes: int, events: int, status: int
) -> None:
    workspace = make_workspace(plan=plan)
    answer = workspace.track(attributes=[{"external_id": "a"}] * attributes, events=[event()] * events)
    assert answer.status_code == status
    if status == 400:
        assert answer.json == {"message": "Max Input Length Exceeded"}
        assert workspace.people() == []


# -- identifiers


def test_an_unknown_external_id_makes_a_profile_unless_told_not_to(workspace: Any) -> None:
    answer = workspace.attributes({"external_id": "a", "x": 1, "_update_existing_only": True})
    assert answer.json == {"attributes_processed": 1, "message": "success"}
    assert workspace.people() == []
    workspace.attributes({"external_id": "a", "x": 1}, {"external_id": "a", "x": 2, "_update_existing_only": True})
    assert workspace.person("a")["custom_attributes"] == {"x": 2}


def test_numbers_become_texts_and_case_counts(workspace: Any) -> None:
    workspace.attributes({"external_id": 12345, "x": 1}, {"external_id": "Ann"}, {"external_id": "ann"})
    assert [each["external_id"] for each in workspace.people()] == ["12345", "Ann", "ann"]


def test_external_ids_of_988_bytes_are_refused(workspace: Any) -> None:
    answer = workspace.attributes({"external_id": "x" * 987}, {"external_id": "ä" * 494})
    assert answer.json["attributes_processed"] == 1
    assert answer.json["errors"][0]["type"] == "'external_id' must be fewer than 988 bytes"


def test_an_alias_updates_and_makes_nobody_unless_told_so(workspace: Any) -> None:
    workspace.attributes({"user_alias": ALIAS, "x": 1})
    assert workspace.people() == []
    workspace.attributes({"user_alias": ALIAS, "x": 1, "_update_existing_only": False}, {"user_alias": ALIAS, "y": 2})
    (made,) = workspace.people()
    assert (made["external_id"], made["user_aliases"]) == (None, [ALIAS])
    assert made["custom_attributes"] == {"x": 1, "y": 2}
    for bad in (
        {},
        {"alias_name": "x"},
        {"alias_name": "", "alias_label": "l"},
        "x",
        {**ALIAS, "alias_name": "x" * 237},
    ):
        assert workspace.attributes({"user_alias": bad, "z": 1}).status_code == 400


def test_empty_identifiers_are_none(workspace: Any) -> None:
    for name in ("external_id", "braze_id", "user_alias"):
        assert workspace.attributes({name: "", "x": 1}).json["errors"][0]["type"] == MISSING
        assert workspace.attributes({name: "", "email": "a@example.com", "x": 1}).status_code == 201
    assert [each["external_id"] for each in workspace.people()] == [None]


def test_a_braze_id_updates_and_never_makes_a_profile(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"})
    braze_id = workspace.person("a")["braze_id"]
    workspace.attributes({"braze_id": braze_id, "x": 1}, {"braze_id": "f" * 24, "x": 2})
    assert len(workspace.people()) == 1
    assert workspace.person("a")["custom_attributes"] == {"x": 1}


def test_an_email_alone_makes_an_email_only_profile_without_alias(workspace: Any) -> None:
    workspace.attributes({"email": "a@example.com", "x": 1})
    (made,) = workspace.people()
    assert (made["external_id"], made["user_aliases"], made["email"]) == (None, [], "a@example.com")
    workspace.track(events=[{"email": "a@example.com", "name": "seen", "time": NOW}])
    assert len(workspace.people()) == 1


def test_equal_emails_stay_two_profiles_and_later_writes_go_to_the_identified_one(workspace: Any) -> None:
    workspace.attributes({"email": "a@example.com", "x": 1})
    workspace.attributes({"external_id": "a", "email": "a@example.com"})
    assert len(workspace.people()) == 2
    workspace.attributes({"email": "a@example.com", "y": 1})
    assert workspace.person("a")["custom_attributes"] == {"y": 1}
    workspace.attributes({"external_id": "b", "email": "a@example.com"})
    workspace.attributes({"external_id": "a", "touched": True})
    workspace.attributes({"email": "a@example.com", "z": 1})
    assert workspace.person("a")["custom_attributes"] == {"y": 1, "touched": True, "z": 1}
    assert workspace.person("b")["custom_attributes"] == {}


def test_email_beats_phone_and_both_are_attributes_beside_an_external_id(workspace: Any) -> None:
    workspace.attributes({"phone": "+14155550100", "x": 1})
    workspace.attributes({"email": "a@example.com", "phone": "+14155550100", "y": 1})
    phone_only, email_too = workspace.people()
    assert phone_only["custom_attributes"] == {"x": 1}
    assert (email_too["email"], email_too["phone"]) == ("a@example.com", "+14155550100")
    workspace.attributes({"external_id": "a", "phone": "+14155550100"})
    assert len(workspace.people()) == 3


def test_phones_are_looked_up_as_e164(workspace: Any) -> None:
    workspace.attributes({"phone": "(415) 555-0100", "x": 1}, {"phone": "+1 415 555 0100", "y": 1})
    (made,) = workspace.people()
    assert (made["phone"], made["custom_attributes"]) == ("+14155550100", {"x": 1, "y": 1})
    assert workspace.attributes({"phone": "12", "x": 1}).status_code == 400


# -- standard fields


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("first_name", "Ann", "Ann"),
        ("last_name", "x" * 300, "x" * 255),
        ("home_city", "Oslo", "Oslo"),
        ("dob", "1980-12-21", "1980-12-21"),
        ("dob", "21.12.1980", None),
        ("gender", "P", "P"),
        ("gender", "female", None),
        ("country", "us", "US"),
        ("country", "Germany", "DE"),
        ("country", "Atlantis", None),
        ("country", "NO", "NO"),
        ("language", "en", "en"),
        ("language", "klingon", None),
        ("time_zone", "Europe/Oslo", "Europe/Oslo"),
        ("time_zone", "Eastern Time (US & Canada)", "America/New_York"),
        ("time_zone", "Nowhere", None),
        ("current_location", {"longitude": 1.5, "latitude": 2}, {"longitude": 1.5, "latitude": 2}),
        ("email_subscribe", "opted_in", "opted_in"),
        ("push_subscribe", "unsubscribed", "unsubscribed"),
        ("email_open_tracking_disabled", True, True),
        ("marked_email_as_spam_at", "2026-01-01", "2026-01-01T00:00:00.000Z"),
        ("phone", "4155550100", "+14155550100"),
        ("phone", "call me", "call me"),
        ("First_Name", "Ann", None),
    ],
)
def test_standard_fields(workspace: Any, field: str, given: Any, stored: Any) -> None:
    workspace.attributes({"external_id": "a", field: given})
    assert workspace.person("a").get(field) == stored
    if field == "First_Name":
        assert workspace.person("a")["custom_attributes"] == {"First_Name": "Ann"}


def test_null_removes_a_standard_field(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "email": "a@example.com", "gender": "F"})
    workspace.attributes({"external_id": "a", "email": None, "gender": None})
    assert "email" not in workspace.person("a")
    assert workspace.one("email", "a@example.com") is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"email": ""}, "The value provided for the 'email' field is not a valid email."),
        ({"email_subscribe": "yes"}, "'email_subscribe' must be 'subscribed', 'unsubscribed', or 'opted_in'"),
        ({"push_subscribe": 1}, "'push_subscribe' must be 'subscribed', 'unsubscribed', or 'opted_in'"),
        (
            {"push_tokens": [{"app_id": "a", "token": "t", "device_id": "short"}]},
            "token import with 'device_id' must have a device_id less than 255 bytes and at least 8 bytes",
        ),
    ],
)
def test_published_words_of_refused_attributes(workspace: Any, given: Any, words: str) -> None:
    answer = workspace.attributes({"external_id": "a", **given})
    assert (answer.status_code, answer.json["errors"][0]["type"]) == (400, words)


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ({"current_location": [1, 2]}, "BAD_LOCATION_UPDATE"),
        ({"current_location": {"longitude": 1}}, "BAD_LOCATION_UPDATE"),
        ({"push_tokens": {}}, "BAD_PUSH_TOKEN_VALUE"),
        ({"push_tokens": [{"app_id": "a", "token": 5}]}, "BAD_PUSH_TOKEN_STRING"),
        ({"push_token_import": True}, "BAD_PUSH_TOKEN_IMPORT"),
        ({"subscription_groups": {}}, "BAD_SUBSCRIPTION_GROUP_ARRAY"),
        ({"subscription_groups": [{}]}, "BAD_SUBSCRIPTION_GROUP_HASH"),
        (
            {"subscription_groups": [{"subscription_group_id": 5, "subscription_state": "subscribed"}]},
            "BAD_SUBSCRIPTION_GROUP_ID",
        ),
        (
            {"subscription_groups": [{"subscription_group_id": "g", "subscription_state": "subscribed"}]},
            "BAD_SUBSCRIPTION_GROUP_ID",
        ),
        (
            {"subscription_groups": [{"subscription_group_id": GROUP, "subscription_state": "opted_in"}]},
            "BAD_SUBSCRIPTION_GROUP_STATE",
        ),
        ({"email_subscription_info": {}}, "INVALID_ATTRIBUTE_EMAIL_SUBSCRIPTION_INFO"),
    ],
)
def test_documented_conditions_by_their_names(make_workspace: Callable[..., Any], given: Any, token: str) -> None:
    workspace = make_workspace(error_tokens=True)
    answer = workspace.attributes({"external_id": "a", **given})
    assert answer.json["errors"] == [{"index": 0, "input_array": "attributes", "type": token}]


def test_a_subscription_change_reaches_every_profile_of_the_email(workspace: Any) -> None:
    group = [{"subscription_group_id": GROUP, "subscription_state": "subscribed"}]
    workspace.attributes({"external_id": "a", "email": "x@example.com"}, {"external_id": "b", "email": "x@example.com"})
    workspace.attributes({"external_id": "a", "subscription_groups": group})
    assert [each["subscription_groups"] for each in workspace.people()] == [{GROUP: "subscribed"}] * 2


def test_push_tokens_belong_to_one_profile(workspace: Any) -> None:
    token = {"app_id": "app", "token": "t1", "device_id": "device-0001"}
    workspace.attributes({"push_token_import": True, "push_tokens": [token, {"app_id": "app", "token": "t2"}]})
    assert [each["external_id"] for each in workspace.people()] == [None, None]
    workspace.attributes({"push_token_import": True, "push_tokens": [token]})
    assert len(workspace.people()) == 2
    workspace.attributes({"external_id": "a", "push_tokens": [token]})
    holders = [each for each in workspace.people() if any(one["token"] == "t1" for one in each["push_tokens"])]
    assert [each["external_id"] for each in holders] == ["a"]
    refused = workspace.attributes({"external_id": "b", "push_token_import": True, "push_tokens": [token]})
    assert refused.status_code == 400


# -- asynchrony


def test_the_answer_comes_first_and_exports_read_the_applied_state(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(apply_delay_ms=50)
    workspace.attributes({"external_id": "a", "x": 1})
    assert workspace.export(external_ids=["a"])["invalid_user_ids"] == ["a"]
    workspace.advance(49)
    assert workspace.person("a") is None
    workspace.advance(1)
    assert workspace.person("a")["custom_attributes"] == {"x": 1}


def test_writes_are_applied_in_order_or_not_as_the_setting_says(make_workspace: Callable[..., Any]) -> None:
    def last(jitter: int) -> list[int]:
        workspace = make_workspace(apply_delay_ms=50, apply_jitter_ms=jitter)
        for person in range(20):
            for n in range(3):
                workspace.attributes({"external_id": str(person), "x": n})
        workspace.advance(1_000)
        return [workspace.person(str(person))["custom_attributes"]["x"] for person in range(20)]

    assert last(0) == [2] * 20
    assert set(last(200)) > {2}


def test_pending_writes_survive_a_restart(tmp_path: Any) -> None:
    tanks = Tanks(tmp_path / "state.db")
    tank = tanks.create("t", settings={"clock.settle_ms": 0})
    headers = {"Authorization": f"Bearer {tank.credential('braze_rest_api_key')}"}
    client = braze.create_app(tanks).test_client()
    assert client.post("/users/track", json={"attributes": [{"external_id": "a"}]}, headers=headers).status_code == 201
    tanks.close()
    tanks = Tanks(tmp_path / "state.db")
    keeper = Timekeeper(tanks.get("t"), braze.TIMERS)
    keeper.advance(tanks.get("t").clock.now_ms() + 50)
    with tanks.get("t").store.read() as conn:
        assert profile_store.count(conn) == 1
    tanks.close()


# -- variants


def test_bulk_takes_a_thousand_objects_and_a_hundred_of_one_profile(workspace: Any) -> None:
    many = [{"external_id": str(n), "x": n} for n in range(1000)]
    assert workspace.post("/users/track/bulk", {"attributes": many}).json["attributes_processed"] == 1000
    assert workspace.post("/users/track/bulk", {"attributes": [*many, {"external_id": "x"}]}).status_code == 400
    same = [event()] * 101
    assert workspace.post("/users/track/bulk", {"events": same}).status_code == 400
    assert workspace.post("/users/track/bulk", {"events": same[1:]}).status_code == 201


def test_sync_answers_the_profile_after_the_write(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(apply_delay_ms=60_000)
    answer = workspace.post("/users/track/sync", {"events": [event()]})
    moment = "2026-01-01T00:00:00.000Z"
    assert (answer.status_code, answer.json) == (
        201,
        {
            "users": [
                {
                    "external_id": "ann",
                    "custom_attributes": {},
                    "custom_events": [{"name": "seen", "first": moment, "last": moment, "count": 1}],
                    "purchase_events": [],
                }
            ],
            "message": "success",
        },
    )
    unknown = {"attributes": [{"external_id": "bob", "x": 1, "_update_existing_only": True}]}
    assert workspace.post("/users/track/sync", unknown).json == {"users": [], "message": "success"}
    two = {"attributes": [{"external_id": "a"}], "events": [event()]}
    assert workspace.post("/users/track/sync", two).status_code == 400
