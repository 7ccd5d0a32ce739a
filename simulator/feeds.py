"""Feeds: how a platform pushes a request to the connector under test, and notes what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from simulator import clock, faults, journal, metrics
from simulator.tank import Tank

Spoiler = Callable[[faults.Fault, bytes, dict[str, str]], tuple[bytes, dict[str, str]]]
"""``(fault, body, headers)`` to the body and headers that are sent."""

_local = threading.local()


@dataclass(frozen=True)
class Outcome:
    """The connector's answer: ``status`` is None when none came (``error`` says why)."""

    status: int | None
    body: bytes = b""
    error: str | None = None
    reached: bool = True
    """Whether the connector may have seen the request."""
    timed_out: bool = False
    """Whether the answer did not come in time, in contrast to a connection that broke."""

    @property
    def taken(self) -> bool:
        """Whether the connector took the request for good: any 2xx."""
        return self.status is not None and 200 <= self.status < 300


def _session() -> requests.Session:
    session: requests.Session | None = getattr(_local, "session", None)
    if session is None:
        session = requests.Session()
        session.trust_env = False
        session.headers.clear()
        _local.session = session
    return session


def post(
    tank: Tank,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
    platform: str = "connector",
    spoil: Spoiler | None = None,
) -> Outcome:
    """POST ``body`` to the connector in real time and journal it; never raises for what the network does.

    No write transaction may be open. Faults set for the platform ``connector`` apply here: a lost answer
    (``reset_after``) is delivered and then forgotten, which is what makes duplicates; so is a ``late_answer``, or one
    that ``latency`` makes later than ``timeout_s``, as if it had not come in time; ``duplicate`` delivers twice.

    :param spoil: what the kinds of :data:`faults.SPOILING` do to this feed's requests.
    """
    path = urlsplit(url).path
    with tank.store.write() as conn:
        meta = tank.meta(conn)
        now_ms = meta.clock.now_ms()
        fault = faults.draw(tank, conn, platform, path, now_ms) if meta.faults else None
    if fault is not None and fault.kind in faults.SPOILING and spoil is not None:
        body, headers = spoil(fault, body, dict(headers))
    if fault is not None and fault.kind == "duplicate":
        _post(tank, url, body, headers, timeout_s, platform, fault, now_ms)
    return _post(tank, url, body, headers, timeout_s, platform, fault, now_ms)


def _post(
    tank: Tank,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
    platform: str,
    fault: faults.Fault | None,
    now_ms: int,
) -> Outcome:
    path = urlsplit(url).path
    began = clock.real_us()
    sent_order = tank.next_order()
    outcome = _send(url, body, headers, timeout_s, fault)
    metrics.fed(outcome.status)
    if outcome.reached:
        tank.note_fed(sent_order)
    with tank.store.write() as conn:
        journal.record(
            tank,
            conn,
            journal.Entry(
                platform,
                "out",
                "POST",
                path,
                urlsplit(url).query,
                dict(headers),
                body,
                outcome.status,
                {},
                outcome.body,
                clock.real_us() - began,
                now_ms,
                outcome.error or "answered",
                None if fault is None else f"{fault.kind}#{fault.id}",
                reached=outcome.reached,
            ),
        )
    return outcome


def _send(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, fault: faults.Fault | None) -> Outcome:
    if fault is not None and fault.kind == "reset_before":
        return Outcome(None, b"", "connection reset before the request was sent (injected)", reached=False)
    if fault is not None and fault.kind in ("status", "throttle_burst"):
        default = 429 if fault.kind == "throttle_burst" else 503
        return Outcome(int(fault.params.get("status", default)), b"", "answered by an injected fault", reached=False)
    slow_s = int(fault.params.get("ms", 1000)) / 1000 if fault is not None and fault.kind == "latency" else 0
    if 0 < slow_s < timeout_s:
        clock.real_sleep(slow_s)
    try:
        answer = _session().post(url, data=body, headers=dict(headers), timeout=timeout_s, allow_redirects=False)
    except requests.ConnectTimeout:
        return Outcome(None, b"", f"no connection within {timeout_s:g} s", reached=False, timed_out=True)
    except requests.Timeout:
        return Outcome(None, b"", f"no answer within {timeout_s:g} s", timed_out=True)
    except requests.ConnectionError as error:
        refused = "Connection refused" in str(error)
        return Outcome(None, b"", "connection refused" if refused else "connection broken", reached=not refused)
    except requests.RequestException as error:
        return Outcome(None, b"", f"no answer: {type(error).__name__}")
    if fault is not None and fault.kind in ("reset_after", "truncated_body"):
        return Outcome(None, b"", "answer lost on the way back (injected)")
    if slow_s >= timeout_s or (fault is not None and fault.kind == "late_answer"):
        return Outcome(None, b"", f"no answer within {timeout_s:g} s (injected)", timed_out=True)
    return Outcome(answer.status_code, answer.content[:65536])
