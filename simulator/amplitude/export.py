"""`/api/2/export`: a zip of gzip files of one line per event, by the hour in which the events were uploaded.

Source: Amplitude docs, Export API, with the file naming and the 404 of recorded answers.
"""

from __future__ import annotations

import gzip
import itertools
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any, cast

import orjson
from sqlalchemy import bindparam, func, select

from simulator.amplitude import rows, tables
from simulator.amplitude.rows import UPLOAD_LAG_MS
from simulator.draining import Draining
from simulator.exchange import Answer, Call, Reason
from simulator.tank import Tank

SOURCE = "Amplitude docs, Export API"
HOUR_MS = 3_600_000
MAX_DAYS = 365
PAGE = 2_000
"""Events read at once: what a page holds is all that is in memory."""
PARTITION = 100_000
"""Events of one hour in one file; further ones go to the next partition."""
_FRAME_BYTES = 1_300
"""About the length of a line without what the caller sent."""
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
    last = min(end, (call.now_ms - delay_ms) // HOUR_MS - 1)
    span = (start * HOUR_MS - UPLOAD_LAG_MS, (last + 1) * HOUR_MS - UPLOAD_LAG_MS)
    with call.tank.store.scan() as conn:
        first_n, last_n, size = conn.execute(_SIZE, {"from": span[0], "until": span[1]}).one()
    if first_n is None:
        why = Reason("no-data", "no events in these hours, or they are not available yet", SOURCE, {"until": last})
        return Answer(404, NOTHING, content_type="application/json; charset=utf-8", why=(why,))
    most = int(call.tank.settings["amplitude.export_max_bytes"])
    if size > most:
        return refused(400, "Invalid request", f"the result of about {size} bytes is larger than {most}")
    why = Reason("exported", "events of whole hours, by the time of their upload", SOURCE, {"bytes_about": size})
    pieces = partial(_archive, call.tank, span, (first_n, last_n))
    return Answer(200, content_type="application/zip", why=(why,), stream=pieces)


_E = tables.events.c
_SPAN = (_E.received_ms >= bindparam("from"), _E.received_ms < bindparam("until"))
_LINE_BYTES = func.length(_E.event) + func.coalesce(func.length(_E.user_properties), 0) + _FRAME_BYTES
_SIZE = select(func.min(_E.n), func.max(_E.n), func.coalesce(func.sum(_LINE_BYTES), 0)).where(*_SPAN)


def _archive(tank: Tank, span: tuple[int, int], numbers: tuple[int, int]) -> Iterator[bytes]:
    """The zip, file by file: each is made on disk and sent, so memory does not grow with the export."""
    app = rows.project_id(tank.id, tank.seed)
    parts: Counter[int] = Counter()
    with Draining() as out:
        with zipfile.ZipFile(cast("IO[bytes]", out), "w", zipfile.ZIP_STORED) as archive:
            for hour, events in itertools.groupby(_events(tank, span, numbers), _hour_of):
                for first in events:
                    info = zipfile.ZipInfo(_name(app, hour, parts[hour]), date_time=(2020, 1, 1, 0, 0, 0))
                    parts[hour] += 1
                    with archive.open(info, "w") as entry, gzip.GzipFile(fileobj=entry, mode="wb", mtime=0) as lines:
                        for row in itertools.chain([first], itertools.islice(events, PARTITION - 1)):
                            lines.write(_line(row, app))
                    yield from out.drain()
        yield from out.drain()


def _hour_of(row: Any) -> int:
    """The hour of ``server_upload_time``."""
    hour: int = (row.received_ms + UPLOAD_LAG_MS) // HOUR_MS
    return hour


def _name(app: int, hour: int, part: int) -> str:
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{app}/{app}_{moment:%Y-%m-%d}_{moment.hour}#{part}.json.gz"


def _line(row: Any, app: int) -> bytes:
    return orjson.dumps(rows.exported(row, app)) + b"\n"


def _events(tank: Tank, span: tuple[int, int], numbers: tuple[int, int]) -> Iterator[Any]:
    """The rows of a span of upload times in the order they came, read page by page."""
    after, last = numbers[0] - 1, numbers[1]
    while True:
        given = {"after": after, "last": last, "from": span[0], "until": span[1], "page": PAGE}
        with tank.store.scan() as conn:
            page = conn.execute(_PAGE_OF, given).all()
        if not page:
            return
        yield from page
        after = page[-1].n


_PAGE_OF = (
    rows.query()
    .where(_E.n > bindparam("after"), _E.n <= bindparam("last"), *_SPAN)
    .order_by(_E.n)
    .limit(bindparam("page"))
)
