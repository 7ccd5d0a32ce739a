"""A message for one recipient: the variables its texts may use, and the rendered whole.

Source: Braze docs, Supported personalization tags; Personalized delivery; Canvas entry properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.braze import dates, templates
from simulator.braze.channels import VERBATIM
from simulator.braze.connected_content import Caller
from simulator.braze.identity import Profile
from simulator.braze.reach import newest_device, platform_of

_NAMES = {
    "first_name": "first_name",
    "last_name": "last_name",
    "email_address": "email",
    "phone_number": "phone",
    "city": "home_city",
    "country": "country",
    "gender": "gender",
    "language": "language",
    "time_zone": "time_zone",
    "date_of_birth": "dob",
    "facebook": "facebook",
    "twitter": "twitter",
}
"""Variables of the profile and the standard field each shows."""


def variables(
    profile: Profile, facts: Mapping[str, Any], properties: Mapping[str, Any], device: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Everything that a text may name.

    :param facts: what the message knows of its campaign or Canvas, see ``braze_messages``.
    :param properties: trigger properties, or those of the Canvas entry.
    """
    own = {name: profile.standard.get(field) for name, field in _NAMES.items()}
    groups = {group: state == "subscribed" for group, state in profile.subscriptions.items()}
    return {
        templates.PROFILE: {
            **own,
            "user_id": profile.external_id,
            "braze_id": profile.braze_id,
            "random_bucket_number": profile.random_bucket,
            "last_used_app_date": _moment(profile.stats.get("last_session_ms")),
        },
        "custom_attribute": profile.custom,
        "api_trigger_properties": properties,
        "canvas_entry_properties": properties,
        "context": properties,
        "campaign": _shown(facts, "campaign"),
        "canvas": _shown(facts, "canvas"),
        "targeted_device": _device(device),
        "most_recently_used_device": _device(newest_device(profile)),
        "subscribed_state": {
            "email_global": profile.standard.get("email_subscribe", "subscribed"),
            "push_global": profile.standard.get("push_subscribe", "subscribed"),
            **groups,
        },
    }


def _moment(ms: int | None) -> str | None:
    return None if ms is None else dates.shown(ms)


def _shown(facts: Mapping[str, Any], kind: str) -> dict[str, Any]:
    event = facts["event"]
    found = {"name": event.get(f"{kind}_name"), "api_id": event.get(f"{kind}_id"), "dispatch_id": event["dispatch_id"]}
    if kind == "campaign":
        return {**found, "message_api_id": event.get("message_variation_id"), "message_name": facts.get("part_name")}
    return {
        **found,
        "variant_name": event.get("canvas_variation_name"),
        "variant_api_id": event.get("canvas_variation_id"),
        "step_name": event.get("canvas_step_name"),
    }


def _device(device: Mapping[str, Any] | None) -> dict[str, Any]:
    if device is None:
        return {}
    named = {"id": device.get("device_id"), "platform": platform_of(device), "os": device.get("os_version")}
    return {**named, "model": device.get("device_model") or device.get("model"), "carrier": device.get("carrier")}


def render(message: Any, given: Mapping[str, Any], caller: Caller | None, name: str = "") -> Any:
    """The message with every text rendered, each in a scope of its own. Raises what :func:`templates.render` does."""
    if isinstance(message, str):
        return message if name in VERBATIM else templates.render(message, given, caller)
    if isinstance(message, Mapping):
        return {key: render(value, given, caller, key) for key, value in message.items()}
    if isinstance(message, list):
        return [render(value, given, caller) for value in message]
    return message
