"""`GET /v1/userprofile`: what is known of one person, for messages that are rendered elsewhere.

Source: Amplitude docs, User Profile API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from simulator.amplitude import (
    cohort_computing,
    cohort_syncs,
    computations,
    ingest,
    models,
    predictions,
    recommendations,
    rows,
    storing,
    tables,
)
from simulator.amplitude.people import canonical, day_of, stored_properties
from simulator.exchange import Answer, Call, Reason

SOURCE = "Amplitude docs, User Profile API"
QUERY = (
    "user_id", "device_id", "get_recs", "rec_id", "rec_type", "get_amp_props", "get_cohort_ids", "get_computations",
    "comp_id", "get_propensity", "prediction_id", "propensity_type",
)  # fmt: skip
RECOMMENDED = "[Recs] Recommendation Event"
PER_MINUTE = 600


def no_key(request: Any, _detail: object) -> Answer:
    """The refusals of a missing and of a wrong secret."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    words = "Invalid Api-Key" if scheme == "Api-Key" and secret else "Missing Api-Key in Authorization header"
    return Answer(401, words, content_type="text/html; charset=utf-8", why=(Reason("invalid-secret", words, SOURCE),))


def profile(call: Call) -> Answer:
    """What is known of one person; members that were not asked for are null."""
    given = call.detail
    if ingest.over_rate(call, "userprofile", 1, PER_MINUTE, 60_000):
        words = "Number of requests per minute exceeds system limit. Contact Support if you need this limit raised"
        return Answer(429, {"error": words}, why=(Reason("profile-rate", "more than 600 a minute", SOURCE),))
    problem = _problem(given)
    if problem is not None:
        return Answer(400, {"error": problem}, why=(Reason("bad-request", problem, SOURCE),))
    conn = call.conn
    person, user_id, device_id = _person(conn, given.get("user_id"), given.get("device_id"))
    if person is None:
        status = int(call.tank.settings["amplitude.profile_unknown_status"])
        why = Reason("not-seen", "the project has no event of this person", SOURCE)
        return Answer(status, {"error": "User id and device id not seen before"}, why=(why,))
    data: dict[str, Any] = {
        "recommendations": _recommendations(call, person, device_id),
        "user_id": user_id,
        "device_id": device_id,
        "amp_props": _properties(call, person),
        "cohort_ids": _cohort_ids(call, person),
    }
    if "get_propensity" in given:
        found = predictions.propensities(
            conn, person, _list(given, "prediction_id"), given.get("propensity_type", "score"), call.now_ms
        )
        data["propensity"] = found[0]["prop"] if len(found) == 1 else None
        data["propensities"] = found
    return Answer(200, {"userData": data})


def _asked(given: Mapping[str, str], name: str) -> bool:
    return given.get(name, "").lower() == "true"


def _list(given: Mapping[str, str], name: str) -> list[str]:
    return list(dict.fromkeys(each.strip() for each in given.get(name, "").split(",") if each.strip()))


def _problem(given: Mapping[str, str]) -> str | None:
    if not given.get("user_id") and not given.get("device_id"):
        return "User id or device id is required"
    if _asked(given, "get_recs") and not _list(given, "rec_id"):
        return "rec_id is required with get_recs"
    if given.get("rec_type", "model") not in recommendations.TYPES:
        return f"rec_type is one of {', '.join(recommendations.TYPES)}"
    if "get_propensity" in given and not _list(given, "prediction_id"):
        return "prediction_id is required with get_propensity"
    if given.get("propensity_type", "score") not in predictions.TYPES:
        return f"propensity_type is one of {', '.join(predictions.TYPES)}"
    return None


def _person(conn: Connection, user_id: str | None, device_id: str | None) -> tuple[int | None, str | None, str | None]:
    users, devices = tables.users, tables.devices
    if user_id:
        found = conn.execute(select(users.c.amplitude_id).where(users.c.user_id == user_id)).scalar()
        if found is not None:
            return found, user_id, device_id
    if device_id:
        row = conn.execute(select(devices).where(devices.c.device_id == device_id)).first()
        if row is not None:
            owner = row.user_amplitude_id if row.user_amplitude_id is not None else row.own_id
            name = conn.execute(select(users.c.user_id).where(users.c.amplitude_id == owner)).scalar()
            return owner, name or user_id, device_id
    return None, None, None


def _recommendations(call: Call, person: int, device_id: str | None) -> list[dict[str, Any]] | None:
    given = call.detail
    if not _asked(given, "get_recs"):
        return None
    found = recommendations.entries(call.conn, call.tank, person, _list(given, "rec_id"), given.get("rec_type"))
    if call.tank.settings["amplitude.log_recommendations"]:
        names = select(tables.users.c.user_id).where(tables.users.c.amplitude_id == person)
        known_name = call.conn.execute(names).scalar()
        who = {"user_id": known_name, "device_id": None if known_name else device_id}
        events = [
            {
                "event_type": RECOMMENDED,
                **{name: value for name, value in who.items() if value},
                "event_properties": {name: each[name] for name in ("rec_id", "is_control", "items")},
            }
            for each in found
        ]
        storing.store(call.conn, call.tank, events, "/v1/userprofile", call.now_ms, call.request.remote_addr)
    return found or None


def _properties(call: Call, person: int) -> dict[str, Any] | None:
    """User properties and computations: each only where asked for, null where neither is."""
    given, conn = call.detail, call.conn
    known = models.listed(conn, "computations")
    every = _asked(given, "get_computations")
    asked = list(known) if every else _list(given, "comp_id")
    found: dict[str, Any] = _amp_props(conn, person) if _asked(given, "get_amp_props") else {}
    for each in asked:
        if each not in known:
            found[each] = None
        else:
            values = computations.values(conn, known[each], call.now_ms, [person])
            found[known[each]["name"]] = values.get(person)
    return found if asked or every or _asked(given, "get_amp_props") else None


def _amp_props(conn: Connection, person: int) -> dict[str, Any]:
    table = tables.events
    _, merged = canonical(conn, person)
    mine = table.c.amplitude_id.in_([person, *merged])
    first, last = conn.execute(select(func.min(table.c.time_ms), func.max(table.c.time_ms)).where(mine)).one()
    newest = conn.execute(rows.query().where(mine).order_by(table.c.n.desc()).limit(1)).first()
    built_in: dict[str, Any] = {}
    if newest is not None:
        built_in = {
            "library": rows.exported(newest, 0)["library"],
            "first_used": day_of(first),
            "last_used": day_of(last),
        }
    return {**built_in, **stored_properties(conn, person)}


def _cohort_ids(call: Call, person: int) -> list[str] | None:
    """The cohorts a person is in, of those that are synced to this API: none by default."""
    if not _asked(call.detail, "get_cohort_ids"):
        return None
    synced = cohort_syncs.cohorts_of(call.conn, "profile_api")
    for each in synced:
        cohort_computing.refresh(call.conn, call.tank, each, call.now_ms)
    return cohort_computing.of_person(call.conn, person, synced)
