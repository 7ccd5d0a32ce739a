"""Sends over the REST API: whom they reach, what they are refused for, what is answered.

Sources: Braze docs, POST /messages/send; POST /campaigns/trigger/send; Recipients object; Connected audience object;
Errors; API limits; POST /sends/id/create; Send transactional email.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from simulator.braze import marketing, permissions

Messaging = Any

EMAIL = {"subject": "s", "body": "Hi {{${first_name}}} {{api_trigger_properties.${x}}}"}
PUSH = {"alert": "a"}
GROUP = "7c2d1c1e-0000-4000-a000-000000000001"
SMS = {"subscription_group_id": GROUP, "body": "b"}


def test_a_message_reaches_those_who_exist_and_can_be_reached(shop: Messaging) -> None:
    answer = shop.post("/messages/send", external_user_ids=["a", "b", "nobody"], messages={"email": EMAIL})
    assert answer.status_code == 201
    assert list(answer.json) == ["dispatch_id", "message"]
    assert re.fullmatch("[0-9a-f]{32}", answer.json["dispatch_id"])
    assert shop.messages() == []
    shop.advance(1000)
    assert [(each["who"], each["state"], each["reason"]) for each in shop.messages()] == [
        ("a", "sent", None),
        ("b", "skipped", "unsubscribed from e-mail"),
    ]
    assert shop.messages()[0]["rendered"] == {"subject": "s", "body": "Hi A "}
    with shop.tank.store.read() as conn:
        assert marketing.listed(conn, "campaign") == []


@pytest.mark.parametrize(("state", "reached"), [("all", "abcd"), ("subscribed", "acd"), ("opted_in", "c")])
def test_the_wanted_subscription_state(shop: Messaging, state: str, reached: str) -> None:
    whom = {"external_user_ids": list("abcd"), "recipient_subscription_state": state}
    shop.post("/messages/send", messages={"email": EMAIL}, **whom)
    shop.advance(1000)
    assert shop.sent() == list(reached)


def test_push_goes_to_the_tokens_of_its_platform(shop: Messaging) -> None:
    tokens = [{"app_id": "x", "token": f"t-{each}", "device_id": f"device-{each}"} for each in "12"]
    shop.workspace.attributes({"external_id": "a", "push_tokens": tokens})
    shop.post("/messages/send", external_user_ids=["a", "b"], messages={"apple_push": PUSH, "android_push": PUSH})
    shop.advance(1000)
    found = {(each["who"], each["channel"]): each["state"] for each in shop.messages()}
    # A token tells no platform here; those count as iOS by default.
    assert found == {
        ("a", "apple_push"): "sent",
        ("a", "android_push"): "skipped",
        ("b", "apple_push"): "skipped",
        ("b", "android_push"): "skipped",
    }


def test_sms_needs_a_number_and_a_place_in_the_group(shop: Messaging) -> None:
    groups = [{"subscription_group_id": GROUP, "subscription_state": "subscribed"}]
    shop.workspace.attributes(
        {"external_id": "a", "phone": "+14155550100", "subscription_groups": groups},
        {"external_id": "b", "phone": "+14155550101"},
        {"external_id": "c", "phone": "12", "subscription_groups": groups},
    )
    shop.post("/messages/send", external_user_ids=list("abcd"), messages={"sms": SMS})
    shop.advance(1000)
    reasons = ["not in the subscription group", "no valid phone number", "no valid phone number"]
    assert [each["reason"] for each in shop.messages()] == [None, *reasons]


def test_recipients_of_a_trigger(shop: Messaging) -> None:
    spring = shop.campaign({"channel": "email", "message": EMAIL})
    shop.workspace.attributes({"external_id": "e", "email": "a@example.com"})
    recipients = [
        {"external_user_id": "a", "trigger_properties": {"x": "first"}},
        {"external_user_id": "c"},
        {"email": "d@example.com", "prioritization": ["identified"], "trigger_properties": {"x": "mine"}},
        {"external_user_id": "a", "trigger_properties": {"x": "last"}},
        {"email": "a@example.com", "prioritization": ["identified"]},
        {"external_user_id": "new", "send_to_existing_only": False, "attributes": {"email": "n@example.com"}},
        {"external_user_id": "other", "attributes": {"email": "o@example.com"}},
    ]
    answer = shop.post(
        "/campaigns/trigger/send", campaign_id=spring.id, recipients=recipients, trigger_properties={"x": "all"}
    )
    assert answer.status_code == 201
    shop.advance(1000)
    bodies = {each["who"]: each["rendered"]["body"] for each in shop.messages()}
    # Of duplicates the last one counts; an address of two people is nobody's; only `new` may be made.
    assert bodies == {"c": "Hi C all", "d": "Hi D mine", "a": "Hi A last", "new": "Hi  all"}
    assert shop.workspace.person("other") is None


def test_a_broadcast_goes_to_an_audience(shop: Messaging) -> None:
    spring = shop.campaign({"channel": "email", "message": EMAIL})
    shop.workspace.attributes(
        {"external_id": "a", "tier": "gold", "n": 3}, {"external_id": "c", "tier": "gold", "n": 5}
    )
    tier = {"custom_attribute": {"custom_attribute_name": "tier", "comparison": "equals", "value": "gold"}}
    big = {"custom_attribute": {"custom_attribute_name": "n", "comparison": "greater_than", "value": 4}}
    opted = {"email_subscription_status": {"comparison": "is", "value": "opted_in"}}
    for audience, reached in (
        (tier, "ac"),
        ({"AND": [tier, big]}, "c"),
        ({"OR": [big, {"email_subscription_status": {"comparison": "is_not", "value": "opted_in"}}]}, "abcd"),
        ({"AND": [tier, {"OR": [big, opted]}]}, "c"),
        ({"custom_attribute": {"custom_attribute_name": "tier", "comparison": "does_not_exist"}}, "bd"),
    ):
        before = len(shop.messages())
        answer = shop.post("/campaigns/trigger/send", campaign_id=spring.id, broadcast=True, audience=audience)
        assert set(answer.json) == {"dispatch_id", "send_id", "message"}
        shop.advance(1000)
        assert [each["who"] for each in shop.messages()[before:]] == list(reached), audience


def refusals(shop: Messaging) -> dict[str, tuple[str, dict[str, Any]]]:
    """Path and body by the words of the refusal they meet."""
    api = shop.campaign({"channel": "email", "message": EMAIL}, type="api_messages")
    spring = shop.campaign({"channel": "email", "message": EMAIL})
    variation = api.data["variations"][0]["id"]
    send, trigger, flow = "/messages/send", "/campaigns/trigger/send", "/canvas/trigger/send"
    to = {"external_user_ids": ["a"]}
    many = [str(n) for n in range(51)]
    mail = {"messages": {"email": EMAIL}}
    named = {"email": {**EMAIL, "message_variation_id": variation}}
    return {
        "No Recipients": (send, mail),
        "'broadcast' must be true when no recipients are given": (send, {**mail, "segment_id": "x"}),
        "'broadcast' cannot be true when recipients are given": (send, {**mail, **to, "broadcast": True}),
        "The max number of external_ids and aliases per request was exceeded": (
            send,
            {**mail, "external_user_ids": many},
        ),
        "The max number of ids per request was exceeded": (
            trigger,
            {"campaign_id": spring.id, "recipients": [{"external_user_id": each} for each in many]},
        ),
        "Invalid Campaign ID": (send, {**to, **mail, "campaign_id": spring.id}),
        "Message Variant Unspecified": (send, {**to, **mail, "campaign_id": api.id}),
        "Invalid Message Variant": (
            send,
            {**to, "campaign_id": api.id, "messages": {"email": {**EMAIL, "message_variation_id": "x"}}},
        ),
        "Mismatched Message Type": (
            send,
            {**to, "campaign_id": api.id, "messages": {"web_push": {**PUSH, "message_variation_id": variation}}},
        ),
        "Invalid Extra Push Payload": (send, {**to, "messages": {"apple_push": {"alert": "a", "extra": "x"}}}),
        "No message to send": (send, to),
        "Apple Push Length Exceeded": (send, {**to, "messages": {"apple_push": {"alert": "ü" * 957}}}),
        "Android Push Length Exceeded": (send, {**to, "messages": {"android_push": {"alert": "x" * 4001}}}),
        "Bad Request": ("/messages/schedule/create", {**to, **mail, "schedule": {"time": "soon"}}),
        "canvas_id must be a string of the Canvas api identifier": (flow, {"canvas_id": "x", "broadcast": True}),
        "send_id must be an ASCII string of at most 64 characters": (send, {**to, **mail, "send_id": "x" * 65}),
        "'trigger_properties' exceeds 50 KB": (
            trigger,
            {"campaign_id": spring.id, "broadcast": True, "trigger_properties": {"x": "y" * 50_000}},
        ),
        "Invalid schedule_id": ("/messages/schedule/delete", {"schedule_id": "x"}),
        "Campaign does not exist": ("/transactional/v1/campaigns/x/send", {"recipient": {"external_user_id": "a"}}),
        "'broadcast' is no filter": (
            trigger,
            {"campaign_id": spring.id, "broadcast": True, "audience": {"broadcast": {}}},
        ),
        "": (send, {**to, "campaign_id": api.id, "messages": named}),
    }


def test_what_is_refused_says_why_and_changes_nothing(shop: Messaging) -> None:
    for words, (path, body) in refusals(shop).items():
        before = shop.workspace.digest()
        answer = shop.post(path, **body)
        if words:
            assert (answer.status_code, words in answer.json["message"]) == (400, True), (words, answer.json)
            assert shop.workspace.digest() == before
        else:
            assert answer.status_code == 201


def test_broadcasts_have_limits_of_their_own(shop: Messaging) -> None:
    spring, summer = (shop.campaign({"channel": "email", "message": EMAIL}) for _ in range(2))

    def broadcast(campaign: marketing.Marketed) -> Any:
        return shop.post("/campaigns/trigger/send", campaign_id=campaign.id, broadcast=True)

    assert [broadcast(spring).status_code for _ in range(11)] == [201] * 10 + [429]
    refused = broadcast(spring)
    assert (refused.headers["X-RateLimit-Limit"], refused.headers["X-RateLimit-Remaining"]) == ("10", "0")
    assert broadcast(summer).status_code == 201
    whom = [{"external_user_id": "a"}]
    assert shop.post("/campaigns/trigger/send", campaign_id=spring.id, recipients=whom).status_code == 201
    shop.advance(60_000)
    assert broadcast(spring).status_code == 201
    shop.workspace.set(pool_limits={"broadcast": 2})
    assert [broadcast(summer).status_code for _ in range(3)] == [201, 429, 429]


def test_send_ids(shop: Messaging) -> None:
    spring = shop.campaign({"channel": "email", "message": EMAIL})
    made = shop.post("/sends/id/create", campaign_id=spring.id, send_id="my-send")
    assert (made.status_code, made.json) == (201, {"message": "success", "send_id": "my-send"})
    assert shop.post("/sends/id/create", campaign_id=spring.id, send_id="my-send").status_code == 400
    own = shop.post("/sends/id/create", campaign_id=spring.id).json["send_id"]
    assert own != "my-send"
    whom = [{"external_user_id": each} for each in "ac"]
    answer = shop.post("/campaigns/trigger/send", campaign_id=spring.id, send_id="my-send", recipients=whom)
    assert answer.json["send_id"] == "my-send"
    shop.advance(120_000)
    asked = {"campaign_id": spring.id, "send_id": "my-send", "length": 1}
    (day,) = shop.get("/sends/data_series", **asked).json["data"]
    assert (day["time"], day["unique_recipients"]) == ("2026-01-01", 2)
    assert day["messages"]["email"][0]["sent"] == 2
    (other,) = shop.get("/sends/data_series", **{**asked, "send_id": own}).json["data"]
    assert other["messages"] == {}
    shop.workspace.set(pool_limits={"sends_id_create": 3})
    assert shop.post("/sends/id/create", campaign_id=spring.id).status_code == 429


def test_transactional_mail_reaches_who_is_unsubscribed_once_a_day(shop: Messaging) -> None:
    receipt = shop.campaign({"channel": "email", "message": EMAIL}, type="transactional")
    path = f"/transactional/v1/campaigns/{receipt.id}/send"
    body = {"external_send_id": "order-1", "recipient": {"external_user_id": "b"}, "trigger_properties": {"x": "1"}}
    first = shop.post(path, **body)
    assert first.status_code == 201
    assert (first.json["status"], first.json["metadata"]["external_send_id"]) == ("sent", "order-1")
    shop.advance(1000)
    assert shop.post(path, **body).json == first.json
    shop.advance(1000)
    assert [each["rendered"]["body"] for each in shop.messages()] == ["Hi B 1"]
    shop.advance(86_400_000)
    assert shop.post(path, **body).json["dispatch_id"] != first.json["dispatch_id"]
    shop.advance(1000)
    assert shop.sent() == ["b", "b"]
    spring = shop.campaign({"channel": "email", "message": EMAIL})
    words = shop.post(f"/transactional/v1/campaigns/{spring.id}/send", **body).json["message"]
    assert words.startswith("The campaign is not a transactional campaign")


def test_a_key_needs_the_permission_of_each_endpoint(shop: Messaging) -> None:
    key = permissions.make(shop.tank, "rest", "narrow", permissions=["messages.send"])["value"]
    auth = {"Authorization": f"Bearer {key}"}
    assert shop.workspace.post("/campaigns/trigger/send", {}, **auth).status_code == 403
    assert shop.workspace.post("/messages/send", {}, **auth).status_code == 400
