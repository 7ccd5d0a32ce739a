"""Whether a message reaches somebody, and on which devices: addresses, tokens, subscription states.

Plain functions over a profile. Source: Braze docs, Email subscriptions; Push token lifecycle; SMS subscription groups;
POST /messages/send (recipient_subscription_state).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.braze.channels import Channel
from simulator.braze.identity import Profile
from simulator.braze.standard import phone

PLATFORMS = ("ios", "android", "kindle", "web", "tvos", "roku")
TRANSACTIONAL = "transactional"
"""In place of a wanted subscription state: nobody's state matters."""

_BAD = {"hard_bounce": "the address has bounced", "spam": "marked as spam", "blocked": "the address is blocked"}
_TAKEN = {
    "all": ("opted_in", "subscribed", "unsubscribed"),
    TRANSACTIONAL: ("opted_in", "subscribed", "unsubscribed"),
    "subscribed": ("opted_in", "subscribed"),
    "opted_in": ("opted_in",),
}


@dataclass(frozen=True)
class Target:
    """Where one message goes: a device for push and in-app messages, or none."""

    device: Mapping[str, Any] | None = None
    token: str | None = None


class Unreachable(Exception):
    """Nothing is sent; the text says why."""


def targets(
    profile: Profile,
    channel: Channel,
    message: Mapping[str, Any],
    wanted: str,
    bad: Mapping[str, str],
    unknown_platform: str,
) -> Sequence[Target]:
    """Where a message goes. Raises Unreachable.

    :param wanted: the subscription state that is asked for, see ``recipient_subscription_state``.
    :param bad: addresses that take no e-mail, with the reason.
    :param unknown_platform: the platform of tokens whose device says none.
    """
    if channel.reach == "email":
        return _email(profile, message, wanted, bad)
    if channel.reach == "push":
        return _push(profile, channel, wanted, unknown_platform)
    if channel.reach == "sms":
        return _sms(profile, message)
    device = newest_device(profile)
    if channel.reach == "app" and device is None:
        raise Unreachable("no device")
    return (Target(device),)


def _email(profile: Profile, message: Mapping[str, Any], wanted: str, bad: Mapping[str, str]) -> Sequence[Target]:
    address = profile.standard.get("email")
    if not address:
        raise Unreachable("no e-mail address")
    if address in bad and not (wanted == TRANSACTIONAL and bad[address] == "spam"):
        raise Unreachable(_BAD[bad[address]])
    if profile.standard.get("email_subscribe", "subscribed") not in _TAKEN[wanted]:
        raise Unreachable("unsubscribed from e-mail")
    _group(profile, message, wanted, default="subscribed")
    return (Target(),)


def _push(profile: Profile, channel: Channel, wanted: str, unknown_platform: str) -> Sequence[Target]:
    if profile.standard.get("push_subscribe", "subscribed") not in _TAKEN[wanted]:
        raise Unreachable("unsubscribed from push")
    devices = {each.get("device_id"): each for each in profile.devices}
    found = []
    for token in profile.tokens:
        device = {**token, **devices.get(token.get("device_id"), {}), "device_id": token.get("device_id")}
        platform = platform_of(device) or unknown_platform
        if token.get("notifications_enabled", True) and platform in channel.platforms:
            found.append(Target({**device, "platform": platform}, token["token"]))
    if not found:
        raise Unreachable("no push token of the platform")
    return found


def _sms(profile: Profile, message: Mapping[str, Any]) -> Sequence[Target]:
    number = profile.standard.get("phone")
    if not number or not phone(number)[1]:
        raise Unreachable("no valid phone number")
    # Nobody is in an SMS group who has not joined it.
    _group(profile, message, "subscribed", default="unsubscribed")
    return (Target(),)


def _group(profile: Profile, message: Mapping[str, Any], wanted: str, *, default: str) -> None:
    group = message.get("subscription_group_id")
    if group and wanted not in ("all", TRANSACTIONAL) and profile.subscriptions.get(group, default) == "unsubscribed":
        raise Unreachable("not in the subscription group")


def newest_device(profile: Profile) -> Mapping[str, Any] | None:
    """The device that the profile was seen on last."""
    return profile.devices[-1] if profile.devices else None


def platform_of(device: Mapping[str, Any]) -> str | None:
    """The platform as Currents names it, None when the device does not tell."""
    text = str(device.get("platform") or device.get("os") or "").lower()
    return next((each for each in PLATFORMS if text.startswith(each)), None)
