"""Serving inside one process: threaded Werkzeug, for tests and for `wavetank check`.

`wavetank up` serves the same apps on Granian, see :mod:`simulator.up`.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from simulator.apps import platform_apps, timer_handlers
from simulator.control import Desk
from simulator.control import create_app as create_control
from simulator.tank import Tanks
from simulator.wire import ThreadedWire


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """The journal says it all."""


class Lab:
    """A running server of all platforms and its control API on loopback ports, free ones unless ``port`` is given.

    ``control_url`` and ``urls`` (by platform app name) say where.
    """

    def __init__(self, seed: int = 0, state: Path | str | None = None, port: int | None = None) -> None:
        self.tanks = Tanks(state)
        self._port = port
        self._snapshots = Path(tempfile.mkdtemp(prefix="wavetank-")) if state is None else None
        self._servers: list[BaseWSGIServer] = []
        offsets = {"amplitude_us": 1, "amplitude_eu": 4, "braze": 2, "customerio_us": 3, "customerio_eu": 5}
        self.urls = {name: self._listen(app, offsets[name]) for name, app in platform_apps(self.tanks).items()}
        self.desk = Desk(self.tanks, self.urls, timer_handlers(), seed=seed, snapshots=self._snapshots)
        self.control_url = self._listen(create_control(self.desk), 0)
        self.desk.control_url = self.control_url

    def _listen(self, app: Any, offset: int) -> str:
        port = 0 if self._port is None else self._port + offset
        server = make_server("127.0.0.1", port, ThreadedWire(app), threaded=True, request_handler=_Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self._servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    def create_tank(self, spec: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make a tank as ``POST /tanks`` does; answers the ready object."""
        return self.desk.create(dict(spec or {}))

    def close(self) -> None:
        """Stop serving and release every tank."""
        self.desk.close()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self.tanks.close()
        if self._snapshots is not None:
            shutil.rmtree(self._snapshots, ignore_errors=True)


@contextmanager
def serve(seed: int = 0, state: Path | str | None = None) -> Iterator[Lab]:
    """Serve everything on free ports until the block ends.

    :param seed: seed of tanks that name none.
    :param state: file of the tank directory, or URL of a PostgreSQL database; None keeps all in memory.
    """
    lab = Lab(seed, state)
    try:
        yield lab
    finally:
        lab.close()
