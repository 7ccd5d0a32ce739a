"""`/users/export/segment` and `/users/export/global_control_group`: files made after the answer, behind a link.

Profiles are written as lines of JSON, 5,000 to a file, when the export's time has come; then the callback is told. The
files are kept as long as the link lives. Source: Braze docs, Export user profiles by segment; Export user profiles by
Global Control Group.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any, cast
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    func,
    select,
)

from simulator import feeds, timekeeper
from simulator.braze import dates, exporting, pending, profile_store, received, segments, writes
from simulator.braze.people import uuid_text
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body, Served
from simulator.braze.user_tables import profiles
from simulator.dialect import json_number
from simulator.draining import Draining
from simulator.exchange import Answer, Call, Found, Reason, Request
from simulator.store import metadata
from simulator.tank import Tank, Tanks, UnknownTank

SOURCE = "Braze docs, Export user profiles by segment"
LINK = "/segment-export/<tank_id>/<group>/<day>/<name>.zip"
PER_FILE = 5_000
MAX_CUSTOM, MAX_RUNNING = 500, 100
KIND, EXPIRY = "braze.export", "braze.export_expiry"
CONTROL_GROUP = "global_control_group"
_CALLBACK_S = 10.0

table = Table(
    "braze_exports",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    # The segment, or 'global_control_group'
    Column("segment_id", String, nullable=False),
    Column("path", String, nullable=False, unique=True),
    Column("url", String, nullable=False),
    Column("fields", String, nullable=False),
    # JSON: the only custom attributes to be shown, or null
    Column("custom", String, nullable=False),
    Column("callback", String),
    # None while it is being made
    Column("ready_ms", BigInteger),
    Column("users", Integer, nullable=False),
    # Whether the link's life is over
    Column("expired", Boolean, nullable=False),
    sqlite_autoincrement=True,
)
parts = Table(
    "braze_export_parts",
    metadata,
    Column("export", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)


def by_segment(call: Call, body: Body) -> Answer:
    """`POST /users/export/segment`."""
    segment_id = body.get("segment_id")
    if not isinstance(segment_id, str) or segments.find(call.conn, segment_id) is None:
        return refuse("segment_id")
    custom = body.get("custom_attributes_to_export")
    if custom is not None and not (isinstance(custom, list) and all(isinstance(each, str) for each in custom)):
        return refuse("bad_list", field="custom_attributes_to_export")
    if custom is not None and len(custom) > MAX_CUSTOM:
        return refuse("export_custom_attributes", detail={"attributes": len(custom)})
    return _begin(call, body, segment_id, custom)


def control_group(call: Call, body: Body) -> Answer:
    """`POST /users/export/global_control_group`: the same without a segment and a choice of custom attributes."""
    return _begin(call, body, CONTROL_GROUP, None)


def _begin(call: Call, body: Body, segment_id: str, custom: list[str] | None) -> Answer:
    fields = body.get("fields_to_export")
    if not isinstance(fields, list) or not fields or not all(isinstance(each, str) for each in fields):
        return refuse("export_fields")
    callback = body.get("callback_endpoint")
    if callback is not None and not _is_url(callback):
        return refuse("export_callback")
    if body.get("output_format", "zip") not in ("zip", "gzip"):
        return refuse("export_format")
    running = list(call.conn.execute(select(table.c.segment_id).where(table.c.ready_ms.is_(None))).scalars())
    if segment_id in running or len(running) >= MAX_RUNNING:
        return refuse("export_running", detail={"running": len(running)})
    settings = call.tank.settings
    count = int(call.conn.execute(select(func.coalesce(func.max(table.c.n), 0))).scalar_one())
    name = f"{uuid_text(call.tank.rng('braze_export', count))}-{call.now_ms // 1000}"
    path = f"/segment-export/{call.tank.id}/{segment_id}/{dates.shown(call.now_ms)[:10]}/{name}.zip"
    url = f"http://{call.request.headers.get('Host', '')}{path}"
    row = {"segment_id": segment_id, "path": path, "url": url, "callback": callback, "users": 0, "expired": False}
    lists = {"fields": orjson.dumps(fields).decode(), "custom": orjson.dumps(custom).decode()}
    added = call.conn.execute(table.insert().values(**row, **lists)).inserted_primary_key
    assert added is not None
    n = int(added[0])
    due_ms = call.now_ms + round(float(settings["braze.export_ready_s"]) * 1000)
    timekeeper.schedule(call.conn, due_ms, KIND, f"{KIND}:{n}", {"export": n})
    prefix = f"{segment_id if segment_id != CONTROL_GROUP else name[:36]}-{call.now_ms // 1000}"
    why = Reason("exporting", "the files are being made", SOURCE, {"export": n})
    return Answer(201, {"object_prefix": prefix, "url": url, "message": "success"}, why=(why,))


def _is_url(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts_ = urlsplit(value)
    except ValueError:
        return False
    return parts_.scheme in ("http", "https") and bool(parts_.hostname)


# -- making the files


def on_timer(tank: Tank, payload: Mapping[str, Any], now_ms: int) -> None:
    """Write the files, page by page, and tell the callback."""
    n = payload["export"]
    with tank.store.write() as conn:
        pending.apply_due(conn, tank, now_ms)
        row = conn.execute(select(table).where(table.c.n == n)).one()
        conn.execute(parts.delete().where(parts.c.export == n))
    fields, custom = orjson.loads(row.fields), orjson.loads(row.custom)
    after, part, users = 0, 0, 0
    while True:
        with tank.store.write() as conn:
            uids = _uids(conn, tank, row.segment_id, now_ms, after)
            found = profile_store.by_uid(conn, uids)
            if found:
                history = received.of(conn, uids, fields)
                shown = (_line(each, fields, custom, now_ms, history.get(each.uid, {})) for each in found)
                lines = b"".join(orjson.dumps(each) + b"\n" for each in shown)
                conn.execute(parts.insert().values(export=n, part=part, body=zlib.compress(lines, 1)))
        after, part, users = (uids or [after])[-1], part + 1, users + len(found)
        if len(uids) < PER_FILE:
            break
    with tank.store.write() as conn:
        conn.execute(table.update().where(table.c.n == n).values(ready_ms=now_ms, users=users))
        life_ms = round(float(tank.settings["braze.export_link_h"]) * 3_600_000)
        timekeeper.schedule(conn, now_ms + life_ms, EXPIRY, f"{EXPIRY}:{n}", {"export": n})
    if row.callback is not None and _is_loopback(row.callback):
        body = orjson.dumps({"success": True, "url": row.url})
        feeds.post(tank, row.callback, body, {"Content-Type": "application/json"}, _CALLBACK_S, "braze")


def _is_loopback(url: str) -> bool:
    # Whatever an export asks for, nothing leaves this machine.
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _uids(conn: Connection, tank: Tank, segment_id: str, now_ms: int, after: int) -> list[int]:
    query: Select[int]
    if segment_id == CONTROL_GROUP:
        chosen = json_number(profiles.c.data, "$.random_bucket") < writes.control_share(tank) * 100
        query = select(profiles.c.uid).where(profiles.c.gone == "", chosen).order_by(profiles.c.uid)
    else:
        query = segments.members(conn, tank, segment_id, now_ms)
    return list(conn.execute(query.where(profiles.c.uid > after).limit(PER_FILE)).scalars())


def _line(
    profile: Any, fields: list[str], custom: list[str] | None, now_ms: int, history: received.Found
) -> dict[str, Any]:
    shown = exporting.exported(profile, fields, now_ms, history)
    if custom is not None:
        shown["custom_attributes"] = {name: profile.custom[name] for name in custom if name in profile.custom}
    return shown


def on_expiry(tank: Tank, payload: Mapping[str, Any], _now_ms: int) -> None:
    """The link is dead: forget the files."""
    with tank.store.write() as conn:
        conn.execute(parts.delete().where(parts.c.export == payload["export"]))
        conn.execute(table.update().where(table.c.n == payload["export"]).values(expired=True))


TIMERS = {KIND: on_timer, EXPIRY: on_expiry}


# -- handing the file out


def find_by_link(request: Request, tanks: Tanks) -> Found:
    """The tank named in the path; who has the link needs no key."""
    try:
        return Found(tanks.get(request.path.split("/")[2]))
    except (UnknownTank, IndexError):
        return Found(None)


def denied(_request: object = None, _detail: object = None, message: str = "Access Denied") -> Answer:
    """The file store's refusal: XML, as for a file that is not ready."""
    error = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'
    return Answer(403, body, content_type="application/xml", why=(Reason("access-denied", message, SOURCE),))


def download(call: Call) -> Answer:
    """The zip behind a link: 403 before it is ready and after the link's life."""
    row = call.conn.execute(select(table).where(table.c.path == call.request.path)).first()
    if row is None or row.ready_ms is None:
        return denied()
    if row.expired:
        return denied(message="Request has expired")
    why = Reason("exported", "the files of the export", SOURCE, {"users": row.users})
    return Answer(200, content_type="application/zip", why=(why,), stream=partial(_archive, call.tank, row.n))


def _archive(tank: Tank, n: int) -> Iterator[bytes]:
    """The zip, file by file: one is in memory at a time."""
    with Draining() as out:
        with ZipFile(cast("IO[bytes]", out), "w", ZIP_DEFLATED) as archive:
            part = 0
            while True:
                with tank.store.read() as conn:
                    body = conn.execute(select(parts.c.body).where(parts.c.export == n, parts.c.part == part)).scalar()
                if body is None:
                    break
                info = ZipInfo(f"{uuid_text(tank.rng('braze_export_part', n, part))}.txt", (2020, 1, 1, 0, 0, 0))
                archive.writestr(info, zlib.decompress(body), ZIP_DEFLATED)
                part += 1
                yield from out.drain()
        yield from out.drain()


HANDLERS: Mapping[str, Served] = {
    "POST /users/export/segment": (by_segment, "braze_export_segment", 201),
    "POST /users/export/global_control_group": (control_group, "braze_export_control_group", 201),
}
