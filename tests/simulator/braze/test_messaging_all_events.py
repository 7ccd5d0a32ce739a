"""Every Currents event of the catalogue, caused by a marketer and by people with their devices: one campaign, stepped time."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from simulator.openapi import contract

ENVELOPE = jsonschema.Draft202012Validator(contract("currents_envelope"))
KINDS = {"string": str, "float": (int, float), "int": int, "boolean": bool, "object": dict}
GROUP = "5f0a5f0a-0000-4000-8000-000000000001"
SMS_GROUP = "5f0a5f0a-0000-4000-8000-000000000002"
IPHONE = {"platform": "ios", "os_version": "17.6.1", "device_model": "iPhone 15"}
EMAIL = "users.messages.email."
PUSH = "users.messages.pushnotification."
SMS = "users.messages.sms."
CARD = "users.messages.contentcard."
STATE = "users.behaviors.subscriptiongroup.StateChange"
HOPED = [{"type": "performs_event", "name": "Checked Out", "window_s": 86400}]
CONTENT = {
    "email": {
        "subject": "Hi {{${first_name}}}",
        "body": '<a href="https://shop.example/spring">Spring</a>',
        "subscription_group_id": GROUP,
    },
    "apple_push": {"alert": "Spring is here, {{${first_name}}}"},
    "sms": {"subscription_group_id": SMS_GROUP, "body": "Spring!"},
    "in_app_message": {"message": "Welcome back"},
    "content_card": {"type": "CLASSIC", "title": "Spring"},
    "webhook": {"url": "https://hooks.example/spring"},
}


class Shop:
    """A marketer's and some people's view of one tank; ``events`` is what the connector has got."""

    def __init__(self, tank: Any, receiver: Any) -> None:
        self.tank = tank
        self.receiver = receiver
        self.braze = tank.ready["braze"]
        answer = tank.control("PUT", "/feeds/currents", {"url": receiver.url})
        assert answer.status_code == 200, answer.text

    def rest(self, path: str, body: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.braze['rest_api_key']}"}
        answer = self.tank.session.post(f"{self.braze['url']}{path}", json=body, headers=headers, timeout=60)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def desk(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = self.tank.control(method, f"/braze{path}", body, **query)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    def people_always(self, *does: str, never: tuple[str, ...] = ()) -> None:
        """What people surely do from now on, and what they surely do not."""
        changed = {**{each: {"p": 1, "after": [2, 3]} for each in does}, **{each: {"p": 0} for each in never}}
        answer = self.tank.control("PATCH", "/settings", {"braze.behaviour": changed})
        assert answer.status_code == 200, answer.text

    def do(self, device_id: str, do: str, **more: Any) -> None:
        self.desk("POST", "/sdk", {"actions": [{"device_id": device_id, "do": do, **more}]})

    def meet(self, name: str) -> None:
        """Somebody installs the app, signs up and takes push and SMS."""
        device_id = f"phone-{name}"
        self.do(device_id, "session_start", device=IPHONE)
        self.do(device_id, "change_user", external_id=name)
        about = {"first_name": name.capitalize(), "email": f"{name}@example.com", "time_zone": "Europe/Berlin"}
        number = 1000000 + sum(map(ord, name))
        self.do(device_id, "attributes", attributes={**about, "phone": f"+1555{number}"})
        self.do(device_id, "push_token", token=f"token-{name}")
        self.do(device_id, "subscribe", subscription_group_id=SMS_GROUP, subscription_state="subscribed")

    def campaign(self, name: str, *channels: str, **more: Any) -> dict[str, Any]:
        variations = [{"channel": each, "message": CONTENT[each]} for each in channels]
        made: dict[str, Any] = self.desk("POST", "/campaigns", {"name": name, "variations": variations, **more})
        return made

    def trigger(self, campaign: Any, *names: str, **more: Any) -> str:
        recipients = [{"external_user_id": each} for each in names]
        answer = self.rest("/campaigns/trigger/send", {"campaign_id": campaign["id"], "recipients": recipients, **more})
        dispatch_id: str = answer["dispatch_id"]
        return dispatch_id

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for each in self.receiver.got if each.body for event in each.events]

    def of(self, type_: str, name: str | None = None) -> list[dict[str, Any]]:
        who = (None, name) if name is None else (name,)
        return [
            each
            for each in self.events
            if each["event_type"] == type_ and (name is None or each["user"].get("external_user_id") in who)
        ]


@pytest.fixture
def shop(make_tank: Any, receiver: Any) -> Shop:
    return Shop(make_tank(settings={"clock.settle_ms": 1}), receiver)


def play(shop: Shop) -> None:
    """The script: what the marketer and six people do in two days."""
    for name in ("ann", "bob", "cid", "dan", "eve", "fay"):
        shop.meet(name)
    shop.do("phone-ann", "install_attribution", source="search ads")
    place = {"latitude": 52.5, "longitude": 13.4, "altitude": 34.0, "ll_accuracy": 5.0, "alt_accuracy": 3.0}
    shop.do("phone-ann", "location", **place)
    shop.do("phone-ann", "event", name="Viewed", properties={"sku": "x", "tags": ["a"]})
    shop.do("phone-ann", "purchase", product_id="x", price=9.5, currency="EUR", quantity=2, properties={"size": 4})
    shop.do("phone-ann", "news_feed")
    shop.do("phone-ann", "news_feed_card", card_id="5f0a5f0a-0000-4000-8000-00000000000a")
    shop.do("phone-ann", "news_feed_click", card_id="5f0a5f0a-0000-4000-8000-00000000000a")
    shop.tank.advance("2m")
    shop.do("phone-ann", "session_end")

    # Everything goes well: all channels reach ann, she opens, clicks and buys what the campaign is for.
    bad = (EMAIL + "Bounce", EMAIL + "SoftBounce", EMAIL + "MarkAsSpam", EMAIL + "Unsubscribe", PUSH + "Bounce")
    bad += (PUSH + "IosForeground", SMS + "Rejection", SMS + "DeliveryFailure", STATE)
    good = (EMAIL + "Delivery", EMAIL + "Open", EMAIL + "Click", PUSH + "Open", SMS + "CarrierSend", SMS + "Delivery")
    good += (CARD + "Impression", CARD + "Click", CARD + "Dismiss", "users.messages.inappmessage.Click", "convert")
    shop.people_always(*good, never=bad)
    spring = shop.campaign("Spring", *CONTENT, conversions=HOPED, description="all channels")
    shop.rest("/sends/id/create", {"campaign_id": spring["id"], "send_id": "spring-1"})
    shop.trigger(spring, "ann", send_id="spring-1")
    shop.tank.advance("5m")
    shop.do("phone-ann", "session_start")
    shop.tank.advance("1h")

    # Each of the others meets one misfortune.
    mail = shop.campaign("Bad luck", "email", "apple_push", "sms")
    for name, types in (
        ("bob", (EMAIL + "Bounce", PUSH + "Bounce", SMS + "Rejection")),
        ("cid", (EMAIL + "SoftBounce", PUSH + "IosForeground", SMS + "DeliveryFailure")),
        ("dan", (EMAIL + "Delivery", EMAIL + "Open", EMAIL + "MarkAsSpam", SMS + "Delivery")),
        ("eve", (EMAIL + "Delivery", EMAIL + "Open", EMAIL + "Unsubscribe", SMS + "Delivery", STATE)),
    ):
        shop.people_always(*types, never=tuple(each for each in (*bad, PUSH + "Open") if each not in types))
        shop.trigger(mail, name)
        shop.tank.advance("30m")

    # A control group that gets nothing, and a Canvas with a step by e-mail.
    shop.people_always(*good, never=bad)
    held_out = shop.campaign("Held out", "email", control_share=100, conversions=HOPED)
    shop.trigger(held_out, "fay")
    shop.tank.advance("1m")
    shop.do("phone-fay", "event", name="Checked Out")
    variants = [{"name": "A", "steps": [{"name": "Mail", "after_s": 600, "messages": {"email": CONTENT["email"]}}]}]
    canvas = shop.desk("POST", "/canvases", {"name": "Onboarding", "variants": variants, "conversions": HOPED})
    shop.rest("/canvas/trigger/send", {"canvas_id": canvas["id"], "recipients": [{"external_user_id": "fay"}]})
    shop.tank.advance("1h")
    shop.do("phone-bob", "uninstall")
    shop.tank.advance("1d")


def test_every_event_is_caused_by_acting(shop: Shop) -> None:
    play(shop)
    catalogue = {each["type"]: each for each in shop.tank.control("GET", "/braze/currents").json()["events"]}
    assert len(catalogue) == 40
    assert set(catalogue) - {each["event_type"] for each in shop.events} == set()
    ENVELOPE.validate({"events": []})
    for event in shop.events:
        ENVELOPE.validate({"events": [event]})
        fits(event, catalogue[event["event_type"]])
    for type_, described in catalogue.items():
        assert any(whole(event, described) for event in shop.of(type_)), type_
    assert len({each["id"] for each in shop.events}) == len(shop.events)
    totals = shop.tank.control("GET", "/ledger", flow="currents").json()["totals"]
    assert totals["emitted"] == len(shop.events)
    assert totals["dropped"] == 0
    assert totals["balanced"]


def fits(event: dict[str, Any], described: dict[str, Any]) -> None:
    """Nothing that the document does not list, and every value of its type."""
    types = {**described["properties"], **described["own"]}
    for name, value in event["properties"].items():
        assert name in types, (event["event_type"], name)
        assert isinstance(value, KINDS[types[name]]), (event["event_type"], name, value)


def whole(event: dict[str, Any], described: dict[str, Any]) -> bool:
    """Whether everything is there that the document lists for an event of this source."""
    there = event["properties"]
    met = {"button": "button_id" in there, "send_id": "send_id" in there}
    met |= {"campaign": "campaign_id" in there, "canvas": "canvas_id" in there}
    wanted = [name for name in described["properties"] if met.get(described["only_if"].get(name), True)]
    return all(name in there for name in (*wanted, *described["own"]))


def test_ids_agree_along_a_chain_and_no_effect_precedes_its_cause(shop: Shop) -> None:
    play(shop)
    mails = [EMAIL + each for each in ("Send", "Delivery", "Open", "Click")]
    chain = [next(each for each in shop.of(type_, "ann") if each["properties"].get("send_id")) for type_ in mails]
    times = [each["time"] for each in chain]
    assert times == sorted(times)
    shared = ("campaign_id", "campaign_name", "message_variation_id", "send_id", "dispatch_id", "email_address")
    for name in shared:
        assert len({each["properties"][name] for each in chain}) == 1, name
    (converted,) = shop.of("users.campaigns.Conversion", "ann")
    did = [
        each["time"]
        for each in shop.of("users.behaviors.CustomEvent", "ann")
        if each["properties"]["name"] == "Checked Out"
    ]
    assert times[0] < converted["time"] == min(did)
    assert [converted["properties"][name] for name in shared[:4]] == [
        chain[0]["properties"][name] for name in shared[:4]
    ]
    assert json.loads(converted["properties"]["conversion_behavior"])["custom_event_name"] == "Checked Out"
    assert {each["user"]["external_user_id"] for each in chain} == {"ann"}
    # One dispatch over all channels.
    sends = {
        each["event_type"]
        for each in shop.events
        if each["properties"].get("dispatch_id") == chain[0]["properties"]["dispatch_id"]
    }
    assert {EMAIL + "Send", PUSH + "Send", SMS + "Send"} <= sends
    assert {each["user"]["device_id"] for each in shop.of(PUSH + "Send", "ann")} == {"phone-ann"}


def test_what_happened_changes_what_braze_knows(shop: Shop) -> None:
    play(shop)
    sent = len(shop.of(EMAIL + "Send"))
    people = {each["external_id"]: each for each in shop.desk("GET", "/users")["users"]}
    assert people["eve"]["email_subscribe"] == "unsubscribed"
    assert people["eve"]["subscription_groups"][GROUP] == "unsubscribed"
    assert people["bob"]["push_tokens"] == []
    again = shop.campaign("Once more", "email", "apple_push")
    shop.trigger(again, "bob", "dan", "eve")
    shop.tank.advance("1h")
    reasons = {
        (each["external_id"], each["channel"]): each["reason"]
        for each in shop.desk("GET", "/messages", object_id=again["id"])["messages"]
        if each["state"] == "skipped"
    }
    assert reasons == {
        ("bob", "email"): "the address has bounced",
        ("bob", "apple_push"): "no push token of the platform",
        ("dan", "email"): "marked as spam",
        ("eve", "email"): "unsubscribed from e-mail",
    }
    assert len(shop.of(EMAIL + "Send")) == sent
