"""A small process that has the reference connector loaded and forks a fresh one on demand, in milliseconds.

It has to be made before its parent has threads.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import orjson


class Zygote:
    """Starts reference connectors; :meth:`start` answers the process id."""

    def __init__(self) -> None:
        self._mine, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            self._mine.close()
            _serve(theirs)
            os._exit(0)
        theirs.close()
        self._pid = pid

    def start(self, environ: Mapping[str, str], log: str, mutant: str | None) -> int:
        """Fork a reference connector with this environment; ``mutant`` breaks one rule of it."""
        message = orjson.dumps({"environ": dict(environ), "log": log, "mutant": mutant})
        self._mine.sendall(len(message).to_bytes(4, "big") + message)
        return int.from_bytes(_receive(self._mine, 4), "big")

    def close(self) -> None:
        """End the zygote (connectors that still run are killed by whoever started them)."""
        self._mine.close()
        os.waitpid(self._pid, 0)


def _receive(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return parts


def _serve(connection: socket.socket) -> None:
    # Loaded once here, so that every fork has it already.
    import connector.run  # noqa: F401
    import scenarios.mutants  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        head = _receive(connection, 4)
        if not head:
            return
        order = orjson.loads(_receive(connection, int.from_bytes(head, "big")))
        pid = os.fork()
        if pid == 0:
            connection.close()
            _become(order)
        connection.sendall(pid.to_bytes(4, "big"))


def _become(order: Mapping[str, Any]) -> None:
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with open(order["log"], "ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        from connector.run import run
        from scenarios import mutants

        if order["mutant"]:
            mutants.apply(order["mutant"])
        code = run(order["environ"])
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)
