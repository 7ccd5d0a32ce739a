"""Applying accepted track objects to the profiles in hand: attributes, then events, then purchases.

Plain functions over :class:`People`; what they leave behind besides (data points, activity, new names) is gathered in
:class:`Effects`. Source: Braze docs, POST /users/track; Data points; Spam and bot profiles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator.braze import attributes, dates, ecommerce, identity, standard
from simulator.braze.identity import People, Profile

DAY_MS = 86_400_000


_PRIMARY = ("external_id", "braze_id", "user_alias")
_FOUND_BY = frozenset({"email", "phone", "push_tokens"})
"""Members of an attribute object that change what finds a profile."""


@dataclass(frozen=True)
class Context:
    """What a workspace decides about writes. ``blocked`` holds ``(kind, name)`` of names on a blocklist."""

    rules: attributes.Rules
    blocked: frozenset[tuple[str, str]]
    rates: Mapping[str, float]
    most_names: int
    most_sessions: int
    alias_default: bool
    new_device_id: Callable[[str], str]


@dataclass
class Effects:
    """``points`` by profile and UTC day; ``activity`` rows; ``names`` with the type first seen.

    ``happened`` is what else Currents tells: ``(uid, event type, values)``. ``groups``: changed group states as
    ``(uid, group, state)``; ``email_states``: global states of addresses as ``(email, state, ms)``; ``addressed``:
    profiles that were given an address.
    """

    points: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    activity: list[tuple[int, str, str, int, str]] = field(default_factory=list)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    happened: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    groups: list[tuple[int, str, str]] = field(default_factory=list)
    email_states: list[tuple[str, str, int]] = field(default_factory=list)
    addressed: set[int] = field(default_factory=set)

    def bill(self, profile: Profile, points: int, now_ms: int) -> None:
        if points:
            self.points[(profile.uid, now_ms // DAY_MS)] += points


def normalized(given: dict[str, Any]) -> dict[str, Any]:
    """The object as it is looked up: empty identifiers are none, a phone that identifies is E.164."""
    if "phone" not in given and "" not in (given.get("external_id"), given.get("braze_id"), given.get("user_alias")):
        return given
    found = {name: value for name, value in given.items() if value != "" or name not in _PRIMARY}
    primary = any(found.get(name) is not None for name in _PRIMARY)
    if not primary and found.get("email") is None and found.get("phone") is not None:
        found["phone"] = standard.phone(found["phone"])[0]
    return found


def wanted(objects: Sequence[tuple[str, dict[str, Any]]]) -> set[tuple[str, str]]:
    """The identifiers whose profiles the objects may touch, as ``(kind, value)``."""
    found: set[tuple[str, str]] = set()
    for _, given in objects:
        if given.get("push_token_import") is True:
            found.update(("token", each["token"]) for each in given["push_tokens"])
        if given.get("external_id") is not None:
            found.add(("external_id", str(given["external_id"])))
        elif given.get("braze_id") is not None:
            found.add(("braze_id", given["braze_id"]))
        elif given.get("user_alias") is not None:
            alias = given["user_alias"]
            found.add(("alias", identity.alias_text(alias["alias_name"], alias["alias_label"])))
        elif given.get("email") is not None:
            found.add(("email", given["email"]))
        elif given.get("phone") is not None:
            found.add(("phone", given["phone"]))
    return found


def apply(
    people: People, objects: Sequence[tuple[str, dict[str, Any]]], context: Context, received_ms: int, now_ms: int
) -> Effects:
    """Apply checked, normalized objects in order.

    :param received_ms: when the request came: a later event time is replaced by it.
    :param now_ms: when the write takes effect.
    """
    effects = Effects()
    for array, given in objects:
        if given.get("push_token_import") is True:
            _import_tokens(people, given, context, now_ms)
            continue
        profile = identity.resolve(people, given)
        found_by = profile is None or (array == "attributes" and not _FOUND_BY.isdisjoint(given))
        if profile is None:
            if not identity.may_create(given, context.alias_default):
                continue
            profile = people.create()
            identity.give(profile, given)
        elif is_spam(profile, context):
            effects.names.setdefault(("external_id", profile.external_id or profile.braze_id), "spam")
            continue
        if array == "attributes":
            write_attributes(people, profile, given, context, effects, now_ms)
        elif array == "events":
            record_event(profile, given, context, effects, received_ms, now_ms)
        else:
            record_purchase(profile, given, context, effects, received_ms, now_ms)
        people.touch(profile, now_ms, found_by=found_by)
    return effects


def is_spam(profile: Profile, context: Context) -> bool:
    """Whether Braze takes the profile for a bot: ingestion for it has stopped."""
    most = context.most_names
    too_many = len(profile.events) > most or len(profile.purchases) > most
    return too_many or int(profile.stats.get("sessions", 0)) > context.most_sessions


# -- attributes


def write_attributes(
    people: People, profile: Profile, given: Mapping[str, Any], context: Context, effects: Effects, now_ms: int
) -> None:
    """Write the standard fields and custom attributes of one object."""
    fields, others = standard.fields(), standard.others()
    merge = given.get("_merge_objects") is True
    for key, value in given.items():
        if key in fields:
            _write_field(profile, key, value, effects, now_ms)
        elif key not in others:
            name = key.strip()
            if ("attribute", name) not in context.blocked:
                _write_custom(profile, name, value, merge, context, effects, now_ms)
    if given.get("subscription_groups"):
        subscribe(people, profile, given["subscription_groups"], effects, now_ms)
    if given.get("email") is not None or given.get("phone") is not None:
        effects.addressed.add(profile.uid)
    if profile.standard.get("email") and ("email_subscribe" in given or "email" in given):
        state = profile.standard.get("email_subscribe", "subscribed")
        if "email_subscribe" in given or state == "unsubscribed":
            effects.email_states.append((profile.standard["email"], state, now_ms))
    for each in given.get("push_tokens") or ():
        take_token(people, profile, token_row(each, context), now_ms)


_SESSIONS = {"date_of_first_session": "first_session_ms", "date_of_last_session": "last_session_ms"}
"""Fields that tell of sessions which no SDK has seen, and the figure of the profile that each sets."""


def _write_field(profile: Profile, name: str, value: Any, effects: Effects, now_ms: int) -> None:
    stored = standard.read(name, value)
    if stored is standard.SKIP:
        return
    if stored is None:
        profile.standard.pop(name, None)
    else:
        profile.standard[name] = stored
    if name in _SESSIONS:
        profile.stats.pop(_SESSIONS[name], None)
        if stored is not None:
            profile.stats[_SESSIONS[name]] = dates.parse(stored)
    effects.bill(profile, standard.fields()[name][1], now_ms)


def _write_custom(
    profile: Profile, name: str, value: Any, merge: bool, context: Context, effects: Effects, now_ms: int
) -> None:
    done = attributes.change(name, profile.custom.get(name), value, merge, context.rules)
    effects.bill(profile, done.points, now_ms)
    if not done.applied:
        return
    if done.value is attributes.REMOVED:
        profile.custom.pop(name, None)
        return
    profile.custom[name] = done.value
    effects.names.setdefault(("attribute", name), attributes.kind(done.value))


def set_states(profile: Profile, states: Mapping[str, str], effects: Effects) -> None:
    """Set group states of one profile and note those that changed."""
    changed = {group: state for group, state in states.items() if profile.subscriptions.get(group) != state}
    profile.subscriptions.update(changed)
    effects.groups += [(profile.uid, group, state) for group, state in changed.items()]


def subscribe(
    people: People, profile: Profile, groups: Sequence[Mapping[str, Any]], effects: Effects, now_ms: int
) -> None:
    """Set group states; a change by external id goes to every other profile of the same e-mail too."""
    states = {each["subscription_group_id"]: each["subscription_state"] for each in groups}
    set_states(profile, states, effects)
    email = profile.standard.get("email")
    if profile.external_id is None or email is None:
        return
    people.reindex(profile)
    for other in people.all("email", email):
        if other is not profile:
            set_states(other, states, effects)
            people.touch(other, now_ms)


def token_row(given: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """A push token in the shape that profiles hold; a missing device id is made up."""
    return {
        "app_id": given.get("app_id"),
        "token": given["token"],
        "device_id": given.get("device_id") or context.new_device_id(given["token"]),
        "notifications_enabled": True,
    }


def take_token(people: People, profile: Profile, row: dict[str, Any], now_ms: int) -> None:
    """Give a token to a profile; it belongs to one at a time."""
    for other in people.all("token", row["token"]):
        if other is not profile:
            other.tokens = [each for each in other.tokens if each["token"] != row["token"]]
            people.touch(other, now_ms)
    profile.tokens = [each for each in profile.tokens if each["token"] != row["token"]] + [row]


def _import_tokens(people: People, given: Mapping[str, Any], context: Context, now_ms: int) -> None:
    """One anonymous profile per token that no profile holds."""
    for each in given["push_tokens"]:
        if people.all("token", each["token"]):
            continue
        profile = people.create()
        profile.tokens.append(token_row(each, context))
        people.touch(profile, now_ms)


# -- events and purchases


def _at(given: Mapping[str, Any], received_ms: int) -> int:
    at_ms = dates.parse(given["time"])
    return received_ms if at_ms is None or at_ms > received_ms else at_ms


def _count(tallies: dict[str, identity.Tally], name: str, at_ms: int, count: int = 1) -> None:
    tally = tallies.get(name)
    if tally is None:
        tallies[name] = [at_ms, at_ms, count]
    else:
        tally[0], tally[1], tally[2] = min(tally[0], at_ms), max(tally[1], at_ms), tally[2] + count


def _detail(given: Mapping[str, Any], **more: Any) -> str:
    shown = {name: given[name] for name in ("app_id", "properties") if given.get(name) is not None}
    return orjson.dumps({**more, **shown}).decode()


def record_event(
    profile: Profile, given: Mapping[str, Any], context: Context, effects: Effects, received_ms: int, now_ms: int
) -> None:
    """Count one custom event; properties are not kept on the profile. eCommerce events cost no data point."""
    name, at_ms = given["name"], _at(given, received_ms)
    if ("event", name) in context.blocked:
        return
    effects.activity.append((profile.uid, "event", name, at_ms, _detail(given)))
    if name in ecommerce.NAMES:
        properties = given.get("properties") or {}
        usd = properties.get("total_value", 0) * _rate(properties.get("currency"), context)
        ecommerce.apply(name, properties, profile.stats, usd, now_ms)
    else:
        effects.bill(profile, 1, now_ms)
    _count(profile.events, name, at_ms)
    effects.names.setdefault(("event", name), "")


def record_purchase(
    profile: Profile, given: Mapping[str, Any], context: Context, effects: Effects, received_ms: int, now_ms: int
) -> None:
    """Count a purchase as often as its quantity; revenue is price × quantity in US dollars."""
    product, at_ms, quantity = str(given["product_id"]), _at(given, received_ms), given.get("quantity", 1)
    if ("product", product) in context.blocked:
        return
    stats = profile.stats
    revenue = given["price"] * quantity * _rate(given["currency"], context)
    stats["revenue"] = round(stats.get("revenue", 0) + revenue, 6)
    stats["purchases"] = stats.get("purchases", 0) + quantity
    stats["first_purchase_ms"] = min(stats.get("first_purchase_ms", at_ms), at_ms)
    stats["last_purchase_ms"] = max(stats.get("last_purchase_ms", at_ms), at_ms)
    _count(profile.purchases, product, at_ms, quantity)
    paid = {name: given[name] for name in ("price", "currency")}
    effects.activity.append((profile.uid, "purchase", product, at_ms, _detail(given, quantity=quantity, **paid)))
    effects.bill(profile, 1, now_ms)
    effects.names.setdefault(("product", product), "")


def _rate(currency: Any, context: Context) -> float:
    return float(context.rates.get(str(currency).upper(), 1.0))
