"""Exports and cohort files of many rows, links that expire, and parallel requests.

Sources: Amplitude docs, Export API; Behavioral Cohorts API; Dashboard REST API, Rate limits; User Search.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from simulator.amplitude import cohort_files, export


def get(tank: Any, path: str, **query: Any) -> requests.Response:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    url = path if path.startswith("http") else f"{tank.amplitude}{path}"
    return requests.get(url, params=query, auth=pair, timeout=60, allow_redirects=False)


def test_hours_and_partitions_are_files_of_their_own(make_tank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PARTITION", 7)
    monkeypatch.setattr(export, "PAGE", 3)
    tank = make_tank(settings={"amplitude.export_delay_h": 0})
    for hour in range(2):
        tank.upload([{"user_id": "person-1", "event_type": f"h{hour}", "insert_id": f"{hour}-{n}"} for n in range(10)])
        tank.advance("1h")
    answer = get(tank, "/api/2/export", start="20260101T00", end="20260101T01")
    assert answer.headers["Content-Type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    names = archive.namelist()
    assert [name.partition("_")[2] for name in names] == [
        f"2026-01-01_{hour}#{part}.json.gz" for hour in range(2) for part in range(2)
    ]
    assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    sizes = [len(gzip.decompress(archive.read(name)).splitlines()) for name in names]
    assert sizes == [7, 3, 7, 3]
    found = [json.loads(line) for name in names for line in gzip.decompress(archive.read(name)).splitlines()]
    assert [each["$insert_id"] for each in found] == [f"{hour}-{n}" for hour in range(2) for n in range(10)]


def test_an_export_above_the_limit_is_refused(make_tank: Any) -> None:
    tank = make_tank(settings={"amplitude.export_delay_h": 0, "amplitude.export_max_bytes": 1000})
    tank.upload([{"user_id": "person-1", "event_type": "a"}])
    tank.advance("1h")
    answer = get(tank, "/api/2/export", start="20260101T00", end="20260101T00")
    assert answer.status_code == 400
    assert answer.json()["error"]["http_code"] == 400


def cohort(tank: Any, people: int) -> str:
    """A cohort of so many people with plans; answers the id of its download request."""
    tank.upload(
        [
            {"user_id": f"person-{n}", "event_type": "a", "user_properties": {"plan": f'"{n}", "x"', "n": n}}
            for n in range(people)
        ]
    )
    assert len(tank.control("GET", "/amplitude/users").json()["users"]) == people
    return request(tank, [f"person-{n}" for n in range(people)], props="1", propKeys="plan")


def request(tank: Any, names: list[str], **query: Any) -> str:
    """A cohort of these people; answers the id of its download request."""
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    spec: dict[str, Any] = {"name": "c", "id_type": "BY_USER_ID", "owner": "a@b.c", "published": True, "ids": names}
    told = requests.post(f"{tank.amplitude}/api/3/cohorts/upload", json={**spec, "app_id": 0}, auth=pair, timeout=30)
    spec["app_id"] = int(told.json()["error"]["metadata"]["details"].rpartition(" ")[2])
    made = requests.post(f"{tank.amplitude}/api/3/cohorts/upload", json=spec, auth=pair, timeout=30).json()
    found: str = get(tank, f"/api/5/cohorts/request/{made['cohortId']}", **query).json()["request_id"]
    return found


def test_a_large_cohort_is_behind_a_link_that_lives_a_minute(make_tank: Any) -> None:
    tank = make_tank(limits="batch", settings={"amplitude.cohort_redirect_above": 4})
    request_id = cohort(tank, 5)
    answer = get(tank, f"/api/5/cohorts/request/{request_id}/file")
    assert answer.status_code == 302
    link = answer.headers["Location"]
    lines = list(csv.reader(io.StringIO(requests.get(link, timeout=30).text)))
    assert lines[0] == ["amplitude_id", "user_id", "plan"]
    assert sorted(line[1:] for line in lines[1:]) == [[f"person-{n}", f'"{n}", "x"'] for n in range(5)]
    forged = requests.get(link.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"), timeout=30)
    assert (forged.status_code, "AccessDenied" in forged.text) == (403, True)
    tank.advance("61s")
    late = requests.get(link, timeout=30)
    assert (late.status_code, "Request has expired" in late.text) == (403, True)
    assert get(tank, f"/api/5/cohorts/request/{request_id}/file").headers["Location"] != link


ODD = ['quo"te', 'at end"', '"at begin', "two\nlines", "at end\n", "\nat begin", 'both"\n"of them', "two\r\nlines",
       "comma, here", "äöüß€", "back\\slash"]  # fmt: skip
"""User ids as the file has to give them out."""


@pytest.mark.parametrize("page", [3, 25_000])
def test_user_ids_with_quotes_and_line_breaks_come_out_whole(
    make_tank: Any, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(cohort_files, "LONG_PAGE", page)
    tank = make_tank(limits="batch")
    names = [*ODD, *(f"person-{n}" for n in range(5))]
    tank.upload([{"user_id": each, "event_type": "a"} for each in names])
    file = get(tank, f"/api/5/cohorts/request/{request(tank, names)}/file").content
    lines = list(csv.reader(io.StringIO(file.decode(), newline="")))
    numbers = [int(line[0]) for line in lines[1:]]
    assert lines[0] == ["amplitude_id", "user_id"]
    assert (numbers, {line[1] for line in lines[1:]}) == (sorted(numbers), set(names))
    assert len(lines) == len(names) + 1
    assert file.endswith(b'"\n')


def test_a_small_cohort_is_in_the_answer_with_every_cell_quoted(make_tank: Any) -> None:
    tank = make_tank(limits="batch")
    answer = get(tank, f"/api/5/cohorts/request/{cohort(tank, 3)}/file")
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, "text/csv")
    assert answer.text.splitlines()[0] == '"amplitude_id","user_id","plan"'
    assert all(line.startswith('"') and line.endswith('"') for line in answer.text.splitlines())


@pytest.mark.parametrize(("path", "most"), [("/api/3/cohorts", 5), ("/api/2/usersearch?user=x", 10)])
def test_one_request_more_than_may_run_at_once_is_refused(make_tank: Any, path: str, most: int) -> None:
    tank = make_tank(settings={"amplitude.rest_ms": 1500})
    with ThreadPoolExecutor(most + 1) as pool:
        found = sorted(pool.map(lambda _: get(tank, path).status_code, range(most + 1)))
    assert found == [200] * most + [429]
    assert get(tank, path).status_code == 200


def test_one_after_the_other_is_never_too_many(make_tank: Any) -> None:
    tank = make_tank()
    assert {get(tank, "/api/3/cohorts").status_code for _ in range(20)} == {200}
