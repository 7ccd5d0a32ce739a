"""Mutants of the simulated Amplitude: keys, uploads, user properties, limits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, answer, arguments, instead, result, setting

_APP = "simulator.amplitude.app"
_ANSWERS = "simulator.amplitude.answers"
_UPLOADS = "simulator.amplitude.uploads"
_CHECKS = "simulator.amplitude.validation"
_INGEST = "simulator.amplitude.ingest"
_STORING = "simulator.amplitude.storing"
_PROPERTIES = "simulator.amplitude.properties"
_ROWS = "simulator.amplitude.rows"


def _at_home_anywhere(found: Any, *_: Any) -> Any:
    return found if found.owner is None else replace(found, tank=found.owner, owner=None)


def _profiles_in_europe(original: Any) -> Any:
    def others(region: Any) -> Any:
        from simulator.amplitude.callers import find_by_secret

        routes = original(region)
        if region == "us":
            return routes
        profile = next(each for each in original("us") if each.path == "/v1/userprofile")
        return [*routes, replace(profile, find=partial(find_by_secret, region=region))]

    return others


def _not_named(name: str, other: str) -> Any:
    return arguments(lambda field: (other if field == name else field,))


def _at_zero(found: Any, *_: Any) -> Any:
    events, problem = found
    return [{"time": 0, **event} for event in events], problem


def _takes_the_rest(original: Any) -> Any:
    def check(events: Any, rules: Any) -> Any:
        checked, problem = original(events, rules)
        while problem is not None:
            events = [event for index, event in enumerate(events) if index not in problem.events]
            checked, problem = original(events, rules)
        return checked, None

    return check


def _groups_described(kept: Any, _index: Any, event: Any, *_: Any) -> Any:
    return {**kept, "group_properties": event["group_properties"]} if "group_properties" in event else kept


def _known_languages_only(original: Any) -> Any:
    def adjust(event: Any, rules: Any) -> None:
        from simulator.amplitude.fields import languages

        original(event, rules)
        if event.get("language") not in languages().values():
            event.pop("language", None)

    return adjust


def _no_address(conn: Any, tank: Any, events: Any, route: Any, now_ms: Any, _address: Any, *rest: Any) -> Any:
    return conn, tank, events, route, now_ms, None, *rest


def _one_by_one(original: Any) -> Any:
    def newest(conn: Any, people: Any, mine: Any, part: str) -> Any:
        from unittest.mock import patch

        from simulator.amplitude import identified

        found = {}
        for name in identified.GROUPS[part]:
            with patch.dict(identified.GROUPS, {part: (name,)}):
                found[name] = original(conn, people, mine, part).get(name)
        return found

    return newest


def _without(kind: str) -> Any:
    return result(lambda found, *_: type(found)() if getattr(found, kind) else found)


def _all_named(original: Any) -> Any:
    def judge(indexes: Any, uses: Any, now_ms: int, limits: Any) -> Any:
        found = original(indexes, uses, now_ms, limits)
        return replace(found, events=sorted({index for key in (*found.rates, *found.quotas) for index in indexes[key]}))

    return judge


def _judged_by_ids_only(_original: Any) -> Any:
    def judge(self: Any) -> Any:
        from simulator.amplitude import throttle

        return throttle.judge(self.indexes, self.uses, self.now_ms, self.limits)

    return judge


def _as_events(*args: Any) -> Any:
    conn, tank, events, *rest = args
    return conn, tank, [{**each, "event_type": each["event_type"].lstrip("$")} for each in events], *rest


def _shown_late(shown: Any, _conn: Any, _tank: Any, events: Any, *_: Any) -> Any:
    return [None if "user_properties" in event else each for each, event in zip(shown, events, strict=True)]


def _always_in_sync(conn: Any, tank: Any, events: Any, *rest: Any) -> Any:
    name = "$skip_user_properties_sync"
    return conn, tank, [{k: v for k, v in each.items() if k != name} for each in events], *rest


def _plain_replaces(original: Any) -> Any:
    return lambda current, given: original(current if any(each[:1] == "$" for each in given) else {}, given)


def _plain_too(original: Any) -> Any:
    return lambda current, given: original({**current, **{k: v for k, v in given.items() if k[:1] != "$"}}, given)


def _another(operation: str, other: str) -> Any:
    return arguments(lambda held, name, key, value: (held, other if name == operation else name, key, value))


def _removes_one(original: Any) -> Any:
    def one(held: Any, operation: str, key: str, value: Any) -> None:
        if operation == "$remove" and isinstance(held.get(key), list):
            held[key].remove(value[0])
        else:
            original(held, operation, key, value)

    return one


def _unsets_to_null(original: Any) -> Any:
    def one(held: Any, operation: str, key: str, value: Any) -> None:
        if operation == "$unset":
            held[key] = None
        else:
            original(held, operation, key, value)

    return one


def _all_fresh(_original: Any) -> Any:
    return lambda _conn, _tank, events, *_: list(range(len(events)))


MUTANTS = (
    Mutant("amp-any-region", ("AMP-001",), "a key works in every region", f"{_APP}:at_home", result(_at_home_anywhere)),
    Mutant("amp-missing-key", ("AMP-002",), "a missing key is an unknown one", f"{_ANSWERS}:missing_field", _not_named("api_key", "key")),
    Mutant("amp-identify-key", ("AMP-003",), "identify calls are refused in JSON", "simulator.amplitude.identify:refuse", answer(body={"code": 400, "error": "Invalid API key"})),
    Mutant("amp-rest-key", ("AMP-004",), "a wrong key pair is a 401", "simulator.amplitude.export:wrong_key", answer(status=401)),
    Mutant("amp-profile-key", ("AMP-005",), "a missing secret is a wrong one", "simulator.amplitude.profile:no_key", answer(body="Invalid Api-Key")),
    Mutant("amp-profile-eu", ("AMP-006",), "the EU has a profile API", f"{_APP}:_others", _profiles_in_europe),
    Mutant("amp-path", ("AMP-007",), "an unknown path is a 404", f"{_APP}:_not_found", answer(status=404)),
    Mutant("amp-profile-path", ("AMP-191",), "an unknown path of the profile API is a 400", f"{_APP}:_not_found", answer(status=400)),
    Mutant("amp-seconds", ("AMP-008",), "server_upload_time is in seconds", f"{_ANSWERS}:accepted", arguments(lambda now_ms, *rest: (now_ms // 1000, *rest))),
    Mutant("amp-no-gzip", ("AMP-009",), "gzip is not read", f"{_UPLOADS}:_gunzip", instead(lambda _body: None)),
    Mutant("amp-no-json", ("AMP-010",), "other words for a body that is no JSON", f"{_UPLOADS}:_invalid_json", answer(body={"code": 400, "error": "Bad request"})),
    Mutant("amp-no-events", ("AMP-011",), "a missing list is called event", f"{_ANSWERS}:missing_field", _not_named("events", "event")),
    Mutant("amp-empty-events", ("AMP-012",), "an empty list is taken", SETTINGS, setting("amplitude.empty_events", "accept")),
    Mutant("amp-event-object", ("AMP-013",), "other words for an event that is no object", f"{_CHECKS}:NOT_AN_OBJECT", instead("Invalid event")),
    Mutant("amp-every-index", ("AMP-014",), "HTTP V2 names every offending event", SETTINGS, setting("amplitude.http_v2.index_lists", "all")),
    Mutant("amp-device-missing", ("AMP-166",), "an event without any id lacks device_id alone", SETTINGS, setting("amplitude.missing_ids_named", "device_id")),
    Mutant("amp-any-price", ("AMP-015",), "a price may be a text", f"{_CHECKS}:_fits", lambda original: lambda name, *rest: name == "price" or original(name, *rest)),
    Mutant("amp-1970", ("AMP-016",), "an event without time happened in 1970", f"{_INGEST}:check", result(_at_zero)),
    Mutant("amp-lmy47d", ("AMP-017",), "one placeholder passes", f"{_CHECKS}:INVALID_IDS", lambda original: original - {"lmy47d"}),
    Mutant("amp-ids-unnamed", ("AMP-167",), "placeholder ids are missing fields", f"{_CHECKS}:INVALID", instead("Invalid id")),
    Mutant("amp-id-case", ("AMP-018",), "Anonymous passes", SETTINGS, setting("amplitude.invalid_ids_any_case", False)),
    Mutant("amp-short-ids", ("AMP-019",), "a short id beside a good one is left out", SETTINGS, setting("amplitude.short_ids", "remove")),
    Mutant("amp-five", ("AMP-020",), "ids have five characters, whatever is asked for", f"{_UPLOADS}:min_id_length", instead(lambda _options: 5)),
    Mutant("amp-numeric-ids", ("AMP-021",), "a number is no id", SETTINGS, setting("amplitude.numeric_ids", "refuse")),
    Mutant("amp-uncut", ("AMP-022",), "long texts are kept whole", f"{_CHECKS}:cut", instead(lambda value, *_: value)),
    Mutant("amp-any-depth", ("AMP-023",), "deep objects are cut", SETTINGS, setting("amplitude.deep_objects", "cut")),
    Mutant("amp-four-groups", ("AMP-024",), "four group types are kept", "simulator.amplitude.fields:MAX_GROUP_TYPES", instead(4)),
    Mutant("amp-any-groups", ("AMP-024",), "any number of values is kept", "simulator.amplitude.fields:MAX_GROUP_VALUES", instead(10**9)),
    Mutant("amp-group-properties", ("AMP-025",), "any event describes groups", f"{_CHECKS}:_check_one", result(_groups_described)),
    Mutant("amp-whole-plan", ("AMP-026",), "a tracking plan is kept whole", f"{_CHECKS}:plan", instead(dict)),
    Mutant("amp-language-tags", ("AMP-027",), "language tags are kept", f"{_CHECKS}:languages", instead(dict)),
    Mutant("amp-language-lost", ("AMP-028",), "unknown languages are dropped", f"{_CHECKS}:_adjust", _known_languages_only),
    Mutant("amp-revenue-wins", ("AMP-029",), "revenue wins over price times quantity", f"{_CHECKS}:_adjust", instead(lambda *_: None)),
    Mutant("amp-never-paying", ("AMP-030",), "nobody is paying", f"{_ROWS}:exported", result(lambda line, *_: {**line, "paying": None})),
    Mutant("amp-device-apart", ("AMP-033",), "each field of a device is kept by itself", "simulator.amplitude.people:_newest_of", _one_by_one),
    Mutant("amp-no-address", ("AMP-031",), "$remote stands for nothing", f"{_STORING}:store", arguments(_no_address)),
    Mutant("amp-no-session", ("AMP-032",), "an event without session has none in the export", f"{_ROWS}:exported", result(lambda line, *_: {**line, "session_id": None})),
    Mutant("amp-twenty-mb", ("AMP-034",), "HTTP V2 takes 20 MB", SETTINGS, setting("amplitude.http_v2.max_body_bytes", 20_000_000)),
    Mutant("amp-no-rate", ("AMP-035",), "no device or user has a rate", "simulator.amplitude.throttle:judge", _without("rates")),
    Mutant("amp-all-named", ("AMP-168",), "every event of a throttled id is named", "simulator.amplitude.throttle:judge", _all_named),
    Mutant("amp-no-starter", ("AMP-036",), "the project has no rate", f"{_INGEST}:_Usage.judge", _judged_by_ids_only),
    Mutant("amp-nobody-silent", ("AMP-037",), "silenced devices are heard", f"{_INGEST}:_silenced", instead(lambda *_: [])),
    Mutant("amp-takes-the-rest", ("AMP-038",), "bad events are left out, the others stored", f"{_INGEST}:check", _takes_the_rest),
    Mutant("amp-firewall", ("AMP-169",), "the firewall answers in other words", f"{_APP}:_fault_answer", answer(body={"code": 403, "error": "Blocked"})),
    Mutant("amp-503-stores", ("AMP-170",), "a 503 stores", "simulator.faults:NOT_APPLIED", lambda original: original - {"status"}),
    Mutant("amp-any-updates", ("AMP-039",), "properties change as often as one likes", SETTINGS, setting("amplitude.property_updates_per_hour", 10**9)),
    Mutant("amp-identify-counts", ("AMP-040",), "$identify is an event", f"{_STORING}:store", arguments(_as_events)),
    Mutant("amp-shown-late", ("AMP-041",), "an event does not show what it brings", f"{_STORING}:_user_properties", result(_shown_late)),
    Mutant("amp-plain-replaces", ("AMP-042",), "a plain object replaces all properties", f"{_STORING}:apply", _plain_replaces),
    Mutant("amp-set-once", ("AMP-043",), "$setOnce sets again", f"{_PROPERTIES}:_one", _another("$setOnce", "$set")),
    Mutant("amp-add", ("AMP-044",), "$add sets", f"{_PROPERTIES}:_one", _another("$add", "$set")),
    Mutant("amp-prepend", ("AMP-045",), "$prepend appends", f"{_PROPERTIES}:_one", _another("$prepend", "$append")),
    Mutant("amp-pre-insert", ("AMP-046",), "$preInsert puts in what is there", f"{_PROPERTIES}:_one", _another("$preInsert", "$prepend")),
    Mutant("amp-remove", ("AMP-047",), "$remove takes one value out, once", f"{_PROPERTIES}:_one", _removes_one),
    Mutant("amp-unset", ("AMP-048",), "$unset leaves a null", f"{_PROPERTIES}:_one", _unsets_to_null),
    Mutant("amp-clear", ("AMP-049",), "$clearAll is a property", f"{_PROPERTIES}:ORDER", lambda original: original[1:]),
    Mutant("amp-mixed", ("AMP-050",), "plain keys beside operations are set too", f"{_STORING}:apply", _plain_too),
    Mutant("amp-arrays", ("AMP-051",), "an array may be given at any length", f"{_PROPERTIES}:MAX_INITIAL", instead(10**9)),
    Mutant("amp-sync", ("AMP-052",), "properties are always in sync", f"{_STORING}:_user_properties", arguments(_always_in_sync)),
    Mutant("amp-kept-for-ever", ("AMP-053",), "properties are kept for ever", "simulator.amplitude.retention:KEPT_MS", instead(10**12)),
    Mutant("amp-batch-size", ("AMP-054",), "a batch has 1 MB", SETTINGS, setting("amplitude.batch.max_body_bytes", 1_000_000)),
    Mutant("amp-batch-indexes", ("AMP-055",), "a batch names the first offending event", SETTINGS, setting("amplitude.batch.index_lists", "first")),
    Mutant("amp-batch-second", ("AMP-056",), "the batch rate is counted over a second", SETTINGS, setting("amplitude.window_s.batch", 1)),
    Mutant("amp-batch-quota", ("AMP-057",), "there is no daily quota", "simulator.amplitude.throttle:judge", _without("quotas")),
    Mutant("amp-batch-library", ("AMP-058",), "batches look like HTTP V2 uploads", f"{_ROWS}:_LIBRARIES", instead({"/2/httpapi": "http/2.0", "/batch": "http/2.0"})),
    Mutant("amp-batch-twice", ("AMP-059",), "insert ids mean nothing", f"{_STORING}:_fresh", _all_fresh),
)  # fmt: skip
