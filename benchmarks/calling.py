"""Requests to a platform's app without sockets: what is measured is the app and its store, hardly the client."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any


def post(app: Callable[..., Any], path: str, body: bytes, bearer: str | None = None) -> int:
    """POST a JSON body to a WSGI app; the status."""
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if bearer is not None:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {bearer}"
    answer = app(environ, lambda status, _headers, _error=None: statuses.append(status))
    for _ in answer:
        pass
    close = getattr(answer, "close", None)
    if close is not None:
        close()
    return int(statuses[0][:3])
