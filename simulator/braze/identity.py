"""Profiles and who is who: plain objects and rules in memory, no store, no clock.

A request loads the profiles that its identifiers reach into a :class:`People`, changes them there, and what changed
is saved. Source: Braze docs, User profile lifecycle; User attributes object; User alias object; Identify users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

Tally = list[Any]
"""``[first ms, last ms, count]`` of one custom event or product."""


@dataclass
class Profile:
    """One person as Braze sees them. ``stats`` holds sums (sessions, revenue, orders); ``subscriptions`` the state
    by subscription group; ``tokens`` and ``devices`` are objects in the shape of exports."""

    uid: int
    braze_id: str
    random_bucket: int
    created_ms: int
    external_id: str | None = None
    updated_ms: int = 0
    updated_n: int = 0
    deprecated: list[str] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    standard: dict[str, Any] = field(default_factory=dict)
    custom: dict[str, Any] = field(default_factory=dict)
    events: dict[str, Tally] = field(default_factory=dict)
    purchases: dict[str, Tally] = field(default_factory=dict)
    subscriptions: dict[str, str] = field(default_factory=dict)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    devices: list[dict[str, Any]] = field(default_factory=list)
    apps: dict[str, dict[str, Any]] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    gone: str = ""
    into_uid: int | None = None

    @property
    def identified(self) -> bool:
        return self.external_id is not None

    def identifiers(self) -> set[tuple[str, str]]:
        """Everything that finds this profile, as ``(kind, value)``; nothing finds one that is gone."""
        if self.gone:
            return set()
        found = {("braze_id", self.braze_id)}
        if self.external_id is not None:
            found.add(("external_id", self.external_id))
        found.update(("deprecated", each) for each in self.deprecated)
        found.update(("alias", alias_text(name, label)) for label, name in self.aliases.items())
        found.update((kind, self.standard[kind]) for kind in ("email", "phone") if self.standard.get(kind))
        found.update(("device", each["device_id"]) for each in self.devices if each.get("device_id"))
        found.update(("token", each["token"]) for each in self.tokens)
        return found


def alias_text(name: str, label: str) -> str:
    """An alias as one text for the identifier table."""
    return orjson.dumps([label, name]).decode()


class People:
    """The profiles in hand, found by any identifier.

    :param new: makes the next profile, with its number and Braze id.
    """

    def __init__(self, loaded: Iterable[Profile], new: Callable[[], Profile]) -> None:
        self.profiles: dict[int, Profile] = {}
        self.changed: set[int] = set()
        self.moved_activity: list[tuple[int, int]] = []
        self.moved_messages: list[tuple[int, int]] = []
        self.write_n = 0
        self._new = new
        self._found: dict[tuple[str, str], set[int]] = {}
        self._known: dict[int, set[tuple[str, str]]] = {}
        self._stored: dict[int, set[tuple[str, str]]] = {}
        for profile in loaded:
            self.take(profile)

    def take(self, profile: Profile) -> None:
        """Add a profile as it is stored to those in hand."""
        self.profiles[profile.uid] = profile
        self._known[profile.uid] = set()
        self.reindex(profile)
        self._stored[profile.uid] = self._known[profile.uid]

    def identifier_changes(self) -> tuple[list[tuple[str, str, int]], list[tuple[str, str, int]]]:
        """``(value, kind, uid)`` of identifiers that are gone and of those that came, since profiles were loaded."""
        gone, come = [], []
        for uid in sorted(self.changed):
            now, before = self._known[uid], self._stored[uid]
            if now != before:
                gone += [(value, kind, uid) for kind, value in sorted(before - now)]
                come += [(value, kind, uid) for kind, value in sorted(now - before)]
        return gone, come

    def reindex(self, profile: Profile) -> None:
        """Note what finds the profile now: to be called after every change of identifiers."""
        now, before = profile.identifiers(), self._known[profile.uid]
        if now == before:
            return
        for key in before - now:
            self._found[key].discard(profile.uid)
        for key in now - before:
            self._found.setdefault(key, set()).add(profile.uid)
        self._known[profile.uid] = now

    def all(self, kind: str, value: str) -> list[Profile]:
        """Every profile of this identifier, in order of their numbers."""
        return [self.profiles[uid] for uid in sorted(self._found.get((kind, value), ()))]

    def one(self, kind: str, value: str) -> Profile | None:
        """The first profile of this identifier; an external id is looked up among the deprecated ones too."""
        found = self.all(kind, value)
        if not found and kind == "external_id":
            found = self.all("deprecated", value)
        return found[0] if found else None

    def alias(self, name: Any, label: Any) -> Profile | None:
        """The profile of an alias."""
        if not isinstance(name, str) or not isinstance(label, str):
            return None
        return self.one("alias", alias_text(name, label))

    def create(self) -> Profile:
        """A new profile; the caller gives it what finds it and says :meth:`touch`."""
        profile = self._new()
        self.profiles[profile.uid] = profile
        self._known[profile.uid] = self._stored[profile.uid] = set()
        return profile

    def touch(self, profile: Profile, now_ms: int, *, found_by: bool = True) -> None:
        """Note a write: the profile is saved, and is the most recently updated one.

        :param found_by: False when what finds the profile is surely as it was.
        """
        self.write_n += 1
        profile.updated_ms, profile.updated_n = now_ms, self.write_n
        self.changed.add(profile.uid)
        if found_by:
            self.reindex(profile)

    def remove(self, profile: Profile, how: str, now_ms: int, into: Profile | None = None) -> None:
        """Take a profile away: ``merged``, ``deleted`` or ``orphaned``."""
        profile.gone, profile.into_uid = how, None if into is None else into.uid
        self.touch(profile, now_ms)


def held_out(profile: Profile, share: float) -> bool:
    """Whether somebody is in the Global Control Group, which is so many percent of people by their random bucket."""
    return profile.random_bucket < share * 100


def most_recent(candidates: Iterable[Profile]) -> Profile | None:
    """The one that was written last."""
    return max(candidates, key=lambda each: each.updated_n, default=None)


def by_contact(candidates: Sequence[Profile]) -> Profile | None:
    """Which of several profiles of one e-mail or phone a track object updates: the most recently updated one with
    an external id, else the most recently updated. Source: Braze docs, POST /users/track, identifiers."""
    return most_recent([each for each in candidates if each.identified]) or most_recent(candidates)


def prioritized(candidates: Sequence[Profile], order: Sequence[str]) -> list[Profile]:
    """What is left of the candidates after each prioritization rule in order; more than one left means do nothing.

    Source: Braze docs, Identify users; Merge users, prioritization.
    """
    left = list(candidates)
    for rule in order:
        if rule == "identified":
            left = [each for each in left if each.identified]
        elif rule == "unidentified":
            left = [each for each in left if not each.identified]
        elif left:
            pick = max if rule == "most_recently_updated" else min
            left = [pick(left, key=lambda each: each.updated_n)]
    return left


def resolve(people: People, given: Mapping[str, Any]) -> Profile | None:
    """The profile of a track object that has been checked: one primary identifier, else e-mail, else phone."""
    if given.get("external_id") is not None:
        return people.one("external_id", str(given["external_id"]))
    if given.get("braze_id") is not None:
        return people.one("braze_id", given["braze_id"])
    alias = given.get("user_alias")
    if alias is not None:
        return people.alias(alias["alias_name"], alias["alias_label"])
    for kind in ("email", "phone"):
        if given.get(kind) is not None:
            return by_contact(people.all(kind, given[kind]))
    return None


def may_create(given: Mapping[str, Any], alias_default: bool = True) -> bool:
    """Whether an object of an unknown person makes a profile.

    :param alias_default: ``_update_existing_only`` of objects by alias that do not say.
    """
    only = given.get("_update_existing_only")
    if given.get("external_id") is not None:
        return only is not True
    if given.get("braze_id") is not None:
        return False
    if given.get("user_alias") is not None:
        return (alias_default if only is None else only) is False
    return only is not True


def give(profile: Profile, given: Mapping[str, Any]) -> None:
    """Give a new profile the identifier it was made by. E-mail-only profiles have no alias."""
    alias = given.get("user_alias")
    if given.get("external_id") is not None:
        profile.external_id = str(given["external_id"])
    elif alias is not None:
        profile.aliases[alias["alias_label"]] = alias["alias_name"]
    else:
        kind = "email" if given.get("email") is not None else "phone"
        profile.standard[kind] = given[kind]


# -- the identity endpoints


def new_alias(people: People, entry: Mapping[str, Any], now_ms: int) -> bool:
    """`/users/alias/new`: add an alias to the profile of an external id, or make an alias-only profile.

    Nothing happens when the pair is taken, the external id is unknown, or the profile has the label already.
    """
    name, label, external_id = entry["alias_name"], entry["alias_label"], entry.get("external_id")
    if people.alias(name, label) is not None:
        return False
    profile = people.create() if external_id is None else people.one("external_id", str(external_id))
    if profile is None or label in profile.aliases:
        return False
    profile.aliases[label] = name
    people.touch(profile, now_ms)
    return True


def update_alias(people: People, entry: Mapping[str, Any], now_ms: int) -> bool:
    """`/users/alias/update`: another name under the same label; nothing when the new pair is taken."""
    label, new = entry["alias_label"], entry["new_alias_name"]
    profile = people.alias(entry["old_alias_name"], label)
    if profile is None or people.alias(new, label) is not None:
        return False
    profile.aliases[label] = new
    people.touch(profile, now_ms)
    return True


def rename(people: People, current: str, new: str, now_ms: int) -> str | None:
    """`/users/external_ids/rename`: the new id becomes primary, the old one deprecated; both resolve.

    :returns: the words of the refusal, None when it is done. Source: Braze docs, External ID migration.
    """
    taken = people.all("external_id", new) or people.all("deprecated", new)
    found = people.all("external_id", current)
    if not found:
        return "current_external_id is not a primary external_id"
    if taken:
        return "new_external_id is already in use"
    profile = found[0]
    profile.deprecated.append(current)
    profile.external_id = new
    people.touch(profile, now_ms)
    return None


def remove_deprecated(people: People, external_id: str, now_ms: int) -> str | None:
    """`/users/external_ids/remove`: a deprecated id stops resolving; a primary one cannot be removed."""
    found = people.all("deprecated", external_id)
    if not found:
        return "external_id is not a deprecated external_id"
    found[0].deprecated.remove(external_id)
    people.touch(found[0], now_ms)
    return None
