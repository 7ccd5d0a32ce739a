"""`POST /2/httpapi` and `POST /batch`: the documented checks in order, then all events or none.

Order: size, form, key (all of these before a tank is found), number of events, event checks, silenced devices,
throttling and quotas, acceptance. Source: Amplitude docs, HTTP V2 API; Batch Event Upload API.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, select

from simulator import clock
from simulator.amplitude import answers, storing, tables, throttle
from simulator.amplitude.uploads import Upload
from simulator.amplitude.validation import Problem, Rules, check
from simulator.exchange import Answer, Call, Reason
from simulator.store import fetch, rows_in, upsert_rows
from simulator.tank import Tank

HTTP_V2, BATCH = "/2/httpapi", "/batch"
_PROJECT: throttle.Key = ("project", "")
"""Counted per endpoint: the id is filled in with the route."""


def handle(call: Call) -> Answer:
    """Decide on one upload that has reached its project."""
    upload: Upload = call.detail
    tank, conn, now_ms = call.tank, call.conn, call.now_ms
    route = BATCH if call.request.path.rstrip("/") == BATCH else HTTP_V2
    source = answers.BATCH if route == BATCH else answers.HTTP_V2
    refused = _form(tank, upload, route, source, call.request.headers)
    if refused is not None:
        if refused.status == 413 and len(upload.events) == 1:
            _note(conn, {0: "Payload too large"}, upload.events, now_ms, final=True)
        return refused
    kind = "batch" if route == BATCH else "http_v2"
    settings = tank.settings
    events, problem = check(upload.events, Rules.of(settings, kind, upload.min_id_length))
    if problem is not None:
        _note(conn, problem.events, upload.events, now_ms, final=True)
        return _refused(problem, source)
    usage = _Usage(conn, tank, route, events, now_ms)
    limits = usage.limits
    verdict = usage.judge()
    silent = _silenced(conn, events)
    if silent:
        _note(conn, dict.fromkeys(silent, "Events silenced for device_id"), events, now_ms, final=True)
        return _silenced_answer(events, silent, verdict, limits, source)
    if verdict.over:
        _note(conn, _throttle_reasons(events, verdict), events, now_ms, final=False)
        if settings["amplitude.count_refused"]:
            usage.save()
        return _throttled_answer(verdict, limits, usage, now_ms, route == BATCH)
    stored = storing.store(conn, tank, events, route, now_ms, call.request.remote_addr, upload.upload_ms)
    usage.save()
    why = Reason("accepted", "every event passed every check", f"{source}, Responses", {"state_change": stored.shown()})
    return answers.accepted(now_ms, upload.received_bytes, len(events), why)


def throttled(call: Call, events: list[dict[str, Any]]) -> bool:
    """Whether these events' devices and users, or the endpoint, are over a limit; counts them when they are not."""
    usage = _Usage(call.conn, call.tank, call.request.path.rstrip("/"), events, call.now_ms)
    if usage.judge().over:
        return True
    usage.save()
    return False


def rate(call: Call, name: str, window_ms: int) -> int:
    """How many were counted under a name in the window that ends now."""
    row = call.conn.execute(_RATE, {"name": name}).first()
    return 0 if row is None else throttle.recent(tuple(orjson.loads(row.used)), call.now_ms, window_ms)


def over_rate(call: Call, name: str, count: int, most: int, window_ms: int) -> bool:
    """Whether ``count`` more would be over ``most`` in a window; counts them when they are not."""
    row = call.conn.execute(_RATE, {"name": name}).first()
    use: throttle.Use = ([], []) if row is None else tuple(orjson.loads(row.used))
    if throttle.recent(use, call.now_ms, window_ms) + count > most:
        return True
    used = orjson.dumps(throttle.add(use, count, call.now_ms, window_ms, False)).decode()
    upsert_rows(call.conn, tables.request_rates, ("name", "used"), [(name, used)], ("name",))
    return False


_RATE = select(tables.request_rates.c.used).where(tables.request_rates.c.name == bindparam("name"))


def refuse(path: str, upload: Upload) -> Answer:
    """The answer to an upload that no tank takes: malformed, or its key is unknown here."""
    batch = path.rstrip("/") == BATCH
    if upload.unpacked_bytes > (20_000_000 if batch else 1_000_000):
        return answers.too_large({"bytes": upload.unpacked_bytes}, answers.BATCH if batch else answers.HTTP_V2)
    return upload.problem or answers.unknown_key(upload.api_key or "")


def _form(tank: Tank, upload: Upload, route: str, source: str, headers: Mapping[str, str]) -> Answer | None:
    kind = "batch" if route == BATCH else "http_v2"
    most = int(tank.settings[f"amplitude.{kind}.max_body_bytes"])
    if upload.unpacked_bytes > most:
        return answers.too_large({"bytes": upload.unpacked_bytes, "limit": most}, source)
    if upload.problem is not None:
        return upload.problem
    if tank.settings["amplitude.require_content_type"]:
        given = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if given != "application/json":
            why = Reason("content-type", f"the content type is {given!r}", f"{source}, Request")
            return answers.refusal(400, "Invalid JSON request body", None, why)
    most_events = int(tank.settings["amplitude.max_events"])
    if len(upload.events) > most_events:
        return answers.too_large({"events": len(upload.events), "limit": most_events}, source)
    if not upload.events and tank.settings["amplitude.empty_events"] == "missing":
        return answers.missing_field("events")
    return None


def _refused(problem: Problem, source: str) -> Answer:
    why = Reason(
        "invalid-events",
        "one bad event refuses the whole upload",
        f"{source}, Responses",
        {"events": {str(index): text for index, text in problem.events.items()}},
        "take the named events out and send the rest again",
    )
    return answers.refusal(400, problem.error, problem.members, why)


def _limits(tank: Tank, route: str) -> throttle.Limits:
    settings = tank.settings
    windows = (
        float(settings["amplitude.window_s.currents"]),
        float(settings["amplitude.window_s.http_v2"]),
        float(settings["amplitude.window_s.batch"]),
    )
    return throttle.limits(tank.limits, route, windows)


class _Usage:
    """The use of the ids of one request: one read, one write."""

    def __init__(self, conn: Connection, tank: Tank, route: str, events: list[dict[str, Any]], now_ms: int) -> None:
        limits = _limits(tank, BATCH if route == BATCH else HTTP_V2)
        self.conn, self.limits, self.now_ms, self.route = conn, limits, now_ms, route
        self.indexes: dict[throttle.Key, list[int]] = {}
        for kind in limits.kinds():
            field = f"{kind}_id"
            found: defaultdict[str, list[int]] = defaultdict(list)
            for index, event in enumerate(events):
                if field in event:
                    found[event[field]].append(index)
            self.indexes.update({(kind, value): mine for value, mine in found.items()})
        self.uses = _read_uses(conn, self.indexes, limits.bucket, route)
        starter = tank.settings["amplitude.plan"] == "starter"
        setting = "amplitude.project_eps" if route == HTTP_V2 else "amplitude.project_eps_batch"
        self.project_eps = 1000 if starter else int(tank.settings[setting])
        self.uploads_per_s = 100 if starter else None
        self.count = len(events)

    def judge(self) -> throttle.Verdict:
        project = self.uses.get(_PROJECT, ([], []))
        total = throttle.recent(project, self.now_ms, 1000) + self.count
        # The second list of the project's entry holds uploads instead of hours.
        uploads = throttle.recent((project[1], []), self.now_ms, 1000) + 1
        if total > self.project_eps or (self.uploads_per_s is not None and uploads > self.uploads_per_s):
            return throttle.Verdict({_PROJECT: total}, {}, list(range(self.count)), self.now_ms + 1000)
        return throttle.judge(self.indexes, self.uses, self.now_ms, self.limits)

    def save(self) -> None:
        """Count the request."""
        window = self.limits.window_ms
        rows = [
            _row(
                key,
                self.limits.bucket,
                throttle.add(
                    self.uses.get(key, ([], [])),
                    len(mine),
                    self.now_ms,
                    window,
                    self.limits.day(key[0]) is not None,
                ),
            )
            for key, mine in self.indexes.items()
        ]
        project = self.uses.get(_PROJECT, ([], []))
        events, _ = throttle.add((project[0], []), self.count, self.now_ms, 1000, False)
        uploads: list[list[int]] = []
        if self.uploads_per_s is not None:
            uploads, _ = throttle.add((project[1], []), 1, self.now_ms, 1000, False)
        rows.append(_row(_PROJECT, self.route, (events, uploads)))
        upsert_rows(self.conn, tables.usage, ("kind", "id", "used"), rows, ("kind", "id"))


def _row(key: throttle.Key, bucket: str, use: throttle.Use) -> tuple[str, str, str]:
    return f"{key[0]}@{bucket}", key[1], orjson.dumps(use).decode()


def _read_uses(
    conn: Connection, keys: Iterable[throttle.Key], bucket: str, route: str
) -> dict[throttle.Key, throttle.Use]:
    """The uses of these ids in a bucket, and that of the project on its route."""
    wanted = {(f"{kind}@{bucket}", value): (kind, value) for kind, value in keys}
    wanted[(f"{_PROJECT[0]}@{route}", _PROJECT[1])] = _PROJECT
    found: dict[throttle.Key, throttle.Use] = {}
    for kind, value, used in rows_in(conn, tables.usage, ("kind", "id", "used"), "id", {id_ for _, id_ in wanted}):
        key = wanted.get((kind, value))
        if key is not None:
            rate, hours = orjson.loads(used)
            found[key] = (rate, hours)
    return found


def _silenced(conn: Connection, events: list[dict[str, Any]]) -> list[int]:
    silent = {row[0] for row in fetch(conn, _SILENCED)}
    if not silent:
        return []
    return [index for index, event in enumerate(events) if event.get("device_id") in silent]


_SILENCED = f"SELECT device_id FROM {tables.silenced.name}"


def _maps(verdict: throttle.Verdict, kind: str) -> tuple[dict[str, int], dict[str, int]]:
    rates = {key[1]: value for key, value in verdict.rates.items() if key[0] == kind}
    quotas = {key[1]: value for key, value in verdict.quotas.items() if key[0] == kind}
    return rates, quotas


def _silenced_answer(
    events: list[dict[str, Any]],
    silent: list[int],
    verdict: throttle.Verdict,
    limits: throttle.Limits,
    source: str,
) -> Answer:
    rates, quotas = _maps(verdict, "device")
    members = {
        "eps_threshold": limits.threshold,
        "exceeded_daily_quota_devices": quotas,
        "silenced_devices": list(dict.fromkeys(events[i]["device_id"] for i in silent)),
        "silenced_events": silent,
        "throttled_devices": rates,
        "throttled_events": verdict.events,
    }
    why = Reason("silenced", "the project has silenced a device of this upload", f"{source}, Responses")
    return answers.refusal(400, "Events silenced for device_id", members, why)


def _throttled_answer(
    verdict: throttle.Verdict, limits: throttle.Limits, usage: _Usage, now_ms: int, batch: bool
) -> Answer:
    device_rates, device_quotas = _maps(verdict, "device")
    user_rates, user_quotas = _maps(verdict, "user")
    project = _PROJECT in verdict.rates
    members: dict[str, Any] = {
        "eps_threshold": usage.project_eps if project else limits.threshold,
        "throttled_devices": device_rates,
        "throttled_users": user_rates,
    }
    if batch or device_quotas or user_quotas:
        members["exceeded_daily_quota_users"] = user_quotas
        members["exceeded_daily_quota_devices"] = device_quotas
    members["throttled_events"] = verdict.events
    why = []
    for key, rate in verdict.rates.items():
        why.append(_rate_reason(key, rate, verdict, limits, usage, now_ms))
    for key, count in verdict.quotas.items():
        detail = {
            "id": key[1],
            "events_in_24_hours": count,
            "quota": limits.day(key[0]),
            "next_free": clock.iso(verdict.free_ms) if verdict.free_ms else None,
        }
        text = f"{key[0]} {key[1]} is over its daily quota"
        advice = "hold this id's events until the 24-hour sum is below the quota, send the others now"
        why.append(Reason("daily-quota", text, limits.source, detail, advice))
    return answers.throttled(members, why)


def _rate_reason(
    key: throttle.Key,
    rate: int,
    verdict: throttle.Verdict,
    limits: throttle.Limits,
    usage: _Usage,
    now_ms: int,
) -> Reason:
    if key == _PROJECT:
        return Reason(
            "project-rate",
            "the whole project is over its rate",
            "Amplitude docs, SDK troubleshooting and debugging, Limits",
            {"events_per_second": rate, "limit": usage.project_eps},
            "wait 60 s",
        )
    counted = throttle.recent(usage.uses.get(key, ([], [])), now_ms, limits.window_ms)
    detail = {
        "id": key[1],
        "counted_in_window": counted,
        "in_this_request": len(usage.indexes[key]),
        "window_ms": limits.window_ms,
        "threshold_per_second": limits.eps(key[0]),
        "next_free": clock.iso(verdict.free_ms) if verdict.free_ms else None,
    }
    return Reason(
        f"{key[0]}-rate",
        f"{key[0]} {key[1]} is over its rate",
        limits.source,
        detail,
        "hold the named events for 30 s, send the others now",
    )


def _throttle_reasons(events: list[dict[str, Any]], verdict: throttle.Verdict) -> dict[int, str]:
    quota = {key[1] for key in verdict.quotas}
    return {
        index: "daily quota exceeded at Amplitude"
        if events[index].get("device_id") in quota or events[index].get("user_id") in quota
        else "throttled at Amplitude"
        for index in verdict.events
    }


def _note(conn: Connection, reasons: Mapping[int, str], events: list[Any], now_ms: int, *, final: bool) -> None:
    rows = {
        events[index]["insert_id"]: (events[index]["insert_id"], reason, int(final), now_ms)
        for index, reason in reasons.items()
        if isinstance(events[index], dict) and isinstance(events[index].get("insert_id"), str)
    }
    upsert_rows(conn, tables.refusals, ("insert_id", "reason", "final", "at_ms"), list(rows.values()), ("insert_id",))
