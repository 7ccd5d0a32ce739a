"""`POST /users/export/ids`: profiles as they are after every applied write.

Source: Braze docs, Export user profile by identifier; date texts and statuses from public recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simulator.braze import dates, identity, profile_store, received
from simulator.braze.identity import Profile
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body
from simulator.exchange import Answer, Call, Reason

SOURCE = "Braze docs, Export user profile by identifier"
MAX_IDS = 50
RECENT_MS = 90 * 86_400_000
"""Custom events and purchases are exported for the last 90 days."""


def tallies(found: Mapping[str, identity.Tally], since_ms: int = 0) -> list[dict[str, Any]]:
    """Counts by name in the shape of exports."""
    return [
        {"name": name, "first": dates.shown(first), "last": dates.shown(last), "count": count}
        for name, (first, last, count) in found.items()
        if last >= since_ms
    ]


def _standard(name: str) -> Callable[[Profile, int], Any]:
    return lambda profile, _now_ms: profile.standard.get(name)


def _coordinates(profile: Profile, _now_ms: int) -> Any:
    place = profile.standard.get("current_location")
    return None if place is None else [place["longitude"], place["latitude"]]


def _aliases(profile: Profile, _now_ms: int) -> Any:
    return [{"alias_name": name, "alias_label": label} for label, name in profile.aliases.items()]


def _apps(profile: Profile, _now_ms: int) -> Any:
    return [
        {
            "name": name,
            **{each: app[each] for each in ("platform", "version") if app.get(each) is not None},
            "sessions": app["sessions"],
            "first_used": dates.shown(app["first_ms"]),
            "last_used": dates.shown(app["last_ms"]),
        }
        for name, app in profile.apps.items()
    ]


_DEVICE: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "device_model"),
    "os": ("os", "os_version"),
    **{each: (each,) for each in ("carrier", "idfv", "idfa", "device_id", "google_ad_id", "roku_ad_id")},
    "ad_tracking_enabled": ("ad_tracking_enabled",),
}
"""Members of an exported device, and what a device may call them itself."""


def _devices(profile: Profile, _now_ms: int) -> Any:
    return [
        {
            name: next(each[one] for one in told if each.get(one) is not None)
            for name, told in _DEVICE.items()
            if any(each.get(one) is not None for one in told)
        }
        for each in profile.devices
    ]


def _tokens(profile: Profile, _now_ms: int) -> Any:
    return [
        {
            "app": each.get("app_id"),
            "platform": each.get("platform"),
            "token": each["token"],
            "device_id": each.get("device_id"),
            "notifications_enabled": each.get("notifications_enabled", True),
            "provisionally_opted_in": each.get("provisionally_opted_in"),
        }
        for each in profile.tokens
    ]


_FIELDS: Mapping[str, Callable[[Profile, int], Any]] = {
    "apps": lambda p, now_ms: _apps(p, now_ms) or None,
    "attributed_campaign": lambda p, _: p.stats.get("attributed_campaign"),
    "attributed_source": lambda p, _: p.stats.get("attributed_source"),
    "attributed_adgroup": lambda p, _: p.stats.get("attributed_adgroup"),
    "attributed_ad": lambda p, _: p.stats.get("attributed_ad"),
    "braze_id": lambda p, _: p.braze_id,
    "country": _standard("country"),
    "created_at": lambda p, _: dates.shown(p.created_ms),
    "custom_attributes": lambda p, _: p.custom or None,
    "custom_events": lambda p, now_ms: tallies(p.events, now_ms - RECENT_MS) or None,
    "devices": lambda p, now_ms: _devices(p, now_ms) or None,
    "dob": _standard("dob"),
    "email": _standard("email"),
    "email_subscribe": _standard("email_subscribe"),
    "external_id": lambda p, _: p.external_id,
    "first_name": _standard("first_name"),
    "gender": _standard("gender"),
    "home_city": _standard("home_city"),
    "language": _standard("language"),
    "last_coordinates": _coordinates,
    "last_name": _standard("last_name"),
    "phone": _standard("phone"),
    "purchases": lambda p, now_ms: tallies(p.purchases, now_ms - RECENT_MS) or None,
    "push_subscribe": _standard("push_subscribe"),
    "push_tokens": lambda p, now_ms: _tokens(p, now_ms) or None,
    "random_bucket": lambda p, _: p.random_bucket,
    "time_zone": _standard("time_zone"),
    "total_revenue": lambda p, _: round(float(p.stats.get("revenue", 0)), 2),
    "uninstalled_at": lambda p, _: p.stats.get("uninstalled_at"),
    "user_aliases": _aliases,
}
"""The fields of ``fields_to_export`` that a profile holds; one without a value is left out."""
_ALL = tuple(sorted({*_FIELDS, *received.FIELDS}))


_SINGLE = {"device_id": "device", "braze_id": "braze_id", "email_address": "email", "phone": "phone"}
"""Members that name one value each, and what it finds."""


def exported(profile: Profile, fields: list[str] | None, now_ms: int, history: received.Found) -> dict[str, Any]:
    """A profile in the shape of exports; ``fields`` None is all of them. Unknown fields are passed over.

    :param history: what the person has received, see :func:`received.of`.
    """
    wanted = _ALL if fields is None else [each for each in fields if isinstance(each, str) and each in _ALL]
    shown: dict[str, Any] = {}
    for name in wanted:
        value = history.get(name) if name in received.FIELDS else _FIELDS[name](profile, now_ms)
        if value is not None:
            shown[name] = value
    if fields is None:
        shown["appboy_id"] = profile.braze_id  # the old name of braze_id, in recordings of full exports
    return shown


def ids(call: Call, body: Body) -> Answer:
    """`POST /users/export/ids`. Unknown external ids, and only those, are named in ``invalid_user_ids``."""
    fields = body.get("fields_to_export")
    if not isinstance(fields, list) and (fields is not None or call.tank.settings["braze.export_needs_fields"]):
        return refuse("export_fields")
    external_ids, aliases = body.get("external_ids", []), body.get("user_aliases", [])
    if not isinstance(external_ids, list) or not isinstance(aliases, list):
        return refuse("bad_entry", field="external_ids" if not isinstance(external_ids, list) else "user_aliases")
    if len(external_ids) + len(aliases) > MAX_IDS:
        return refuse("max_ids_and_aliases")
    if not all(isinstance(each, str | int) and not isinstance(each, bool) for each in external_ids):
        return refuse("bad_entry", field="external_ids")
    asked = [("external_id", str(each)) for each in external_ids]
    for each in aliases:
        if not isinstance(each, dict) or not isinstance(each.get("alias_name"), str):
            return refuse("bad_entry", field="user_aliases")
        asked.append(("alias", identity.alias_text(each["alias_name"], str(each.get("alias_label")))))
    asked += [(kind, body[name]) for name, kind in _SINGLE.items() if isinstance(body.get(name), str)]
    if not asked:
        return refuse("export_no_ids")
    people = profile_store.load(call.conn, call.tank, set(asked), call.now_ms)
    found: dict[int, Profile] = {}
    invalid = []
    for kind, value in asked:
        matches = people.all(kind, value)
        if kind == "external_id":
            one = people.one(kind, value)
            matches = [] if one is None else [one]
        if not matches and kind == "external_id":
            invalid.append(value)
        found.update((each.uid, each) for each in matches)
    history = received.of(call.conn, found, _ALL if fields is None else fields)
    users = [exported(each, fields, call.now_ms, history.get(uid, {})) for uid, each in found.items()]
    why = Reason("exported", "the applied state", SOURCE, {"found": len(users), "unknown": len(invalid)})
    more = {"invalid_user_ids": invalid} if invalid else {}
    return Answer(201, {"users": users, **more, "message": "success"}, why=(why,))
