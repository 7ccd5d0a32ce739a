"""The file of a cohort download: in the answer itself, or behind a link that expires.

Source: Amplitude docs, Behavioral Cohorts API, Download.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

import orjson
from sqlalchemy import Connection, String, bindparam, cast, func, literal_column, select

from simulator.amplitude import cohort_tables, cohorts, computations, tables
from simulator.amplitude.cohorts import SOURCE, refused
from simulator.dialect import joined, json_members
from simulator.exchange import Answer, Call, Found, Reason, Request
from simulator.store import json_set
from simulator.tank import Region, Tank, Tanks, UnknownTank

LINK = "/cohort-files/<tank_id>/<request_id>.csv"
PAGE, LONG_PAGE = 5_000, 25_000
_NO_END = 2**63 - 1
_STAMP = "%Y%m%dT%H%M%SZ"


def file(call: Call) -> Answer:
    """Third step of a download: the members as CSV, or a redirect to them when they are many."""
    found = cohorts.request_of(call)
    if found is None:
        return refused(404, "Not found", "no such request, or it is older than 7 days")
    most = int(call.tank.settings["amplitude.cohort_redirect_above"])
    if cohorts.is_larger(call.conn, found.cohort_id, most):
        why = Reason("file-link", "the cohort is large: its file is behind a link that expires", SOURCE)
        return Answer(302, b"", {"Location": _link(call, found.id)}, "text/html", why=(why,))
    return _answer(call, found)


def _answer(call: Call, found: Any) -> Answer:
    props = orjson.loads(found.props)
    columns = props["keys"] or _all_keys(call.tank, found.cohort_id) if props["all"] else []
    return Answer(200, content_type="text/csv", stream=partial(_lines, call.tank, found, columns))


def _all_keys(tank: Tank, cohort_id: str) -> list[str]:
    """Every user property that a member has."""
    each = json_members(tables.properties.c.properties)
    member = cohort_tables.members.c
    held = cohort_tables.members.join(tables.properties, tables.properties.c.amplitude_id == member.amplitude_id)
    query = (
        select(each.c.key).select_from(held.join(each, literal_column("1") == 1)).where(member.cohort_id == cohort_id)
    )
    with tank.store.scan() as conn:
        return sorted(conn.execute(query.distinct()).scalars())


def _lines(tank: Tank, request: Any, columns: Sequence[str]) -> Iterator[bytes]:
    """The file, page by page; every cell is quoted."""
    yield _csv([["amplitude_id", "user_id", *columns]])
    after: int | None = 0
    while after is not None:
        with tank.store.scan() as conn:
            given = {"cohort": request.cohort_id, "after": after, "page": PAGE if columns else LONG_PAGE}
            if columns:
                text, after = _with_properties(conn, request.id, given, columns)
            else:
                text, after = _two_columns(conn, given)
        yield text


_M = cohort_tables.members.c
_HELD = cohort_tables.members.outerjoin(tables.users, tables.users.c.amplitude_id == _M.amplitude_id)
_AFTER = (_M.cohort_id == bindparam("cohort"), _M.amplitude_id > bindparam("after"))
_PAGE_OF = (
    select(_M.amplitude_id, tables.users.c.user_id)
    .select_from(_HELD)
    .where(*_AFTER)
    .order_by(_M.amplitude_id)
    .limit(bindparam("page"))
)
_END_OF_PAGE = select(_M.amplitude_id).where(*_AFTER).order_by(_M.amplitude_id).limit(1).offset(bindparam("page"))
_LINES_OF = (
    select(
        func.count(),
        func.max(_M.amplitude_id),
        joined(
            cast(_M.amplitude_id, String) + '","' + func.coalesce(tables.users.c.user_id, ""), '"\n"', _M.amplitude_id
        ),
    )
    .select_from(_HELD)
    .where(*_AFTER, _M.amplitude_id < bindparam("before"))
)


def _two_columns(conn: Connection, given: Mapping[str, Any]) -> tuple[bytes, int | None]:
    """A page as the database puts its lines together, and the last member of it, None at the end."""
    end = conn.execute(_END_OF_PAGE, given).scalar()
    count, last, text = conn.execute(_LINES_OF, {**given, "before": _NO_END if end is None else end}).one()
    if not count:
        return b"", None
    page = f'"{text}"\n'
    if page.count('"') > 4 * count:  # a quote within a user id is doubled
        page = _csv((a, name or "") for a, name in conn.execute(_PAGE_OF, given)).decode()
    return page.encode(), last


def _with_properties(
    conn: Connection, request_id: str, given: Mapping[str, Any], columns: Sequence[str]
) -> tuple[bytes, int | None]:
    """A page with properties beside, and the last member of it, None at the end."""
    page = [(row[0], row[1]) for row in conn.execute(_PAGE_OF, given)]
    held = _properties(conn, request_id, [each for each, _ in page])
    text = _csv([a, name or "", *(_cell(held.get(a, {}).get(key)) for key in columns)] for a, name in page)
    return text, page[-1][0] if page else None


def _properties(conn: Connection, request_id: str, ids: Sequence[int]) -> Mapping[int, Mapping[str, Any]]:
    """User properties and computed ones by Amplitude ID."""
    table = tables.properties
    query = select(table.c.amplitude_id, table.c.properties).where(table.c.amplitude_id.in_(json_set(ids)))
    stored = {row[0]: orjson.loads(row[1]) for row in conn.execute(query)}
    computed = computations.kept(conn, request_id, ids)
    return {each: {**stored.get(each, {}), **computed.get(each, {})} for each in (*stored, *computed)}


def _csv(lines: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


# -- the link


def _link(call: Call, request_id: str) -> str:
    host = call.request.headers.get("Host", "")
    stamp = datetime.fromtimestamp(call.now_ms / 1000, UTC).strftime(_STAMP)
    seconds = f"{float(call.tank.settings['amplitude.file_link_s']):g}"
    signed = {
        "X-Amz-Date": stamp,
        "X-Amz-Expires": seconds,
        "X-Amz-Signature": _signature(call.tank, request_id, stamp, seconds),
    }
    return f"http://{host}/cohort-files/{call.tank.id}/{request_id}.csv?{urlencode(signed)}"


def _signature(tank: Tank, request_id: str, stamp: str, seconds: str) -> str:
    key = tank.credential("amplitude_secret_key").encode()
    return hmac.new(key, f"{request_id}\n{stamp}\n{seconds}".encode(), hashlib.sha256).hexdigest()


def find_by_link(request: Request, tanks: Tanks, region: Region) -> Found:
    """By the tank's name in the path; the detail is the signed query."""
    given = {name: values[-1] for name, values in request.query.items() if values}
    try:
        tank = tanks.get(request.path.split("/")[2])
    except (UnknownTank, IndexError):
        return Found(None, given)
    request_id = request.path.rpartition("/")[2].removesuffix(".csv")
    right = _signature(tank, request_id, given.get("X-Amz-Date", ""), given.get("X-Amz-Expires", ""))
    fits = hmac.compare_digest(right.encode(), given.get("X-Amz-Signature", "").encode("utf-8", "replace"))
    return Found(tank, given) if fits and tank.region == region else Found(None, given)


def denied(_request: object, _detail: object, message: str = "Access Denied") -> Answer:
    """The file store's refusal: XML."""
    error = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{error}'
    return Answer(403, body, content_type="application/xml", why=(Reason("access-denied", message, SOURCE),))


def linked(call: Call) -> Answer:
    """The file behind a link, as long as the link lives."""
    signed_ms = datetime.strptime(call.detail["X-Amz-Date"], _STAMP).replace(tzinfo=UTC).timestamp() * 1000
    if call.now_ms > signed_ms + 1000 * float(call.detail["X-Amz-Expires"]):
        return denied(None, None, "Request has expired")
    found = cohorts.request_of(call)
    return denied(None, None) if found is None else _answer(call, found)
