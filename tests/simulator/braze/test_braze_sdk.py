"""Devices and log-ins, and what everything costs. Source: Braze docs, User profile lifecycle; Setting user IDs; Push
token lifecycle; Data points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulator.braze import data_points, pending, sdk

DAY_MS = 86_400_000
NOW = "2026-01-01T00:00:00Z"
GROUP = "7c2d1c1e-0000-4000-a000-000000000001"


def act(workspace: Any, do: str, device_id: str = "device-1", **more: Any) -> Any:
    with workspace.tank.store.write() as conn:
        now_ms = workspace.tank.clock.now_ms(conn)
        return sdk.act(conn, workspace.tank, {"device_id": device_id, "do": do, **more}, now_ms)


def cost(workspace: Any) -> dict[str, Any]:
    with workspace.tank.store.read() as conn:
        found: dict[str, Any] = data_points.read(conn)
    return found


# -- identity on devices


def test_a_new_device_has_an_anonymous_profile_that_gains_an_unknown_id(workspace: Any) -> None:
    anonymous = act(workspace, "session_start")
    assert anonymous.external_id is None
    act(workspace, "event", name="browsed")
    known = act(workspace, "change_user", external_id="ann")
    assert (known.braze_id, known.external_id) == (anonymous.braze_id, "ann")
    (person,) = workspace.people()
    assert person["custom_events"][0]["name"] == "browsed"
    assert act(workspace, "change_user", external_id="ann").braze_id == known.braze_id


def test_an_anonymous_profile_is_merged_into_a_known_one_by_default(workspace: Any) -> None:
    workspace.attributes({"external_id": "ann", "x": 1, "first_name": "Ann"})
    act(workspace, "attributes", attributes={"x": 2, "y": 2, "first_name": "Guest"})
    act(workspace, "push_token", token="t1")
    act(workspace, "event", name="browsed")
    act(workspace, "change_user", external_id="ann")
    (person,) = workspace.people()
    assert (person["custom_attributes"], person["first_name"]) == ({"x": 1, "y": 2}, "Ann")
    assert (person["custom_events"][0]["count"], person["push_tokens"][0]["token"]) == (1, "t1")


def test_or_it_is_orphaned_and_only_tokens_go_along(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(anonymous_to_known="orphan")
    workspace.attributes({"external_id": "ann", "x": 1})
    act(workspace, "attributes", attributes={"y": 2})
    act(workspace, "push_token", token="t1")
    act(workspace, "change_user", external_id="ann")
    (person,) = workspace.people()
    assert (person["custom_attributes"], person["push_tokens"][0]["token"]) == ({"x": 1}, "t1")


def test_nothing_moves_between_two_identified_people_but_the_push_token(workspace: Any) -> None:
    act(workspace, "change_user", external_id="ann")
    act(workspace, "attributes", attributes={"x": 1})
    act(workspace, "push_token", token="t1", device_id="device-1")
    bob = act(workspace, "change_user", external_id="bob")
    assert (bob.custom, [each["token"] for each in bob.tokens]) == ({}, ["t1"])
    assert workspace.person("ann")["custom_attributes"] == {"x": 1}
    assert workspace.person("ann")["push_tokens"] == []
    act(workspace, "event", name="later")
    assert workspace.person("bob")["custom_events"][0]["name"] == "later"
    assert workspace.person("ann")["custom_events"] == []


def test_a_device_can_give_its_anonymous_profile_an_alias(workspace: Any) -> None:
    act(workspace, "session_start")
    act(workspace, "add_alias", alias_name="n", alias_label="l")
    assert workspace.people()[0]["user_aliases"] == [{"alias_name": "n", "alias_label": "l"}]
    act(workspace, "add_alias", "device-2", alias_name="n", alias_label="l")
    assert [each["user_aliases"] for each in workspace.people()][1] == []


def test_sessions_are_counted_and_exported_by_app(workspace: Any) -> None:
    for _ in range(2):
        act(workspace, "session_start", app="Shop")
        workspace.advance(1000)
    act(workspace, "change_user", external_id="ann")
    (user,) = workspace.export(["apps", "devices"], external_ids=["ann"])["users"]
    app = user["apps"][0]
    assert (app["name"], app["sessions"]) == ("Shop", 2)
    assert (app["first_used"], app["last_used"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z")
    assert user["devices"] == [{"device_id": "device-1"}]


def test_a_device_whose_profile_was_deleted_starts_anew(workspace: Any) -> None:
    first = act(workspace, "session_start")
    workspace.post("/users/delete", {"braze_ids": [first.braze_id]})
    assert act(workspace, "session_start").braze_id != first.braze_id


@pytest.mark.parametrize(
    "action",
    [
        {"do": "change_user"},
        {"do": "event"},
        {"do": "purchase", "product_id": "p"},
        {"do": "attributes", "attributes": {"email": "nope"}},
        {"do": "event", "name": "x", "properties": {"time": 1}},
    ],
)
def test_an_action_that_lacks_something_is_refused_and_changes_nothing(workspace: Any, action: Any) -> None:
    before = workspace.digest()
    with pytest.raises(ValueError, match=" "):
        act(workspace, **action)
    assert workspace.digest() == before


# -- data points


@pytest.mark.parametrize(
    ("given", "points"),
    [
        ({"x": 1}, 1),
        ({"x": 1, "y": "a", "first_name": "A"}, 3),
        ({"x": None}, 1),
        ({"x": {"inc": 1}}, 1),
        ({"x": ["a", "b", "c"]}, 1),
        ({"x": {"add": ["a", "b"]}}, 2),
        ({"x": {"remove": ["missing"]}}, 1),
        ({"x": {"a": 1, "b": {"c": 2, "d": 3}}}, 3),
        ({"x": [{"a": 1, "b": 2}, {"a": 3}]}, 3),
        ({"x": {"$remove": [{"$identifier_key": "a", "$identifier_value": 1}]}}, 1),
        ({"country": "NO", "language": "no"}, 2),
        ({"current_location": {"longitude": 1, "latitude": 2}}, 1),
        ({"email_subscribe": "opted_in", "push_subscribe": "subscribed"}, 0),
        ({"push_tokens": [{"app_id": "a", "token": "t"}]}, 0),
        ({"subscription_groups": [{"subscription_group_id": GROUP, "subscription_state": "subscribed"}]}, 0),
        ({"_merge_objects": True, "_update_existing_only": False}, 0),
    ],
)
def test_what_an_attribute_write_costs_even_when_nothing_changes(workspace: Any, given: Any, points: int) -> None:
    for _ in range(2):
        workspace.attributes({"external_id": "a", **given})
    assert cost(workspace)["total"] == 2 * points


def test_events_purchases_and_recommended_events(workspace: Any) -> None:
    bought = {"external_id": "a", "product_id": "p", "currency": "USD", "price": 1, "quantity": 3, "time": NOW}
    order = {"order_id": "o", "total_value": 20, "currency": "USD", "products": [], "source": "web"}
    placed = {"external_id": "a", "name": "ecommerce.order_placed", "time": NOW, "properties": order}
    workspace.track(events=[{"external_id": "a", "name": "seen", "time": NOW}, placed], purchases=[bought])
    assert cost(workspace)["total"] == 2


def test_what_is_free(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"}, {"external_id": "b"})
    workspace.post("/users/alias/new", {"user_aliases": [{"external_id": "a", "alias_name": "n", "alias_label": "l"}]})
    names = [{"current_external_id": "a", "new_external_id": "c"}]
    workspace.post("/users/external_ids/rename", {"external_id_renames": names})
    workspace.post("/users/delete", {"external_ids": ["b"]})
    workspace.attributes({"x": 1})
    workspace.attributes({"external_id": "unknown", "x": 1, "_update_existing_only": True})
    assert cost(workspace)["total"] == 0


def test_points_by_source_day_and_person(workspace: Any) -> None:
    workspace.attributes({"external_id": "ann", "x": 1}, {"external_id": "bob", "x": 1, "y": 1})
    workspace.cohort("cohorts/users", cohort_id="c", cohort_changes=[{"user_ids": ["ann", "nobody"]}])
    act(workspace, "session_start")
    act(workspace, "session_end")
    workspace.advance(DAY_MS)
    workspace.attributes({"external_id": "ann", "x": 1})
    found = cost(workspace)
    assert (found["total"], found["by_source"]) == (7, {"api": 4, "cohort_import": 1, "sdk": 2})
    assert found["by_day"] == [
        {"day": "2026-01-01", "source": "api", "points": 3},
        {"day": "2026-01-01", "source": "cohort_import", "points": 1},
        {"day": "2026-01-01", "source": "sdk", "points": 2},
        {"day": "2026-01-02", "source": "api", "points": 1},
    ]
    ann = [(each["day"], each["source"], each["points"]) for each in found["users"] if each["external_id"] == "ann"]
    assert ann == [("2026-01-01", "api", 1), ("2026-01-01", "cohort_import", 1), ("2026-01-02", "api", 1)]


def test_points_by_request(workspace: Any) -> None:
    workspace.attributes({"external_id": "ann", "x": 1, "y": 1})
    workspace.post("/users/track/sync", {"attributes": [{"external_id": "ann", "z": 1}]})
    workspace.post("/users/delete", {"external_ids": ["ann"]})
    with workspace.tank.store.read() as conn:
        writes = pending.listed(conn)
    assert [(each["kind"], each["applied"], each["points"]) for each in writes] == [
        ("track", True, 2),
        ("track", True, 1),
        ("delete", True, 0),
    ]
    assert cost(workspace)["total"] == 3
