"""Mutants of the simulated Braze: subscription groups, lists of e-mail addresses, data points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, arguments, instead, result, setting

_API = "simulator.braze.subscription_api"
_LISTS = "simulator.braze.email_lists"
_SUBSCRIBING = "simulator.braze.subscribing"
_APPLYING = "simulator.braze.applying"
_ATTRIBUTES = "simulator.braze.attributes"
_APPLY = "simulator.braze.writes:APPLY"
_EVER = {"start_date": 0, "end_date": 2**45}


def _answers_200(found: Any, *_: Any) -> Any:
    return replace(found, status=200) if found.status == 201 else found


def _first_address(name: str, *args: Any, **more: Any) -> Any:
    from simulator.braze.refusals import refuse

    return refuse("subscription_state" if name == "subscription_two_addresses" else name, *args, **more)


def _first_only(original: Any) -> Any:
    return lambda people, kind, value: original(people, kind, value)[:1]


def _together(name: str, *args: Any, **more: Any) -> Any:
    from simulator.braze.refusals import refuse
    from simulator.exchange import Answer

    taken = name == "subscription_two_addresses"
    return Answer(201, {"message": "success"}) if taken else refuse(name, *args, **more)


def _nameless(original: Any) -> Any:
    return lambda conn: {group: {**row, "name": None} for group, row in original(conn).items()}


def _of_known_only(original: Any) -> Any:
    def status(call: Any, payload: Any) -> Any:
        from simulator.braze import profile_store
        from simulator.braze.refusals import refuse

        known = [each for each in payload["emails"] if profile_store.find(call.conn, "email", each)]
        return original(call, payload) if known else refuse("email_format")

    return status


def _all_states(original: Any) -> Any:
    def email_status(conn: Any, tank: Any, payload: Any, received_ms: int, now_ms: int) -> int:
        from simulator.braze import profile_store, subscribing

        points = int(original["email_status"](conn, tank, payload, received_ms, now_ms))
        emails, state = payload["emails"], payload["state"]
        people = [one for each in emails for one in profile_store.find(conn, "email", each)]
        held = {group for one in people for group in one.subscriptions}
        changes = [{"group": group, "state": state, "kind": "email", "values": emails} for group in held]
        subscribing.groups(conn, tank, changes, received_ms, now_ms)
        return points

    return {**original, "email_status": email_status}


def _in_iso(ms: int) -> str:
    from simulator.braze.dates import shown

    return shown(ms)


def _whenever(original: Any) -> Any:
    def listed(call: Any, asked: Any, kind: str, member: str) -> Any:
        return original(call, {**asked, **_EVER} if asked["start_date"] else asked, kind, member)

    return listed


def _from_ever(original: Any) -> Any:
    def listed(call: Any, asked: Any, kind: str, member: str) -> Any:
        dated = asked["email"] is not None or asked["start_date"] is not None
        return original(call, asked if dated else {**asked, **_EVER}, kind, member)

    return listed


def _not_bounced(original: Any) -> Any:
    return lambda conn, kind, emails, now_ms: None if kind == "hard_bounce" else original(conn, kind, emails, now_ms)


def _own_only(people: Any, profile: Any, groups: Any, effects: Any, now_ms: int) -> None:
    from simulator.braze.applying import set_states

    set_states(profile, {each["subscription_group_id"]: each["subscription_state"] for each in groups}, effects)


def _only_changes(original: Any) -> Any:
    def write(profile: Any, name: str, value: Any, *rest: Any) -> None:
        if profile.custom.get(name) != value:
            original(profile, name, value, *rest)

    return write


def _costs(points: int, when: Any) -> Any:
    """A write costs ``points`` where ``when`` holds of its arguments."""
    return result(lambda found, *args: replace(found, points=points) if when(*args) else found)


def _per_item(original: Any) -> Any:
    def purchase(profile: Any, given: Any, context: Any, effects: Any, received_ms: int, now_ms: int) -> None:
        original(profile, given, context, effects, received_ms, now_ms)
        effects.bill(profile, given.get("quantity", 1) - 1, now_ms)

    return purchase


def _states_cost(found: Any, *_: Any) -> Any:
    return {name: (kind, 1) for name, (kind, _) in found.items()}


def _free(name: str) -> Any:
    return result(lambda found, *_: {**found, name: (found[name][0], 0)})


def _alias_costs(original: Any) -> Any:
    def alias_new(conn: Any, tank: Any, entries: Any, received_ms: int, now_ms: int) -> int:
        from simulator.braze import data_points

        data_points.add(conn, [(1, now_ms // 86_400_000, len(entries))], "api")
        return int(original["alias_new"](conn, tank, entries, received_ms, now_ms))

    return {**original, "alias_new": alias_new}


def _blocked_cost(original: Any) -> Any:
    def event(profile: Any, given: Any, context: Any, effects: Any, received_ms: int, now_ms: int) -> None:
        if ("event", given["name"]) in context.blocked:
            effects.bill(profile, 1, now_ms)
        original(profile, given, context, effects, received_ms, now_ms)

    return event


def _orders_cost(original: Any) -> Any:
    def event(profile: Any, given: Any, context: Any, effects: Any, received_ms: int, now_ms: int) -> None:
        original(profile, given, context, effects, received_ms, now_ms)
        effects.bill(profile, int(given["name"].startswith("ecommerce.")), now_ms)

    return event


def _as_api(conn: Any, rows: Any, source: str) -> Any:
    return conn, rows, "api" if source == "sdk" else source


def _import_as_sdk(conn: Any, rows: Any, source: str) -> Any:
    return conn, rows, "sdk" if source == "cohort_import" else source


def _skipped_cost(original: Any) -> Any:
    def apply(people: Any, objects: Any, context: Any, received_ms: int, now_ms: int) -> Any:
        effects = original(people, objects, context, received_ms, now_ms)
        skipped = [each for _, each in objects if each.get("_update_existing_only") is True]
        effects.points[(1, now_ms // 86_400_000)] += len(skipped)
        return effects

    return apply


def _ids_cost(original: Any) -> Any:
    def write(people: Any, profile: Any, given: Any, context: Any, effects: Any, now_ms: int) -> None:
        original(people, profile, given, context, effects, now_ms)
        effects.bill(profile, int("external_id" in given), now_ms)

    return write


def _is_null(_name: Any, _old: Any, new: Any, *_: Any) -> bool:
    return new is None


def _is_object(_name: Any, _old: Any, new: Any, *_: Any) -> bool:
    return isinstance(new, dict) and "city" in new


MUTANTS = (
    Mutant("brz-group-200", ("BRZ-160",), "a state is answered 200", f"{_API}:_queued", result(_answers_200)),
    Mutant("brz-group-addresses", ("BRZ-161",), "two addresses are refused in other words", f"{_API}:refuse", instead(_first_address)),
    Mutant("brz-group-any", ("BRZ-162",), "every group is known", "simulator.braze.subscription_groups:is_known", instead(lambda *_: True)),
    Mutant("brz-group-capital", ("BRZ-163",), "unknown has a capital", SETTINGS, setting("braze.subscription_unknown", "Unknown")),
    Mutant("brz-group-first", ("BRZ-164",), "of several profiles the first is told", f"{_SUBSCRIBING}:_found", _first_only),
    Mutant("brz-group-waits", ("BRZ-165",), "states wait for ever", f"{_SUBSCRIBING}:WAITS_MS", instead(10**13)),
    Mutant("brz-group-together", ("BRZ-166",), "e-mail and phone go together", f"{_API}:refuse", instead(_together)),
    Mutant("brz-group-nameless", ("BRZ-167",), "groups have no name", "simulator.braze.subscription_groups:listed", _nameless),
    Mutant("brz-group-many", ("BRZ-168",), "a call changes any number of people", f"{_API}:MAX", instead(10**6)),
    Mutant("brz-group-opted-in", ("BRZ-303",), "a group has three states", f"{_API}:STATES", instead(("subscribed", "unsubscribed", "opted_in"))),
    Mutant("brz-status-known", ("BRZ-169",), "an address that nobody has is refused", f"{_LISTS}:_queued", _of_known_only),
    Mutant("brz-status-groups", ("BRZ-170",), "the global state is that of all groups", _APPLY, _all_states),
    Mutant("brz-list-iso", ("BRZ-171",), "times of lists are in ISO 8601", f"{_LISTS}:_shown", instead(_in_iso)),
    Mutant("brz-list-dates", ("BRZ-172",), "dates of lists are passed over", f"{_LISTS}:_listed", _whenever),
    Mutant("brz-list-stays", ("BRZ-173",), "addresses stay on their list", "simulator.braze.email_tables:unmark", instead(lambda *_: 0)),
    Mutant("brz-blocked-unbounced", ("BRZ-174",), "a blocked address has not bounced", "simulator.braze.email_tables:mark", _not_bounced),
    Mutant("brz-group-own", ("BRZ-300",), "a state is the profile's own", f"{_APPLYING}:subscribe", instead(_own_only)),
    Mutant("brz-status-many", ("BRZ-301",), "a call changes any number of addresses", f"{_LISTS}:MAX", instead(10**6)),
    Mutant("brz-list-ever", ("BRZ-302",), "a list without dates is of all times", f"{_LISTS}:_listed", _from_ever),
    Mutant("brz-points-events", ("BRZ-175",), "events cost nothing", f"{_APPLYING}:record_event", instead(lambda *_: None)),
    Mutant("brz-points-changes", ("BRZ-176",), "a value that is the same costs nothing", f"{_APPLYING}:_write_custom", _only_changes),
    Mutant("brz-points-quantity", ("BRZ-177",), "each item of a purchase costs one", f"{_APPLYING}:record_purchase", _per_item),
    Mutant("brz-points-array", ("BRZ-178",), "a change of an array costs one", f"{_ATTRIBUTES}:_array", _costs(1, lambda *_: True)),
    Mutant("brz-points-null", ("BRZ-179",), "removing costs nothing", f"{_ATTRIBUTES}:change", _costs(0, _is_null)),
    Mutant("brz-points-object", ("BRZ-180",), "an object costs one", f"{_ATTRIBUTES}:change", _costs(1, _is_object)),
    Mutant("brz-points-objects", ("BRZ-181",), "a change of objects costs one", f"{_ATTRIBUTES}:_object_array", _costs(1, lambda *_: True)),
    Mutant("brz-points-states", ("BRZ-182",), "subscription states cost one", "simulator.braze.standard:fields", result(_states_cost)),
    Mutant("brz-points-aliases", ("BRZ-183",), "aliases cost one", _APPLY, _alias_costs),
    Mutant("brz-points-blocked", ("BRZ-184",), "blocked events cost one", f"{_APPLYING}:record_event", _blocked_cost),
    Mutant("brz-points-orders", ("BRZ-185",), "recommended events cost one", f"{_APPLYING}:record_event", _orders_cost),
    Mutant("brz-points-sdk", ("BRZ-186",), "what devices do is told as the API's", "simulator.braze.data_points:add", arguments(_as_api)),
    Mutant("brz-points-import", ("BRZ-187",), "imports are told as the SDK's", "simulator.braze.data_points:add", arguments(_import_as_sdk)),
    Mutant("brz-points-leaving", ("BRZ-188",), "leaving a cohort costs one", SETTINGS, setting("braze.cohort_removal_points", True)),
    Mutant("brz-points-location", ("BRZ-189",), "a location costs nothing", "simulator.braze.standard:fields", _free("current_location")),
    Mutant("brz-points-skipped", ("BRZ-310",), "objects for nobody cost one", f"{_APPLYING}:apply", _skipped_cost),
    Mutant("brz-points-country", ("BRZ-311",), "a country costs nothing", "simulator.braze.standard:fields", _free("country")),
    Mutant("brz-points-ids", ("BRZ-312",), "an external id costs one", f"{_APPLYING}:write_attributes", _ids_cost),
)  # fmt: skip
