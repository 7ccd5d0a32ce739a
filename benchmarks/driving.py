"""Shared by benchmarks: a client that costs little, servers as processes of their own, ratios with their spread."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def post(path: str, body: bytes) -> bytes:
    """A request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    lower = head.lower()
    at = lower.find(b"content-length:")
    if at < 0:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(lower[at + 15 :].split(b"\r", 1)[0])


class Failed(RuntimeError):
    """An answer that is not 200."""


def drive(port: int, calls: Sequence[bytes], seconds: float, connections: int) -> tuple[int, list[float]]:
    """Send the calls in turn over kept connections, one at a time on each: how many were answered 200 in the time.

    Also how long each took, in seconds. Raises Failed.
    """
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    answers: dict[int, bytes] = {}
    number, done = 0, 0
    took: list[float] = []
    for _ in range(connections):
        made = socket.create_connection(("127.0.0.1", port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[made.fileno()] = made
        answers[made.fileno()] = b""
        poll.register(made.fileno(), select.EPOLLIN)
    end = time.perf_counter() + seconds
    try:
        for each, made in sockets.items():
            sent[each] = time.perf_counter()
            made.sendall(calls[number % len(calls)])
            number += 1
        open_ = len(sockets)
        while open_:
            for each, _ in poll.poll(10):
                part = sockets[each].recv(65536)
                answers[each] += part
                if part and not _whole(answers[each]):
                    continue
                if not answers[each].startswith(b"HTTP/1.1 200"):
                    raise Failed(answers[each][:300].decode("latin-1") or "the connection was closed")
                now = time.perf_counter()
                answers[each] = b""
                if now < end:
                    done += 1
                    took.append(now - sent[each])
                    sent[each] = now
                    sockets[each].sendall(calls[number % len(calls)])
                    number += 1
                else:
                    open_ -= 1
    finally:
        for made in sockets.values():
            made.close()
    return done, took


def _driving(results: Any, *given: Any) -> None:
    try:
        results.put(drive(*given))
    except (OSError, Failed) as error:
        results.put(str(error))


def driven(port: int, calls: Sequence[bytes], seconds: float, connections: int = 16) -> tuple[float, list[float]]:
    """:func:`drive` in a process of its own: answered in a second, and how long each took."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=_driving, args=(results, port, calls, seconds, connections))
    process.start()
    found = results.get()
    process.join()
    if isinstance(found, str):
        raise SystemExit(f"port {port}: {found}")
    done, took = found
    return done / seconds, took


@contextlib.contextmanager
def started(*command: str, cwd: Path = ROOT, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended with everything it has started."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def simulator(folder: Path, workers: int, **settings: Any) -> Iterator[dict[str, Any]]:
    """`wavetank up` on a file, with the project's rate out of the way; what its ready file says."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "wavetank", "up", "--port", "0", "--ready-file", str(ready)]
    command += ["--state", str(folder / "state.db"), "--workers", str(workers)]
    with started(*command) as process:
        for _ in range(600):
            if ready.exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        told: dict[str, Any] = json.loads(ready.read_text())
        told["pid"] = process.pid
        chosen = {"amplitude.project_eps": 10**9, "amplitude.project_eps_batch": 10**9, **settings}
        tank(told, "PATCH", "/settings", chosen)
        yield told


def tank(ready: dict[str, Any], method: str, path: str, body: Any = None) -> Any:
    """Call the control API of the tank."""
    with requests.Session() as session:
        session.trust_env = False
        url = f"{ready['control']['url']}/tanks/{ready['tank']['id']}{path}"
        answer = session.request(method, url, json=body, timeout=600)
    if not answer.ok:
        raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
    return answer.json() if answer.content else None


def port_of(url: str) -> int:
    return urlsplit(url).port or 80


def until_answers(port: int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit(f"nobody listens on port {port}")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {
        "median": round(statistics.median(values), 3),
        "least": round(min(values), 3),
        "most": round(max(values), 3),
    }


def shown(values: Sequence[float], form: str = ".2f") -> str:
    """``0.62 (0.58 to 0.66)``."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
