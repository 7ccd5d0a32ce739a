"""Judging: one plain function per kind of expectation, from the read-back to failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from scenarios.answering import answers, status_fits
from scenarios.comparing import find, fits, holds, missing, narrowed, same
from scenarios.control import View
from scenarios.instants import duration_ms, instant_ms
from scenarios.variables import nowhere, pointed
from scenarios.verdict import Failure, Verdict


def judge(expectation: Mapping[str, Any], default_rules: tuple[str, ...], view: View, verdict: Verdict) -> None:
    """Judge one expectation and note the outcome under its rules."""
    rule = expectation.get("rule")
    rules = default_rules if rule is None else (rule,) if isinstance(rule, str) else tuple(rule)
    verdict.judged.update(rules)
    kind = next(name for name in expectation if name not in ("rule", "because"))
    for failure in KINDS[kind](expectation[kind], view):
        because = str(expectation.get("because", ""))
        verdict.failures.append(Failure(failure.text, failure.expected, failure.received, rules, because))


def _matching(where: Mapping[str, Any], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def fits_all(item: dict[str, Any]) -> bool:
        for path, wanted in where.items():
            found = find(item, path)
            if missing(found) and "event" in item:
                found = find(item["event"], path)
            if missing(found) or not holds(wanted, found):
                return False
        return True

    return [item for item in items if fits_all(item)]


def amplitude_events(spec: Mapping[str, Any], view: View) -> list[Failure]:
    where = spec.get("where", {})
    found = _matching(where, view.events)
    named = ", ".join(f"{k}={v}" for k, v in where.items()) or "any"
    failures = []
    wanted = spec.get(
        "count", len(spec["ids"]) if "ids" in spec else {"at_least": 1} if set(spec) - {"where"} else None
    )
    if wanted is not None and not fits(wanted, len(found)):
        failures.append(Failure(f"number of events in Amplitude ({named})", wanted, len(found)))
    if "ids" in spec and sorted(spec["ids"]) != sorted(each["insert_id"] for each in found):
        failures.append(
            Failure(f"insert_ids in Amplitude ({named})", sorted(spec["ids"]), sorted(e["insert_id"] for e in found))
        )
    if "users" in spec and len({each["amplitude_id"] for each in found}) != spec["users"]:
        people = len({each["amplitude_id"] for each in found})
        failures.append(Failure(f"distinct Amplitude IDs ({named})", spec["users"], people))
    for each in found:
        failures += _one_event(spec, each)
    return failures[:5]


def _one_event(spec: Mapping[str, Any], each: dict[str, Any]) -> list[Failure]:
    failures = []
    event = each["event"]
    text = f"event {each['insert_id']} in Amplitude"
    expected = spec.get("equal")
    if expected is not None and not holds(expected, event):
        failures.append(Failure(text, expected, narrowed(expected, event)))
    for member, value in spec.get("exactly", {}).items():
        if not same(value, event.get(member)):
            failures.append(Failure(f"{text}: {member}", value, event.get(member)))
    for path in spec.get("absent", ()):
        found = event.get(path, find(event, path))
        if not missing(found):
            failures.append(Failure(f"{text}: {path} has no place there", None, found))
    return failures


def ledger(spec: Mapping[str, Any], view: View) -> list[Failure]:
    totals = view.totals
    failures = []
    if not totals["balanced"]:
        failures.append(Failure("the ledger does not add up", True, totals.get("mismatch")))
    for name, wanted in spec.items():
        if name == "reasons":
            for reason, number in wanted.items():
                if not fits(number, totals["reasons"].get(reason, 0)):
                    failures.append(Failure(f"ledger: {reason}", number, totals["reasons"]))
        elif not fits(wanted, totals[name]):
            received = {name: totals[name], "reasons": totals["reasons"]}
            failures.append(Failure(f"ledger: {name}", {name: wanted}, received))
    return failures


def _requests(spec: Mapping[str, Any], view: View) -> list[dict[str, Any]]:
    where = spec.get("where", {})
    platform = spec.get("platform", "amplitude")
    since = instant_ms(where["since"], view.start_ms) if "since" in where else None
    until = instant_ms(where["until"], view.start_ms) if "until" in where else None
    return [
        each
        for each in view.journal
        if each["platform"] == platform
        and ("path" not in where or each["path"] == where["path"])
        and ("status" not in where or status_fits(where["status"], each["status"]))
        and (since is None or each["tank_ms"] >= since)
        and (until is None or each["tank_ms"] <= until)
    ]


def _body(entry: Mapping[str, Any]) -> Any:
    try:
        return orjson.loads(entry["request_body"])
    except orjson.JSONDecodeError:
        return None


def _size(entry: Mapping[str, Any]) -> int:
    """Bytes of the body as sent: the journal may have kept less of it."""
    headers = {name.lower(): value for name, value in entry["request_headers"].items()}
    return max(int(headers.get("content-length", 0)), len(entry["request_body"].encode()))


def requests(spec: Mapping[str, Any], view: View) -> list[Failure]:
    found = _requests(spec, view)
    platform = spec.get("platform", "amplitude")
    failures = []
    if "count" in spec and not fits(spec["count"], len(found)):
        shown = [f"{e['tank_time']} {e['path']} {e['status']}" for e in found[:10]]
        about = " ".join((platform, *(str(each) for each in spec.get("where", {}).values())))
        failures.append(
            Failure(f"number of requests ({about})", {"count": spec["count"]}, {"count": len(found), "first": shown})
        )
    each_spec = spec.get("each", {})
    for entry in found:
        body = _body(entry)
        text = f"request {entry['id']} ({platform} {entry['path']})"
        if "body" in each_spec and not holds(each_spec["body"], body):
            failures.append(Failure(f"{text}: body", each_spec["body"], narrowed(each_spec["body"], body)))
        failures += [
            Failure(f"{text}: {path} has no place in the body", None, find(body, path))
            for path in each_spec.get("body_absent", ())
            if isinstance(body, Mapping) and not missing(find(body, path))
        ]
        looks_inside = "body_absent" in each_spec or "events_per_request" in spec
        if looks_inside and body is None and entry["request_body"]:
            failures.append(Failure(f"{text}: the body cannot be read", "JSON", entry["request_body"][:200]))
        headers = {name.lower(): value for name, value in entry["request_headers"].items()}
        for name, value in each_spec.get("headers", {}).items():
            if not holds(value, headers.get(name.lower())):
                failures.append(Failure(f"{text}: header {name}", value, headers.get(name.lower())))
        events = body.get("events") if isinstance(body, Mapping) else None
        most = spec.get("events_per_request", {}).get("at_most")
        if most is not None and isinstance(events, list) and len(events) > most:
            failures.append(Failure(f"{text}: events in one request", {"at_most": most}, len(events)))
        size = _size(entry)
        if "bytes" in spec and size > spec["bytes"]["at_most"]:
            failures.append(Failure(f"{text}: bytes", spec["bytes"], size))
    return failures[:5]


def arrival(spec: Mapping[str, Any], view: View) -> list[Failure]:
    emitted = {entry["event_id"]: instant_ms(entry["emitted"], 0) for entry in view.entries}
    found = [each for each in _matching(spec.get("where", {}), view.events) if each["insert_id"] in emitted]
    if not found:
        return [Failure("no such event arrived in Amplitude", spec.get("where"), None)]
    delays = {each["insert_id"]: each["server_upload_time"] - emitted[each["insert_id"]] for each in found}
    failures = []
    if "within" in spec:
        late = {i: f"{d / 1000:g} s" for i, d in delays.items() if d > duration_ms(spec["within"])}
        if len(late) > len(delays) * (1 - spec.get("share", 1.0)):
            failures.append(Failure("events arrived late", {"within": spec["within"]}, dict(list(late.items())[:5])))
    if "after" in spec:
        early = {i: f"{d / 1000:g} s" for i, d in delays.items() if d < duration_ms(spec["after"])}
        if early:
            failures.append(Failure("events arrived early", {"after": spec["after"]}, dict(list(early.items())[:5])))
    return failures


def feed(spec: Mapping[str, Any], view: View) -> list[Failure]:
    failures = []
    if "status" in spec and view.feed["status"] != spec["status"]:
        failures.append(Failure("status of the Currents connector", spec["status"], view.feed["status"]))
    for name, wanted in spec.get("counters", {}).items():
        if not fits(wanted, view.feed["counters"].get(name, 0)):
            failures.append(Failure(f"Currents counter {name}", wanted, view.feed["counters"]))
    if "queued" in spec:
        queued = sum(each["pending"] for each in view.feed["queues"].values())
        if not fits(spec["queued"], queued):
            failures.append(Failure("events queued at Braze", spec["queued"], queued))
    return failures


def reports(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """What became of Customer.io's reports at its webhook."""
    return [
        Failure(f"reports of Customer.io: {name}", wanted, view.reports)
        for name, wanted in spec.items()
        if not fits(wanted, view.reports[name])
    ]


def users(spec: Mapping[str, Any], view: View) -> list[Failure]:
    found = _matching(spec.get("where", {}), view.users)
    failures = []
    if "count" in spec and not fits(spec["count"], len(found)):
        failures.append(Failure("people in Amplitude", spec["count"], found))
    if "equal" in spec:
        if not found:
            failures.append(Failure("no such person in Amplitude", spec["equal"], view.users[:5]))
        failures += [
            Failure("person in Amplitude", spec["equal"], narrowed(spec["equal"], each))
            for each in found
            if not holds(spec["equal"], each)
        ]
    return failures


def braze_users(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """Profiles that Braze holds."""
    return _records("profiles in Braze", spec, view.braze_users)


def braze_objects(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """Objects that were sent to Braze's /users/track, in order, whatever request they travelled in."""
    found = []
    for entry in view.journal:
        if entry["platform"] == "braze" and entry["path"] == "/users/track":
            body = _body(entry)
            objects = body.get(spec["array"], []) if isinstance(body, Mapping) else []
            found += [each for each in objects if isinstance(each, dict)]
    return _records(f"{spec['array']} sent to Braze", spec, found)


def _records(what: str, spec: Mapping[str, Any], every: list[dict[str, Any]]) -> list[Failure]:
    """``where`` picks, ``count`` counts, ``equal`` and ``absent`` hold for each of those picked."""
    found = _matching(spec.get("where", {}), every)
    where = ", ".join(f"{k}={v}" for k, v in spec.get("where", {}).items())
    text = f"{what} ({where})" if where else what
    wanted = spec.get("count", {"at_least": 1})
    failures = []
    if not fits(wanted, len(found)):
        received = {"count": len(found), "there are": [_telling(each) for each in (found or every)[:3]]}
        failures.append(Failure(f"number of {text}", {"count": wanted}, received))
    for each in found:
        if "equal" in spec and not holds(spec["equal"], each):
            failures.append(Failure(text, spec["equal"], narrowed(spec["equal"], each)))
        failures += [
            Failure(f"{text}: {path} has no place there", None, find(each, path))
            for path in spec.get("absent", ())
            if not missing(find(each, path))
        ]
    return failures[:5]


_DETAILS = ("uid", "random_bucket", "created_at", "updated_at", "custom_events", "devices", "apps", "stats")


def _telling(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what is empty and what tells nothing of who it is."""
    empty: tuple[Any, ...] = (None, [], {})
    return {name: value for name, value in record.items() if value not in empty and name not in _DETAILS}


def braze_cohort(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """An imported cohort as Braze shows it."""
    found = view.braze_cohorts.get(spec["cohort_id"])
    if found is None:
        if spec.get("exists", True):
            return [Failure(f"cohort {spec['cohort_id']} in Braze", "it is there", list(view.braze_cohorts))]
        return []
    failures = []
    if not spec.get("exists", True):
        failures.append(Failure(f"cohort {spec['cohort_id']} in Braze", "it is not there", found))
    if "title" in spec and found["title"] != spec["title"]:
        failures.append(Failure("title of the cohort in Braze", spec["title"], found["title"]))
    if "size" in spec and not fits(spec["size"], found["size"]):
        failures.append(Failure("number of members of the cohort in Braze", spec["size"], found["size"]))
    if "members" in spec and sorted(spec["members"]) != sorted(map(str, found["members"])):
        failures.append(
            Failure("members of the cohort in Braze", sorted(spec["members"]), sorted(map(str, found["members"])))
        )
    return failures


def data_points(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """What Braze has counted, in all (``total``) and by source."""
    found = {"total": view.data_points["total"], **view.data_points["by_source"]}
    return [
        Failure(f"data points in Braze: {name}", wanted, found)
        for name, wanted in spec.items()
        if not fits(wanted, found.get(name, 0))
    ]


def merges(spec: Mapping[str, Any], view: View) -> list[Failure]:
    if fits(spec["count"], len(view.merges)):
        return []
    return [Failure("merged Amplitude IDs", spec["count"], view.merges)]


def connector(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """Whether it answers /healthz with 2xx, and what stands ``at`` JSON pointers of the answer."""
    failures = []
    healthy = view.health is not None
    if spec.get("healthy", True) != healthy:
        failures.append(Failure("the connector answers /healthz", spec.get("healthy", True), healthy))
    for pointer, wanted in spec.get("at", {}).items() if healthy else ():
        found = pointed(view.health, pointer)
        if nowhere(found) or not holds(wanted, found):
            shown = None if nowhere(found) else found
            failures.append(Failure(f"{pointer} of the connector's /healthz", wanted, shown))
    return failures


def rate(spec: Mapping[str, Any], view: View) -> list[Failure]:
    window = duration_ms(spec["window"])
    field_name = f"{spec['kind']}_id"
    times = sorted(e["server_upload_time"] for e in view.events if e[field_name] == spec["id"])
    worst, first = 0, 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        worst = max(worst, last - first + 1)
    if worst <= spec["at_most"]:
        return []
    return [Failure(f"stored events of {spec['id']} in {spec['window']}", {"at_most": spec["at_most"]}, worst)]


def pause(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """Events that an answer named (``throttled_events``) are not in a request before the pause is over."""
    least = duration_ms(spec["at_least"])
    held: dict[str, int] = {}
    failures = []
    for entry in view.journal:
        if entry["platform"] != "amplitude":
            continue
        body = _body(entry)
        ids = [e.get("insert_id") for e in (body or {}).get("events", []) if isinstance(e, Mapping)]
        early = [each for each in ids if each in held and entry["tank_ms"] < held[each]]
        if early:
            failures.append(
                Failure(
                    f"request {entry['id']} sends events again that were told to wait",
                    {"at_least": spec["at_least"]},
                    {"at": entry["tank_time"], "events": early[:5]},
                )
            )
        if entry["status"] == spec["after_status"]:
            answer = orjson.loads(entry["response_body"])
            for index in answer.get("throttled_events", []):
                if index < len(ids) and ids[index] is not None:
                    held[ids[index]] = entry["tank_ms"] + least
    return failures[:3]


KINDS: Mapping[str, Callable[[Mapping[str, Any], View], list[Failure]]] = {
    "amplitude_events": amplitude_events,
    "ledger": ledger,
    "requests": requests,
    "arrival": arrival,
    "answers": answers,
    "feed": feed,
    "reports": reports,
    "users": users,
    "merges": merges,
    "braze_users": braze_users,
    "braze_objects": braze_objects,
    "braze_cohort": braze_cohort,
    "data_points": data_points,
    "connector": connector,
    "rate": rate,
    "pause": pause,
}
