"""The mapping of Customer.io's reports against its page on Amplitude: the page's own pair, every pair, every rule.

The page's pair of payloads does not fit together. What was chosen, and why:

a. insert_id is the event_id, as the table says: the printed ``$insert_id`` is of another event (their ULIDs are 19 hours
   apart, and its own lies within the second of the event).
b. The timestamp 166904535 has lost a digit: 1669045350 is the printed ``_time``. A connector cannot know; it takes
   nine digits for 1975.
c. The recipient is passed on as it comes, with its plus.
d. trigger_id is passed on: nothing says that a field is left out (the input was decorated: a campaign has none).
e. The object ``identifiers`` is not passed on: it has become the user.
f. cio_id is left out (a setting adds it).
g. customer_id is kept, though deprecated: the sample has it.
h. The email becomes the property ``email``: the table says that it is among the properties, the sample has none.
i. Amplitude's integer ``event_id`` is Amplitude's own counter.
j. The groups are ``account_id`` and ``workspace`` as recorded (the table says workspace_id; a setting).
k. Events are called ``Email Sent`` (the text also says ``email sent``).
l. object_type and metric are the name and no properties.
m. The webhook's key is ``device_platform``; ``platform``, as the table has it, is understood too.
n. The event is half a second younger than its upload: nothing is held back or changed for that.
o. Times are whole seconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from connector.flows import customerio
from connector.flows.customerio import Integration, Readings, Skipped, to_amplitude

FOLDER = Path(__file__).parent
REPORTS: list[dict[str, Any]] = [json.loads(x) for x in (FOLDER / "customerio_reports.jsonl").read_text().splitlines()]
NAMES: dict[str, dict[str, str]] = yaml.safe_load((FOLDER / "customerio_names.yaml").read_text("utf-8"))
ON = Integration(body_content=True)

SEED_IN: dict[str, Any] = {
    "event_id": "01GJBCEYDJMH4VCDKXC98JNQ2D",
    "object_type": "sms",
    "timestamp": 1669045350,  # b
    "metric": "sent",
    "data": {
        "trigger_id": 1,
        "customer_id": "313803",
        "delivery_id": "dgSiuAMBAMeAFMWAFAGEmtrrwMzFAHs6nMGmSG4=",
        "action_id": 1001266,
        "campaign_id": 1000223,
        "journey_id": "01GJDDNSY0X731SPYZEBKRNZZ1",
        "identifiers": {"id": "313803", "email": "cool.person@example.com", "cio_id": "d9c106000001"},
        "content": "Hey jenny! I got your number!",
        "recipient": "+15558675309",
    },
}
SEED_OUT: dict[str, Any] = {
    "user_id": "313803",
    "event_type": "Sms Sent",  # k
    "time": 1669045350000,  # o
    "insert_id": "01GJBCEYDJMH4VCDKXC98JNQ2D",  # a
    "groups": {"account_id": "1", "workspace": "56354"},  # j
    "event_properties": {
        "action_id": 1001266,
        "campaign_id": 1000223,
        "content": "Hey jenny! I got your number!",
        "customer_id": "313803",  # g
        "delivery_id": "dgSiuAMBAMeAFMWAFAGEmtrrwMzFAHs6nMGmSG4=",
        "journey_id": "01GJDDNSY0X731SPYZEBKRNZZ1",
        "recipient": "+15558675309",  # c
        "trigger_id": 1,  # d
        "email": "cool.person@example.com",  # h
    },
}
SEED_INTEGRATION = Integration(None, True, {"account_id": "1", "workspace": "56354"})


def one(report: dict[str, Any], integration: Integration = ON) -> dict[str, Any]:
    """The only event of a report."""
    made = to_amplitude(report, integration)
    assert isinstance(made, list), made
    assert len(made) == 1
    return made[0]


def report(metric: str = "sent", object_type: str = "email", **changes: Any) -> dict[str, Any]:
    data = {"identifiers": {"id": "acct_77120", "email": "mina@example.org"}, "delivery_id": "d1"}
    given = {"event_id": "e1", "object_type": object_type, "metric": metric, "timestamp": 1761912345, "data": data}
    return {**given, **changes}


def push(*recipients: dict[str, Any], **identifiers: Any) -> dict[str, Any]:
    return report("opened", "push", data={"identifiers": identifiers, "recipients": list(recipients)})


def reading(**changes: Any) -> Integration:
    return Integration(body_content=True, readings=Readings(**changes))


def test_the_pages_own_pair_field_by_field() -> None:
    assert one(SEED_IN, SEED_INTEGRATION) == SEED_OUT


def test_the_printed_timestamp_is_taken_at_its_word() -> None:
    assert one({**SEED_IN, "timestamp": 166904535}, SEED_INTEGRATION)["time"] == 166904535000


def test_the_catalogue_is_all_there() -> None:
    pairs = [(each["object_type"], each["metric"]) for each in REPORTS]
    assert len(pairs) == len(set(pairs)) == 71
    assert set(pairs) == {(kind, metric) for kind, metrics in NAMES.items() for metric in metrics}
    assert all(customerio.known(*each) for each in pairs)
    assert len({name for metrics in NAMES.values() for name in metrics.values()}) == 71


@pytest.mark.parametrize("given", REPORTS, ids=lambda each: f"{each['object_type']}-{each['metric']}")
def test_every_pair(given: dict[str, Any]) -> None:
    data = given["data"]
    expected = {key: value for key, value in data.items() if key not in ("identifiers", "headers", "content")}
    expected["email"] = "mina.okafor@example.org"
    if given["metric"] == "sent":
        expected["content"] = data["content"]
    first = (data.get("recipients") or [{}])[0]
    device: dict[str, Any] = {}
    if "device_id" in first:
        device["device_id"] = first["device_id"]
    if "device_platform" in first:
        device["platform"] = {"ios": "iOS", "android": "Android"}[first["device_platform"]]
    assert one(given) == {
        "user_id": "acct_77120",
        **device,
        "event_type": NAMES[given["object_type"]][given["metric"]],
        "time": int(f"{given['timestamp']}000"),
        "insert_id": given["event_id"],
        "event_properties": expected,
    }


@pytest.mark.parametrize(
    ("kind", "metric", "name"),
    [
        ("email", "deferred", "Email Deferred"),
        ("sms", "dropped", "Sms Dropped"),
        ("slack", "converted", "Slack Converted"),
        ("webhook", "converted", "Webhook Converted"),
        ("sms", "unsubscribed", "Sms Unsubscribed"),
    ],
)
def test_pairs_that_can_be_ticked_and_have_no_schema_are_sent(kind: str, metric: str, name: str) -> None:
    assert one(report(metric, kind))["event_type"] == name


# -- who


@pytest.mark.parametrize(
    ("identifiers", "expected"),
    [
        ({"id": "42"}, "42"),
        ({"id": 42}, "42"),
        ({"id": "0", "email": "zero@example.org"}, "zero@example.org"),
        ({"id": 0, "email": "zero@example.org"}, "zero@example.org"),
        ({"id": "00", "email": "zero@example.org"}, "00"),
        ({"id": "anonymous", "email": "a@example.org"}, "anonymous"),
        ({"id": " Ümläut ", "email": None}, " Ümläut "),
    ],
)
def test_the_user_is_the_id_and_for_id_0_the_email(identifiers: dict[str, Any], expected: str) -> None:
    made = one(report(data={"identifiers": identifiers}))
    assert made["user_id"] == expected
    assert "device_id" not in made


NO_ID: list[Any] = [
    {"id": None, "email": "a@example.org", "cio_id": "a3f40b00002c"},
    {"id": ""},
    {"email": "a@example.org"},
    {"id": "0"},
    {"id": "0", "email": None},
    {"id": True},
    {"id": ["1"]},
    {},
    None,
    "acct_1",
]


@pytest.mark.parametrize("identifiers", NO_ID)
def test_nobody_is_skipped_and_a_device_is_enough(identifiers: Any) -> None:
    nobody = report(data={"identifiers": identifiers, "customer_id": "", "delivery_id": "d1"})
    assert to_amplitude(nobody, ON) == Skipped(customerio.NOBODY)
    made = one(report(data={"identifiers": identifiers, "recipients": [{"device_id": "token-1"}]}))
    assert made["device_id"] == "token-1"
    assert "user_id" not in made


def test_the_documented_device_only_event() -> None:
    data = {
        "identifiers": {"id": None},
        "delivery_id": "dd",
        "action_id": 412,
        "campaign_id": 58,
        "recipients": [{"device_id": "fQ7k", "device_platform": "android"}],
    }
    groups = Integration(None, False, {"account_id": "1"}, Readings(recipients=False))
    assert one(report("opened", "push", data=data), groups) == {
        "device_id": "fQ7k",
        "platform": "Android",
        "event_type": "Push Opened",
        "time": 1761912345000,
        "insert_id": "e1",
        "groups": {"account_id": "1"},
        "event_properties": {"delivery_id": "dd", "action_id": 412, "campaign_id": 58},
    }


# -- devices


@pytest.mark.parametrize(
    ("given", "since", "before"),
    [("ios", "iOS", "ios"), ("android", "Android", "android"), ("web", "Web", "web"), ("IOS", "iOS", "IOS")],
)
def test_platforms_have_capitals_since_2024(given: str, since: str, before: str) -> None:
    sent = push({"device_id": "t", "device_platform": given}, id="p")
    assert one(sent)["platform"] == since
    assert one(sent, reading(platform_spelling="before 2024-03-28"))["platform"] == before


def test_the_tables_key_of_the_platform_is_understood_and_it_may_be_absent() -> None:
    assert one(push({"device_id": "t", "platform": "ios"}, id="p"))["platform"] == "iOS"
    assert "platform" not in one(push({"device_id": "t"}, id="p"))
    assert "platform" not in one(push({"device_id": "t", "device_platform": None}, id="p"))


SEVERAL = ({"device_platform": "web"}, {"device_id": "a1", "device_platform": "ios"}, {"device_id": "b2"})


def test_of_several_devices_the_first_is_told_and_none_is_lost() -> None:
    made = one(push(*SEVERAL, id="p"))
    assert (made["device_id"], made["platform"], made["insert_id"]) == ("a1", "iOS", "e1")
    assert made["event_properties"]["recipients"] == list(SEVERAL)


def test_one_event_per_device_is_a_setting() -> None:
    made = to_amplitude(push(*SEVERAL, id="p"), reading(devices="each"))
    assert isinstance(made, list)
    assert [(each["device_id"], each["insert_id"]) for each in made] == [("a1", "e1"), ("b2", "e1-2")]
    assert "platform" not in made[1]


@pytest.mark.parametrize(
    "recipients", [None, {}, "x", [], [None], ["a"], [{}], [{"device_id": 5}], [{"device_id": ""}]]
)
def test_recipients_that_name_no_device_leave_the_user(recipients: Any) -> None:
    made = one(report("sent", "push", data={"identifiers": {"id": "p"}, "recipients": recipients}))
    assert "device_id" not in made


# -- content


@pytest.mark.parametrize("kind", NAMES)
def test_only_sent_events_carry_content_and_only_with_body_content(kind: str) -> None:
    for metric in NAMES[kind]:
        data = {"identifiers": {"id": "p"}, "content": "text"}
        given = report(metric, kind, data=data)
        assert ("content" in one(given)["event_properties"]) == (metric == "sent"), metric
        assert "content" not in one(given, Integration())["event_properties"]


@given(st.text(max_size=40), st.integers(0, 3000))
def test_content_is_cut_at_1024_code_points(text: str, repeat: int) -> None:
    whole = text * repeat
    cut = one(report(data={"identifiers": {"id": "p"}, "content": whole}))["event_properties"]["content"]
    assert cut == whole[:1024]
    assert len(cut) == min(1024, len(whole))


def test_a_character_beyond_the_first_plane_counts_once() -> None:
    cut = one(report(data={"identifiers": {"id": "p"}, "content": "🌊" * 1025}))["event_properties"]["content"]
    assert cut == "🌊" * 1024


def test_preferences_and_headers_are_told_only_by_setting() -> None:
    data = {"identifiers": {"id": "p"}, "content": "{}", "headers": {"X": ["1"]}}
    assert one(report("sent", data=data), reading(headers=True))["event_properties"]["headers"] == {"X": ["1"]}
    changed = report("cio_subscription_preferences_changed", "customer", data=data)
    assert one(changed, reading(preferences_content=True))["event_properties"]["content"] == "{}"


# -- settings of the disputed readings


def test_disputed_names_are_settings() -> None:
    other = reading(in_app_name="In-App", preferences_name="Subscription Preferences Changed", whatsapp_name="WhatsApp")
    assert one(report("clicked", "in_app"), other)["event_type"] == "In-App Clicked"
    assert one(report("opened", "whatsapp"), other)["event_type"] == "WhatsApp Opened"
    changed = report("cio_subscription_preferences_changed", "customer")
    assert one(changed, other)["event_type"] == "Customer Subscription Preferences Changed"


def test_the_emails_property_and_the_canonical_id_are_settings() -> None:
    data = {"identifiers": {"id": "p", "email": "a@example.org", "cio_id": "c1"}}
    assert one(report(data=data))["event_properties"] == {"email": "a@example.org"}
    other = reading(email_property="identifiers.email", cio_id=True)
    assert one(report(data=data), other)["event_properties"] == {"identifiers.email": "a@example.org", "cio_id": "c1"}
    assert one(report(data=data), reading(email_property=""))["event_properties"] == {}


def test_a_workspace_without_emails_sends_none() -> None:
    assert "email" not in one(report(data={"identifiers": {"id": "p"}}))["event_properties"]
    assert "email" not in one(report(data={"identifiers": {"id": "p", "email": None}}))["event_properties"]


# -- selection


@pytest.mark.parametrize(
    ("kind", "metric", "tick"),
    [
        ("email", "sent", "email_sent"),
        ("in_app", "clicked", "in_app_clicked"),
        ("email", "unsubscribed", "email_unsubscribed"),
        ("customer", "cio_subscription_preferences_changed", "customer_subscription_preferences_changed"),
        ("email", "cio_subscription_preferences_changed", "customer_subscription_preferences_changed"),
        ("email", "subscribed", "customer_subscribed"),
    ],
)
def test_only_what_is_ticked_is_sent(kind: str, metric: str, tick: str) -> None:
    assert tick in customerio.choices()
    given = report(metric, kind)
    assert one(given, Integration(frozenset([tick])))
    others = customerio.choices() - {tick}
    assert to_amplitude(given, Integration(others)) == Skipped(customerio.NOT_SELECTED)
    assert to_amplitude(given, Integration(frozenset())) == Skipped(customerio.NOT_SELECTED)


# -- bad input

BAD: list[tuple[dict[str, Any], str]] = [
    (report(event_id=None), customerio.NO_EVENT_ID),
    (report(event_id=""), customerio.NO_EVENT_ID),
    (report(event_id=7), customerio.NO_EVENT_ID),
    (report(object_type=None), customerio.NO_NAME),
    (report(object_type=["email"]), customerio.NO_NAME),
    (report(metric=""), customerio.NO_NAME),
    (report(metric="teleported"), customerio.NOT_KNOWN),
    (report(object_type="pigeon"), customerio.NOT_KNOWN),
    (report(object_type="Email"), customerio.NOT_KNOWN),
    (report("spammed", "push"), customerio.NOT_KNOWN),
    (report(data=None), customerio.NO_DATA),
    (report(data=[]), customerio.NO_DATA),
    (report(timestamp=None), customerio.NO_TIME),
    (report(timestamp="1761912345"), customerio.NO_TIME),
    (report(timestamp=1761912345.5), customerio.NO_TIME),
    (report(timestamp=True), customerio.NO_TIME),
    (report(timestamp=10**15), customerio.NO_TIME),
    (report(timestamp=-(10**15)), customerio.NO_TIME),
    ({}, customerio.NO_EVENT_ID),
]


@pytest.mark.parametrize(("given", "reason"), BAD)
def test_a_report_that_cannot_be_used_is_skipped_for_a_named_reason(given: dict[str, Any], reason: str) -> None:
    assert to_amplitude(given, ON) == Skipped(reason)


def test_an_unknown_report_is_sent_under_its_name_when_that_is_wanted() -> None:
    sent = reading(unknown_reports="send")
    assert one(report("teleported", "carrier_pigeon"), sent)["event_type"] == "Carrier Pigeon Teleported"


def test_milliseconds_are_read_as_such_or_left_out() -> None:
    given = report(timestamp=1761912345678)
    assert one(given)["time"] == 1761912345678
    assert to_amplitude(given, reading(timestamp_in_ms="skip")) == Skipped(customerio.NO_TIME)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SHAPED = st.fixed_dictionaries(
    {
        "event_id": JSON,
        "object_type": st.sampled_from([*NAMES, 5]),
        "metric": st.sampled_from(["sent", "opened", None]),
        "timestamp": st.integers() | JSON,
        "data": JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "identifiers": JSON | st.fixed_dictionaries({}, optional={"id": JSON, "email": JSON, "cio_id": JSON}),
                "recipients": JSON | st.lists(st.dictionaries(st.sampled_from(["device_id", "platform"]), JSON)),
                "content": JSON,
            },
        ),
    }
)


@given(SHAPED, st.sampled_from(["first", "each"]))
def test_whatever_comes_is_mapped_or_skipped(given: dict[str, Any], devices: str) -> None:
    made = to_amplitude(given, reading(devices=devices, cio_id=True))
    if isinstance(made, list):
        assert made
        assert all("user_id" in each or "device_id" in each for each in made)
        assert len({each["insert_id"] for each in made}) == len(made)
