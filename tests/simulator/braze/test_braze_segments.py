"""Segments, lists and series over REST. Source: Braze docs, Export endpoints."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from simulator.braze import segment_sizes, segments

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
GOLD = {"custom_attribute": {"custom_attribute_name": "plan", "comparison": "equals", "value": "gold"}}
IMPORTED = {"partner_cohort": {"partner": "amplitude", "cohort_id": "abc", "comparison": "is"}}


def make(workspace: Any, definition: Any = GOLD, name: str = "Gold", **more: Any) -> str:
    with workspace.tank.store.write() as conn:
        now_ms = workspace.tank.clock.now_ms(conn)
        return segments.make(conn, workspace.tank, {"name": name, "definition": definition, **more}, now_ms)


def get(workspace: Any, path: str, **query: Any) -> Any:
    return workspace.client.get(path, query_string=query, headers={"Authorization": f"Bearer {workspace.key}"})


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


# -- segments


def test_segments_are_listed_100_to_a_page_in_either_order(workspace: Any) -> None:
    ids = [make(workspace, name=f"s{n}", tags=["t"]) for n in range(103)]
    first = get(workspace, "/segments/list").json
    assert list(first) == ["segments", "message"]
    assert [each["id"] for each in first["segments"]] == ids[:100]
    assert first["segments"][0] == {"id": ids[0], "name": "s0", "analytics_tracking_enabled": True, "tags": ["t"]}
    second = get(workspace, "/segments/list", page=1).json["segments"]
    assert [each["id"] for each in second] == ids[100:]
    newest = get(workspace, "/segments/list", sort_direction="desc").json["segments"]
    assert newest[0]["id"] == ids[-1]
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in ids)
    assert get(workspace, "/segments/list", page="-1").json == {"message": "page is not valid"}


def test_details_name_an_imported_cohort_by_its_title(workspace: Any) -> None:
    workspace.cohort("cohorts", cohort_id="abc", name="Big spenders", created_at="2026-01-01T00:00:00Z")
    segment_id = make(workspace, {"AND": [IMPORTED, {"NOT": GOLD}]}, description="for the sale")
    body = get(workspace, "/segments/details", segment_id=segment_id).json
    expected = "(Amplitude Cohorts is [Amplitude] Big spenders: abc and not custom attribute plan equals gold)"
    assert body["text_description"] == expected
    assert (body["name"], body["description"], body["tags"], body["teams"]) == ("Gold", "for the sale", [], [])
    assert body["created_at"] == body["updated_at"]
    answer = get(workspace, "/segments/details", segment_id="nobody")
    assert (answer.status_code, answer.json["message"][:10]) == (400, "segment_id")
    assert get(workspace, "/segments/details").json == {"message": "segment_id is required"}


def test_membership_follows_the_applied_state(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(apply_delay_ms=1000, merge_delay_ms=2000)
    segment_id = make(workspace, {"OR": [GOLD, IMPORTED]})

    def ids() -> list[str]:
        with workspace.tank.store.read() as conn:
            uids = conn.execute(segments.members(conn, workspace.tank, segment_id, workspace.tank.clock.now_ms()))
            names = dict(conn.exec_driver_sql("SELECT uid, external_id FROM braze_profiles").all())
            return [names[row[0]] for row in uids]

    workspace.attributes({"external_id": "a", "plan": "gold"}, {"external_id": "b"}, {"external_id": "c"})
    workspace.cohort("cohorts/users", cohort_id="abc", cohort_changes=[{"user_ids": ["c"]}])
    assert ids() == []
    workspace.advance(1000)
    assert ids() == ["a", "c"]
    merge = {"identifier_to_merge": {"external_id": "c"}, "identifier_to_keep": {"external_id": "b"}}
    workspace.post("/users/merge", {"merge_updates": [merge]})
    workspace.advance(1000)
    assert ids() == ["a", "c"]
    workspace.advance(1000)
    assert ids() == ["a", "b"], "the kept profile entered the cohort of the merged one"
    workspace.attributes({"external_id": "a", "plan": None})
    workspace.post("/users/delete", {"external_ids": ["b"]})
    workspace.advance(1000)
    assert ids() == []


def test_sizes_by_day(workspace: Any) -> None:
    segment_id, unfollowed = make(workspace), make(workspace, name="dark", analytics_tracking_enabled=False)
    with workspace.tank.store.write() as conn:
        segment_sizes.follow(conn, workspace.tank.clock.now_ms(conn))
    start = workspace.tank.clock.now_ms() // DAY_MS
    for n in range(4):
        workspace.attributes(*({"external_id": f"u{n}-{i}", "plan": "gold"} for i in range(n)))
        if n < 3:
            workspace.advance(DAY_MS)
    day = [iso((start + n) * DAY_MS)[:10] for n in range(4)]
    body = get(workspace, "/segments/data_series", segment_id=segment_id, length=14).json
    assert body["data"] == [
        {"time": day[0], "size": 0},
        {"time": day[1], "size": 1},
        {"time": day[2], "size": 3},
        {"time": day[3], "size": 6},
    ]
    body = get(workspace, "/segments/data_series", segment_id=segment_id, length=2, ending_at=f"{day[2]}T23:00:00Z")
    assert [each["size"] for each in body.json["data"]] == [1, 3]
    answer = get(workspace, "/segments/data_series", segment_id=unfollowed, length=1)
    assert (answer.status_code, answer.json["message"]) == (400, "analytics tracking is not enabled for this segment")
    assert get(workspace, "/segments/data_series", segment_id=segment_id, length=101).status_code == 400


# -- custom data


def test_names_are_listed_alphabetically_by_pages(workspace: Any) -> None:
    names = [f"event {n:03d}" for n in range(260)]
    for start in range(0, 260, 65):
        chosen = names[start : start + 65]
        workspace.track(events=[{"external_id": "a", "name": name, "time": "2026-01-01"} for name in chosen])
    assert get(workspace, "/events/list").json["events"] == names[:250]
    assert get(workspace, "/events/list", page=1).json["events"] == names[250:]
    assert get(workspace, "/events/list", page=2).json["events"] == []
    answer = get(workspace, "/events")
    assert [each["name"] for each in answer.json["events"]] == names[:50]
    found = [each["name"] for each in answer.json["events"]]
    while "Link" in answer.headers:
        target = re.search('<([^>]+)>; rel="next"', answer.headers["Link"])
        assert target is not None
        answer = workspace.client.get(target.group(1), headers={"Authorization": f"Bearer {workspace.key}"})
        found += [each["name"] for each in answer.json["events"]]
    assert found == names


def test_products_and_attributes_are_listed(workspace: Any) -> None:
    purchase = {"external_id": "a", "product_id": "sku", "currency": "USD", "price": 1, "time": "2026-01-01"}
    workspace.track(attributes=[{"external_id": "a", "n": 1, "s": "x", "d": "2026-01-01"}], purchases=[purchase])
    assert get(workspace, "/purchases/product_list").json["products"] == ["sku"]
    listed = get(workspace, "/custom_attributes").json["attributes"]
    assert [(each["name"], each["data_type"].split(" (")[0]) for each in listed] == [
        ("d", "Time"),
        ("n", "Number"),
        ("s", "String"),
    ]


def test_series_of_events_by_day_hour_app_and_segment(workspace: Any) -> None:
    # Late in an hour and in a day, so that "a second ago" is the same day and the same hour.
    workspace.advance(10 * DAY_MS - workspace.tank.clock.now_ms() % DAY_MS + 23 * HOUR_MS + HOUR_MS // 2)
    now = workspace.tank.clock.now_ms()
    day = now - now % DAY_MS
    workspace.attributes({"external_id": "a", "plan": "gold"}, {"external_id": "b"})
    times = [("a", now - 1000), ("a", now - 1000), ("b", now - 1000), ("b", day - 1), ("a", day - 5 * DAY_MS)]
    events = [{"external_id": who, "name": "opened", "time": iso(at)} for who, at in times]
    events[0]["app_id"] = "ios"
    workspace.track(events=[*events, {"external_id": "a", "name": "other", "time": iso(now)}])

    def counts(**query: Any) -> list[int]:
        body = get(workspace, "/events/data_series", event="opened", **{"length": 3, **query}).json
        return [each["count"] for each in body["data"]]

    assert counts() == [0, 1, 3]
    assert counts(length=6) == [1, 0, 0, 0, 1, 3]
    assert counts(app_id="ios") == [0, 0, 1]
    assert counts(segment_id=make(workspace)) == [0, 0, 2]
    assert counts(ending_at=iso(day - 2)) == [0, 0, 0]
    assert counts(ending_at=iso(day - 1)) == [0, 0, 1]
    assert sum(counts(unit="hour", length=2)) == 3
    body = get(workspace, "/events/data_series", event="opened", length=1).json
    assert body == {"data": [{"time": iso(day)[:10], "count": 3}], "message": "success"}
    hourly = get(workspace, "/events/data_series", event="opened", length=1, unit="hour").json["data"][0]["time"]
    assert hourly == iso(now - now % HOUR_MS).replace("+00:00", ".000Z")
    for bad in ({"length": 0}, {"length": 101}, {"unit": "week"}, {"ending_at": "soon"}, {"segment_id": "nobody"}):
        answer = get(workspace, "/events/data_series", **{"event": "opened", "length": 1, **bad})
        assert answer.status_code == 400, bad


def test_series_of_purchases_and_sessions(workspace: Any) -> None:
    now = workspace.tank.clock.now_ms()
    sold = {"external_id": "a", "time": iso(now)}
    workspace.track(
        purchases=[
            {**sold, "product_id": "x", "currency": "USD", "price": 2.5, "quantity": 3},
            {**sold, "product_id": "y", "currency": "EUR", "price": 10},
        ]
    )
    revenue = get(workspace, "/purchases/revenue_series", length=1).json["data"]
    assert revenue == [{"time": iso(now)[:10], "revenue": 18.5}]
    assert get(workspace, "/purchases/revenue_series", length=1, product="x").json["data"][0]["revenue"] == 7.5
    assert get(workspace, "/purchases/quantity_series", length=1).json["data"][0]["purchase_quantity"] == 4
    assert get(workspace, "/sessions/data_series", length=2).json["data"][-1]["sessions"] == 0


# -- exports


def lines(archive: bytes) -> list[dict[str, Any]]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return [json.loads(line) for name in opened.namelist() for line in opened.read(name).splitlines()]


def test_an_export_is_ready_later_and_its_callback_is_told(make_workspace: Callable[..., Any], receiver: Any) -> None:
    workspace = make_workspace(export_ready_s=60, export_link_h=4)
    workspace.attributes({"external_id": "a", "plan": "gold", "n": 1}, {"external_id": "b", "plan": "none"})
    segment_id = make(workspace)
    body = {
        "segment_id": segment_id,
        "fields_to_export": ["external_id", "created_at"],
        "custom_attributes_to_export": ["n", "absent"],
        "callback_endpoint": receiver.url,
    }
    answer = workspace.post("/users/export/segment", body)
    assert (answer.status_code, list(answer.json)) == (201, ["object_prefix", "url", "message"])
    assert answer.json["object_prefix"] == f"{segment_id}-{workspace.tank.clock.now_ms() // 1000}"
    url = answer.json["url"]
    assert workspace.download(url).status_code == 403, "not ready"
    again = workspace.post("/users/export/segment", body)
    assert again.status_code == 429, "one running export per segment"
    workspace.attributes({"external_id": "c", "plan": "gold"})
    assert receiver.got == []
    workspace.advance(60_000)
    assert json.loads(receiver.got[0].body) == {"success": True, "url": url}
    file = workspace.download(url)
    assert (file.status_code, file.content_type) == (200, "application/zip")
    found = lines(file.data)
    assert [(each["external_id"], each["custom_attributes"]) for each in found] == [("a", {"n": 1}), ("c", {})]
    assert set(found[0]) == {"external_id", "created_at", "custom_attributes"}
    assert workspace.post("/users/export/segment", body).status_code == 201
    workspace.advance(4 * HOUR_MS + 60_000)
    assert workspace.download(url).status_code == 403, "the link is dead"


def test_an_export_has_5000_people_to_a_file(workspace: Any) -> None:
    for start in range(0, 5_010, 501):
        people = [{"external_id": f"u{n:04d}", "plan": "gold"} for n in range(start, start + 501)]
        assert workspace.post("/users/track/bulk", {"attributes": people}).status_code == 201
    body = {"segment_id": make(workspace), "fields_to_export": ["external_id"]}
    url = workspace.post("/users/export/segment", body).json["url"]
    workspace.advance(60_000)
    archive = workspace.download(url).data
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        sizes = [len(opened.read(name).splitlines()) for name in opened.namelist()]
    assert sizes == [5_000, 10]
    assert [each["external_id"] for each in lines(archive)] == [f"u{n:04d}" for n in range(5_010)]


def test_what_exports_refuse(workspace: Any) -> None:
    segment_id = make(workspace)
    good = {"segment_id": segment_id, "fields_to_export": ["email"]}
    for bad, message in (
        ({"segment_id": "nobody"}, "segment_id must be a string of the Segment api identifier"),
        ({"fields_to_export": None}, "'fields_to_export' is required"),
        ({"custom_attributes_to_export": "n"}, "'custom_attributes_to_export' must be an array of strings"),
        (
            {"custom_attributes_to_export": [str(n) for n in range(501)]},
            "'custom_attributes_to_export' may not have more than 500 entries",
        ),
        ({"callback_endpoint": "no url"}, "'callback_endpoint' must be a valid URL"),
        ({"output_format": "rar"}, "'output_format' must be 'zip' or 'gzip'"),
    ):
        answer = workspace.post("/users/export/segment", {**good, **bad})
        assert (answer.status_code, answer.json) == (400, {"message": message})


def test_the_control_group_is_exported_without_a_segment(workspace: Any) -> None:
    workspace.attributes({"external_id": "a"}, {"external_id": "b"})
    buckets = {each: workspace.person(each)["random_bucket"] for each in "ab"}
    inside = min(buckets, key=lambda each: buckets[each])
    workspace.set(global_control_share=sum(buckets.values()) / 200)
    answer = workspace.post("/users/export/global_control_group", {"fields_to_export": ["external_id"]})
    assert answer.status_code == 201
    workspace.advance(60_000)
    assert lines(workspace.download(answer.json["url"]).data) == [{"external_id": inside}]
