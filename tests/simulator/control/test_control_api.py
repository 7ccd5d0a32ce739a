"""The control API: checked input, one shape of error, tanks that can be reset, kept and brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from simulator.serving import serve

A = {"device_id": "device-1", "event_type": "a"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/clock/advance", {}, 400),
        ("POST", "/clock/advance", {"by": "soon"}, 400),
        ("POST", "/clock/advance", {"until": "2020-01-01T00:00:00Z"}, 400),
        ("POST", "/faults", {"platform": "amplitude", "kind": "earthquake"}, 400),
        ("POST", "/faults", {"platform": "amplitude", "kind": "latency", "share": 2}, 400),
        ("PUT", "/credentials/nobody", {"status": "revoked"}, 404),
        ("PATCH", "/settings", {"no.such.setting": 1}, 400),
        ("PATCH", "/settings", {"amplitude.short_ids": "maybe"}, 400),
        ("PUT", "/feeds/currents", {"url": "ftp://nowhere"}, 400),
        ("PUT", "/feeds/currents", {"events": ["No Such Event"]}, 400),
        ("POST", "/feeds/currents/check", None, 409),
        ("POST", "/emit", {"flow": "currents", "events": []}, 400),
        ("DELETE", "/faults/99", None, 404),
        ("POST", "/snapshots/none/restore", None, 404),
        ("GET", "/nowhere", None, 404),
        ("GET", "/journal?limit=many", None, 400),
        ("GET", "/journal?colour=red", None, 400),
    ],
)
def test_bad_input_is_told_in_one_shape(tank: Any, method: str, path: str, body: Any, status: int) -> None:
    before = tank.digest()
    answer = tank.control(method, path, body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"what", "where", "mend"}
    assert tank.digest() == before


def test_ready_object_has_the_documented_members(tank: Any) -> None:
    ready = tank.ready
    assert set(ready) >= {"control", "tank", "amplitude", "braze", "customerio"}
    assert set(ready["amplitude"]) >= {"region", "url", "api_key", "secret_key"}
    assert set(ready["braze"]) >= {"url", "rest_api_key", "app_id", "data_import_key", "partner_api_key"}
    assert set(ready["customerio"]) >= {"url", "signing_key", "account_id", "workspace_id"}
    assert ready["control"]["clock_url"] == f"{tank.url}/clock"
    assert tank.control("GET", "").json() == ready


def test_snapshot_and_restore(tank: Any) -> None:
    tank.upload([A])
    before = tank.digest()
    assert tank.control("POST", "/snapshots", {"name": "one"}).status_code == 201
    tank.upload([A])
    tank.advance("1h")
    tank.control("PUT", "/credentials/amplitude_api_key", {"status": "revoked"})
    assert tank.digest() != before
    assert tank.control("POST", "/snapshots/one/restore").json() == tank.ready
    assert tank.digest() == before
    assert tank.upload([A]).status_code == 200
    assert tank.control("GET", "/clock/now").json()["epoch_ms"] == 1_767_225_600_000


def test_reset_empties_and_keeps_the_keys(tank: Any) -> None:
    tank.upload([A])
    tank.advance("1h")
    assert tank.control("POST", "/reset").json() == tank.ready
    assert tank.events() == []
    assert tank.control("GET", "/clock/now").json()["now"] == "2026-01-01T00:00:00.000Z"
    assert tank.upload([A]).status_code == 200


def test_tanks_never_see_each_other(make_tank: Any) -> None:
    one, two = make_tank(), make_tank()
    one.upload([A])
    assert (len(one.events()), len(two.events())) == (1, 0)
    clash = requests.post(f"{one.lab.control_url}/tanks", json={"credentials": {"amplitude_api_key": one.key}})
    assert clash.status_code == 400
    assert "in use" in clash.json()["error"]["what"]


def test_journal_masks_secrets(tank: Any) -> None:
    tank.upload([A])
    entry = tank.control("GET", "/journal").json()["entries"][0]
    assert tank.key not in str(entry)
    assert entry["request_body"].count("****") == 1


def test_journal_says_what_it_dropped(make_tank: Any) -> None:
    tank = make_tank(settings={"journal.max_entries": 100})
    for _ in range(130):
        tank.upload([A])
    found = tank.control("GET", "/journal", limit=1000).json()
    assert found["dropped"] > 0
    assert len(found["entries"]) + found["dropped"] == 130


def test_faults_hit_as_often_as_told(tank: Any) -> None:
    tank.control("POST", "/faults", {"platform": "amplitude", "kind": "status", "times": 2, "params": {"status": 503}})
    assert [tank.upload([A]).status_code for _ in range(3)] == [503, 503, 200]
    assert len(tank.events()) == 1
    tank.control("POST", "/faults", {"platform": "amplitude", "kind": "reset_after", "times": 1})
    with pytest.raises(requests.ConnectionError):
        tank.upload([{**A, "insert_id": "applied"}])
    assert [event["insert_id"] for event in tank.events()][-1] == "applied"
    tank.control("POST", "/faults", {"platform": "amplitude", "kind": "reset_before", "times": 1})
    with pytest.raises(requests.ConnectionError):
        tank.upload([{**A, "insert_id": "not-applied"}])
    assert len(tank.events()) == 2
    tank.control("POST", "/faults", {"platform": "amplitude", "kind": "truncated_body", "times": 1})
    with pytest.raises(requests.RequestException):
        tank.upload([A]).json()
    assert len(tank.events()) == 3


def test_seeded_shares_repeat(make_tank: Any) -> None:
    def run() -> list[int]:
        tank = make_tank(seed=5)
        tank.control("POST", "/faults", {"platform": "amplitude", "kind": "status", "share": 0.4})
        return [tank.upload([A]).status_code for _ in range(40)]

    first = run()
    assert first == run()
    assert 5 < first.count(503) < 30


def test_stepped_clock_and_waiting(tank: Any) -> None:
    now = tank.control("GET", "/clock/now").json()
    assert now == {"now": "2026-01-01T00:00:00.000Z", "epoch_ms": 1_767_225_600_000, "mode": "stepped"}
    assert tank.control("GET", "/clock/wait", until=0, name="me").json() == now
    assert tank.advance("48h")["now"] == "2026-01-03T00:00:00.000Z"
    changed = tank.control("PUT", "/clock", {"mode": "scaled", "scale": 3600}).json()
    assert changed["mode"] == "scaled"
    assert tank.control("POST", "/clock/advance", {"by": "1h"}).status_code == 409


def test_state_survives_in_a_file(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with serve(seed=1, state=state) as lab:
        ready = lab.create_tank({"id": "kept"})
        body = {"api_key": ready["amplitude"]["api_key"], "events": [A]}
        assert requests.post(f"{ready['amplitude']['url']}/2/httpapi", json=body).status_code == 200
        requests.post(f"{ready['control']['url']}/tanks/kept/clock/advance", json={"by": "5h"})
        digest = lab.tanks.get("kept").store.digest()
    with serve(seed=1, state=state) as lab:
        assert [tank.id for tank in lab.tanks.list()] == ["kept"]
        assert lab.tanks.get("kept").store.digest() == digest
        url = f"{lab.control_url}/tanks/kept"
        assert requests.get(f"{url}/clock/now").json()["now"] == "2026-01-01T05:00:00.000Z"


def test_ledger_adds_up(tank: Any) -> None:
    tank.control("PUT", "/feeds/currents", {"url": "http://127.0.0.1:9/feeds/currents", "events": ["Purchase"]})
    tank.control("POST", "/generate", {"flow": "currents", "events": 200, "seed": 1})
    totals = tank.control("GET", "/ledger").json()["totals"]
    assert totals["balanced"] is True
    assert totals["emitted"] == 200 == totals["dropped"] + totals["pending"]
    assert totals["dropped"] > 0
