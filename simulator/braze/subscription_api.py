"""Subscription groups over REST: set states, and read them back.

Source: Braze docs, Update user's subscription group status (and its v2); List user's subscription group status; List
user's subscription groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from simulator.braze import pending, profile_store, subscribing, subscription_groups
from simulator.braze.email_tables import waiting
from simulator.braze.identity import Profile, by_contact
from simulator.braze.queries import Parameter, asking, natural
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body, Served
from simulator.exchange import Answer, Call, Reason
from simulator.store import rows_in

MAX = 50
STATES = ("subscribed", "unsubscribed")
SOURCE = "Braze docs, Update user's subscription group status"
_KINDS = ("external_id", "email", "phone")


def _values(given: Any) -> list[str] | None:
    """One text or a list of them; None when it is neither."""
    values = given if isinstance(given, list) else [given]
    return values if values and all(isinstance(each, str) and each for each in values) else None


def _change(call: Call, given: Mapping[str, Any], plural: str) -> dict[str, Any] | Answer:
    """What one object asks for; ``plural`` is the ending of the members that name people."""
    kinds = [kind for kind in _KINDS if given.get(kind + plural)]
    if "email" in kinds and "phone" in kinds:
        return refuse("subscription_two_addresses")
    if not subscription_groups.is_known(call.conn, call.tank, given.get("subscription_group_id")):
        return refuse("subscription_group_id")
    if given.get("subscription_state") not in STATES:
        return refuse("subscription_state")
    if not kinds:
        return refuse("subscription_nobody", plural=plural)
    kind = kinds[0]
    values = _values(given[kind + plural])
    if values is None:
        return refuse("bad_entry", field=kind + plural)
    if kind == "phone":
        values = [subscribing.normalized_phone(each) for each in values]
    return {
        "group": given["subscription_group_id"],
        "state": given["subscription_state"],
        "kind": kind,
        "values": values,
    }


def _queued(call: Call, changes: list[dict[str, Any]]) -> Answer:
    if sum(len(each["values"]) for each in changes) > MAX:
        return refuse("max_ids")
    n = pending.put(call.conn, call.tank, "subscription_groups", changes, call.now_ms)
    why = Reason("accepted", "the changes are queued", SOURCE, {"write": n})
    return Answer(201, {"message": "success"}, why=(why,))


def set_one(call: Call, body: Body) -> Answer:
    """`/subscription/status/set`: one group, up to 50 people by one kind of identifier."""
    change = _change(call, body, "")
    return change if isinstance(change, Answer) else _queued(call, [change])


def set_many(call: Call, body: Body) -> Answer:
    """`/v2/subscription/status/set`: several groups; e-mail and SMS groups together only by external id."""
    given = body.get("subscription_groups")
    if not isinstance(given, list) or not given or not all(isinstance(each, dict) for each in given):
        return refuse("not_an_array", field="subscription_groups")
    changes = []
    for each in given:
        change = _change(call, each, "s")
        if isinstance(change, Answer):
            return change
        changes.append(change)
    if {"email", "phone"} <= {each["kind"] for each in changes}:
        return refuse("subscription_two_addresses")
    return _queued(call, changes)


# -- reading


def _asked(asked: Body) -> tuple[str, list[str]] | Answer:
    kinds = [kind for kind in _KINDS if asked[kind]]
    if "email" in kinds and "phone" in kinds:
        return refuse("subscription_two_addresses")
    if not kinds:
        return refuse("subscription_nobody", plural="")
    if len(asked[kinds[0]]) > MAX:
        return refuse("max_ids")
    return kinds[0], asked[kinds[0]]


def _profiles(conn: Connection, kind: str, text: str) -> list[Profile]:
    return profile_store.find(conn, kind, subscribing.normalized_phone(text) if kind == "phone" else text)


def status(call: Call, asked: Body) -> Answer:
    """`/subscription/status/get`: the state of each id or address in one group."""
    group = asked["subscription_group_id"]
    if not subscription_groups.is_known(call.conn, call.tank, group):
        return refuse("subscription_group_id")
    by = _asked(asked)
    if isinstance(by, Answer):
        return by
    kind, texts = by
    unknown = call.tank.settings["braze.subscription_unknown"]
    states = {}
    for text in texts:
        found = by_contact(_profiles(call.conn, kind, text))
        state = _waiting(call.conn, kind, text, group) if found is None else found.subscriptions.get(group)
        states[text] = unknown if state is None else state.capitalize()
    why = Reason("status", "the applied states", "Braze docs, List user's subscription group status")
    return Answer(200, {"status": states, "message": "success"}, why=(why,))


def _waiting(conn: Connection, kind: str, text: str, group: str) -> str | None:
    """The state that waits for an address that nobody has."""
    address = subscribing.normalized_phone(text) if kind == "phone" else text
    rows = rows_in(conn, waiting, ("kind", "name", "state"), "address", [address])
    return next((row[2] for row in rows if row[:2] == (kind, group)), None)


def user_status(call: Call, asked: Body) -> Answer:
    """`/subscription/user/status`: people with the groups they have a state in."""
    by = _asked(asked)
    if isinstance(by, Answer):
        return by
    kind, texts = by
    made = subscription_groups.listed(call.conn)
    found = {each.uid: each for text in texts for each in _profiles(call.conn, kind, text)}
    page = list(found.values())[asked["offset"] : asked["offset"] + asked["limit"]]
    users = [
        {
            "email": each.standard.get("email"),
            "phone": each.standard.get("phone"),
            "external_id": each.external_id,
            "subscription_groups": [
                {**made.get(group, {"id": group, "name": None, "channel": "email"}), "status": state.capitalize()}
                for group, state in each.subscriptions.items()
            ],
        }
        for each in page
    ]
    why = Reason("status", "the applied states", "Braze docs, List user's subscription groups")
    return Answer(200, {"users": users, "total_count": len(found), "message": "success"}, why=(why,))


_PEOPLE = tuple(Parameter(kind, many=True) for kind in _KINDS)
HANDLERS: Mapping[str, Served] = {
    "POST /subscription/status/set": (set_one, "braze_subscription_set", 201),
    "POST /v2/subscription/status/set": (set_many, "braze_subscription_set_v2", 201),
    "GET /subscription/status/get": asking(status, Parameter("subscription_group_id", required=True), *_PEOPLE),
    "GET /subscription/user/status": asking(
        user_status,
        *_PEOPLE,
        Parameter("limit", natural(1, 100), 100),
        Parameter("offset", natural(0, 10**8), 0),
    ),
}
