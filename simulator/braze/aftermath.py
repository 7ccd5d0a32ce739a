"""What comes after a message: its events happen at their time, and change what Braze knows.

A bounce or complaint closes an address, an unsubscribe changes the profile, an uninstalled app loses its token; who
converts does in fact what the campaign hoped for. Source: Braze docs, Currents event glossary; Email subscriptions;
Push token lifecycle; Subscription groups.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, select

from simulator.braze import (
    behaviour,
    conversions,
    dates,
    email_tables,
    marketing,
    message_counts,
    message_events,
    profile_store,
    reach,
    received,
    sdk,
    writes,
)
from simulator.braze.channels import channels
from simulator.braze.identity import People, Profile
from simulator.braze.messaging_tables import happenings, messages
from simulator.braze.reach import Target
from simulator.store import insert_rows, json_set, run
from simulator.tank import Tank

PAGE = 1000
_LINK = re.compile(r"https?://[^\s\"'<>)]+")
_FAILURES = (("Unreachable destination handset", "30003"), ("Message blocked by carrier", "30007"))
_MANNERS: Mapping[str, str] = {
    "users.messages.email.Open": "opens_email",
    "users.messages.email.Click": "clicks_email",
}
"""Events of a message that may themselves be what a campaign hopes for."""


# -- what the events of a message carry


def shared_values(tank: Tank, profile: Profile, rendered: Mapping[str, Any]) -> dict[str, Any]:
    """Values of every event of one message."""
    return {
        "email_address": profile.standard.get("email"),
        "to_phone_number": profile.standard.get("phone"),
        "from_phone_number": tank.settings["braze.sms_from"],
        "subscription_group_id": rendered.get("subscription_group_id"),
    }


def device_facts(target: Target, app_id: str) -> dict[str, Any]:
    """Values of the device that a message goes to."""
    device = target.device
    if device is None:
        return {}
    return {
        **message_events.device_values(device, app_id),
        "device_id": device.get("device_id"),
        "token": target.token,
    }


def own_values(type_: str, rendered: Any, rng: random.Random) -> dict[str, Any]:
    """Values of one kind of event alone."""
    if type_ == "users.messages.email.Click":
        links = _LINK.findall(orjson.dumps(rendered).decode())
        return {"url": rng.choice(links) if links else "https://www.example.com/"}
    if type_ in ("users.messages.sms.Rejection", "users.messages.sms.DeliveryFailure"):
        text, code = rng.choice(_FAILURES)
        return {"error": text, "provider_error_code": code}
    if type_ == "users.messages.inappmessage.Click":
        return {"button_id": "0"}
    return {}


# -- happening


def happen(conn: Connection, tank: Tank, now_ms: int) -> bool:
    """Let the next page of what is due happen; False when nothing is."""
    query = select(happenings).where(happenings.c.due_ms <= now_ms).order_by(happenings.c.due_ms, happenings.c.n)
    rows = conn.execute(query.limit(PAGE)).all()
    if not rows:
        return False
    conn.execute(happenings.delete().where(happenings.c.n.in_(json_set([row.n for row in rows]))))
    sent = {
        row.n: row
        for row in conn.execute(select(messages).where(messages.c.n.in_(json_set({row.message_n for row in rows}))))
    }
    people = profile_store.load(conn, tank, set(), now_ms)
    profile_store.add(conn, people, {row.uid for row in rows})
    events: list[dict[str, Any]] = []
    counted: list[message_counts.Key] = []
    did: list[tuple[int, str, str, int]] = []
    converting: list[tuple[int, str, int]] = []
    engaged: list[tuple[int, str]] = []
    for row in rows:
        profile, message = people.profiles.get(row.uid), sent.get(row.message_n)
        if profile is None or profile.gone or message is None:
            continue
        facts, own = orjson.loads(message.facts), orjson.loads(row.properties)
        if row.does == behaviour.CONVERT:
            converting.append((row.uid, facts["object_id"], row.due_ms))
            continue
        _change(conn, people, profile, row.does, own, now_ms)
        if not row.type:
            continue
        events.append(_event(row, facts, own, profile))
        if row.type in received.ENGAGED:
            engaged.append((message.n, received.ENGAGED[row.type]))
        if row.type in _MANNERS:
            did.append((row.uid, _MANNERS[row.type], "", row.due_ms))
        what = message_counts.WHAT.get(row.type.rpartition(".")[2])
        if what is not None:
            send_id = facts["event"].get("send_id") or ""
            statistic = channels()[message.channel].statistic
            counted.append((facts["object_id"], facts["part"], send_id, statistic, what))
    profile_store.save(conn, people)
    _engage(conn, {n: row.engaged or "" for n, row in sent.items()}, engaged)
    events += conversions.note(conn, people.profiles, did, now_ms)
    message_counts.add(conn, counted, now_ms)
    message_events.happen(conn, tank, events, now_ms)
    for uid, object_id, at_ms in converting:
        _convert(conn, tank, uid, object_id, at_ms)
    return True


def _engage(conn: Connection, held: dict[int, str], did: Sequence[tuple[int, str]]) -> None:
    """Note with a message what its person did with it, for exports."""
    for n, word in did:
        held[n] = " ".join(sorted({*held[n].split(), word}))
    if did:
        rows = [(held[n], n) for n in sorted({n for n, _ in did})]
        run(conn, f"UPDATE {messages.name} SET engaged = ? WHERE n = ?", rows)


def _event(row: Any, facts: Mapping[str, Any], own: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    values = {**facts["event"], **own}
    if row.type == "users.behaviors.subscriptiongroup.StateChange":
        values["subscription_status"] = "Subscribed" if row.does == "join_group" else "Unsubscribed"
    return message_events.event(row.type, row.due_ms, profile, values, own.get("device_id"))


def _change(conn: Connection, people: People, profile: Profile, does: str, own: Mapping[str, Any], now_ms: int) -> None:
    """What an event changes in Braze."""
    if does in ("hard_bounce", "spam"):
        email = own.get("email_address") or profile.standard.get("email")
        if email:
            email_tables.mark(conn, "spam" if does == "spam" else "hard_bounce", [str(email)], now_ms)
    elif does == "unsubscribe":
        for each in _same_address(conn, people, profile):
            each.standard["email_subscribe"] = "unsubscribed"
            people.touch(each, now_ms)
        if profile.standard.get("email"):
            email_tables.note_states(conn, [(profile.standard["email"], "unsubscribed", now_ms)])
    elif does in ("leave_group", "join_group") and own.get("subscription_group_id"):
        state = "subscribed" if does == "join_group" else "unsubscribed"
        profile.subscriptions[str(own["subscription_group_id"])] = state
        people.touch(profile, now_ms)
    elif does == "lose_token":
        profile.tokens = [each for each in profile.tokens if each["token"] != own.get("token")]
        people.touch(profile, now_ms)


def _same_address(conn: Connection, people: People, profile: Profile) -> Sequence[Profile]:
    """A link in an e-mail unsubscribes everybody of the address."""
    email = profile.standard.get("email")
    if not email:
        return [profile]
    profile_store.load_more(conn, people, {("email", email)})
    return people.all("email", email) or [profile]


def _convert(conn: Connection, tank: Tank, uid: int, object_id: str, at_ms: int) -> None:
    """Let a person do the first thing that a campaign or Canvas hopes for."""
    marketed = marketing.find(conn, object_id)
    found = profile_store.by_uid(conn, [uid])
    if marketed is None or not marketed.data["conversions"] or not found:
        return
    behavior, who = marketed.data["conversions"][0], {"braze_id": found[0].braze_id, "time": dates.shown(at_ms)}
    if behavior["type"] == "performs_event":
        name = behavior.get("name", "Converted")
        writes.track_people(conn, tank, [("events", {**who, "name": name})], at_ms, at_ms, "sdk")
    elif behavior["type"] == "makes_purchase":
        bought = {"product_id": behavior.get("name", "product"), "price": 10, "currency": "USD"}
        writes.track_people(conn, tank, [("purchases", {**who, **bought})], at_ms, at_ms, "sdk")
    elif behavior["type"] == "starts_session":
        device = reach.newest_device(found[0])
        if device is not None and device.get("device_id"):
            sdk.act(conn, tank, {"device_id": device["device_id"], "do": "session_start"}, at_ms)


# -- what a person does with a message by themselves


def react(conn: Connection, tank: Tank, message_n: int, do: str, given: Mapping[str, Any], now_ms: int) -> None:
    """Let the person of a sent message do something with it, see ``channels.yaml``. Raises ValueError.

    ``given``: ``url`` of a click, ``button_id`` of a click in the app.
    """
    row = conn.execute(select(messages).where(messages.c.n == message_n)).first()
    if row is None or row.state != "sent":
        raise ValueError(f"message {message_n} was not sent: nobody can do anything with it")
    channel = channels()[row.channel]
    type_ = channel.reactions.get(do)
    if type_ is None:
        known = ", ".join(channel.reactions) or "nothing"
        raise ValueError(f"{do!r} cannot be done with {row.channel}: it takes {known}")
    found = profile_store.by_uid(conn, [row.uid])
    if not found:
        raise ValueError("the person is gone")
    profile, rendered = found[0], orjson.loads(row.rendered)
    aimed = conn.execute(select(happenings.c.properties).where(happenings.c.message_n == message_n)).scalar()
    device = reach.newest_device(profile) if channel.reach in ("push", "card", "app") else None
    values = {
        **shared_values(tank, profile, rendered),
        **device_facts(Target(device), tank.credential("braze_app_id")),
        **own_values(type_, rendered, tank.rng("braze_react", message_n, do)),
        **(orjson.loads(aimed) if aimed else {}),
        **given,
    }
    laid = (now_ms, message_n, row.uid, type_, behaviour.consequence(channel.family, type_))
    columns = ("due_ms", "message_n", "uid", "type", "does", "properties")
    insert_rows(conn, happenings, columns, [(*laid, orjson.dumps(values).decode())])
    while happen(conn, tank, now_ms):
        pass
