"""Events, purchases and recommended eCommerce events. Source: Braze docs, Event object; Purchase object; Recommended
events; Spam and bot profiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator.braze import profile_store

NOW = "2026-01-01T00:00:00Z"


def event(**more: Any) -> dict[str, Any]:
    return {"external_id": "ann", "name": "seen", "time": NOW, **more}


def purchase(**more: Any) -> dict[str, Any]:
    return {"external_id": "ann", "product_id": "sku", "currency": "USD", "price": 10, "time": NOW, **more}


def test_events_are_counted_with_first_and_last(workspace: Any) -> None:
    workspace.track(
        events=[
            event(time="2025-12-01T00:00:00Z", properties={"a": 1}),
            event(time="2019-02-15 00:00:00 -0500"),
            event(time="2030-01-01T00:00:00Z"),
            event(name="other"),
        ]
    )
    seen, other = workspace.person("ann")["custom_events"]
    assert seen == {
        "name": "seen",
        "first": "2019-02-15T05:00:00.000Z",
        "last": "2026-01-01T00:00:00.000Z",
        "count": 3,
    }
    assert other["count"] == 1


def test_identical_events_each_count(workspace: Any) -> None:
    for _ in range(2):
        workspace.track(events=[event(), event()])
    assert workspace.person("ann")["custom_events"][0]["count"] == 4


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"name": None}, "'name' is required"),
        ({"name": "x" * 256}, "'name' is not valid"),
        ({"name": 5}, "'name' is not valid"),
        ({"time": None}, "'time' is required"),
        ({"time": "yesterday"}, "'time' is not valid"),
        ({"time": 1767225600}, "'time' is not valid"),
        ({"time": "01/02/2026"}, "'time' is not valid"),
        ({"time": "2026-01-01 10:00 someday"}, "'time' is not valid"),
        ({"properties": []}, "Invalid 'properties' field"),
        ({"properties": {"time": 1}}, "Invalid 'properties' field"),
        ({"properties": {"event_name": 1}}, "Invalid 'properties' field"),
        ({"properties": {"$x": 1}}, "Invalid 'properties' field"),
        ({"properties": {"": 1}}, "Invalid 'properties' field"),
        ({"properties": {"x" * 256: 1}}, "Invalid 'properties' field"),
        ({"properties": {"big": ["x" * 102_400]}}, "Invalid 'properties' field"),
    ],
)
def test_refused_events(workspace: Any, more: Any, words: str) -> None:
    answer = workspace.track(events=[event(**more)])
    assert (answer.status_code, answer.json["errors"][0]["type"]) == (400, words)
    assert workspace.people() == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"product_id": None}, "'product_id' is required"),
        ({"product_id": "x" * 256}, "'product_id' is not valid"),
        ({"currency": "GOLD"}, "'currency' must be an ISO 4217 currency"),
        ({"currency": None}, "'currency' must be an ISO 4217 currency"),
        ({"price": None}, "'price' is required"),
        ({"price": "10"}, "'price' is not valid"),
        ({"quantity": 0}, "'quantity' is not valid"),
        ({"quantity": 101}, "'quantity' is not valid"),
        ({"quantity": 1.5}, "'quantity' is not valid"),
        ({"time": None}, "'time' is required"),
        ({"properties": {"price": 1}}, "Invalid 'properties' field"),
        ({"properties": {"big": "x" * 51_200}}, "Invalid 'properties' field"),
    ],
)
def test_refused_purchases(workspace: Any, more: Any, words: str) -> None:
    answer = workspace.track(purchases=[purchase(**more)])
    assert (answer.status_code, answer.json["errors"][0]["type"]) == (400, words)


def test_purchases_count_by_quantity_and_add_to_revenue(workspace: Any) -> None:
    workspace.set(usd_rates={"EUR": 2.0})
    workspace.track(
        purchases=[purchase(quantity=3), purchase(price=-5), purchase(product_id=7, currency="EUR", price=1.5)]
    )
    found = workspace.export(["purchases", "total_revenue"], external_ids=["ann"])["users"][0]
    assert [(each["name"], each["count"]) for each in found["purchases"]] == [("sku", 4), ("7", 1)]
    assert found["total_revenue"] == 30 - 5 + 3


def test_recommended_ecommerce_events_have_a_strict_schema(workspace: Any) -> None:
    viewed = {"product_name": "Hat", "variant_id": "v", "price": 1, "currency": "USD", "source": "web"}

    def words(name: str, properties: Any) -> str:
        text: str = workspace.track(events=[event(name=name, properties=properties)]).json["errors"][0]["type"]
        return text

    assert words("ecommerce.product_viewed", viewed) == (
        "The property '#/' did not contain a required property of 'product_id'"
    )
    assert words("ecommerce.product_viewed", {**viewed, "product_id": 5}) == (
        "The property '#/product_id' of type integer did not match the following type: string"
    )
    assert words("ecommerce.product_viewed", {**viewed, "product_id": "p", "x": 1}) == (
        "The property '#/' contains additional properties [\"x\"] outside of the schema when none are allowed"
    )
    assert workspace.track(events=[event(name="Ecommerce.product_viewed", properties=viewed)]).status_code == 201


def test_orders_change_revenue_orders_and_refunds(workspace: Any) -> None:
    order = {"order_id": "o", "total_value": 20, "currency": "USD", "products": [], "source": "web"}
    workspace.track(
        events=[
            event(name="ecommerce.order_placed", properties=order),
            event(name="ecommerce.order_placed", properties=order),
            event(name="ecommerce.order_refunded", properties={**order, "total_value": 5}),
            event(name="ecommerce.order_cancelled", properties={**order, "cancel_reason": "late"}),
        ]
    )
    stats = workspace.person("ann")["stats"]
    assert (stats["revenue"], stats["orders"], stats["refunds"]) == (35, 1, 5)


def test_a_cart_is_replaced_or_changed_by_lines(workspace: Any) -> None:
    def cart(action: str | None, quantity: int, **more: Any) -> None:
        line = {"product_id": "p", "product_name": "Hat", "variant_id": "v", "quantity": quantity, "price": 2}
        properties = {"cart_id": "c", "currency": "USD", "products": [line], "source": "web", **more}
        properties.update({} if action is None else {"action": action})
        assert workspace.track(events=[event(name="ecommerce.cart_updated", properties=properties)]).status_code == 201

    def quantity() -> list[int]:
        return [each["quantity"] for each in workspace.person("ann")["stats"]["carts"]["c"]["products"]]

    cart(None, 2, total_value=4)
    cart("add", 3)
    assert quantity() == [5]
    cart("remove", 1)
    assert quantity() == [4]
    cart("remove", 4)
    assert quantity() == []


def test_blocked_names_are_silently_not_recorded(workspace: Any) -> None:
    with workspace.tank.store.write() as conn:
        blocked = [("attribute", "secret"), ("event", "noise"), ("product", "gone"), ("external_id", "bot")]
        profile_store.set_names(conn, [{"kind": kind, "name": name, "blocked": True} for kind, name in blocked])
    answer = workspace.track(
        attributes=[{"external_id": "ann", "secret": 1, "open": 1}, {"external_id": "bot", "x": 1}],
        events=[event(name="noise")],
        purchases=[purchase(product_id="gone")],
    )
    assert answer.json["errors"] == [
        {"index": 0 + 1, "input_array": "attributes", "type": "provided external_id is blacklisted and disallowed"}
    ]
    ann = workspace.person("ann")
    assert (ann["custom_attributes"], ann["custom_events"], ann["purchases"]) == ({"open": 1}, [], [])


def test_a_profile_with_too_many_event_names_takes_no_more(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(spam_names=2)
    workspace.track(events=[event(name=name) for name in "abc"])
    workspace.attributes({"external_id": "ann", "x": 1})
    assert workspace.person("ann")["custom_attributes"] == {}
    refused = workspace.attributes({"external_id": "ann", "x": 1})
    assert refused.json["errors"][0]["type"] == "provided external_id is blacklisted and disallowed"
