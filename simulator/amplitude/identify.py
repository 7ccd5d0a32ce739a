"""`/identify` and `/groupidentify`: form fields in, plain text out; no events.

Source: Amplitude docs, Identify API; Group Identify API. Texts of refusals other than ``missing_event`` are the
legacy ones.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson

from simulator.amplitude import group_types, ingest, storing
from simulator.amplitude.fields import cut, depth
from simulator.amplitude.properties import ORDER
from simulator.amplitude.uploads import min_id_length
from simulator.amplitude.validation import INVALID, MAX_DEPTH, MAX_TEXT, Rules, check
from simulator.exchange import Answer, Call, Reason

IDENTIFY, GROUP_IDENTIFY = "Amplitude docs, Identify API", "Amplitude docs, Group Identify API"
TEXT = "text/html;charset=utf-8"
MAX_GROUP_IDENTIFIES = 1024
MAX_GROUP_PROPERTIES = 1024
GROUP_IDENTIFIES_PER_S = 10_000
"""Of an organisation, which is one project here (Amplitude docs, SDK troubleshooting and debugging, Limits)."""


def text(status: int, words: str, rule: str, why: str, source: str, detail: dict[str, Any] | None = None) -> Answer:
    """A plain-text answer."""
    return Answer(status, words, content_type=TEXT, why=(Reason(rule, why, source, detail or {}),))


def refuse(_request: object, given: Any) -> Answer:
    """The key is missing or unknown."""
    return text(400, "invalid_api_key", "invalid-api-key", "the key is not known in this region", IDENTIFY)


def _too_long(call: Call, source: str) -> Answer | None:
    """The 414 of a request whose URL is too long, as a GET's may get, or the 413 of its body; None for all others."""
    most = int(call.tank.settings["amplitude.http_v2.max_body_bytes"])
    if len(call.request.body) > most:
        detail = {"bytes": len(call.request.body), "limit": most}
        return text(413, "Payload too large", "payload-too-large", "send less at once", source, detail)
    size = len(call.request.path) + 1 + len(urlencode(call.request.query, doseq=True))
    most = int(call.tank.settings["amplitude.max_url_characters"])
    if size <= most:
        return None
    detail = {"characters": size, "limit": most}
    return text(414, "Request-URI Too Long", "url-too-long", "send it as a form by POST", source, detail)


def _given(call: Call) -> list[Any] | None:
    """The ``identification`` as a list, None when it is absent or no JSON object or list."""
    try:
        data = orjson.loads(call.detail.get("identification", ""))
    except orjson.JSONDecodeError:
        return None
    if isinstance(data, dict):
        return [data]
    return data if isinstance(data, list) and data and all(isinstance(each, dict) for each in data) else None


def identify(call: Call) -> Answer:
    """Apply user properties, groups and ids; visible from the next event on."""
    refused = _too_long(call, IDENTIFY)
    if refused is not None:
        return refused
    given = _given(call)
    if given is None:
        return text(400, "missing_event", "missing-identification", "identification is absent or no JSON", IDENTIFY)
    try:
        options = orjson.loads(call.detail.get("options", "{}"))
    except orjson.JSONDecodeError:
        options = {}
    rules = Rules.of(call.tank.settings, "http_v2", min_id_length(options))
    events, problem = check([{**each, "event_type": "$identify"} for each in given], rules)
    facts = [each for each in map(_facts, given) if each is not None]
    if problem is not None or len(facts) < len(given):
        why = f"{INVALID if problem is None else problem.error}: nothing was applied"
        members = {} if problem is None else problem.members
        return text(400, "missing_event", "invalid-identification", why, IDENTIFY, {"events": members})
    events = [{**event, **each} for event, each in zip(events, facts, strict=True)]
    if ingest.throttled(call, events):
        return text(429, "too_many_requests", "throttled", "a device or user is over its rate", IDENTIFY)
    stored = storing.store(call.conn, call.tank, events, "/identify", call.now_ms, call.request.remote_addr)
    return text(200, "success", "identified", "applied", IDENTIFY, {"state_change": stored.shown()})


def _facts(given: dict[str, Any]) -> dict[str, Any] | None:
    """``paying`` (bool) and ``start_version``, which are no user properties; None when one is of a wrong type."""
    found: dict[str, Any] = {}
    paying, version = given.get("paying"), given.get("start_version")
    if paying is not None:
        if str(paying).lower() not in ("true", "false"):
            return None
        found["paying"] = str(paying).lower() == "true"
    if version is not None:
        if not isinstance(version, str):
            return None
        found["start_version"] = version[:MAX_TEXT]
    return found


def group_identify(call: Call) -> Answer:
    """Apply group properties; they show on later events only."""
    refused = _too_long(call, GROUP_IDENTIFY)
    if refused is not None:
        return refused
    given = _given(call)
    if given is None:
        words = "identification is absent or no JSON"
        return text(400, "missing_event", "missing-identification", words, GROUP_IDENTIFY)
    if len(given) > MAX_GROUP_IDENTIFIES:
        return text(400, "too_many_groups", "too-many-groups", "more than 1,024 group identifies", GROUP_IDENTIFY)
    for each in given:
        for name in ("group_type", "group_value"):
            if not isinstance(each.get(name), str) or not each[name]:
                return text(400, f"Missing {name}", "missing-group", f"{name} is no text", GROUP_IDENTIFY)
        properties = each.get("group_properties", {})
        if not isinstance(properties, dict) or depth(properties, MAX_DEPTH) > MAX_DEPTH:
            words = "no object, or one of more than 40 levels"
            return text(400, "Invalid group_properties", "invalid-group", words, GROUP_IDENTIFY)
    if sum(_count(each.get("group_properties", {})) for each in given) > MAX_GROUP_PROPERTIES:
        words = "more than 1,024 group properties"
        return text(400, "too_many_group_properties", "too-many-properties", words, GROUP_IDENTIFY)
    if ingest.over_rate(call, "groupidentify", len(given), GROUP_IDENTIFIES_PER_S, 1000):
        return text(429, "too_many_requests", "throttled", "more than 10,000 group identifies a second", GROUP_IDENTIFY)
    types = group_types.tracked(call.conn, [each["group_type"] for each in given])
    for each in given:
        if each["group_type"] in types:
            group = {each["group_type"]: each["group_value"][:MAX_TEXT]}
            storing.group_properties(call.conn, group, cut(each.get("group_properties", {}), MAX_TEXT, MAX_DEPTH))
    return text(200, "success", "group-identified", "applied", GROUP_IDENTIFY, {"groups": len(given)})


def _count(properties: dict[str, Any]) -> int:
    """How many properties these plain keys or operations name."""
    operations = [properties[name] for name in ORDER if name in properties]
    return sum(len(each) for each in operations if isinstance(each, dict)) if operations else len(properties)
