"""People, devices, events and messages over the Track and App APIs. Source: Customer.io docs, both APIs (2026-08)."""

from __future__ import annotations

from typing import Any

import pytest

from simulator import customerio
from simulator.customerio import deliveries, messages, people

DAY = 86_400
WEBHOOK = {"name": "n", "endpoint": "http://127.0.0.1:9/x", "events": ["email_sent"]}


def known(workspace: Any) -> list[dict[str, Any]]:
    with workspace.tank.store.read() as conn:
        return people.shown(conn, people.every(conn))


def told(workspace: Any) -> list[tuple[str, str]]:
    return [(each["report"]["object_type"], each["report"]["metric"]) for each in workspace.reports()]


def delivered(workspace: Any) -> list[dict[str, Any]]:
    with workspace.tank.store.read() as conn:
        return deliveries.listed(conn)


def happen(workspace: Any, delivery: str, metric: str, values: Any, at_s: int = 1_767_225_700) -> list[str]:
    with workspace.tank.store.write() as conn:
        return deliveries.happen_now(conn, workspace.tank, delivery, metric, at_s, workspace.now(), values)


# -- who is who


def test_people_are_known_by_id_email_and_cio_id(workspace: Any) -> None:
    assert workspace.track("PUT", "/customers/ann", {"email": "Ann@example.org", "plan": "pro"}).json == {}
    workspace.track("PUT", "/customers/ANN@EXAMPLE.ORG", {"plan": "free"})
    (ann,) = known(workspace)
    assert (ann["id"], ann["email"], ann["attributes"]) == ("ann", "Ann@example.org", {"plan": "free"})
    assert len(ann["cio_id"]) == 12
    workspace.track("PUT", f"/customers/cio_{ann['cio_id']}", {"id": "anna", "email": "anna@example.org"})
    (ann,) = known(workspace)
    assert (ann["id"], ann["email"]) == ("anna", "anna@example.org")


def test_an_email_of_somebody_gives_that_person_the_new_id(workspace: Any) -> None:
    workspace.track("PUT", "/customers/ann@example.org", {})
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org"})
    assert [(each["id"], each["email"]) for each in known(workspace)] == [("ann", "ann@example.org")]


def test_an_identifier_of_somebody_else_is_not_taken_over(workspace: Any) -> None:
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org"})
    workspace.track("PUT", "/customers/bob", {"plan": "free"})
    assert workspace.track("PUT", "/customers/bob", {"email": "ann@example.org"}).status_code == 200
    assert [(each["id"], each["email"]) for each in known(workspace)] == [("ann", "ann@example.org"), ("bob", None)]


def test_update_only_and_unknown_cio_ids_make_nobody(workspace: Any) -> None:
    workspace.track("PUT", "/customers/ann", {"_update": True})
    workspace.track("PUT", "/customers/cio_0000000000ff", {"plan": "free"})
    assert known(workspace) == []


def test_an_id_only_workspace_takes_an_address_for_an_id(make: Any) -> None:
    workspace = make(identifiers="id_only")
    workspace.track("PUT", "/customers/ann@example.org", {"unsubscribed": True})
    workspace.report({"object_type": "email", "metric": "sent"})
    (ann,) = known(workspace)
    assert (ann["id"], ann["email"]) == ("ann@example.org", None)
    assert workspace.reports()[0]["report"]["data"]["identifiers"] == {"id": "ann@example.org"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/customers/" + "x" * 151, {}),
        ("/customers/%20", {}),
        ("/customers/ann", {"unsubscribed": []}),
        ("/customers/ann/devices", {"device": {"id": "t", "platform": "windows"}}),
        ("/customers/ann/devices", {}),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(workspace: Any, path: str, body: Any) -> None:
    answer = workspace.track("PUT", path, body)
    assert answer.status_code == 400
    assert answer.json["meta"]["errors"]
    assert known(workspace) == []


def test_devices_come_go_and_move(workspace: Any) -> None:
    device = {"device": {"id": "t1", "platform": "ios", "last_used": 5}}
    workspace.track("PUT", "/customers/ann/devices", device)
    workspace.track("PUT", "/customers/bob/devices", {"device": {"id": "t2", "platform": "android"}})
    assert [len(each["devices"]) for each in known(workspace)] == [1, 1]
    workspace.track("PUT", "/customers/bob/devices", device)
    workspace.track("DELETE", "/customers/bob/devices/t2")
    assert [[d["id"] for d in each["devices"]] for each in known(workspace)] == [[], ["t1"]]


def test_deleting_and_suppressing(workspace: Any) -> None:
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org"})
    assert workspace.track("DELETE", "/customers/ann").json == {}
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org"})
    workspace.track("POST", "/customers/ann/suppress")
    for path in ("/customers/ann", "/customers/ann@example.org"):
        workspace.track("PUT", path, {"plan": "free"})
    assert known(workspace) == []
    workspace.track("POST", "/customers/ann/unsuppress")
    workspace.track("PUT", "/customers/ann", {})
    assert len(known(workspace)) == 1


@pytest.mark.parametrize(("value", "counts"), [(True, True), ("TRUE", True), (1, True), ("1", True), ("yes", False)])
def test_a_changed_subscription_is_reported_once(workspace: Any, value: Any, counts: bool) -> None:
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org"})
    for _ in range(2):
        workspace.track("PUT", "/customers/ann", {"unsubscribed": value})
    assert told(workspace) == [("customer", "unsubscribed")] * counts
    workspace.track("PUT", "/customers/ann", {"unsubscribed": False})
    assert told(workspace) == [("customer", "unsubscribed"), ("customer", "subscribed")] * counts


def test_changed_preferences_are_reported_with_what_they_are(workspace: Any) -> None:
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org"})
    workspace.track("PUT", "/customers/ann", {"cio_subscription_preferences": {"topics": {"topic_1": True}}})
    workspace.track("PUT", "/customers/ann", {"cio_subscription_preferences.topics.topic_2": False})
    contents = [each["report"]["data"]["content"] for each in workspace.reports()]
    assert contents == ['{"topics":{"topic_1":true}}', '{"topics":{"topic_1":true,"topic_2":false}}']
    assert set(told(workspace)) == {("customer", "cio_subscription_preferences_changed")}


# -- messages


def test_an_event_sends_its_campaign_once(workspace: Any) -> None:
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org"})
    for _ in range(2):
        body = {"name": " statement_ready ", "id": "01HB4HBDKTFWYZCK01DMRSWRFD"}
        assert workspace.track("POST", "/customers/ann/events", body).json == {}
    (sent,) = delivered(workspace)
    assert (sent["object_type"], sent["origin"]["campaign_id"]) == ("email", 58)


def test_the_unsubscribed_get_no_campaign(workspace: Any) -> None:
    workspace.track("PUT", "/customers/ann", {"email": "ann@example.org", "unsubscribed": True})
    workspace.track("POST", "/customers/ann/events", {"name": "statement_ready"})
    assert delivered(workspace) == []


def send(workspace: Any, **more: Any) -> str:
    body = {"transactional_message_id": 9, "identifiers": {"id": "ann"}, "to": "ann@example.org", **more}
    answer = workspace.app("POST", "/v1/send/email", body)
    assert answer.status_code == 200, answer.json
    assert answer.json["queued_at"] == workspace.now() // 1000
    return str(answer.json["delivery_id"])


def lone(make: Any, **settings: Any) -> Any:
    """A workspace whose people and providers do nothing by themselves, and nothing fails."""
    shares = {f"email.{metric}": 0 for metric in ("undeliverable", "failed", "attempted")}
    return make(people="silent", behaviour=shares, **settings)


def test_the_life_of_a_message_and_metrics_from_outside(make: Any) -> None:
    workspace = lone(make)
    delivery = send(workspace)
    workspace.advance(60)
    for metric in ("delivered", "clicked", "opened", "converted", "bounced"):
        body = {
            "delivery_id": delivery,
            "metric": metric,
            "timestamp": 1_767_225_700,
            "href": "https://a.b",
            "reason": "r",
        }
        assert workspace.client.post("/api/v1/metrics", json=body).json == {}
    found = [each["report"] for each in workspace.reports()]
    assert [each["metric"] for each in found] == [
        "drafted", "sent", "delivered", "opened", "clicked", "opened", "converted", "bounced",
    ]  # fmt: skip
    implied, clicked, bounced = found[3], found[4], found[-1]
    assert (implied["data"]["synthetic"], implied["timestamp"]) == (True, 1_767_225_700)
    assert (clicked["data"]["href"], bounced["data"]["failure_message"]) == ("https://a.b", "r")
    # The address has bounced: the next message is dropped instead of sent.
    send(workspace)
    workspace.advance(60)
    assert [each[1] for each in told(workspace)[8:]] == ["drafted", "dropped"]


def test_a_push_tells_of_the_device_that_reports(make: Any) -> None:
    workspace = make(people="silent", behaviour={f"push.{m}": 0 for m in ("undeliverable", "failed", "attempted")})
    for token, platform in (("t1", "ios"), ("t2", "android")):
        workspace.track("PUT", "/customers/ann/devices", {"device": {"id": token, "platform": platform}})
    body = {"transactional_message_id": "code_push", "identifiers": {"id": "ann"}}
    delivery = workspace.app("POST", "/v1/send/push", body).json["delivery_id"]
    workspace.advance(60)
    event = {"delivery_id": delivery, "event": "opened", "device_id": "t2", "timestamp": 1_767_225_700}
    assert workspace.client.post("/api/v1/push/events", json=event).json == {}
    _, sent, opened = (each["report"]["data"]["recipients"] if i else [] for i, each in enumerate(workspace.reports()))
    assert [each["device_id"] for each in sent] == ["t1", "t2"]
    assert opened == [{"device_id": "t2", "device_platform": "android"}]


def test_the_device_that_a_bounce_names_gets_no_more_push(make: Any) -> None:
    workspace = make(people="silent", behaviour={f"push.{m}": 0 for m in ("undeliverable", "failed", "attempted")})
    for token in ("t1", "t2"):
        workspace.track("PUT", "/customers/ann/devices", {"device": {"id": token, "platform": "ios"}})
    body = {"transactional_message_id": "code_push", "identifiers": {"id": "ann"}}
    for gone in ("t2", "t1"):
        delivery = workspace.app("POST", "/v1/send/push", body).json["delivery_id"]
        workspace.advance(60)
        failed = {"recipients": [{"device_id": gone, "device_platform": "ios", "failure_message": "gone"}]}
        happen(workspace, delivery, "bounced", failed)
    workspace.app("POST", "/v1/send/push", body)
    workspace.advance(60)
    found = [each["report"] for each in workspace.reports()]
    assert [each["metric"] for each in found] == [*("drafted", "sent", "bounced") * 2, "drafted", "dropped"]
    named = [[item["device_id"] for item in each["data"].get("recipients", ())] for each in found]
    assert named == [[], ["t1", "t2"], ["t2"], [], ["t1"], ["t1"], [], ["t1", "t2"]]


def test_a_bounce_of_its_own_names_the_device_that_is_lost(make: Any) -> None:
    shares = {f"push.{m}": 0 for m in ("undeliverable", "failed", "attempted")}
    workspace = make(behaviour={**shares, "push.bounced": 1})
    links = [f"https://example.org/{n}" for n in range(2)]
    with workspace.tank.store.write() as conn:
        messages.put(conn, {"kind": "campaign", "id": 900, "channel": "push", "trigger": "go", "links": links})
    for person in range(12):
        for token in (f"{person}-1", f"{person}-2"):
            device = {"device": {"id": token, "platform": "ios"}}
            workspace.track("PUT", f"/customers/p{person}/devices", device)
        workspace.track("POST", f"/customers/p{person}/events", {"name": "go"})
    workspace.advance(60)
    bounced = [each["report"]["data"] for each in workspace.reports() if each["report"]["metric"] == "bounced"]
    lost = {item["id"] for each in known(workspace) for item in each["devices"] if item["bounced"]}
    assert len(bounced) == 12
    assert {item["device_id"] for each in bounced for item in each["recipients"]} == lost


def test_a_reply_is_reported_for_72_hours(make: Any) -> None:
    workspace = make(people="silent", behaviour={f"sms.{m}": 0 for m in ("undeliverable", "failed", "attempted")})
    workspace.track("PUT", "/customers/ann", {"phone": "+15550100001"})
    with workspace.tank.store.write() as conn:
        messages.put(conn, {"kind": "campaign", "id": 900, "channel": "sms", "trigger": "go"})
    workspace.track("POST", "/customers/ann/events", {"name": "go"})
    workspace.advance(60)
    sent = workspace.reports()[-1]["report"]
    assert sent["metric"] == "sent"
    for seconds, told_of in ((3 * DAY, 1), (3 * DAY + 1, 0)):
        made = happen(workspace, sent["data"]["delivery_id"], "replied", {}, sent["timestamp"] + seconds)
        assert len(made) == told_of


def test_a_push_without_devices_fails(workspace: Any) -> None:
    body = {"transactional_message_id": 10, "identifiers": {"id": "ann"}}
    workspace.app("POST", "/v1/send/push", body)
    workspace.advance(60)
    assert told(workspace) == [("push", "drafted"), ("push", "attempted"), ("push", "failed")]
    assert workspace.reports()[1]["report"]["data"]["failure_message"] == "NoDevicesSynced"


def test_reports_of_a_deleted_person_have_a_blank_customer_id(make: Any) -> None:
    workspace = lone(make)
    send(workspace)
    workspace.track("DELETE", "/customers/ann")
    workspace.advance(60)
    data = workspace.reports()[-1]["report"]["data"]
    assert (data["customer_id"], data["identifiers"]["id"]) == ("", None)


def test_unsubscribing_through_a_message(make: Any) -> None:
    workspace = lone(make)
    delivery = send(workspace)
    for _ in range(2):
        assert workspace.client.post(f"/unsubscribe/{delivery}", json={"unsubscribe": True}).json == {}
    assert told(workspace).count(("email", "unsubscribed")) == 1
    assert known(workspace)[0]["unsubscribed"]
    assert workspace.client.post("/unsubscribe/nonsense", json={"unsubscribe": True}).status_code == 400


def test_a_draft_stays_a_draft_and_send_at_waits(make: Any) -> None:
    workspace = lone(make)
    send(workspace, queue_draft=True)
    send(workspace, send_at=workspace.now() // 1000 + DAY)
    workspace.advance(DAY - 1)
    assert told(workspace) == [("email", "drafted")]
    workspace.advance(60)
    assert told(workspace) == [("email", "drafted"), ("email", "drafted"), ("email", "sent")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transactional_message_id": 999}, '"transactional_message_id" not found.'),
        ({"transactional_message_id": "nobody"}, '"transactional_message_id" not found.'),
        ({"transactional_message_id": 10}, '"transactional_message_id" not found.'),
        ({"identifiers": {}}, "identifiers: give one of id, email and cio_id"),
        ({"identifiers": {"id": "a", "email": "b"}}, "identifiers: give one of id, email and cio_id"),
        ({"identifiers": {"cio_id": "ff"}}, "identifiers name nobody in this workspace"),
    ],
)
def test_a_send_that_does_not_fit_is_refused(workspace: Any, change: Any, words: str) -> None:
    body = {"transactional_message_id": 9, "identifiers": {"id": "ann"}, "to": "a@example.org", **change}
    answer = workspace.app("POST", "/v1/send/email", body)
    assert (answer.status_code, answer.json) == (400, {"meta": {"error": words}})
    assert delivered(workspace) == []


def test_a_send_adds_the_person_it_is_about(make: Any) -> None:
    workspace = lone(make)
    for who in ({"id": "ann@work"}, {"email": "bob@example.org"}, {"id": 7}):
        send(workspace, identifiers=who)
    assert [(each["id"], each["email"]) for each in known(workspace)] == [
        ("ann@work", None),
        (None, "bob@example.org"),
        ("7", None),
    ]
    workspace.advance(60)
    by_email = [each["report"]["data"] for each in workspace.reports() if "customer_id" not in each["report"]["data"]]
    assert {each["identifiers"]["id"] for each in by_email} == {None}


def test_metrics_that_a_channel_does_not_take_are_refused(workspace: Any) -> None:
    delivery = send(workspace)
    for body in ({"metric": "drafted"}, {"metric": "opened", "timestamp": "x"}, {"event": "opened"}):
        assert workspace.client.post("/api/v1/metrics", json={"delivery_id": delivery, **body}).status_code == 400
    assert (
        workspace.client.post("/api/v1/push/events", json={"delivery_id": delivery, "event": "opened"}).status_code
        == 400
    )
    assert workspace.reports() == []


# -- broadcasts


def test_a_broadcast_reaches_its_audience(workspace: Any) -> None:
    for name, plan in (("ann", "pro"), ("bob", "free")):
        workspace.track("PUT", f"/customers/{name}", {"email": f"{name}@example.org", "plan": plan})
    audiences: list[tuple[dict[str, Any], int]] = [
        ({}, 2),
        ({"ids": ["ann"]}, 1),
        ({"emails": ["BOB@example.org", "x@example.org"], "email_ignore_missing": True}, 1),
        ({"per_user_data": [{"id": "ann", "data": {"a": 1}}, {"email": "bob@example.org"}]}, 2),
        ({"recipients": {"attribute": {"field": "plan", "operator": "eq", "value": "pro"}}}, 1),
        ({"recipients": {"not": {"attribute": {"field": "plan", "operator": "exists"}}}}, 0),
    ]
    for number, (body, reached) in enumerate(audiences, 1):
        before = len(delivered(workspace))
        assert workspace.app("POST", "/v1/campaigns/12/triggers", body).json == {"id": number}
        made = delivered(workspace)[before:]
        assert len(made) == reached
        assert all(each["origin"]["trigger_id"] == number for each in made)
        workspace.advance(10)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/campaigns/12/triggers", {"ids": ["nobody"]}, 422),
        ("/v1/campaigns/58/triggers", {}, 404),
        ("/v1/campaigns/x/triggers", {}, 404),
        ("/v1/campaigns/12/triggers", {"ids": "ann"}, 400),
        ("/v1/campaigns/12/triggers", {"recipients": {"segment": {"id": 1}}}, 501),
        ("/v1/campaigns/12/triggers", {"data_file_url": "https://a.b"}, 501),
    ],
)
def test_a_broadcast_that_cannot_go(workspace: Any, path: str, body: Any, status: int) -> None:
    answer = workspace.app("POST", path, body)
    assert answer.status_code == status
    if status != 501:
        assert answer.json["errors"][0]["status"] == str(status)
    assert delivered(workspace) == []


# -- webhooks, limits, regions


def test_reporting_webhooks_over_the_app_api(workspace: Any) -> None:
    made = workspace.app("POST", "/v1/reporting_webhooks", WEBHOOK).json
    shown = {**WEBHOOK, "id": 1, "type": "webhook", "disabled": False, "full_resolution": False, "with_content": False}
    assert made == shown
    assert workspace.configure(full_resolution=True)["id"] == 1
    changed = {**WEBHOOK, "events": ["push_sent"], "with_content": True}
    assert workspace.app("PUT", "/v1/reporting_webhooks/1", changed).json == {
        **shown, **changed, "full_resolution": True,
    }  # fmt: skip
    assert workspace.app("GET", "/v1/reporting_webhooks").json == {
        "reporting_webhooks": [workspace.app("GET", "/v1/reporting_webhooks/1").json]
    }
    gone = workspace.app("DELETE", "/v1/reporting_webhooks/1")
    assert (gone.status_code, gone.data) == (200, b"")
    for method in ("GET", "PUT", "DELETE"):
        assert workspace.app(method, "/v1/reporting_webhooks/1", WEBHOOK).status_code == 404


@pytest.mark.parametrize(
    "change",
    [{"events": []}, {"events": ["slack_undeliverable"]}, {"events": ["email_teleported"]}, {"endpoint": "ftp://a"},
     {"endpoint": "nonsense"}, {"name": 5}, {"with_content": "yes"}],
)  # fmt: skip
def test_a_malformed_webhook_is_refused(workspace: Any, change: Any) -> None:
    answer = workspace.app("POST", "/v1/reporting_webhooks", {**WEBHOOK, **change})
    assert answer.status_code == 400
    assert answer.json["meta"]["error"]
    assert workspace.app("GET", "/v1/reporting_webhooks").json == {"reporting_webhooks": []}


def test_the_queue_of_a_deleted_webhook_is_given_up(hooked: Any) -> None:
    hooked.configure(url="http://127.0.0.1:9/x")
    hooked.report({"object_type": "sms", "metric": "sent"})
    hooked.settle()
    hooked.app("DELETE", "/v1/reporting_webhooks/1")
    assert hooked.totals()["given_up"] == 1
    assert hooked.ledger()["totals"]["reasons"] == {"dropped: the webhook was deleted": 1}


def test_the_feed_keeps_its_key_when_it_is_made_anew(workspace: Any) -> None:
    workspace.configure(url="http://127.0.0.1:9/x")
    workspace.app("DELETE", "/v1/reporting_webhooks/1")
    again = workspace.configure(url="http://127.0.0.1:9/x")
    assert again["signing_key"] == workspace.tank.credential("customerio_signing_key")


def test_ten_requests_a_second(workspace: Any) -> None:
    codes = [workspace.app("GET", "/v1/reporting_webhooks").status_code for _ in range(11)]
    assert codes == [200] * 10 + [429]
    workspace.advance(1)
    assert workspace.app("GET", "/v1/reporting_webhooks").status_code == 200


def test_one_trigger_in_ten_seconds_per_broadcast(workspace: Any) -> None:
    assert [workspace.app("POST", "/v1/campaigns/12/triggers", {}).status_code for _ in range(2)] == [200, 429]
    assert workspace.app("POST", "/v1/campaigns/13/triggers", {}).status_code == 200
    workspace.advance(10)
    assert workspace.app("POST", "/v1/campaigns/12/triggers", {}).status_code == 200


def test_the_track_limit_is_a_setting(make: Any) -> None:
    workspace = make(**{"limit.track": 2})
    codes = [workspace.track("PUT", "/customers/ann", {}).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    workspace.advance(3)
    assert workspace.track("PUT", "/customers/ann", {}).status_code == 200


@pytest.mark.parametrize(("region", "host"), [("us", "track"), ("eu", "track-eu")])
def test_regions(make: Any, region: str, host: str) -> None:
    workspace = make(region=region)
    assert workspace.track("GET", "/accounts/region").json == {
        "url": f"https://{host}.customer.io", "region": region, "environment_id": 56354,
    }  # fmt: skip
    addresses = workspace.app("GET", "/v1/info/ip_addresses").json["ip_addresses"]
    assert ("35.188.196.183" in addresses, "34.76.143.229" in addresses) == (region == "us", region == "eu")
    assert workspace.client.get("/v1/info/ip_addresses").json["ip_addresses"] == addresses


@pytest.mark.parametrize(("home", "away"), [("us", "eu"), ("eu", "us")])
def test_keys_are_known_on_the_hosts_of_their_own_region_only(make: Any, home: Any, away: Any) -> None:
    workspace = make(region=home)
    assert workspace.track("PUT", "/customers/ann", {"email": "ann@example.com"}).status_code == 200
    sent = workspace.app("POST", "/v1/send/email", {
        "transactional_message_id": 9, "identifiers": {"id": "ann"}, "to": "ann@example.com",
    }).json  # fmt: skip
    opened = {"delivery_id": sent["delivery_id"], "metric": "opened"}
    seen = len(workspace.reports())
    own = workspace.client
    workspace.client = customerio.create_app(workspace.tanks, away).test_client()
    assert workspace.track("PUT", "/customers/bob", {}).status_code == 401
    assert workspace.app("GET", "/v1/reporting_webhooks").status_code == 401
    assert workspace.client.post("/api/v1/metrics", json=opened).status_code == 400
    found = workspace.client.get("/v1/info/ip_addresses").json["ip_addresses"]
    assert ("35.188.196.183" in found) == (away == "us")
    # Only who asks where it belongs is told so on either host.
    assert workspace.track("GET", "/accounts/region").json["region"] == home
    assert len(workspace.reports()) == seen
    workspace.client = own
    assert workspace.track("DELETE", "/customers/bob").status_code == 200
    assert workspace.client.post("/api/v1/metrics", json=opened).status_code == 200


def test_wrong_and_revoked_keys_are_refused(workspace: Any) -> None:
    assert workspace.app("GET", "/v1/reporting_webhooks", key="x").status_code == 401
    assert workspace.track("PUT", "/customers/ann", {}, key="x").status_code == 401
    workspace.tanks.set_credential(workspace.tank.id, "customerio_track_api_key", revoked=True)
    workspace.tanks.set_credential(workspace.tank.id, "customerio_app_api_key", revoked=True)
    assert workspace.app("GET", "/v1/reporting_webhooks").status_code == 401
    assert workspace.track("PUT", "/customers/ann", {}).status_code == 401
    assert known(workspace) == []


def test_the_same_seed_makes_the_same_traffic(make: Any) -> None:
    def bodies(workspace: Any) -> list[Any]:
        workspace.generate(5, 20)
        workspace.advance(8 * DAY)
        found = [each["report"] for each in workspace.reports()]
        for each in found:
            del each["data"]["delivery_id"]  # it names the workspace
        return found

    first = bodies(make(tick_s=DAY))
    assert first == bodies(make(tick_s=DAY))
    assert len(first) > 40
