"""Braze's segments and subscription groups over the control API: what a marketer makes in the dashboard."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection

from simulator.braze import email_tables, pending, profile_store, segment_sizes, segments, subscription_groups
from simulator.braze.user_tables import profiles
from simulator.control.desk import NotThere
from simulator.control.frame import Ask, ControlRoute, Refused

_T = "/tanks/<tank_id>/braze"
_S = f"{_T}/segments"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PAGE: dict[str, Any] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100000},
    "after": {"type": "integer", "minimum": 0},
}


def _now(ask: Ask, conn: Connection) -> int:
    """Tank time, with every write applied that is due by then."""
    now_ms = ask.tank.clock.now_ms(conn)
    pending.apply_due(conn, ask.tank, now_ms)
    return now_ms


def _shown(ask: Ask, conn: Connection, segment_id: str, now_ms: int) -> dict[str, Any]:
    row = segments.find(conn, segment_id)
    if row is None:
        raise NotThere("the workspace has no such segment")
    return {**segments.shown(row), "size": segments.size(conn, ask.tank, segment_id, now_ms)}


def _save(ask: Ask, segment_id: str | None) -> dict[str, Any]:
    with ask.tank.store.write() as conn:
        now_ms = _now(ask, conn)
        try:
            made = segments.make(conn, ask.tank, ask.body, now_ms, segment_id)
        except segments.Invalid as error:
            where, _, what = str(error).partition(": ")
            mend = "docs/braze.md shows what a definition is made of"
            raise Refused(what or where, f"body.{where}", mend) from error
        if ask.body.get("analytics_tracking_enabled", True):
            segment_sizes.follow(conn, now_ms)
        return _shown(ask, conn, made, now_ms)


def make(ask: Ask) -> tuple[int, Any]:
    return 201, _save(ask, None)


def put(ask: Ask) -> tuple[int, Any]:
    """Edit a segment, or make it under an id of the caller's own."""
    segment_id = ask.path["segment_id"]
    if not _UUID.fullmatch(segment_id):
        raise Refused(f"{segment_id!r} is no segment id", "path.segment_id", "give a UUID in lower case")
    return 200, _save(ask, segment_id)


def listed(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"segments": [segments.shown(each) for each in segments.listed(conn)]}


def show(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        return 200, _shown(ask, conn, ask.path["segment_id"], _now(ask, conn))


def members(ask: Ask) -> tuple[int, Any]:
    """Members after the number ``after``, in order."""
    after, limit = ask.query.get("after", 0), ask.query.get("limit", 1000)
    with ask.tank.store.write() as conn:
        now_ms = _now(ask, conn)
        segment = _shown(ask, conn, ask.path["segment_id"], now_ms)
        query = segments.members(conn, ask.tank, segment["segment_id"], now_ms)
        rows = conn.execute(query.where(profiles.c.uid > after).limit(limit)).all()
        found = profile_store.by_uid(conn, [row[0] for row in rows])
    shown = [{"uid": each.uid, "braze_id": each.braze_id, "external_id": each.external_id} for each in found]
    return 200, {"size": segment["size"], "members": shown}


def remove(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        if not segments.remove(conn, ask.path["segment_id"]):
            raise NotThere("the workspace has no such segment")
    return 204, None


def make_group(ask: Ask) -> tuple[int, Any]:
    """Make a subscription group, or rename the one of ``id``."""
    with ask.tank.store.write() as conn:
        body = ask.body
        return 201, subscription_groups.make(conn, ask.tank, body["name"], body["channel"], body.get("id"))


def groups(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"subscription_groups": list(subscription_groups.listed(conn).values())}


def mark_emails(ask: Ask) -> tuple[int, Any]:
    """Let addresses have bounced for good, or reported spam, as mail providers tell Braze."""
    with ask.tank.store.write() as conn:
        email_tables.mark(conn, ask.body["kind"], ask.body["emails"], ask.tank.clock.now_ms(conn))
    return 200, ask.body


ROUTES = (
    ControlRoute("GET", _S, "segments", listed, {200: "segments"}),
    ControlRoute("POST", _S, "make a segment", make, {201: "segment"}, "braze_segment"),
    ControlRoute("GET", f"{_S}/<segment_id>", "a segment and its size", show, {200: "segment"}),
    ControlRoute("PUT", f"{_S}/<segment_id>", "edit a segment", put, {200: "segment"}, "braze_segment"),
    ControlRoute("DELETE", f"{_S}/<segment_id>", "delete a segment", remove, {204: "gone"}),
    ControlRoute("GET", f"{_S}/<segment_id>/members", "who is in a segment", members, {200: "members"}, query=_PAGE),
    ControlRoute("GET", f"{_T}/subscription-groups", "subscription groups", groups, {200: "groups"}),
    ControlRoute(
        "POST",
        f"{_T}/subscription-groups",
        "make a subscription group",
        make_group,
        {201: "group"},
        "braze_subscription_group",
    ),
    ControlRoute("POST", f"{_T}/email-marks", "let addresses bounce", mark_emails, {200: "marks"}, "braze_email_mark"),
)
