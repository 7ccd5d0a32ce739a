"""Running the connector: one process, one port, stopped by SIGTERM."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from connector.amplitude import Client
from connector.clock import open_clock
from connector.config import ConfigError, load
from connector.delivery import Delivery
from connector.outbox import Outbox
from connector.service import Draining, create_app

DRAIN_S = 8.0


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """Requests are counted, not written down."""


def run(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; answers the exit code: 0, or 2 for a configuration that cannot be used."""
    try:
        config = load(environ)
    except ConfigError as error:
        print(f"connector: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=environ.get("CONNECTOR_LOG", "ERROR"), format="connector: %(message)s")
    outbox = Outbox(config.state_dir / "outbox.db")
    delivery = None
    if config.currents is not None:
        client = Client(config.currents.url, config.currents.api_key)
        delivery = Delivery(outbox, client, open_clock(config.clock_url))
    draining = Draining()
    try:
        app = create_app(config, outbox, delivery, draining)
        server = make_server("127.0.0.1", config.port, app, threaded=True, request_handler=_Handler)
    except (OSError, SystemExit):
        print(f"connector: PORT: {config.port} is taken: choose another one", file=sys.stderr)
        return 2
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    if delivery is not None:
        delivery.start()
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    stop.wait()
    draining.set()
    if delivery is not None:
        delivery.stop(DRAIN_S)
    server.shutdown()
    server.server_close()
    outbox.close()
    return 0
