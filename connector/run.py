"""Running the connector: one process, one port, stopped by SIGTERM."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Mapping

from connector import config as configuration
from connector import reporting, traces
from connector.assembly import Flows, assemble
from connector.clock import NAME, open_clock
from connector.config import Config, load
from connector.engine import Engine
from connector.flows import currents, customerio
from connector.sections import ConfigError
from connector.service import MAX_BODY_BYTES, Draining, create_app, straight
from connector.serving import Adapter, Port

log = logging.getLogger(__name__)

DRAIN_S = 8.0
"""Real seconds that a stopping connector goes on delivering; what is left then stays on disk."""
CLOSING_S = 1.0
"""Real seconds that calls have to come to their end."""

# Read once, so that a process forked from one that has imported this starts at once.
configuration.schema()
currents.names()
customerio.choices()


def run(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; answers the exit code: 0, or 2 for an unusable configuration."""
    level = environ.get("CONNECTOR_LOG", "WARNING").upper()
    known = level in logging.getLevelNamesMapping()
    logging.basicConfig(level=level if known else "WARNING", format="connector: %(message)s")
    try:
        traces.tracer()
        config = load(environ)
        flows = assemble(config)
    except (ConfigError, traces.NoTraces) as error:
        print(f"connector: {error}", file=sys.stderr)
        return 2
    works = [work for flow in flows.values() for work in flow.works()]
    engine = Engine(works, open_clock(config.clock_url, clock_name(config)))
    draining = Draining()
    app = create_app(config, flows, engine, draining)
    if not is_free(config.port):
        print(f"connector: PORT: {config.port} is taken: choose another one", file=sys.stderr)
        _close(flows)
        return 2
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: stop.set())
    port = Port(Adapter(app, MAX_BODY_BYTES, straight(config, flows, draining), engine), config.port)
    engine.start()
    port.start()
    stop.wait()
    draining.set()
    idle = engine.stop(DRAIN_S)
    if not idle:
        log.warning("not everything was delivered in time: the rest is kept in the outbox")
    port.stop(CLOSING_S)
    if idle:
        _close(flows)
    return 0


def run_test(environ: Mapping[str, str]) -> int:
    """Test Connection of the flow ``customerio``: one event to Amplitude, without an outbox.

    Answers the exit code: 0 when Amplitude has taken it, 1 when not, 2 for an unusable configuration.
    Source: Customer.io docs, Amplitude (Message Metrics), Test your integration.
    """
    try:
        config = load(environ)
        if config.customerio is None:
            raise ConfigError("integration.yaml: there is no section customerio: add it to test its connection")
    except ConfigError as error:
        print(f"connector: {error}", file=sys.stderr)
        return 2
    flow = config.customerio
    clock = open_clock(config.clock_url)
    try:
        reply = reporting.test_connection(flow, clock.now_ms())
    finally:
        clock.close()
    if reply.kind == "accepted":
        print(f"connector: {flow.url} has taken the event Email Sent: look for it in the project")
        return 0
    print(f"connector: {flow.url} has not taken the event ({reply.kind}): {reply.reason}", file=sys.stderr)
    return 1


def clock_name(config: Config) -> str:
    """Under which name a connector waits at a tank's clock: those that share an outbox have their own."""
    return NAME if config.outbox_url is None else f"{NAME}-{config.port}"


def is_free(port: int) -> bool:
    """Whether a loopback port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _close(flows: Flows) -> None:
    for flow in flows.values():
        flow.outbox.close()
