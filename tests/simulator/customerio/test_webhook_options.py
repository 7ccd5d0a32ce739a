"""What a reporting webhook gets: event selection, Send Frequency, Body Content, switching off; and spoilt requests.

Source: Customer.io docs, reporting webhooks guide; App API, reporting webhooks.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

HOUR = 3600
OPEN = {"object_type": "email", "metric": "opened"}
DATA = {
    "delivery_id": "d",
    "campaign_id": 1,
    "action_id": 2,
    "identifiers": {"id": "ann"},
    "recipient": "a@example.org",
}


def sms(metric: str, **data: Any) -> dict[str, Any]:
    return {"object_type": "sms", "metric": metric, "data": {**DATA, **data}}


def test_only_selected_events_are_sent_and_the_rest_is_accounted_for(hooked: Any, receiver: Any) -> None:
    hooked.configure(events=["sms_sent", "customer_subscription_preferences_changed"])
    ids = hooked.report(
        sms("sent"),
        sms("failed", failure_message="x"),
        {"object_type": "customer", "metric": "cio_subscription_preferences_changed"},
        {"object_type": "email", "metric": "cio_subscription_preferences_changed"},
        {"object_type": "slack", "metric": "undeliverable"},
    )
    hooked.settle()
    assert receiver.ids() == [ids[0], ids[2], ids[3]]
    assert hooked.totals() == {"emitted": 5, "delivered": 3, "pending": 0, "given_up": 0, "not_selected": 2}
    assert hooked.ledger()["totals"]["reasons"] == {
        "pending: taken by the connector": 3,
        "dropped: the webhook does not select this event": 2,
    }


def test_a_report_without_a_name_reaches_webhooks_that_select_everything(hooked: Any, receiver: Any) -> None:
    ids = hooked.report({"object_type": "slack", "metric": "undeliverable"})
    hooked.set(**{"webhook.unnamed": "never"})
    hooked.report({"object_type": "slack", "metric": "undeliverable"})
    hooked.settle()
    assert receiver.ids() == ids


def test_nothing_is_reported_without_a_webhook(workspace: Any) -> None:
    workspace.report(sms("sent"))
    assert workspace.totals()["not_selected"] == 1
    assert workspace.ledger()["totals"]["reasons"] == {"dropped: no reporting webhook is set up": 1}


def test_without_full_resolution_the_first_open_and_click_of_a_message_are_sent(hooked: Any, receiver: Any) -> None:
    hooked.configure(full_resolution=False)
    click = {"object_type": "email", "metric": "clicked", "data": {**DATA, "subject": "s", "href": "h", "link_id": 1}}
    opened = {**OPEN, "data": DATA}
    other_message, other_person = {**DATA, "delivery_id": "e"}, {**DATA, "identifiers": {"id": "bob"}}
    ids = hooked.report(opened, click, opened, click)
    ids += hooked.report(opened, {**OPEN, "data": other_message}, {**OPEN, "data": other_person})
    ids += hooked.report(sms("delivered"), sms("delivered"))
    hooked.settle()
    assert receiver.ids() == [ids[0], ids[1], ids[5], ids[6], ids[7], ids[8]]
    assert hooked.totals()["not_selected"] == 3


def test_with_full_resolution_every_one_is_sent(hooked: Any, receiver: Any) -> None:
    ids = hooked.report(*[{**OPEN, "data": DATA}] * 3)
    hooked.settle()
    assert receiver.ids() == ids


@pytest.mark.parametrize("with_content", [True, False])
def test_content_and_headers_come_with_body_content_only(hooked: Any, receiver: Any, with_content: bool) -> None:
    hooked.configure(with_content=with_content)
    hooked.report(
        {"object_type": "email", "metric": "sent"},
        {"object_type": "push", "metric": "sent"},
        {"object_type": "customer", "metric": "cio_subscription_preferences_changed"},
    )
    hooked.settle()
    email, push, customer = (each.report["data"] for each in receiver.got)
    assert [("content" in each) for each in (email, push, customer)] == [with_content] * 3
    assert ("headers" in email) is with_content


def test_raw_reports_pass_every_option(hooked: Any, receiver: Any) -> None:
    hooked.configure(events=["sms_sent"], full_resolution=False, with_content=False)
    given = {
        "object_type": "fax",
        "metric": "sneezed",
        "timestamp": 1_767_225_600_123,
        "data": {"content": "x" * 10**6},
    }
    hooked.report(given, given, '{"a": 1 }', "no JSON at all", raw=True)
    hooked.settle()
    assert [each.report for each in receiver.got[:2]] == [given, given]
    assert [each.body for each in receiver.got[2:]] == [b'{"a": 1 }', b"no JSON at all"]


def test_what_happens_while_a_webhook_is_disabled_is_not_sent(hooked: Any, receiver: Any) -> None:
    receiver.answer = lambda _: 503
    queued = hooked.report(sms("sent"))
    hooked.settle()
    hooked.configure(disabled=True)
    hooked.report(sms("sent"))
    receiver.answer = lambda _: 200
    hooked.advance(HOUR)
    assert receiver.ids() == queued
    hooked.configure(disabled=False)
    hooked.settle()
    assert receiver.ids() == queued * 2
    assert hooked.totals()["not_selected"] == 1


def test_it_is_queued_when_it_is_set_so(hooked: Any, receiver: Any) -> None:
    hooked.set(**{"webhook.when_disabled": "keep"})
    hooked.configure(disabled=True)
    ids = hooked.report(sms("sent"))
    hooked.advance(HOUR)
    assert receiver.got == []
    hooked.configure(disabled=False)
    hooked.settle()
    assert receiver.ids() == ids


def test_the_same_event_id_twice_is_one_event_of_the_ledger(hooked: Any, receiver: Any) -> None:
    hooked.report({**sms("sent"), "event_id": "one"}, {**sms("sent"), "event_id": "one"})
    hooked.settle()
    assert receiver.ids() == ["one", "one"]
    assert hooked.ledger()["totals"]["emitted"] == 1


# -- spoilt requests


def good(received: Any, key: str) -> bool:
    message = b"v0:" + received.headers["X-CIO-Timestamp"].encode() + b":" + received.body
    expected = hmac.new(key.encode(), message, hashlib.sha256).hexdigest()
    return bool(received.headers["X-CIO-Signature"] == expected)


@pytest.mark.parametrize("kind", ["wrong_signature", "altered_byte", "other_encoding"])
def test_a_fault_spoils_the_first_attempt_and_the_retry_is_good(hooked: Any, receiver: Any, kind: str) -> None:
    key = hooked.tank.credential("customerio_signing_key")
    receiver.answer = lambda request: 200 if good(request, key) else 401
    hooked.fault(kind)
    hooked.report(sms("sent"))
    hooked.settle()
    hooked.advance(HOUR)
    bad, fine = receiver.got
    assert not good(bad, key)
    assert good(fine, key)
    assert (bad.body == fine.body) is (kind == "wrong_signature")
    assert (bad.report == fine.report) is (kind != "altered_byte")
    assert hooked.totals()["delivered"] == 1


def test_a_stale_report_is_signed_rightly_with_an_old_time(hooked: Any, receiver: Any) -> None:
    hooked.fault("stale", age_s=7200)
    hooked.report(sms("sent"))
    hooked.settle()
    (got,) = receiver.got
    assert good(got, hooked.tank.credential("customerio_signing_key"))
    assert got.headers["X-CIO-Timestamp"] == str(hooked.now() // 1000 - 7200)


def test_a_duplicate_is_the_same_request_twice(hooked: Any, receiver: Any) -> None:
    hooked.fault("duplicate")
    (id_,) = hooked.report(sms("sent"))
    hooked.settle()
    assert receiver.ids() == [id_, id_]
    assert receiver.got[0].headers["X-CIO-Signature"] == receiver.got[1].headers["X-CIO-Signature"]


def send(workspace: Any, **ask: Any) -> list[dict[str, Any]]:
    from simulator.customerio import feed

    found: list[dict[str, Any]] = feed.send(workspace.tank, ask)
    return found


def test_requests_of_ones_own(hooked: Any, receiver: Any) -> None:
    key = hooked.tank.credential("customerio_signing_key")
    report = {"b": 1, "a": [1, 2]}
    send(hooked, report=report)
    assert good(receiver.got[-1], key)
    send(hooked, report=report, encoding="sorted")
    assert (receiver.got[-1].body, good(receiver.got[-1], key)) == (b'{"a":[1,2],"b":1}', False)
    send(hooked, report=report, encoding="sorted", sign="sent")
    assert good(receiver.got[-1], key)
    send(hooked, report=report, signature="upper_case")
    assert receiver.got[-1].headers["X-CIO-Signature"].isupper()
    send(hooked, report=report, signature="prefixed")
    assert receiver.got[-1].headers["X-CIO-Signature"].startswith("v0=")
    send(hooked, report=report, signature="none", timestamp="none")
    assert not {"X-CIO-Signature", "X-CIO-Timestamp"} & set(receiver.got[-1].headers)
    send(hooked, body="no JSON", age_s=-60, signature={"text": "zz"})
    assert receiver.got[-1].headers["X-CIO-Timestamp"] == str(hooked.now() // 1000 + 60)
    assert (receiver.got[-1].body, receiver.got[-1].headers["X-CIO-Signature"]) == (b"no JSON", "zz")
    send(hooked, report=report, alter=True)
    assert not good(receiver.got[-1], key)
    assert send(hooked, report=report, times=3) == [{"status": 200, "body": "", "error": None}] * 3


def test_a_replay_is_what_was_sent_before_bit_by_bit(hooked: Any, receiver: Any) -> None:
    (id_,) = hooked.report(sms("sent"))
    hooked.settle()
    hooked.advance(86_400)
    send(hooked, event_id=id_)
    first, again = receiver.got
    assert (first.body, first.headers["X-CIO-Timestamp"]) == (again.body, again.headers["X-CIO-Timestamp"])
    assert first.headers["X-CIO-Signature"] == again.headers["X-CIO-Signature"]
    with pytest.raises(ValueError, match="event_id: no report"):
        send(hooked, event_id="never")


def test_send_test_posts_a_sample_and_queues_nothing(hooked: Any, receiver: Any) -> None:
    from simulator.customerio import feed

    answer = feed.send_test(hooked.tank)
    assert (answer["status"], receiver.got[0].report) == (200, answer["report"])
    assert (answer["report"]["object_type"], answer["report"]["metric"]) == ("email", "sent")
    assert hooked.totals()["emitted"] == 0
