"""What may follow what in the life of a message, whatever the seed.

Source: Customer.io's OpenAPI document of reporting webhooks (the metrics' descriptions); the order is inferred from it.
"""

from __future__ import annotations

import random

import pytest

from simulator.customerio import life

ENDS = ("failed", "undeliverable", "dropped")
AFTER_SENT = (
    "delivered",
    "bounced",
    "deferred",
    "opened",
    "clicked",
    "converted",
    "replied",
    "spammed",
    "unsubscribed",
)
AFTER_DELIVERED = ("opened", "spammed", "unsubscribed", "replied")
THREE_DAYS_MS = 72 * 3_600_000
CHANNELS = sorted(life.behaviour())
LIVELY = {
    f"{channel}.{metric}": 0.15 if metric in (*ENDS, "bounced", "attempted", "deferred") else 0.7
    for channel in CHANNELS
    for metric in (*ENDS, "attempted", *AFTER_SENT)
    if metric != "delivered"
}


def lives(channel: str) -> list[dict[str, int]]:
    """When each metric first happened, for many seeds."""
    found = []
    for seed in range(300):
        first: dict[str, int] = {}
        for step in life.plan(random.Random(seed), channel, LIVELY):
            assert step.known_ms >= step.happens_ms >= 0
            first[step.metric] = min(step.happens_ms, first.get(step.metric, step.happens_ms))
        found.append(first)
    return found


@pytest.mark.parametrize("channel", CHANNELS)
def test_things_happen_in_the_documented_order(channel: str) -> None:
    for first in lives(channel):
        assert first["drafted"] == 0
        gone = [metric for metric in ENDS if metric in first]
        assert len(gone) + ("sent" in first) == 1, first
        for metric in AFTER_SENT:
            assert metric not in first or first["sent"] <= first[metric], first
        if channel in ("email", "sms", "whatsapp", "push"):
            for metric in AFTER_DELIVERED:
                assert metric not in first or first["delivered"] <= first[metric], first
            assert not {"bounced", "delivered"} <= set(first)
        if "attempted" in first and "sent" in first:
            assert first["attempted"] <= first["sent"]
        if "replied" in first:
            assert first["replied"] - first["sent"] < THREE_DAYS_MS
        if "converted" in first:
            assert min(first.get("opened", 1 << 60), first.get("clicked", 1 << 60)) <= first["converted"]


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_customerio_does_alone(channel: str) -> None:
    for seed in range(50):
        steps = life.plan(random.Random(seed), channel, LIVELY, alone=True)
        assert {each.metric for each in steps} <= set(life.SENDING)


def test_devices_and_providers_report_late_and_never_early() -> None:
    steps = [each for seed in range(100) for each in life.plan(random.Random(seed), "push", LIVELY)]
    assert any(each.known_ms > each.happens_ms for each in steps if each.metric == "delivered")
    assert all(each.known_ms == each.happens_ms for each in steps if each.metric in life.SENDING)


def test_a_share_changes_only_what_it_is_about() -> None:
    """A life with more opens has the same deliveries as one without."""
    for seed in range(50):
        quiet = life.plan(random.Random(seed), "email", {"email.opened": 0, "email.clicked": 0})
        plain = life.plan(random.Random(seed), "email", {"email.opened": 0, "email.clicked": 0, "email.bounced": 0.02})
        assert quiet == plain
    assert life.plan(random.Random(1), "email", {"email.opened": "often"}) == life.plan(random.Random(1), "email", {})
