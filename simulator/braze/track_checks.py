"""Which objects of a `/users/track` request Braze refuses, and in what words. Plain functions, no store.

A refused object creates no profile and writes nothing; the others are processed. Source: Braze docs, POST
/users/track; User attributes object; Event object; Purchase object. Texts: ``track_errors.yaml``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson
import yaml

from simulator.braze import dates, ecommerce
from simulator.braze.standard import SUBSCRIPTION, is_currency, is_email, is_location, phone

Array = Literal["attributes", "events", "purchases"]
ARRAYS: tuple[Array, ...] = ("attributes", "events", "purchases")
"""Processing goes through them in this order."""

PRIMARY = ("external_id", "user_alias", "braze_id")
MAX_EXTERNAL_ID_BYTES = 987
MAX_ALIAS_BYTES = 236
MAX_NAME = 255
_GROUP_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MAX_EVENT_PROPERTIES_BYTES = 102_400
MAX_PURCHASE_PROPERTIES_BYTES = 51_200
MAX_QUANTITY = 100
_RESERVED: Mapping[str, frozenset[str]] = {
    "events": frozenset({"time", "event_name"}),
    "purchases": frozenset({"time", "product_id", "quantity", "event_name", "price", "currency"}),
}


@cache
def errors() -> Mapping[str, str]:
    """The wire text of each condition."""
    rows = yaml.safe_load(Path(__file__).with_name("track_errors.yaml").read_text("utf-8"))
    return {name: row["text"] for name, row in rows.items()}


@dataclass(frozen=True)
class Known:
    """What the workspace knows that a check needs: blocked external ids, its app and its subscription groups.

    ``groups`` None takes any UUID as a group.
    """

    blocked: frozenset[str] = frozenset()
    app_ids: frozenset[str] = frozenset()
    groups: frozenset[str] | None = None
    tokens_as_type: bool = False


@dataclass
class Checked:
    """``accepted``: the objects that go on, with their array; ``errors``: one entry per refused object."""

    accepted: list[tuple[Array, dict[str, Any]]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def processed(self) -> dict[str, int]:
        """``attributes_processed`` and so on, for arrays with at least one accepted object."""
        counts: dict[str, int] = {}
        for array, _ in self.accepted:
            counts[f"{array}_processed"] = counts.get(f"{array}_processed", 0) + 1
        return counts


def check(body: Mapping[str, Any], known: Known) -> Checked:
    """Check every object of a request, array by array in the order in which they are processed."""
    checked = Checked()
    texts = errors()
    for array in ARRAYS:
        given = body.get(array)
        if not isinstance(given, list):
            continue
        for index, each in enumerate(given):
            problem = problem_of(array, each, known)
            if problem is None:
                checked.accepted.append((array, each))
                continue
            type_ = problem if known.tokens_as_type and problem.isupper() else texts.get(problem, problem)
            checked.errors.append({"index": index, "input_array": array, "type": type_})
    return checked


def problem_of(array: Array, given: Any, known: Known) -> str | None:
    """The name of the condition that refuses an object (or the text of a schema's violation), None when it is good."""
    if not isinstance(given, dict):
        return "NO_IDENTIFIER"
    if array == "attributes" and given.get("push_token_import") is True:
        return _token_import(given, known) or _attributes(given, known)
    return _identifier(given, known) or _CHECKS[array](given, known)


def _identifier(given: Mapping[str, Any], known: Known) -> str | None:
    primaries = [name for name in PRIMARY if given.get(name) not in (None, "")]
    if len(primaries) > 1:
        return "two_primaries"
    if not primaries:
        return _contact(given)
    value = given[primaries[0]]
    if primaries[0] == "external_id":
        if isinstance(value, bool) or not isinstance(value, str | int):
            return "external_id"
        if len(str(value).encode()) > MAX_EXTERNAL_ID_BYTES:
            return "EXTERNAL_USER_ID_TOO_LARGE"
        return "BLACKLISTED_EXTERNAL_USER_ID" if str(value) in known.blocked else None
    if primaries[0] == "braze_id":
        return None if isinstance(value, str) else "braze_id"
    return None if is_alias(value) else "user_alias"


def is_alias(value: Any) -> bool:
    """Whether this is an alias object: two texts, neither empty nor longer than 236 bytes."""
    return isinstance(value, dict) and all(
        isinstance(value.get(name), str) and 0 < len(value[name].encode()) <= MAX_ALIAS_BYTES
        for name in ("alias_name", "alias_label")
    )


def _contact(given: Mapping[str, Any]) -> str | None:
    """E-mail beats phone when there is no primary identifier."""
    if given.get("email") is not None:
        return None if is_email(given["email"]) else "EMAIL_BAD_FORMAT"
    value = given.get("phone")
    if value is None:
        return "NO_IDENTIFIER"
    fits = isinstance(value, str | int) and not isinstance(value, bool)
    return None if fits and phone(value)[1] else "phone"


# -- attributes


def _attributes(given: Mapping[str, Any], known: Known) -> str | None:
    email = given.get("email")
    if email is not None and not is_email(email):
        return "EMAIL_BAD_FORMAT"
    for name, problem in (
        ("email_subscribe", "BAD_EMAIL_SUBSCRIPTION_STATE"),
        ("push_subscribe", "BAD_PUSH_SUBSCRIPTION_STATE"),
    ):
        if given.get(name) is not None and given[name] not in SUBSCRIPTION:
            return problem
    if given.get("current_location") is not None and not is_location(given["current_location"]):
        return "BAD_LOCATION_UPDATE"
    if "email_subscription_info" in given:
        return "INVALID_ATTRIBUTE_EMAIL_SUBSCRIPTION_INFO"
    if any(not name.strip() or len(name.strip()) > MAX_NAME for name in given):
        return "attribute_name"
    return _groups(given.get("subscription_groups"), known) or _tokens(given.get("push_tokens"), known)


def is_group(value: Any, known: frozenset[str] | None) -> bool:
    """Whether this is the id of a subscription group; where no group was made, every UUID is."""
    return isinstance(value, str) and (_GROUP_ID.fullmatch(value) is not None if known is None else value in known)


def _groups(groups: Any, known: Known) -> str | None:
    if groups is None:
        return None
    if not isinstance(groups, list):
        return "BAD_SUBSCRIPTION_GROUP_ARRAY"
    for each in groups:
        if not isinstance(each, dict) or not {"subscription_group_id", "subscription_state"} <= set(each):
            return "BAD_SUBSCRIPTION_GROUP_HASH"
        if not is_group(each["subscription_group_id"], known.groups):
            return "BAD_SUBSCRIPTION_GROUP_ID"
        if each["subscription_state"] not in ("subscribed", "unsubscribed"):
            return "BAD_SUBSCRIPTION_GROUP_STATE"
    return None


def _tokens(tokens: Any, known: Known) -> str | None:
    if tokens is None:
        return None
    if not isinstance(tokens, list) or not all(isinstance(each, dict) for each in tokens):
        return "BAD_PUSH_TOKEN_VALUE"
    for each in tokens:
        if known.app_ids and each.get("app_id") not in known.app_ids:
            return "BAD_PUSH_TOKEN_APP_ID"
        if not isinstance(each.get("token"), str) or not each["token"]:
            return "BAD_PUSH_TOKEN_STRING"
        device = each.get("device_id")
        if device is not None and not (isinstance(device, str) and 8 <= len(device.encode()) <= MAX_NAME):
            return "BAD_DEVICE_ID"
    return None


def _token_import(given: Mapping[str, Any], known: Known) -> str | None:
    """Anonymous profiles are made for tokens: with tokens, without external or Braze id."""
    if not given.get("push_tokens") or given.get("external_id") is not None or given.get("braze_id") is not None:
        return "BAD_PUSH_TOKEN_IMPORT"
    return _tokens(given["push_tokens"], known)


# -- events and purchases


def _time(given: Mapping[str, Any]) -> str | None:
    value = given.get("time")
    if value is None:
        return "time_required"
    return None if isinstance(value, str) and dates.instant(value) is not None else "time"


def _event(given: Mapping[str, Any], _known: Known) -> str | None:
    name = given.get("name")
    if name is None or name == "":
        return "name_required"
    if not isinstance(name, str) or len(name) > MAX_NAME:
        return "name"
    problem = _time(given)
    if problem is not None:
        return problem
    if name in ecommerce.NAMES:
        return ecommerce.problem(name, given.get("properties"))
    return _properties("events", given.get("properties"), MAX_EVENT_PROPERTIES_BYTES)


def _purchase(given: Mapping[str, Any], _known: Known) -> str | None:
    product = given.get("product_id")
    if product is None or product == "":
        return "product_id_required"
    if isinstance(product, bool) or not isinstance(product, str | int) or len(str(product)) > MAX_NAME:
        return "product_id"
    if not is_currency(given.get("currency")):
        return "currency"
    price = given.get("price")
    if price is None:
        return "price_required"
    if isinstance(price, bool) or not isinstance(price, int | float):
        return "price"
    quantity = given.get("quantity", 1)
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= MAX_QUANTITY:
        return "quantity"
    return _time(given) or _properties("purchases", given.get("properties"), MAX_PURCHASE_PROPERTIES_BYTES)


def _properties(array: Array, properties: Any, most_bytes: int) -> str | None:
    if properties is None:
        return None
    if not isinstance(properties, dict):
        return "properties"
    for name in properties:
        if not name or len(name) > MAX_NAME or name[0] == "$" or name in _RESERVED[array]:
            return "properties"
    nested = any(isinstance(each, list | dict) for each in properties.values())
    if (nested or array == "purchases") and len(orjson.dumps(properties)) > most_bytes:
        return "properties"
    return None


_CHECKS: Mapping[Array, Callable[[Mapping[str, Any], Known], str | None]] = {
    "attributes": _attributes,
    "events": _event,
    "purchases": _purchase,
}
