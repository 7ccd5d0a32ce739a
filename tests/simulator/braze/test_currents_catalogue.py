"""The catalogue against the document's own lists. Source: Braze docs, Amplitude for Currents; Currents
event glossary and sample data (types on the wire).
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from simulator.braze import catalogue, currents_feed
from simulator.openapi import contract

WIRE = {
    "Custom Event": "users.behaviors.CustomEvent",
    "Purchase": "users.behaviors.Purchase",
    "First Session": "users.behaviors.app.FirstSession",
    "Session Start": "users.behaviors.app.SessionStart",
    "Session End": "users.behaviors.app.SessionEnd",
    "Location": "users.behaviors.Location",
    "Install Attribution": "users.behaviors.InstallAttribution",
    "Push Notification Send": "users.messages.pushnotification.Send",
    "Push Notification Open": "users.messages.pushnotification.Open",
    "Push Notification iOS Foreground Open": "users.messages.pushnotification.IosForeground",
    "Push Notification Bounce": "users.messages.pushnotification.Bounce",
    "Email Send": "users.messages.email.Send",
    "Email Delivery": "users.messages.email.Delivery",
    "Email Open": "users.messages.email.Open",
    "Email Click": "users.messages.email.Click",
    "Email Bounce": "users.messages.email.Bounce",
    "Email Soft Bounce": "users.messages.email.SoftBounce",
    "Email Mark As Spam": "users.messages.email.MarkAsSpam",
    "Email Unsubscribe": "users.messages.email.Unsubscribe",
    "SMS Send": "users.messages.sms.Send",
    "SMS Send To Carrier": "users.messages.sms.CarrierSend",
    "SMS Delivery": "users.messages.sms.Delivery",
    "SMS Rejection": "users.messages.sms.Rejection",
    "SMS Delivery Failure": "users.messages.sms.DeliveryFailure",
    "Subscription Group State Change": "users.behaviors.subscriptiongroup.StateChange",
    "In-App Message Impression": "users.messages.inappmessage.Impression",
    "In-App Message Click": "users.messages.inappmessage.Click",
    "Webhook Send": "users.messages.webhook.Send",
    "Content Card Send": "users.messages.contentcard.Send",
    "Content Card Impression": "users.messages.contentcard.Impression",
    "Content Card Click": "users.messages.contentcard.Click",
    "Content Card Dismiss": "users.messages.contentcard.Dismiss",
    "News Feed Card Impression": "users.messages.newsfeedcard.Impression",
    "News Feed Card Click": "users.messages.newsfeedcard.Click",
    "News Feed Impression": "users.behaviors.app.NewsFeedImpression",
    "Uninstall": "users.behaviors.Uninstall",
    "Campaign Conversion Event": "users.campaigns.Conversion",
    "Canvas Conversion Event": "users.canvas.Conversion",
    "Canvas Entry": "users.canvas.Entry",
    "Campaign Control Group Enrollment": "users.campaigns.EnrollInControl",
}
ONLY_FOR = {"url": {"Email Click"}, "from_phone_number": {"SMS Delivery", "SMS Delivery Failure"}}
BEHAVIOURS = list(WIRE)[:7]


@cache
def documented() -> dict[str, dict[str, str]]:
    blocks = yaml.safe_load(Path(__file__).with_name("documented_events.yaml").read_text("utf-8"))
    return {name: block["properties"] for block in blocks for name in block["events"]}


def test_the_document_names_forty_events_with_371_properties() -> None:
    assert set(documented()) == set(WIRE)
    assert len(WIRE) == 40
    assert sum(len(properties) for properties in documented().values()) == 371


@pytest.mark.parametrize("name", list(WIRE))
def test_every_event_has_every_property_of_the_document(name: str) -> None:
    event = catalogue.event_types()[WIRE[name]]
    assert event.name == name
    wanted = {key: type_ for key, type_ in documented()[name].items() if name in ONLY_FOR.get(key, {name})}
    assert {each.name: each.type for each in event.properties.values()} == wanted


def test_content_cards_are_named_otherwise_over_http() -> None:
    # Braze's samples for custom HTTP connectors: content_card_id; news feed cards stay card_id.
    for type_, event in catalogue.event_types().items():
        assert ("content_card_id" in event.properties) == (".contentcard." in type_)
        assert ("card_id" in event.properties) == (".newsfeedcard." in type_)


def test_categories_and_conditions() -> None:
    events = catalogue.event_types()
    assert [events[WIRE[name]].category for name in WIRE] == ["customer_behavior"] * 7 + ["message_engagement"] * 33
    send = events["users.messages.email.Send"].properties
    assert {name: each.only_if for name, each in send.items() if each.only_if} == {
        "campaign_id": "campaign",
        "campaign_name": "campaign",
        "message_variation_id": "campaign",
        "canvas_id": "canvas",
        "canvas_name": "canvas",
        "canvas_variation_id": "canvas",
        "canvas_step_id": "canvas",
        "send_id": "send_id",
    }
    conversion = events["users.campaigns.Conversion"].properties
    assert {name for name, each in conversion.items() if each.only_if} == {"send_id"}
    assert not any(each.only_if for each in events["users.canvas.Conversion"].properties.values())


def test_the_schema_agrees_with_the_catalogue() -> None:
    schema = contract("currents_envelope")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["event"]["properties"]["event_type"]["enum"] == list(catalogue.event_types())
    kinds = {"string": "string", "float": "number", "int": "integer", "boolean": "boolean"}
    described = schema["$defs"]["properties"]["properties"]
    for event in catalogue.event_types().values():
        for name, each in event.properties.items():
            if "enum" not in described[name]:
                assert described[name]["type"] == [kinds[each.type], "null"]
        assert set(event.own) <= set(described)


def test_selections_go_by_type_or_by_name() -> None:
    assert catalogue.selected_types("all") is None
    assert catalogue.selected_types(["Email Open", "users.canvas.Entry"]) == {
        "users.messages.email.Open",
        "users.canvas.Entry",
    }
    assert catalogue.selected_types([]) == frozenset()
    for unfit in ([5], ["email open"], 5):
        with pytest.raises(ValueError, match="event"):
            catalogue.selected_types(unfit)


def test_the_catalogue_can_be_read() -> None:
    click = next(each for each in currents_feed.catalogue() if each["name"] == "Email Click")
    assert click["type"] == "users.messages.email.Click"
    assert click["properties"]["url"] == "string"


def _without(loaded: Any) -> None:
    del loaded["events"][0]


def _twice(loaded: Any) -> None:
    loaded["events"][1] = loaded["events"][0]


def _unknown_property(loaded: Any) -> None:
    loaded["events"][0]["properties"].append("nonsense")


def _unknown_kind(loaded: Any) -> None:
    loaded["properties"]["url"]["kind"] = "nonsense"


def _unused(loaded: Any) -> None:
    loaded["properties"]["nonsense"] = {"type": "string", "kind": "text"}


@pytest.mark.parametrize("spoil", [_without, _twice, _unknown_property, _unknown_kind, _unused])
def test_a_spoiled_catalogue_is_refused_in_one_line(spoil: Any) -> None:
    path = Path(catalogue.__file__).with_name("currents_catalogue.yaml")
    loaded = copy.deepcopy(yaml.safe_load(path.read_text("utf-8")))
    spoil(loaded)
    with pytest.raises(ValueError, match=r"^(events|properties)[^\n]*$"):
        catalogue.read(loaded)
