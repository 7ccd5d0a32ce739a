"""Mutants of the simulated Amplitude: profiles, cohorts, export, REST APIs, tracking, streams out."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, answer, arguments, instead, result, setting

_PROFILE = "simulator.amplitude.profile"
_COHORTS = "simulator.amplitude.cohorts"
_FILES = "simulator.amplitude.cohort_files"
_EXPORT = "simulator.amplitude.export"
_ROWS = "simulator.amplitude.rows"
_PEOPLE = "simulator.amplitude.people"
_DASHBOARD = "simulator.amplitude.dashboard"
_NOTES = "simulator.amplitude.chart_annotations"
_DELETIONS = "simulator.amplitude.deletions"
_STATES = "simulator.amplitude.event_states"
_STORING = "simulator.amplitude.storing"
_STREAMS = "simulator.amplitude.streams"
_RATE = "simulator.amplitude.ingest:over_rate"


def _when(fits: Any, **members: Any) -> Any:
    """An answer that fits has other members."""
    return result(lambda found, *_: replace(found, **members) if fits(found) else found)


def _status(old: int, new: int) -> Any:
    return _when(lambda found: found.status == old, status=new)


def _body(change: Any) -> Any:
    """``change`` alters the body of a 200 in place."""

    def changed(found: Any, *_: Any) -> Any:
        if found.status == 200:
            change(found.body)
        return found

    return result(changed)


def _unlimited(name: str) -> Any:
    return lambda original: lambda call, asked, *rest: asked != name and original(call, asked, *rest)


def _first_propensity(body: Any) -> None:
    data = body["userData"]
    if data.get("propensities"):
        data["propensity"] = data["propensities"][0]["prop"]


def _every_cohort(conn: Any, _target: str) -> Any:
    from sqlalchemy import select

    from simulator.amplitude.cohort_tables import cohorts

    return list(conn.execute(select(cohorts.c.id).order_by(cohorts.c.id)).scalars())


def _published(conn: Any, table: Any, columns: Any, rows: Any, keys: Any) -> Any:
    if "published" in columns:
        at = columns.index("published")
        rows = [(*row[:at], 1, *row[at + 1 :]) for row in rows]
    return conn, table, columns, rows, keys


def _sparing(lines: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _forgetting(name: str) -> Any:
    """A request's body is read without one of its members."""
    return result(lambda data, *_: data and {k: v for k, v in data.items() if k != name})


def _no_amp_ids(data: Any, *_: Any) -> Any:
    for each in data.get("memberships", ()):
        each["id_type"] = each["id_type"].replace("BY_AMP_ID", "BY_NUMBER")
    return data


def _end_excluded(call: Any) -> Any:
    end = call.detail.get("end", "")
    earlier = f"{end[:9]}{int(end[9:]) - 1:02d}" if len(end) == 11 and end[9:] > "00" else end
    return (replace(call, detail={**call.detail, "end": earlier}),)


def _one_way(call: Any) -> Any:
    return (replace(call, detail={k: v for k, v in call.detail.items() if k != "direction"}),)


def _nobody_merged(_conn: Any) -> Any:
    from simulator.amplitude.tables import events

    return events, events.c.amplitude_id


def _any_zone(original: Any) -> Any:
    return lambda value: original(value) or (original(f"{value}Z") if isinstance(value, str) else None)


def _not_negated(definition: Any, now_ms: int) -> Any:
    return {**definition, "andClauses": [{**each, "negated": False} for each in definition["andClauses"]]}, now_ms


def _many(pool: Any) -> Any:
    return replace(pool, most=10**6)


def _with_devices(conn: Any, tank: Any, events: Any, devices: Any, *rest: Any) -> Any:
    given = [{**event, "device_id": device} for event, device in zip(events, devices, strict=True)]
    return conn, tank, given, devices, *rest


def _stored_count(now_ms: Any, size: Any, _events: Any, why: Any) -> Any:
    return now_ms, size, why.detail["state_change"]["events_stored"], why


def _recent_only(original: Any) -> Any:
    def check(events: Any, rules: Any) -> Any:
        from simulator.amplitude.validation import INVALID, Problem

        if any(isinstance(each, dict) and each.get("time") == 1000 for each in events):
            return [], Problem(INVALID, {"events_with_invalid_fields": {"time": [0]}}, {0: INVALID})
        return original(events, rules)

    return check


def _backfills(original: Any) -> Any:
    def configure(conn: Any, tank: Any, kind: str, config: Any) -> Any:
        from sqlalchemy import select

        from simulator.amplitude import streams, tables

        found = original(conn, tank, kind, config)
        if kind == "events" and "url" in config:
            held = [(n, None) for n in conn.execute(select(tables.events.c.n)).scalars()]
            streams._queue(conn, tank, kind, held, tank.clock.now_ms(conn))
        return found

    return configure


def _hidden_too(original: Any) -> Any:
    def dropped(conn: Any, _tank: Any, _now_ms: int) -> Any:
        from simulator.amplitude import event_states

        return frozenset(event_states.read(conn))

    return dropped


def _taken_with(words: str) -> Any:
    """What is refused with these words is taken all the same."""
    from orjson import loads

    def passed(found: Any, call: Any, _schema: str) -> Any:
        return (loads(call.request.body), None) if found[1] and words in found[1] else found

    return result(passed)


MUTANTS = (
    Mutant("amp-profile-empty", ("AMP-087",), "properties that were not asked for are an empty object", f"{_PROFILE}:_properties", result(lambda found, *_: found or {})),
    Mutant("amp-profile-days", ("AMP-088",), "built-in properties are missing", f"{_PROFILE}:_amp_props", result(lambda found, *_: {k: v for k, v in found.items() if k != "first_used"})),
    Mutant("amp-profile-device", ("AMP-089",), "a device is nobody", f"{_PROFILE}:_person", arguments(lambda conn, user_id, _device: (conn, user_id, None))),
    Mutant("amp-profile-unknown", ("AMP-090",), "other words for somebody unknown", f"{_PROFILE}:profile", _when(lambda found: found.status == 400, body={"error": "Unknown user"})),
    Mutant("amp-profile-404", ("AMP-091",), "somebody unknown is a 404", SETTINGS, setting("amplitude.profile_unknown_status", 404)),
    Mutant("amp-profile-rate", ("AMP-092",), "profiles may be read as often as one likes", _RATE, _unlimited("userprofile")),
    Mutant("amp-profile-503", ("AMP-093",), "too many reads are a 503", f"{_PROFILE}:profile", _status(429, 503)),
    Mutant("amp-computed-numbers", ("AMP-094",), "computed properties are numbers", "simulator.amplitude.computations:values", result(lambda found, *_: {k: float(v) for k, v in found.items()})),
    Mutant("amp-profile-cohorts", ("AMP-095",), "cohorts that are not synced show too", "simulator.amplitude.cohort_syncs:cohorts_of", instead(_every_cohort)),
    Mutant("amp-recommends-had", ("AMP-096",), "what somebody has is recommended again", "simulator.amplitude.recommendations:_ranked", instead(lambda *_: ["tea"])),
    Mutant("amp-propensity", ("AMP-097",), "the first of several propensities stands out", f"{_PROFILE}:profile", _body(_first_propensity)),
    Mutant("amp-all-published", ("AMP-098",), "every cohort is published", f"{_COHORTS}:upsert_rows", arguments(_published)),
    Mutant("amp-no-members", ("AMP-099",), "a cohort is read without its members", f"{_COHORTS}:members_of", instead(lambda *_: ([], []))),
    Mutant("amp-computed-once", ("AMP-100",), "cohorts are computed once", "simulator.amplitude.cohort_computing:refresh", instead(lambda *_: None)),
    Mutant("amp-not-negated", ("AMP-171",), "no clause is negated", "simulator.amplitude.definitions:people", arguments(_not_negated)),
    Mutant("amp-status-200", ("AMP-101",), "a job in progress is a 200", f"{_COHORTS}:status", _status(202, 200)),
    Mutant("amp-unquoted", ("AMP-102",), "cells are quoted where they have to be", f"{_FILES}:_csv", instead(_sparing)),
    Mutant("amp-no-keys", ("AMP-103",), "without propKeys there are no properties", f"{_FILES}:_all_keys", instead(lambda *_: [])),
    Mutant("amp-link-for-an-hour", ("AMP-104",), "a link works for an hour", SETTINGS, setting("amplitude.file_link_s", 3600)),
    Mutant("amp-cohort-envelope", ("AMP-105",), "errors are plain", f"{_COHORTS}:refused", answer(body={"error": "unknown"})),
    Mutant("amp-request-for-ever", ("AMP-106",), "requests live for ever", f"{_COHORTS}:REQUEST_LIVES_MS", instead(10**15)),
    Mutant("amp-cohort-rate", ("AMP-107",), "downloads have no rate", _RATE, _unlimited("cohort-download")),
    Mutant("amp-cohort-month", ("AMP-108",), "a month has any number of downloads", _RATE, _unlimited("cohort-month")),
    Mutant("amp-cohort-parallel", ("AMP-109",), "any number of downloads is under way", f"{_COHORTS}:MAX_UNDER_WAY", instead(10**9)),
    Mutant("amp-matched", ("AMP-110",), "unknown ids are not told", f"{_COHORTS}:upload", _body(lambda body: body["metadata"].pop("invalid_ids_sample"))),
    Mutant("amp-any-ids", ("AMP-111",), "unknown ids are never minded", f"{_COHORTS}:_resolve", result(lambda found, *_: (found[0], []))),
    Mutant("amp-any-id-type", ("AMP-112",), "ids are of any type", f"{_COHORTS}:_body", _taken_with("id_type")),
    Mutant("amp-any-types", ("AMP-184",), "members are of any type", f"{_COHORTS}:_body", _taken_with("is not of type")),
    Mutant("amp-dry-saves", ("AMP-113",), "a dry upload is stored", f"{_COHORTS}:_json", _forgetting("skip_save")),
    Mutant("amp-no-replace", ("AMP-114",), "a replaced cohort is a new one", f"{_COHORTS}:_json", _forgetting("existing_cohort_id")),
    Mutant("amp-any-number", ("AMP-115",), "any number of ids is taken", f"{_COHORTS}:MAX_IDS", instead(10**9)),
    Mutant("amp-no-removal", ("AMP-116",), "nobody is removed", f"{_COHORTS}:_apply", lambda original: lambda *args: args[-1] == "ADD" and original(*args)),
    Mutant("amp-members-loose", ("AMP-117",), "unknown members are never minded", f"{_COHORTS}:_json", _forgetting("skip_invalid_ids")),
    Mutant("amp-members-at-once", ("AMP-172",), "a cohort is changed twice at once", "simulator.amplitude.parallel:MEMBERSHIP", _many),
    Mutant("amp-by-amp-id", ("AMP-118",), "BY_AMP_ID is unknown", f"{_COHORTS}:_json", result(_no_amp_ids)),
    Mutant("amp-file-names", ("AMP-119",), "files are named by the hour alone", f"{_EXPORT}:_name", instead(lambda _app, hour, part: f"{hour}-{part}.json.gz")),
    Mutant("amp-padded", ("AMP-120",), "hours are padded", f"{_EXPORT}:_name", result(lambda name, *_: re.sub(r"_(\d)#", r"_0\1#", name))),
    Mutant("amp-no-nulls", ("AMP-121",), "keys without a value are left out", f"{_ROWS}:exported", result(lambda line, *_: {k: v for k, v in line.items() if v is not None})),
    Mutant("amp-iso-times", ("AMP-122",), "times are ISO 8601", f"{_ROWS}:when", result(lambda text, *_: text.replace(" ", "T"))),
    Mutant("amp-end-excluded", ("AMP-123",), "the last hour does not count", f"{_EXPORT}:export", arguments(_end_excluded)),
    Mutant("amp-hour-received", ("AMP-183",), "an event belongs to the hour of its arrival", f"{_EXPORT}:UPLOAD_LAG_MS", instead(0)),
    Mutant("amp-no-delay", ("AMP-124",), "an hour is there when it ends", SETTINGS, setting("amplitude.export_delay_h", 0)),
    Mutant("amp-plain-404", ("AMP-125",), "a 404 of few words", f"{_EXPORT}:NOTHING", instead(b'{"error": "no data"}')),
    Mutant("amp-any-range", ("AMP-126",), "a range may be as long as one likes", f"{_EXPORT}:MAX_DAYS", instead(10**6)),
    Mutant("amp-large-404", ("AMP-127",), "a result that is too large is a 404", f"{_EXPORT}:export", _when(lambda found: "larger" in str(found.body), status=404)),
    Mutant("amp-row-source", ("AMP-128",), "a key of the recorded row is missing", f"{_ROWS}:raw", result(lambda line, *_: {k: v for k, v in line.items() if k != "$row_source"})),
    Mutant("amp-no-prefix", ("AMP-129",), "nobody is found by a beginning", f"{_PEOPLE}:_matches", result(lambda found, *_: ("nomatch", []) if found[0] == "match_user_prefix" else found)),
    Mutant("amp-search-rate", ("AMP-130",), "searches have no rate", _RATE, _unlimited("usersearch")),
    Mutant("amp-searches-at-once", ("AMP-173",), "any number of searches at once", "simulator.amplitude.parallel:SEARCH", _many),
    Mutant("amp-newest-only", ("AMP-131",), "events come newest first, whatever is asked for", f"{_PEOPLE}:activity", arguments(_one_way)),
    Mutant("amp-cut-session", ("AMP-132",), "sessions are cut", f"{_PEOPLE}:_rest_of_session", instead(lambda *_: [])),
    Mutant("amp-no-purchases", ("AMP-133",), "purchases are not counted", f"{_PEOPLE}:_revenue", instead(lambda *_: (0, 0.0))),
    Mutant("amp-activity-404", ("AMP-134",), "an unknown number is a 404", f"{_PEOPLE}:activity", _when(lambda found: found.status == 200 and not found.body["userData"]["num_events"], status=404)),
    Mutant("amp-last-week", ("AMP-135",), "totals are of an earlier week", f"{_DASHBOARD}:_week_of", result(lambda day, *_: day - timedelta(days=70))),
    Mutant("amp-counted-apart", ("AMP-136",), "somebody merged counts twice", f"{_DASHBOARD}:_people", instead(_nobody_merged)),
    Mutant("amp-no-segments", ("AMP-174",), "segments narrow nothing", "simulator.amplitude.segments:parse", instead(lambda _text: [])),
    Mutant("amp-at-once", ("AMP-175",), "any number of requests at once", "simulator.amplitude.parallel:REST", _many),
    Mutant("amp-free", ("AMP-137",), "queries cost nothing", "simulator.amplitude.rest_limits:charge", instead(lambda *_: None)),
    Mutant("amp-category-none", ("AMP-138",), "the default category is called None", f"{_NOTES}:DEFAULT_CATEGORY", instead((1, "None"))),
    Mutant("amp-any-zone", ("AMP-139",), "a time without zone is UTC", f"{_NOTES}:_instant", _any_zone),
    Mutant("amp-null-keeps", ("AMP-140",), "null changes nothing", f"{_NOTES}:_values", result(lambda found, *_: {k: v for k, v in found.items() if v is not None} if isinstance(found, dict) else found)),
    Mutant("amp-category-400", ("AMP-141",), "a category that exists is a 400", f"{_NOTES}:create_category", _status(409, 400)),
    Mutant("amp-release-null", ("AMP-142",), "a release without description has null", "simulator.amplitude.releases:create", _body(lambda body: body["release"].update(description=None))),
    Mutant("amp-release-time", ("AMP-143",), "release_start is of any form", "simulator.amplitude.releases:_problem", result(lambda found, *_: None if found and "no time" in found else found)),
    Mutant("amp-app-number", ("AMP-144",), "the project is a number", f"{_DELETIONS}:_app", result(lambda text, *_: int(text))),
    Mutant("amp-never-ignores", ("AMP-145",), "invalid ids are never ignored", f"{_DELETIONS}:_ignores", instead(lambda _data: False)),
    Mutant("amp-never-erases", ("AMP-146",), "nothing is erased", f"{_DELETIONS}:erase", instead(lambda *_: None)),
    Mutant("amp-always-withdraws", ("AMP-147",), "people can be taken out to the last day", SETTINGS, setting("amplitude.deletion_submit_days", 0)),
    Mutant("amp-any-days", ("AMP-148",), "jobs are listed over any time", f"{_DELETIONS}:MAX_RANGE_DAYS", instead(10**6)),
    Mutant("amp-deletion-rate", ("AMP-176",), "deletions have no rate", _RATE, _unlimited("deletions")),
    Mutant("amp-absent", ("AMP-149",), "what is not simulated is not found", "simulator.exchange:not_simulated", answer(status=404)),
    Mutant("amp-dedupe-a-day", ("AMP-150",), "an insert_id is known for a day", SETTINGS, setting("amplitude.dedupe_days", 1)),
    Mutant("amp-dedupe-devices", ("AMP-151",), "derived devices keep insert ids apart", f"{_STORING}:_fresh", arguments(_with_devices)),
    Mutant("amp-dedupe-uncounted", ("AMP-152",), "duplicates are not counted", "simulator.amplitude.answers:accepted", arguments(_stored_count)),
    Mutant("amp-event-ids", ("AMP-153",), "event ids tell no duplicates", SETTINGS, setting("amplitude.dedupe_by_event_id", False)),
    Mutant("amp-recent-only", ("AMP-154",), "ancient events are refused", "simulator.amplitude.ingest:check", _recent_only),
    Mutant("amp-no-skew", ("AMP-155",), "clocks are never corrected", f"{_STORING}:CLOCK_SLACK_MS", instead(10**15)),
    Mutant("amp-blocks-late", ("AMP-156",), "blocking takes an hour", SETTINGS, setting("amplitude.block_delay_min", 60)),
    Mutant("amp-keeps-deleted", ("AMP-157",), "deleted types are taken in", f"{_STATES}:dropped", instead(lambda *_: frozenset())),
    Mutant("amp-drops-hidden", ("AMP-158",), "hidden types are dropped", f"{_STATES}:dropped", _hidden_too),
    Mutant("amp-user-agent", ("AMP-159",), "streams have another user agent", f"{_STREAMS}:USER_AGENT", instead("webhook/1.0")),
    Mutant("amp-stream-users", ("AMP-160",), "users are sent with every identifier", f"{_STREAMS}:user", result(lambda found, *_: {"user_id": None, **found})),
    Mutant("amp-backfills", ("AMP-161",), "a stream sends what is there already", f"{_STREAMS}:configure", _backfills),
    Mutant("amp-two-attempts", ("AMP-162",), "there are two attempts", SETTINGS, setting("amplitude.stream_delays_s", [28])),
    Mutant("amp-one-try", ("AMP-163",), "an attempt is one request", "simulator.amplitude.redelivery:TRIES", instead(1)),
    Mutant("amp-metrics", ("AMP-164",), "retried payloads are not counted", "simulator.amplitude.delivery_metrics:summary", _body(lambda body: body.update(successAfterRetry=0))),
    Mutant("amp-metrics-rate", ("AMP-177",), "metrics have no rate", _RATE, _unlimited("delivery-metrics")),
    Mutant("amp-nobody-leaves", ("AMP-165",), "nobody leaves a cohort", "simulator.amplitude.cohort_syncs:_leaving", instead(lambda *_: [])),
)  # fmt: skip
