"""Every pair of object type and metric, as the documents list them: the catalogue, samples, generated lives, delivery.

Source: Customer.io's OpenAPI document of reporting webhooks (2026-08); App API, names of events.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.customerio import catalogue, samples
from simulator.openapi import contract

HERE = Path(__file__).parent
DOCUMENTED = yaml.safe_load((HERE / "documented_pairs.yaml").read_text("utf-8"))
PAIRS = {
    (object_type, metric): (set(row[0]), set(row[1]))
    for object_type, metrics in DOCUMENTED.items()
    if isinstance(metrics, dict)
    for metric, row in metrics.items()
}
EXAMPLES = (HERE / "documented_reports.jsonl").read_text("utf-8").splitlines()
BLOCKS = {
    "trigger_id": {"trigger_id", "broadcast_id", "action_id", "journey_id", "parent_action_id"},
    "campaign_id": {"campaign_id", "action_id", "journey_id", "parent_action_id", "trigger_event_id"},
    "newsletter_id": {"newsletter_id", "content_id"},
    "transactional_message_id": {"transactional_message_id"},
}
COMMON = {"identifiers", "customer_id", "delivery_id"}


def hold(report: dict[str, Any]) -> None:
    """A report against the documented table: envelope, origin, required keys, no others."""
    assert set(report) == {"event_id", "object_type", "metric", "timestamp", "data"}
    assert len(report["event_id"]) == 26
    assert isinstance(report["timestamp"], int)
    assert 1_500_000_000 < report["timestamp"] < 3_000_000_000
    data = report["data"]
    needs, may = PAIRS[report["object_type"], report["metric"]]
    own = set(data) - COMMON
    blocks = [name for name in BLOCKS if name in data]
    assert len(blocks) == (1 if "delivery_id" in data else 0), data
    block = BLOCKS[blocks[0]] if blocks else set()
    assert needs <= own, (report["object_type"], report["metric"], needs - own)
    assert own <= needs | may | block, (report["object_type"], report["metric"], own - needs - may - block)
    assert set(data["identifiers"]) in ({"id"}, {"id", "email", "cio_id"})
    if report["object_type"] != "customer" and not report["metric"].endswith(("subscribed", "preferences_changed")):
        assert "delivery_id" in data
    for each in data.get("recipients", []):
        assert each["device_id"]
        assert each.get("device_platform") in (None, "ios", "android")
        if report["metric"] in ("bounced", "dropped"):
            assert each["failure_message"]


def test_the_catalogue_has_every_documented_pair_and_no_other() -> None:
    unnamed = {tuple(each.rsplit("_", 1)) for each in DOCUMENTED["no_schema"]}
    assert set(catalogue.pairs()) == set(PAIRS) | unnamed
    for key, (needs, may) in PAIRS.items():
        pair = catalogue.pairs()[key]
        assert (set(pair.needs), set(pair.may), pair.schema) == (needs, may, True), key
    assert {key for key, pair in catalogue.pairs().items() if not pair.schema} == unnamed


def test_webhooks_select_by_the_documented_names() -> None:
    assert set(catalogue.names()) == set(DOCUMENTED["names"].split())
    assert contract("customerio_webhook")["properties"]["events"]["items"]["enum"] == DOCUMENTED["names"].split()
    assert catalogue.pairs()["slack", "undeliverable"].name is None
    preferences = catalogue.pairs()["customer", "cio_subscription_preferences_changed"]
    assert preferences.name == "customer_subscription_preferences_changed"


@pytest.mark.parametrize(
    "line", EXAMPLES, ids=[f"{json.loads(e)['object_type']}-{json.loads(e)['metric']}" for e in EXAMPLES]
)
def test_a_documented_example_fits(line: str) -> None:
    report = json.loads(line)
    hold(report)
    assert catalogue.unfit(report) is None


def test_the_examples_show_every_pair() -> None:
    assert {(each["object_type"], each["metric"]) for each in map(json.loads, EXAMPLES)} == set(PAIRS)


@pytest.mark.parametrize("key", PAIRS, ids=lambda key: "-".join(key))
def test_a_sample_has_the_documented_keys(key: tuple[str, str]) -> None:
    pair = catalogue.pairs()[key]
    for seed in range(20):
        data = samples.data(random.Random(seed), pair, 1_767_225_600_000)
        hold({"event_id": "0" * 26, "object_type": key[0], "metric": key[1], "timestamp": 1_767_225_600, "data": data})


@pytest.mark.parametrize("change", [
    {"event_id": 5}, {"timestamp": "1"}, {"data": None}, {"metric": "sneezed"}, {"extra": 1}, {"object_type": ["email"]},
])  # fmt: skip
def test_other_shapes_do_not_fit(change: dict[str, Any]) -> None:
    assert catalogue.unfit({**json.loads(EXAMPLES[5]), **change}) is not None


@pytest.mark.parametrize(
    "change",
    [{"campaign_id": 58, "newsletter_id": 1}, {"failure_message": "x"}, {"link_id": "1"}, {"recipient": None}],
)
def test_other_data_does_not_fit(change: dict[str, Any]) -> None:
    report = json.loads(EXAMPLES[5])
    assert catalogue.unfit({**report, "data": {**report["data"], **change}}) is not None


def test_every_documented_example_arrives_byte_by_byte_and_in_order(hooked: Any, receiver: Any) -> None:
    hooked.report(*EXAMPLES, raw=True)
    hooked.settle()
    assert [each.body.decode() for each in receiver.got] == EXAMPLES
    assert hooked.totals() == {"emitted": 71, "delivered": 71, "pending": 0, "given_up": 0, "not_selected": 0}
    assert hooked.ledger()["totals"]["balanced"]


def test_every_pair_can_be_asked_for(hooked: Any, receiver: Any) -> None:
    hooked.report(*({"object_type": o, "metric": m} for o, m in PAIRS), strict=True)
    hooked.settle()
    assert len(receiver.got) == len(PAIRS)
    for each in receiver.got:
        hold(each.report)


def test_a_pair_that_nobody_documents_is_refused(hooked: Any) -> None:
    with pytest.raises(ValueError, match=r"reports\[1\]: Customer.io reports no such"):
        hooked.report({"object_type": "sms", "metric": "sent"}, {"object_type": "sms", "metric": "opened"})
    with pytest.raises(ValueError, match=r"reports\[0\]: data.recipient is missing"):
        hooked.report({"object_type": "sms", "metric": "sent", "data": {"identifiers": {"id": "a"}, "campaign_id": 1,
                       "action_id": 2, "delivery_id": "d"}}, strict=True)  # fmt: skip
    assert hooked.totals()["emitted"] == 0


EXITS = ("failed", "undeliverable", "bounced", "dropped", "spammed", "unsubscribed")


def test_what_is_generated_has_the_documented_shape_and_covers_what_messages_can_do(make: Any) -> None:
    shares = {f"{channel}.{metric}": 0.25 if metric in EXITS else 0.9 for channel, metric in PAIRS}
    workspace = make(
        tick_s=86_400, behaviour={name: share for name, share in shares.items() if "delivered" not in name}
    )
    assert workspace.generate(12, 150)["deliveries"] == 150
    workspace.advance(8 * 86_400)
    workspace.generate(0, 100)
    workspace.advance(8 * 86_400)
    seen = set()
    for each in workspace.reports():
        key = (each["report"]["object_type"], each["report"]["metric"])
        seen.add(key)
        if key in PAIRS:
            hold(each["report"])
    # A person's own doing, and what no message causes.
    assert set(PAIRS) - seen == {("customer", metric) for metric in DOCUMENTED["customer"]} | {("email", "subscribed")}
