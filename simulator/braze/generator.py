"""Realistic Currents events in causal chains, fixed by a random source.

People start anonymous on a device, sign up, and some get a second device; a send precedes delivery, opens, clicks
and conversions. Nothing lies in the future, and a cause never comes after its effect.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import yaml
from faker import Faker

from simulator.braze.catalogue import event_types

_CONVERSIONS = ("Starts Session", "Makes Purchase", "Performs Custom Event", "Upgrades App")


@cache
def _faker() -> Faker:
    return Faker("en_US")


@cache
def journeys() -> Mapping[str, Any]:
    """The chains: per journey a weight and a tree of steps."""
    loaded: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("journeys.yaml").read_text("utf-8"))
    return loaded


def uuid_text(rng: random.Random) -> str:
    """A version 4 UUID from the random source."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) % 4]}{digits[17:20]}-{digits[20:]}"


def hex_text(rng: random.Random, digits: int = 24) -> str:
    return f"{rng.getrandbits(digits * 4):0{digits}x}"


@dataclass
class Person:
    """A generated user and what of it the app knows so far."""

    braze_id: str
    external_id: str
    devices: list[dict[str, str]]
    email: str
    phone: str
    timezone: str
    latitude: float
    longitude: float
    signed_up: bool = False


def make_person(rng: random.Random) -> Person:
    """A person, anonymous on a first device."""
    fake = _faker()
    fake.seed_instance(rng.getrandbits(32))
    devices = [_device(rng) for _ in range(2)]
    return Person(
        hex_text(rng),
        f"user-{rng.getrandbits(40):010x}",
        devices,
        fake.safe_email(),
        f"+1555{rng.randrange(10**7):07d}",
        rng.choice(("America/New_York", "Europe/Berlin", "Asia/Tokyo", "America/Sao_Paulo")),
        round(float(fake.latitude()), 6),
        round(float(fake.longitude()), 6),
    )


def _device(rng: random.Random) -> dict[str, str]:
    platform, version, model = rng.choice(
        (
            ("ios", "17.6.1", "iPhone 15"),
            ("ios", "16.2", "iPhone 12 mini"),
            ("android", "Android (14)", "Pixel 8"),
            ("android", "Android (13)", "Galaxy S22"),
            ("web", "Chrome 128", "Mac"),
        )
    )
    return {"device_id": uuid_text(rng), "platform": platform, "os_version": version, "device_model": model}


@dataclass(frozen=True)
class Message:
    """A campaign or Canvas that a chain belongs to."""

    values: Mapping[str, Any]


class World:
    """What all chains of one run share: the app, campaigns, Canvases, products, people."""

    def __init__(self, rng: random.Random, users: int) -> None:
        self.rng = rng
        self.app_id = uuid_text(rng)
        self.people = [make_person(rng) for _ in range(users)]
        self.campaigns = [self._campaign(n) for n in range(4)]
        self.canvases = [self._canvas(n) for n in range(3)]
        self.products = [(f"sku-{rng.randrange(10**6):06d}", round(rng.uniform(1, 200), 2)) for _ in range(12)]

    def _campaign(self, n: int) -> dict[str, Any]:
        rng = self.rng
        name = f"{('Welcome', 'Spring Sale', 'Win Back', 'Weekly Digest')[n]} {rng.randrange(100)}"
        return {
            "campaign_id": uuid_text(rng),
            "campaign_name": name,
            "message_variation_id": uuid_text(rng),
            "send_id": f"send-{rng.randrange(10**6)}",
        }

    def _canvas(self, n: int) -> dict[str, Any]:
        rng = self.rng
        return {
            "canvas_id": uuid_text(rng),
            "canvas_name": f"{('Onboarding', 'Cart Recovery', 'Loyalty')[n]} {rng.randrange(100)}",
            "canvas_variation_id": uuid_text(rng),
            "canvas_variation_name": f"Variant {rng.randrange(1, 4)}",
            "canvas_step_id": uuid_text(rng),
            "canvas_step_name": f"Step {rng.randrange(1, 9)}",
        }

    def chain(self, person: Person, journey: Mapping[str, Any]) -> Iterator[tuple[float, str, dict[str, Any]]]:
        """One chain as ``(seconds after its start, type, fixed values)``, causes first."""
        rng = self.rng
        source = rng.choice(self.canvases if journey.get("canvas") or rng.random() < 0.4 else self.campaigns)
        if journey.get("campaign"):
            source = rng.choice(self.campaigns)
        shared = {
            **source,
            "dispatch_id": hex_text(rng),
            "session_id": uuid_text(rng),
            "card_id": uuid_text(rng),
            "content_card_id": uuid_text(rng),
            "subscription_group_id": uuid_text(rng),
        }
        yield from self._steps(journey["steps"], 0.0, shared)

    def _steps(
        self, steps: Sequence[Mapping[str, Any]], start: float, shared: Mapping[str, Any]
    ) -> Iterator[tuple[float, str, dict[str, Any]]]:
        for step in steps:
            if self.rng.random() >= step.get("p", 1.0):
                continue
            low, high = step.get("after", (1, 30))
            at = start + self.rng.uniform(low, high)
            yield at, step["type"], dict(shared)
            yield from self._steps(step.get("then", ()), at, shared)
            if step.get("or_else") is False:
                break


def _value(rng: random.Random, name: str, kind: str, person: Person, world: World) -> Any:
    fixed = {
        "app_id": world.app_id,
        "email_address": person.email,
        "to_phone_number": person.phone,
        "from_phone_number": "+15550001111",
        "longitude": person.longitude,
        "latitude": person.latitude,
        "currency": "USD",
        "source": rng.choice(("organic", "partner-network", "search-ads")),
        "url": f"https://shop.example/{rng.choice(('sale', 'new', 'help'))}?u={rng.randrange(1000)}",
        "error": "Unreachable destination handset",
        "provider_error_code": "30003",
        "subscription_status": rng.choice(("Subscribed", "Unsubscribed")),
        "button_id": str(rng.randrange(2)),
        "conversion_behavior_index": rng.randrange(4),
        "in_control_group": rng.random() < 0.2,
    }
    if name in fixed:
        return fixed[name]
    if name == "conversion_behavior":
        return orjson.dumps({"type": rng.choice(_CONVERSIONS), "window": 259200}).decode()
    if kind == "float":
        return round(rng.uniform(1, 300), 2)
    if kind == "int":
        return rng.randrange(100)
    if kind == "boolean":
        return rng.random() < 0.5
    return hex_text(rng, 12)


def build(
    rng: random.Random,
    world: World,
    person: Person,
    type_: str,
    time_s: int,
    shared: Mapping[str, Any],
    *,
    full: bool = False,
) -> dict[str, Any]:
    """One event object of a type; ``full`` gives it every property the documents know, else only those at hand."""
    device = person.devices[0 if len(person.devices) < 2 or rng.random() < 0.8 or not person.signed_up else 1]
    properties: dict[str, Any] = {}
    grouped = ("campaign_", "message_variation", "send_id", "canvas_")
    for name, kind in event_types()[type_].properties.items():
        if name in device:
            properties[name] = device[name]
        elif name in shared:
            properties[name] = shared[name]
        elif full or not name.startswith(grouped):
            properties[name] = _value(rng, name, kind, person, world)
    if type_ == "users.behaviors.CustomEvent":
        properties["name"] = rng.choice(("Added To Cart", "Viewed Product", "Signed Up", "Searched"))
        properties["custom_properties"] = {"plan": rng.choice(("free", "pro")), "items": rng.randrange(1, 9)}
    if type_ == "users.behaviors.Purchase":
        properties["product_id"], properties["price"] = rng.choice(world.products)
        properties["purchase_properties"] = {"color": rng.choice(("red", "blue")), "gift": rng.random() < 0.2}
    user: dict[str, Any] = {"user_id": person.braze_id}
    if person.signed_up:
        user["external_user_id"] = person.external_id
    user["device_id"] = device["device_id"]
    user["timezone"] = person.timezone
    return {"event_type": type_, "id": uuid_text(rng), "time": time_s, "user": user, "properties": properties}


def one(rng: random.Random, type_: str, now_ms: int) -> dict[str, Any]:
    """One event of a type with every documented property, at this moment."""
    world = World(rng, 1)
    person = world.people[0]
    person.signed_up = True
    shared = {
        **world.campaigns[0],
        **world.canvases[0],
        "dispatch_id": hex_text(rng),
        "session_id": uuid_text(rng),
        "card_id": uuid_text(rng),
    }
    return build(rng, world, person, type_, now_ms // 1000, shared, full=True)


def generate(
    rng: random.Random, events: int, users: int, now_ms: int, types: set[str] | None = None
) -> list[dict[str, Any]]:
    """``events`` events of ``users`` people, in order of time, none later than now."""
    world = World(rng, users)
    names = sorted(journeys())
    weights = [journeys()[name]["weight"] for name in names]
    cycle = 0
    timed: list[tuple[float, int, Person, bool, str, dict[str, Any]]] = []
    clocks: dict[int, float] = {}
    # Chains are laid out from the start of a person's time; more are made than needed, the latest are cut off.
    while len(timed) < events:
        index = cycle % users
        person = world.people[index]
        # The first chains go through every journey once, so that no kind of event is missing from a long run.
        name = names[cycle] if cycle < len(names) else rng.choices(names, weights)[0]
        start = clocks.get(index, rng.uniform(0, 60))
        signed_up = start > 0 and index in clocks and clocks[index] > 120
        last = start
        for at, type_, shared in world.chain(person, journeys()[name]):
            last = max(last, start + at)
            if types is None or type_ in types:
                timed.append((start + at, len(timed), person, signed_up, type_, shared))
        clocks[index] = last + rng.uniform(30, 120)
        cycle += 1
        if types is not None and cycle > 10_000 + events * 100:
            break
    timed.sort(key=lambda each: (each[0], each[1]))
    timed = timed[:events]
    end = timed[-1][0] if timed else 0.0
    made = []
    for at, _, person, signed_up, type_, shared in timed:
        person.signed_up = signed_up
        made.append(build(rng, world, person, type_, int(now_ms // 1000 - (end - at)), shared))
    return made
