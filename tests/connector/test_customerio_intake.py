"""Taking reporting webhooks: the signature, what is kept, the Batch API, Test Connection."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from connector_stubs import KEY, Amplitude, ManualClock, amplitude
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from connector import reporting
from connector.assembly import assemble, outbox_of
from connector.commands import connect
from connector.config import Config, ConfigError, load, schema
from connector.engine import Engine
from connector.flows.customerio import Integration, Readings
from connector.sections import CustomerioConfig
from connector.service import Draining, create_app

SIGNING_KEY = "sk_demo_3f9a"
NOW_MS = 1_761_912_004_000
HOUR_MS = 3_600_000

VECTOR = (
    b'{"event_id":"01K8XQEXAMPLE00000000000001","object_type":"email","metric":"opened",'
    b'"timestamp":1761912000,"data":{"identifiers":{"id":"acct_77120"}}}'
)
VECTOR_SIGNATURE = "cfdf92d61de9b80463f85496812214c24b931b9a813e3181e20703fbe93eac16"


def signed(body: bytes, at_s: int = NOW_MS // 1000, key: str = SIGNING_KEY) -> dict[str, str]:
    """The headers of a request, made as Customer.io describes it."""
    text = b"v0:" + str(at_s).encode() + b":" + body
    return {
        "X-CIO-Timestamp": str(at_s),
        "X-CIO-Signature": hmac.new(key.encode(), text, hashlib.sha256).hexdigest(),
    }


def report(number: int = 1, **changes: Any) -> bytes:
    data = {"identifiers": {"id": f"p{number}"}, "delivery_id": f"d{number}"}
    whole = {"event_id": f"e{number}", "object_type": "email", "metric": "sent", "timestamp": 1761912000, "data": data}
    return json.dumps({**whole, **changes}).encode()


class Desk:
    """A service without a server; ``work`` delivers what it has taken."""

    def __init__(
        self, folder: Path, outbox_url: str | None = None, url: str = "http://127.0.0.1:9", **readings: Any
    ) -> None:
        integration = Integration(readings=Readings(**readings))
        flow = CustomerioConfig(url, KEY, SIGNING_KEY, integration)
        self.draining = Draining()
        self.clock = ManualClock(NOW_MS)
        self.config = Config(9000, folder, None, "token-1", None, customerio=flow, outbox_url=outbox_url)
        self.flows = assemble(self.config)
        self.flow = self.flows["customerio"]
        self.outbox = self.flow.outbox
        app = create_app(self.config, self.flows, Engine([], self.clock), self.draining)
        self.client: FlaskClient = app.test_client()

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> TestResponse:
        return self.client.post("/feeds/customerio", data=body, headers=signed(body) if headers is None else headers)

    def work(self, later_ms: int = 0) -> int:
        """Deliver what may go ``later_ms`` from now; answers when there is more, in ms from then."""
        self.clock.now += later_ms
        while (until := self.flow.delivery.work(self.clock.now)) <= self.clock.now:
            pass
        return until - self.clock.now

    def close(self) -> None:
        self.flow.delivery.client.close()
        self.outbox.close()


@pytest.fixture
def desk(tmp_path: Path, outbox_url: str | None) -> Iterator[Desk]:
    made = Desk(tmp_path, outbox_url)
    yield made
    made.close()


@pytest.fixture
def stub() -> Iterator[Amplitude]:
    with amplitude() as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, outbox_url: str | None, stub: Amplitude) -> Iterator[Desk]:
    made = Desk(tmp_path, outbox_url, stub.url)
    yield made
    made.close()


# -- the signature


def test_the_published_vector(desk: Desk) -> None:
    assert len(VECTOR) == 148
    headers = {"X-CIO-Timestamp": "1761912004", "X-CIO-Signature": VECTOR_SIGNATURE}
    assert desk.post(VECTOR, headers).status_code == 200
    assert desk.post(report(2), signed(report(2))).get_json() == {"new": 1}
    upper = {**headers, "X-CIO-Signature": VECTOR_SIGNATURE.upper()}
    assert desk.post(VECTOR, upper).get_json() == {"new": 0}


def _other(body: bytes) -> dict[str, tuple[bytes, dict[str, str]]]:
    right = signed(body)
    spaced = json.dumps(json.loads(body), indent=1).encode()
    turned = json.dumps(dict(reversed(json.loads(body).items()))).encode()
    escaped = body.replace(b"email", b"\\u0065mail", 1)
    return {
        "altered byte": (body.replace(b"e1", b"e2", 1), right),
        "a byte more": (body + b" ", right),
        "another encoding of the same object": (spaced, right),
        "another order of the same object": (turned, right),
        "other escapes of the same object": (escaped, right),
        "another key": (body, signed(body, key="sk_other")),
        "another time": (body, {**right, "X-CIO-Timestamp": str(NOW_MS // 1000 + 1)}),
        "a prefix": (body, {**right, "X-CIO-Signature": "v0=" + right["X-CIO-Signature"]}),
        "half": (body, {**right, "X-CIO-Signature": right["X-CIO-Signature"][:32]}),
        "no text of ASCII": (body, {**right, "X-CIO-Signature": "\xe9" * 64}),
        "empty": (body, {**right, "X-CIO-Signature": ""}),
        "no signature": (body, {"X-CIO-Timestamp": right["X-CIO-Timestamp"]}),
        "no time": (body, {"X-CIO-Signature": right["X-CIO-Signature"]}),
        "a time that is no number": (body, {**signed(body), "X-CIO-Timestamp": "now"}),
        "a time in other digits": (body, {**right, "X-CIO-Timestamp": "\xb2\xb2\xb2"}),
        "stale": (body, signed(body, NOW_MS // 1000 - 301)),
        "from the future": (body, signed(body, NOW_MS // 1000 + 301)),
        "a time in milliseconds": (body, signed(body, NOW_MS)),
        "a bearer token": (body, {"Authorization": "Bearer token-1"}),
    }


@pytest.mark.parametrize("how", _other(report()))
def test_what_is_not_signed_now_is_answered_401_and_nothing_is_kept(desk: Desk, how: str) -> None:
    body, headers = _other(report())[how]
    assert desk.post(body, headers).status_code == 401
    assert sum(desk.outbox.counts().values()) == 0
    assert desk.post(report()).get_json() == {"new": 1}


@pytest.mark.parametrize("seconds", [-300, -1, 2, 300])
def test_a_signature_within_the_window_is_right(desk: Desk, seconds: int) -> None:
    assert desk.post(report(), signed(report(), NOW_MS // 1000 + seconds)).status_code == 200


def test_the_window_is_a_setting(tmp_path: Path) -> None:
    desk = Desk(tmp_path, signature_window_s=0)
    assert desk.post(report(), signed(report(), 1)).status_code == 200
    desk.close()


def test_a_replayed_request_is_the_same_report_and_a_late_one_is_refused(desk: Desk) -> None:
    headers = signed(report())
    assert desk.post(report(), headers).get_json() == {"new": 1}
    assert desk.post(report(), headers).get_json() == {"new": 0}
    desk.clock.now += HOUR_MS
    assert desk.post(report(), headers).status_code == 401
    assert desk.outbox.counts()["pending"] == 1


@given(st.binary(max_size=200), st.text(st.characters(codec="ascii"), min_size=1, max_size=20), st.integers(0, 2**40))
def test_any_body_under_any_key_verifies_by_its_own_signature_alone(body: bytes, key: str, at_s: int) -> None:
    headers = signed(body, at_s, key)
    told = headers["X-CIO-Timestamp"], headers["X-CIO-Signature"]
    assert reporting.verified(key, *told, body, at_s * 1000, 300)
    assert not reporting.verified(key + "x", *told, body, at_s * 1000, 300)
    assert not reporting.verified(key, *told, body + b"0", at_s * 1000, 300)


# -- what is kept


def test_a_report_is_on_the_disk_before_it_is_answered_and_known_again(desk: Desk) -> None:
    assert desk.post(report(1)).get_json() == {"new": 1}
    assert desk.post(report(1, timestamp=1761912001)).get_json() == {"new": 0}
    other = outbox_of(desk.config, "customerio")
    rows = other.read("SELECT id, state FROM events")
    other.close()
    assert rows == [("e1", "pending")]


SIGNED_BAD = [
    b"",
    b"{",
    b"\xff",
    b"[]",
    b'"report"',
    b"null",
    b"[" * 5000 + b"]" * 5000,
    b"{}",
    b'{"event_id":"e1"}',
    report(metric="teleported"),
    report(timestamp="today"),
    report(data={"identifiers": {"email": "a@example.org"}}),
    report(data="none"),
]


@pytest.mark.parametrize("body", SIGNED_BAD, ids=lambda body: body[:40])
def test_what_is_signed_and_cannot_be_used_is_taken_and_counted(desk: Desk, body: bytes) -> None:
    assert desk.post(body).status_code == 200
    counts = desk.outbox.counts()
    assert (counts["skipped"], counts["pending"]) == (1, 0)
    told = desk.client.get("/healthz").get_json()["customerio"]
    assert sum(told["reasons"]["skipped"].values()) == 1


def test_a_giant_body_is_taken_and_its_content_cut(desk: Desk) -> None:
    integration = Integration(body_content=True)
    data = {"identifiers": {"id": "p"}, "content": "é" * 5_000_000}
    (row,) = reporting.rows(report(data=data), integration)
    assert row.body is not None
    assert len(json.loads(row.body)["event_properties"]["content"]) == 1024
    assert desk.post(report(data=data)).get_json() == {"new": 1}


def test_while_draining_nothing_is_taken(desk: Desk) -> None:
    desk.draining.set()
    assert desk.post(report()).status_code == 503


def test_a_flow_that_is_off_is_answered_and_nothing_is_kept(tmp_path: Path) -> None:
    config = Config(9000, tmp_path, None, "", None)
    app = create_app(config, {}, Engine([], ManualClock()), Draining())
    answer = app.test_client().post("/feeds/customerio", data=report())
    assert (answer.status_code, answer.get_json()) == (200, {"new": 0})


def test_health_tells_of_the_flow(desk: Desk) -> None:
    desk.post(report(1))
    body = desk.client.get("/healthz").get_json()
    assert "customerio" in body["flows"]
    assert body["customerio"]["status"] == "running"
    assert body["customerio"]["outbox"]["pending"] == 1


# -- the Batch API


def test_reports_go_to_the_batch_api_with_an_id_length_of_1(bench: Desk, stub: Amplitude) -> None:
    for number in range(3):
        bench.post(report(number))
    bench.work()
    assert stub.paths == ["/batch"]
    assert stub.uploads[0]["options"] == {"min_id_length": 1}
    assert stub.ids() == ["e0", "e1", "e2"]
    assert [each["user_id"] for each in stub.uploads[0]["events"]] == ["p0", "p1", "p2"]


def test_amplitudes_own_id_length_is_a_setting(tmp_path: Path, stub: Amplitude) -> None:
    desk = Desk(tmp_path, None, stub.url, min_id_length=0)
    desk.post(report())
    desk.work()
    assert "options" not in stub.uploads[0]
    desk.close()


def test_a_refused_id_does_not_sink_its_batch(bench: Desk, stub: Amplitude) -> None:
    def refuse(events: list[dict[str, Any]]) -> tuple[int, Any] | None:
        bad = [index for index, each in enumerate(events) if each["user_id"] == "anonymous"]
        named = {"user_id": bad}
        return (400, {"code": 400, "error": "x", "events_with_invalid_fields": named}) if bad else None

    stub.script = refuse
    for number in range(5):
        who = "anonymous" if number == 2 else f"person-{number}"
        bench.post(report(number, data={"identifiers": {"id": who}}))
    bench.work()
    assert stub.ids() == ["e0", "e1", "e3", "e4"]
    counts = bench.outbox.counts()
    assert (counts["sent"], counts["dead"]) == (4, 1)


def test_a_throttled_person_waits_15_s_and_longer_while_it_goes_on(bench: Desk, stub: Amplitude) -> None:
    body = {"code": 429, "error": "Too many requests for some devices and users", "eps_threshold": 1000}
    stub.script = lambda events: (429, {**body, "throttled_events": list(range(len(events)))})
    bench.post(report(1))
    pauses = [bench.work()]
    while len(pauses) < 7:
        pauses.append(bench.work(pauses[-1]))
    assert pauses == [15_000, 30_000, 60_000, 120_000, 240_000, 300_000, 300_000]
    stub.script = lambda _events: None
    bench.work(300_000)
    assert stub.ids() == ["e1"]
    stub.script = lambda events: (429, {**body, "throttled_events": list(range(len(events)))})
    again = report(2, data={"identifiers": {"id": "p1"}})
    assert bench.post(again, signed(again, bench.clock.now // 1000)).status_code == 200
    assert bench.work() == 15_000


def test_too_large_is_halved_and_5xx_tried_again_under_the_same_ids(bench: Desk, stub: Amplitude) -> None:
    stub.script = lambda events: (413, {"code": 413, "error": "Payload too large"}) if len(events) > 2 else None
    for number in range(5):
        bench.post(report(number))
    bench.work()
    assert stub.ids() == ["e0", "e1", "e2", "e3", "e4"]
    stub.script = lambda _events: (503, b"away")
    bench.post(report(7))
    bench.work()
    stub.script = lambda _events: None
    bench.work(HOUR_MS)
    assert "e7" in stub.ids()


def test_a_refused_key_keeps_reports_for_seven_days(bench: Desk, stub: Amplitude) -> None:
    stub.key = "another"
    bench.post(report(1))
    bench.work()
    assert bench.flow.delivery.status == "key refused"
    bench.work(100 * HOUR_MS)
    assert bench.outbox.counts()["pending"] == 1
    bench.work(69 * HOUR_MS)
    assert bench.outbox.reasons() == {"dropped": {"Amplitude refused the key for more than 168 hours": 1}}


# -- configuration and Test Connection

ENVIRON = {
    "AMPLITUDE_URL": "http://127.0.0.1:8701",
    "AMPLITUDE_REGION": "US",
    "AMPLITUDE_API_KEY": KEY,
    "CUSTOMERIO_SIGNING_KEY": SIGNING_KEY,
    "CUSTOMERIO_ACCOUNT_ID": "1",
    "CUSTOMERIO_WORKSPACE_ID": "56354",
}


def _load(folder: Path, **changes: Any) -> Config:
    section = {"amplitude": {"api_key": "${AMPLITUDE_API_KEY}"}, "signing_key": "${CUSTOMERIO_SIGNING_KEY}", **changes}
    file = folder / "integration.yaml"
    file.write_text(json.dumps({"customerio": section}), "utf-8")
    return load({**ENVIRON, "WAVETANK_INTEGRATION": str(file), "WAVETANK_STATE_DIR": str(folder / "state")})


def test_the_section_as_the_set_up_page_has_it(tmp_path: Path) -> None:
    found = _load(tmp_path, events=["email_sent"], body_content=True, readings={"cio_id": True}).customerio
    assert found is not None
    assert found.integration.events == frozenset(["email_sent"])
    assert found.integration.body_content
    assert found.integration.readings == Readings(cio_id=True)
    assert found.integration.groups == {"account_id": "1", "workspace": "56354"}
    assert (found.url, found.signing_key) == ("http://127.0.0.1:8701", SIGNING_KEY)
    assert SIGNING_KEY not in repr(found)
    other = _load(tmp_path, workspace_id="7", readings={"workspace_group": "workspace_id"}).customerio
    assert other is not None
    assert other.integration.groups == {"account_id": "1", "workspace_id": "7"}


def test_the_switch_for_europe_chooses_the_host(tmp_path: Path) -> None:
    file = tmp_path / "integration.yaml"
    for switch, url in ((True, "https://api.eu.amplitude.com"), (False, "https://api2.amplitude.com")):
        section = {"amplitude": {"api_key": "k", "eu_data_residency": switch}, "signing_key": "s"}
        file.write_text(json.dumps({"customerio": section}), "utf-8")
        found = load({"WAVETANK_INTEGRATION": str(file)}).customerio
        assert found is not None
        assert (found.url, found.integration.groups) == (url, {})
    with pytest.raises(
        ConfigError, match=r"customerio\.amplitude\.eu_data_residency: AMPLITUDE_URL is of the region US"
    ):
        _load(tmp_path, amplitude={"api_key": "k", "eu_data_residency": True})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"events": ["email_snet"]}, "did you mean 'email_sent'"),
        ({"events": ["Email Sent"]}, "is not a report of Customer.io's"),
        ({"readings": {"cioid": True}}, "did you mean 'cio_id'"),
        ({"readings": {"devices": "all"}}, "use one of first, each"),
        ({"signing_key": ""}, "is empty"),
        ({"body_contents": True}, "did you mean 'body_content'"),
    ],
)
def test_a_fault_in_the_section_is_one_line(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _load(tmp_path, **changes)


def test_the_schemas_defaults_are_the_readings() -> None:
    declared = schema()["properties"]["customerio"]["properties"]["readings"]["properties"]
    assert {name: each["default"] for name, each in declared.items()} == vars(Readings())
    jsonschema.Draft202012Validator.check_schema(schema())


def test_test_connection_sends_one_email_sent(tmp_path: Path, stub: Amplitude) -> None:
    _load(tmp_path, events=["sms_sent"])
    environ = {**ENVIRON, "AMPLITUDE_URL": stub.url, "WAVETANK_CLOCK_URL": ""}
    arguments = [str(tmp_path / "integration.yaml"), "--test", "customerio", "--state-dir", str(tmp_path / "none")]
    done = CliRunner().invoke(connect, arguments, env=environ)
    assert (done.exit_code, stub.paths) == (0, ["/batch"]), done.output
    (event,) = stub.uploads[0]["events"]
    assert event["event_type"] == "Email Sent"
    assert not (tmp_path / "none").exists()
    stub.key = "another"
    done = CliRunner().invoke(connect, arguments, env=environ)
    assert done.exit_code == 1
    assert "Invalid API key" in done.output
    assert KEY not in done.output


def test_a_running_connector_tests_its_connection_past_the_outbox(bench: Desk, stub: Amplitude) -> None:
    tested = bench.client.post("/flows/customerio/test")
    assert (tested.status_code, tested.get_json()["amplitude"], stub.paths) == (200, "accepted", ["/batch"])
    (event,) = stub.uploads[0]["events"]
    assert (event["event_type"], event["time"]) == ("Email Sent", NOW_MS)
    stub.key = "another"
    refused = bench.client.post("/flows/customerio/test")
    assert refused.status_code == 502
    assert "Invalid API key" in refused.get_json()["reason"]
    assert KEY not in refused.text
    assert not any(bench.outbox.counts().values())
    assert bench.flow.delivery.status == "running"
    bench.draining.set()
    assert bench.client.post("/flows/customerio/test").status_code == 503


def test_test_connection_without_the_section_is_exit_2(tmp_path: Path) -> None:
    (tmp_path / "integration.yaml").write_text("currents: {amplitude: {api_key: k}}\n", "utf-8")
    done = CliRunner().invoke(connect, [str(tmp_path / "integration.yaml"), "--test", "customerio"], env=ENVIRON)
    assert done.exit_code == 2
    assert "customerio" in done.output
