"""A small connector in one file, right or wrong as its argument says; it forgets everything when it ends."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        return

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._answer(503 if MODE == "draining" else 200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if MODE == "other-flow":
            self._answer(404)
            return
        events = [self._mapped(each) for each in json.loads(body or b"{}").get("events", [])]
        if events:
            payload = json.dumps({"api_key": os.environ["AMPLITUDE_API_KEY"], "events": events}).encode()
            headers = {"Content-Type": "application/json"}
            url = f"{os.environ['AMPLITUDE_URL']}/2/httpapi"
            urllib.request.urlopen(urllib.request.Request(url, payload, headers), timeout=10).read()
        self._answer(200)

    @staticmethod
    def _mapped(event: dict[str, object]) -> dict[str, object]:
        user = event["user"]
        assert isinstance(user, dict)
        factor = 1 if MODE == "seconds" else 1000
        return {
            "user_id": user.get("external_user_id"),
            "device_id": user.get("device_id"),
            "event_type": "[Appboy] Uninstall",
            "time": int(str(event["time"])) * factor,
            "insert_id": event["id"],
            "library": "Braze",
            "event_properties": event["properties"],
        }


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
