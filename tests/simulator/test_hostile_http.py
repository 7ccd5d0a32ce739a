"""Hostile bytes over real connections: every answer is an answer, and the server goes on serving.

What a server refuses before any platform sees it (a malformed head, an absurd length) it answers itself.
"""

from __future__ import annotations

import base64
import re
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hostile_requests import BOMB, FORMS, GOOD, MALFORMED, text_of
from test_up import up

from simulator import apps
from simulator.serving import Lab
from simulator.tank import Tanks

PLATFORM = {"amplitude_us": "amplitude", "braze": "braze", "customerio_us": "customerio"}
BY_SERVER = {400, 403, 404, 405, 408, 411, 413, 414, 417, 431, 501, 505}
BODIES = (MALFORMED[4], MALFORMED[-1], b'{"a":"\xed\xa0\x80"}', b"\xff\xfe{\x00}\x00")
HEADS = (
    b"Content-Length: -1", b"Content-Length: x", b"Content-Length: 99999999999999999999", b"Host: [:", b"\xff: \xfe",
    b"X: " + b"y" * 70_000, b"Transfer-Encoding: chunked, gzip", b"Expect: nothing", b"Cookie: \x01", b"no colon",
    b"\r\n".join(b"X-%d: y" % n for n in range(300)), b"Content-Length: 2\r\nContent-Length: 3", b" folded: x",
)  # fmt: skip
TARGETS = (
    b"/%", b"/%zz?%", b"/\xff?\xff=\xff", b"/" + b"a" * 70_000, b"//users/track", b"*", b"http://[::1/", b"/?" + b"&" * 9000,
    b"/users/../users/track", b"/%00", b"/2/httpapi;x=1", b"",
)  # fmt: skip


def exchange(url: str, head: bytes, body: bytes = b"", leave: bool = False) -> tuple[int, bytes]:
    """Send raw bytes on a connection of their own: status (0: hung up without an answer) and the answer's bytes.

    ``leave`` says that nothing more will come, for heads that promise more than there is.
    """
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        answer = b""
        try:
            connection.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
            if leave:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        except ConnectionError:
            pass  # refused while the request was still being sent: what came back until then counts
    found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return (int(found[1]) if found else 0), answer


def routes() -> list[tuple[str, Any]]:
    tanks = Tanks()
    served = apps.platform_apps(tanks)
    found = [(PLATFORM[name], each) for name in PLATFORM for each in served[name].extensions["wavetank"].routes]
    tanks.close()
    return found


def credentials(ready: dict[str, Any], platform: str, path: str) -> bytes:
    keys = ready[platform]
    if platform == "amplitude":
        if path.startswith("/v1/"):
            return f"Authorization: Api-Key {keys['secret_key']}".encode()
        pair = f"{keys['api_key']}:{keys['secret_key']}".encode()
        return b"Authorization: Basic " + base64.b64encode(pair)
    return f"Authorization: Bearer {keys.get('rest_api_key', '')}".encode()


def throw(ready: dict[str, Any], platform: str, route: Any) -> int:
    """Every hostile body, and a good one with a bad end, at one route; answers how many requests that were."""
    path = re.sub(r"<\w+>", "1", route.path)
    own = text_of(GOOD.get(route.path, {})).encode()
    if route.path in FORMS:
        key = ready["amplitude"]["api_key"]
        path += f"?api_key={key}&{FORMS[route.path]}={quote(own[:1000].decode())[:-3]}"
    bodies = [*BODIES, own[: len(own) // 2]]
    if route.path in ("/2/httpapi", "/batch", "/users/track"):
        bodies.append(BOMB)
    packed = [(body, b"gzip" if body is BOMB else b"identity") for body in bodies]
    for body, packing in packed:
        head = b"\r\n".join(
            [
                f"{route.method} {path} HTTP/1.1".encode(),
                b"Host: 127.0.0.1",
                credentials(ready, platform, route.path),
                b"Content-Type: application/json",
                b"Content-Encoding: " + packing,
                b"Content-Length: %d" % len(body),
            ]
        )
        status, answer = exchange(ready[platform]["url"], head, body)
        allowed = {501, 400, 401, 403, 404} if route.handle is None else set(route.responses)
        assert status in allowed, (route.method, path, body[:60], answer[:400])
        assert b"a defect" not in answer
    return len(packed)


def odd_heads(url: str) -> None:
    for line in HEADS:
        status, answer = exchange(url, b"POST /2/httpapi HTTP/1.1\r\nHost: 127.0.0.1\r\n" + line, b"{}", leave=True)
        assert status in BY_SERVER | {0}, (line[:60], answer[:200])
    for target in TARGETS:
        status, answer = exchange(url, b"GET " + target + b" HTTP/1.1\r\nHost: 127.0.0.1", leave=True)
        assert status in BY_SERVER | {0}, (target[:60], answer[:200])
    for raw in (b"", b"\x16\x03\x01\x02", b"GET", b"\r\n" * 50, b"PRI * HTTP/2.0"):
        status, _ = exchange(url, raw, leave=True)
        assert status in BY_SERVER | {0}


@pytest.fixture(scope="module")
def ready(lab: Lab) -> Any:
    return lab.create_tank({"id": "hostile-http", "settings": {"clock.settle_ms": 0, "amplitude.rest_ms": 0}})


@pytest.mark.parametrize("platform", sorted(PLATFORM.values()))
def test_every_route_in_one_process(lab: Lab, ready: Any, platform: str) -> None:
    store = lab.tanks.get("hostile-http").store
    url = ready["amplitude"]["url"]
    # The first look at the cohorts makes the one of all active people.
    status, _ = exchange(url, b"GET /api/3/cohorts HTTP/1.1\r\nHost: x\r\n" + credentials(ready, "amplitude", "/api"))
    assert status == 200
    before = store.digest()
    count = sum(throw(ready, name, each) for name, each in routes() if name == platform)
    assert count > 50
    assert store.digest() == before


@pytest.mark.parametrize("platform", sorted(PLATFORM.values()))
def test_malformed_heads_in_one_process(ready: Any, platform: str) -> None:
    odd_heads(ready[platform]["url"])


@pytest.mark.filterwarnings("ignore")
def test_served_routes_on_granian(tmp_path: Any) -> None:
    with up(tmp_path, "--clock", "stepped") as found:
        control = f"{found['control']['url']}/tanks/demo"
        for platform in sorted(PLATFORM.values()):
            odd_heads(found[platform]["url"])
        for name, each in routes():
            if each.handle is not None:
                throw(found, name, each)
        status, answer = exchange(
            control, f"GET {urlsplit(control).path}/amplitude/events HTTP/1.1\r\nHost: x".encode()
        )
        assert status == 200
        assert b'"events":[]' in answer.replace(b" ", b"")
