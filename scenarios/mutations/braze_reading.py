"""Mutants of the simulated Braze: cohort import, segments, exports, lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, instead, result, setting

_TRANSPORT = "simulator.braze.transport"
_IMPORT = "simulator.braze.cohort_import"
_MEMBERS = "simulator.braze.cohort_membership"
_EXPORT = "simulator.braze.exporting"
_FILES = "simulator.braze.segment_export"
_LISTS = "simulator.braze.listing"
_HANDLERS = "simulator.braze.app:HANDLERS"


def _other_words(name: str, other: str) -> Any:
    return lambda original: lambda given, *args, **more: original(other if given == name else given, *args, **more)


def _every_partner(original: Any) -> Any:
    def door(call: Any, body: Any) -> Any:
        found = original(call, body)
        return None if found is not None and found.status == 401 else found

    return door


def _nameless_title(_partner: str, cohort_id: str, given: str | None) -> str:
    return f"[Amplitude] {(given or '').replace('_', ' ')}: {cohort_id}"


def _first_name(original: Any) -> Any:
    """A cohort keeps the name it was made with."""

    handle, *rest = original["POST /partners/<partner>/cohorts"]

    def name(call: Any, body: Any) -> Any:
        from simulator.braze.cohort_membership import listed
        from simulator.exchange import Answer

        known = body.get("cohort_id") in [each["cohort_id"] for each in listed(call.conn)]
        return Answer(201, {"message": "success"}) if known else handle(call, body)

    return {**original, "POST /partners/<partner>/cohorts": (name, *rest)}


def _makes_people(original: Any) -> Any:
    def apply_users(conn: Any, tank: Any, payload: Any, received_ms: int, now_ms: int) -> int:
        from simulator.braze import writes

        ids = [each for change in payload["changes"] for each in change.get("user_ids") or ()]
        objects = [("attributes", {"external_id": each}) for each in ids]
        writes.track_people(conn, tank, objects, received_ms, now_ms)
        return int(original["cohort_users"](conn, tank, payload, received_ms, now_ms))

    return {**original, "cohort_users": apply_users}


def _known_only(original: Any) -> Any:
    handle, *rest = original["POST /partners/<partner>/cohorts/users"]

    def users(call: Any, body: Any) -> Any:
        from simulator.braze import profile_store
        from simulator.braze.refusals import refuse

        ids = [each for change in body.get("cohort_changes") or () for each in _texts(change, "user_ids")]
        unknown = [each for each in ids if not profile_store.find(call.conn, "external_id", each)]
        return refuse("bad_entry", field="user_ids") if len(unknown) == 1 else handle(call, body)

    return {**original, "POST /partners/<partner>/cohorts/users": (users, *rest)}


def _texts(change: Any, name: str) -> list[str]:
    given = change.get(name) if isinstance(change, dict) else None
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []


def _labels_lost(original: Any) -> Any:
    def matched(conn: Any, change: Any) -> Any:
        from simulator.braze import profile_store

        names = {each["alias_name"] for each in change.get("aliases") or ()}
        people = [each for page in profile_store.pages(conn) for each in page]
        more = {each.uid for each in people if names & set(each.aliases.values())}
        return original(conn, change) | more

    return matched


def _empties(original: Any) -> Any:
    def matched(conn: Any, change: Any) -> Any:
        from simulator.braze import profile_store

        people = {each.uid for page in profile_store.pages(conn) for each in page}
        return people if change.get("should_remove") else original(conn, change)

    return matched


def _needs_changes(original: Any) -> Any:
    handle, *rest = original["POST /partners/<partner>/cohorts/users"]

    def users(call: Any, body: Any) -> Any:
        from simulator.braze.refusals import refuse

        return refuse("cohort_changes") if body.get("cohort_changes") == [] else handle(call, body)

    return {**original, "POST /partners/<partner>/cohorts/users": (users, *rest)}


def _unlocked(original: Any) -> Any:
    def door(call: Any, body: Any) -> Any:
        found = original(call, body)
        return None if found is not None and found.status == 423 else found

    return door


def _additions_first(original: Any) -> Any:
    def apply_users(conn: Any, tank: Any, payload: Any, *rest: Any) -> int:
        ordered = sorted(payload["changes"], key=lambda each: each.get("should_remove", False))
        return int(original["cohort_users"](conn, tank, {**payload, "changes": ordered}, *rest))

    return {**original, "cohort_users": apply_users}


def _toggles(original: Any) -> Any:
    def apply_users(conn: Any, tank: Any, payload: Any, *rest: Any) -> int:
        from simulator.braze.cohort_membership import listed

        full = sum(each["size"] for each in listed(conn)) == 1
        changes = [{**each, "should_remove": True} if full else each for each in payload["changes"]]
        return int(original["cohort_users"](conn, tank, {**payload, "changes": changes}, *rest))

    return {**original, "cohort_users": apply_users}


def _both_ways(original: Any) -> Any:
    return lambda given, sight: original["partner_cohort"]({**given, "comparison": "is"}, sight)


def _always_told(original: Any) -> Any:
    handle, *rest = original["POST /users/export/ids"]

    def ids(call: Any, body: Any) -> Any:
        found = handle(call, body)
        return replace(found, body={"invalid_user_ids": [], **found.body}) if found.status == 201 else found

    return {**original, "POST /users/export/ids": (ids, *rest)}


def _external_only(original: Any) -> Any:
    return {name: kind for name, kind in original.items() if kind != "device"}


def _nulls(original: Any) -> Any:
    def exported(profile: Any, fields: Any, *rest: Any) -> Any:
        return {**dict.fromkeys(fields or ()), **original(profile, fields, *rest)}

    return exported


def _no_old_name(found: Any, *_: Any) -> Any:
    return {name: value for name, value in found.items() if name != "appboy_id"}


def _one_order(original: Any) -> Any:
    return lambda conn, **more: original(conn, **{**more, "newest_first": False})


def _in_json(node: Any, _titles: Any) -> str:
    return str(node["AND"]) if "AND" in node else "one filter"


def _ever(original: Any) -> Any:
    return lambda kind, name, comparison, value, _since_ms: original(kind, name, comparison, value, 0)


def _all_of(_original: Any) -> Any:
    from sqlalchemy import and_

    return and_


def _many_at_once(name: str, *args: Any, **more: Any) -> Any:
    from simulator.braze.refusals import refuse
    from simulator.exchange import Answer

    return Answer(201, {"message": "success"}) if name == "export_running" else refuse(name, *args, **more)


def _backwards(original: Any) -> Any:
    return lambda conn, kind, offset, limit: list(reversed(original(conn, kind, offset, limit)))


def _of_events_only(original: Any) -> Any:
    return lambda conn, kind, *page: original(conn, kind, *page) if kind == "event" else []


def _no_link(original: Any) -> Any:
    return lambda call, asked, kind: (original(call, asked, kind)[0], {})


def _sizes_now(conn: Any, tank: Any, segment_id: str, days: range, now_ms: int) -> list[tuple[int, int]]:
    from simulator.braze.segments import size

    return [(day, size(conn, tank, segment_id, now_ms)) for day in days]


def _all_fields(original: Any) -> Any:
    return lambda call, body, *rest: original(call, {"fields_to_export": ["external_id"], **body}, *rest)


def _busy_days(original: Any) -> Any:
    def series(call: Any, asked: Any, member: str, found: Any) -> Any:
        answer: Any = original(call, asked, member, found)
        kept = [each for each in answer.body["data"] if each[member] or member != "count"]
        return replace(answer, body={**answer.body, "data": kept})

    return series


def _without(name: str) -> Any:
    def change(original: Any) -> Any:
        def series(call: Any, asked: Any, member: str, found: Any) -> Any:
            return original(call, asked, member, {} if member == name else found)

        return series

    return change


MUTANTS = (
    Mutant("brz-import-words", ("BRZ-120",), "a wrong data import key is a wrong partner key", f"{_TRANSPORT}:refuse", _other_words("client_secret", "partner_key")),
    Mutant("brz-import-partners", ("BRZ-121",), "every partner is enabled", f"{_IMPORT}:_door", _every_partner),
    Mutant("brz-import-title", ("BRZ-122",), "titles have blanks for underscores", f"{_MEMBERS}:title", instead(_nameless_title)),
    Mutant("brz-import-first-name", ("BRZ-123",), "a cohort keeps its first name", _HANDLERS, _first_name),
    Mutant("brz-import-makes", ("BRZ-124",), "members are made", "simulator.braze.writes:APPLY", _makes_people),
    Mutant("brz-import-unknown", ("BRZ-125",), "unknown people are refused", _HANDLERS, _known_only),
    Mutant("brz-import-devices", ("BRZ-126",), "devices find people who have logged in", f"{_MEMBERS}:_anonymous", instead(lambda _conn, uids: set(uids))),
    Mutant("brz-import-labels", ("BRZ-127",), "aliases are matched by name", f"{_MEMBERS}:matched", _labels_lost),
    Mutant("brz-import-empties", ("BRZ-128",), "a removal empties the cohort", f"{_MEMBERS}:matched", _empties),
    Mutant("brz-import-many", ("BRZ-129",), "a call has any number of ids", f"{_IMPORT}:MAX_IDS", instead(10**9)),
    Mutant("brz-import-fits", ("BRZ-130",), "changes are not looked at", f"{_IMPORT}:refuse", _other_words("cohort_changes", "cohort_id")),
    Mutant("brz-import-nothing", ("BRZ-131",), "a call without changes is refused", _HANDLERS, _needs_changes),
    Mutant("brz-import-nameless", ("BRZ-132",), "cohorts without a name are refused", SETTINGS, setting("braze.cohort_unknown", "refuse")),
    Mutant("brz-import-unlocked", ("BRZ-133",), "no cohort is locked", f"{_IMPORT}:_door", _unlocked),
    Mutant("brz-import-revoked", ("BRZ-134",), "invalidated keys work", f"{_TRANSPORT}:permissions.is_data_import_key", instead(lambda _tank, value: value != "wrong")),
    Mutant("brz-import-exclude", ("BRZ-135",), "a cohort can be included only", "simulator.braze.segment_filters:_FILTERS", lambda original: {**original, "partner_cohort": _both_ways(original)}),
    Mutant("brz-import-exported", ("BRZ-136",), "exports tell cohorts", f"{_EXPORT}:exported", result(lambda shown, *_: {**shown, "cohorts": []})),
    Mutant("brz-import-merge", ("BRZ-137",), "a merge leaves cohorts", SETTINGS, setting("braze.merge_cohorts", False)),
    Mutant("brz-import-order", ("BRZ-138",), "additions come first", "simulator.braze.writes:APPLY", _additions_first),
    Mutant("brz-import-readded", ("BRZ-139",), "a member who is added again leaves", "simulator.braze.writes:APPLY", _toggles),
    Mutant("brz-export-invalid", ("BRZ-140",), "invalid ids are always told", _HANDLERS, _always_told),
    Mutant("brz-export-all", ("BRZ-141",), "fields need not be named", SETTINGS, setting("braze.export_needs_fields", False)),
    Mutant("brz-export-many", ("BRZ-142",), "any number of ids is exported", f"{_EXPORT}:MAX_IDS", instead(10**6)),
    Mutant("brz-export-devices", ("BRZ-143",), "devices find nobody", f"{_EXPORT}:_SINGLE", _external_only),
    Mutant("brz-export-nulls", ("BRZ-144",), "fields without a value are null", f"{_EXPORT}:exported", _nulls),
    Mutant("brz-export-old", ("BRZ-145",), "events are exported for ever", f"{_EXPORT}:RECENT_MS", instead(10**13)),
    Mutant("brz-export-own-names", ("BRZ-324",), "devices are exported in their own words", f"{_EXPORT}:_devices", instead(lambda profile, _now_ms: profile.devices)),
    Mutant("brz-export-appboy", ("BRZ-146",), "the old name of the id is gone", f"{_EXPORT}:exported", result(_no_old_name)),
    Mutant("brz-segments-order", ("BRZ-147",), "segments have one order", "simulator.braze.segments:listed", _one_order),
    Mutant("brz-segment-words", ("BRZ-148",), "definitions are shown as they are", "simulator.braze.segments:described", instead(_in_json)),
    Mutant("brz-segment-ever", ("BRZ-149",), "events count whenever they were", "simulator.braze.segment_filters:_recent", _ever),
    Mutant("brz-segment-and", ("BRZ-150",), "alternatives hold together", "simulator.braze.segment_filters:or_", _all_of),
    Mutant("brz-file-for-days", ("BRZ-151",), "a link lives for two days", SETTINGS, setting("braze.export_link_h", 48)),
    Mutant("brz-file-often", ("BRZ-152",), "a segment is exported as often as one likes", f"{_FILES}:refuse", instead(_many_at_once)),
    Mutant("brz-file-many", ("BRZ-153",), "any number of attributes is exported", f"{_FILES}:MAX_CUSTOM", instead(10**6)),
    Mutant("brz-names-backwards", ("BRZ-154",), "names are listed backwards", f"{_LISTS}:_names", _backwards),
    Mutant("brz-no-products", ("BRZ-156",), "products are not noted", f"{_LISTS}:_names", _of_events_only),
    Mutant("brz-names-no-link", ("BRZ-155",), "no link leads on", f"{_LISTS}:_paged", _no_link),
    Mutant("brz-series-busy", ("BRZ-157",), "days without an event are left out", f"{_LISTS}:_series", _busy_days),
    Mutant("brz-series-revenue", ("BRZ-158",), "revenue is 0", f"{_LISTS}:_series", _without("revenue")),
    Mutant("brz-sizes-now", ("BRZ-320",), "a segment always had its size", "simulator.braze.segment_sizes:series", instead(_sizes_now)),
    Mutant("brz-not-engaged", ("BRZ-322",), "what is done with a message is forgotten", "simulator.braze.aftermath:_engage", instead(lambda *_: None)),
    Mutant("brz-no-canvases", ("BRZ-323",), "Canvases are not exported", "simulator.braze.received:_canvases", instead(lambda *_: None)),
    Mutant("brz-control-any", ("BRZ-321",), "the control group needs no fields", f"{_FILES}:_begin", _all_fields),
    Mutant("brz-series-sessions", ("BRZ-159",), "sessions are not counted", f"{_LISTS}:_series", _without("sessions")),
)  # fmt: skip
