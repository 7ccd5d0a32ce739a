"""A small connector of Customer.io's reports in one file, right or wrong as its argument says; it forgets everything."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = sys.argv[1]
PATH = "/hooks/customer-io"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        return

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != PATH:
            self._answer(404)
            return
        signed = b"v0:" + self.headers.get("X-CIO-Timestamp", "").encode() + b":" + body
        right = hmac.new(os.environ["CUSTOMERIO_SIGNING_KEY"].encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(self.headers.get("X-CIO-Signature", ""), right):
            self._answer(401)
            return
        event = self._mapped(json.loads(body))
        if event is not None:
            payload = json.dumps({"api_key": os.environ["AMPLITUDE_API_KEY"], "events": [event]}).encode()
            headers = {"Content-Type": "application/json"}
            url = f"{os.environ['AMPLITUDE_URL']}/batch"
            urllib.request.urlopen(urllib.request.Request(url, payload, headers), timeout=10).read()
        self._answer(200)

    @staticmethod
    def _mapped(report: dict[str, object]) -> dict[str, object] | None:
        data = report["data"]
        assert isinstance(data, dict)
        devices = [each["device_id"] for each in data.get("recipients", [])]
        who = {"user_id": data["identifiers"].get("id"), "device_id": devices[0] if devices else None}
        who = {name: value for name, value in who.items() if value is not None}
        if not who and MODE == "right":
            return None
        return {
            **(who or {"device_id": data["identifiers"]["email"]}),
            "event_type": f"{report['object_type']} {report['metric']}".title(),
            "time": int(str(report["timestamp"])) * 1000,
            "insert_id": report["event_id"],
        }


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
