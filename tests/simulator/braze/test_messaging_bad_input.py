"""Whatever is thrown at messaging: a documented refusal or success, never a 5xx; what is taken can be worked off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_braze_bad_input import VALUES

from simulator.braze import marketing, messaging_routes
from simulator.braze.channels import channels

DOCUMENTED = {200, 201, 400}
POSTS = sorted(endpoint.split()[1] for endpoint in messaging_routes.HANDLERS)
GETS = sorted(endpoint.split()[1] for endpoint in messaging_routes.READERS)
MESSAGES: dict[str, Any] = {
    "email": {"subject": "s", "body": "Hi {{${first_name}}} {{api_trigger_properties.${x}.y[0]}}"},
    "sms": {"subscription_group_id": "g", "body": "b"},
    "apple_push": {"alert": {"title": "t"}, "extra": {}},
    "content_card": {"type": "CLASSIC"},
    "in_app_message": {"message": "m"},
    "webhook": {"url": "https://a.example"},
}
TEXTS = st.sampled_from(
    ["a", "b", "", "{{", "{% if %}", "{% abort_message() %}", "{{${x} | nofilter}}", "{{ 1 | divided_by: 0 }}"]
)
MESSAGE = st.dictionaries(
    st.sampled_from(["subject", "body", "alert", "extra", "url", "message"]), TEXTS | VALUES, max_size=4
)
ALIAS = st.just({"alias_name": "n", "alias_label": "l"}) | VALUES
RECIPIENT = st.fixed_dictionaries(
    {},
    optional={
        "external_user_id": st.sampled_from(["a", "new", "", 7]) | VALUES,
        "user_alias": ALIAS,
        "email": st.just("a@example.com") | VALUES,
        "prioritization": st.just(["identified"]) | VALUES,
        "trigger_properties": st.just({"x": 1}) | VALUES,
        "send_to_existing_only": st.booleans(),
        "attributes": st.just({"x": 1}) | st.just({"email": "b@example.com"}) | VALUES,
    },
)
COMPARISON = st.fixed_dictionaries(
    {
        "custom_attribute_name": st.just("x") | VALUES,
        "comparison": st.sampled_from(
            ["equals", "matches_regex", "greater_than", "before", "less_than_x_days_ago", "exists"]
        )
        | VALUES,
        "value": st.sampled_from(["(a+)+b", "[", "2026-01-01", 3, -1e300]) | VALUES,
    }
)
FILTER = st.builds(lambda each: {"custom_attribute": each}, COMPARISON) | st.builds(
    lambda each: {"last_used_app": each},
    st.fixed_dictionaries({"comparison": st.just("after"), "value": TEXTS | VALUES}),
)
AUDIENCE = (
    FILTER
    | st.builds(lambda name, inner: {name: inner}, st.sampled_from(["AND", "OR", "NOT"]), st.lists(FILTER, max_size=3))
    | VALUES
)
SCHEDULE = st.fixed_dictionaries(
    {"time": st.sampled_from(["2026-01-02T00:00:00Z", "2025-01-01", "2999-12-31", "soon", "0001-01-01"]) | VALUES},
    optional={"in_local_time": st.booleans() | VALUES, "at_optimal_time": st.booleans()},
)
FIELDS: dict[str, Any] = {
    "broadcast": st.booleans() | VALUES,
    "external_user_ids": st.lists(st.sampled_from(["a", "b", "", 1]), max_size=3) | VALUES,
    "user_aliases": st.lists(ALIAS, max_size=2) | VALUES,
    "segment_id": st.just("none") | VALUES,
    "audience": AUDIENCE,
    "campaign_id": st.sampled_from(["campaign", "messages", "canvas", "none"]) | VALUES,
    "canvas_id": st.sampled_from(["canvas", "campaign"]) | VALUES,
    "send_id": st.sampled_from(["s-1", "ü", "x" * 65]) | VALUES,
    "messages": st.dictionaries(st.sampled_from(sorted(channels())), MESSAGE, max_size=2) | st.just(MESSAGES) | VALUES,
    "recipients": st.lists(RECIPIENT | VALUES, max_size=3) | VALUES,
    "trigger_properties": st.just({"x": {"y": [1]}}) | VALUES,
    "context": VALUES,
    "attachments": st.just([{"file_name": "f", "url": "u"}]) | VALUES,
    "schedule": SCHEDULE | VALUES,
    "schedule_id": VALUES,
    "recipient_subscription_state": st.sampled_from(["all", "opted_in", "none"]) | VALUES,
    "external_send_id": st.sampled_from(["ok", "not ok"]) | VALUES,
    "recipient": RECIPIENT | VALUES,
}
WHOM = {"recipients": [{"external_user_id": "a", "trigger_properties": {"x": {"y": ["z"]}}}]}
WHEN = {"schedule": {"time": "2026-01-02T00:00:00Z"}}
SEND = {"external_user_ids": ["a"], "messages": {name: MESSAGES[name] for name in ("email", "sms")}}
GOOD: dict[str, dict[str, Any]] = {
    "/messages/send": SEND,
    "/messages/schedule/create": {**SEND, **WHEN},
    "/messages/schedule/update": {**WHEN, "messages": SEND["messages"]},
    "/messages/schedule/delete": {},
    "/campaigns/trigger/send": {"campaign_id": "campaign", **WHOM},
    "/campaigns/trigger/schedule/create": {"campaign_id": "campaign", **WHOM, **WHEN},
    "/campaigns/trigger/schedule/update": {"campaign_id": "campaign", **WHEN},
    "/campaigns/trigger/schedule/delete": {"campaign_id": "campaign"},
    "/canvas/trigger/send": {"canvas_id": "canvas", **WHOM},
    "/canvas/trigger/schedule/create": {"canvas_id": "canvas", **WHOM, **WHEN},
    "/canvas/trigger/schedule/update": {"canvas_id": "canvas", **WHEN},
    "/canvas/trigger/schedule/delete": {"canvas_id": "canvas"},
    "/sends/id/create": {"campaign_id": "campaign"},
    "/transactional/v1/campaigns/<campaign_id>/send": {"recipient": WHOM["recipients"][0]},
}
"""A body that is taken; what is thrown takes the place of some of its members."""


def bodies(path: str, held: dict[str, Any]) -> Any:
    good = {**GOOD[path], **held}
    some = st.lists(st.sampled_from(sorted(FIELDS)), max_size=2, unique=True)
    junk = some.flatmap(lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names}))
    return junk.map(lambda each: {**good, **each}) | st.fixed_dictionaries({}, optional=FIELDS) | VALUES


def stocked(make_workspace: Callable[..., Any]) -> Any:
    workspace = make_workspace(plan="each_75")
    workspace.attributes({"external_id": "a", "email": "a@example.com", "phone": "+14155550100", "x": 1})
    variations = [{"channel": name, "message": message} for name, message in MESSAGES.items()]
    variants = [{"steps": [{"messages": MESSAGES}, {"after_s": 60, "messages": {"sms": MESSAGES["sms"]}}]}]
    hoped = [{"type": "performs_event", "name": "n"}]
    with workspace.tank.store.write() as conn:
        for name, type_ in (("campaign", "api_triggered"), ("messages", "api_messages"), ("mail", "transactional")):
            made = {"id": name, "name": name, "type": type_, "variations": variations, "conversions": hoped}
            marketing.make(conn, workspace.tank, "campaign", made, 0)
        marketing.make(conn, workspace.tank, "canvas", {"id": "canvas", "name": "c", "variants": variants}, 0)
    return workspace


@pytest.mark.parametrize("path", POSTS)
def test_anything_on_every_call(
    make_workspace: Callable[..., Any], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = stocked(make_workspace)
    pools = ("broadcast", "broadcast_audience", "sends_id_create")
    workspace.set(pool_limits=dict.fromkeys(pools, 100000))
    held = {}
    if path.endswith(("update", "delete")):
        made = path.replace("update", "create").replace("delete", "create")
        held["schedule_id"] = workspace.post(made, GOOD[made]).json["schedule_id"]
    statuses = set()

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(body=bodies(path, held))
    def run(body: Any) -> None:
        before = workspace.digest()
        answer = workspace.post(path.replace("<campaign_id>", "mail"), body)
        assert answer.status_code in DOCUMENTED, answer.text
        assert isinstance(answer.json, dict)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            assert workspace.digest() == before

    run()
    assert statuses & {200, 201}
    assert 400 in statuses
    workspace.advance(2 * 86_400_000)
    assert "failed" not in caplog.text, "a timer failed, and goes off again every minute"


@pytest.mark.parametrize("path", GETS)
def test_any_query_on_every_list(make_workspace: Callable[..., Any], path: str) -> None:
    workspace = stocked(make_workspace)
    (names,) = (names for endpoint, (_, names) in messaging_routes.READERS.items() if endpoint == f"GET {path}")
    values = st.sampled_from(
        ["campaign", "canvas", "0", "1", "-1", "14", "100", "٣", "true", "desc", "2026-01-01", "x" * 300]
    )
    texts = values | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)

    @settings(max_examples=100, suppress_health_check=list(HealthCheck), database=None)
    @given(query=st.dictionaries(st.sampled_from(names), texts, max_size=4))
    def run(query: dict[str, str]) -> None:
        before = workspace.digest()
        headers = {"Authorization": f"Bearer {workspace.key}"}
        answer = workspace.client.get(path, query_string=query, headers=headers)
        assert answer.status_code in (200, 400), answer.text
        assert isinstance(answer.json, dict)
        assert workspace.digest() == before

    run()
