"""What people do with a message: the whole course of it is drawn when it is sent, and happens when its time comes.

The model is data (``behaviour.yaml``); chances and delays can be set per tank, and the draw is fixed by the tank's
seed and the message's number. Source: Braze docs, Currents event glossary (what follows from what).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CONVERT = "convert"
DOES = ("", "hard_bounce", "spam", "unsubscribe", "leave_group", "join_group", "lose_token", CONVERT)


@cache
def model() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The trees by family of channels."""
    loaded: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("behaviour.yaml").read_text("utf-8"))
    return loaded


@dataclass(frozen=True)
class Step:
    """Something that is to happen ``after_ms`` after the sending."""

    after_ms: int
    type: str
    does: str


@dataclass(frozen=True)
class Scene:
    """What the steps of a tree depend on."""

    platform: str | None = None
    group: bool = False
    converts: bool = False


def lay_out(family: str, scene: Scene, rng: random.Random, changed: Mapping[str, Any]) -> list[Step]:
    """What follows from a message, in order of time.

    :param changed: the setting ``braze.behaviour``: ``p`` and ``after`` by event type, or by ``convert``; what does
        not fit there counts as not given.
    """
    found: list[Step] = []
    _take(model()[family], 0, scene, rng, changed, found)
    return sorted(found, key=lambda each: each.after_ms)


def _take(
    steps: Sequence[Mapping[str, Any]],
    cause_ms: int,
    scene: Scene,
    rng: random.Random,
    changed: Mapping[str, Any],
    found: list[Step],
) -> None:
    for step in steps:
        type_, does = step.get("type", ""), step.get("does", "")
        own = changed.get(type_ or does)
        own = own if isinstance(own, Mapping) else {}
        # Both are drawn whatever comes of it: a changed chance leaves the other draws of its neighbours alone.
        chance, spread = rng.random(), rng.random()
        if (
            ("platform" in step and step["platform"] != scene.platform)
            or (step.get("group") and not scene.group)
            or (does == CONVERT and not scene.converts)
            or chance >= (own["p"] if _chance(own.get("p")) else step.get("p", 1.0))
        ):
            continue
        low, high = own["after"] if _span(own.get("after")) else step.get("after", (0, 0))
        at_ms = cause_ms + round((low + (high - low) * spread) * 1000)
        found.append(Step(at_ms, type_, does))
        _take(step.get("then", ()), at_ms, scene, rng, changed, found)
        if step.get("instead"):
            return


def consequence(family: str, type_: str) -> str:
    """What an event changes in Braze when a person makes it happen."""
    return _consequences(model()[family]).get(type_, "")


def _consequences(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for step in steps:
        found.update(_consequences(step.get("then", ())))
        if step.get("type"):
            found[step["type"]] = step.get("does", "")
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _chance(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _span(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(_number(each) for each in value)
        and 0 <= value[0] <= value[1] <= 10_000_000
    )
