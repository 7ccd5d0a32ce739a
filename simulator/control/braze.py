"""The simulated Braze over the control API: who it knows, what that cost, its keys, and what devices do."""

from __future__ import annotations

from typing import Any

from simulator.braze import cohort_membership, data_points, identity, pending, permissions, profile_store, sdk
from simulator.control import braze_messaging
from simulator.control.desk import NotThere
from simulator.control.frame import Ask, ControlRoute

_T = "/tanks/<tank_id>/braze"
_TEXT = {"type": "string", "minLength": 1, "maxLength": 1024}
_PAGE: dict[str, Any] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
    "after": {"type": "integer", "minimum": 0},
}
_FINDERS = {"external_id": _TEXT, "braze_id": _TEXT, "email": _TEXT, "phone": _TEXT, "device_id": _TEXT}


def users(ask: Ask) -> tuple[int, Any]:
    """Living profiles in order of creation, or those of one identifier, after every write that is due."""
    query = dict(ask.query)
    after, limit = query.pop("after", 0), query.pop("limit", 1000)
    with ask.tank.store.write() as conn:
        pending.apply_due(conn, ask.tank, ask.tank.clock.now_ms(conn))
        if query:
            kinds = [("device" if name == "device_id" else name, value) for name, value in query.items()]
            sets = [{each.uid: each for each in profile_store.find(conn, kind, value)} for kind, value in kinds]
            found = [each for uid, each in sets[0].items() if all(uid in others for others in sets)]
        else:
            found = profile_store.page_after(conn, after, limit)
        points = data_points.of(conn, [each.uid for each in found])
        count = profile_store.count(conn)
    shown = [{**profile_store.shown(each), "data_points": points.get(each.uid, 0)} for each in found]
    return 200, {"count": count, "users": shown}


def points(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        pending.apply_due(conn, ask.tank, ask.tank.clock.now_ms(conn))
        return 200, data_points.read(conn, **ask.query)


def writes(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        pending.apply_due(conn, ask.tank, ask.tank.clock.now_ms(conn))
        return 200, {"writes": pending.listed(conn, **ask.query)}


def cohorts(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        pending.apply_due(conn, ask.tank, ask.tank.clock.now_ms(conn))
        return 200, {"cohorts": cohort_membership.listed(conn)}


def members(ask: Ask) -> tuple[int, Any]:
    """Members by Braze id and external id."""
    after, limit = ask.query.get("after", 0), ask.query.get("limit", 1000)
    with ask.tank.store.write() as conn:
        pending.apply_due(conn, ask.tank, ask.tank.clock.now_ms(conn))
        uids = cohort_membership.member_uids(conn, ask.path["partner"], ask.path["cohort_id"])
        page = [uid for uid in uids if uid > after][:limit]
        found = profile_store.by_uid(conn, page)
    shown = [{"uid": each.uid, "braze_id": each.braze_id, "external_id": each.external_id} for each in found]
    return 200, {"size": len(uids), "members": shown}


def make_key(ask: Ask) -> tuple[int, Any]:
    return 201, permissions.make(ask.tank, **ask.body)


def keys(ask: Ask) -> tuple[int, Any]:
    return 200, {"keys": permissions.listed(ask.tank), "permissions": permissions.all_permissions()}


def revoke_key(ask: Ask) -> tuple[int, Any]:
    if not permissions.revoke(ask.tank, ask.path["value"]):
        raise NotThere("the workspace has no such key")
    return 200, {"value": ask.path["value"], "status": "revoked"}


def act(ask: Ask) -> tuple[int, Any]:
    """Let devices do things, in order; answers the profile that each is on afterwards."""
    tank = ask.tank
    with tank.store.write() as conn:
        now_ms = tank.clock.now_ms(conn)
        pending.apply_due(conn, tank, now_ms)
        done = [sdk.act(conn, tank, action, now_ms) for action in ask.body["actions"]]
        shown = [{"braze_id": each.braze_id, "external_id": each.external_id} for each in done]
    return 200, {"users": shown}


def change_names(ask: Ask) -> tuple[int, Any]:
    """Blocklists and forced types of custom data, as the dashboard sets them."""
    with ask.tank.store.write() as conn:
        profile_store.set_names(conn, ask.body["names"])
        return 200, {"names": profile_store.listed_names(conn)}


def listed_names(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"names": profile_store.listed_names(conn)}


def alias(ask: Ask) -> tuple[int, Any]:
    """The profile of an alias."""
    with ask.tank.store.write() as conn:
        pending.apply_due(conn, ask.tank, ask.tank.clock.now_ms(conn))
        found = profile_store.find(conn, "alias", identity.alias_text(ask.path["name"], ask.path["label"]))
    if not found:
        raise NotThere("nobody has this alias")
    return 200, profile_store.shown(found[0])


ROUTES = (
    ControlRoute("GET", f"{_T}/users", "profiles Braze holds", users, {200: "profiles"}, query={**_PAGE, **_FINDERS}),
    ControlRoute("GET", f"{_T}/aliases/<label>/<name>", "the profile of an alias", alias, {200: "profile"}),
    ControlRoute("GET", f"{_T}/data-points", "what writes cost", points, {200: "data points"}, query=_PAGE),
    ControlRoute("GET", f"{_T}/writes", "accepted writes and their cost", writes, {200: "writes"}, query=_PAGE),
    ControlRoute("GET", f"{_T}/cohorts", "imported cohorts", cohorts, {200: "cohorts"}),
    ControlRoute(
        "GET",
        f"{_T}/cohorts/<partner>/<cohort_id>",
        "members of an imported cohort",
        members,
        {200: "members"},
        query=_PAGE,
    ),
    ControlRoute("GET", f"{_T}/keys", "further keys of the workspace", keys, {200: "keys"}),
    ControlRoute("POST", f"{_T}/keys", "make a REST or data import key", make_key, {201: "key"}, "braze_key"),
    ControlRoute("DELETE", f"{_T}/keys/<value>", "invalidate a key", revoke_key, {200: "key"}),
    ControlRoute("POST", f"{_T}/sdk", "let devices do things", act, {200: "users"}, "braze_sdk"),
    ControlRoute("GET", f"{_T}/names", "names of custom data", listed_names, {200: "names"}),
    ControlRoute("PUT", f"{_T}/names", "block names, force types", change_names, {200: "names"}, "braze_names"),
    *braze_messaging.ROUTES,
)
