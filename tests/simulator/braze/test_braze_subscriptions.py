"""Subscription groups, global e-mail state and lists of addresses. Source: Braze docs, Subscription groups; Email lists
and addresses; Currents, message engagement events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from simulator.braze import email_tables, subscribing, subscription_groups

DAY_MS = 86_400_000
GROUP = "6b9bdc4b-8a5b-4a0e-9d6e-2c6a3f3c0001"
OTHER = "6b9bdc4b-8a5b-4a0e-9d6e-2c6a3f3c0002"


def get(workspace: Any, path: str, **query: Any) -> Any:
    return workspace.client.get(path, query_string=query, headers={"Authorization": f"Bearer {workspace.key}"})


def put(workspace: Any, state: str = "unsubscribed", group: str = GROUP, **who: Any) -> Any:
    body = {"subscription_group_id": group, "subscription_state": state, **who}
    return workspace.post("/subscription/status/set", body)


def groups(workspace: Any, external_id: str) -> dict[str, str]:
    found: dict[str, str] = workspace.person(external_id)["subscription_groups"]
    return found


def now(workspace: Any) -> int:
    found: int = workspace.tank.clock.now_ms()
    return found


# -- groups


def test_an_address_sets_everybody_who_has_it(workspace: Any) -> None:
    workspace.attributes(
        {"external_id": "a", "email": "x@example.com", "phone": "+14155550100"},
        {"external_id": "b", "email": "x@example.com"},
        {"external_id": "c", "phone": "4155550100"},
    )
    answer = put(workspace, email=["x@example.com"])
    assert (answer.status_code, answer.json) == (201, {"message": "success"})
    assert [groups(workspace, each) for each in "abc"] == [{GROUP: "unsubscribed"}, {GROUP: "unsubscribed"}, {}]
    put(workspace, "subscribed", OTHER, phone="+1 (415) 555-0100")
    assert [groups(workspace, each).get(OTHER) for each in "abc"] == ["subscribed", None, "subscribed"]
    assert "email_subscribe" not in workspace.person("a"), "the global state is another thing"


def test_an_external_id_sets_whoever_shares_the_address(workspace: Any) -> None:
    workspace.attributes(
        {"external_id": "a", "email": "x@example.com"},
        {"external_id": "b", "email": "x@example.com"},
        {"external_id": "c"},
    )
    put(workspace, external_id=["a", "c", "nobody"])
    assert [groups(workspace, each) for each in "abc"] == [{GROUP: "unsubscribed"}] * 3


def test_a_state_waits_30_days_for_somebody_with_the_address(workspace: Any) -> None:
    put(workspace, email="late@example.com")
    put(workspace, phone="4155550100")
    put(workspace, group=OTHER, email="never@example.com")
    status = get(workspace, "/subscription/status/get", subscription_group_id=GROUP, email="late@example.com").json
    assert status["status"] == {"late@example.com": "Unsubscribed"}
    workspace.advance(30 * DAY_MS)
    workspace.attributes({"external_id": "a", "email": "late@example.com"}, {"external_id": "p"})
    assert groups(workspace, "a") == {GROUP: "unsubscribed"}
    workspace.attributes({"external_id": "p", "phone": "+14155550100"})
    assert groups(workspace, "p") == {GROUP: "unsubscribed"}
    workspace.advance(1)
    workspace.attributes({"external_id": "b", "email": "never@example.com"})
    assert groups(workspace, "b") == {}
    workspace.attributes({"external_id": "d", "email": "late@example.com"})
    assert groups(workspace, "d") == {}, "the first one took it"


def test_v2_sets_several_groups(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"}, {"external_id": "b"})
    change = {"subscription_group_id": GROUP, "subscription_state": "subscribed", "external_ids": ["a", "b"]}
    other = {"subscription_group_id": OTHER, "subscription_state": "unsubscribed", "external_ids": ["b"]}
    answer = workspace.post("/v2/subscription/status/set", {"subscription_groups": [change, other]})
    assert (answer.status_code, answer.json) == (201, {"message": "success"})
    assert groups(workspace, "a") == {GROUP: "subscribed"}
    assert groups(workspace, "b") == {GROUP: "subscribed", OTHER: "unsubscribed"}


def test_what_setting_refuses(workspace: Any) -> None:
    two = "Either an email address or a phone number should be provided, but not both."
    for given, message in (
        ({"email": "x@example.com", "phone": "+14155550100"}, two),
        ({"group": "no group", "email": "x@example.com"}, "Invalid subscription group ID"),
        ({"state": "opted_in", "email": "x"}, "'subscription_state' must be 'subscribed' or 'unsubscribed'"),
        ({}, "'external_id', 'email' or 'phone' is required"),
        ({"external_id": [str(n) for n in range(51)]}, "The max number of ids per request was exceeded"),
        ({"external_id": [1]}, "'external_id' has an object that is not valid"),
    ):
        answer = put(workspace, **given)
        assert (answer.status_code, answer.json) == (400, {"message": message}), given
    base = {"subscription_group_id": GROUP, "subscription_state": "subscribed"}
    for changes, message in (
        ([], "'subscription_groups' must be an array of objects"),
        ([{**base, "emails": ["x@example.com"]}, {**base, "phones": ["+14155550100"]}], two),
        ([{**base, "external_ids": ["a"] * 26}] * 2, "The max number of ids per request was exceeded"),
        ([base], "'external_ids', 'emails' or 'phones' is required"),
    ):
        answer = workspace.post("/v2/subscription/status/set", {"subscription_groups": changes})
        assert (answer.status_code, answer.json) == (400, {"message": message})


def test_groups_that_were_made_are_the_only_ones(workspace: Any) -> None:
    with workspace.tank.store.write() as conn:
        made = subscription_groups.make(conn, workspace.tank, "News", "email")
    workspace.attributes({"external_id": "a"})
    assert put(workspace, external_id="a").json == {"message": "Invalid subscription group ID"}
    assert put(workspace, group=made["id"], external_id="a").status_code == 201
    answer = workspace.attributes(
        {
            "external_id": "a",
            "subscription_groups": [{"subscription_group_id": GROUP, "subscription_state": "subscribed"}],
        }
    )
    assert answer.status_code == 400
    (user,) = get(workspace, "/subscription/user/status", external_id="a").json["users"]
    assert user["subscription_groups"] == [
        {"id": made["id"], "name": "News", "channel": "email", "status": "Unsubscribed"}
    ]


def test_states_are_read_back(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "email": "x@example.com"}, {"external_id": "b"})
    put(workspace, "subscribed", external_id="a")
    query = {"subscription_group_id": GROUP, "external_id[]": ["a", "b", "nobody"]}
    body = get(workspace, "/subscription/status/get", **query).json
    assert body == {"status": {"a": "Subscribed", "b": "unknown", "nobody": "unknown"}, "message": "success"}
    workspace.set(subscription_unknown="Unknown")
    assert get(workspace, "/subscription/status/get", **query).json["status"]["b"] == "Unknown"
    body = get(workspace, "/subscription/user/status", email="x@example.com").json
    assert body["total_count"] == 1
    assert body["users"][0] == {
        "email": "x@example.com",
        "phone": None,
        "external_id": "a",
        "subscription_groups": [{"id": GROUP, "name": None, "channel": "email", "status": "Subscribed"}],
    }
    people = {"external_id[]": ["a", "b"], "limit": 1, "offset": 1}
    body = get(workspace, "/subscription/user/status", **people).json
    assert (body["total_count"], [each["external_id"] for each in body["users"]]) == (2, ["b"])
    assert get(workspace, "/subscription/user/status", limit=1).status_code == 400
    assert get(workspace, "/subscription/status/get", subscription_group_id="x", email="a").status_code == 400


def test_a_changed_group_is_a_currents_event(make_workspace: Callable[..., Any], receiver: Any) -> None:
    from simulator.braze import currents_feed

    workspace = make_workspace()
    with workspace.tank.store.write() as conn:
        currents_feed.configure(conn, workspace.tank, {"url": receiver.url})
    workspace.attributes(
        {"external_id": "a", "email": "x@example.com", "time_zone": "Europe/Berlin"}, {"external_id": "b"}
    )
    put(workspace, "subscribed", external_id=["a", "b"])
    put(workspace, "subscribed", external_id=["a", "b"])
    put(workspace, "unsubscribed", external_id="a")
    workspace.advance(400_000)
    told = [each for one in receiver.got for each in json.loads(one.body)["events"]]
    assert {each["event_type"] for each in told} == {"users.behaviors.subscriptiongroup.StateChange"}
    states = [(each["user"]["external_user_id"], each["properties"]["subscription_status"]) for each in told]
    assert sorted(states) == [("a", "Subscribed"), ("a", "Unsubscribed"), ("b", "Subscribed")], "only what changed"
    (last,) = [each for each in told if each["properties"]["subscription_status"] == "Unsubscribed"]
    assert last["properties"]["subscription_group_id"] == GROUP
    assert last["properties"]["email_address"] == "x@example.com"
    assert last["user"]["user_id"] == workspace.person("a")["braze_id"]
    assert last["user"]["timezone"] == "Europe/Berlin"


# -- e-mail state and lists


def test_email_status_goes_to_everybody_with_the_address(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "email": "x@example.com"}, {"external_id": "b", "email": "x@example.com"})
    answer = workspace.post("/email/status", {"email": "x@example.com", "subscription_state": "unsubscribed"})
    assert (answer.status_code, answer.json) == (201, {"message": "success"})
    assert [workspace.person(each)["email_subscribe"] for each in "ab"] == ["unsubscribed"] * 2
    nobody = {"email": ["late@example.com"], "subscription_state": "opted_in"}
    assert workspace.post("/email/status", nobody).status_code == 201
    workspace.attributes({"external_id": "c", "email": "late@example.com"})
    assert workspace.person("c")["email_subscribe"] == "opted_in"
    for body in (
        {"email": "x@example.com", "subscription_state": "maybe"},
        {"email": "no address", "subscription_state": "subscribed"},
        {"email": [], "subscription_state": "subscribed"},
        {"email": [f"u{n}@example.com" for n in range(51)], "subscription_state": "subscribed"},
    ):
        assert workspace.post("/email/status", body).status_code == 400


def test_unsubscribed_addresses_are_listed_however_it_happened(workspace: Any) -> None:
    workspace.advance(DAY_MS)
    first = now(workspace)
    workspace.attributes({"external_id": "a", "email": "a@example.com", "email_subscribe": "unsubscribed"})
    workspace.advance(DAY_MS)
    workspace.post("/email/status", {"email": "b@example.com", "subscription_state": "unsubscribed"})
    workspace.attributes({"external_id": "c", "email": "c@example.com", "email_subscribe": "opted_in"})

    def day(ms: int) -> str:
        from datetime import UTC, datetime

        return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}"

    span = {"start_date": day(first), "end_date": day(now(workspace))}
    body = get(workspace, "/email/unsubscribes", **span).json
    assert [each["email"] for each in body["emails"]] == ["b@example.com", "a@example.com"], "newest first"
    assert body["emails"][1]["unsubscribed_at"][:10] == day(first)
    assert body["emails"][1]["unsubscribed_at"].endswith(" +0000")
    older = get(workspace, "/email/unsubscribes", start_date=day(first), end_date=day(first), sort_direction="asc")
    assert [each["email"] for each in older.json["emails"]] == ["a@example.com"]
    paged = get(workspace, "/email/unsubscribes", **span, limit=1, offset=1, sort_direction="asc").json
    assert [each["email"] for each in paged["emails"]] == ["b@example.com"]
    workspace.attributes({"external_id": "a", "email_subscribe": "subscribed"})
    assert get(workspace, "/email/unsubscribes", email="a@example.com").json["emails"] == []
    for bad in ({}, {"start_date": "2026-01-01"}, {"start_date": "2026-02-01", "end_date": "2026-01-01"}):
        assert get(workspace, "/email/unsubscribes", **bad).status_code == 400
    assert get(workspace, "/email/unsubscribes", email="a", limit=501).status_code == 400


def test_bounces_and_spam_come_off_their_lists(workspace: Any) -> None:
    with workspace.tank.store.write() as conn:
        for kind in ("hard_bounce", "spam"):
            email_tables.mark(conn, kind, ["x@example.com", "y@example.com"], now(workspace))
    listed = get(workspace, "/email/hard_bounces", email="x@example.com").json
    assert list(listed["emails"][0]) == ["email", "hard_bounced_at"]
    assert workspace.post("/email/bounce/remove", {"email": ["x@example.com", "z@example.com"]}).status_code == 201
    assert get(workspace, "/email/hard_bounces", email="x@example.com").json["emails"] == []
    assert len(get(workspace, "/email/hard_bounces", email="y@example.com").json["emails"]) == 1
    assert workspace.post("/email/spam/remove", {"email": "x@example.com"}).json == {"message": "success"}
    with workspace.tank.store.read() as conn:
        assert set(conn.execute(email_tables.suppressed()).scalars()) == {"y@example.com"}


def test_a_blocked_address_is_unsubscribed_and_counts_as_bounced(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "email": "x@example.com"})
    for path in ("/email/blocklist", "/email/blacklist"):
        assert workspace.post(path, {"email": "x@example.com"}).status_code == 201
    assert workspace.person("a")["email_subscribe"] == "unsubscribed"
    assert len(get(workspace, "/email/hard_bounces", email="x@example.com").json["emails"]) == 1


def test_what_people_do_themselves_takes_the_same_way(workspace: Any) -> None:
    workspace.attributes({"external_id": "a", "email": "x@example.com"})
    emails = {"emails": ["x@example.com"], "state": "unsubscribed"}
    group = {"group": GROUP, "state": "subscribed", "kind": "external_id", "values": ["a"]}
    with workspace.tank.store.write() as conn:
        subscribing.email_status(conn, workspace.tank, emails, now(workspace), now(workspace))
        subscribing.groups(conn, workspace.tank, [group], now(workspace), now(workspace))
    person = workspace.person("a")
    assert (person["email_subscribe"], person["subscription_groups"]) == ("unsubscribed", {GROUP: "subscribed"})
    assert len(get(workspace, "/email/unsubscribes", email="x@example.com").json["emails"]) == 1
