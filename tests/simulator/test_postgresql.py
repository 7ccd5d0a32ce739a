"""The store on a real PostgreSQL: the same answers as SQLite gives, exact over processes, back from a copy.

The whole suite runs on PostgreSQL with ``pytest --store postgresql``; here is what every run looks at.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import postgresql as servers
import pytest
import requests
from sqlalchemy import BigInteger, column, func, literal, select
from test_up import up, wavetank

from simulator.dialect import (
    as_number,
    as_real,
    glob,
    json_integer,
    json_members,
    json_number,
    json_set,
    json_size,
    json_text,
    json_type,
    matches,
    position,
)
from simulator.serving import Lab, serve
from simulator.tank import Tanks

ROOT = Path(__file__).parents[2]
DOCUMENT = json.dumps(
    {"a": {"b c": ["x", 2, 2.5, None, True, {"d": 1}]}, "n": 7, "t": "5", "no": None, "yes": True, "nul": "a\0b"},
    separators=(",", ":"),
)
EXPRESSIONS: dict[str, tuple[Any, Any]] = {
    "text": (json_text(literal(DOCUMENT), "$.t"), "5"),
    "text of a truth": (json_text(literal(DOCUMENT), "$.yes"), "true"),
    "text of null": (json_text(literal(DOCUMENT), "$.no"), None),
    "text of nothing": (json_text(literal(DOCUMENT), "$.gone"), None),
    "text of an array": (json_text(literal('{"a":["x",2]}'), "$.a"), '["x",2]'),
    "number": (json_number(literal(DOCUMENT), '$.a."b c"[2]'), 2.5),
    "whole number": (json_integer(literal(DOCUMENT), "$.n"), 7),
    "missing number": (json_integer(literal(DOCUMENT), "$.a.n"), None),
    "type": (json_type(literal(DOCUMENT), '$.a."b c"[5].d'), "integer"),
    "type of null": (json_type(literal(DOCUMENT), "$.no"), "null"),
    "size": (json_size(literal(DOCUMENT), '$.a."b c"'), 6),
    "size of nothing": (json_size(literal(DOCUMENT), "$.gone"), None),
    "position": (position(literal("abc"), "c"), 3),
    "no position": (position(literal("abc"), "x"), 0),
    "real": (as_real(literal("12.5")), 12.5),
    "no real": (as_real(literal("abc")), 0.0),
    "glob": (glob("[0-9][0-9]-[0-9]", literal("12-3")), True),
    "no glob": (glob("[0-9][0-9]-[0-9]", literal("12-34")), False),
    "regex": (matches(literal("a word"), r"\bword$"), True),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "state.db")
    return servers.fresh(request.getfixturevalue("postgresql"))


def tanks_of(state: str) -> Tanks:
    return Tanks(state if "://" in state else Path(state))


def test_expressions_mean_the_same(state: str) -> None:
    tanks = tanks_of(state)
    with tanks.store.read() as conn:
        for name, (expression, expected) in EXPRESSIONS.items():
            assert conn.execute(select(expression)).scalar() == expected, name
        each = json_members(literal(DOCUMENT), '$.a."b c"', "each")
        rows = conn.execute(select(each.c.key, each.c.type, each.c.value)).all()
        assert [int(row.key) for row in rows] == [0, 1, 2, 3, 4, 5]
        assert [row.type for row in rows] == ["text", "integer", "real", "null", "true", "object"]
        assert rows[5].value == '{"d":1}'
        numbers = select(as_number(each.c.value)).where(each.c.type.in_(("integer", "real")))
        assert sorted(conn.execute(numbers).scalars()) == [2, 2.5]
        wanted = json_set(["x", "nul\0inside"]).subquery()
        assert sorted(conn.execute(select(wanted.c[0])).scalars()) == ["nul\0inside", "x"]
        assert sorted(conn.execute(select(column("value")).select_from(json_set([3, 2**40]).subquery())).scalars()) == [
            3,
            2**40,
        ]
        for empty in (literal(5).in_(json_set([])), literal("5").in_(json_set([]))):
            assert not conn.execute(select(empty)).scalar()
        total = conn.execute(select(func.sum(literal(2**40, BigInteger)), func.avg(literal(2, BigInteger)))).one()
        assert [type(total[0]), *total] == [int, 2**40, 2]
    tanks.close()


@pytest.fixture(scope="module")
def labs(postgresql: str) -> Any:
    """One lab on each store."""
    with serve(0) as lite, serve(0, servers.fresh(postgresql)) as heavy:
        yield lite, heavy


def both(labs: tuple[Lab, Lab], play: Any, **spec: Any) -> None:
    """Play against a tank on each store: every answer is the same, and so is what is stored in the end."""
    told = []
    for lab in labs:
        ready = lab.create_tank({"id": "same", "settings": {"clock.settle_ms": 0}, **spec})
        answers: list[Any] = []

        def call(
            method: str, where: str, body: Any = None, *, ready: Any = ready, answers: Any = answers, **more: Any
        ) -> Any:
            platform, _, path = where.partition(" ")
            base = f"{ready['control']['url']}/tanks/same" if platform == "control" else ready[platform]["url"]
            if platform == "braze":
                more["headers"] = {"Authorization": f"Bearer {ready['braze']['rest_api_key']}"}
            answer = requests.request(method, f"{base}{path}", json=body, timeout=60, **more)
            shown = answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text
            # The ready object names the ports of its lab.
            is_ready = isinstance(shown, dict) and "control" in shown
            answers.append((answer.status_code, "ready" if is_ready else shown))
            return shown

        play(call, ready)
        answers.append(lab.tanks.get("same").store.digest())
        told.append(answers)
        lab.desk.delete("same")
    assert told[0] == told[1]


def uploads(ready: Any, *events: Any, **more: Any) -> Any:
    return {"api_key": ready["amplitude"]["api_key"], "events": list(events), **more}


def test_uploads_duplicates_identity_and_merges(labs: tuple[Lab, Lab]) -> None:
    def play(call: Any, ready: Any) -> None:
        anonymous = {"device_id": "device-1", "event_type": "open", "insert_id": "i-1", "event_properties": {"n": 1}}
        known = {"user_id": "user-1\0", "device_id": "device-2", "event_type": "open", "user_properties": {"age": 7}}
        for _ in range(2):
            call("POST", "amplitude /2/httpapi", uploads(ready, anonymous, known))
        call("POST", "amplitude /batch", uploads(ready, {**known, "device_id": "device-1"}))
        call("POST", "amplitude /2/httpapi", uploads(ready, {"device_id": "x", "event_type": ""}))
        found = call("GET", "control /amplitude/events")
        assert len({event["amplitude_id"] for event in found["events"] if event["device_id"] == "device-1"}) == 2
        assert len(call("GET", "control /amplitude/merges")["merges"]) == 1

    both(labs, play)


def test_throttling(labs: tuple[Lab, Lab]) -> None:
    def play(call: Any, ready: Any) -> None:
        for n in range(4):
            hot = [{"device_id": "hot", "event_type": "a", "insert_id": f"{n}-{k}"} for k in range(10)]
            call("POST", "amplitude /2/httpapi", uploads(ready, *[{**each, "device_id": "device-hot"} for each in hot]))
        call("POST", "control /clock/advance", {"by": "1s"})
        call("POST", "amplitude /2/httpapi", uploads(ready, {"device_id": "device-hot", "event_type": "a"}))
        statuses = call("GET", "control /amplitude/usage")["devices"]
        assert [each["last_24_hours"] for each in statuses] == [31]

    both(labs, play)


def test_track_and_segments(labs: tuple[Lab, Lab]) -> None:
    def play(call: Any, ready: Any) -> None:
        people = [{"external_id": f"p{n}", "plan": "gold" if n % 2 else "free", "score": n} for n in range(6)]
        bought = {"external_id": "p1", "product_id": "sku", "currency": "USD", "price": 9.5, "time": "2026-01-01"}
        done = {"external_id": "p2", "name": "seen", "time": "2026-01-01T00:00:00Z"}
        body = {"attributes": people, "events": [done], "purchases": [{**bought, "quantity": 2}]}
        call("POST", "braze /users/track", body)
        call("POST", "control /clock/advance", {"by": "1m"})
        call("POST", "braze /users/export/ids", {"external_ids": ["p1", "p2"], "fields_to_export": ["external_id"]})
        call("POST", "braze /users/merge", {"merge_updates": [{"identifier_to_merge": {"external_id": "p1"}, "identifier_to_keep": {"external_id": "p2"}}]})  # fmt: skip
        call("POST", "control /clock/advance", {"by": "1m"})
        series = "/purchases/revenue_series?length=2"
        assert call("GET", f"braze {series}")["data"][-1]["revenue"] == 19.0
        assert call("GET", "braze /purchases/quantity_series?length=2")["data"][-1]["purchase_quantity"] == 2
        assert call("GET", "control /braze/data-points")["total"] > 0
        call("GET", "control /braze/data-points?after=1000")

    both(labs, play)


def test_members_of_imported_cohorts(labs: tuple[Lab, Lab]) -> None:
    """Blocks of marks are bytes in both databases, and a segment looks one mark up."""

    def play(call: Any, ready: Any) -> None:
        def change(ids: list[str], **more: Any) -> None:
            door = {"client_secret": ready["braze"]["data_import_key"], "partner_api_key": ready["braze"]["partner_api_key"]}  # fmt: skip
            changes = [{"user_ids": ids, **more}]
            call("POST", "braze /partners/amplitude/cohorts/users", {**door, "cohort_id": "c1", "cohort_changes": changes})  # fmt: skip
            call("POST", "control /clock/advance", {"by": "1m"})

        def members() -> list[str]:
            found = call("GET", "control /braze/cohorts/amplitude/c1")
            return [each["external_id"] for each in found["members"]]

        call("POST", "braze /users/track", {"attributes": [{"external_id": f"p{n}", "plan": "x"} for n in range(6)]})
        call("POST", "control /clock/advance", {"by": "1m"})
        change(["p1", "p3", "p5", "nobody"])
        assert members() == ["p1", "p3", "p5"]
        inside = {"partner_cohort": {"partner": "amplitude", "cohort_id": "c1", "comparison": "is"}}
        made = call("POST", "control /braze/segments", {"name": "inside", "definition": inside})
        assert made["size"] == 3
        change(["p3"], should_remove=True)
        call("POST", "braze /users/delete", {"external_ids": ["p5"]})
        call("POST", "control /clock/advance", {"by": "1m"})
        assert members() == ["p1"]

    both(labs, play)


def test_snapshots_and_reset(labs: tuple[Lab, Lab]) -> None:
    def play(call: Any, ready: Any) -> None:
        call("POST", "amplitude /2/httpapi", uploads(ready, {"device_id": "device-1", "event_type": "a"}))
        call("POST", "control /snapshots", {"name": "one"})
        call("POST", "amplitude /2/httpapi", uploads(ready, {"device_id": "device-1", "event_type": "b"}))
        call("POST", "control /snapshots/none/restore")
        call("POST", "control /snapshots/one/restore")
        call("POST", "amplitude /2/httpapi", uploads(ready, {"device_id": "device-1", "event_type": "c"}))
        found = call("GET", "control /amplitude/events")["events"]
        assert [(each["n"], each["event_type"]) for each in found] == [(1, "a"), (2, "c")]
        assert [each["name"] for each in call("GET", "control /snapshots")["snapshots"]] == ["one"]
        call("POST", "control /reset")
        assert call("GET", "control /amplitude/events")["events"] == []

    both(labs, play)


def test_limits_are_exact_over_processes(state: str) -> None:
    command = [sys.executable, "benchmarks/admissions.py", "--arrivals", "240", "--per-phase", "80"]
    run = subprocess.run(
        [*command, "--processes", "2", "--state", state, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["accepted"] > 100
    assert found["refused"] > 10


def test_servers_on_one_state_have_one_that_runs_time(postgresql: str, tmp_path: Path) -> None:
    url = servers.fresh(postgresql)
    second = tmp_path / "second"
    second.mkdir()
    with up(tmp_path, "--state", url, "--clock", "stepped") as first:
        refused = wavetank("up", "--port", "0", "--state", url)
        assert refused.returncode == 2
        assert "--platforms-only" in refused.stderr
        control = first["control"]["url"]
        with up(second, "--state", url, "--platforms-only", "--control", control) as other:
            assert other["amplitude"]["url"] != first["amplitude"]["url"]
            for ready, name in ((first, "a"), (other, "b"), (other, "a")):
                event = {"device_id": "device-1", "event_type": name, "insert_id": name}
                body = {"api_key": ready["amplitude"]["api_key"], "events": [event]}
                answer = requests.post(f"{ready['amplitude']['url']}/2/httpapi", json=body, timeout=30)
                assert answer.status_code == 200
            found = requests.get(f"{control}/tanks/demo/amplitude/events", timeout=30).json()["events"]
            assert [each["event_type"] for each in found] == ["a", "b"]


def test_a_database_that_is_not_there_is_one_line() -> None:
    answer = wavetank("up", "--port", "0", "--state", "postgresql://nobody@127.0.0.1:1/nothing")
    assert answer.returncode == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "PostgreSQL" in answer.stderr
