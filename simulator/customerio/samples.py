"""Realistic values for the keys of a report: what one pair looks like when nobody says more.

Shapes: Customer.io's OpenAPI document of reporting webhooks; the values are this project's own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import orjson

from simulator.customerio import ids
from simulator.customerio.catalogue import Pair

_NAMES = ("mina.okafor", "jan.berg", "lucia.romero", "tom.hale", "aiko.mori", "femi.ade", "noor.khan", "eva.lund")
FAILURES: Mapping[str, tuple[str, ...]] = {
    "attempted": ("451 4.7.1 greylisted, try again later", "provider timeout"),
    "deferred": ("421 4.3.2 service not available, will retry",),
    "bounced": ("550 5.1.1 user unknown", "552 5.2.2 mailbox full"),
    "dropped": ("suppressed address", "an earlier message bounced"),
    "failed": ("provider rejected the request", "template could not be rendered"),
    "undeliverable": ("message limit reached", "newsletter cancelled", "delivery disabled in this workspace"),
}
PUSH_FAILURES: Mapping[str, tuple[str, ...]] = {
    "attempted": ("NoDevicesSynced",),
    "bounced": ("NotRegistered", "Unregistered"),
    "dropped": ("token bounced earlier",),
}
SUBJECTS = ("Your October statement is ready", "A table for two?", "Your parcel is on its way", "We miss you")


def failure(rng: random.Random, object_type: str, metric: str) -> str:
    """Why a message did not arrive."""
    own = PUSH_FAILURES if object_type == "push" else {}
    return rng.choice(own.get(metric) or FAILURES[metric])


def content(rng: random.Random, object_type: str, name: str) -> str:
    """The text of a message, as Body Content shows it."""
    if object_type == "push":
        return orjson.dumps({"title": rng.choice(SUBJECTS), "body": f"Hi {name}, have a look"}).decode()
    if object_type == "webhook":
        return orjson.dumps({"account": name, "plan": rng.choice(("free", "pro"))}).decode()
    if object_type in ("email", "in_app"):
        return f"<html><body><p>Hi {name}</p><p>{rng.choice(SUBJECTS)}</p></body></html>"
    return f"Hi {name}! {rng.choice(SUBJECTS)}"


def topics(rng: random.Random) -> str:
    """What a preference change says, as JSON text."""
    return orjson.dumps({"topics": {f"topic_{n}": rng.random() < 0.5 for n in (1, 4)}}).decode()


def origin(rng: random.Random, kind: str, now_ms: int) -> dict[str, Any]:
    """The source block of a message without its delivery id; ``kind`` is a name of the catalogue's origins."""
    if kind == "broadcast":
        block: dict[str, Any] = {"trigger_id": 31, "broadcast_id": 12, "action_id": 640}
        return {**block, "journey_id": ids.ulid(rng, now_ms)}
    if kind == "campaign":
        block = {"campaign_id": 58, "action_id": 412, "journey_id": ids.ulid(rng, now_ms)}
        return {**block, "trigger_event_id": ids.ulid(rng, now_ms)}
    if kind == "newsletter":
        return {"newsletter_id": 207, "content_id": rng.choice((2, 3))}
    return {"transactional_message_id": 9}


def token(rng: random.Random, platform: str) -> str:
    """A device token of ``ios`` or ``android``."""
    if platform == "ios":
        return f"{rng.getrandbits(256):064x}"
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
    return f"{''.join(rng.choices(alphabet, k=11))}:APA91b{''.join(rng.choices(alphabet, k=134))}"


def data(rng: random.Random, pair: Pair, now_ms: int) -> dict[str, Any]:
    """The ``data`` of a report of this pair about somebody, with everything that the pair may have."""
    number = rng.randrange(10**5)
    name = rng.choice(_NAMES)
    who = {"id": f"acct_{number:05d}", "email": f"{name}@example.org", "cio_id": f"a3f4{number:08x}"}
    made: dict[str, Any] = {"customer_id": who["id"]}
    if pair.by_message:
        kinds = ("broadcast", "campaign", "newsletter", "transactional")
        kind = rng.choice(kinds if pair.object_type in ("email", "push") else kinds[:3])
        made["delivery_id"] = ids.delivery_id(rng, rng.randbytes(ids.MARK_BYTES), now_ms)
        made |= origin(rng, kind, now_ms)
    made["identifiers"] = who
    for key in (*pair.needs, *pair.may):
        made[key] = _value(rng, pair, key, who, name)
    return made


def _value(rng: random.Random, pair: Pair, key: str, who: Mapping[str, str], name: str) -> Any:
    if key == "recipients":
        platform = rng.choice(("ios", "android"))
        item = {"device_id": token(rng, platform), "device_platform": platform}
        more = {"failure_message": failure(rng, "push", pair.metric)} if "failure_message" in pair.each else {}
        return [{**item, **more}]
    if key == "content":
        preferences = pair.metric == "cio_subscription_preferences_changed"
        return topics(rng) if preferences else content(rng, pair.object_type, name.split(".")[0].title())
    if key == "failure_message":
        return failure(rng, pair.object_type, pair.metric)
    phone = f"+1555{rng.randrange(10**7):07d}"
    plain: Mapping[str, Any] = {
        "email_address": who["email"],
        "recipient": {
            "email": who["email"],
            "in_app": who["id"],
            "slack": "#vip-signups",
            "webhook": "https://hooks.example.org/in",
        }.get(pair.object_type, phone),
        "subject": rng.choice(SUBJECTS),
        "headers": {"X-Team": ["billing"]},
        "href": f"https://example.org/b/{rng.randrange(100)}",
        "link_id": rng.randrange(1, 9),
        "tracked_response": "view_badge",
        "inbound_event_id": ids.ulid(rng, 0),
        "to": "+12025550143",
    }
    return plain[key] if key in plain else rng.random() < 0.2
