"""Identify, groups, mapping, export, search, activity and profile. Sources: the Amplitude docs page of each API."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import Any

import pytest
import requests

A = {"device_id": "device-1", "event_type": "a"}


def pair(tank: Any) -> tuple[str, str]:
    return tank.key, tank.ready["amplitude"]["secret_key"]


def get(tank: Any, path: str, **query: Any) -> requests.Response:
    return requests.get(f"{tank.amplitude}{path}", params=query, auth=pair(tank))


def identify(tank: Any, identification: Any, path: str = "/identify", **more: str) -> requests.Response:
    form = {"api_key": tank.key, "identification": json.dumps(identification), **more}
    return requests.post(f"{tank.amplitude}{path}", data=form)


def lines(answer: requests.Response) -> list[dict[str, Any]]:
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    return [
        json.loads(line)
        for name in archive.namelist()
        for line in gzip.decompress(archive.read(name)).decode().splitlines()
    ]


def test_identify_answers_in_plain_text(tank: Any) -> None:
    answer = identify(tank, {"user_id": "person-1", "user_properties": {"$set": {"plan": "pro"}}})
    assert (answer.status_code, answer.text) == (200, "success")
    assert answer.headers["Content-Type"] == "text/html;charset=utf-8"
    query = {"api_key": tank.key, "identification": json.dumps([{"user_id": "person-1", "user_properties": {"n": 1}}])}
    assert requests.get(f"{tank.amplitude}/identify", params=query).text == "success"
    files = {name: (None, value) for name, value in query.items()}
    assert requests.post(f"{tank.amplitude}/identify", files=files).text == "success"
    assert tank.events() == []
    people = tank.control("GET", "/amplitude/users").json()["users"]
    assert people[0]["user_properties"] == {"plan": "pro", "n": 1}


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({}, 400, "invalid_api_key"),
        ({"api_key": "nobody", "identification": "{}"}, 400, "invalid_api_key"),
        ({"api_key": None}, 400, "missing_event"),
        ({"api_key": None, "identification": "{oops"}, 400, "missing_event"),
        ({"api_key": None, "identification": "[]"}, 400, "missing_event"),
        ({"api_key": None, "identification": "[3]"}, 400, "missing_event"),
        ({"api_key": None, "identification": '{"user_properties": {}}'}, 400, "missing_event"),
    ],
)
def test_identify_refusals_change_nothing(tank: Any, form: dict[str, Any], status: int, words: str) -> None:
    before = tank.digest()
    sent = {name: tank.key if value is None else value for name, value in form.items()}
    answer = requests.post(f"{tank.amplitude}/identify", data=sent)
    assert (answer.status_code, answer.text) == (status, words)
    assert tank.digest() == before


@pytest.mark.parametrize("path", ["/identify", "/groupidentify"])
def test_a_url_that_is_too_long_is_a_414(tank: Any, path: str) -> None:
    """Source: Amplitude docs, Identify API, Responses."""
    long = json.dumps({"user_id": "person-1", "group_type": "org", "group_value": "acme", "note": "x" * 9000})
    query = {"api_key": tank.key, "identification": long}
    assert requests.get(f"{tank.amplitude}{path}", params=query).status_code == 414
    assert tank.control("GET", "/amplitude/users").json()["users"] == []
    assert requests.post(f"{tank.amplitude}{path}", data=query).status_code == 200


def test_identify_attaches_the_user_and_shows_from_the_next_event_on(tank: Any) -> None:
    tank.upload([A])
    assert (
        identify(tank, {"device_id": "device-1", "user_id": "person-1", "groups": {"org": "acme"}}).status_code == 200
    )
    identify(tank, {"user_id": "person-1", "user_properties": {"tier": "gold"}})
    tank.upload([{**A, "user_id": "person-1"}])
    before, after = tank.events()
    assert before["amplitude_id"] == after["amplitude_id"]
    assert (before["user_properties"], after["user_properties"]) == ({}, {"tier": "gold"})
    tank.advance("3h")
    first, second = lines(get(tank, "/api/2/export", start="20260101T00", end="20260101T00"))
    assert (first["groups"], second["groups"]) == ({}, {"org": ["acme"]})


def test_group_identify(tank: Any) -> None:
    good = {"group_type": "org", "group_value": "acme", "group_properties": {"$set": {"arr": 5}}}
    assert identify(tank, [good], "/groupidentify").text == "success"
    missing = identify(tank, {"group_type": "org"}, "/groupidentify")
    assert (missing.status_code, missing.text) == (400, "Missing group_value")
    assert identify(tank, [good] * 1025, "/groupidentify").status_code == 400


def test_user_mapping_write_and_read(tank: Any) -> None:
    for name in ("person-1", "person-2", "person-3"):
        tank.upload([{"user_id": name, "event_type": "a"}])
    mapping = [
        {"user_id": "person-1", "global_user_id": "person-2"},
        {"user_id": "person-3", "global_user_id": "person-1"},
    ]
    url = f"{tank.amplitude}/usermap"
    assert requests.post(url, data={"api_key": tank.key, "mapping": json.dumps(mapping)}).status_code == 200
    ids = {each["user_id"]: each["amplitude_id"] for each in tank.events()}
    found = get(tank, "/api/2/usermap", user_ids="person-1,person-2,nobody-1").json()
    assert found["person-1"] == {
        "mapped_from": [{"amplitude_id": ids["person-3"], "user_id": "person-3"}],
        "mapped_to": [{"amplitude_id": ids["person-2"], "user_id": "person-2"}],
    }
    assert found["person-2"]["mapped_to"] == []
    assert not found["nobody-1"]
    unmap = json.dumps({"user_id": "person-1", "unmap": True})
    assert requests.post(url, data={"api_key": tank.key, "mapping": unmap}).status_code == 200
    assert get(tank, "/api/2/usermap", user_ids="person-2").json()["person-2"]["mapped_from"] == []
    bad = json.dumps([{"user_id": "person-1"}])
    assert requests.post(url, data={"api_key": tank.key, "mapping": bad}).status_code == 400
    many = json.dumps([{"user_id": f"u-{n}", "global_user_id": "g"} for n in range(1499)])
    assert requests.post(url, data={"api_key": tank.key, "mapping": many}).status_code == 429
    tank.advance("30s")
    assert requests.post(url, data={"api_key": tank.key, "mapping": many}).status_code == 200


def test_export_hours_names_and_keys(tank: Any) -> None:
    tank.upload([{**A, "insert_id": "one", "user_properties": {"p": 1}, "carrier": "T", "ip": "10.1.1.1"}])
    tank.advance("1h")
    tank.upload([{**A, "insert_id": "two"}], "/batch")
    early = get(tank, "/api/2/export", start="20260101T00", end="20260101T01")
    assert early.status_code == 404
    assert early.text == (
        '{"error": {"http_code": 404, "type": "unspecified", "message": "Unspecified Error", '
        '"metadata": {"details": "Raw data files were not found."}}}'
    )
    tank.advance("2h")
    assert len(lines(get(tank, "/api/2/export", start="20260101T00", end="20260101T01"))) == 1
    tank.advance("1h")
    answer = get(tank, "/api/2/export", start="20260101T00", end="20260101T01")
    assert answer.headers["Content-Type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    app = archive.namelist()[0].split("/")[0]
    assert archive.namelist() == [f"{app}/{app}_2026-01-01_{hour}#0.json.gz" for hour in (0, 1)]
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    first, second = lines(answer)
    assert len(first) == 55
    assert list(first) == sorted(first)
    assert (first["$insert_id"], first["device_carrier"], first["ip_address"]) == ("one", "T", "10.1.1.1")
    assert (first["library"], second["library"]) == ("http/2.0", "batch/1.0")
    assert (first["data"]["path"], second["data"]["path"]) == ("/2/httpapi", "/batch")
    assert first["client_event_time"] == "2026-01-01 00:00:00"  # a whole second: no fraction, as recorded
    assert first["session_id"] == -1
    assert first["user_properties"] == {"p": 1} == second["user_properties"]
    assert get(tank, "/api/2/export", start="x", end="20260101T01").status_code == 400
    wrong = requests.get(f"{tank.amplitude}/api/2/export", auth=(tank.key, "wrong"))
    assert (wrong.status_code, wrong.text) == (403, "Invalid API Key")


def test_search_and_activity_follow_merges(tank: Any) -> None:
    tank.upload([{"device_id": "device-z", "event_type": "early"}])
    tank.upload([{"device_id": "device-y", "user_id": "david", "event_type": "a", "price": 2.5, "quantity": 2}])
    tank.upload([{"device_id": "device-z", "user_id": "david", "event_type": "late", "event_properties": {"k": 1}}])
    gone, now, _ = (event["amplitude_id"] for event in tank.events())
    assert get(tank, "/api/2/usersearch", user="david").json() == {
        "matches": [{"user_id": "david", "amplitude_id": now}],
        "type": "match_user_or_device_id",
    }
    assert get(tank, "/api/2/usersearch", user="device-z").json()["matches"][0]["amplitude_id"] == now
    assert get(tank, "/api/2/usersearch", user="dav").json()["type"] == "match_user_prefix"
    assert get(tank, "/api/2/usersearch", user=str(gone)).json()["matches"] == [
        {"user_id": "david", "amplitude_id": now}
    ]
    assert get(tank, "/api/2/usersearch", user="nobody").json() == {"matches": [], "type": "nomatch"}
    found = get(tank, "/api/2/useractivity", user=str(gone)).json()
    data = found["userData"]
    assert (data["canonical_amplitude_id"], data["merged_amplitude_ids"]) == (now, [gone])
    assert (data["num_events"], data["purchases"], data["revenue"]) == (3, 1, 5.0)
    assert data["device_ids"] == ["device-y", "device-z"]
    assert [event["event_type"] for event in found["events"]] == ["late", "a", "early"]
    assert len(found["events"][0]) == 60
    assert found["events"][2]["amplitude_id"] == gone  # rows are never rewritten
    oldest = get(tank, "/api/2/useractivity", user=str(now), direction="earliest", limit="1").json()["events"]
    assert [event["event_type"] for event in oldest] == ["early", "a"]  # the documented limit counts from 0
    unknown = get(tank, "/api/2/useractivity", user="42")
    assert unknown.status_code == 200
    assert unknown.json()["userData"]["canonical_amplitude_id"] == 42
    assert unknown.json()["userData"]["last_device_id"] is None


def test_profile(make_tank: Any) -> None:
    tank = make_tank()
    tank.upload([{**A, "user_id": "person-1", "user_properties": {"tier": "gold"}}])
    url = f"{tank.amplitude}/v1/userprofile"
    headers = {"Authorization": f"Api-Key {tank.ready['amplitude']['secret_key']}"}
    plain = requests.get(url, params={"user_id": "person-1"}, headers=headers).json()
    assert plain == {
        "userData": {
            "recommendations": None,
            "user_id": "person-1",
            "device_id": None,
            "amp_props": None,
            "cohort_ids": None,
        }
    }
    full = requests.get(url, params={"device_id": "device-1", "get_amp_props": "true"}, headers=headers).json()
    assert full["userData"]["amp_props"] == {
        "library": "http/2.0",
        "first_used": "2026-01-01",
        "last_used": "2026-01-01",
        "tier": "gold",
    }
    unknown = requests.get(url, params={"user_id": "nobody"}, headers=headers)
    assert unknown.json() == {"error": "User id and device id not seen before"}
    missing = requests.get(url, params={"user_id": "person-1"})
    assert (missing.status_code, missing.text) == (401, "Missing Api-Key in Authorization header")
    wrong = requests.get(url, headers={"Authorization": "Api-Key nope"})
    assert (wrong.status_code, wrong.text) == (401, "Invalid Api-Key")
    european = make_tank(region="eu")
    secret = {"Authorization": f"Api-Key {european.ready['amplitude']['secret_key']}"}
    assert requests.get(f"{european.amplitude}/v1/userprofile", headers=secret).status_code == 404


def test_merged_properties_are_those_of_the_newer_id(tank: Any) -> None:
    """Amplitude docs, Track unique users: the newer id's values overwrite the older one's."""
    tank.upload([{"device_id": "device-y", "user_id": "david", "event_type": "a", "user_properties": {"x": 1, "y": 1}}])
    tank.upload([{"device_id": "device-z", "event_type": "a", "user_properties": {"x": 2}}])
    tank.upload([{"device_id": "device-z", "user_id": "david", "event_type": "a"}])
    person = tank.control("GET", "/amplitude/users").json()["users"][0]
    assert person["user_properties"] == {"x": 2, "y": 1}


def test_cohorts_from_upload_to_download(tank: Any) -> None:
    for n in range(3):
        tank.upload([{"user_id": f"person-{n}", "event_type": "a", "user_properties": {"tier": "gold", "n": n}}])
    tank.advance("1h")
    app = lines_of_app(tank)
    url = f"{tank.amplitude}/api/3/cohorts/upload"
    body = {
        "name": "Best", "app_id": app, "id_type": "BY_USER_ID", "ids": ["person-0", "person-1", "nobody"],
        "owner": "ada@example.com", "published": True,
    }  # fmt: skip
    made = requests.post(url, json=body, auth=pair(tank)).json()
    cohort = made["cohortId"]
    assert made["metadata"] == {"matched": 2, "totals": 3, "invalid_ids_sample": ["nobody"]}
    strict = requests.post(url, json={**body, "skip_invalid_ids": False}, auth=pair(tank))
    assert (strict.status_code, strict.json()["error"]["http_code"]) == (400, 400)
    assert requests.post(url, json={**body, "ids": []}, auth=pair(tank)).status_code == 400
    changes = [
        {"ids": ["person-2", "nobody"], "id_type": "BY_NAME", "operation": "ADD"},
        {"ids": ["person-0"], "id_type": "BY_NAME", "operation": "REMOVE"},
    ]
    changed = requests.post(
        f"{tank.amplitude}/api/3/cohorts/membership",
        json={"cohort_id": cohort, "memberships": changes},
        auth=pair(tank),
    ).json()
    assert [each["skipped_ids"] for each in changed["memberships_result"]] == [["nobody"], []]
    listed = get(tank, "/api/3/cohorts").json()["cohorts"]
    assert [(each["id"], each["size"], each["type"]) for each in listed] == [(cohort, 2, "manual_upload")]
    assert get(tank, f"/api/3/cohorts/{cohort}").json()["user_ids"] == ["person-1", "person-2"]
    asked = get(tank, f"/api/5/cohorts/request/{cohort}", props="1", propKeys=["tier", "n"])
    assert asked.status_code == 202
    request_id = asked.json()["request_id"]
    states = [get(tank, f"/api/5/cohorts/request-status/{request_id}") for _ in range(2)]
    assert [(each.status_code, each.json()["async_status"]) for each in states] == [
        (202, "JOB INPROGRESS"),
        (200, "JOB COMPLETED"),
    ]
    file = get(tank, f"/api/5/cohorts/request/{request_id}/file").text.splitlines()
    assert file[0] == '"amplitude_id","user_id","tier","n"'
    assert [line.split(",")[1:] for line in file[1:]] == [
        ['"person-1"', '"gold"', '"1"'],
        ['"person-2"', '"gold"', '"2"'],
    ]
    assert get(tank, "/api/5/cohorts/request/nothing").status_code == 400
    tank.advance("169h")
    assert get(tank, f"/api/5/cohorts/request-status/{request_id}").status_code == 404


def lines_of_app(tank: Any) -> int:
    """The project's number, as the export names it."""
    tank.advance("2h")
    exported = lines(get(tank, "/api/2/export", start="20260101T00", end="20260101T00"))
    found: int = exported[0]["app"]
    return found


def test_properties_set_before_a_merge_in_the_same_upload_are_kept(tank: Any) -> None:
    tank.upload([{"device_id": "device-y", "user_id": "david", "event_type": "a"}])
    tank.upload(
        [
            {"device_id": "device-z", "event_type": "a", "user_properties": {"x": 1}},
            {"device_id": "device-z", "user_id": "david", "event_type": "a", "user_properties": {"y": 2}},
        ]
    )
    assert tank.control("GET", "/amplitude/users").json()["users"][0]["user_properties"] == {"x": 1, "y": 2}


def test_gzip_of_several_members(tank: Any) -> None:
    body = json.dumps({"api_key": tank.key, "events": [A]}).encode()
    packed = gzip.compress(body[:30]) + gzip.compress(body[30:])
    answer = requests.post(f"{tank.amplitude}/2/httpapi", data=packed, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 200


def test_annotations(tank: Any) -> None:
    url = f"{tank.amplitude}/api/3/annotations"
    body = {"label": "Launch", "start": "2026-06-15T02:00:00+02:00"}
    made = requests.post(url, json=body, auth=pair(tank)).json()["data"]
    assert made == {
        "id": made["id"],
        "start": "2026-06-15T00:00:00+00:00",
        "label": "Launch",
        "details": None,
        "category": {"id": 1, "category": "Uncategorized"},
        "end": None,
        "chart_id": None,
    }
    kinds = f"{tank.amplitude}/api/3/annotation-categories"
    kind = requests.post(kinds, json={"category": "Releases"}, auth=pair(tank)).json()["data"]
    assert requests.post(kinds, json={"category": "Releases"}, auth=pair(tank)).status_code == 409
    changed = requests.put(
        f"{url}/{made['id']}", json={"category": "Releases", "chart_id": "abc"}, auth=pair(tank)
    ).json()
    assert changed["data"]["category"] == kind
    assert (
        requests.put(f"{url}/{made['id']}", json={"chart_id": None}, auth=pair(tank)).json()["data"]["chart_id"] is None
    )
    assert get(tank, "/api/3/annotations", category="Releases").json()["data"][0]["id"] == made["id"]
    assert get(tank, "/api/3/annotations", start="2026-07-01T00:00:00+00:00").json()["data"] == []
    for bad in ({"label": "x"}, {**body, "start": "2026-06-15"}, {**body, "category": "nowhere"}, {**body, "label": 3}):
        assert requests.post(url, json=bad, auth=pair(tank)).status_code == 400
    assert requests.delete(f"{url}/{made['id']}", auth=pair(tank)).json() == {"success": True}
    assert get(tank, f"/api/3/annotations/{made['id']}").status_code == 404
