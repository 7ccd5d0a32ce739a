"""Which sends Braze refuses, and in what words: checks in order, each a row of one table. Plain functions.

Source: Braze docs, POST /messages/send; POST /campaigns/trigger/send; POST /canvas/trigger/send; Recipients object;
Errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator.braze import audiences, channels, dates, track_checks
from simulator.braze.marketing import Marketed
from simulator.braze.track_checks import is_alias

MAX_RECIPIENTS = 50
MAX_PROPERTIES_BYTES = 50_000
MAX_SEND_ID = 64
PROPERTIES = ("trigger_properties", "context", "canvas_entry_properties")
IDENTIFIERS = ("external_user_id", "user_alias", "braze_id", "email")
ORDERS = ("identified", "unidentified", "most_recently_updated", "least_recently_updated")


@dataclass(frozen=True)
class Refused:
    """A check that failed: the refusal's name in the table, and the words it needs."""

    name: str
    words: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """What a body is checked against. ``marketed`` is its campaign or Canvas, if it names one that exists."""

    kind: str
    marketed: Marketed | None
    segment_known: Callable[[object], bool]
    check_messages: bool = True


Body = Mapping[str, Any]

_FOREIGN: Mapping[str, frozenset[str]] = {
    "messages": frozenset({"recipients", "attachments", *PROPERTIES}),
    "campaign": frozenset({"external_user_ids", "user_aliases", "segment_id", "context", "canvas_entry_properties"}),
    "canvas": frozenset({"external_user_ids", "user_aliases", "segment_id", "trigger_properties", "attachments"}),
}
"""Members of the other sends' bodies."""


def own(body: Body, kind: str) -> Body:
    """The body without what only other sends take: like every unknown member, that says nothing here."""
    return {name: value for name, value in body.items() if name not in _FOREIGN[kind]}


Check = Callable[[Body, Given], Refused | None]


def recipients(body: Body) -> list[dict[str, Any]] | None:
    """The recipients that a body names, in the shape of the recipients object; None when it names none."""
    if body.get("recipients"):
        return list(body["recipients"])
    named = [{"external_user_id": each} for each in body.get("external_user_ids") or ()]
    named += [{"user_alias": each} for each in body.get("user_aliases") or ()]
    return named or None


def _id(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))


def _lists(body: Body, _given: Given) -> Refused | None:
    for name in ("recipients", "external_user_ids", "user_aliases"):
        if not isinstance(body.get(name) or [], list):
            return Refused("not_an_array", {"field": name})
    count = sum(len(body.get(name) or ()) for name in ("external_user_ids", "user_aliases"))
    if count > MAX_RECIPIENTS:
        return Refused("max_ids_and_aliases")
    return Refused("max_ids") if len(body.get("recipients") or ()) > MAX_RECIPIENTS else None


def _recipients(body: Body, _given: Given) -> Refused | None:
    for each in body.get("external_user_ids") or ():
        if not _id(each):
            return Refused("bad_entry", {"field": "external_user_ids"})
    for each in body.get("user_aliases") or ():
        if not is_alias(each):
            return Refused("bad_entry", {"field": "user_aliases"})
    for each in body.get("recipients") or ():
        if not isinstance(each, dict) or not _identified(each):
            return Refused("bad_recipients")
        if each.get("send_to_existing_only") is False and ("user_alias" in each or not each.get("attributes")):
            return Refused("creating_recipients")
        found = _recipient_problem(each)
        if found is not None:
            return found
    return None


def _identified(recipient: Mapping[str, Any]) -> bool:
    named = [name for name in IDENTIFIERS if recipient.get(name) is not None]
    if len(named) != 1:
        return False
    value = recipient[named[0]]
    if named[0] == "user_alias":
        return bool(is_alias(value))
    if named[0] == "email":
        orders = recipient.get("prioritization")
        fits = isinstance(orders, list) and bool(orders) and all(isinstance(o, str) and o in ORDERS for o in orders)
        return isinstance(value, str) and value != "" and fits
    return _id(value) if named[0] == "external_user_id" else isinstance(value, str) and value != ""


def _recipient_problem(recipient: Mapping[str, Any]) -> Refused | None:
    found = _properties(recipient, Given("", None, bool))
    if found is not None or recipient.get("attributes") is None:
        return found
    objects = attribute_objects([recipient])
    if not isinstance(recipient["attributes"], dict) or not objects:
        return Refused("recipient_attributes")
    problem = track_checks.problem_of("attributes", objects[0], track_checks.Known())
    return None if problem is None else Refused("recipient_attributes")


def attribute_objects(named: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The attributes of recipients as attribute objects of a track request; only some create people."""
    found = []
    for each in named:
        if isinstance(each.get("attributes"), dict):
            identifier = {"external_id" if name == "external_id" else name: value for name, value in _who(each).items()}
            existing = each.get("send_to_existing_only", True) is not False
            found.append({**each["attributes"], **identifier, "_update_existing_only": existing})
    return found


def _who(recipient: Mapping[str, Any]) -> dict[str, Any]:
    found = audiences.identifier(recipient)
    found.pop("prioritization", None)
    if "external_id" in found:
        found["external_id"] = str(found["external_id"])
    return found


def _whom(body: Body, given: Given) -> Refused | None:
    named, broadcast = recipients(body), body.get("broadcast") is True
    aimed = body.get("segment_id") is not None or body.get("audience") is not None
    if named and broadcast:
        return Refused("broadcast_forbidden")
    if named or broadcast:
        return None
    # /messages/send wants an audience or recipients; the triggers take everybody the campaign is for.
    return Refused("broadcast_needed" if aimed or given.kind != "messages" else "no_recipients")


def _broadcast_needs(body: Body, given: Given) -> Refused | None:
    aimed = body.get("segment_id") is not None or body.get("audience") is not None
    lost = given.kind == "messages" and body.get("broadcast") is True and not aimed
    return Refused("no_recipients") if lost else None


def _audience(body: Body, given: Given) -> Refused | None:
    if body.get("audience") is not None:
        problem = audiences.problem(body["audience"])
        if problem is not None:
            return Refused("invalid_audience", {"problem": problem})
    if given.kind == "messages" and body.get("segment_id") is not None and not given.segment_known(body["segment_id"]):
        return Refused("invalid_segment")
    return None


def _properties(body: Body, _given: Given) -> Refused | None:
    for name in PROPERTIES:
        value = body.get(name)
        if value is not None and not isinstance(value, dict):
            return Refused("not_an_object", {"field": name})
        if value is not None and len(orjson.dumps(value)) > MAX_PROPERTIES_BYTES:
            return Refused("properties_too_large", {"field": name})
    return None


def _attachments(body: Body, _given: Given) -> Refused | None:
    attachments = body.get("attachments")
    if attachments is None:
        return None
    fits = isinstance(attachments, list) and all(
        isinstance(each, dict) and isinstance(each.get("file_name"), str) and isinstance(each.get("url"), str)
        for each in attachments
    )
    return Refused("attachments") if not fits or (attachments and body.get("broadcast") is True) else None


def _state(body: Body, _given: Given) -> Refused | None:
    fits = body.get("recipient_subscription_state", "subscribed") in ("all", "subscribed", "opted_in")
    return None if fits else Refused("recipient_subscription_state")


def fits_send_id(value: object) -> bool:
    """Whether a send id may look like this."""
    return isinstance(value, str) and value.isascii() and 0 < len(value) <= MAX_SEND_ID


def _send_id(body: Body, _given: Given) -> Refused | None:
    return None if body.get("send_id") is None or fits_send_id(body["send_id"]) else Refused("send_id_form")


def _campaign(body: Body, given: Given) -> Refused | None:
    if given.kind == "canvas":
        return None if given.marketed is not None else Refused("canvas_id")
    if given.kind == "messages" and body.get("campaign_id") is None:
        return None
    wanted = "api_messages" if given.kind == "messages" else "api_triggered"
    return None if given.marketed is not None and given.marketed.type == wanted else Refused("invalid_campaign_id")


def messages(body: Body, given: Given) -> Refused | None:
    """What is wrong with a ``messages`` object."""
    if given.kind != "messages" or not given.check_messages:
        return None
    found = body.get("messages")
    if not isinstance(found, dict) or not found or not set(found) <= set(channels.channels()):
        return Refused("no_message")
    for name, message in found.items():
        problem = channels.unfit(channels.channels()[name], message)
        if problem is not None:
            return Refused(problem)
        liquid = channels.liquid_problem(message)
        if liquid is not None:
            return Refused("invalid_liquid", {"problem": liquid})
        if given.marketed is None:
            continue
        variation_id = message.get("message_variation_id")
        if variation_id is None:
            return Refused("variant_unspecified")
        variation = given.marketed.variation(variation_id)
        if variation is None:
            return Refused("invalid_variant")
        if variation["channel"] != name:
            return Refused("mismatched_type")
    return None


OF_ANY_CAMPAIGN: Sequence[Check] = (
    _lists,
    _recipients,
    _whom,
    _broadcast_needs,
    _audience,
    _state,
    _send_id,
    _properties,
    _attachments,
    messages,
)
"""Every check of a send but that of its campaign or Canvas, in order."""


def problem(body: Body, given: Given) -> Refused | None:
    """The first check that a send fails."""
    checks = (_campaign, *OF_ANY_CAMPAIGN)
    return next((found for check in checks if (found := check(body, given)) is not None), None)


def schedule_problem(schedule: object, now_ms: int) -> Refused | None:
    """What is wrong with a ``schedule`` object."""
    if not isinstance(schedule, dict):
        return Refused("not_an_object", {"field": "schedule"})
    time = schedule.get("time")
    at_ms = dates.instant(time) if isinstance(time, str) else None
    if at_ms is None or any(
        not isinstance(schedule.get(name, False), bool) for name in ("in_local_time", "at_optimal_time")
    ):
        return Refused("bad_time")
    return Refused("past_local_time") if schedule.get("in_local_time") and at_ms < now_ms else None
