"""The journal: every request a platform received and every feed it sent, in order, with secrets masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, String, Table, func, select

from simulator import clock
from simulator.store import OBSERVING, fetch, metadata
from simulator.tank import Tank

_journal = Table(
    "journal",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("platform", String, nullable=False),
    Column("direction", String, nullable=False),
    Column("method", String, nullable=False),
    Column("path", String, nullable=False),
    Column("query", String, nullable=False),
    Column("request_headers", String, nullable=False),
    Column("request_body", LargeBinary, nullable=False),
    Column("status", Integer),
    Column("response_headers", String, nullable=False),
    Column("response_body", LargeBinary, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Column("tank_ms", BigInteger, nullable=False),
    Column("real_ms", BigInteger, nullable=False),
    Column("fault", String),
    Column("outcome", String, nullable=False),
    Column("why", String, nullable=False),
)
OBSERVING.add("journal")

_TRIM_EVERY = 64
_SECRET_HEADERS = {"authorization", "cookie", "x-api-key"}


@dataclass(frozen=True)
class Entry:
    """One exchange to note. ``status`` None means no answer was given or received."""

    platform: str
    direction: str
    method: str
    path: str
    query: str
    request_headers: Mapping[str, str]
    request_body: bytes
    status: int | None
    response_headers: Mapping[str, str]
    response_body: bytes
    latency_us: int
    tank_ms: int
    outcome: str
    fault: str | None = None
    why: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    busy_ms: int = 0
    """How long the answer is still under way, in real ms: it holds quiet up."""
    reached: bool = True
    """False for a feed that reached nobody: it does not hold quiet up."""


def record(tank: Tank, conn: Connection, entry: Entry) -> int:
    """Write an entry; answers its number, which with the tank's id names the exchange for ``explain``."""
    secrets = tank.tanks.secrets(tank.id)
    limit = int(tank.settings["journal.max_body_bytes"])
    rows = fetch(
        conn,
        _INSERT,
        (
            entry.platform,
            entry.direction,
            entry.method,
            entry.path,
            mask(entry.query.encode(), secrets).decode("utf-8", "replace") if entry.query else "",
            _headers(entry.request_headers, secrets),
            _kept(entry.request_body, secrets, limit),
            entry.status,
            _headers(entry.response_headers, secrets),
            _kept(entry.response_body, secrets, limit),
            entry.latency_us,
            entry.tank_ms,
            clock.real_ms() + entry.busy_ms if entry.reached else 0,
            entry.fault,
            entry.outcome,
            orjson.dumps(list(entry.why), default=str).decode(),
        ),
    )
    n = int(rows[0][0])
    if n % _TRIM_EVERY == 0:
        keep = int(tank.settings["journal.max_entries"])
        conn.execute(_journal.delete().where(_journal.c.n <= n - keep))
    return n


_WRITTEN = [column.name for column in _journal.columns if column.name != "n"]
_INSERT = f"INSERT INTO journal ({', '.join(_WRITTEN)}) VALUES ({', '.join('?' * len(_WRITTEN))}) RETURNING n"


def mask(body: bytes, secrets: Sequence[bytes]) -> bytes:
    """Replace each secret by stars and its last four characters."""
    for secret in secrets:
        if len(secret) >= 8 and secret in body:
            body = body.replace(secret, b"****" + secret[-4:])
    return body


def _headers(headers: Mapping[str, str], secrets: Sequence[bytes]) -> str:
    together = "\n".join(headers.values()).encode("utf-8", "replace")
    if not any(secret in together for secret in secrets) and _SECRET_HEADERS.isdisjoint(map(str.lower, headers)):
        return orjson.dumps(headers).decode()
    shown = {}
    for name, value in headers.items():
        masked = mask(value.encode("utf-8", "replace"), secrets).decode("utf-8", "replace")
        if name.lower() in _SECRET_HEADERS and masked == value:
            scheme, _, rest = value.partition(" ")
            masked = f"{scheme} ****{rest[-4:]}" if rest else "****"
        shown[name] = masked
    return orjson.dumps(shown).decode()


def _kept(body: bytes, secrets: Sequence[bytes], limit: int) -> bytes:
    """The body as noted: masked, and cut at ``limit`` bytes. No secret is longer than what is looked at beyond it."""
    masked = mask(body[: limit + 256], secrets)
    if len(body) <= limit:
        return masked
    return masked[:limit] + b"\xe2\x80\xa6 [cut: %d bytes in all]" % len(body)


def _shown(tank: Tank, row: Any) -> dict[str, Any]:
    return {
        "id": f"{tank.id}.{row.n}",
        "n": row.n,
        "platform": row.platform,
        "direction": row.direction,
        "method": row.method,
        "path": row.path,
        "query": row.query,
        "request_headers": orjson.loads(row.request_headers),
        "request_body": row.request_body.decode("utf-8", "replace"),
        "status": row.status,
        "response_headers": orjson.loads(row.response_headers),
        "response_body": row.response_body.decode("utf-8", "replace"),
        "latency_ms": row.latency_us / 1000,
        "tank_ms": row.tank_ms,
        "tank_time": clock.iso(row.tank_ms),
        "fault": row.fault,
        "outcome": row.outcome,
        "why": orjson.loads(row.why),
    }


def entries(
    tank: Tank,
    conn: Connection,
    *,
    after: int = 0,
    limit: int = 100,
    platform: str | None = None,
    direction: str | None = None,
    path: str | None = None,
    status: int | None = None,
) -> dict[str, Any]:
    """Entries with number above ``after``, oldest first, at most ``limit``: ``{entries, dropped, next}``.

    ``dropped`` counts the entries the bound has removed: what is not found may have been there.
    """
    query = select(_journal).where(_journal.c.n > after).order_by(_journal.c.n).limit(limit + 1)
    if platform is not None:
        query = query.where(_journal.c.platform == platform)
    if direction is not None:
        query = query.where(_journal.c.direction == direction)
    if path is not None:
        query = query.where(_journal.c.path == path)
    if status is not None:
        query = query.where(_journal.c.status == status)
    rows = conn.execute(query).all()
    first, last = conn.execute(select(func.min(_journal.c.n), func.max(_journal.c.n))).one()
    shown = [_shown(tank, row) for row in rows[:limit]]
    more = shown[-1]["n"] if len(rows) > limit else None
    return {"entries": shown, "dropped": 0 if last is None else first - 1, "next": more}


def entry(tank: Tank, conn: Connection, n: int) -> dict[str, Any] | None:
    """One entry by number, or None when it never was or has been dropped."""
    row = conn.execute(select(_journal).where(_journal.c.n == n)).first()
    return None if row is None else _shown(tank, row)


def last_real_ms(conn: Connection) -> int:
    """Wall-clock ms of the newest entry that a connector had a part in; 0 when there is none.

    A feed that reached nobody changes nothing at the connector and does not hold quiet up.
    """
    newest = conn.execute(_NEWEST).first()
    return 0 if newest is None else int(newest.real_ms)


_NEWEST = select(_journal.c.real_ms).where(_journal.c.real_ms > 0).order_by(_journal.c.n.desc()).limit(1)
