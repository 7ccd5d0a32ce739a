"""Amplitude's own cohort syncs to a webhook. Sources: Amplitude docs, Webhooks (cohorts); Schedule a cohort sync."""

from __future__ import annotations

from typing import Any

import pytest
import requests

BUYERS = {"andClauses": [{"orClauses": [{"type": "event", "event_type": "Bought", "within_days": 30}]}]}
KEYS = ["cohort_name", "cohort_id", "in_cohort", "computed_time", "message_id", "users"]


def buy(tank: Any, *names: str) -> None:
    answer = tank.upload(
        [{"user_id": name, "event_type": "Bought", "user_properties": {"tier": name}} for name in names]
    )
    assert answer.status_code == 200, answer.text


@pytest.fixture
def buyers(tank: Any) -> Any:
    tank.control("PUT", "/amplitude/cohorts/buyers1", {"name": "Buyers", "definition": BUYERS})
    return tank


def sync(tank: Any, hook: Any, **more: Any) -> dict[str, Any]:
    body = {"cohort_id": "buyers1", "url": hook.url, "cadence": "hourly", **more}
    answer = tank.control("PUT", "/amplitude/syncs/s1", body)
    assert answer.status_code == 200, answer.text
    tank.control("POST", "/clock/settle")
    found: dict[str, Any] = answer.json()
    return found


def sent(hook: Any) -> list[tuple[bool, list[str]]]:
    return [(body["in_cohort"], [each["user_id"] for each in body["users"]]) for body in hook.bodies]


def test_first_everybody_then_only_what_changes(buyers: Any, hook: Any) -> None:
    buy(buyers, "person-1", "person-2")
    sync(buyers, hook)
    assert sent(hook) == [(True, ["person-1", "person-2"])]
    headers, body = hook.seen[0]
    assert list(body) == KEYS
    assert (body["cohort_name"], body["cohort_id"], body["computed_time"]) == ("Buyers", "buyers1", "1767225600")
    assert body["message_id"].split("::")[1:] == ["enter", "1"]
    assert headers["User-Agent"] == "Amplitude/Webhook/1.0"
    assert headers["Authorization"] == f"Bearer {buyers.ready['amplitude']['feed_token']}"
    buyers.advance("1h")
    assert len(hook.seen) == 1  # nothing has changed
    buy(buyers, "person-3")
    buyers.advance("1h")
    buyers.advance("29d")
    buyers.advance("1d")
    assert sent(hook)[1] == (True, ["person-3"])
    assert [inside for inside, _ in sent(hook)[2:]] == [False] * len(sent(hook)[2:])
    assert sorted(name for _, names in sent(hook)[2:] for name in names) == ["person-1", "person-2", "person-3"]
    state = buyers.control("GET", "/amplitude/syncs/s1").json()
    assert state["delivered_members"] == 0


def test_real_time_looks_every_minute(buyers: Any, hook: Any) -> None:
    sync(buyers, hook, cadence="real-time", user_properties=["tier", "none"])
    buy(buyers, "person-1")
    buyers.advance("59s")
    assert not hook.seen
    buyers.advance("1s")
    assert hook.bodies[0]["users"] == [{"user_id": "person-1", "user_properties": {"tier": "person-1", "none": None}}]


def test_one_time_is_once(buyers: Any, hook: Any) -> None:
    buy(buyers, "person-1")
    sync(buyers, hook, cadence="one-time")
    buy(buyers, "person-2")
    buyers.advance("2d")
    assert sent(hook) == [(True, ["person-1"])]


def test_a_failed_run_does_not_move_the_baseline(buyers: Any, hook: Any) -> None:
    buy(buyers, "person-1")
    hook.statuses = [500] * 9  # the first attempt and eight more
    sync(buyers, hook)
    buyers.advance("10m")
    assert len(hook.seen) == 9
    assert len({body["message_id"] for body in hook.bodies}) == 1  # the dedupe key is stable over retries
    state = buyers.control("GET", "/amplitude/syncs/s1").json()
    assert (state["runs"][0]["outcome"], state["delivered_members"]) == ("failed", 0)
    buy(buyers, "person-2")
    buyers.advance("1h")
    assert sent(hook)[9:] == [(True, ["person-1", "person-2"])]
    state = buyers.control("GET", "/amplitude/syncs/s1").json()
    assert (state["runs"][0]["outcome"], state["delivered_members"]) == ("succeeded", 2)


def test_entries_and_exits_are_sent_apart_in_batches(make_tank: Any, hook: Any) -> None:
    tank = make_tank(settings={"amplitude.cohort_webhook_batch": 2})
    tank.control("PUT", "/amplitude/cohorts/buyers1", {"name": "Buyers", "definition": BUYERS})
    buy(tank, "person-1", "person-2", "person-3")
    sync(tank, hook, cadence="daily")
    assert sorted(len(names) for _, names in sent(hook)) == [1, 2]
    tank.advance("29d")
    buy(tank, "person-4")
    hook.seen.clear()
    tank.advance("2d")
    assert sorted((inside, len(names)) for inside, names in sent(hook)) == [(False, 1), (False, 2), (True, 1)]


def test_members_without_a_user_id_are_skipped(buyers: Any, hook: Any) -> None:
    buyers.upload([{"device_id": "device-1", "event_type": "Bought"}, {"user_id": "person-1", "event_type": "Bought"}])
    sync(buyers, hook)
    assert sent(hook) == [(True, ["person-1"])]
    run = buyers.control("GET", "/amplitude/syncs/s1").json()["runs"][0]
    assert (run["added"], run["skipped"], run["outcome"]) == (1, 1, "succeeded")


def test_the_list_tells_of_scheduled_syncs(buyers: Any, hook: Any) -> None:
    sync(buyers, hook)
    keys = (buyers.key, buyers.ready["amplitude"]["secret_key"])
    url = f"{buyers.amplitude}/api/3/cohorts"
    plain = requests.get(url, auth=keys, timeout=30).json()["cohorts"][0]
    assert "syncMetadata" not in plain
    shown = requests.get(url, params={"includeSyncInfo": "true"}, auth=keys, timeout=30).json()["cohorts"][0]
    assert shown["syncMetadata"] == [
        {"target": "webhook", "frequency": "hourly", "last_successful": 1767225600, "last_failure": None, "params": {}}
    ]
    sync(buyers, hook, enabled=False)
    shown = requests.get(url, params={"includeSyncInfo": "true"}, auth=keys, timeout=30).json()["cohorts"][0]
    assert shown["syncMetadata"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"cohort_id": "nobody1", "url": "http://127.0.0.1:1/"},
        {"cohort_id": "buyers1"},
        {"cohort_id": "buyers1", "url": "ftp://127.0.0.1/"},
        {"cohort_id": "buyers1", "url": "http://127.0.0.1:1/", "cadence": "weekly"},
        {"cohort_id": "buyers1", "url": "http://127.0.0.1:1/", "user_properties": [f"p{n}" for n in range(51)]},
    ],
)
def test_a_sync_that_cannot_be_is_refused(buyers: Any, body: dict[str, Any]) -> None:
    before = buyers.digest()
    answer = buyers.control("PUT", "/amplitude/syncs/s1", body)
    assert answer.status_code == 400
    assert buyers.digest() == before
