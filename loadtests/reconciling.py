"""Reconciliation: what the load generator, the simulator and the connector counted has to agree to the object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loadtests.measures import taken_ids
from loadtests.paths import COHORT, UPLOADS, event_id, origin, person
from loadtests.profiles import Group, Profile
from loadtests.tally import Tally
from loadtests.tanks import Tank
from loadtests.watching import Seen

SHOWN = 5


def differences(profile: Profile, tally: Tally, seen: Seen, tank: Tank, workers_lost: int) -> list[str]:
    """What does not agree, a line each; nothing when all counts are the same to the object."""
    found: list[str] = []
    if workers_lost:
        found.append(f"{workers_lost} load workers were lost with what they had counted")
    for group in profile.groups:
        open_ = _unfinished(group, tally)
        if open_:
            found.append(f"{group.name}: {_named(open_, 'request')} did not come to an end at the load generator")
    ids = {name: taken_ids(profile, tally, name) for name in (g.name for g in profile.groups if g.path in UPLOADS)}
    if ids:
        found += _stored(ids, profile.held, seen, {g.name: _unfinished(g, tally) for g in profile.groups})
    if profile.into == "connector":
        held = sum(len(ids[name] - seen.arrived.keys()) for name in profile.held)
        found += _outbox(sum(map(len, ids.values())), len(_ours(seen.arrived)), held, seen.health)
    found += [line for group in profile.groups if group.path == "track" for line in _tracked(group, tally, tank)]
    found += [
        line for group in profile.groups if group.path == "cohort_import" for line in _members(group, tally, tank)
    ]
    found += [line for group in profile.groups if group.path == "identify" for line in _identified(group, tally, tank)]
    return found


def _unfinished(group: Group, tally: Tally) -> set[int]:
    ended = tally.accepted.get(group.name, set()) | tally.refused.get(group.name, set())
    return set(range(group.timetable.total)) - ended


def _named(things: Iterable[Any], noun: str) -> str:
    listed = sorted(things)
    some = ", ".join(map(str, listed[:SHOWN])) + (", …" if len(listed) > SHOWN else "")
    return f"{len(listed)} {noun}{'s' if len(listed) != 1 else ''} ({some})"


def _ours(arrived: Mapping[str, int]) -> set[str]:
    return {each for each in arrived if origin(each) is not None}


def _stored(
    ids: Mapping[str, set[str]], held: Sequence[str], seen: Seen, unfinished: Mapping[str, set[int]]
) -> list[str]:
    """Taken events against stored ones; a request without an answer may have been applied."""
    found = []
    taken = set().union(*ids.values())
    stored = _ours(seen.arrived)
    for name, mine in ids.items():
        missing = mine - stored
        if missing and name not in held:
            found.append(f"{name}: {_named(missing, 'event')} taken and not in Amplitude")
    unknown = {
        each for each in stored - taken if (parts := origin(each)) and parts[1] not in unfinished.get(parts[0], ())
    }
    if unknown:
        found.append(f"{_named(unknown, 'event')} in Amplitude and not taken")
    strange = [each for each in seen.arrived if origin(each) is None]
    if strange:
        found.append(f"{_named(strange, 'event')} in Amplitude under an insert_id that is no event's id")
    return found


def _outbox(taken: int, stored: int, rightly_held: int, health: Mapping[str, Any]) -> list[str]:
    """The connector's own ledger, when it tells one at /healthz."""
    boxes = [health.get("outbox"), *(each.get("outbox") for each in health.values() if isinstance(each, Mapping))]
    told = [each for each in boxes if isinstance(each, Mapping)]
    if not told:
        return []
    held = {
        name: sum(int(each.get(name, 0)) for each in told) for name in ("pending", "sent", "dead", "dropped", "skipped")
    }
    found = []
    if held["pending"] != rightly_held:
        found.append(
            f"the connector still holds {held['pending']} events at the end, and {rightly_held} are rightly held"
        )
    if sum(held.values()) != taken:
        found.append(f"the connector counts {sum(held.values())} events taken, the load generator {taken}")
    if held["sent"] != stored:
        found.append(f"the connector counts {held['sent']} events sent, Amplitude stores {stored}")
    return found


def _tracked(group: Group, tally: Tally, tank: Tank) -> list[str]:
    wanted: dict[str, int] = {}
    for k in tally.accepted.get(group.name, ()):
        for j in range(group.events):
            who = person(group, k, j)
            wanted[who] = wanted.get(who, 0) + 1
    held: dict[str, int] = {}
    for user in tank.call("GET", f"{tank.path}/braze/users", limit=100_000)["users"]:
        if user["external_id"] and user["external_id"].startswith(f"load-{group.name}-"):
            held[user["external_id"]] = sum(each["count"] for each in user["custom_events"])
    wrong = {who for who in {*wanted, *held} if wanted.get(who, 0) != held.get(who, 0)}
    return [f"{group.name}: {_named(wrong, 'profile')} with another number of events than taken"] if wrong else []


def _members(group: Group, tally: Tally, tank: Tank) -> list[str]:
    taken = tally.accepted.get(group.name, ())
    wanted = {person(group, k, j) for k in taken for j in range(group.events)}
    found = tank.call("GET", f"{tank.path}/braze/cohorts/amplitude/{COHORT}", limit=100_000)
    held = {each["external_id"] for each in found["members"]}
    wrong = wanted ^ held
    return [f"{group.name}: {_named(wrong, 'member')} in one list and not in the other"] if wrong else []


def _identified(group: Group, tally: Tally, tank: Tank) -> list[str]:
    wanted: dict[str, set[str]] = {}
    for k in tally.accepted.get(group.name, ()):
        for j in range(group.events):
            wanted.setdefault(person(group, k, j), set()).add(event_id(group.name, k, j))
    held = {}
    for user in tank.call("GET", f"{tank.path}/amplitude/users", limit=100_000)["users"]:
        held[user["user_id"]] = user["user_properties"].get("visit")
    wrong = {who for who, ids in wanted.items() if held.get(who) not in ids}
    return [f"{group.name}: {_named(wrong, 'person')} without a property that was taken"] if wrong else []
