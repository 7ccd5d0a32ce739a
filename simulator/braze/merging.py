"""What a merge carries from one profile to the other, field by field: plain functions, no store.

Source: Braze docs, Merge users; Merge behavior (the table of fields). Subscription groups and cohorts are stated
nowhere: a named setting decides for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulator.braze import standard
from simulator.braze.identity import People, Profile, held_out

MERGED_FIELDS = (
    "first_name",
    "last_name",
    "email",
    "gender",
    "dob",
    "phone",
    "time_zone",
    "home_city",
    "country",
    "language",
)
"""Kept profile wins; filled only where it has none."""
_SESSION_DATES: Mapping[str, Callable[[list[str]], str]] = {"date_of_first_session": min, "date_of_last_session": max}
"""The earlier and the later one; texts of one form, which order as instants do."""
_SUMS = ("sessions", "revenue", "orders", "refunds", "purchases")
_EARLIEST = ("first_session_ms", "first_purchase_ms")
_LATEST = ("last_session_ms", "last_purchase_ms", "last_engaged_ms")


def merge(people: People, keep: Profile, source: Profile, now_ms: int, *, subscriptions: bool, devices: bool) -> None:
    """Merge ``source`` into ``keep`` and take ``source`` away.

    :param subscriptions: whether subscription states fill those that ``keep`` lacks.
    :param devices: whether device information goes along (documented for merge, not for identify).
    """
    for name in MERGED_FIELDS:
        if keep.standard.get(name) is None and source.standard.get(name) is not None:
            keep.standard[name] = source.standard[name]
    if subscriptions:
        for name in ("email_subscribe", "push_subscribe"):
            if name not in keep.standard and name in source.standard:
                keep.standard[name] = source.standard[name]
        keep.subscriptions = {**source.subscriptions, **keep.subscriptions}
    for name, chosen in _SESSION_DATES.items():
        told = [each.standard[name] for each in (keep, source) if each.standard.get(name) is not None]
        if told:
            keep.standard[name] = chosen(told)
    keep.custom = {**source.custom, **keep.custom}
    keep.aliases = {**source.aliases, **keep.aliases}
    keep.events = _tallies(keep.events, source.events)
    keep.purchases = _tallies(keep.purchases, source.purchases)
    _merge_stats(keep.stats, source.stats)
    _merge_apps(keep.apps, source.apps)
    carry_tokens(keep, source)
    if devices:
        known = {each.get("device_id") for each in keep.devices}
        keep.devices += [each for each in source.devices if each.get("device_id") not in known]
    people.moved_activity.append((source.uid, keep.uid))
    people.moved_messages.append((source.uid, keep.uid))
    people.remove(source, "merged", now_ms, keep)
    people.touch(keep, now_ms)


def carry_only(people: People, keep: Profile, source: Profile, now_ms: int) -> None:
    """The old ``merge_behavior: none``: only push tokens and message history go along."""
    carry_tokens(keep, source)
    people.moved_messages.append((source.uid, keep.uid))
    people.remove(source, "merged", now_ms, keep)
    people.touch(keep, now_ms)


def carry_tokens(keep: Profile, source: Profile) -> None:
    """Push tokens go to the kept profile."""
    known = {each["token"] for each in keep.tokens}
    keep.tokens += [each for each in source.tokens if each["token"] not in known]


def _tallies(keep: Mapping[str, list[Any]], source: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Counts add up; the earlier first and the later last."""
    merged = dict(keep)
    for name, theirs in source.items():
        mine = merged.get(name)
        if mine is None:
            merged[name] = list(theirs)
        else:
            merged[name] = [min(mine[0], theirs[0]), max(mine[1], theirs[1]), mine[2] + theirs[2]]
    return merged


def _merge_stats(keep: dict[str, Any], source: Mapping[str, Any]) -> None:
    for name in _SUMS:
        if name in source:
            keep[name] = keep.get(name, 0) + source[name]
    for name in _EARLIEST:
        if name in source:
            keep[name] = min(keep.get(name, source[name]), source[name])
    for name in _LATEST:
        if name in source:
            keep[name] = max(keep.get(name, source[name]), source[name])
    if source.get("test_user"):
        keep["test_user"] = True
    if "carts" in source:
        keep["carts"] = {**source["carts"], **keep.get("carts", {})}


def _merge_apps(keep: dict[str, dict[str, Any]], source: Mapping[str, dict[str, Any]]) -> None:
    for app, theirs in source.items():
        mine = keep.get(app)
        if mine is None:
            keep[app] = dict(theirs)
            continue
        mine["sessions"] += theirs["sessions"]
        mine["first_ms"] = min(mine["first_ms"], theirs["first_ms"])
        mine["last_ms"] = max(mine["last_ms"], theirs["last_ms"])


def may_merge(keep: Profile, source: Profile, control_share: float) -> bool:
    """Whether two profiles can be merged at all: not with itself, nobody of the Global Control Group, and not two
    with numbers that are no phone numbers."""
    phones = [each.standard.get("phone") for each in (keep, source)]
    if all(number is not None and not standard.phone(number)[1] for number in phones):
        return False
    return keep.uid != source.uid and not any(held_out(each, control_share) for each in (keep, source))
