"""Annotation categories and the old list. Expectations: Amplitude docs, Chart Annotations API."""

from __future__ import annotations

from typing import Any

import pytest
import requests

KINDS, NOTES = "/api/3/annotation-categories", "/api/3/annotations"


def call(tank: Any, method: str, path: str, body: object = None) -> requests.Response:
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    return requests.request(method, f"{tank.amplitude}{path}", json=body, auth=pair)


def note(tank: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = call(
        tank, "POST", NOTES, {"label": "Launch", "start": "2026-06-15T00:00:00Z", **more}
    ).json()["data"]
    return found


def test_a_categorys_life(tank: Any) -> None:
    kind = call(tank, "POST", KINDS, {"category": "Sales"}).json()["data"]
    one = f"{KINDS}/{kind['id']}"
    mine, other = note(tank, category="Sales"), note(tank)
    assert call(tank, "GET", one).json() == {"data": kind}
    renamed = {"id": kind["id"], "category": "Discounts"}
    assert call(tank, "PUT", one, {"category": "Discounts"}).json() == {"data": renamed}
    moved = call(tank, "PUT", f"{KINDS}/bulk/{kind['id']}", {"annotation_ids": [other["id"]]}).json()
    assert moved == {"data": [{**other, "category": renamed}]}
    assert call(tank, "GET", f"{NOTES}?category=Discounts").json()["data"] == [
        {**each, "category": renamed} for each in (mine, other)
    ]
    assert call(tank, "DELETE", one).json() == {"success": True}
    assert call(tank, "GET", one).status_code == 404
    back = call(tank, "GET", f"{NOTES}/{mine['id']}").json()["data"]["category"]
    assert back == {"id": 1, "category": "Uncategorized"}


def test_the_old_list(tank: Any) -> None:
    made = note(tank)
    assert call(tank, "GET", "/api/2/annotations").json() == {"data": [made]}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"{KINDS}/77", None, 404),
        ("GET", f"{KINDS}/x", None, 404),
        ("PUT", f"{KINDS}/77", {"category": "b"}, 404),
        ("DELETE", f"{KINDS}/77", None, 404),
        ("PUT", f"{KINDS}/2", {"category": "Uncategorized"}, 409),
        ("PUT", f"{KINDS}/2", {"category": 3}, 400),
        ("PUT", f"{KINDS}/2", [], 400),
        ("PUT", f"{KINDS}/1", {"category": "b"}, 400),
        ("DELETE", f"{KINDS}/1", None, 400),
        ("PUT", f"{KINDS}/bulk/77", {"annotation_ids": [1]}, 404),
        ("PUT", f"{KINDS}/bulk/2", {"annotation_ids": [77]}, 404),
        ("PUT", f"{KINDS}/bulk/2", {"annotation_ids": []}, 400),
        ("PUT", f"{KINDS}/bulk/2", {"annotation_ids": ["1"]}, 400),
        ("PUT", f"{KINDS}/bulk/2", {"annotation_ids": [2**64]}, 400),
        ("POST", NOTES, {"label": "x", "start": "0001-01-01T00:00:00+14:00"}, 400),
    ],
)
def test_refusals(tank: Any, method: str, path: str, body: object, status: int) -> None:
    call(tank, "POST", KINDS, {"category": "Sales"})
    before = tank.digest()
    answer = call(tank, method, path, body)
    assert (answer.status_code, answer.json()["error"]["http_code"]) == (status, status)
    assert tank.digest() == before
