"""What people do in apps and through the API, as Currents tells it: sessions, events, purchases, and what follows.

One look at the effects of a write: Currents events, conversions, exits from Canvases, and messages in the app that
waited for a session. Source: Braze docs, Amplitude for Currents (customer behavior events); Purchase object (a
quantity counts as so many purchases); Canvas (exit criteria); In-app messages (shown at session start).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, String, Table, select

from simulator.braze import canvas_exits, conversions, message_events, messaging_timer
from simulator.braze.applying import Effects
from simulator.braze.identity import People, Profile
from simulator.braze.messaging_tables import messages
from simulator.braze.people import uuid_text
from simulator.store import json_set, metadata, upsert_rows
from simulator.tank import Tank

STATE_CHANGE = "users.behaviors.subscriptiongroup.StateChange"
sessions = Table(
    "braze_sessions",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("session_id", String, nullable=False),
    Column("began_ms", BigInteger, nullable=False),
)
"""The session that is open, or was last, on a device."""


def report(
    conn: Connection, tank: Tank, people: People, effects: Effects, now_ms: int, device_id: str | None = None
) -> None:
    """Tell what a write has done, once it is saved.

    :param device_id: the device that did it; None for the API.
    """
    if not effects.activity and not effects.happened and not effects.groups:
        return
    if message_events.watched(conn, tank):
        message_events.happen(conn, tank, _events(conn, tank, people, effects, now_ms, device_id), now_ms)
    did = [(uid, kind, name, at_ms) for uid, kind, name, at_ms, _ in effects.activity]
    if did:
        mine = {uid: people.profiles[uid] for uid in {each[0] for each in did}}
        message_events.happen(conn, tank, conversions.note(conn, mine, did, now_ms), now_ms)
        canvas_exits.leave(conn, mine, [each[:3] for each in did], now_ms)
    begun = {uid for uid, kind, *_ in effects.activity if kind == "session"}
    if begun and _wake_waiting(conn, begun, now_ms):
        messaging_timer.wake(conn, now_ms)


def _wake_waiting(conn: Connection, uids: Iterable[int], now_ms: int) -> bool:
    """Messages in the app that waited for a session are due; whether there are any."""
    held = (messages.c.uid.in_(json_set(uids)), messages.c.state == "waiting")
    return conn.execute(messages.update().where(*held).values(state="due", due_ms=now_ms)).rowcount > 0


def _events(
    conn: Connection, tank: Tank, people: People, effects: Effects, now_ms: int, device_id: str | None
) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for uid, kind, name, at_ms, text in effects.activity:
        profile = people.profiles[uid]
        detail = orjson.loads(text)
        values = {**_device(tank, profile, device_id), **_named(detail)}
        if kind == "event":
            given = {**values, "name": name, "custom_properties": detail.get("properties", {})}
            made.append(message_events.event("users.behaviors.CustomEvent", at_ms, profile, given, device_id))
        elif kind == "purchase":
            given = {**values, "product_id": name, "price": detail["price"], "currency": detail["currency"]}
            given["purchase_properties"] = detail.get("properties", {})
            one = message_events.event("users.behaviors.Purchase", at_ms, profile, given, device_id)
            made += [dict(one) for _ in range(detail.get("quantity", 1))]
        else:
            made += _session(conn, tank, profile, values, at_ms, device_id)
    for uid, type_, given in effects.happened:
        profile = people.profiles[uid]
        values = {**_device(tank, profile, device_id), **given}
        if type_ == "users.behaviors.app.SessionEnd":
            values |= _ended(conn, tank, device_id, now_ms)
        made.append(message_events.event(type_, now_ms, profile, values, device_id))
    for uid, group, state in effects.groups:
        profile = people.profiles[uid]
        values = {
            **_device(tank, profile, device_id),
            "subscription_group_id": group,
            "subscription_status": state.capitalize(),
            "email_address": profile.standard.get("email"),
        }
        made.append(message_events.event(STATE_CHANGE, now_ms, profile, values, device_id))
    return made


def _named(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {"app_id": detail["app_id"]} if detail.get("app_id") else {}


def _device(tank: Tank, profile: Profile, device_id: str | None) -> dict[str, Any]:
    if device_id is None:
        return {}
    row = next((each for each in profile.devices if each.get("device_id") == device_id), {})
    return message_events.device_values(row, tank.credential("braze_app_id"))


def _session(
    conn: Connection, tank: Tank, profile: Profile, values: Mapping[str, Any], at_ms: int, device_id: str | None
) -> list[dict[str, Any]]:
    session_id = uuid_text(tank.rng("braze_session", device_id, profile.braze_id, at_ms))
    if device_id is not None:
        row = (device_id, session_id, at_ms)
        upsert_rows(conn, sessions, ("device_id", "session_id", "began_ms"), [row], ("device_id",))
    first = ["users.behaviors.app.FirstSession"] if profile.stats.get("sessions") == 1 else []
    types = [*first, "users.behaviors.app.SessionStart"]
    given = {**values, "session_id": session_id}
    return [message_events.event(type_, at_ms, profile, given, device_id) for type_ in types]


def _ended(conn: Connection, tank: Tank, device_id: str | None, now_ms: int) -> dict[str, Any]:
    """Id and length of the session that ends; one that nobody saw begin has lasted no time."""
    row = conn.execute(select(sessions).where(sessions.c.device_id == device_id)).first()
    if row is None:
        return {"session_id": uuid_text(tank.rng("braze_session", device_id, now_ms)), "duration": 0.0}
    return {"session_id": row.session_id, "duration": (now_ms - row.began_ms) / 1000}
