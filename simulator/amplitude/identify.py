"""`/identify` and `/groupidentify`: form fields in, plain text out; no events.

Source: Amplitude docs, Identify API; Group Identify API. Texts of refusals other than ``missing_event`` are the
legacy ones.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson

from simulator.amplitude import ingest, storing
from simulator.amplitude.uploads import min_id_length
from simulator.amplitude.validation import Rules, check
from simulator.exchange import Answer, Call, Reason

IDENTIFY, GROUP_IDENTIFY = "Amplitude docs, Identify API", "Amplitude docs, Group Identify API"
TEXT = "text/html;charset=utf-8"
MAX_GROUP_IDENTIFIES = 1024


def text(status: int, words: str, rule: str, why: str, source: str, detail: dict[str, Any] | None = None) -> Answer:
    """A plain-text answer."""
    return Answer(status, words, content_type=TEXT, why=(Reason(rule, why, source, detail or {}),))


def refuse(_request: object, given: Any) -> Answer:
    """The key is missing or unknown."""
    return text(400, "invalid_api_key", "invalid-api-key", "the key is not known in this region", IDENTIFY)


def _too_long(call: Call) -> Answer | None:
    """The 414 of a request whose URL is too long, as a GET's may get; None for all others."""
    size = len(call.request.path) + 1 + len(urlencode(call.request.query, doseq=True))
    most = int(call.tank.settings["amplitude.max_url_characters"])
    if size <= most:
        return None
    detail = {"characters": size, "limit": most}
    return text(414, "Request-URI Too Long", "url-too-long", "send it as a form by POST", IDENTIFY, detail)


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
    refused = _too_long(call)
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
    wanted = [{**each, "event_type": "$identify", **_paying(each)} for each in given]
    events, problem = check(wanted, rules)
    if problem is not None:
        why = f"{problem.error}: nothing was applied"
        return text(400, "missing_event", "invalid-identification", why, IDENTIFY, {"events": problem.members})
    if ingest.throttled(call, events):
        return text(429, "too_many_requests", "throttled", "a device or user is over its rate", IDENTIFY)
    stored = storing.store(call.conn, call.tank, events, "/identify", call.now_ms, call.request.remote_addr)
    return text(200, "success", "identified", "applied", IDENTIFY, {"state_change": stored.shown()})


def _paying(given: dict[str, Any]) -> dict[str, Any]:
    """``paying`` and ``start_version`` are members of their own here and user properties everywhere else."""
    own = {name: given[name] for name in ("paying", "start_version") if given.get(name) is not None}
    if not own:
        return {}
    properties = given.get("user_properties") or {}
    if not isinstance(properties, dict):
        return {}  # left as it is, for the checks to refuse
    if not any(name.startswith("$") for name in properties):
        return {"user_properties": {**own, **properties}}
    assigned = properties.get("$set") or {}
    return {"user_properties": {**properties, "$set": {**own, **assigned}}} if isinstance(assigned, dict) else {}


def group_identify(call: Call) -> Answer:
    """Apply group properties; they show on later events only."""
    refused = _too_long(call)
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
        if not isinstance(each.get("group_properties", {}), dict):
            return text(400, "Invalid group_properties", "invalid-group", "no object", GROUP_IDENTIFY)
    for each in given:
        storing.group_properties(call.conn, {each["group_type"]: each["group_value"]}, each.get("group_properties", {}))
    return text(200, "success", "group-identified", "applied", GROUP_IDENTIFY, {"groups": len(given)})
