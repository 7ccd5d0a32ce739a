"""The page's own pair, end to end: Customer.io reports, the connector uploads, Amplitude stores the printed record.

What the page prints twice does not fit together; tests/connector/test_customerio_mapping.py lists where, and why which
reading. The tank begins in the millisecond in which Amplitude received the event, before the event's own second.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

ROOT = Path(__file__).parents[2]
REPORT = {
    "event_id": "01GJBCEYDJMH4VCDKXC98JNQ2D",
    "object_type": "sms",
    "timestamp": 1669045350,
    "metric": "sent",
    "data": {
        "trigger_id": 1,
        "customer_id": "313803",
        "delivery_id": "dgSiuAMBAMeAFMWAFAGEmtrrwMzFAHs6nMGmSG4=",
        "action_id": 1001266,
        "campaign_id": 1000223,
        "journey_id": "01GJDDNSY0X731SPYZEBKRNZZ1",
        "identifiers": {"id": "313803", "email": "cool.person@example.com", "cio_id": "d9c106000001"},
        "content": "Hey jenny! I got your number!",
        "recipient": "+15558675309",
    },
}
RECORD: dict[str, Any] = json.loads(
    """{"$insert_id": "01GJDDNVWD723D5GNSEAQJVSEB", "$insert_key": "018a4e4d19084729ad7c4a77667a832afd#905",
    "$row_source": "realtime", "$schema": 13, "_time": 1669045350000, "adid": null, "amplitude_attribution_ids": null,
    "amplitude_event_type": null, "amplitude_id": 507275024343, "app": 419422, "city": null,
    "client_event_time": "2022-11-21 15:42:30", "client_upload_time": "2022-11-21 15:42:29.394000", "country": null,
    "data": {"group_first_event": {}, "group_ids": {"257325": [10753477083], "257326": [10871859635]}},
    "data_type": "event", "device_brand": null, "device_carrier": null, "device_family": null,
    "device_id": "d148bf61-a152-5e08-bcc1-e8be96a9fce4", "device_manufacturer": null, "device_model": null,
    "device_type": null, "display_name": "Sms Sent", "dma": null, "event_id": 148912891,
    "event_properties": {"action_id": 1001266, "campaign_id": 1000223, "content": "Hey jenny! I got your number!",
      "customer_id": "313803", "delivery_id": "dgSiuAMBAMeAFMWAFAGEmtrrwMzFAHs6nMGmSG4=",
      "journey_id": "01GJDDNSY0X731SPYZEBKRNZZ1", "recipient": "5558675309"},
    "event_time": "2022-11-21 15:42:30", "event_type": "Sms Sent", "global_user_properties": {},
    "group_properties": {"account_id": {"1": {}}, "workspace": {"56354": {}}},
    "groups": {"account_id": ["1"], "workspace": ["56354"]}, "idfa": null, "ip_address": null,
    "is_attribution_event": false, "language": null, "library": "batch/1.0", "location_lat": null, "location_lng": null,
    "os": "", "os_name": null, "os_version": null, "partner_id": null, "paying": null, "plan": {}, "platform": null,
    "processed_time": "2022-11-21 15:42:42.526145", "region": null, "sample_rate": null,
    "server_received_time": "2022-11-21 15:42:29.394000", "server_upload_time": "2022-11-21 15:42:39.646000",
    "session_id": -1, "source_id": null, "start_version": null, "timeline_hidden": false,
    "user_creation_time": "2022-11-21 15:42:28", "user_id": "313803", "user_properties": {},
    "uuid": "22ed3a6e-69b3-11ed-898f-d5a02747ae5a", "version_name": null}"""
)
OWN = {
    "$insert_key", "amplitude_id", "app", "data", "device_id", "event_id", "processed_time", "server_upload_time",
    "user_creation_time", "uuid",
}  # fmt: skip
"""Amplitude's own: numbers and keys that it mints, and its clocks; their shapes are compared."""
READ = {
    "$insert_id": "01GJBCEYDJMH4VCDKXC98JNQ2D",
    "event_properties": {
        **RECORD["event_properties"],
        "recipient": "+15558675309",
        "trigger_id": 1,
        "email": "cool.person@example.com",
    },
}
"""Where the two payloads contradict each other: what the reading chosen makes of it."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def connector(ready: dict[str, Any], folder: Path) -> Iterator[str]:
    """The reference connector as its own process, with Body Content on."""
    section = {
        "amplitude": {"api_key": ready["amplitude"]["api_key"]},
        "signing_key": ready["customerio"]["signing_key"],
        "body_content": True,
    }
    (folder / "integration.yaml").write_text(json.dumps({"customerio": section}), "utf-8")
    port = free_port()
    environ = {
        **os.environ,
        "PORT": str(port),
        "AMPLITUDE_URL": ready["amplitude"]["url"],
        "AMPLITUDE_REGION": "us",
        "CUSTOMERIO_ACCOUNT_ID": "1",
        "CUSTOMERIO_WORKSPACE_ID": "56354",
        "WAVETANK_CLOCK_URL": ready["control"]["clock_url"],
        "WAVETANK_INTEGRATION": str(folder / "integration.yaml"),
        "WAVETANK_STATE_DIR": str(folder / "state"),
    }
    process = subprocess.Popen([sys.executable, "-m", "connector"], cwd=ROOT, env=environ)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 30
        while not _answers(url):
            assert time.monotonic() < until, "the connector did not come up"
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, lab: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record that Amplitude shows, and the uploads that made it."""
    ready = lab.create_tank({"clock": {"mode": "stepped", "start": "2022-11-21T15:42:29.394Z"}})
    control = f"{lab.control_url}/tanks/{ready['tank']['id']}"
    with connector(ready, tmp_path_factory.mktemp("seed")) as url:
        feed = {"url": f"{url}/feeds/customerio", "with_content": True}
        assert requests.put(f"{control}/feeds/customerio", json=feed, timeout=60).status_code == 200
        assert requests.post(f"{control}/customerio/reports", json={"reports": [REPORT]}, timeout=60).ok
        assert requests.post(f"{control}/clock/settle", json={}, timeout=60).ok
        side = ready["amplitude"]
        proof = side["api_key"], side["secret_key"]
        found = requests.get(f"{side['url']}/api/2/usersearch", {"user": "313803"}, auth=proof, timeout=60).json()
        who = found["matches"][0]["amplitude_id"]
        told = requests.get(f"{side['url']}/api/2/useractivity", {"user": who}, auth=proof, timeout=60).json()
        entries = requests.get(f"{control}/journal", {"limit": 1000}, timeout=60).json()["entries"]
        uploads = [each for each in entries if each["platform"] == "amplitude" and each["method"] == "POST"]
    lab.desk.delete(ready["tank"]["id"])
    assert len(told["events"]) == 1
    return told["events"][0], uploads


def test_the_upload_is_the_one_that_the_record_tells_of(stored: Any) -> None:
    (upload,) = stored[1]
    assert (upload["path"], upload["status"]) == ("/batch", 200)
    body = json.loads(upload["request_body"])
    assert body["events"] == [
        {
            "user_id": "313803",
            "event_type": "Sms Sent",
            "time": 1669045350000,
            "insert_id": "01GJBCEYDJMH4VCDKXC98JNQ2D",
            "groups": {"account_id": "1", "workspace": "56354"},
            "event_properties": READ["event_properties"],
        }
    ]
    assert body["options"] == {"min_id_length": 1}
    assert body.keys() == {"api_key", "events", "options"}


def test_the_record_has_the_printed_fields_and_no_others(stored: Any) -> None:
    assert stored[0].keys() == RECORD.keys()


@pytest.mark.parametrize("field", sorted(RECORD))
def test_field_by_field(stored: Any, field: str) -> None:
    found, printed = stored[0][field], READ.get(field, RECORD[field])
    if field not in OWN:
        assert found == printed
        return
    assert type(found) is type(printed)
    if field == "data":
        assert found["group_first_event"] == {}
        assert [len(ids) for ids in found["group_ids"].values()] == [1, 1]
    shape = re.compile(re.sub("[0-9a-f]+", lambda run: f"[0-9a-f]{{{len(run[0])}}}", re.escape(str(printed))))
    if field in ("device_id", "uuid"):
        assert shape.fullmatch(found)
    if field == "$insert_key":
        assert shape.fullmatch(found.partition("#")[0] + printed[-4:])
    if field.endswith("time"):
        assert found.startswith("2022-11-21 15:42:")
    if field == "device_id":
        assert found[14] == printed[14] == "5"  # a version 5 UUID, made of the user
