"""The world of generated traffic: its people and their devices, campaigns, Canvases, products.

A world is fixed by its seed: person number 7 is the same in every run, whoever else takes part. What
happened to people (who has signed up, who has a second device) is kept in ``stages`` and can be carried
from run to run.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from faker import Faker

STAGES = ("new", "anonymous", "known", "both", "gone")
_PHONES_AND_BROWSERS = (
    ("ios", "17.6.1", "iPhone 15"),
    ("ios", "16.2", "iPhone 12 mini"),
    ("ios", "17.5", "iPad Air"),
    ("android", "14", "Pixel 8"),
    ("android", "13", "Galaxy S22"),
    ("web", "Chrome 128", "Mac OS X"),
    ("kindle", "8", "Kindle Fire HD"),
    ("tvos", "17.6", "Apple TV"),
    ("roku", "13.0", "Roku Ultra"),
)
_CAMPAIGNS = ("Welcome", "Spring Sale", "Win Back", "Weekly Digest", "Price Drop", "Birthday")
_CANVASES = ("Onboarding", "Cart Recovery", "Loyalty", "Reactivation")
_faker_turn = threading.Lock()


def uuid_text(rng: random.Random) -> str:
    """A version 4 UUID from the random source."""
    digits = f"{rng.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def hex_text(rng: random.Random, digits: int = 24) -> str:
    """So many lower-case hex digits from the random source: the shape of Braze's user and dispatch ids."""
    return f"{rng.getrandbits(digits * 4):0{digits}x}"


@cache
def _faker() -> Faker:
    return Faker("en_US")


@dataclass(frozen=True)
class Person:
    """A user: ``braze_id`` is Braze's own id, ``external_id`` the customer's."""

    number: int
    braze_id: str
    external_id: str
    email: str
    phone: str
    timezone: str
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Device:
    """One installation of the app. ``guest_id`` is Braze's id of its user before a log-in on a later
    device.
    """

    device_id: str
    guest_id: str
    values: Mapping[str, str]


@dataclass
class World:
    """Everything that the chains of one or more runs share.

    :param seed: fixes people, campaigns and Canvases.
    :param app_id: the app that all events name; None makes one up.
    :param stages: by person's number, ``(stage, number of installations)``; who is absent is new.
    """

    seed: str
    app_id: str | None = None
    stages: dict[int, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = random.Random(f"{self.seed}:world")
        self.app_id = self.app_id or uuid_text(rng)
        with _faker_turn:
            fake = _faker()
            fake.seed_instance(rng.getrandbits(32))
            self._names = [
                "".join(c for c in f"{fake.first_name()}.{fake.last_name()}".lower() if c.isalpha() or c == ".")
                for _ in range(64)
            ]
            self._places = [fake.location_on_land() for _ in range(32)]
            self.words = [fake.word() for _ in range(48)]
            self.products = [
                (f"sku-{rng.randrange(10**6):06d}", round(rng.uniform(1, 200), 2), fake.safe_color_name())
                for _ in range(24)
            ]
        self.campaigns = [self._campaign(rng, name) for name in _CAMPAIGNS]
        self.canvases = [self._canvas(rng, name) for name in _CANVASES]
        self.groups = {"email": uuid_text(rng), "sms": uuid_text(rng)}
        self.phone = f"+1555{rng.randrange(10**7):07d}"
        self._people: dict[int, Person] = {}
        self._devices: dict[tuple[int, int, str], Device] = {}

    def _campaign(self, rng: random.Random, name: str) -> dict[str, str]:
        values = {
            "campaign_id": uuid_text(rng),
            "campaign_name": f"{name} {rng.randrange(2020, 2030)}",
            "message_variation_id": uuid_text(rng),
        }
        # The document: a send id is there when one was given for the campaign.
        return (
            {**values, "send_id": f"{name.lower().replace(' ', '-')}-{rng.randrange(1000)}"}
            if rng.random() < 0.5
            else values
        )

    def _canvas(self, rng: random.Random, name: str) -> dict[str, str]:
        return {
            "canvas_id": uuid_text(rng),
            "canvas_name": name,
            "canvas_variation_id": uuid_text(rng),
            "canvas_variation_name": f"Variant {rng.randrange(1, 4)}",
            "canvas_step_id": uuid_text(rng),
            "canvas_step_name": f"Step {rng.randrange(1, 9)}",
        }

    def person(self, number: int) -> Person:
        """The person of this number."""
        found = self._people.get(number)
        if found is None:
            rng = random.Random(f"{self.seed}:person:{number}")
            latitude, longitude, _, _, timezone = rng.choice(self._places)
            found = Person(
                number,
                hex_text(rng),
                f"user-{number:06d}-{hex_text(rng, 6)}",
                f"{rng.choice(self._names)}{number}@example.{rng.choice(('com', 'net', 'org'))}",
                f"+1555{rng.randrange(10**7):07d}",
                timezone,
                float(latitude),
                float(longitude),
            )
            self._people[number] = found
        return found

    def device(self, number: int, which: str) -> Device:
        """A person's ``first`` or ``second`` device, as it is after so many installations."""
        installs = self.stage(number)[1]
        key = (number, installs, which)
        found = self._devices.get(key)
        if found is None:
            rng = random.Random(f"{self.seed}:device:{key}")
            platform, version, model = rng.choice(_PHONES_AND_BROWSERS)
            values = {"platform": platform, "os_version": version, "device_model": model}
            found = Device(uuid_text(rng), hex_text(rng), values)
            self._devices[key] = found
        return found

    def stage(self, number: int) -> tuple[str, int]:
        """What became of the person so far, and how often the app was installed anew."""
        return self.stages.get(number, ("new", 0))

    def dump(self) -> str:
        """The people's stages as text, for :meth:`load`."""
        return ";".join(
            f"{number}:{STAGES.index(stage)}:{installs}" for number, (stage, installs) in sorted(self.stages.items())
        )

    def load(self, text: str) -> None:
        """Take up the stages of an earlier run."""
        for entry in filter(None, text.split(";")):
            number, stage, installs = entry.split(":")
            self.stages[int(number)] = (STAGES[int(stage)], int(installs))


def chain_values(world: World, person: Person, device: Device | None, rng: random.Random) -> dict[str, Any]:
    """Values that all events of one chain share, by property name; campaign and Canvas come on top."""
    return {
        "app_id": world.app_id,
        **({} if device is None else device.values),
        "session_id": uuid_text(rng),
        "dispatch_id": hex_text(rng),
        "card_id": uuid_text(rng),
        "content_card_id": uuid_text(rng),
        "email_address": person.email,
        "to_phone_number": person.phone,
        "from_phone_number": world.phone,
        "currency": "USD",
    }
