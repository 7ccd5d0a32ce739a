"""The SDK's side of identity: anonymous profiles per installation, log-ins, sessions, events of the app.

Nothing of it goes over the REST API; the control API plays the device. Source: Braze docs, User profile lifecycle;
Setting user IDs; Push token lifecycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Connection, Integer, String, Table

from simulator.braze import (
    applying,
    currents_live,
    dates,
    identity,
    merging,
    profile_store,
    reach,
    subscribing,
    track_checks,
    writes,
)
from simulator.braze.applying import Context, Effects
from simulator.braze.identity import People, Profile
from simulator.store import metadata, rows_in, upsert_rows
from simulator.tank import Tank

installs = Table(
    "braze_installs",
    metadata,
    Column("device_id", String, primary_key=True),
    Column("uid", Integer, nullable=False, index=True),
)
"""Whose session is on a device now."""

ACTIONS = (
    "session_start",
    "session_end",
    "change_user",
    "add_alias",
    "attributes",
    "event",
    "purchase",
    "push_token",
    "subscribe",
    "location",
    "install_attribution",
    "news_feed",
    "news_feed_card",
    "news_feed_click",
    "uninstall",
)


def act(conn: Connection, tank: Tank, action: Mapping[str, Any], now_ms: int) -> Profile:
    """Let a device do one thing; answers the profile it is on afterwards.

    ``action`` has ``device_id``, ``do`` (one of :data:`ACTIONS`) and what that needs: ``external_id`` for
    ``change_user``, ``alias_name`` and ``alias_label``, ``attributes``, ``name`` and ``properties`` of an event,
    ``product_id``, ``price``, ``currency`` of a purchase, ``token``; for ``subscribe`` a ``subscription_group_id`` with
    its ``subscription_state``; ``latitude`` and ``longitude``; the ``source`` of an installation; the ``card_id`` of a
    card in the news feed. Raises ValueError when something is missing.
    """
    device_id, do = action["device_id"], action["do"]
    people, profile = _open(conn, tank, action, now_ms)
    effects = Effects()
    context = writes.context(conn, tank)
    if do == "change_user":
        profile = _change_user(tank, people, profile, device_id, str(_need(action, "external_id")), now_ms)
    else:
        _DO[do](people, profile, action, context, effects, now_ms)
    people.touch(profile, now_ms)
    subscribing.follow(conn, people, effects, now_ms)
    profile_store.save(conn, people, effects, "sdk")
    writes.leave_cohorts(
        conn,
        {uid: people.profiles[uid].into_uid for uid in people.changed if people.profiles[uid].gone},
        carry=bool(tank.settings["braze.merge_cohorts"]),
    )
    upsert_rows(conn, installs, ("device_id", "uid"), [(device_id, profile.uid)], ("device_id",))
    currents_live.report(conn, tank, people, effects, now_ms, device_id)
    return profile


def _need(action: Mapping[str, Any], name: str) -> Any:
    if action.get(name) is None:
        raise ValueError(f"{action['do']} needs {name}")
    return action[name]


def _open(conn: Connection, tank: Tank, action: Mapping[str, Any], now_ms: int) -> tuple[People, Profile]:
    """The profile on the device; a device that is new, or whose profile is gone, has a new anonymous one."""
    wanted = {("external_id", str(action["external_id"]))} if action.get("external_id") is not None else set()
    if action.get("token") is not None:
        wanted.add(("token", action["token"]))
    if action.get("alias_name") is not None and action.get("alias_label") is not None:
        wanted.add(("alias", identity.alias_text(action["alias_name"], action["alias_label"])))
    people = profile_store.load(conn, tank, wanted, now_ms)
    rows = rows_in(conn, installs, ("uid",), "device_id", [action["device_id"]])
    profile_store.add(conn, people, [row[0] for row in rows])
    profile = people.profiles.get(rows[0][0]) if rows else None
    if profile is None or profile.gone:
        profile = people.create()
    _note_device(profile, action)
    return people, profile


def _note_device(profile: Profile, action: Mapping[str, Any]) -> None:
    if all(each.get("device_id") != action["device_id"] for each in profile.devices):
        profile.devices.append({"device_id": action["device_id"], **(action.get("device") or {})})


def _change_user(
    tank: Tank, people: People, current: Profile, device_id: str, external_id: str, now_ms: int
) -> Profile:
    """``changeUser``: an anonymous profile gains the id, or meets the profile that has it; somebody identified stays
    as they are, and the other one's profile is loaded or made."""
    target = people.one("external_id", external_id)
    if target is current:
        return current
    if not current.identified and target is None:
        current.external_id = external_id
        return current
    if target is None:
        target = people.create()
        target.external_id = external_id
    _note_device(target, {"device_id": device_id})
    if current.identified:
        mine = [each for each in current.tokens if each.get("device_id") == device_id]
        for each in mine:
            applying.take_token(people, target, each, now_ms)
        current.tokens = [each for each in current.tokens if each not in mine]
        people.touch(current, now_ms)
        return target
    if tank.settings["braze.anonymous_to_known"] == "merge":
        fills = bool(tank.settings["braze.merge_subscriptions"])
        merging.merge(people, target, current, now_ms, subscriptions=fills, devices=True)
    else:
        merging.carry_tokens(target, current)
        people.remove(current, "orphaned", now_ms, None)
    return target


# -- what a device does on its profile


def _session_start(
    _people: People, profile: Profile, action: Mapping[str, Any], _context: Context, effects: Effects, now_ms: int
) -> None:
    stats = profile.stats
    stats["sessions"] = stats.get("sessions", 0) + 1
    stats.setdefault("first_session_ms", now_ms)
    stats["last_session_ms"] = now_ms
    name = action.get("app", "app")
    app = profile.apps.setdefault(name, {"sessions": 0, "first_ms": now_ms, "last_ms": now_ms})
    app["sessions"] += 1
    app["last_ms"] = now_ms
    device = next((each for each in profile.devices if each.get("device_id") == action["device_id"]), {})
    told = {"platform": reach.platform_of(device), "version": device.get("app_version")}
    app |= {each: value for each, value in told.items() if value is not None}
    effects.activity.append((profile.uid, "session", name, now_ms, "{}"))
    effects.bill(profile, 1, now_ms)


def _session_end(
    _people: People, profile: Profile, _action: Mapping[str, Any], _context: Context, effects: Effects, now_ms: int
) -> None:
    effects.bill(profile, 1, now_ms)
    effects.happened.append((profile.uid, "users.behaviors.app.SessionEnd", {}))


def _add_alias(
    people: People, profile: Profile, action: Mapping[str, Any], _context: Context, _effects: Effects, _now_ms: int
) -> None:
    name, label = _need(action, "alias_name"), _need(action, "alias_label")
    if people.alias(name, label) is None:
        profile.aliases.setdefault(label, name)


def _fitting(array: track_checks.Array, given: Mapping[str, Any]) -> dict[str, Any]:
    """What /users/track would take; the SDK sends the same kinds of values."""
    problem = track_checks.problem_of(array, {**given, "external_id": "anyone"}, track_checks.Known())
    if problem is not None:
        raise ValueError(track_checks.errors().get(problem, problem))
    return dict(given)


def _attributes(
    people: People, profile: Profile, action: Mapping[str, Any], context: Context, effects: Effects, now_ms: int
) -> None:
    given = _fitting("attributes", _need(action, "attributes"))
    applying.write_attributes(people, profile, given, context, effects, now_ms)


def _event(
    _people: People, profile: Profile, action: Mapping[str, Any], context: Context, effects: Effects, now_ms: int
) -> None:
    given = {"time": dates.shown(now_ms), **action, "name": _need(action, "name")}
    applying.record_event(profile, _fitting("events", given), context, effects, now_ms, now_ms)


def _purchase(
    _people: People, profile: Profile, action: Mapping[str, Any], context: Context, effects: Effects, now_ms: int
) -> None:
    for name in ("product_id", "price", "currency"):
        _need(action, name)
    given = _fitting("purchases", {"time": dates.shown(now_ms), **action})
    applying.record_purchase(profile, given, context, effects, now_ms, now_ms)


def _push_token(
    people: People, profile: Profile, action: Mapping[str, Any], context: Context, _effects: Effects, now_ms: int
) -> None:
    _need(action, "token")
    applying.take_token(people, profile, applying.token_row(action, context), now_ms)


def _subscribe(
    people: People, profile: Profile, action: Mapping[str, Any], _context: Context, effects: Effects, now_ms: int
) -> None:
    group = {name: _need(action, name) for name in ("subscription_group_id", "subscription_state")}
    applying.subscribe(people, profile, [group], effects, now_ms)


def _location(
    _people: People, profile: Profile, action: Mapping[str, Any], _context: Context, effects: Effects, now_ms: int
) -> None:
    """The place becomes the profile's most recent one, which costs a data point."""
    place = {name: float(_need(action, name)) for name in ("latitude", "longitude")}
    profile.standard["current_location"] = dict(place)
    effects.bill(profile, 1, now_ms)
    more = {name: float(action[name]) for name in ("altitude", "ll_accuracy", "alt_accuracy") if name in action}
    effects.happened.append((profile.uid, "users.behaviors.Location", {**place, **more}))


def _attribution(
    _people: People, profile: Profile, action: Mapping[str, Any], _context: Context, effects: Effects, _now_ms: int
) -> None:
    profile.stats["attributed_source"] = str(_need(action, "source"))
    told = {"source": profile.stats["attributed_source"]}
    effects.happened.append((profile.uid, "users.behaviors.InstallAttribution", told))


def _sees(type_: str, *needs: str) -> Any:
    """Something that is only looked at or tapped."""

    def see(
        _people: People, profile: Profile, action: Mapping[str, Any], _context: Context, effects: Effects, _now_ms: int
    ) -> None:
        effects.happened.append((profile.uid, type_, {name: _need(action, name) for name in needs}))

    return see


def _uninstall(
    _people: People, profile: Profile, action: Mapping[str, Any], _context: Context, effects: Effects, now_ms: int
) -> None:
    """The app is gone from the device and its push token with it; Braze learns it at once here."""
    profile.tokens = [each for each in profile.tokens if each.get("device_id") != action["device_id"]]
    profile.stats["uninstalled_at"] = dates.shown(now_ms)
    effects.happened.append((profile.uid, "users.behaviors.Uninstall", {}))


_DO = {
    "session_start": _session_start,
    "session_end": _session_end,
    "add_alias": _add_alias,
    "attributes": _attributes,
    "event": _event,
    "purchase": _purchase,
    "push_token": _push_token,
    "subscribe": _subscribe,
    "location": _location,
    "install_attribution": _attribution,
    "news_feed": _sees("users.behaviors.app.NewsFeedImpression"),
    "news_feed_card": _sees("users.messages.newsfeedcard.Impression", "card_id"),
    "news_feed_click": _sees("users.messages.newsfeedcard.Click", "card_id"),
    "uninstall": _uninstall,
}
