"""A connector that delivers every Currents batch at once and takes a 429 for an answer: it never sends again."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        return

    def _answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        events = [mapped(each) for each in given.get("events", [])]
        body = json.dumps({"api_key": os.environ["AMPLITUDE_API_KEY"], "events": events}).encode()
        upload = urllib.request.Request(
            f"{os.environ['AMPLITUDE_URL']}/2/httpapi", body, {"Content-Type": "application/json"}
        )
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(upload, timeout=30).read()
        self._answer()


def mapped(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "user_id": event["user"]["external_user_id"],
        "device_id": event["user"]["device_id"],
        "event_type": f"[Appboy] [Custom Event] {event['properties']['name']}",
        "time": event["time"] * 1000,
        "insert_id": event["id"],
    }


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
