"""The connector's port: Granian reads and writes HTTP, threads run the WSGI app; its answer goes before its closing.

Connections are kept, so that a stream of one event a call costs no connection for each.
"""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from connector.engine import Engine

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Answer = tuple[int, bytes]
"""A status, and JSON."""
Straight = Callable[[str, bytes], Awaitable[Answer]]
"""What answers a POST in the loop itself: from its Authorization and its body."""
THREADS = 16
"""Calls that are worked on at once; Amplitude makes up to four of each kind, Braze one for each type of event."""
_JSON = [("content-type", "application/json")]


class Adapter:
    """An RSGI application around a WSGI one; a body over ``most`` bytes is answered 413 unread.

    :param straight: paths whose calls do not go through the WSGI app.
    :param engine: told before and after each answer of those.
    """

    def __init__(self, app: WsgiApp, most: int, straight: Mapping[str, Straight], engine: Engine) -> None:
        self._app = app
        self._most = most
        self._straight = straight
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="feeds")

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        length = scope.headers.get("content-length") or "0"
        if not length.isdigit() or int(length) > self._most:
            proto.response_str(413, [("connection", "close")], "Content Too Large")
            return
        content = bytes(await proto())
        loop = asyncio.get_running_loop()
        straight = self._straight.get(scope.path) if scope.method == "POST" else None
        if straight is not None:
            status, body = await straight(scope.headers.get("authorization") or "", content)
            if self._engine.taken():
                await loop.run_in_executor(self._threads, self._engine.come_away)
            proto.response_bytes(status, _JSON, body)
            self._engine.wake()
            return
        environ = _environ(scope, content)
        status, headers, body, close = await loop.run_in_executor(self._threads, self._call, environ)
        proto.response_bytes(status, headers, body)
        close()

    def _call(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes, Callable[[], None]]:
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[..., Any]:
            started[:] = [int(status[:3]), [(name.lower(), value) for name, value in headers]]
            return lambda _data: None

        result = self._app(environ, start_response)
        return started[0], started[1], b"".join(result), getattr(result, "close", lambda: None)


def _environ(scope: Any, body: bytes) -> dict[str, Any]:
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": scope.path,
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


class Port:
    """An app on a loopback port, in a thread of its own."""

    def __init__(self, app: Adapter, port: int) -> None:
        self._server: Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(app, port), name="port", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Take no more calls."""
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(within_s)

    def _run(self, app: Adapter, port: int) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = server = Server(
            app,
            address="127.0.0.1",
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        self._loop.run_until_complete(server.serve())

    def _end(self) -> None:
        if self._server is not None:
            self._server.stop()  # type: ignore[no-untyped-call]
