"""Metrics over several workers, and one trace from the connector's upload to what the platform did."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families


def session() -> requests.Session:
    made = requests.Session()
    made.trust_env = False
    return made


@pytest.fixture
def collector() -> Iterator[Any]:
    """An OTLP collector: keeps every span with the name of its service."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            return

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
                server.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.spans = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started = []

    def run(*command: str, **environ: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env={**os.environ, **environ}, stdout=subprocess.DEVNULL
        )
        started.append(process)
        return process

    yield run
    for process in reversed(started):
        process.terminate()
        process.wait(20)


def until(found: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.1)
    return value


def samples(url: str, name: str) -> dict[tuple[str, ...], float]:
    text = session().get(f"{url}/metrics", timeout=10).text
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def test_metrics_of_two_workers_and_one_trace_of_an_upload(
    start: Callable[..., Any], collector: Any, tmp_path: Path
) -> None:
    traces = f"http://127.0.0.1:{collector.server_address[1]}/v1/traces"
    ready_file = tmp_path / "ready.json"
    start("wavetank", "up", "--port", "0", "--workers", "2", "--ready-file", str(ready_file), WAVETANK_TRACES=traces)
    until(ready_file.exists)
    ready = json.loads(ready_file.read_text("utf-8"))
    amplitude, control = ready["amplitude"]["url"], ready["control"]["url"]
    event = {"user_id": "someone", "event_type": "Checkout"}
    for n in range(12):
        body = {"api_key": ready["amplitude"]["api_key"], "events": [event]} if n % 3 else {"events": [event]}
        session().post(f"{amplitude}/2/httpapi", json=body, timeout=10)
    # Every port tells the sum of both workers.
    for url in (amplitude, ready["braze"]["url"], control):
        counted = samples(url, "wavetank_requests_total")
        by_status = {key[-1]: n for key, n in counted.items() if "/2/httpapi" in key}
        assert sorted(by_status.values()) == [4, 8]

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    integration = tmp_path / "integration.yaml"
    integration.write_text("currents: {amplitude: {api_key: '${AMPLITUDE_API_KEY}', region: US}, events: all}\n")
    start(
        "connector",
        PORT=str(port),
        WAVETANK_INTEGRATION=str(integration),
        WAVETANK_STATE_DIR=str(tmp_path / "state"),
        AMPLITUDE_URL=amplitude,
        AMPLITUDE_REGION="us",
        AMPLITUDE_API_KEY=ready["amplitude"]["api_key"],
        CURRENTS_TOKEN=ready["braze"]["currents_token"],
        WAVETANK_TRACES=traces,
    )
    connector = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        try:
            return session().get(f"{connector}/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    until(healthy)
    tank = f"{control}/tanks/demo"
    session().put(f"{tank}/feeds/currents", json={"url": f"{connector}/feeds/currents"}, timeout=10)
    assert session().post(f"{tank}/feeds/currents/check", json={}, timeout=30).json()["ok"]
    events = [
        {
            "event_type": "users.behaviors.Uninstall",
            "id": f"event-{n}",
            "time": 1_767_225_600,
            "user": {"user_id": f"{n:024x}", "external_user_id": f"person-{n}"},
            "properties": {"app_id": ready["braze"]["app_id"]},
        }
        for n in range(5)
    ]
    token = {"Authorization": f"Bearer {ready['braze']['currents_token']}"}
    session().post(f"{connector}/feeds/currents", json={"events": events}, headers=token, timeout=10)

    def sent() -> bool:
        states = samples(connector, "connector_outbox_events")
        return sum(n for key, n in states.items() if key[1] == "sent") == 5

    until(sent)
    assert sum(samples(connector, "connector_uploads_total").values()) >= 1
    assert sum(samples(control, "wavetank_feed_requests_total").values()) >= 1

    def joined() -> bool:
        uploads = {span.span_id: span.trace_id for service, span in collector.spans if service == "wavetank-connector"}
        return any(
            uploads.get(span.parent_span_id) == span.trace_id and span.name == "POST /2/httpapi"
            for service, span in collector.spans
            if service == "wavetank"
        )

    until(joined)
