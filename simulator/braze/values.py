"""Example values of event properties that differ from event to event: what was bought, clicked, searched."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from simulator.braze.people import Person, World

_SOURCES = ("organic", "partner network", "search ads", "social ads")
_PAGES = ("sale", "new", "help", "profile")
_REJECTIONS = (
    ("Unreachable destination handset", "30003"),
    ("Message blocked by carrier", "30007"),
    ("Unknown destination handset", "30005"),
)
_CONVERSIONS = (
    {"type": "Starts Session", "window": 259200, "app_ids": []},
    {"type": "Makes Purchase", "window": 86400, "product": None},
    {"type": "Performs Custom Event", "window": 259200, "custom_event_name": "Added To Cart"},
    {"type": "Upgrades App", "window": 604800, "app_ids": []},
)
_CONVERSION_TEXTS = tuple(orjson.dumps(each).decode() for each in _CONVERSIONS)


def custom_event(rng: random.Random, world: World, name: str | None) -> dict[str, Any]:
    """``name`` and ``custom_properties`` of a custom event: texts, numbers, flags, lists and objects, as
    they come.
    """
    chosen = name or rng.choice(("Viewed Product", "Added To Cart", "Searched", "Rated Product"))
    return {"name": chosen, "custom_properties": _CUSTOM[chosen](rng, world)}


def _viewed(rng: random.Random, world: World) -> dict[str, Any]:
    product, price, color = rng.choice(world.products)
    return {"product": product, "price": price, "color": color, "in_stock": rng.random() < 0.9}


def _added(rng: random.Random, world: World) -> dict[str, Any]:
    chosen = [rng.choice(world.products) for _ in range(rng.randrange(1, 4))]
    return {"products": [each[0] for each in chosen], "total": round(sum(each[1] for each in chosen), 2)}


def _searched(rng: random.Random, world: World) -> dict[str, Any]:
    filters = {"color": rng.choice(world.products)[2], "sizes": [36 + rng.randrange(10)]}
    return {"query": rng.choice(world.words), "results": rng.randrange(200), "filters": filters}


def _rated(rng: random.Random, world: World) -> dict[str, Any]:
    return {
        "product": rng.choice(world.products)[0],
        "stars": rng.randrange(1, 6),
        "comment": rng.choice(world.words),
    }


_CUSTOM: Mapping[str, Callable[[random.Random, World], dict[str, Any]]] = {
    "Viewed Product": _viewed,
    "Added To Cart": _added,
    "Searched": _searched,
    "Rated Product": _rated,
    "Signed Up": lambda rng, _: {"plan": rng.choice(("free", "pro")), "newsletter": rng.random() < 0.4},
    "Logged In": lambda rng, _: {"method": rng.choice(("password", "link", "sso"))},
}


def purchase(rng: random.Random, world: World) -> dict[str, Any]:
    """``product_id``, ``price`` and ``purchase_properties`` of a purchase."""
    product, price, color = rng.choice(world.products)
    return {
        "product_id": product,
        "price": price,
        "purchase_properties": {"color": color, "gift": rng.random() < 0.2, "size": 36 + rng.randrange(10)},
    }


def special(rng: random.Random, type_: str, person: Person, elapsed_s: float) -> Mapping[str, Any]:
    """Values of one event alone, by type; ``elapsed_s`` is the time since its chain began."""
    made = _SPECIAL.get(type_)
    return {} if made is None else made(rng, person, elapsed_s)


def _location(rng: random.Random, person: Person, _elapsed_s: float) -> dict[str, Any]:
    return {
        "longitude": round(person.longitude + rng.uniform(-0.05, 0.05), 6),
        "latitude": round(person.latitude + rng.uniform(-0.05, 0.05), 6),
        "altitude": round(rng.uniform(0, 800), 1),
        "ll_accuracy": round(rng.uniform(5, 65), 1),
        "alt_accuracy": round(rng.uniform(3, 30), 1),
    }


def _conversion(rng: random.Random, _person: Person, _elapsed_s: float) -> dict[str, Any]:
    index = rng.randrange(4)
    return {"conversion_behavior_index": index, "conversion_behavior": _CONVERSION_TEXTS[index]}


def _failure(rng: random.Random, _person: Person, _elapsed_s: float) -> dict[str, Any]:
    text, code = rng.choice(_REJECTIONS)
    return {"error": text, "provider_error_code": code}


def _button(rng: random.Random, _person: Person, _elapsed_s: float) -> dict[str, Any]:
    # The document: a button's index when a button was hit; a click beside the buttons names none.
    return {"button_id": str(rng.randrange(2))} if rng.random() < 0.8 else {}


_SPECIAL: Mapping[str, Callable[[random.Random, Person, float], dict[str, Any]]] = {
    "users.behaviors.app.SessionEnd": lambda _rng, _person, elapsed_s: {"duration": round(elapsed_s, 1)},
    "users.behaviors.Location": _location,
    "users.behaviors.InstallAttribution": lambda rng, _person, _s: {"source": rng.choice(_SOURCES)},
    "users.messages.email.Click": lambda rng, person, _s: {
        "url": f"https://shop.example/{rng.choice(_PAGES)}?u={person.number}"
    },
    "users.messages.sms.Rejection": _failure,
    "users.messages.sms.DeliveryFailure": _failure,
    "users.behaviors.subscriptiongroup.StateChange": lambda _rng, _person, _s: {"subscription_status": "Subscribed"},
    "users.messages.inappmessage.Click": _button,
    "users.campaigns.Conversion": _conversion,
    "users.canvas.Conversion": _conversion,
}
