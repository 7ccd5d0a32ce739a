"""What each kind of queued write does to the store: load the profiles it reaches, apply the rules, save.

Each function answers the data points that the write cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection

from simulator.braze import (
    applying,
    attributes,
    cohort_blocks,
    cohort_membership,
    currents_live,
    identity,
    merging,
    profile_store,
    subscribing,
)
from simulator.braze.applying import Context, Effects
from simulator.braze.identity import People, Profile
from simulator.store import run
from simulator.tank import Tank

Key = tuple[str, str]


def context(conn: Connection, tank: Tank) -> Context:
    """What the workspace decides about writes now."""
    settings = tank.settings
    blocked, forced = profile_store.special_names(conn)
    return Context(
        attributes.Rules(forced, settings["braze.long_strings"] == "truncate"),
        blocked,
        settings["braze.usd_rates"],
        int(settings["braze.spam_names"]),
        int(settings["braze.spam_sessions"]),
        bool(settings["braze.alias_update_existing_only"]),
        lambda token: hashlib.sha256(f"{tank.seed}:device:{token}".encode()).hexdigest()[:32],
    )


def track(conn: Connection, tank: Tank, payload: Any, received_ms: int, now_ms: int) -> int:
    """Objects of a track request; what they leave is in the store afterwards."""
    return sum(track_people(conn, tank, payload, received_ms, now_ms)[1].points.values())


def track_people(
    conn: Connection, tank: Tank, objects: list[Any], received_ms: int, now_ms: int, source: str = "api"
) -> tuple[People, Effects]:
    """The same, answering the profiles in hand and the effects; ``source`` is billed."""
    people = profile_store.load(conn, tank, applying.wanted(objects), now_ms)
    more: set[Key] = set()
    for array, given in objects:
        if array == "attributes" and given.get("push_tokens"):
            more.update(("token", each["token"]) for each in given["push_tokens"])
        if array == "attributes" and given.get("subscription_groups"):
            more.update(("email", email) for email in _emails(people, given))
    if more:
        profile_store.load_more(conn, people, more)
    effects = applying.apply(people, objects, context(conn, tank), received_ms, now_ms)
    subscribing.follow(conn, people, effects, now_ms)
    profile_store.save(conn, people, effects, source)
    currents_live.report(conn, tank, people, effects, now_ms)
    return people, effects


def _emails(people: People, given: Mapping[str, Any]) -> Iterable[str]:
    """The address that a subscription change goes along with: the new one, or the profile's."""
    if isinstance(given.get("email"), str):
        yield given["email"]
    profile = identity.resolve(people, given)
    if profile is not None and profile.standard.get("email"):
        yield profile.standard["email"]


def alias_new(conn: Connection, tank: Tank, entries: Any, _received_ms: int, now_ms: int) -> int:
    """`/users/alias/new`."""
    wanted = {("alias", identity.alias_text(each["alias_name"], each["alias_label"])) for each in entries}
    wanted |= {("external_id", str(each["external_id"])) for each in entries if each.get("external_id") is not None}
    people = profile_store.load(conn, tank, wanted, now_ms)
    for each in entries:
        identity.new_alias(people, each, now_ms)
    profile_store.save(conn, people)
    return 0


def alias_update(conn: Connection, tank: Tank, entries: Any, _received_ms: int, now_ms: int) -> int:
    """`/users/alias/update`."""
    wanted = {
        ("alias", identity.alias_text(each[name], each["alias_label"]))
        for each in entries
        for name in ("old_alias_name", "new_alias_name")
    }
    people = profile_store.load(conn, tank, wanted, now_ms)
    for each in entries:
        identity.update_alias(people, each, now_ms)
    profile_store.save(conn, people)
    return 0


def identifier_key(given: Mapping[str, Any]) -> Key:
    """What finds the profiles of an identifier object: external id, alias, Braze id, e-mail or phone."""
    if "external_id" in given:
        return "external_id", str(given["external_id"])
    if "user_alias" in given:
        return "alias", identity.alias_text(given["user_alias"]["alias_name"], given["user_alias"]["alias_label"])
    return next((kind, str(given[kind])) for kind in ("braze_id", "email", "phone") if kind in given)


def candidates(people: People, given: Mapping[str, Any]) -> list[Profile]:
    """The profiles that an identifier object leaves after prioritization; more than one means do nothing."""
    kind, value = identifier_key(given)
    if kind in ("email", "phone"):
        return identity.prioritized(people.all(kind, value), given.get("prioritization") or ())
    found = people.one(kind, value)
    return [] if found is None else [found]


def identify(conn: Connection, tank: Tank, payload: Any, _received_ms: int, now_ms: int) -> int:
    """`/users/identify`: ``payload`` is ``{"entries": [...], "merge": bool}``."""
    entries = payload["entries"]
    wanted = {identifier_key(_without_target(each)) for each in entries}
    wanted |= {("external_id", str(each["external_id"])) for each in entries}
    people = profile_store.load(conn, tank, wanted, now_ms)
    for each in entries:
        _identify(tank, people, each, payload["merge"], now_ms)
    _save_merged(conn, tank, people)
    return 0


def _without_target(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "external_id"}


def _identify(tank: Tank, people: People, entry: Mapping[str, Any], merge: bool, now_ms: int) -> None:
    found = candidates(people, _without_target(entry))
    target = people.one("external_id", str(entry["external_id"]))
    by_contact = "user_alias" not in entry
    # An address that the target itself has leaves no single source, so nothing is merged.
    if len(found) != 1 or found[0] is target:
        return
    source = found[0]
    if by_contact and target is not None:
        kind, value = identifier_key(_without_target(entry))
        if target.standard.get(kind) == value:
            return
    if source.identified:
        return
    if target is None:
        source.external_id = str(entry["external_id"])
        people.touch(source, now_ms)
        return
    if set(source.aliases) & set(target.aliases) or not merging.may_merge(target, source, control_share(tank)):
        return
    if not merge:
        merging.carry_only(people, target, source, now_ms)
        return
    merging.merge(people, target, source, now_ms, subscriptions=_fills(tank), devices=False)


def control_share(tank: Tank) -> float:
    """Percent of people who are in the Global Control Group."""
    return float(tank.settings["braze.global_control_share"])


def _fills(tank: Tank) -> bool:
    return bool(tank.settings["braze.merge_subscriptions"])


def merge(conn: Connection, tank: Tank, pairs: Any, _received_ms: int, now_ms: int) -> int:
    """`/users/merge`: each pair by itself; one that is not clear does nothing."""
    wanted = {identifier_key(each[side]) for each in pairs for side in ("identifier_to_merge", "identifier_to_keep")}
    people = profile_store.load(conn, tank, wanted, now_ms)
    share = control_share(tank)
    for each in pairs:
        sources, keeps = (candidates(people, each[side]) for side in ("identifier_to_merge", "identifier_to_keep"))
        if len(sources) == len(keeps) == 1 and merging.may_merge(keeps[0], sources[0], share):
            merging.merge(people, keeps[0], sources[0], now_ms, subscriptions=_fills(tank), devices=True)
    _save_merged(conn, tank, people)
    return 0


def _save_merged(conn: Connection, tank: Tank, people: People) -> None:
    """Save, and take cohort membership along when the setting says so."""
    pairs = {uid: people.profiles[uid].into_uid for uid in people.changed if people.profiles[uid].gone == "merged"}
    profile_store.save(conn, people)
    leave_cohorts(conn, pairs, carry=bool(tank.settings["braze.merge_cohorts"]))


def leave_cohorts(conn: Connection, gone: Mapping[int, int | None], *, carry: bool) -> None:
    """Take profiles out of every cohort; the profile they were merged into enters when ``carry``."""
    if not gone:
        return
    for cohort, uid in cohort_blocks.leave_all(conn, gone):
        into = gone[uid]
        if carry and into is not None:
            cohort_blocks.add(conn, cohort, [into])


def delete(conn: Connection, tank: Tank, entries: Any, _received_ms: int, now_ms: int) -> int:
    """`/users/delete`: profiles and what is kept of them; a deprecated external id deletes its whole profile."""
    people = profile_store.load(conn, tank, {identifier_key(each) for each in entries}, now_ms)
    for each in entries:
        found = candidates(people, each)
        if len(found) == 1:
            people.remove(found[0], "deleted", now_ms)
    gone = dict.fromkeys(uid for uid in people.changed if people.profiles[uid].gone)
    for uid in gone:
        erase(people.profiles[uid])
    profile_store.save(conn, people)
    leave_cohorts(conn, gone, carry=False)
    if gone:
        run(conn, "DELETE FROM braze_activity WHERE uid = ?", [(uid,) for uid in gone])
    return 0


def erase(profile: Profile) -> None:
    """Forget what a deleted profile held; number and Braze id stay taken."""
    profile.external_id = None
    for name in ("deprecated", "tokens", "devices"):
        setattr(profile, name, [])
    for name in ("aliases", "standard", "custom", "events", "purchases", "subscriptions", "apps", "stats"):
        setattr(profile, name, {})


Apply = Callable[[Connection, Tank, Any, int, int], int]

APPLY: Mapping[str, Apply] = {
    "track": track,
    "alias_new": alias_new,
    "alias_update": alias_update,
    "identify": identify,
    "merge": merge,
    "delete": delete,
    "cohort_users": cohort_membership.apply_users,
    "email_status": subscribing.email_status,
    "subscription_groups": subscribing.groups,
}
"""The kinds of writes: ``function(conn, tank, payload, received_ms, now_ms)``."""
