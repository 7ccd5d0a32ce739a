"""Granian's side of serving: calls a WSGI app for each RSGI request and carries its :class:`Wire` out.

A delayed, slow or broken answer waits in the event loop, so it holds no thread: hundreds of hung answers do not
keep other requests waiting.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from typing import Any
from urllib.parse import unquote_to_bytes

from simulator import together
from simulator.exchange import MAX_READ_BYTES
from simulator.wire import KEY, STREAM, Wire, pieces, reset_peer

Answered = tuple[int, list[tuple[str, str]], bytes | Iterable[bytes]]
"""Status, headers, and the body: whole, or in pieces that are still to be made."""
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Adapter:
    """An RSGI application around a WSGI one.

    :param executor: None calls the app in the event loop itself, right for work of a millisecond or two;
        an executor is for apps whose requests wait.
    """

    def __init__(self, app: WsgiApp, executor: Executor | None = None) -> None:
        self.app = app
        self.executor = executor
        self._arrived: list[tuple[dict[str, Any], asyncio.Future[Answered]]] = []

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        body = await _read(scope, proto)
        if body is None:
            proto.response_str(413, [("content-type", "text/plain"), ("connection", "close")], "Payload Too Large")
            return
        environ = _environ(scope, body)
        loop = asyncio.get_running_loop()
        if self.executor is None:
            status, headers, answer = await self._with_others(loop, environ)
        else:
            status, headers, answer = await loop.run_in_executor(self.executor, self._call, environ)
        wire: Wire | None = environ.get(KEY)
        if not isinstance(answer, bytes):
            if wire is None or wire.whole:
                await _stream(proto, status, headers, answer, 0 if wire is None else wire.delay_ms)
                return
            answer = _joined(answer)
        if wire is None:
            proto.response_bytes(status, headers, answer)
            return
        await _carry_out(wire, scope.client, proto, status, headers, answer)

    def _with_others(self, loop: asyncio.AbstractEventLoop, environ: dict[str, Any]) -> asyncio.Future[Answered]:
        """Call the app together with all requests that have arrived by the time the loop gets to it."""
        if not self._arrived:
            loop.call_soon(self._call_all)
        future: asyncio.Future[Answered] = loop.create_future()
        self._arrived.append((environ, future))
        return future

    def _call_all(self) -> None:
        arrived, self._arrived = self._arrived, []
        results = together.run([partial(self._call, environ) for environ, _ in arrived])
        for (_, future), result in zip(arrived, results, strict=True):
            if future.cancelled():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _call(self, environ: dict[str, Any]) -> Answered:
        """Status, headers and body; an answer that is made piece by piece is handed out as it is."""
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[..., Any]:
            started[:] = [int(status[:3]), [(name.lower(), value) for name, value in headers]]
            return lambda _data: None

        result = self.app(environ, start_response)
        return started[0], started[1], result if environ.get(STREAM) else _joined(result)


def _joined(result: Iterable[bytes]) -> bytes:
    try:
        return b"".join(result)
    finally:
        _close(result)


def _close(result: Iterable[bytes]) -> None:
    close = getattr(result, "close", None)
    if close is not None:
        close()


async def _stream(
    proto: Any, status: int, headers: list[tuple[str, str]], result: Iterable[bytes], delay_ms: int
) -> None:
    """Send pieces as they are made, each of them made in a thread: the loop stays free for other requests."""
    loop = asyncio.get_running_loop()
    source = iter(result)
    try:
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        transport = proto.response_stream(status, headers)
        while True:
            piece = await loop.run_in_executor(None, next, source, None)
            if piece is None:
                return
            await transport.send_bytes(piece)
    finally:
        await loop.run_in_executor(None, _close, result)


async def _read(scope: Any, proto: Any) -> bytes | None:
    """The whole body, or None when it is larger than anything a platform reads."""
    length = scope.headers.get("content-length")
    if length is not None:
        if not length.isdigit() or int(length) > MAX_READ_BYTES:
            return None
        return bytes(await proto())
    parts: list[bytes] = []
    size = 0
    async for part in proto:
        size += len(part)
        if size > MAX_READ_BYTES:
            return None
        parts.append(bytes(part))
    return b"".join(parts)


def _environ(scope: Any, body: bytes) -> dict[str, Any]:
    host, _, port = scope.server.rpartition(":")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.path).decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": scope.client.rpartition(":")[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope.headers.items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


async def _carry_out(
    wire: Wire, client: str, proto: Any, status: int, headers: list[tuple[str, str]], answer: bytes
) -> None:
    if wire.delay_ms:
        await asyncio.sleep(wire.delay_ms / 1000)
    host, _, port = client.rpartition(":")
    if wire.cut:
        reset_peer(host, int(port))
        proto.response_empty(status, [])
        return
    if wire.keep is None and not wire.bytes_per_s:
        proto.response_bytes(status, headers, answer)
        return
    transport = proto.response_stream(status, headers)
    if wire.keep is not None:
        await transport.send_bytes(answer[: int(len(answer) * wire.keep)])
        await asyncio.sleep(0.01)
        reset_peer(host, int(port))
        return
    for piece in pieces(answer, wire.bytes_per_s or 1):
        await transport.send_bytes(piece)
        await asyncio.sleep(0.1)
