"""The flows to Braze on plain values: conditions, times, changes, identifiers, schedules, faults of the set-up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector import membership, streaming
from connector.amplitude_rest import RestClient
from connector.config import ConfigError, load
from connector.flows import event_stream, property_sync
from connector.flows.cohort_sync import CohortSync, shown_name
from connector.flows.event_stream import Discarded, Identification, Selected, Stream
from connector.flows.property_sync import PropertySync
from connector.outbox import Outbox, Taken
from connector.syncing import following

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
EVENT = {
    "event_type": "Checkout", "user_id": "ada", "device_id": "d", "event_time": "2026-01-01 09:14:07.250000",
    "event_properties": {"plan": "pro", "value": 42.5, "gift": True, "tags": ["a"], "both": "event", "time": "x"},
    "user_properties": {"tier": "gold", "both": "user", "crm": 77, "email": "ada@example.com"},
}  # fmt: skip
NOBODY = RestClient("http://127.0.0.1:9", "", "")


@pytest.mark.parametrize(
    ("name", "op", "values", "holds"),
    [
        ("plan", "is", ["pro", "basic"], True),
        ("plan", "is", ["basic"], False),
        ("plan", "is not", ["basic"], True),
        ("none", "is not", ["basic"], True),
        ("plan", "contains", ["r"], True),
        ("plan", "does not contain", ["r"], False),
        ("none", "contains", ["r"], False),
        ("none", "does not contain", ["r"], True),
        ("value", "greater", [42], True),
        ("value", "greater or equal", [42.5], True),
        ("value", "less", [42.5], False),
        ("value", "less or equal", ["42.5"], True),
        ("plan", "less", [1], False),
        ("gift", "is", [True], True),
        ("gift", "is", ["true"], True),
        ("both", "is", ["event"], True),
        ("tier", "is", ["gold"], True),
        ("user_id", "is set", [], True),
        ("none", "is set", [], False),
        ("none", "is not set", [], True),
    ],
)
def test_conditions(name: str, op: str, values: list[Any], holds: bool) -> None:
    assert event_stream.meets({"property": name, "op": op, "values": values}, EVENT) is holds


def test_an_event_holds_what_was_chosen_and_the_events_own_property_wins() -> None:
    stream = Stream("app", event_properties=("value", "both", "tags", "time"), event_user_properties=("both", "tier"))
    assert event_stream.event(stream, EVENT) == {
        "external_id": "ada", "app_id": "app", "name": "Checkout", "time": "2026-01-01T09:14:07.250Z",
        "properties": {"value": 42.5, "both": "event", "tier": "gold"}, "_update_existing_only": False,
    }  # fmt: skip
    assert "properties" not in event_stream.event(Stream(), EVENT)


@pytest.mark.parametrize(
    ("mapping", "who"),
    [
        (Identification(), {"external_id": "ada"}),
        (Identification("crm", "braze_id"), {"braze_id": "77"}),
        (Identification("email", "email"), {"email": "ada@example.com"}),
        (Identification("device_id", "user_alias", "amp"), {"user_alias": {"alias_name": "d", "alias_label": "amp"}}),
        (Identification("none"), None),
    ],
)
def test_identifiers(mapping: Identification, who: dict[str, Any] | None) -> None:
    if who is None:
        with pytest.raises(Discarded, match="no value"):
            event_stream.event(Stream(mapping=mapping), EVENT)
    else:
        made = event_stream.event(Stream(mapping=mapping), EVENT)
        told = {name: made[name] for name in ("external_id", "braze_id", "user_alias", "email") if name in made}
        assert told == who


def test_either_of_two_ticks_of_one_event_type_lets_it_through() -> None:
    ticks = tuple(
        Selected("Checkout", ({"property": "plan", "op": "is", "values": [each]},)) for each in ("basic", "pro")
    )
    assert event_stream.event(Stream(events=ticks), EVENT)["name"] == "Checkout"
    with pytest.raises(Discarded, match="conditions"):
        event_stream.event(Stream(events=ticks[:1]), EVENT)
    with pytest.raises(Discarded, match="not selected"):
        event_stream.event(Stream(events=ticks), {**EVENT, "event_type": "Other"})


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-01 09:14:07", "2026-01-01T09:14:07Z"),
        ("2026-01-01 09:14:07.5", "2026-01-01T09:14:07.500Z"),
        ("2026-01-01T09:14:07.123456Z", "2026-01-01T09:14:07.123Z"),
    ],
)
def test_times(text: str, instant: str) -> None:
    assert event_stream.instant({"event_time": text}) == instant


USERS = Stream(send_users=True, user_properties=("tier", "visits", "member"))


@pytest.mark.parametrize(
    ("held", "given", "changed"),
    [
        ({}, {"tier": "gold", "shoe": 44}, {"tier": "gold"}),
        ({"tier": "gold"}, {"tier": "gold", "shoe": 45}, {}),
        ({"member": True}, {"member": 1}, {"member": 1}),
        ({"tier": "gold"}, {"$unset": {"tier": "-"}}, {"tier": None}),
        ({}, {"$unset": {"tier": "-"}}, {}),
        ({"tier": "gold", "visits": 3}, {"$clearAll": "-"}, {"tier": None, "visits": None}),
        ({"visits": 3}, {"$add": {"visits": 2}}, {"visits": 5}),
        ({"tier": "gold"}, {"$add": {"tier": 2}}, {}),
        ({"tier": "gold"}, {"$setOnce": {"tier": "iron"}}, {}),
        ({}, {"$setOnce": {"tier": "iron"}}, {"tier": "iron"}),
        ({}, {"tier": ["a"]}, {}),
        ({}, "nothing", {}),
    ],
)
def test_changes_of_users(held: dict[str, Any], given: Any, changed: dict[str, Any]) -> None:
    assert event_stream.changes(USERS, held, given) == changed


def test_attributes_show_every_chosen_value_and_null_for_what_was_unset() -> None:
    made = event_stream.attributes(USERS, "ada", {"tier": "gold", "visits": 3, "shoe": 44}, {"tier": None})
    assert made == {"external_id": "ada", "_update_existing_only": False, "tier": None, "visits": 3}


def test_attributes_may_show_what_changes_alone() -> None:
    made = event_stream.attributes(replace(USERS, changed_only=True), "ada", {"tier": "gold", "visits": 3}, {"visits": 4})
    assert made == {"external_id": "ada", "_update_existing_only": False, "visits": 4}


def test_a_new_name_may_stay_untold() -> None:
    sync = CohortSync("c1", "hourly")
    assert len(sync.opening("New", "Old", 0)) == 1
    assert replace(sync, renames=False).opening("New", "Old", 0) == []
    assert len(replace(sync, renames=False).opening("New", None, 0)) == 1


def test_a_member_goes_by_the_first_identifier_it_has_and_keeps_the_one_it_went_by() -> None:
    sync = CohortSync("c1", "hourly", ("user_alias", "user_id"), "crm", "number")
    assert sync.props == ("number",)
    told = sync.value({"amplitude_id": "1", "user_id": "ada", "number": "77"}, None, NOBODY)
    assert orjson.loads(told or "") == {"user_alias": {"alias_name": "77", "alias_label": "crm"}}
    assert sync.value({"amplitude_id": "1", "user_id": "ada", "number": ""}, None, NOBODY) is None
    assert sync.value({"amplitude_id": "1", "number": "77"}, '{"user_id":"old"}', NOBODY) == '{"user_id":"old"}'


def test_people_under_an_earlier_mapping_get_no_more_updates() -> None:
    sync = CohortSync("c1", "hourly", ("user_id",))
    gone = ('{"device_id":"d"}', '{"user_id":"ada"}')
    (request,) = [orjson.loads(each) for each in sync.items(iter(()), iter(gone))]
    assert request["body"]["cohort_changes"] == [{"user_ids": ["ada"], "should_remove": True}]


def test_requests_hold_a_thousand_people_and_never_both_directions() -> None:
    added, removed = (iter([f'{{"user_id":"{side}{n}"}}' for n in range(1001)]) for side in "ar")
    changes = [orjson.loads(each)["body"]["cohort_changes"] for each in CohortSync("c1", "daily").items(added, removed)]
    assert [(len(each["user_ids"]), each.get("should_remove", False)) for (each,) in changes] == [
        (1000, False), (1, False), (1000, True), (1, True),
    ]  # fmt: skip
    assert shown_name("COHORT_NAME", "cxyzz3hz") == "[Amplitude] COHORT_NAME: cxyzz3hz"


def test_the_schedule_keeps_its_offset() -> None:
    assert following("hourly", 0, 5_000) == HOUR_MS
    assert following("hourly", HOUR_MS, HOUR_MS + 10_000) == 2 * HOUR_MS
    assert following("daily", 0, 3 * DAY_MS + 1) == 4 * DAY_MS  # what was missed is not made up for
    assert following("one-time", 0, 5_000) is None


@pytest.mark.parametrize(
    ("cell", "value"),
    [("gold", "gold"), ("3", 3), ("4.5", 4.5), ("true", True), ('["a"]', ["a"]), ("007", "007"), ("null", "null")],
)
def test_cells(cell: str, value: Any) -> None:
    found = property_sync.typed(cell)
    assert found == value
    assert type(found) is type(value)


def test_a_property_goes_by_the_mapped_identifier() -> None:
    own = PropertySync("user_property", "tier", "daily", "active", Identification("email", "email"))
    assert own.props == ("tier", "email")
    told = own.value({"amplitude_id": "1", "user_id": "u", "tier": "gold", "email": "a@example.com"}, None, NOBODY)
    (item,) = own.items(iter([told or ""]), iter(()))
    assert orjson.loads(item[1:]) == {"email": "a@example.com", "_update_existing_only": False, "tier": "gold"}
    assert PropertySync("user_property", "tier", "daily", "active").value({"tier": "gold"}, None, NOBODY) is None


def test_values_may_be_texts_as_they_come() -> None:
    own = PropertySync("computation", "purchases", "daily", "active", typed=False)
    assert own.value({"user_id": "u", "purchases": "3"}, None, NOBODY) == '["u","3"]'
    assert replace(own, typed=True).value({"user_id": "u", "purchases": "3"}, None, NOBODY) == '["u",3]'


def test_cells_may_hold_line_breaks() -> None:
    file = membership.read(b'amplitude_id,user_id\n"1","a\nb"\n"2","c"\n')
    assert sorted(row["user_id"] for row in file.rows()) == ["a\nb", "c"]
    for wrong in (b"", b"user_id\n1\n"):
        with pytest.raises(membership.Unreadable):
            membership.read(wrong).rows()


STREAM = "event_stream: {braze: {endpoint: 'http://127.0.0.1:8702', api_key: k, app_id: a}, %s}"
COHORTS = "cohort_sync: {braze: {endpoint: 'http://127.0.0.1:8702', data_import_key: k}, syncs: [%s]}"
PROPERTIES = "property_sync: {braze: {endpoint: 'http://127.0.0.1:8702', api_key: k}, syncs: [%s]}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (STREAM % "mapping: {braze_user_id_type: user_alias}", "user_alias_label"),
        ("event_stream: {braze: {endpoint: 'http://127.0.0.1:8702', api_key: k}}", "app_id"),
        (STREAM % "readings: {attributes: some}", "some"),
        (STREAM % "user_properties: [tier, external_id]", "'external_id' is no attribute"),
        (STREAM % "events: [{event_type: E, where: [{property: p, op: resembles, values: [a]}]}]", "resembles"),
        (STREAM % "events: [{event_type: E, where: [{property: p, op: is}]}]", "where"),
        (COHORTS % "{cohort_id: c, identifier: user_alias, cadence: daily}", "user_alias_label is missing"),
        (COHORTS % "{cohort_id: c, identifier: device_id, cadence: real-time}", "user ids only"),
        (COHORTS % "{cohort_id: c, identifier: user_id, cadence: real-time, amplitude_property: crm}", "user ids only"),
        (COHORTS % ", ".join(["{cohort_id: c, identifier: user_id, cadence: daily}"] * 2), "twice"),
        (COHORTS % "{cohort_id: c, identifier: email, cadence: daily}", "identifier"),
        (PROPERTIES % "{kind: user_property, name: braze_id, cadence: daily}", "'braze_id' is no attribute"),
        (PROPERTIES % "{kind: user_property, name: tier, cadence: real-time}", "real-time"),
        (PROPERTIES % "{kind: user_property, name: a, cadence: daily, mapping: {braze_user_id_type: user_alias}}",
         "user_alias_label"),
    ],
)  # fmt: skip
def test_faults_of_the_set_up_are_told_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "integration.yaml"
    path.write_text(text, "utf-8")
    environ = {"AMPLITUDE_API_KEY": "k", "AMPLITUDE_SECRET_KEY": "s", "AMPLITUDE_ACTIVE_COHORT_ID": "a"}
    with pytest.raises(ConfigError, match=words) as error:
        load({**environ, "WAVETANK_INTEGRATION": str(path), "WAVETANK_STATE_DIR": str(tmp_path)})
    assert "\n" not in str(error.value)


def test_two_syncs_of_a_cohort_have_baselines_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "integration.yaml"
    syncs = "{cohort_id: c, identifier: user_id, cadence: daily}, {cohort_id: c, identifier: device_id, cadence: daily}"
    path.write_text(COHORTS % syncs, "utf-8")
    config = load(
        {
            "AMPLITUDE_API_KEY": "k",
            "AMPLITUDE_SECRET_KEY": "s",
            "WAVETANK_INTEGRATION": str(path),
            "WAVETANK_STATE_DIR": str(tmp_path),
        }
    )
    assert config.cohort_sync is not None
    assert [each.id for each in config.cohort_sync.scheduled] == ["cohort:c", "cohort:c:2"]


def test_what_is_discarded_and_what_has_expired_are_told_apart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", streaming.TABLES)
    assert streaming.figures(outbox)["deliveryRate"] == 1.0
    bodies = [b"{}"] * 4
    outbox.put([Taken(str(n), str(n), body) for n, body in enumerate(bodies)])
    outbox.put([Taken("anonymous", "", None, event_stream.NO_IDENTIFIER), Taken("other", "", None, "not selected")])
    outbox.end([1], "sent", 1)
    outbox.end([2], "dead", 1, "refused by Braze")
    outbox.failed(1)
    assert outbox.expire(HOUR_MS, 4 * HOUR_MS, "too late") == 2
    assert streaming.figures(outbox) == {
        "eventsDelivered": 1, "eventsNotDelivered": 4, "eventsDiscarded": 2, "eventsExpired": 2, "deliveryRate": 0.2,
    }  # fmt: skip
    outbox.close()


def test_readings_of_the_set_up_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "integration.yaml"
    path.write_text(
        """
event_stream: {braze: {endpoint: "http://127.0.0.1:9", api_key: k, app_id: a}, readings: {attributes: changed}}
cohort_sync:
  braze: {endpoint: "http://127.0.0.1:9", data_import_key: k}
  syncs: [{cohort_id: c, identifier: user_id, cadence: daily}]
  readings: {renames: false}
property_sync:
  braze: {endpoint: "http://127.0.0.1:9", api_key: k}
  syncs: [{kind: computation, name: c, cadence: daily}]
  readings: {values: text}
""",
        "utf-8",
    )
    config = load(
        {
            "AMPLITUDE_API_KEY": "k",
            "AMPLITUDE_SECRET_KEY": "s",
            "AMPLITUDE_ACTIVE_COHORT_ID": "active",
            "AMPLITUDE_FEED_TOKEN": "t",
            "WAVETANK_INTEGRATION": str(path),
            "WAVETANK_STATE_DIR": str(tmp_path),
        }
    )
    assert config.event_stream is not None
    assert config.cohort_sync is not None
    assert config.property_sync is not None
    assert config.event_stream.stream.changed_only
    assert not config.cohort_sync.scheduled[0].renames
    assert not config.property_sync.syncs[0].typed
