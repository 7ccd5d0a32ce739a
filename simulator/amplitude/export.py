"""`/api/2/export`: a zip of gzip files of one line per event, by the hour in which the events were uploaded.

Source: Amplitude docs, Export API, with the file naming and the 404 of recorded answers.
"""

from __future__ import annotations

import gzip
import io
import re
import tempfile
import zipfile
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import select

from simulator.amplitude import rows, tables
from simulator.exchange import Answer, Call, Reason

SOURCE = "Amplitude docs, Export API"
HOUR_MS = 3_600_000
MAX_DAYS = 365
NOTHING = (
    b'{"error": {"http_code": 404, "type": "unspecified", "message": "Unspecified Error", '
    b'"metadata": {"details": "Raw data files were not found."}}}'
)


def refused(status: int, message: str, details: str) -> Answer:
    """The error envelope of the REST APIs."""
    kind = {400: "invalid", 404: "unspecified"}.get(status, "unspecified")
    body = {"error": {"http_code": status, "type": kind, "message": message, "metadata": {"details": details}}}
    return Answer(status, body, why=(Reason("refused", details, SOURCE),))


def wrong_key(_request: object, _detail: object) -> Answer:
    """Wrong key pair: plain text."""
    why = Reason("invalid-api-key", "the key pair is not known in this region", SOURCE)
    return Answer(403, "Invalid API Key", content_type="text/html; charset=utf-8", why=(why,))


def hour_of(text: str) -> int | None:
    """``20260101T05`` as hours since the epoch, None when it is no such text."""
    if not re.fullmatch(r"\d{8}T\d{1,2}", text):
        return None
    try:
        moment = datetime(int(text[:4]), int(text[4:6]), int(text[6:8]), int(text[9:]), tzinfo=UTC)
    except ValueError:
        return None
    return round(moment.timestamp()) // 3600


def export(call: Call) -> Answer:
    """All events uploaded from hour ``start`` to hour ``end``, both inclusive, as far as they are available yet."""
    start, end = hour_of(call.detail.get("start", "")), hour_of(call.detail.get("end", ""))
    if start is None or end is None:
        return refused(400, "Invalid request", "start and end are hours like 20260101T05")
    if end < start or end - start >= MAX_DAYS * 24:
        return refused(400, "Invalid request", "the range is empty or longer than 365 days")
    delay_ms = round(float(call.tank.settings["amplitude.export_delay_h"]) * HOUR_MS)
    # An hour shows when it has ended and the delay has passed.
    last = (call.now_ms - delay_ms) // HOUR_MS - 1
    app = rows.project_id(call.tank.id, call.tank.seed)
    content = _archive(call, app, start, min(end, last))
    if content is None:
        why = Reason("no-data", "no events in these hours, or they are not available yet", SOURCE, {"until": last})
        return Answer(404, NOTHING, content_type="application/json; charset=utf-8", why=(why,))
    return Answer(200, content, content_type="application/zip")


def _archive(call: Call, app: int, first: int, last: int) -> bytes | None:
    table = tables.events
    query = (
        select(table)
        .where(table.c.received_ms >= first * HOUR_MS, table.c.received_ms < (last + 1) * HOUR_MS)
        .order_by(table.c.received_ms, table.c.n)
    )
    with tempfile.SpooledTemporaryFile(max_size=32 * 1024 * 1024) as spool:
        with zipfile.ZipFile(spool, "w", zipfile.ZIP_STORED) as archive:
            hour: int | None = None
            lines: io.BytesIO | None = None
            writer: Any = None
            for row in call.conn.execute(query):
                if row.received_ms // HOUR_MS != hour:
                    _finish(archive, app, hour, lines, writer)
                    hour = row.received_ms // HOUR_MS
                    lines = io.BytesIO()
                    writer = gzip.GzipFile(fileobj=lines, mode="wb", mtime=0)
                groups = orjson.loads(row.user_groups) if row.user_groups else None
                writer.write(orjson.dumps(rows.exported(row, app, groups)) + b"\n")
            _finish(archive, app, hour, lines, writer)
            if hour is None:
                return None
        spool.seek(0)
        return spool.read()


def _finish(archive: zipfile.ZipFile, app: int, hour: int | None, lines: io.BytesIO | None, writer: Any) -> None:
    if hour is None or lines is None:
        return
    writer.close()
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    name = f"{app}/{app}_{moment:%Y-%m-%d}_{moment.hour}#0.json.gz"
    archive.writestr(zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0)), lines.getvalue())
