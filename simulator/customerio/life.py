"""The life of a message as a plan: which metric follows which, and when. Plain values in, plain values out.

Source: Customer.io's OpenAPI document of reporting webhooks (the metrics' descriptions); the order is inferred from it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SENDING = ("drafted", "undeliverable", "failed", "attempted", "sent", "dropped")
"""What happens at Customer.io itself, whatever people and providers do."""


@dataclass(frozen=True)
class Step:
    """One thing that happens to a message.

    :param happens_ms: since its making; :param known_ms: when Customer.io learns of it.
    :param values: further keys of its report; :param does: what it changes.
    """

    metric: str
    happens_ms: int
    known_ms: int
    values: Mapping[str, Any] = field(default_factory=dict)
    does: str | None = None


@cache
def behaviour() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The trees by channel."""
    loaded: dict[str, list[dict[str, Any]]] = yaml.safe_load(
        Path(__file__).with_name("behaviour.yaml").read_text("utf-8")
    )
    return loaded


def plan(rng: random.Random, channel: str, shares: Mapping[str, Any], *, alone: bool = False) -> list[Step]:
    """What becomes of a message, in the order of when Customer.io learns of it.

    :param shares: chances in place of the tree's, by ``channel.metric``.
    :param alone: only what Customer.io does itself; people and providers do nothing by themselves.
    """
    steps = list(_walk(rng, channel, behaviour()[channel], 0, shares, alone))
    return sorted(steps, key=lambda each: each.known_ms)


def refused(metric: str, reason: str, channel: str) -> list[Step]:
    """The life of a message that is not sent, for a reason that is known beforehand."""
    steps = [Step("drafted", 0, 0)]
    if channel == "push" and metric == "failed":
        steps.append(Step("attempted", 1000, 1000, {"failure_message": reason}))
    return [*steps, Step(metric, 2000, 2000, {"failure_message": reason})]


def _walk(
    rng: random.Random,
    channel: str,
    tree: Sequence[Mapping[str, Any]],
    since_ms: int,
    shares: Mapping[str, Any],
    alone: bool,
) -> Iterator[Step]:
    for node in tree:
        metric = node["metric"]
        if alone and metric not in SENDING:
            continue
        share = shares.get(f"{channel}.{metric}")
        if not isinstance(share, int | float):
            share = node.get("p", 1)
        # Always drawn, so that one chance more or less leaves the rest of the life as it was.
        roll = rng.random()
        moment = rng.random()
        delay = rng.random()
        if roll >= share:
            continue
        happens_ms = since_ms + _between(node.get("after", (0, 0)), moment)
        known_ms = happens_ms + _between(node.get("late", (0, 0)), delay)
        yield Step(metric, happens_ms, known_ms, node.get("values", {}), node.get("does"))
        yield from _walk(rng, channel, node.get("then", ()), happens_ms, shares, alone)
        if node.get("instead"):
            return


def _between(span: Sequence[int], roll: float) -> int:
    return round(1000 * (span[0] + roll * (span[1] - span[0])))
