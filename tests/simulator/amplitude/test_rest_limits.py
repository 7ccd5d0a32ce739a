"""Cost limits of the dashboard API: days × conditions, 1,000 in 5 minutes, 108,000 an hour."""

from __future__ import annotations

import json
from typing import Any

import requests


def users(tank: Any, **more: Any) -> requests.Response:
    query = {"start": "20260101", "end": "20260410", **more}  # 100 days
    pair = (tank.key, tank.ready["amplitude"]["secret_key"])
    return requests.get(f"{tank.amplitude}/api/2/users", params=query, auth=pair)


def test_ten_queries_of_a_hundred_days_in_five_minutes(tank: Any) -> None:
    assert [users(tank).status_code for _ in range(10)] == [200] * 10
    before = tank.digest()
    answer = users(tank)
    error = answer.json()["error"]
    assert (answer.status_code, error["http_code"]) == (429, 429)
    assert "costs 100, 1000 of 1000" in error["metadata"]["details"]
    assert tank.digest() == before
    tank.advance("299s")
    assert users(tank).status_code == 429
    tank.advance("1s")
    assert users(tank).status_code == 200


def test_conditions_multiply_and_a_group_by_is_four(tank: Any) -> None:
    two = json.dumps([{"prop": "country", "op": "is", "values": ["Peru"]}] * 2)
    assert users(tank, s=two, g="country").status_code == 200  # 100 × (2 + 4)
    assert users(tank, g="country").status_code == 200  # 100 × 4: just the limit
    assert users(tank, end="20260101").status_code == 429


def test_the_hour(make_tank: Any) -> None:
    tank = make_tank(settings={"amplitude.rest_cost_hour": 250})
    assert [users(tank).status_code for _ in range(3)] == [200, 200, 429]
    tank.advance("59m")
    assert users(tank).status_code == 429
    tank.advance("1m")
    assert users(tank).status_code == 200
