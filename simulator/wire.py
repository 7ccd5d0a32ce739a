"""What happens to an answer on its way out: delay, cut connections, slow or truncated bodies.

A view leaves a :class:`Wire` in the WSGI environ under :data:`KEY`; the server carries it out. Under
Granian that takes no thread (see :mod:`simulator.serving`), under Werkzeug the request's own thread does it.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from simulator import clock

KEY = "wavetank.wire"
STREAM = "wavetank.stream"
"""Set in the environ of a request whose answer is made piece by piece."""


@dataclass(frozen=True)
class Wire:
    """``delay_ms`` before the first byte; ``cut`` = reset instead of an answer; ``keep`` = share of the body
    that is sent before the connection breaks; ``bytes_per_s`` = pace of the body."""

    delay_ms: int = 0
    cut: bool = False
    keep: float | None = None
    bytes_per_s: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the answer goes out unharmed, at most later."""
        return not self.cut and self.keep is None and not self.bytes_per_s

    def busy_ms(self, size: int) -> int:
        """Real ms that an answer of ``size`` bytes is under way."""
        return self.delay_ms + (size * 1000 // self.bytes_per_s if self.bytes_per_s else 0)


def reset(connection: socket.socket) -> None:
    """Abort a connection so that the peer sees a reset rather than an orderly end."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the peer was faster: the connection is gone already


def reset_peer(host: str, port: int) -> None:
    """Abort this process's connection to ``host:port``, for servers that keep their sockets to themselves."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder):
        try:
            candidate = socket.socket(fileno=os.dup(int(name)))
        except (OSError, ValueError):
            continue
        with candidate:
            try:
                if candidate.getpeername()[:2] != (host, port):
                    continue
            except OSError:
                continue
            reset(candidate)


def pieces(body: bytes, bytes_per_s: int) -> Iterator[bytes]:
    """The body in tenths of a second at the given pace."""
    step = max(1, bytes_per_s // 10)
    for start in range(0, len(body), step):
        yield body[start : start + step]


class Broken(Exception):
    """The connection was broken on purpose."""


class ThreadedWire:
    """WSGI middleware that carries a :class:`Wire` out in the request's thread (Werkzeug's server)."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = self.app(environ, start_response)
        wire: Wire | None = environ.get(KEY)
        if wire is None:
            return body
        if environ.get(STREAM) and wire.whole:
            clock.real_sleep(wire.delay_ms / 1000)
            return body
        whole = b"".join(body)
        if wire.delay_ms:
            clock.real_sleep(wire.delay_ms / 1000)
        connection = environ.get("werkzeug.socket")
        if wire.cut and connection is not None:
            reset(connection)
            return []
        if wire.keep is not None:
            return self._truncated(whole, wire.keep, connection)
        if wire.bytes_per_s:
            return self._slow(whole, wire.bytes_per_s)
        return [whole]

    @staticmethod
    def _truncated(whole: bytes, keep: float, connection: socket.socket | None) -> Iterator[bytes]:
        yield whole[: int(len(whole) * keep)]
        if connection is not None:
            reset(connection)

    @staticmethod
    def _slow(whole: bytes, bytes_per_s: int) -> Iterator[bytes]:
        for piece in pieces(whole, bytes_per_s):
            yield piece
            clock.real_sleep(0.1)
