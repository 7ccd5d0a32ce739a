"""Subscription states of people and addresses: what queued changes do, and what follows from a change.

A state set by e-mail or phone goes to every profile that has the address; for an address that nobody has it waits 30
days for somebody. A group's state that changed is a Currents event. Group states and the global e-mail state do not
touch each other. Source: Braze docs, Update user's subscription group status; Change email subscription status;
Blocklist email addresses; Currents, message engagement events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from simulator.braze import applying, currents_live, email_tables, profile_store, standard
from simulator.braze.applying import Effects
from simulator.braze.email_tables import waiting
from simulator.braze.identity import People, Profile
from simulator.store import rows_in, upsert_rows
from simulator.tank import Tank

WAITS_MS = 30 * 86_400_000
GLOBAL = "email_subscribe"
_WAITING = ("kind", "address", "name", "state", "at_ms")


def email_status(conn: Connection, tank: Tank, payload: Any, _received_ms: int, now_ms: int) -> int:
    """The global e-mail state of addresses: ``{"emails", "state", "blocked"}``. No data points."""
    emails, state = payload["emails"], payload["state"]
    people = profile_store.load(conn, tank, {("email", each) for each in emails}, now_ms)
    effects = Effects()
    for email in emails:
        for profile in people.all("email", email):
            profile.standard[GLOBAL] = state
            people.touch(profile, now_ms, found_by=False)
        effects.email_states.append((email, state, now_ms))
    _wait(conn, [("email", each, GLOBAL, state, now_ms) for each in emails if not people.all("email", each)])
    if payload.get("blocked"):
        email_tables.mark(conn, "blocked", emails, now_ms)
        email_tables.mark(conn, "hard_bounce", emails, now_ms)
    follow(conn, people, effects, now_ms)
    profile_store.save(conn, people, effects)
    currents_live.report(conn, tank, people, effects, now_ms)
    return 0


def groups(conn: Connection, tank: Tank, changes: Any, _received_ms: int, now_ms: int) -> int:
    """Group states: objects of ``group``, ``state``, ``kind`` (external_id, email or phone) and ``values``."""
    wanted = {(each["kind"], value) for each in changes for value in each["values"]}
    people = profile_store.load(conn, tank, wanted, now_ms)
    shared = {("email", each.standard["email"]) for each in people.profiles.values() if each.standard.get("email")}
    profile_store.load_more(conn, people, shared)
    effects = Effects()
    left = []
    for change in changes:
        for value in change["values"]:
            found = _found(people, change["kind"], value)
            for profile in found:
                set_group(people, profile, change, effects, now_ms)
            if not found and change["kind"] != "external_id":
                left.append((change["kind"], value, change["group"], change["state"], now_ms))
    _wait(conn, left)
    follow(conn, people, effects, now_ms)
    profile_store.save(conn, people, effects)
    currents_live.report(conn, tank, people, effects, now_ms)
    return 0


def _found(people: People, kind: str, value: str) -> list[Profile]:
    if kind != "external_id":
        return people.all(kind, value)
    one = people.one(kind, value)
    return [] if one is None else [one]


def set_group(people: People, profile: Profile, change: Mapping[str, Any], effects: Effects, now_ms: int) -> None:
    """One group's state of one profile; by external id it goes to whoever shares the e-mail address."""
    one = {"subscription_group_id": change["group"], "subscription_state": change["state"]}
    if change["kind"] == "external_id":
        applying.subscribe(people, profile, [one], effects, now_ms)
    else:
        applying.set_states(profile, {change["group"]: change["state"]}, effects)
    people.touch(profile, now_ms)


def _wait(conn: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    upsert_rows(conn, waiting, _WAITING, rows, ("kind", "address", "name"))


# -- what follows from changes


def follow(conn: Connection, people: People, effects: Effects, now_ms: int) -> None:
    """To be called before profiles are saved: whoever has a new address takes the states that wait for it, and the
    list of unsubscribed addresses is kept."""
    if effects.addressed:
        _inherit(conn, people, effects, now_ms)
    if effects.email_states:
        email_tables.note_states(conn, effects.email_states)


def _inherit(conn: Connection, people: People, effects: Effects, now_ms: int) -> None:
    holders: dict[tuple[str, str], list[Profile]] = {}
    for uid in sorted(effects.addressed):
        profile = people.profiles[uid]
        for kind in ("email", "phone"):
            if profile.standard.get(kind):
                holders.setdefault((kind, profile.standard[kind]), []).append(profile)
    rows = rows_in(conn, waiting, _WAITING, "address", {address for _, address in holders})
    for kind, address, name, state, at_ms in rows:
        for profile in holders.get((kind, address), ()) if now_ms - at_ms <= WAITS_MS else ():
            if name == GLOBAL:
                profile.standard.setdefault(GLOBAL, state)
            elif name not in profile.subscriptions:
                applying.set_states(profile, {name: state}, effects)
            people.touch(profile, now_ms, found_by=False)
        if (kind, address) in holders:
            mine = (waiting.c.kind == kind, waiting.c.address == address, waiting.c.name == name)
            conn.execute(waiting.delete().where(*mine))


def normalized_phone(text: str) -> str:
    """A phone number as profiles hold it."""
    return standard.phone(text)[0]
