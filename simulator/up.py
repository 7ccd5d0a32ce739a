"""`wavetank up`: the platforms on Granian in worker processes, time and the control API in this one.

Workers and control meet in the store, nowhere else. Every worker serves every platform port; the system shares
connections out between them. A state has one control process; further servers on the same state, on this machine or
(with PostgreSQL) on others, serve the platforms only.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from simulator import metrics, traces
from simulator.apps import platform_apps, timer_handlers
from simulator.control import Desk, create_app
from simulator.postgres import Unreachable
from simulator.rsgi import Adapter
from simulator.store import OtherVersion
from simulator.tank import Tanks

DEMO_KEYS = {
    "amplitude_api_key": "deadbeefdeadbeefdeadbeefdeadbeef",
    "amplitude_secret_key": "5ec2e75ec2e75ec2e75ec2e75ec2e75e",
    "braze_rest_api_key": "b2a2e000-0000-4000-a000-000000000001",
    "braze_app_id": "b2a2e000-0000-4000-a000-000000000002",
    "braze_data_import_key": "b2a2e000-0000-4000-a000-000000000003",
    "braze_partner_api_key": "b2a2e000-0000-4000-a000-000000000004",
    "customerio_signing_key": "c0ffee00c0ffee00c0ffee00c0ffee00",
    "customerio_site_id": "5173a0b1c2d3e4f50617",
    "customerio_track_api_key": "72ac0b1c2d3e4f506172",
    "customerio_app_api_key": "a99a99a99a99a99a99a99a99a99a99a9",
    "currents_token": "demo-currents-token",
    "amplitude_feed_token": "demo-amplitude-feed-token",
}
WAITERS = 256
"""Threads of the control port: each connector that waits at a clock holds one."""


class Unusable(ValueError):
    """The server cannot start as asked: one line, what and how to mend it."""


@dataclass(frozen=True)
class Options:
    """What `wavetank up` was asked for. ``port`` 0 takes free ones."""

    host: str = "127.0.0.1"
    port: int = 8700
    state: Path | str | None = None
    mode: str = "real"
    scale: float = 1.0
    region: str = "us"
    seed: int = 0
    workers: int = 1
    platforms_only: bool = False
    control_url: str = ""
    """Where the control API is when another process runs it."""
    limits: str = "currents-2025"
    token: str | None = None
    ready_file: Path | None = None
    credentials: Mapping[str, str] = field(default_factory=dict)


def ports(options: Options) -> dict[str, int]:
    """The port of the control API and of every platform app. Raises Unusable when one is taken."""
    home, away = options.region, "eu" if options.region == "us" else "us"
    names = ("control", f"amplitude_{home}", "braze", f"customerio_{home}", f"amplitude_{away}", f"customerio_{away}")
    found: dict[str, int] = {}
    held = []
    for offset, name in enumerate(names):
        probe = socket.socket()
        held.append(probe)
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((options.host, options.port + offset if options.port else 0))
        except (OSError, OverflowError) as error:
            where = f"{options.host}:{options.port + offset}"
            raise Unusable(f"{where} cannot be bound ({error}): choose another --port, or 0 for free ones") from None
        found[name] = probe.getsockname()[1]
    for probe in held:
        probe.close()
    return found


def _server(app: Any, host: str, port: int) -> Server:
    return Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=1024,
    )


def tune_memory() -> None:
    """Spare the garbage collector: what is loaded by now stays, and uploads make no cycles worth a search each."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


async def _until_answering(host: str, port: int) -> None:
    for _ in range(3000):
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    raise Unusable(f"{host}:{port} does not answer: try another --port")


def worker(state: Path | str, host: str, taken: Mapping[str, int], lifeline: Any) -> None:
    """The life of a platform worker: serve every platform until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    try:
        asyncio.run(_serve_platforms(state, host, taken))
    except RuntimeError as error:
        # Granian raises this when somebody else has taken a port meanwhile; the parent tries again.
        print(f"wavetank: a platform port cannot be bound: {str(error).splitlines()[0]}", file=sys.stderr)
        os._exit(2)


def _end_with_parent(lifeline: Any) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    os._exit(0)


async def _serve_platforms(state: Path | str, host: str, taken: Mapping[str, int]) -> None:
    tanks = Tanks(state)
    tune_memory()
    servers = [_server(Adapter(app), host, taken[name]) for name, app in platform_apps(tanks).items()]
    await asyncio.gather(*(server.serve() for server in servers))


class Up:
    """A running server: this process with its workers."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.ports = ports(options)
        self._temporary = Path(tempfile.mkdtemp(prefix="wavetank-"))
        # Before a worker starts: it reads this when it loads the library.
        (self._temporary / "metrics").mkdir()
        os.environ[metrics.FOLDER] = str(self._temporary / "metrics")
        self.state = options.state or self._temporary / "wavetank.db"
        try:
            self.tanks = Tanks(self.state)
        except (Unreachable, OtherVersion) as error:
            raise Unusable(f"--state: {error}") from None
        except Exception as error:
            raise Unusable(f"--state {self.state}: {error}: name a file that can be written") from None
        if options.platforms_only and options.state is None:
            raise Unusable("--platforms-only needs --state: name the state of the server that runs time")
        if not options.platforms_only and not self.tanks.claim_control():
            raise Unusable("another wavetank up runs the time of this --state: stop it, or give --platforms-only")
        self.desk = Desk(
            self.tanks,
            {name: self._url(name) for name in self.ports if name != "control"},
            timer_handlers(),
            seed=options.seed,
            default_region=options.region,
            control_url=options.control_url if options.platforms_only else self._url("control"),
            token=options.token,
            runs_time=not options.platforms_only,
        )
        self._workers: list[BaseProcess] = []
        self._context = get_context("spawn")
        self._stopping = False
        self._lifeline, self._their_end = self._context.Pipe()

    def _url(self, name: str) -> str:
        host = "127.0.0.1" if self.options.host == "0.0.0.0" else self.options.host
        return f"http://{host}:{self.ports[name]}"

    def demo(self) -> dict[str, Any]:
        """The ready object of the demo tank, made when there is none yet."""
        known = {tank.id: tank for tank in self.tanks.list()}
        if "demo" in known:
            return self.desk.ready(known["demo"])
        if self.options.platforms_only:
            raise Unusable("there is no tank named demo in this --state: start the server that runs time first")
        clock: dict[str, Any] = {"mode": self.options.mode}
        if self.options.mode == "scaled":
            clock["scale"] = self.options.scale
        return self.desk.create(
            {
                "id": "demo",
                "seed": self.options.seed,
                "region": self.options.region,
                "limits": self.options.limits,
                "clock": clock,
                "credentials": {**DEMO_KEYS, **self.options.credentials},
            }
        )

    def _start_worker(self) -> None:
        taken = {name: port for name, port in self.ports.items() if name != "control"}
        process = self._context.Process(
            target=worker, args=(self.state, self.options.host, taken, self._their_end), daemon=True
        )
        process.start()
        self._workers.append(process)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; a worker that dies is replaced."""
        ready = self.demo()
        for _ in range(self.options.workers):
            self._start_worker()
        executor = ThreadPoolExecutor(WAITERS, thread_name_prefix="control")
        control, serving = None, None
        if not self.options.platforms_only:
            control = _server(Adapter(create_app(self.desk), executor), self.options.host, self.ports["control"])
            serving = asyncio.create_task(control.serve())
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        for name, port in self.ports.items():
            if name != "control" or control is not None:
                await _until_answering(self.options.host, port)
        self._announce(ready)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)
            if not stop.is_set():
                self._replace_dead()
        self._stopping = True
        self.desk.close()
        if control is not None and serving is not None:
            control.stop()  # type: ignore[no-untyped-call]
            await serving
        executor.shutdown(wait=False, cancel_futures=True)
        self._end()

    def _replace_dead(self) -> None:
        for process in list(self._workers):
            if not process.is_alive():
                self._workers.remove(process)
                self._start_worker()

    def _announce(self, ready: dict[str, Any]) -> None:
        text = json.dumps(ready, indent=2)
        if self.options.ready_file is not None:
            partial = self.options.ready_file.with_name(self.options.ready_file.name + ".partial")
            partial.write_text(text + "\n", "utf-8")
            partial.replace(self.options.ready_file)
        control = ready["control"]["url"] or "elsewhere"
        print(f"wavetank is up: control {control}, tank {ready['tank']['id']}", file=sys.stderr)
        for name in ("amplitude", "braze", "customerio"):
            print(f"  {name:<10} {ready[name]['url']}", file=sys.stderr)
        print(f"  Amplitude API key {ready['amplitude']['api_key']}, Ctrl-C stops", file=sys.stderr, flush=True)

    def _end(self) -> None:
        for process in self._workers:
            process.terminate()
        for process in self._workers:
            process.join(5)
        self.tanks.close()
        shutil.rmtree(self._temporary, ignore_errors=True)


def run(options: Options) -> None:
    """Serve until stopped. Raises Unusable."""
    if options.host not in ("127.0.0.1", "localhost", "::1") and not options.token:
        raise Unusable(f"--host {options.host} is open to others: give --token to protect the control API")
    try:
        traces.tracer()
    except traces.NoTraces as error:
        raise Unusable(str(error)) from None
    asyncio.run(Up(options).run())


def clock_mode(text: str) -> tuple[str, float]:
    """``real``, ``stepped`` or ``scaled:60`` as mode and scale. Raises Unusable."""
    mode, _, scale = text.partition(":")
    if mode in ("real", "stepped") and not scale:
        return mode, 1.0
    if mode == "scaled":
        with contextlib.suppress(ValueError):
            if 0 < float(scale or 60) <= 1_000_000:
                return mode, float(scale or 60)
    raise Unusable(f"--clock {text}: write real, stepped, or scaled:60")
