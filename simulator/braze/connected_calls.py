"""Making Connected Content calls over HTTP: mapped hosts only, two seconds, one megabyte, a cache, host protection.

A host that a message names is one of the tank's own platforms; what is mapped to nothing is refused without any
traffic. No transaction may be open while a call is made, for the answer comes from the same store. Source: Braze
docs, Making an API call with Connected Content; Local Connected Content caching; Unhealthy host detection.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from sqlalchemy import BigInteger, Column, Integer, String, Table, select

from simulator import clock, journal
from simulator.braze.connected_content import Got, Wanted
from simulator.store import OBSERVING, metadata, upsert_rows
from simulator.tank import Tank

MAX_BYTES = 1_000_000
MINUTE_MS = 60_000
HALTED_STATUS = 598
UNHEALTHY_FAILURES = 3_000
UNHEALTHY_SHARE = 0.9
UNHEALTHY_STATUSES = frozenset({408, 429, 502, 503, 504, 529})
PORTS: Mapping[str, int] = {"http": 80, "https": 443}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SENDER_VERSION = "wavetank"

cache = Table(
    "braze_connected_cache",
    metadata,
    Column("key", String, primary_key=True),
    Column("until_ms", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("text", String, nullable=False),
)
hosts = Table(
    "braze_connected_hosts",
    metadata,
    Column("host", String, primary_key=True),
    Column("minute_ms", BigInteger, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("halted_until_ms", BigInteger, nullable=False),
)
OBSERVING.update(("braze_connected_cache", "braze_connected_hosts"))

_local = threading.local()


@dataclass
class Calls:
    """The calls of one rendering; ``log`` tells what became of each."""

    tank: Tank
    log: list[dict[str, Any]] = field(default_factory=list)

    def call(self, wanted: Wanted) -> Got:
        """One call, from the cache when it holds an answer."""
        got, how = self._call(wanted)
        shown = {"url": wanted.url, "method": wanted.method, "status": got.status, "how": how, "bytes": len(got.text)}
        self.log.append({**shown, **({"problem": got.problem} if got.problem else {})})
        return got

    def _call(self, wanted: Wanted) -> tuple[Got, str]:
        try:
            parts = urlsplit(wanted.url)
            port = parts.port
        except ValueError:
            return Got(None, problem="not a URL"), "refused"
        if parts.scheme not in PORTS or not parts.hostname:
            return Got(None, problem="not an http or https URL"), "refused"
        if port not in (None, 80, 443):
            return Got(None, problem="only ports 80 and 443 may be called"), "refused"
        target = mapped(self.tank, parts.hostname)
        if target is None:
            return Got(None, problem=f"host {parts.hostname} is not mapped: no traffic leaves"), "refused"
        if parts.scheme == "http":
            return Got(301, problem="the host redirects to https, and redirects are not followed"), "redirect"
        return self._answer(wanted, parts, target)

    def _answer(self, wanted: Wanted, parts: SplitResult, target: str) -> tuple[Got, str]:
        key = _key(wanted)
        host = str(parts.hostname)
        with self.tank.store.read() as conn:
            now_ms = self.tank.clock.now_ms(conn)
            held = conn.execute(select(cache).where(cache.c.key == key, cache.c.until_ms > now_ms)).first()
            state = conn.execute(select(hosts).where(hosts.c.host == host)).first()
        if held is not None and wanted.cache_s is not None:
            return Got(held.status, held.text), "cache"
        if state is not None and state.halted_until_ms > now_ms:
            return Got(HALTED_STATUS, again=True, problem="the host is unhealthy, calls are halted"), "halted"
        got = self._fetch(wanted, parts, target)
        self._note(wanted, key, host, got)
        return got, "call"

    def _note(self, wanted: Wanted, key: str, host: str, got: Got) -> None:
        """Keep the answer as long as it may be kept, and count how the host does."""
        with self.tank.store.write() as conn:
            now_ms = self.tank.clock.now_ms(conn)
            if got.usable and wanted.cache_s is not None:
                row = (key, now_ms + wanted.cache_s * 1000, got.status, got.text)
                upsert_rows(conn, cache, ("key", "until_ms", "status", "text"), [row], ("key",))
            state = conn.execute(select(hosts).where(hosts.c.host == host)).first()
            minute_ms = now_ms - now_ms % MINUTE_MS
            fresh = state is None or state.minute_ms != minute_ms
            calls, failures = (0, 0) if fresh or state is None else (state.calls, state.failures)
            calls, failures = calls + 1, failures + (got.status is None or got.status in UNHEALTHY_STATUSES)
            most = int(self.tank.settings["braze.connected_content.unhealthy_failures"])
            halted = failures > most and failures > UNHEALTHY_SHARE * calls
            row_ = (host, minute_ms, calls, failures, now_ms + MINUTE_MS if halted else 0)
            columns = ("host", "minute_ms", "calls", "failures", "halted_until_ms")
            upsert_rows(conn, hosts, columns, [row_], ("host",))

    def _fetch(self, wanted: Wanted, parts: SplitResult, target: str) -> Got:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = _headers(self.tank, wanted)
        body = wanted.body.encode() if wanted.method == "POST" else b""
        began = clock.real_us()
        timeout_s = float(self.tank.settings["braze.connected_content.timeout_s"])
        got = _judged(_send(wanted.method, target + path, headers, body, timeout_s), self.tank)
        entry = journal.Entry(
            "braze",
            "out",
            wanted.method,
            parts.path or "/",
            parts.query,
            headers,
            body,
            got.status,
            {},
            got.text.encode(),
            clock.real_us() - began,
            self.tank.clock.now_ms(),
            got.problem or "answered",
        )
        with self.tank.store.write() as conn:
            journal.record(self.tank, conn, entry)
        return got


def mapped(tank: Tank, host: str) -> str | None:
    """Where calls to a host go: a platform of this server by its name, or a loopback address; None is nowhere."""
    name = tank.settings["braze.connected_content.hosts"].get(host.lower())
    if not isinstance(name, str):
        return None
    if name in tank.tanks.urls:
        return tank.tanks.urls[name]
    try:
        parts = urlsplit(name)
    except ValueError:
        return None
    return name.rstrip("/") if parts.scheme == "http" and parts.hostname in LOOPBACK else None


def _key(wanted: Wanted) -> str:
    text = "\n".join((wanted.method, wanted.url, wanted.content_type or "", wanted.body))
    return hashlib.sha256(text.encode()).hexdigest()


def _headers(tank: Tank, wanted: Wanted) -> dict[str, str]:
    kind = wanted.content_type
    default = "application/json" if wanted.method == "GET" else "application/x-www-form-urlencoded"
    headers = {
        "User-Agent": f"Braze Sender {hashlib.sha256(SENDER_VERSION.encode()).hexdigest()[:40]}",
        "X-Braze-Sender-Version": SENDER_VERSION,
        "Accept-Encoding": "gzip",
        "Content-Type": kind or default,
        "Accept": kind or "*/*",
    }
    kept = tank.settings["braze.connected_content.credentials"]
    basic = kept.get(wanted.basic_auth) if wanted.basic_auth else None
    if isinstance(basic, dict):
        pair = f"{basic.get('username', '')}:{basic.get('password', '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    stored = kept.get(wanted.auth_credentials) if wanted.auth_credentials else None
    if isinstance(stored, dict) and isinstance(stored.get("headers"), dict):
        headers.update({str(name): str(value) for name, value in stored["headers"].items()})
    given = {name: value for name, value in wanted.headers.items() if _sendable(name) and _sendable(value)}
    return {**headers, **given}


def _sendable(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def _session() -> requests.Session:
    session: requests.Session | None = getattr(_local, "session", None)
    if session is None:
        session = requests.Session()
        session.trust_env = False
        session.headers.clear()
        _local.session = session
    return session


def _send(method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Got:
    """The answer as it comes; its whole way has to fit into ``timeout_s`` real seconds."""
    began = clock.real_us()
    try:
        with _session().request(
            method, url, data=body or None, headers=dict(headers), timeout=timeout_s, allow_redirects=False, stream=True
        ) as answer:
            kept = b""
            for piece in answer.iter_content(65_536):
                kept += piece
                if len(kept) > MAX_BYTES:
                    return Got(None, problem="the answer is larger than 1 MB")
                if clock.real_us() - began > timeout_s * 1_000_000:
                    return Got(None, again=True, problem=f"no whole answer within {timeout_s:g} s")
            return Got(answer.status_code, kept.decode("utf-8", "replace"))
    except requests.Timeout:
        return Got(None, again=True, problem=f"no answer within {timeout_s:g} s")
    except requests.RequestException as error:
        return Got(None, again=True, problem=f"no answer: {type(error).__name__}")


def _judged(got: Got, tank: Tank) -> Got:
    """Which answers may be asked for again."""
    if got.status is None or got.usable:
        return got
    again = got.status in tank.settings["braze.connected_content.retry_statuses"]
    return Got(got.status, got.text, again, f"answered {got.status}")
