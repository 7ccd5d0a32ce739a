"""What nobody should send: good requests of every route, ways to spoil them, and a client that checks nothing."""

from __future__ import annotations

import base64
import copy
import gzip
import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from werkzeug.test import run_wsgi_app

FORMS = {"/identify": "identification", "/groupidentify": "identification", "/usermap": "mapping"}
"""Routes that take JSON text in a form field."""

_ALIAS = {"alias_name": "n", "alias_label": "l"}
_EVENT = {
    "user_id": "person-1", "device_id": "device-1", "event_type": "a", "time": 1_767_225_600_000, "insert_id": "i",
    "event_properties": {"x": [1, {"y": "z"}]}, "user_properties": {"$set": {"plan": "a"}}, "groups": {"org": ["1"]},
    "price": 9.5, "quantity": 1, "language": "en", "session_id": -1, "event_id": 7, "ip": "127.0.0.1", "country": "DE",
    "plan": {"branch": "b"}, "$skip_user_properties_sync": False, "user_agent": "u", "location_lat": 1.5,
}  # fmt: skip
_COHORT = {
    "name": "c", "app_id": 1, "id_type": "BY_USER_ID", "ids": ["person-1"], "owner": "o@example.com",
    "published": True, "existing_cohort_id": None, "skip_save": False, "skip_invalid_ids": True,
}  # fmt: skip
_MOVE = {"cohort_id": "c", "count_group": "User", "skip_invalid_ids": True}
_MEMBERS = [{"ids": ["1"], "id_type": "BY_ID", "operation": "ADD"}]
_RELEASE = {"version": "1", "release_start": "2026-01-01 00:00:00", "title": "t", "platforms": ["web"]}
_TRACK = {
    "attributes": [{"external_id": "a", "email": "a@example.com", "x": {"$add": [1]}, "dob": "2000-01-01", "y": 1}],
    "events": [{"external_id": "a", "name": "n", "time": "2026-01-01T00:00:00Z", "properties": {"p": {"q": [1]}}}],
    "purchases": [{"user_alias": _ALIAS, "product_id": "p", "currency": "USD", "price": 1.5, "quantity": 2,
                   "time": "2026-01-01T00:00:00Z", "properties": {}}],
}  # fmt: skip
_RENAMES = [{"current_external_id": "a", "new_external_id": "b"}]
SEGMENT, GROUP, CAMPAIGN, CANVAS, PAPER = (f"00000000-0000-4000-a000-00000000000{n}" for n in range(5))
"""Ids of what a marketer has made: a segment, a subscription group, a campaign, a Canvas, a transactional campaign."""
_MAIL = {"email": {"app_id": "app", "from": "a@example.com", "subject": "Hi {{${first_name}}}", "body": "b"}}
_PEOPLE = [
    {"external_user_id": "a", "trigger_properties": {"p": 1}, "send_to_existing_only": False, "attributes": {"x": 1}},
    {"email": "a@example.com", "prioritization": ["identified"]},
]
_SEND = {"campaign_id": CAMPAIGN, "recipients": _PEOPLE, "trigger_properties": {"q": [1]}}
_ENTER = {"canvas_id": CANVAS, "recipients": [{"user_alias": _ALIAS, "context": {"p": 1}}], "context": {"q": "r"}}
_BROADCAST = {
    "broadcast": True,
    "audience": {"AND": [{"email_subscription_status": {"comparison": "is", "value": "subscribed"}}]},
}
_TIME = {"schedule": {"time": "2026-12-01T00:00:00Z", "in_local_time": False}}
_EMAILS = {"email": ["a@example.com"]}
_WEBHOOK = {
    "name": "n",
    "endpoint": "http://127.0.0.1:9/x",
    "events": ["email_sent", "push_opened"],
    "disabled": False,
    "full_resolution": True,
    "with_content": False,
}
_CHANGES = [{"user_ids": ["a"], "device_ids": ["d"], "aliases": [_ALIAS], "should_remove": False}]

GOOD: Mapping[str, Any] = {
    "/2/httpapi": {"events": [_EVENT], "options": {"min_id_length": 1}},
    "/batch": {"events": [_EVENT, {"user_id": "person-1", "event_type": "$identify", "user_properties": {"a": 1}}]},
    "/identify": [{**_EVENT, "paying": "true", "start_version": "1"}],
    "/groupidentify": [{"group_type": "org", "group_value": "1", "group_properties": {"$set": {"a": 1}}}],
    "/usermap": [{"user_id": "person-1", "global_user_id": "person-2"}, {"user_id": "person-3", "unmap": True}],
    "/api/3/cohorts/upload": _COHORT,
    "/api/3/cohorts/membership": {**_MOVE, "memberships": _MEMBERS},
    "/api/3/annotations": {"start": "2026-01-01T00:00:00Z", "end": None, "label": "l", "category": "Uncategorized"},
    "/api/3/annotations/<annotation_id>": {"label": "l", "category": "Uncategorized", "details": "d", "chart_id": "c"},
    "/api/3/annotation-categories": {"category": "new"},
    "/api/3/annotation-categories/<category_id>": {"category": "other"},
    "/api/3/annotation-categories/bulk/<category_id>": {"annotation_ids": [939000]},
    "/api/2/release": _RELEASE,
    "/api/2/deletions/users": {"amplitude_ids": [1], "user_ids": ["person-1"], "requester": "r",
                               "ignore_invalid_id": "true", "delete_from_org": False, "include_mapped_user_ids": True},
    "/users/track": _TRACK,
    "/users/track/bulk": _TRACK,
    "/users/track/sync": {"attributes": _TRACK["attributes"]},
    "/users/alias/new": {"user_aliases": [{**_ALIAS, "external_id": "a"}]},
    "/users/alias/update": {"alias_updates": [{"alias_label": "l", "old_alias_name": "n", "new_alias_name": "m"}]},
    "/users/identify": {"aliases_to_identify": [{"external_id": "a", "user_alias": _ALIAS}], "merge_behavior": "merge",
                        "emails_to_identify": [{"external_id": "a", "email": "a@example.com",
                                                "prioritization": ["identified"]}]},
    "/users/merge": {"merge_updates": [{"identifier_to_merge": {"external_id": "a"},
                                        "identifier_to_keep": {"user_alias": _ALIAS}}]},
    "/users/delete": {"external_ids": ["b"]},
    "/users/external_ids/rename": {"external_id_renames": _RENAMES},
    "/users/external_ids/remove": {"external_ids": ["a"]},
    "/users/export/ids": {"external_ids": ["a"], "user_aliases": [_ALIAS], "fields_to_export": ["external_id"]},
    "/users/export/segment": {"segment_id": SEGMENT, "fields_to_export": ["external_id"],
                              "custom_attributes_to_export": ["x"], "output_format": "zip"},
    "/users/export/global_control_group": {"fields_to_export": ["email"], "output_format": "gzip"},
    "/messages/send": {"external_user_ids": ["a"], "user_aliases": [_ALIAS], "messages": _MAIL,
                       "recipient_subscription_state": "all", "override_frequency_capping": True},
    "/messages/schedule/create": {"segment_id": SEGMENT, "broadcast": True, "messages": _MAIL, **_TIME},
    "/messages/schedule/update": {"schedule_id": CAMPAIGN, "messages": _MAIL, **_TIME},
    "/messages/schedule/delete": {"schedule_id": CAMPAIGN},
    "/campaigns/trigger/send": {**_SEND, "attachments": [{"file_name": "f", "url": "https://example.com/f"}]},
    "/campaigns/trigger/schedule/create": {"campaign_id": CAMPAIGN, **_BROADCAST, **_TIME},
    "/campaigns/trigger/schedule/update": {"campaign_id": CAMPAIGN, "schedule_id": CAMPAIGN, **_TIME},
    "/campaigns/trigger/schedule/delete": {"campaign_id": CAMPAIGN, "schedule_id": CAMPAIGN},
    "/canvas/trigger/send": _ENTER,
    "/canvas/trigger/schedule/create": {"canvas_id": CANVAS, **_BROADCAST, **_TIME},
    "/canvas/trigger/schedule/update": {"canvas_id": CANVAS, "schedule_id": CAMPAIGN, **_TIME},
    "/canvas/trigger/schedule/delete": {"canvas_id": CANVAS, "schedule_id": CAMPAIGN},
    "/sends/id/create": {"campaign_id": CAMPAIGN, "send_id": "s"},
    "/transactional/v1/campaigns/<campaign_id>/send": {"external_send_id": "s", "trigger_properties": {},
                                                       "recipient": {"external_user_id": "a"}},
    "/subscription/status/set": {"subscription_group_id": GROUP, "subscription_state": "subscribed",
                                 "external_id": ["a"]},
    "/v2/subscription/status/set": {"subscription_groups": [{
        "subscription_group_id": GROUP, "subscription_state": "unsubscribed", "emails": ["a@example.com"]}]},
    "/email/status": {**_EMAILS, "subscription_state": "opted_in"},
    "/email/bounce/remove": _EMAILS,
    "/email/spam/remove": _EMAILS,
    "/email/blocklist": _EMAILS,
    "/email/blacklist": _EMAILS,
    "/api/v1/customers/<identifier>": {"email": "b@example.com", "unsubscribed": True, "created_at": 1, "plan": "free",
                                       "cio_subscription_preferences": {"topics": {"topic_1": True}}},
    "/api/v1/customers/<identifier>/devices": {"device": {"id": "token-2", "platform": "ios", "last_used": 1,
                                                          "attributes": {"a": 1}}},
    "/api/v1/customers/<identifier>/suppress": {},
    "/api/v1/customers/<identifier>/unsuppress": {},
    "/api/v1/customers/<identifier>/events": {"name": "statement_ready", "id": "01", "type": "event", "timestamp": 1,
                                              "data": {"a": [1]}},
    "/api/v1/events": {"name": "n", "anonymous_id": "a", "timestamp": 1, "data": {}},
    "/api/v1/metrics": {"metric": "clicked", "timestamp": 1, "recipient": "r", "reason": "why", "href": "https://a.b"},
    "/api/v1/push/events": {"event": "opened", "device_id": "token-1", "timestamp": 1},
    "/unsubscribe/<delivery_id>": {"unsubscribe": True},
    "/v1/reporting_webhooks": _WEBHOOK,
    "/v1/reporting_webhooks/<webhook_id>": _WEBHOOK,
    "/v1/send/email": {"transactional_message_id": 9, "to": "a@example.com", "identifiers": {"id": "a"}, "subject": "s",
                       "body": "b", "headers": {"X-A": "b"}, "send_at": 1, "queue_draft": False, "message_data": {}},
    "/v1/send/push": {"transactional_message_id": "code_push", "to": "last_used", "identifiers": {"id": "a"}},
    "/v1/send/sms": {"transactional_message_id": "11", "to": "+15550001", "identifiers": {"email": "a@example.com"}},
    "/v1/send/in_app": {"transactional_message_id": 14, "identifiers": {"id": 1}},
    "/v1/campaigns/<broadcast_id>/triggers": {"ids": ["a", 1], "id_ignore_missing": True, "data": {"a": 1},
        "emails": ["a@example.com"], "email_ignore_missing": True, "per_user_data": [{"id": "a", "data": {}}],
        "recipients": {"and": [{"attribute": {"field": "plan", "operator": "eq", "value": "free"}}]}},
    "/partners/<partner>/cohorts": {"cohort_id": "c", "name": "n", "created_at": "2026-01-01T00:00:00Z"},
    "/partners/<partner>/cohorts/users": {"cohort_id": "c", "cohort_changes": _CHANGES},
}  # fmt: skip

# -- values and bodies

LITERALS = {
    "@nan@": "NaN", "@infinity@": "-Infinity", "@1e400@": "1e400", "@10**400@": "1" + "0" * 400, "@2**64@": str(2**64),
    "@-0@": "-0", "@dup@": '{"a":1,"a":2,"events":[],"events":0}', "@deep@": "[" * 600 + "]" * 600,
    "@lone@": '"\\ud800"', "@nul@": '"a\\u0000b"',
}  # fmt: skip
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 1.5, -0.0]),
    st.sampled_from([1e308, 5e-324, "", " ", "a", "0", "-1", "null", "person-1", "device-1", "$set", "1" * 30, "\x00"]),
    st.sampled_from(["a\x00b", "\x7f", "\ufeff", "‮", "😀" * 300, "é", "x" * 1025, "'; DROP TABLE t; --", "%s"]),
    st.sampled_from(["2026-13-45", "9999-12-31T23:59:59Z", "0000-00-00", "٣", "1e400", "{}", "[]", "nan", "../.."]),
    st.sampled_from(sorted(LITERALS)),
    st.text(max_size=6),
)
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(SCALARS.map(str), each, max_size=3), max_leaves=6
)


def _places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, each in inside:
        yield from _places(each, (*at, key))


@st.composite
def spoiled(draw: st.DrawFn, good: Any) -> Any:
    """The good document with up to three of its nodes replaced, taken out or joined by others."""
    made = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.sampled_from(list(_places(made))))
        if not at:
            made = draw(VALUES) if draw(st.integers(0, 9)) == 0 else made
            continue
        holder = made
        for key in at[:-1]:
            holder = holder[key]
        change = draw(st.sampled_from(["put", "put", "put", "drop", "wrap", "name"]))
        if change == "drop":
            del holder[at[-1]]
        elif change == "wrap":
            holder[at[-1]] = draw(st.sampled_from([[holder[at[-1]]], {"$add": holder[at[-1]]}, [[], holder[at[-1]]]]))
        elif change == "name" and isinstance(holder, dict):
            holder[str(draw(SCALARS))] = holder.pop(at[-1])
        else:
            holder[at[-1]] = draw(VALUES)
    return made


def text_of(document: Any, ascii_only: bool = True) -> str:
    """JSON text, with what Python's own numbers cannot say put in literally."""
    text = json.dumps(document, ensure_ascii=ascii_only)
    for name, literal in LITERALS.items():
        text = text.replace(f'"{name}"', literal)
    return text


DEEP = 100_000
MALFORMED = (
    b"", b" ", b"{", b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP, b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"null", b"1", b'"a"', b"[]", b"{}", b"[null]", b"nul", b"{'a':1}", b'{"a":1,}', b'{"a":1}{"a":2}', b"\x00" * 64,
    b"\xff\xfe\x00\x00", b"\xc3\x28", b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\\ud800"}', b'{"a":"\\x"}',
    b"NaN", b'{"a":NaN}', b'{"a":1e400}', b"1" + b"0" * 400, b"-" * 1000, b"<xml/>", b"a=b&c=d", b"--x\r\n\r\n--x--",
    b'{"a":"' + b"x" * 1_100_000 + b'"}',
)  # fmt: skip
BOMB = gzip.compress(b'{"a":"' + b" " * 80_000_000, 9)
"""80 MB in about 80 kB: more than any route takes."""


def _encoded(text: str, how: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    changed = {
        "utf-8": lambda: raw,
        "bom": lambda: b"\xef\xbb\xbf" + raw,
        "utf-16": lambda: text.encode("utf-16", "surrogatepass"),
        "utf-32": lambda: text.encode("utf-32", "surrogatepass"),
        "latin-1": lambda: text.encode("latin-1", "replace"),
        "cut": lambda: raw[: len(raw) * 2 // 3],
        "twice": lambda: raw + raw,
        "nul": lambda: raw + b"\x00",
        "invalid": lambda: raw[: len(raw) // 2] + b"\xff\xc0" + raw[len(raw) // 2 :],
        "padded": lambda: b"\n\t " * 1000 + raw,
    }
    return changed[how]()


ENCODINGS = ("bom", "utf-16", "utf-32", "latin-1", "cut", "twice", "nul", "invalid", "padded")
PACKINGS = (*["none"] * 16, "gzip", "gzip", "gzip cut", "gzip twice", "gzip rubbish", "claimed", "deflate", "br")
TYPES = (
    "", "text/plain", "application/json; charset=utf-16", "APPLICATION/JSON", "application/json;charset=\xff", ";", "/",
    "application/xml", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 300, "multipart/form-data; b=\"",
    "application/x-www-form-urlencoded; charset=nope", "application/json, text/html", "\x00",
)  # fmt: skip
HEADERS = (
    {}, {"X-" + "a" * 200: "b" * 60_000}, {"Content-Encoding": "gzip, gzip"}, {"Content-Encoding": "\xff"},
    {"Authorization": ""}, {"Authorization": "Basic " + "A" * 10_000}, {"Authorization": "Basic \xff\xfe"},
    {"Authorization": "Bearer"}, {"Authorization": "Bearer \x00"}, {"Authorization": "Api-Key  "}, {"Host": ""},
    {"Authorization": "Basic " + base64.b64encode(b"\xff:\xfe").decode()}, {"Cookie": "=;=;" * 500}, {"Host": "[:"},
    {"X-Forwarded-For": "'"}, {"Range": "bytes=-1"}, {"If-None-Match": "*"}, {"Expect": "x"}, {"Accept": "\xe9"},
    {"Transfer-Encoding": "identity"}, {"X-HTTP-Method-Override": "DELETE"}, {"Date": "0"},
)  # fmt: skip
ODD_QUERIES = (
    "%", "%zz", "%ff%fe", "&&&===", "a=%00", ";;", "+++", "=", "a[]=1&a[0]=2", "\xe9=\xe9", "a" * 20_000, "%ud800",
    "&".join("a=1" for _ in range(3000)), "api_key=%ED%A0%80", "%00=%00", "?", "#", "start=%C2",
)  # fmt: skip
ODD_SEGMENTS = (
    "1", "0", "-1", "1" * 30, "9" * 18, "1.5", "a b", "\x00", "é", "\xff\xfe", "%2e%2e", "..", "'", "٣", "null",
    "{}", "x" * 5000, "939000", "2026-01-01", "2026-13-45", "+1", "1e5", "‮", "amplitude", "Amplitude",
)  # fmt: skip


@dataclass
class Wired:
    """One request as bytes, whatever they are."""

    method: str
    path: str
    """Unquoted, as bytes read as Latin-1."""
    query: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@st.composite
def bodies(draw: st.DrawFn, good: Any, fixed: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A body, with its content encoding; most are readable JSON of the route with something wrong in it."""
    kind = draw(st.sampled_from(["spoiled"] * 7 + ["encoded", "malformed"]))
    if kind == "malformed":
        body = draw(st.sampled_from(MALFORMED))
    else:
        document = draw(spoiled(good))
        if isinstance(document, dict):
            document = {**document, **fixed}
        how = "utf-8" if kind == "spoiled" else draw(st.sampled_from(ENCODINGS))
        body = _encoded(text_of(document, draw(st.booleans())), how)
    packing = draw(st.sampled_from(PACKINGS))
    if packing == "none":
        return body, {}
    if packing == "gzip twice":
        return gzip.compress(gzip.compress(body)), {"Content-Encoding": "gzip"}
    packed = gzip.compress(body, 1) if packing.startswith("gzip") else body
    if packing == "gzip cut":
        packed = packed[:-5]
    elif packing == "gzip rubbish":
        packed = packed[:20] + b"\x00\xff" + packed[22:]
    return packed, {"Content-Encoding": packing if packing in ("deflate", "br") else "gzip"}


def quoted(text: str) -> str:
    """Percent-encoded, lone surrogates and all."""
    return quote(text.encode("utf-8", "surrogatepass"))


@st.composite
def queries(draw: st.DrawFn, names: tuple[str, ...], fixed: Mapping[str, str], good: Mapping[str, str]) -> str:
    """A query string: the route's names with good and odd values, and sometimes rubbish beside them."""
    parts = [f"{name}={quoted(value)}" for name, value in fixed.items()]
    for name in names:
        if name not in fixed and draw(st.integers(0, 3)):
            odd = draw(st.integers(0, 3)) == 0
            value = draw(SCALARS.map(str) | VALUES.map(text_of)) if odd else good.get(name, "1")
            parts.append(f"{name}={quoted(value)}")
    if draw(st.integers(0, 4)) == 0:
        parts.append(draw(st.sampled_from(ODD_QUERIES)))
    return "&".join(parts)


def call(app: Any, wired: Wired) -> tuple[int, Mapping[str, str], bytes]:
    """Give the request to a WSGI app: status, headers and body of its answer."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": wired.method, "SCRIPT_NAME": "", "PATH_INFO": wired.path, "QUERY_STRING": wired.query,
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(wired.body)), "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(wired.body), "wsgi.errors": sys.stderr, "wsgi.multithread": False,
        "wsgi.multiprocess": False, "wsgi.run_once": False,
    }  # fmt: skip
    for name, value in wired.headers.items():
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    chunks, status, headers = run_wsgi_app(app, environ, buffered=True)
    return int(status[:3]), headers, b"".join(chunks)
