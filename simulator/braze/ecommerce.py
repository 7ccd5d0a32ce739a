"""The six recommended eCommerce events: a strict schema, and what a valid one does to a profile.

A name that differs in case or spelling is an ordinary custom event. Source: Braze docs, Recommended events.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
import orjson
from jsonschema.exceptions import ValidationError

from simulator.openapi import contract

NAMES = frozenset(name for name in contract("braze_ecommerce")["$defs"] if name.startswith("ecommerce."))
CART_LIVES_MS = 30 * 86_400_000


@cache
def _validator(name: str) -> Any:
    schema = {**contract("braze_ecommerce"), "$ref": f"#/$defs/{name}"}
    return jsonschema.Draft202012Validator(schema)


def problem(name: str, properties: Any) -> str | None:
    """The first violation in the words of Braze's schema checker, None when the properties fit."""
    error = next(_validator(name).iter_errors({} if properties is None else properties), None)
    return None if error is None else _words(error)


def _words(error: ValidationError) -> str:
    where = "#/" + "/".join(str(each) for each in error.absolute_path)
    given: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "required":
        missing = next(each for each in wanted if each not in given)
        return f"The property '{where}' did not contain a required property of '{missing}'"
    if error.validator == "additionalProperties":
        schema: Any = error.schema
        extra = orjson.dumps([each for each in given if each not in schema["properties"]]).decode()
        words = f"contains additional properties {extra} outside of the schema when none are allowed"
        return f"The property '{where}' {words}"
    if error.validator == "type":
        return f"The property '{where}' of type {_type(given)} did not match the following type: {wanted}"
    return f"The property '{where}' is not valid"


def _type(value: Any) -> str:
    if value is None:
        return "null"
    names: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def apply(name: str, properties: Mapping[str, Any], stats: dict[str, Any], usd: float, now_ms: int) -> None:
    """Change a profile's sums and carts. ``usd`` is the total value in US dollars."""
    if name == "ecommerce.order_placed":
        stats["revenue"] = stats.get("revenue", 0) + usd
        stats["orders"] = stats.get("orders", 0) + 1
    elif name == "ecommerce.order_cancelled":
        stats["orders"] = stats.get("orders", 0) - 1
    elif name == "ecommerce.order_refunded":
        stats["revenue"] = stats.get("revenue", 0) - usd
        stats["refunds"] = stats.get("refunds", 0) + usd
    elif name == "ecommerce.cart_updated":
        held = stats.get("carts", {}).items()
        carts = {cart: each for cart, each in held if now_ms - each["updated_ms"] < CART_LIVES_MS}
        before = carts.get(properties["cart_id"], {}).get("products", [])
        products = _cart(before, properties["products"], properties.get("action", "replace"))
        stats["carts"] = {**carts, properties["cart_id"]: {"updated_ms": now_ms, "products": products}}


def _cart(before: list[Any], given: list[Any], action: str) -> list[Any]:
    """The lines of a cart; quantities are absolute, or differences for ``add`` and ``remove``."""
    if action == "replace":
        return [each for each in given if each["quantity"] > 0]
    lines = {(each["product_id"], each["variant_id"]): each for each in before}
    sign = 1 if action == "add" else -1
    for each in given:
        key = (each["product_id"], each["variant_id"])
        held = lines.get(key, {**each, "quantity": 0})["quantity"]
        lines[key] = {**each, "quantity": held + sign * each["quantity"]}
    return [each for each in lines.values() if each["quantity"] > 0]
