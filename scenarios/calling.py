"""Requests that a scenario makes itself: building one from its YAML, and reading the answer in whatever form it has."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urljoin

import orjson
import requests

TIMEOUT_S = 60
_PACKED = b"\x1f\x8b"

_session = requests.Session()
_session.trust_env = False


def call(base_url: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """Make one request and answer ``{status, headers, text, body}``; redirects are not followed.

    ``spec``: ``method``, ``path`` (or a whole URL), ``query`` (name → value or list of values), ``headers``, and at
    most one of ``json``, ``form``, ``body`` (text) and ``base64`` (bytes); ``pad`` fills up with blanks to that many
    bytes, ``gzip`` packs what came of it. Header names of the answer are lower case. ``body`` is the answer decoded:
    see :func:`decoded`.
    """
    payload, kind = _payload(spec)
    payload = payload.ljust(spec.get("pad", 0))
    headers = {"Content-Type": kind} if kind else {}
    if spec.get("gzip"):
        payload = gzip.compress(payload)
        headers["Content-Encoding"] = "gzip"
    headers.update(spec.get("headers", {}))
    answer = _session.request(
        spec.get("method", "GET"),
        urljoin(base_url, spec.get("path", "")),
        params=dict(spec.get("query", {})),
        data=payload,
        headers=headers,
        allow_redirects=False,
        timeout=TIMEOUT_S,
    )
    found = {name.lower(): value for name, value in answer.headers.items()}
    return {
        "status": answer.status_code,
        "headers": found,
        "text": answer.content.decode("utf-8", "replace"),
        "body": decoded(answer.content, found.get("content-type", "")),
    }


def _payload(spec: Mapping[str, Any]) -> tuple[bytes, str]:
    if "json" in spec:
        return orjson.dumps(spec["json"]), "application/json"
    if "form" in spec:
        fields = {name: _text(value) for name, value in spec["form"].items()}
        return urlencode(fields).encode(), "application/x-www-form-urlencoded"
    if "base64" in spec:
        return base64.b64decode(spec["base64"]), "application/json"
    return str(spec.get("body", "")).encode(), "application/json" if "body" in spec else ""


def _text(value: Any) -> str:
    """A form field: texts as they are, anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def decoded(content: bytes, kind: str) -> Any:
    """A body by its content type.

    A zip becomes ``{names, lines}`` (the lines of its entries, gzip or not, as JSON), CSV a list of rows, JSON what
    it says, and anything else, or what is not what it claims to be, its text.
    """
    text = content.decode("utf-8", "replace")
    try:
        if kind.startswith("application/zip"):
            return _unzipped(content)
        return list(csv.reader(io.StringIO(text))) if kind.startswith("text/csv") else orjson.loads(content)
    except (zipfile.BadZipFile, gzip.BadGzipFile, orjson.JSONDecodeError):
        return text


def _unzipped(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        texts = [gzip.decompress(each) if each[:2] == _PACKED else each for each in map(archive.read, names)]
    return {"names": names, "lines": [orjson.loads(line) for text in texts for line in text.splitlines()]}


def basic(user: str, password: str) -> str:
    """The value of an ``Authorization`` header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
