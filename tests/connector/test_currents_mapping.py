"""The Currents mapping against the pages of Braze and Amplitude, event by event and property by property."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.flows import currents
from connector.flows.currents import Skipped, to_amplitude

DOCUMENTED: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("documented_events.yaml").read_text("utf-8"))
VALUES = {"string": "text of {}", "float": 3.14, "int": 2, "boolean": True}


def _value(name: str, kind: str) -> Any:
    value = VALUES[kind]
    return value.format(name) if isinstance(value, str) else value


def _event(documented: dict[str, Any], **changes: Any) -> dict[str, Any]:
    properties = {name: _value(name, kind.partition(" to ")[0]) for name, kind in documented["properties"].items()}
    if documented["type"] == "users.behaviors.CustomEvent":
        properties["name"] = "Viewed Cart"
    return {
        "event_type": documented["type"],
        "id": "2f5e9ac1-0b5c-4d3f-9d5d-3e0a1b2c3d4e",
        "time": 1_477_502_783,
        "user": {
            "user_id": "a" * 24,
            "external_user_id": "Customer-7",
            "device_id": "device-Seven",
            "timezone": "Europe/Berlin",
        },
        "properties": properties,
        **changes,
    }


def _mapped(event: dict[str, Any], selection: frozenset[str] | None = None) -> dict[str, Any]:
    made = to_amplitude(event, selection)
    assert isinstance(made, dict), made
    return made


def test_the_page_lists_40_events() -> None:
    assert len(DOCUMENTED) == len({each["type"] for each in DOCUMENTED}) == 40


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda each: each["type"])
def test_an_event_arrives_with_every_documented_property(documented: dict[str, Any]) -> None:
    custom = documented["type"] == "users.behaviors.CustomEvent"
    name = "[Appboy] [Custom Event] Viewed Cart" if custom else f"[Appboy] {documented['name']}"
    bare, raised = {}, {}
    for key, kind in documented["properties"].items():
        kind, _, field = kind.partition(" to ")
        if field:
            raised[field] = _value(key, kind)
        else:
            bare[key] = _value(key, kind)
    assert _mapped(_event(documented)) == {
        "user_id": "Customer-7",
        "device_id": "device-Seven",
        "event_type": name,
        "time": 1_477_502_783_000,
        "insert_id": "2f5e9ac1-0b5c-4d3f-9d5d-3e0a1b2c3d4e",
        "library": "Braze",
        **raised,
        "event_properties": bare,
    }


def _custom(**properties: Any) -> dict[str, Any]:
    return _event(DOCUMENTED[0], properties={"name": "Viewed Cart", **properties})


def _purchase(**properties: Any) -> dict[str, Any]:
    return _event(DOCUMENTED[1], properties={"product_id": "sku-1", "price": 12.5, **properties})


def test_customer_properties_are_prefixed_and_keep_their_values() -> None:
    own = {"plan": "pro", "items": [1, {"a": None}], "address": {"city": "Köln"}, "count": 3, "gone": None}
    assert _mapped(_custom(app_id="app", custom_properties=own))["event_properties"] == {
        "app_id": "app",
        "[Custom event property] plan": "pro",
        "[Custom event property] items": [1, {"a": None}],
        "[Custom event property] address": {"city": "Köln"},
        "[Custom event property] count": 3,
    }
    made = _mapped(_purchase(currency="USD", purchase_properties={"name": "shoe", "price": 1}))
    assert made["event_properties"] == {
        "currency": "USD",
        "[Purchase property] name": "shoe",
        "[Purchase property] price": 1,
    }


def test_a_purchase_has_price_and_product_and_no_revenue() -> None:
    made = _mapped(_purchase(quantity=3))
    assert (made["price"], made["productId"]) == (12.5, "sku-1")
    assert set(made) & {"quantity", "revenue", "revenueType", "currency"} == set()
    assert made["event_properties"] == {}
    assert "price" not in _mapped(_purchase(price=None))


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ({"external_user_id": "Seven", "device_id": "D-7"}, {"user_id": "Seven", "device_id": "D-7"}),
        ({"external_user_id": "Seven"}, {"user_id": "Seven"}),
        ({"device_id": "D-7"}, {"device_id": "D-7"}),
        ({"external_user_id": "", "device_id": "D-7"}, {"device_id": "D-7"}),
        ({"external_user_id": None, "device_id": "D-7"}, {"device_id": "D-7"}),
    ],
)
def test_identity(user: dict[str, Any], ids: dict[str, str]) -> None:
    made = _mapped(_event(DOCUMENTED[2], user={"user_id": "b" * 24, **user}))
    assert {key: made[key] for key in ("user_id", "device_id") if key in made} == ids
    assert "b" * 24 not in str(made)


@pytest.mark.parametrize("user", [{"user_id": "b" * 24}, {}, None, {"external_user_id": "", "device_id": None}])
def test_nobody_without_an_identifier_is_sent(user: dict[str, Any] | None) -> None:
    assert isinstance(to_amplitude(_event(DOCUMENTED[2], user=user), None), Skipped)


def test_amplitudes_own_fields_stay_empty() -> None:
    properties = {
        "platform": "ios",
        "session_id": "s-1",
        "latitude": 1.5,
        "device_model": "x",
        "os_version": "9",
    }
    made = _mapped(_event(DOCUMENTED[5], properties=properties))
    assert made["event_properties"] == properties
    assert set(made) == {*("user_id", "device_id", "event_type", "time", "insert_id", "library", "event_properties")}


@pytest.mark.parametrize(
    ("kind", "field"), [("ios_idfa", "idfa"), ("google_ad_id", "adid"), ("roku_ad_id", None), (None, None)]
)
def test_advertising_ids(kind: str | None, field: str | None) -> None:
    made = _mapped(_custom(ad_id="AD-1", ad_id_type=kind, ad_tracking_enabled=True))
    assert {key: made[key] for key in ("idfa", "adid") if key in made} == ({field: "AD-1"} if field else {})
    assert made["event_properties"]["ad_id"] == "AD-1"
    assert made["event_properties"]["ad_tracking_enabled"] is True


def test_absent_values_are_left_out_and_false_ones_stay() -> None:
    properties = {"canvas_id": "c", "canvas_name": None, "in_control_group": False, "send_id": ""}
    made = _mapped(_event(DOCUMENTED[38], properties=properties))
    assert made["event_properties"] == {"canvas_id": "c", "in_control_group": False, "send_id": ""}


def test_a_content_cards_id_has_its_documented_name() -> None:
    card = next(each for each in DOCUMENTED if each["name"] == "Content Card Click")
    made = _mapped(_event(card, properties={"content_card_id": "card-9"}))
    assert made["event_properties"] == {"card_id": "card-9"}


@pytest.mark.parametrize(
    ("type_", "key", "sent"),
    [
        ("users.messages.email.Click", "url", True),
        ("users.messages.email.Open", "url", False),
        ("users.messages.sms.Delivery", "from_phone_number", True),
        ("users.messages.sms.DeliveryFailure", "from_phone_number", True),
        ("users.messages.sms.Rejection", "from_phone_number", False),
        ("users.messages.email.Open", "sdk_version", False),
        ("users.messages.email.Open", "app_group_id", True),
        ("users.messages.inappmessage.Click", "url", True),
    ],
)
def test_a_shared_property_goes_with_its_own_events(type_: str, key: str, sent: bool) -> None:
    made = _mapped(_event({"type": type_, "properties": {}}, properties={key: "value"}))
    assert made["event_properties"] == ({key: "value"} if sent else {})


@pytest.mark.parametrize("selection", [["Email Open"], ["users.messages.email.Open"], ["Purchase", "Email Open"]])
def test_only_selected_events_are_sent(selection: list[str]) -> None:
    chosen = frozenset(selection)
    assert isinstance(to_amplitude(_event({"type": "users.messages.email.Open", "properties": {}}), chosen), dict)
    left_out = to_amplitude(_event({"type": "users.messages.email.Click", "properties": {}}), chosen)
    assert left_out == Skipped("event type is not selected")


@pytest.mark.parametrize("name", ["Custom Event", "Custom Events", "users.behaviors.CustomEvent"])
def test_custom_events_are_selected_as_one(name: str) -> None:
    assert isinstance(to_amplitude(_custom(), frozenset([name])), dict)
    assert isinstance(to_amplitude(_custom(), frozenset(["Purchase"])), Skipped)


def test_an_event_that_is_not_on_the_list_is_not_sent() -> None:
    for type_ in ("users.messages.rcs.Send", "users.messages.somethingnew.Open"):
        assert isinstance(to_amplitude(_event({"type": type_, "properties": {}}), None), Skipped)
    assert isinstance(to_amplitude(_event(DOCUMENTED[0], properties={}), None), Skipped)


def test_the_newest_profile_has_newer_names_and_events() -> None:
    def named(type_: str) -> str:
        made = currents.to_newest(_event({"type": type_, "properties": {}}), None)
        assert isinstance(made, dict)
        return str(made["event_type"])

    assert named("users.campaigns.Conversion") == "[Appboy] Campaign Conversion"
    assert named("users.messages.banner.Click") == "[Appboy] Banner Click"
    assert named("users.messages.email.Open") == "[Appboy] Email Open"
    assert currents.known_event("Banner Click", "2026")
    assert not currents.known_event("Banner Click")
