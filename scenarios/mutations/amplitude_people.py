"""Mutants of the simulated Amplitude: identify calls, identity, user mapping."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, arguments, instead, result, setting

_IDENTIFY = "simulator.amplitude.identify"
_USERMAP = "simulator.amplitude.usermap"
_STORING = "simulator.amplitude.storing"
_ASSIGN = f"{_STORING}:assign"


def _other_words(words: str, status: int, others: str) -> Any:
    return arguments(lambda *args: (status, others, *args[2:]) if args[1] == words else args)


def _identify_as_event(*args: Any) -> Any:
    conn, tank, events, route, *rest = args
    if route == "/identify":
        events = [{**each, "event_type": "identified"} for each in events]
    return conn, tank, events, route, *rest


def _before(change: Any) -> Any:
    """``change`` puts its hand on what is known before an id is assigned."""

    def make(original: Any) -> Any:
        def assign(people: Any, device_id: str, user_id: str | None, ids: Any) -> Any:
            from simulator.amplitude.identity import Device

            change(people, people.devices.setdefault(device_id, Device()), user_id, ids)
            return original(people, device_id, user_id, ids)

        return assign

    return make


def _named(people: Any, user_id: str, amplitude_id: int) -> None:
    people.users[user_id] = people.new_users[user_id] = amplitude_id


def _forget_device(_people: Any, device: Any, user_id: str | None, _ids: Any) -> None:
    if user_id is None and device.user is None:
        device.own = None


def _no_takeover(people: Any, _device: Any, user_id: str | None, ids: Any) -> None:
    if user_id is not None and user_id not in people.users:
        _named(people, user_id, next(ids))


def _new_device_new_id(people: Any, device: Any, user_id: str | None, ids: Any) -> None:
    if user_id is not None and user_id in people.users and device.own is None and device.user is None:
        _named(people, user_id, next(ids))


def _shared_device(people: Any, device: Any, user_id: str | None, _ids: Any) -> None:
    if user_id is not None and user_id not in people.users and device.user is not None:
        _named(people, user_id, device.user)


def _logged_out(_people: Any, device: Any, user_id: str | None, _ids: Any) -> None:
    if user_id is None:
        device.user = None


def _no_merge(people: Any, device: Any, user_id: str | None, _ids: Any) -> None:
    if user_id in people.users:
        device.own = None


def _forgets_users(original: Any) -> Any:
    def assign(people: Any, device_id: str, user_id: str | None, ids: Any) -> Any:
        if device_id[14:15] == "5":  # a derived one: the event had a user_id alone
            people.users.pop(user_id, None)
        return original(people, device_id, user_id, ids)

    return assign


def _rewritten(original: Any) -> Any:
    def save(conn: Any, people: Any, *rest: Any) -> None:
        from simulator.amplitude import tables

        original(conn, people, *rest)
        for gone, now in people.merges:
            table = tables.events
            conn.execute(table.update().where(table.c.amplitude_id == gone).values(amplitude_id=now))

    return save


def _other_way_round(found: Any, *_: Any) -> Any:
    names = {"mapped_from": "mapped_to", "mapped_to": "mapped_from"}
    return replace(found, body={user: {names[k]: v for k, v in both.items()} for user, both in found.body.items()})


def _older_version(original: Any) -> Any:
    def merge(conn: Any, gone: int, now: int) -> None:
        from simulator.amplitude import tables
        from simulator.store import upsert_rows

        held = {row[0]: row[1] for row in conn.execute(tables.facts.select()) if row[0] in (gone, now)}
        original(conn, gone, now)
        older = held.get(min(gone, now))
        if older is not None:
            columns = ("amplitude_id", "start_version")
            upsert_rows(conn, tables.facts, columns, [(now, older)], ("amplitude_id",))

    return merge


MUTANTS = (
    Mutant("amp-identify-ok", ("AMP-060",), "identify calls are answered OK", f"{_IDENTIFY}:text", _other_words("success", 200, "OK")),
    Mutant("amp-identify-missing", ("AMP-061",), "other words for a missing identification", f"{_IDENTIFY}:text", _other_words("missing_event", 400, "missing_identification")),
    Mutant("amp-identify-url", ("AMP-178",), "a URL may be as long as one likes", SETTINGS, setting("amplitude.max_url_characters", 10**9)),
    Mutant("amp-identify-one", ("AMP-062",), "of several identifications the first counts", f"{_IDENTIFY}:_given", result(lambda given, *_: given and given[:1])),
    Mutant("amp-identify-event", ("AMP-063",), "an identify call is an event", f"{_STORING}:store", arguments(_identify_as_event)),
    Mutant("amp-identify-apart", ("AMP-064",), "an identify call makes a new user", _ASSIGN, _before(_no_takeover)),
    Mutant("amp-identify-rate", ("AMP-065",), "identify calls have no rate", "simulator.amplitude.ingest:throttled", instead(lambda *_: False)),
    Mutant("amp-group-nameless", ("AMP-066",), "a group without a name is taken", f"{_IDENTIFY}:text", _other_words("Missing group_value", 200, "success")),
    Mutant("amp-group-identifies", ("AMP-067",), "any number of group identifies is taken", f"{_IDENTIFY}:MAX_GROUP_IDENTIFIES", instead(10**9)),
    Mutant("amp-groups-plain", ("AMP-069",), "events never show group properties", f"{_STORING}:_known_groups", instead(lambda *_: {})),
    Mutant("amp-groups-forgotten", ("AMP-068",), "groups of users are forgotten", f"{_STORING}:_user_groups", instead(lambda _conn, events, _owners: [None] * len(events))),
    Mutant("amp-device-forgotten", ("AMP-070",), "an anonymous device is new each time", _ASSIGN, _before(_forget_device)),
    Mutant("amp-no-takeover", ("AMP-071",), "a new user leaves the device's history behind", _ASSIGN, _before(_no_takeover)),
    Mutant("amp-new-device", ("AMP-072",), "a known user is new on a new device", _ASSIGN, _before(_new_device_new_id)),
    Mutant("amp-shared-device", ("AMP-073",), "all users of a device are one", _ASSIGN, _before(_shared_device)),
    Mutant("amp-logged-out", ("AMP-074",), "a device alone is anonymous again", _ASSIGN, _before(_logged_out)),
    Mutant("amp-no-merge", ("AMP-075",), "anonymous history is never merged", _ASSIGN, _before(_no_merge)),
    Mutant("amp-users-forgotten", ("AMP-076",), "a user alone is new each time", _ASSIGN, _forgets_users),
    Mutant("amp-derived", ("AMP-077",), "derived device ids are of version 3", f"{_STORING}:derived_device_id", instead(lambda _project, user_id: str(uuid.uuid3(uuid.NAMESPACE_URL, user_id)))),
    Mutant("amp-worked", ("AMP-078",), "a device alone is anonymous again", _ASSIGN, _before(_logged_out)),
    Mutant("amp-rewritten", ("AMP-079",), "a merge rewrites stored events", f"{_STORING}:_save", _rewritten),
    Mutant("amp-no-merged-ids", ("AMP-080",), "merged ids are not followed", "simulator.amplitude.people:canonical", instead(lambda _conn, amplitude_id: (amplitude_id, []))),
    Mutant("amp-older-wins", ("AMP-081",), "the older id's properties win", f"{_STORING}:merged", instead(lambda older, newer: {**newer, **older})),
    Mutant("amp-no-mapping", ("AMP-082",), "mappings are taken and forgotten", f"{_USERMAP}:upsert_rows", instead(lambda *_: None)),
    Mutant("amp-mapping-ok", ("AMP-083",), "mappings are answered OK", f"{_USERMAP}:text", _other_words("success", 200, "OK")),
    Mutant("amp-mapping-any", ("AMP-084",), "a mapping may lack its global user", f"{_USERMAP}:text", _other_words("Missing global_user_id", 200, "success")),
    Mutant("amp-mapping-rate", ("AMP-085",), "mappings have no rate", f"{_USERMAP}:RATE", instead(10**9)),
    Mutant("amp-mapping-swapped", ("AMP-086",), "from and to are swapped", f"{_USERMAP}:read", result(_other_way_round)),
    Mutant("amp-mapped-stream", ("AMP-179",), "a stream never shows mapped users", f"{_USERMAP}:people_mapped_to", instead(lambda *_: [])),
    Mutant("amp-mapped-counts", ("AMP-180",), "mapped users count apart", f"{_USERMAP}:counted_as", instead(lambda *_: {})),
    Mutant("amp-identify-nowhere", ("AMP-181",), "identify calls tell no device", "simulator.amplitude.identified:note", instead(lambda *_: None)),
    Mutant("amp-identify-unpaid", ("AMP-185",), "identify calls tell neither who pays nor a first version", f"{_IDENTIFY}:_facts", instead(lambda _given: {})),
    Mutant("amp-group-much", ("AMP-186",), "any number of group properties is taken", f"{_IDENTIFY}:MAX_GROUP_PROPERTIES", instead(10**9)),
    Mutant("amp-identify-large", ("AMP-187",), "identify calls may be of any size", SETTINGS, setting("amplitude.http_v2.max_body_bytes", 10**9)),
    Mutant("amp-group-rate", ("AMP-188",), "group identifies have no rate", f"{_IDENTIFY}:GROUP_IDENTIFIES_PER_S", instead(10**9)),
    Mutant("amp-group-types", ("AMP-189",), "any number of group types is tracked", "simulator.amplitude.group_types:MAX_TYPES", instead(10**9)),
    Mutant("amp-mapping-undrained", ("AMP-190",), "a breach of the mapping rate is forgotten at once", "simulator.amplitude.ingest:rate", instead(lambda *_: 0)),
    Mutant("amp-older-version", ("AMP-182",), "the older id's start version stays", f"{_STORING}:_merge_facts", _older_version),
)  # fmt: skip
