"""Stored events as they come back. Sources: Customer.io docs, Send data to Amplitude (the recorded row); Amplitude docs,
Export API; Data backfill guide (times); User properties and events (14 months)."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import requests

# The row that Customer.io's page shows for its sample, by key: values that the sender or the document fixes.
RECORDED: dict[str, Any] = {
    "$insert_id": "01GJDDNVWD723D5GNSEAQJVSEB",
    "$row_source": "realtime",
    "$schema": 13,
    "_time": 1669045350000,
    "adid": None,
    "amplitude_attribution_ids": None,
    "amplitude_event_type": None,
    "city": None,
    "client_event_time": "2022-11-21 15:42:30",
    "client_upload_time": "2022-11-21 15:42:29.394000",
    "country": None,
    "data_type": "event",
    "device_brand": None,
    "device_carrier": None,
    "device_family": None,
    "device_manufacturer": None,
    "device_model": None,
    "device_type": None,
    "display_name": "Sms Sent",
    "dma": None,
    "event_properties": {
        "action_id": 1001266,
        "campaign_id": 1000223,
        "content": "Hey jenny! I got your number!",
        "customer_id": "313803",
        "delivery_id": "dgSiuAMBAMeAFMWAFAGEmtrrwMzFAHs6nMGmSG4=",
        "journey_id": "01GJDDNSY0X731SPYZEBKRNZZ1",
        "recipient": "5558675309",
    },
    "event_time": "2022-11-21 15:42:30",
    "event_type": "Sms Sent",
    "global_user_properties": {},
    "group_properties": {"account_id": {"1": {}}, "workspace": {"56354": {}}},
    "groups": {"account_id": ["1"], "workspace": ["56354"]},
    "idfa": None,
    "ip_address": None,
    "is_attribution_event": False,
    "language": None,
    "library": "batch/1.0",
    "location_lat": None,
    "location_lng": None,
    "os": "",
    "os_name": None,
    "os_version": None,
    "partner_id": None,
    "paying": None,
    "plan": {},
    "platform": None,
    "region": None,
    "sample_rate": None,
    "server_received_time": "2022-11-21 15:42:29.394000",
    "session_id": -1,
    "source_id": None,
    "start_version": None,
    "timeline_hidden": False,
    "user_id": "313803",
    "user_properties": {},
    "version_name": None,
}
# What Amplitude itself gives out: another project gives other values of the same kind.
GIVEN_OUT = {"$insert_key": str, "amplitude_id": int, "app": int, "data": dict, "device_id": str, "event_id": int,
             "processed_time": str, "server_upload_time": str, "user_creation_time": str, "uuid": str}  # fmt: skip
# Where the export of 2026 differs from the row of 2022: five keys are not there, five hold something else.
ONLY_RAW = {"$row_source", "_time", "display_name", "os", "timeline_hidden"}
EXPORTED = {"$insert_key": None, "$schema": None, "global_user_properties": None, "is_attribution_event": None,
            "source_id": "", "user_creation_time": None}  # fmt: skip

EVENT = {
    "user_id": "313803",
    "event_type": "Sms Sent",
    "insert_id": RECORDED["$insert_id"],
    "time": RECORDED["_time"],
    "groups": {"account_id": "1", "workspace": "56354"},
    "event_properties": RECORDED["event_properties"],
}


def get(tank: Any, path: str, **query: Any) -> requests.Response:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    return requests.get(f"{tank.amplitude}{path}", params=query, auth=pair, timeout=60)


def exported(tank: Any, start: str, end: str) -> list[dict[str, Any]]:
    answer = get(tank, "/api/2/export", start=start, end=end)
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    return [
        json.loads(line) for name in archive.namelist() for line in gzip.decompress(archive.read(name)).splitlines()
    ]


def activity(tank: Any, name: str) -> dict[str, Any]:
    person = get(tank, "/api/2/usersearch", user=name).json()["matches"][0]["amplitude_id"]
    found: dict[str, Any] = get(tank, "/api/2/useractivity", user=person).json()
    return found


def test_the_recorded_row_comes_back_key_for_key(make_tank: Any) -> None:
    tank = make_tank(
        clock={"mode": "stepped", "start": "2022-11-21T15:42:29.394Z"}, settings={"amplitude.export_delay_h": 0}
    )
    assert tank.upload([EVENT], "/batch").status_code == 200
    row = activity(tank, "313803")["events"][0]
    assert set(row) == {*RECORDED, *GIVEN_OUT}
    assert {name: row[name] for name in RECORDED} == RECORDED
    assert all(isinstance(row[name], kind) for name, kind in GIVEN_OUT.items())
    # The types and names of groups have numbers; what else "data" holds came after 2022.
    assert list(row["data"]["group_ids"].values()) != []
    assert row["data"]["group_first_event"] == {}
    assert [len(ids) for ids in row["data"]["group_ids"].values()] == [1, 1]
    tank.advance("1h")
    line = exported(tank, "20221121T15", "20221121T15")[0]
    assert set(line) == set(row) - ONLY_RAW
    for name, value in line.items():
        assert value == EXPORTED.get(name, row[name]), name


def test_an_export_goes_by_the_hour_of_server_upload_time(make_tank: Any) -> None:
    tank = make_tank(settings={"amplitude.export_delay_h": 0})
    for n, wait in enumerate(("3595s", "4995ms", "1s")):
        tank.advance(wait)
        assert tank.upload([{"user_id": "person-1", "event_type": f"e{n}"}]).status_code == 200
    tank.advance("2h")
    by_hour = {hour: exported(tank, f"20260101T{hour}", f"20260101T{hour}") for hour in ("00", "01")}
    assert [row["event_type"] for row in by_hour["00"]] == ["e0"]
    # Received at 00:59:59.995, handed on in the hour after.
    assert [row["event_type"] for row in by_hour["01"]] == ["e1", "e2"]
    assert by_hour["01"][0]["server_received_time"] == "2026-01-01 00:59:59.995000"
    for hour, found in by_hour.items():
        assert {row["server_upload_time"][:13] for row in found} == {f"2026-01-01 {hour}"}


def test_groups_show_what_was_known_of_them_when_the_event_came(tank: Any) -> None:
    def set_plan(plan: str) -> None:
        identification = {"group_type": "org", "group_value": "acme", "group_properties": {"$set": {"plan": plan}}}
        form = {"api_key": tank.key, "identification": json.dumps(identification)}
        assert requests.post(f"{tank.amplitude}/groupidentify", data=form, timeout=30).status_code == 200

    event = {"user_id": "person-1", "event_type": "a", "groups": {"org": ["acme", "other"]}}
    for n, plan in enumerate(("free", "pro")):
        set_plan(plan)
        tank.upload([{**event, "insert_id": f"i{n}"}])
    newest, oldest = activity(tank, "person-1")["events"]
    assert oldest["group_properties"] == {"org": {"acme": {"plan": "free"}, "other": {}}}
    assert newest["group_properties"] == {"org": {"acme": {"plan": "pro"}, "other": {}}}


def test_a_client_whose_clock_is_late_has_its_times_put_right(tank: Any) -> None:
    now = 1_767_225_600_000
    for n, (late_s, moved_s) in enumerate(((59, 0), (60, 60), (3600, 3600), (-3600, 0))):
        sent = now - late_s * 1000
        text = datetime.fromtimestamp(sent / 1000, UTC).isoformat().replace("+00:00", "Z")
        event = {"user_id": f"person-{n}", "event_type": "a", "time": sent - 1500}
        assert tank.upload([event], client_upload_time=text).status_code == 200
        row = activity(tank, f"person-{n}")["events"][0]
        assert row["_time"] == sent - 1500 + moved_s * 1000
        assert row["client_upload_time"][:19] == text[:19].replace("T", " ")


def test_an_upload_time_that_is_none_is_as_good_as_not_given(tank: Any) -> None:
    for text in ("yesterday", "", "2026-13-01T00:00:00Z", "9" * 400):
        assert tank.upload([{"user_id": "person-1", "event_type": "a"}], client_upload_time=text).status_code == 200
    assert {row["event_time"] for row in activity(tank, "person-1")["events"]} == {"2026-01-01 00:00:00"}


def test_paying_and_start_version_belong_to_the_user(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "a", "app_version": "1.0"}])
    tank.advance("1s")
    tank.upload([{"user_id": "person-1", "event_type": "b", "price": 2.5, "quantity": 2, "app_version": "2.0"}])
    tank.advance("1s")
    revenue = {"$price": 3, "$quantity": 1}
    tank.upload([{"user_id": "person-1", "event_type": "revenue_amount", "event_properties": revenue}])
    found = activity(tank, "person-1")
    assert [(row["paying"], row["start_version"], row["version_name"]) for row in found["events"]] == [
        (True, "1.0", None), (True, "1.0", "2.0"), (None, "1.0", "1.0")
    ]  # fmt: skip
    data = found["userData"]
    assert (data["start_version"], data["version"], data["purchases"], data["revenue"]) == ("1.0", "2.0", 2, 8.0)


def test_device_and_place_are_replaced_as_a_whole(tank: Any) -> None:
    full = {"platform": "iOS", "os_name": "ios", "device_model": "phone", "country": "France", "city": "Paris"}
    tank.upload([{"user_id": "person-1", "event_type": "a", **full, "language": "French"}])
    tank.advance("1s")
    tank.upload([{"user_id": "person-1", "event_type": "b", "platform": "Web", "country": "Spain"}])
    tank.advance("1s")
    tank.upload([{"user_id": "person-1", "event_type": "c"}])
    data = activity(tank, "person-1")["userData"]
    assert (data["platform"], data["os"], data["device"]) == ("Web", None, None)
    assert (data["country"], data["city"], data["language"]) == ("Spain", None, "French")


def test_sessions_are_counted_and_not_cut(tank: Any) -> None:
    start = 1_767_225_000_000
    events = [
        {"user_id": "person-1", "event_type": f"e{n}", "time": start + n * 1000, "session_id": start + n // 3 * 3000}
        for n in range(6)
    ]
    tank.upload([*events, {"user_id": "person-1", "event_type": "alone", "time": start + 9000}])
    data = activity(tank, "person-1")
    assert (data["userData"]["num_sessions"], data["userData"]["usage_time"]) == (2, 4000)
    person = data["userData"]["canonical_amplitude_id"]
    newest = get(tank, "/api/2/useractivity", user=person, limit=1).json()["events"]
    assert [row["event_type"] for row in newest] == ["alone", "e5", "e4", "e3"]  # two asked for, the session whole
    one = get(tank, "/api/2/useractivity", user=person, limit=0, offset=4).json()["events"]
    assert [row["event_type"] for row in one] == ["e2", "e1", "e0"]


def test_properties_of_people_away_for_14_months_are_deleted(tank: Any) -> None:
    for name in ("person-1", "person-2"):
        tank.upload([{"user_id": name, "event_type": "a", "user_properties": {"tier": "gold"}}])
    tank.advance("300d")
    tank.upload([{"user_id": "person-2", "event_type": "a"}])
    tank.advance("124d")
    assert activity(tank, "person-1")["userData"]["properties"] == {"tier": "gold"}
    tank.advance("1d")
    assert activity(tank, "person-1")["userData"]["properties"] == {}
    assert activity(tank, "person-1")["userData"]["num_events"] == 1  # events stay
    assert activity(tank, "person-2")["userData"]["properties"] == {"tier": "gold"}
    tank.advance("300d")
    assert activity(tank, "person-2")["userData"]["properties"] == {}


def test_one_cohort_takes_one_membership_change_at_a_time(tank: Any) -> None:
    tank.upload([{"user_id": "person-1", "event_type": "a"}])
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    url = f"{tank.amplitude}/api/3/cohorts"
    app = activity(tank, "person-1")["events"][0]["app"]
    made = [
        requests.post(f"{url}/upload", auth=pair, timeout=30, json={
            "name": f"c{n}", "app_id": app, "id_type": "BY_USER_ID", "ids": ["person-1"], "owner": "a@example.com",
            "published": True}).json()["cohortId"]
        for n in range(2)
    ]  # fmt: skip
    tank.control("PATCH", "/settings", {"amplitude.rest_ms": 500})

    def change(cohort_id: str) -> int:
        body = {
            "cohort_id": cohort_id,
            "memberships": [{"ids": ["person-1"], "id_type": "BY_NAME", "operation": "ADD"}],
        }
        return requests.post(f"{url}/membership", json=body, auth=pair, timeout=30).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(change, [made[0], made[0]])) == [200, 429]
        assert sorted(pool.map(change, made)) == [200, 200]
