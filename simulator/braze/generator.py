"""Realistic Currents events in causal chains, fixed by a random source.

People start anonymous on a device, sign up, and some get a second device; a send precedes delivery, opens,
clicks and conversions. Nothing lies in the tank's future, and no effect comes before its cause. The chains
are data, see ``journeys.yaml``.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from simulator.braze.catalogue import event_types
from simulator.braze.people import Device, Person, World, chain_values, hex_text, uuid_text
from simulator.braze.values import custom_event, purchase, special

CONVERSIONS = {"campaign": "users.campaigns.Conversion", "canvas": "users.canvas.Conversion"}


@cache
def journeys() -> Mapping[str, Any]:
    """The chains by name."""
    loaded: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("journeys.yaml").read_text("utf-8"))
    return loaded


@dataclass
class Chain:
    """One chain under way: who, on which device, and the values its events share."""

    person: Person
    device: Device | None
    known: bool
    values: dict[str, Any]
    source: str | None
    guest_id: str | None = None
    login_at: float = float("inf")
    started: float = 0.0


@dataclass
class Laid:
    """An event laid out in time: ``at`` seconds on the run's own scale; ``order`` keeps causes first."""

    at: float
    order: int
    type: str
    chain: Chain
    extra: Mapping[str, Any] = field(default_factory=dict)


def generate(
    rng: random.Random,
    n: int,
    users: int,
    now_ms: int,
    rate: float | None = None,
    types: Collection[str] | None = None,
    state: World | None = None,
) -> list[dict[str, Any]]:
    """``n`` events of ``users`` people in order of time (whole seconds); the last one happens now.

    With ``rate`` they happen from now on, so many per second: the caller has to let each happen when its
    time has come. ``types`` (types on the wire) keeps only some kinds, with the chains still whole.
    ``state`` is the world to go on in; without one it is made from ``rng``. From about 150 events on every
    kind of event appears.
    """
    return list(events(rng, n, users, now_ms, rate, types, state))


def events(
    rng: random.Random,
    n: int,
    users: int,
    now_ms: int,
    rate: float | None = None,
    types: Collection[str] | None = None,
    state: World | None = None,
) -> Iterator[dict[str, Any]]:
    """As :func:`generate`, one at a time."""
    world = state or World(f"{rng.getrandbits(64):x}")
    laid = lay_out(rng, world, n, max(1, users), None if types is None else frozenset(types))
    end = laid[-1].at if laid else 0.0
    for index, each in enumerate(laid):
        at_ms = now_ms - (end - each.at) * 1000 if rate is None else now_ms + index * 1000 / rate
        yield _event(rng, each, max(0, int(at_ms // 1000)))


def lay_out(rng: random.Random, world: World, n: int, users: int, types: frozenset[str] | None) -> list[Laid]:
    """``n`` events in order of time. First come chains that hold every kind of event (or every wanted one)
    once; the last chain is cut off where it grows beyond ``n``.
    """
    laid: list[Laid] = []
    clocks: dict[int, float] = {}
    missing = [each for each in event_types() if types is None or each in types]
    # Who uninstalls has to begin anew, so that comes last.
    missing.sort(key=lambda each: each == "users.behaviors.Uninstall")
    while len(laid) < n and (types is None or types):
        number = rng.randrange(min(users, 3) if missing else users)
        stage = world.stage(number)[0]
        name, target = _next_journey(rng, stage, missing, types)
        start = clocks.get(number, rng.uniform(0, 600))
        chain = _walk(rng, world, number, journeys()[name], start, target)
        clocks[number] = max(each.at for each in chain) + rng.uniform(20, 1800)
        for each in chain:
            if each.type in missing:
                missing.remove(each.type)
        kept = [each for each in chain if types is None or each.type in types]
        kept.sort(key=lambda each: (each.at, each.order))
        for each in kept[: n - len(laid)]:
            each.order = len(laid)
            laid.append(each)
    laid.sort(key=lambda each: (each.at, each.order))
    return laid


@cache
def _holds(name: str) -> frozenset[str]:
    journey = journeys()[name]
    found = set(_types_of(journey["steps"]))
    if "conversion" in found:
        found |= {CONVERSIONS[each] for each in _sources(journey)}
    return frozenset(found)


def _types_of(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        yield step["type"]
        yield from _types_of(step.get("then", ()))


def _sources(journey: Mapping[str, Any]) -> tuple[str, ...]:
    source = journey["source"]
    return {"either": ("campaign", "canvas"), "none": ()}.get(source, (source,))


@cache
def _choices(stage: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    fitting = [(name, each["weight"]) for name, each in journeys().items() if stage in each["who"]]
    return tuple(name for name, _ in fitting), tuple(weight for _, weight in fitting)


def _next_journey(
    rng: random.Random, stage: str, missing: Sequence[str], types: frozenset[str] | None
) -> tuple[str, str | None]:
    """The next journey of a person in this stage, and the kind of event it has to reach, if any."""
    names, weights = _choices(stage)
    wanted = missing or ([] if types is None else sorted(types))
    if wanted:
        possible = [each for each in wanted if any(each in _holds(name) for name in names)]
        if possible:
            target = possible[0] if missing else rng.choice(possible)
            fitting = [(n, w) for n, w in zip(names, weights, strict=True) if target in _holds(n)]
            return rng.choices([n for n, _ in fitting], [w for _, w in fitting])[0], target
        # Nothing of the kind can happen to the person yet: let it go on in life.
        onward = [name for name in names if journeys()[name].get("becomes") in ("anonymous", "known", "both")]
        return rng.choice(onward or names), None
    return rng.choices(names, weights)[0], None


def _walk(
    rng: random.Random,
    world: World,
    number: int,
    journey: Mapping[str, Any],
    start: float,
    target: str | None,
) -> list[Laid]:
    stage, installs = world.stage(number)
    person = world.person(number)
    device = _device(rng, world, number, stage, journey["device"])
    sources = _sources(journey)
    if target in CONVERSIONS.values():
        sources = tuple(each for each in sources if CONVERSIONS[each] == target)
    source = rng.choice(sources) if sources else None
    values = chain_values(world, person, device, rng)
    if source is not None:
        values |= rng.choice(world.campaigns if source == "campaign" else world.canvases)
    values |= journey.get("values", {})
    channel = "sms" if any(".sms." in each["type"] for each in journey["steps"]) else "email"
    values["subscription_group_id"] = world.groups[channel]
    fresh = device is not None and "becomes" in journey and "installs" not in journey
    chain = Chain(person, device, stage in ("known", "both", "gone") and not fresh, values, source, started=start)
    if fresh and device is not None and stage in ("known", "gone"):
        chain.guest_id = device.guest_id
    laid: list[Laid] = []
    _take(rng, world, journey["steps"], start, chain, target, laid)
    if "becomes" in journey:
        world.stages[number] = (journey["becomes"], installs + journey.get("installs", 0))
    return laid


def _device(rng: random.Random, world: World, number: int, stage: str, which: str) -> Device | None:
    if which == "maybe":
        return None if stage == "gone" or rng.random() < 0.5 else world.device(number, "first")
    if which == "either":
        which = "second" if stage == "both" and rng.random() < 0.4 else "first"
    return world.device(number, which)


def _take(
    rng: random.Random,
    world: World,
    steps: Sequence[Mapping[str, Any]],
    cause_at: float,
    chain: Chain,
    target: str | None,
    laid: list[Laid],
) -> None:
    ahead = next((i for i, step in enumerate(steps) if target and _leads(step, target)), None)
    for index, step in enumerate(steps):
        type_ = step["type"]
        if type_ == "conversion":
            if chain.source is None:
                continue
            type_ = CONVERSIONS[chain.source]
        forced = index == ahead
        if not forced and (
            rng.random() >= step.get("p", 1.0)
            or (ahead is not None and index < ahead and step.get("instead"))
            or ("platform" in step and chain.values.get("platform") != step["platform"])
        ):
            continue
        low, high = step.get("after", (1, 30))
        at = cause_at + rng.uniform(low, high)
        if step.get("login"):
            chain.login_at = at
        if forced and "platform" in step:
            chain.values["platform"] = step["platform"]
        for extra in _extras(rng, world, type_, step):
            laid.append(Laid(at, len(laid), type_, chain, extra))
        _take(rng, world, step.get("then", ()), at, chain, target if forced else None, laid)
        if step.get("instead"):
            return


def _leads(step: Mapping[str, Any], target: str) -> bool:
    kind = "conversion" if target in CONVERSIONS.values() else target
    return kind == step["type"] or any(_leads(each, target) for each in step.get("then", ()))


def _extras(rng: random.Random, world: World, type_: str, step: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    fixed: Mapping[str, Any] = step.get("values", {})
    if type_ == "users.behaviors.CustomEvent":
        return [custom_event(rng, world, step.get("name"))]
    if type_ == "users.behaviors.Purchase":
        # Buying a quantity counts as so many purchases, each with an id of its own.
        bought = purchase(rng, world)
        return [bought] * (2 if rng.random() < step.get("again", 0.0) else 1)
    return [fixed]


def _event(rng: random.Random, laid: Laid, time_s: int) -> dict[str, Any]:
    chain, type_ = laid.chain, laid.type
    event_type = event_types()[type_]
    values = {**chain.values, **special(rng, type_, chain.person, laid.at - chain.started), **laid.extra}
    properties = {name: values[name] for name in event_type.properties if name in values}
    for name in event_type.own:
        properties[name] = values[name]
    person, device = chain.person, chain.device
    known = chain.known or laid.at >= chain.login_at
    user: dict[str, Any] = {"user_id": person.braze_id if known or chain.guest_id is None else chain.guest_id}
    if known:
        user["external_user_id"] = person.external_id
    if device is not None:
        user["device_id"] = device.device_id
    if event_type.timezone:
        user["timezone"] = person.timezone
    return {"event_type": type_, "id": uuid_text(rng), "time": time_s, "user": user, "properties": properties}


@cache
def _world_of_one() -> World:
    return World("one")


def one(rng: random.Random, event_type: str, now_ms: int, app_id: str | None = None) -> dict[str, Any]:
    """One event of a type that happens now, to somebody known on a device, with every documented property."""
    world = _world_of_one()
    number = rng.getrandbits(40)
    person, device = world.person(number), world.device(number, "first")
    values = chain_values(world, person, device, rng)
    if app_id is not None:
        values["app_id"] = app_id
    values |= {**world.canvases[0], **world.campaigns[0], "send_id": f"send-{hex_text(rng, 6)}"}
    values |= {"subscription_group_id": world.groups["email"], "in_control_group": False}
    extra = {**custom_event(rng, world, None), **purchase(rng, world)}
    chain = Chain(person, device, True, values, None)
    laid = Laid(rng.uniform(60, 600), 0, event_type, chain, {**extra, "button_id": "0"})
    return _event(rng, laid, now_ms // 1000)


def test_event(rng: random.Random, event_type: str, now_ms: int) -> dict[str, Any]:
    """What Send Test Events sends: values of the right kind that mean nothing, a UUID in every text.

    Source: Braze docs, Setting up Currents, Testing.
    """
    described = event_types()[event_type]
    made: dict[str, Any] = {
        "string": lambda: uuid_text(rng),
        "float": lambda: round(rng.uniform(0, 100), 2),
        "int": lambda: rng.randrange(4),
        "boolean": lambda: rng.random() < 0.5,
        "object": lambda: {uuid_text(rng): uuid_text(rng)},
    }
    kinds = {**{name: one.type for name, one in described.properties.items()}, **described.own}
    user = {"user_id": hex_text(rng), "external_user_id": uuid_text(rng), "device_id": uuid_text(rng)}
    return {
        "event_type": event_type,
        "id": uuid_text(rng),
        "time": now_ms // 1000,
        "user": {**user, "timezone": uuid_text(rng)},
        "properties": {name: made[kind]() for name, kind in kinds.items()},
    }
