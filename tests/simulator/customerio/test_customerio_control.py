"""Customer.io over the control API, through real HTTP: the feed, reports and their ends, messages, faults."""

from __future__ import annotations

from typing import Any

import pytest
import requests

NOWHERE = "http://127.0.0.1:9/feeds/customerio"


def test_the_ready_object_names_every_key(tank: Any) -> None:
    ready = tank.ready["customerio"]
    assert set(ready) == {
        "region", "url", "other_region_url", "signing_key", "account_id", "workspace_id", "site_id", "track_api_key", "app_api_key",
    }  # fmt: skip
    basic = (ready["site_id"], ready["track_api_key"])
    answer = requests.get(f"{ready['url']}/api/v1/accounts/region", auth=basic)
    assert str(answer.json()["environment_id"]) == ready["workspace_id"]


def test_reports_go_out_and_their_ends_are_read_back(tank: Any, receiver: Any) -> None:
    assert tank.control("GET", "/feeds/customerio").json() == {"status": "off", "url": None, "webhooks": []}
    feed = tank.control("PUT", "/feeds/customerio", {"url": receiver.url, "events": ["email_sent"]}).json()
    assert (feed["status"], feed["signing_key"]) == ("enabled", tank.ready["customerio"]["signing_key"])
    body = {"reports": [{"object_type": "email", "metric": metric} for metric in ("sent", "opened")]}
    made = tank.control("POST", "/customerio/reports", body)
    assert (made.status_code, made.json()["emitted"]) == (202, 2)
    tank.control("POST", "/clock/settle")
    found = tank.control("GET", "/customerio/reports").json()
    assert found["totals"] == {"emitted": 2, "delivered": 1, "pending": 0, "given_up": 0, "not_selected": 1}
    assert [each["end"] for each in found["reports"]] == ["delivered", "not_selected"]
    assert receiver.ids() == made.json()["event_ids"][:1]
    one = tank.control("GET", "/customerio/reports", event_id=receiver.ids()[0]).json()["reports"]
    assert [each["report"]["metric"] for each in one] == ["sent"]
    assert tank.control("GET", "/ledger", flow="customerio").json()["totals"]["balanced"]
    sent = tank.control("POST", "/feeds/customerio/send", {"report": {"a": 1}, "signature": "wrong"}).json()
    assert sent == {"answers": [{"status": 200, "body": "", "error": None}]}
    assert tank.control("POST", "/feeds/customerio/test").json()["status"] == 200


def test_messages_are_put_sent_and_made_to_happen(tank: Any) -> None:
    message = {"kind": "newsletter", "id": 300, "channel": "sms", "content": "Hi {name}", "links": ["https://a.b"]}
    assert tank.control("PUT", "/customerio/messages", {"messages": [message]}).status_code == 200
    listed = tank.control("GET", "/customerio/messages").json()["messages"]
    assert next(each for each in listed if each["id"] == 300).items() >= message.items()
    tank.control("PATCH", "/settings", {"customerio.people": "silent"})
    tank.control("POST", "/customerio/generate", {"people": 3})
    (delivery, *others) = tank.control("POST", "/customerio/deliveries", {"kind": "newsletter", "id": 300}).json()[
        "delivery_ids"
    ]
    assert len(others) == 2
    tank.advance("1m")
    happen = {"delivery_id": delivery, "metric": "replied", "timestamp": 1_767_225_700}
    assert len(tank.control("POST", "/customerio/happen", happen).json()["event_ids"]) == 1
    last = tank.control("GET", "/customerio/reports").json()["reports"][-1]["report"]
    assert (last["metric"], last["timestamp"], last["data"]["newsletter_id"]) == ("replied", 1_767_225_700, 300)
    shown = tank.control("GET", "/customerio/deliveries", delivery_id=delivery).json()["deliveries"]
    assert [each["metrics"]["replied"] for each in shown] == ["2026-01-01T00:01:40.000Z"]
    assert tank.control("GET", "/customerio/people").json()["count"] == 3
    assert tank.control("GET", "/customerio").json()["people"] == 3


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/feeds/customerio", {"events": "all"}),
        ("PUT", "/feeds/customerio", {"url": NOWHERE, "events": ["email_teleported"]}),
        ("PUT", "/feeds/customerio", {"url": "nonsense"}),
        ("POST", "/feeds/customerio/send", {"report": {}}),
        ("POST", "/feeds/customerio/test", None),
        ("POST", "/customerio/reports", {"reports": [{"object_type": "fax", "metric": "sent"}]}),
        ("POST", "/customerio/reports", {"reports": [{"object_type": [], "metric": {}}]}),
        ("POST", "/customerio/reports", {"reports": [5]}),
        ("POST", "/customerio/generate", {"deliveries": 1}),
        ("POST", "/customerio/deliveries", {"kind": "newsletter", "id": 999}),
        ("POST", "/customerio/deliveries", {"kind": "newsletter", "id": 207, "people": ["nobody"]}),
        ("POST", "/customerio/happen", {"delivery_id": "x", "metric": "opened"}),
        ("POST", "/faults", {"platform": "customerio", "kind": "wrong_signature"}),
    ],
)
def test_bad_input_is_told_in_words_and_changes_nothing(tank: Any, method: str, path: str, body: Any) -> None:
    before = tank.digest()
    answer = tank.control(method, path, body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"what", "where", "mend"}
    assert tank.digest() == before


def test_a_metric_that_a_delivery_cannot_have_is_refused(tank: Any) -> None:
    tank.control("POST", "/customerio/generate", {"people": 1})
    (delivery,) = tank.control("POST", "/customerio/deliveries", {"kind": "newsletter", "id": 207}).json()[
        "delivery_ids"
    ]
    before = tank.digest()
    for more in ({"metric": "replied"}, {"metric": "clicked", "values": {"link_id": "x"}}):
        assert tank.control("POST", "/customerio/happen", {"delivery_id": delivery, **more}).status_code == 400
    assert tank.digest() == before
