"""Tiny connectors for tests of the command, each a program of its own, and the pack that judges them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

RULES = """
rules:
- {id: CUR-001, level: MUST, tier: documented, statement: Events arrive., scope: connector,
   flow: currents, source: {document: Amplitude docs, section: Limits, date: "2025"}}
- {id: CUR-002, level: MUST, tier: documented, statement: Wrong tokens are refused., scope: connector,
   flow: currents, source: {document: Braze docs, section: Currents, date: "2025"}}
- {id: CUR-003, level: SHOULD, tier: documented, statement: It comes back., scope: connector,
   flow: currents, source: {document: Braze docs, section: Currents, date: "2025"}}
- {id: CUR-004, level: MUST, tier: documented, statement: Wrong keys are refused., scope: simulator,
   flow: currents, source: {document: Amplitude docs, section: Errors, date: "2025"}}
"""

PACK = """
group: Tiny
scenarios:
- id: one-arrives
  title: One event arrives
  rules: [CUR-001]
  when:
  - emit: {repeat: 2, event: {event_type: users.behaviors.CustomEvent, id: "evt-{n}", time: $now-60,
      user: {external_user_id: user-1, device_id: device-1}, properties: {name: hello}}}
  - advance: 10m
  then:
  - amplitude_events: {where: {user_id: user-1}, ids: [evt-0, evt-1]}
    because: what is emitted arrives
- id: wrong-token
  title: A wrong token is refused
  rules: [CUR-002]
  when: [{post: {body: {events: []}, token: wrong}}]
  then: [{answers: {status: 401}}]
- id: comes-back
  title: It is there again after a kill
  rules: [CUR-003]
  when: [{restart: {signal: kill}}]
  then: [{healthy: true}]
"""

ALONE = """
- id: wrong-key
  title: A wrong key is refused
  connector: none
  rules: [CUR-004]
  when: [{amplitude: {path: /2/httpapi, body: {api_key: nope, events: [{user_id: somebody, event_type: x}]}}}]
  then: [{answers: {status: 400, body: {code: 400}}}]
"""

_SERVER = """
import http.server, json, os, sys, urllib.request
seen = os.path.join(os.environ.get("WAVETANK_STATE_DIR", "/"), "seen")
if ONCE and os.path.exists(seen): sys.exit("only once")
if ONCE: open(seen, "w").close()
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def say(self, status, body=b"{}"):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self): self.say(HEALTH, BODY)
    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != PATH: return self.say(404)
        token = "Bearer " + os.environ["CURRENTS_TOKEN"]
        if self.headers.get("Authorization") != token: return self.say(401)
        events = json.loads(raw or b"{}").get("events", [])[SKIP:]
        sent = [
            {"user_id": e["user"]["external_user_id"], "event_type": e["event_type"], "insert_id": e["id"]}
            for e in events
        ]
        if sent:
            body = json.dumps({"api_key": os.environ["AMPLITUDE_API_KEY"], "events": sent}).encode()
            headers = {"Content-Type": "application/json"}
            url = os.environ["AMPLITUDE_URL"] + "/2/httpapi"
            urllib.request.urlopen(urllib.request.Request(url, body, headers))
        self.say(200)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def server(
    *, health: int = 200, body: str = "{}", path: str = "/feeds/currents", skip: int = 0, once: bool = False
) -> str:
    """A connector command: answers ``health``, takes the feed at ``path``, loses the first ``skip`` events.

    With ``once`` it does not start again where it has run before.
    """
    settings = f"HEALTH, BODY, PATH, SKIP, ONCE = {health}, {body.encode()!r}, {path!r}, {skip}, {once}\n"
    return shlex.join([sys.executable, "-I", "-S", "-c", settings + _SERVER])


def pack(folder: Path, *, alone: bool = False) -> str:
    """Write the tiny pack; answers its path."""
    path = folder / "tiny.yaml"
    path.write_text(PACK + (ALONE if alone else ""))
    return str(path)
