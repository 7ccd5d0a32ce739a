"""`POST /users/track`, `/users/track/bulk` and `/users/track/sync`: check, answer, queue the writes.

Source: Braze docs, POST /users/track; /users/track/bulk; /users/track/sync; API limits.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from simulator.braze import (
    applying,
    exporting,
    identity,
    pending,
    profile_store,
    rate_limits,
    subscription_groups,
    track_checks,
    writes,
)
from simulator.braze.refusals import refuse
from simulator.braze.track_checks import ARRAYS, Checked, Known
from simulator.braze.transport import Body
from simulator.exchange import Answer, Call, Reason

BULK_OBJECTS = 1000
BULK_PER_PROFILE = 100
SOURCE = "Braze docs, POST /users/track"


def track(call: Call, body: Body) -> Answer:
    """Up to so many objects, as the plan says."""
    plan = rate_limits.plans()[call.tank.settings["braze.plan"]]
    counts = {array: len(body[array]) for array in ARRAYS if isinstance(body.get(array), list)}
    most = plan.most_combined
    if most is not None and sum(counts.values()) > most:
        return refuse("too_many_objects", detail={"objects": sum(counts.values()), "limit": most})
    if plan.most_each is not None and any(n > plan.most_each for n in counts.values()):
        return refuse("too_many_objects", detail={"objects": counts, "limit_each": plan.most_each})
    return _accept(call, body)


def bulk(call: Call, body: Body) -> Answer:
    """Up to 1,000 objects, no more than 100 of them for one profile."""
    objects = [each for array in ARRAYS if isinstance(body.get(array), list) for each in body[array]]
    per_profile = Counter(_who(each) for each in objects if isinstance(each, dict))
    fullest = max(per_profile.values(), default=0)
    if len(objects) > BULK_OBJECTS or fullest > BULK_PER_PROFILE:
        return refuse("too_many_objects", detail={"objects": len(objects), "of_one_profile": fullest})
    return _accept(call, body)


def _who(given: dict[str, Any]) -> bytes:
    names_ = (*track_checks.PRIMARY, "email", "phone")
    return next((orjson.dumps([name, given[name]]) for name in names_ if given.get(name) is not None), b"")


def sync(call: Call, body: Body) -> Answer:
    """Exactly one object; the answer shows the profile after the write."""
    if sum(len(body[array]) for array in ARRAYS if isinstance(body.get(array), list)) > 1:
        return refuse("one_object_only")
    checked = _check(call, body)
    if not checked.accepted:
        return refuse("no_valid_data", more={"errors": checked.errors} if checked.errors else None)
    objects = _objects(checked)
    people, effects = writes.track_people(call.conn, call.tank, objects, call.now_ms, call.now_ms)
    given = objects[0][1]
    profile = identity.resolve(people, given)
    users = [] if profile is None else [{**_identifiers(given), **_sync_shown(profile)}]
    points = sum(effects.points.values())
    n = pending.note(call.conn, "track", points, call.now_ms)
    why = Reason("applied", "the write is applied", SOURCE, {"write": n, "data_points": points})
    return Answer(201, {"users": users, "message": "success"}, why=(why,))


def _identifiers(given: dict[str, Any]) -> dict[str, Any]:
    kinds = (*track_checks.PRIMARY, "email", "phone")
    return {name: given[name] for name in kinds if given.get(name) is not None}


def _sync_shown(profile: identity.Profile) -> dict[str, Any]:
    events = [{"name": each.pop("name"), **each} for each in exporting.tallies(profile.events)]
    purchases = [{"product_id": each.pop("name"), **each} for each in exporting.tallies(profile.purchases)]
    return {"custom_attributes": profile.custom, "custom_events": events, "purchase_events": purchases}


def _check(call: Call, body: Body) -> Checked:
    blocked = frozenset(name for kind, name in profile_store.special_names(call.conn)[0] if kind == "external_id")
    settings = call.tank.settings
    apps = frozenset([call.tank.credential("braze_app_id")] if settings["braze.check_app_ids"] else [])
    groups = subscription_groups.known(call.conn, call.tank)
    known = Known(blocked, apps, groups, settings["braze.error_tokens"])
    return track_checks.check(body, known)


def _objects(checked: Checked) -> list[tuple[str, dict[str, Any]]]:
    return [(array, applying.normalized(given)) for array, given in checked.accepted]


def _accept(call: Call, body: Body) -> Answer:
    """201 with what is processed and what is refused; 400 when every object is refused or there is none."""
    checked = _check(call, body)
    errors = {"errors": checked.errors} if checked.errors else {}
    if not checked.accepted:
        return refuse("no_valid_data", more=errors)
    n = pending.put(call.conn, call.tank, "track", _objects(checked), call.now_ms)
    why = Reason("accepted", "the writes are queued", SOURCE, {"write": n, "refused_objects": len(checked.errors)})
    return Answer(201, {**checked.processed(), **errors, "message": "success"}, why=(why,))
