"""Mutants of the simulated Braze: aliases, identify, merge, delete, external ids, devices."""

from __future__ import annotations

from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, instead, setting

_IDENTITY = "simulator.braze.identity"
_API = "simulator.braze.identity_api"
_MERGING = "simulator.braze.merging"
_WRITES = "simulator.braze.writes"
_SDK = "simulator.braze.sdk"


def _forgets_messages(original: Any) -> Any:
    def carry(people: Any, *more: Any) -> None:
        original(people, *more)
        people.moved_messages.clear()

    return carry


def _creates(original: Any) -> Any:
    def new_alias(people: Any, entry: Any, now_ms: int) -> bool:
        unknown = people.one("external_id", str(entry.get("external_id"))) is None
        without = {name: value for name, value in entry.items() if name != "external_id"}
        return bool(original(people, without if unknown else entry, now_ms))

    return new_alias


def _needs_somebody(original: Any) -> Any:
    return lambda people, entry, now_ms: bool(entry.get("external_id")) and original(people, entry, now_ms)


def _moves(original: Any) -> Any:
    def new_alias(people: Any, entry: Any, now_ms: int) -> bool:
        holder = people.alias(entry["alias_name"], entry["alias_label"])
        if holder is not None and entry.get("external_id"):
            del holder.aliases[entry["alias_label"]]
            people.touch(holder, now_ms)
        return bool(original(people, entry, now_ms))

    return new_alias


def _second_name(original: Any) -> Any:
    def new_alias(people: Any, entry: Any, now_ms: int) -> bool:
        profile = people.one("external_id", str(entry.get("external_id")))
        if profile is not None and people.alias(entry["alias_name"], entry["alias_label"]) is None:
            profile.aliases.pop(entry["alias_label"], None)
        return bool(original(people, entry, now_ms))

    return new_alias


def _copied(original: Any) -> Any:
    def identify(tank: Any, people: Any, entry: Any, merge: bool, now_ms: int) -> None:
        if people.one("external_id", entry["external_id"]) is None:
            people.touch(fresh := people.create(), now_ms)
            fresh.external_id = entry["external_id"]
            people.touch(fresh, now_ms)
        original(tank, people, entry, merge, now_ms)

    return identify


def _theirs_wins(original: Any) -> Any:
    def merge(people: Any, keep: Any, source: Any, now_ms: int, **more: Any) -> None:
        theirs = dict(source.custom)
        original(people, keep, source, now_ms, **more)
        keep.custom.update(theirs)

    return merge


def _labels_apart(original: Any) -> Any:
    def identify(tank: Any, people: Any, entry: Any, merge: bool, now_ms: int) -> None:
        target = people.one("external_id", entry["external_id"])
        if target is not None and "user_alias" in entry:
            target.aliases.pop(entry["user_alias"]["alias_label"], None)
            people.touch(target, now_ms)
        original(tank, people, entry, merge, now_ms)

    return identify


def _lower_alias(name: str, label: str) -> str:
    return f"{label.lower()}\n{name.lower()}"


def _takes_first(original: Any) -> Any:
    return lambda candidates, order: original(candidates, order)[:1]


def _phones_as_given(given: Any, *names: str) -> dict[str, Any]:
    return {name: given[name] for name in (*names, "prioritization") if name in given}


def _any_order(value: Any, *_: Any) -> bool:
    return value is None or isinstance(value, list)


def _always_merges(original: Any) -> Any:
    return lambda tank, people, entry, _merge, now_ms: original(tank, people, entry, True, now_ms)


def _fewer_words(name: str, **more: Any) -> Any:
    from simulator.braze.refusals import refuse

    return refuse("bad_entry", field="merge_updates") if name == "merge_keys" else refuse(name, **more)


def _last_counts(original: Any) -> Any:
    return lambda keep, source: {**keep, **source}


def _two_devices(original: Any) -> Any:
    return lambda *args, **more: original(*args, **{**more, "devices": False})


def _numbers_or_not(original: Any) -> Any:
    return lambda keep, source, _share: keep.uid != source.uid


def _merges_by_itself(original: Any) -> Any:
    """A new profile of an e-mail swallows the one that has it."""
    return {**original, "track": _wrapped(original["track"])}


def _wrapped(track: Any) -> Any:
    def merged(conn: Any, tank: Any, payload: Any, received_ms: int, now_ms: int) -> int:
        from simulator.braze import writes

        points = int(track(conn, tank, payload, received_ms, now_ms))
        for email in {given["email"] for _, given in payload if given.get("email")}:
            older = {"email": email, "prioritization": ["least_recently_updated"]}
            newer = {"email": email, "prioritization": ["most_recently_updated"]}
            pair = {"identifier_to_merge": older, "identifier_to_keep": newer}
            writes.merge(conn, tank, [pair], received_ms, now_ms)
        return points

    return merged


def _first_kind(original: Any) -> Any:
    handle, *rest = original["POST /users/delete"]
    kinds = ("external_ids", "user_aliases", "braze_ids", "email_addresses", "phone_numbers")

    def delete(call: Any, body: Any) -> Any:
        first = next((name for name in kinds if name in body), None)
        return handle(call, {} if first is None else {first: body[first]})

    return {**original, "POST /users/delete": (delete, *rest)}


def _half_deleted(original: Any) -> Any:
    def remove(self: Any, profile: Any, how: str, now_ms: int, into: Any = None) -> None:
        if how != "deleted":
            original(self, profile, how, now_ms, into)

    return remove


def _primary_only(original: Any) -> Any:
    def delete(conn: Any, tank: Any, entries: Any, *rest: Any) -> int:
        from simulator.braze import profile_store

        ids = [each["external_id"] for each in entries if "external_id" in each]
        found = {each: profile_store.find(conn, "external_id", each) for each in ids}
        kept = [each for each in entries if _is_primary(each, found)]
        return int(original["delete"](conn, tank, kept, *rest))

    return {**original, "delete": delete}


def _is_primary(entry: Any, found: Any) -> bool:
    name = entry.get("external_id")
    return name is None or any(each.external_id == name for each in found[name])


def _forgets_old(original: Any) -> Any:
    def rename(people: Any, current: str, new: str, now_ms: int) -> Any:
        refused = original(people, current, new, now_ms)
        if refused is None:
            profile = people.one("external_id", new)
            profile.deprecated.clear()
            people.touch(profile, now_ms)
        return refused

    return rename


def _takes_deprecated(original: Any) -> Any:
    def rename(people: Any, current: str, new: str, now_ms: int) -> Any:
        for holder in people.all("deprecated", new):
            holder.deprecated.remove(new)
            people.touch(holder, now_ms)
        return original(people, current, new, now_ms)

    return rename


def _removes_primary(original: Any) -> Any:
    def remove(people: Any, external_id: str, now_ms: int) -> Any:
        for profile in people.all("external_id", external_id):
            profile.external_id = None
            people.touch(profile, now_ms)
            return None
        return original(people, external_id, now_ms)

    return remove


def _one_anonymous(original: Any) -> Any:
    return lambda conn, tank, action, now_ms: original(conn, tank, {**action, "device_id": "d1"}, now_ms)


def _always_new(original: Any) -> Any:
    def change_user(tank: Any, people: Any, current: Any, device_id: str, external_id: str, now_ms: int) -> Any:
        if people.one("external_id", external_id) is None:
            fresh = people.create()
            fresh.external_id = external_id
            people.touch(fresh, now_ms)
        return original(tank, people, current, device_id, external_id, now_ms)

    return change_user


def _stays(original: Any) -> Any:
    def change_user(tank: Any, people: Any, current: Any, device_id: str, external_id: str, now_ms: int) -> Any:
        held = list(current.tokens)
        found = original(tank, people, current, device_id, external_id, now_ms)
        if current.identified and found is not current:
            current.tokens = held
        return found

    return change_user


def _no_device_alias(original: Any) -> Any:
    return {**original, "add_alias": lambda *_: None}


def _any_amount(original: Any) -> Any:
    handle, *rest = original["POST /users/external_ids/remove"]

    def remove(call: Any, body: Any) -> Any:
        return handle(call, {**body, "external_ids": body["external_ids"][:50] or ["nobody"]})

    return {**original, "POST /users/external_ids/remove": (remove, *rest)}


def _new_id(original: Any) -> Any:
    def rename(people: Any, current: str, new: str, now_ms: int) -> Any:
        for profile in people.all("external_id", current):
            profile.braze_id = profile.braze_id[::-1]
        return original(people, current, new, now_ms)

    return rename


MUTANTS = (
    Mutant("brz-alias-creates-id", ("BRZ-090",), "an alias for an unknown external id makes a profile", f"{_IDENTITY}:new_alias", _creates),
    Mutant("brz-alias-needs-id", ("BRZ-091",), "an alias without external id makes nobody", f"{_IDENTITY}:new_alias", _needs_somebody),
    Mutant("brz-alias-moves", ("BRZ-092",), "an alias that is taken moves", f"{_IDENTITY}:new_alias", _moves),
    Mutant("brz-alias-second", ("BRZ-093",), "a second name replaces the first", f"{_IDENTITY}:new_alias", _second_name),
    Mutant("brz-alias-many", ("BRZ-094",), "a call has any number of aliases", f"{_API}:MAX", instead(10**6)),
    Mutant("brz-alias-stays", ("BRZ-095",), "aliases keep their names", f"{_IDENTITY}:update_alias", instead(lambda *_: False)),
    Mutant("brz-identify-copies", ("BRZ-096",), "an unknown external id makes a profile of its own", f"{_WRITES}:_identify", _copied),
    Mutant("brz-identify-overwrites", ("BRZ-097",), "the alias's attributes win", f"{_MERGING}:merge", _theirs_wins),
    Mutant("brz-identify-labels", ("BRZ-098",), "labels may be the same", f"{_WRITES}:_identify", _labels_apart),
    Mutant("brz-alias-case", ("BRZ-099",), "aliases are found in any case", f"{_IDENTITY}:alias_text", instead(_lower_alias)),
    Mutant("brz-identify-first", ("BRZ-100",), "of several profiles the first is identified", f"{_IDENTITY}:prioritized", _takes_first),
    Mutant("brz-identify-phone", ("BRZ-101",), "phone numbers are looked up as they come", f"{_API}:_only", instead(_phones_as_given)),
    Mutant("brz-any-priority", ("BRZ-102",), "priorities are not looked at", f"{_API}:_order", instead(_any_order)),
    Mutant("brz-merge-behavior", ("BRZ-103",), "merge_behavior is passed over", f"{_WRITES}:_identify", _always_merges),
    Mutant("brz-identify-unread", ("BRZ-103",), "merge_behavior none forgets messages", f"{_WRITES}:merging.carry_only", _forgets_messages),
    Mutant("brz-long-ids", ("BRZ-340",), "external ids have any length", f"{_API}:_too_large", instead(lambda _value: False)),
    Mutant("brz-identify-many", ("BRZ-104",), "a call identifies any number", f"{_API}:MAX", instead(10**6)),
    Mutant("brz-merge-at-once", ("BRZ-105",), "merges come before their answer", SETTINGS, setting("braze.merge_delay_ms", 0)),
    Mutant("brz-merge-words", ("BRZ-106",), "a merge with other members is refused in other words", f"{_API}:refuse", instead(_fewer_words)),
    Mutant("brz-merge-overwrites", ("BRZ-107",), "the merged profile's attributes win", f"{_MERGING}:merge", _theirs_wins),
    Mutant("brz-merge-counts", ("BRZ-108",), "counts of the merged profile replace others", f"{_MERGING}:_tallies", _last_counts),
    Mutant("brz-merge-devices", ("BRZ-109",), "devices stay behind", f"{_MERGING}:merge", _two_devices),
    Mutant("brz-merge-first", ("BRZ-110",), "of several profiles the first is merged", f"{_IDENTITY}:prioritized", _takes_first),
    Mutant("brz-merge-numbers", ("BRZ-111",), "invalid numbers are no hindrance", f"{_MERGING}:may_merge", _numbers_or_not),
    Mutant("brz-merges-itself", ("BRZ-112",), "equal e-mails are merged by themselves", f"{_WRITES}:APPLY", _merges_by_itself),
    Mutant("brz-delete-mixed", ("BRZ-113",), "of several kinds of identifiers the first counts", "simulator.braze.app:HANDLERS", _first_kind),
    Mutant("brz-delete-nothing", ("BRZ-114",), "nobody is deleted", f"{_IDENTITY}:People.remove", _half_deleted),
    Mutant("brz-delete-first", ("BRZ-115",), "of several profiles the first is deleted", f"{_IDENTITY}:prioritized", _takes_first),
    Mutant("brz-delete-any-priority", ("BRZ-198",), "deletions know all priorities", f"{_API}:_contact", instead(lambda kind, value: isinstance(value, dict) and kind in value)),
    Mutant("brz-delete-primary", ("BRZ-116",), "a deprecated external id deletes nobody", f"{_WRITES}:APPLY", _primary_only),
    Mutant("brz-rename-forgets", ("BRZ-117",), "the old id finds nobody", f"{_IDENTITY}:rename", _forgets_old),
    Mutant("brz-rename-takes", ("BRZ-118",), "a deprecated id may be taken", f"{_IDENTITY}:rename", _takes_deprecated),
    Mutant("brz-remove-primary", ("BRZ-119",), "a primary id can be removed", f"{_IDENTITY}:remove_deprecated", _removes_primary),
    Mutant("brz-migrate-many", ("BRZ-196",), "removals have no limits", "simulator.braze.app:HANDLERS", _any_amount),
    Mutant("brz-rename-new-id", ("BRZ-197",), "a renamed profile gets another Braze id", f"{_IDENTITY}:rename", _new_id),
    Mutant("brz-one-anonymous", ("BRZ-190",), "all devices share a profile", f"{_SDK}:_open", _one_anonymous),
    Mutant("brz-login-new", ("BRZ-191",), "a log-in makes a profile", f"{_SDK}:_change_user", _always_new),
    Mutant("brz-login-orphans", ("BRZ-192",), "an anonymous profile is orphaned", SETTINGS, setting("braze.anonymous_to_known", "orphan")),
    Mutant("brz-orphan-lives", ("BRZ-193",), "orphans live on", f"{_IDENTITY}:People.remove", instead(lambda *_: None)),
    Mutant("brz-token-stays", ("BRZ-194",), "the push token stays with who logged out", f"{_SDK}:_change_user", _stays),
    Mutant("brz-no-device-alias", ("BRZ-195",), "devices give no aliases", f"{_SDK}:_DO", _no_device_alias),
)  # fmt: skip
