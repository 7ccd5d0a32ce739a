"""Feeds: point one at a connector, emit and generate events, and send raw requests."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import orjson

from simulator import feeds
from simulator.amplitude import streams
from simulator.braze import currents_feed
from simulator.control.frame import Ask, Refused


def configure(ask: Ask) -> tuple[int, Any]:
    url = ask.body.get("url")
    if url is not None:
        check_url(url)
    with ask.tank.store.write() as conn:
        state = currents_feed.configure(conn, ask.tank, ask.body)
    ask.desk.keeper(ask.tank).poke()
    return 200, state


def check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(
            f"{url!r} is not an http or https URL", "body.url", "give one like http://127.0.0.1:9000/feeds/currents"
        )


def state(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, currents_feed.state(conn, ask.tank)


def _kind(ask: Ask) -> str:
    kind = ask.path["kind"]
    if kind not in streams.KINDS:
        raise Refused(f"{kind!r} is no stream of Amplitude", "path", f"known: {', '.join(streams.KINDS)}", 404)
    return kind


def configure_stream(ask: Ask) -> tuple[int, Any]:
    kind = _kind(ask)
    if "url" in ask.body:
        check_url(ask.body["url"])
    with ask.tank.store.write() as conn:
        found = streams.configure(conn, ask.tank, kind, ask.body)
    ask.desk.keeper(ask.tank).poke()
    return 200, found


def stream(ask: Ask) -> tuple[int, Any]:
    kind = _kind(ask)
    with ask.tank.store.read() as conn:
        return 200, streams.state(conn, kind)


def _need_feed(ask: Ask) -> dict[str, Any]:
    with ask.tank.store.read() as conn:
        found: dict[str, Any] = currents_feed.state(conn, ask.tank)
    if not found.get("url"):
        raise Refused(
            "the Currents feed has no connector", "feed", 'PUT /tanks/{id}/feeds/currents {"url": …} first', 409
        )
    return found


def check(ask: Ask) -> tuple[int, Any]:
    _need_feed(ask)
    outcome = currents_feed.check(ask.tank)
    return 200, {"ok": outcome.taken, "status": outcome.status, "error": outcome.error}


def test_events(ask: Ask) -> tuple[int, Any]:
    _need_feed(ask)
    return 200, currents_feed.send_test(ask.tank)


def raw(ask: Ask) -> tuple[int, Any]:
    """Send one request of the caller's making down the feed's URL, so that quiet knows of it."""
    found = _need_feed(ask)
    body = ask.body.get("body", "")
    payload = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else orjson.dumps(body)
    headers = {"Content-Type": "application/json"}
    token = ask.body.get("token", "right")
    if token == "right":
        headers["Authorization"] = f"Bearer {ask.tank.credential('currents_token')}"
    elif token == "wrong":
        headers["Authorization"] = "Bearer not-the-token"
    headers.update(ask.body.get("headers", {}))
    url = urljoin(found["url"], ask.body["path"]) if "path" in ask.body else found["url"]
    outcome = feeds.post(ask.tank, url, payload, headers, 30.0)
    return 200, {
        "status": outcome.status,
        "body": outcome.body.decode("utf-8", "replace"),
        "error": outcome.error,
    }


def emit(ask: Ask) -> tuple[int, Any]:
    tank = ask.tank
    with tank.store.write() as conn:
        ids = currents_feed.emit(
            conn, tank, ask.body["events"], tank.clock.now_ms(conn), strict=ask.body.get("strict", False)
        )
    ask.desk.keeper(tank).poke()
    return 202, {"emitted": len(ids), "ids": ids}


def generate(ask: Ask) -> tuple[int, Any]:
    tank = ask.tank
    with tank.store.write() as conn:
        done = currents_feed.generate(
            conn,
            tank,
            tank.clock.now_ms(conn),
            events=ask.body["events"],
            users=ask.body.get("users"),
            rate=ask.body.get("rate"),
            types=ask.body.get("types"),
            seed=ask.body.get("seed"),
        )
    ask.desk.keeper(tank).poke()
    return 202, done
