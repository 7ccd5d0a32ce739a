"""Requests that a scenario makes itself, and what stands for something else in it."""

from __future__ import annotations

import base64
import gzip
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from scenarios import calling
from scenarios.variables import Unknown, filled, nowhere, pointed
from simulator.serving import Lab, serve


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def side(lab: Lab) -> dict[str, Any]:
    ready: dict[str, Any] = lab.create_tank({"id": "calling"})["amplitude"]
    return ready


def upload(key: str) -> dict[str, Any]:
    return {"api_key": key, "events": [{"user_id": "someone", "event_type": "a"}]}


def test_every_kind_of_content(side: dict[str, Any]) -> None:
    given = upload(side["api_key"])
    text = orjson.dumps(given).decode()
    packed = base64.b64encode(gzip.compress(text.encode())).decode()
    kinds: list[tuple[dict[str, Any], int]] = [
        ({"json": given}, len(text)),
        ({"body": text}, len(text)),
        ({"body": text, "pad": 1000}, 1000),
        ({"base64": packed, "headers": {"Content-Encoding": "gzip"}}, len(base64.b64decode(packed))),
    ]
    for content, size in kinds:
        answer = calling.call(side["url"], {"method": "POST", "path": "/2/httpapi", **content})
        assert answer["status"] == 200, answer
        assert answer["body"]["payload_size_bytes"] == size
    zipped = calling.call(side["url"], {"method": "POST", "path": "/batch", "json": given, "pad": 9000, "gzip": True})
    assert zipped["body"]["payload_size_bytes"] < 9000
    fields = {"api_key": side["api_key"], "identification": {"user_id": "someone"}}
    form = calling.call(side["url"], {"method": "POST", "path": "/identify", "form": fields})
    assert (form["status"], form["text"]) == (200, "success")


def test_queries_headers_and_whole_urls(side: dict[str, Any]) -> None:
    pair = {"Authorization": calling.basic(side["api_key"], side["secret_key"])}
    spec = {"path": "/api/2/usermap", "query": {"user_ids": ["user-a", "user-b"]}, "headers": pair}
    assert calling.call(side["url"], spec)["body"] == {"user-a": {}, "user-b": {}}
    whole = f"{side['url']}/api/2/usersearch"
    refused = calling.call("http://127.0.0.1:9", {"path": whole, "query": {"user": "x"}})
    assert (refused["status"], refused["text"]) == (403, "Invalid API Key")
    assert refused["headers"]["content-type"].startswith("text/html")


def test_answers_are_decoded_by_their_kind() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("1/a.json.gz", gzip.compress(b'{"n":1}\n{"n":2}\n'))
        archive.writestr("1/b.json.gz", gzip.compress(b'{"n":3}\n'))
        archive.writestr("1/c.txt", b'{"n":4}\n')
    whole = calling.decoded(packed.getvalue(), "application/zip")
    assert whole == {
        "names": ["1/a.json.gz", "1/b.json.gz", "1/c.txt"],
        "lines": [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}],
    }
    assert calling.decoded(b'"a","b"\n"1","x ""y"""\n', "text/csv; charset=utf-8") == [["a", "b"], ["1", 'x "y"']]
    assert calling.decoded(b'{"a":1}', "text/plain") == {"a": 1}
    assert calling.decoded(b"success", "text/html") == "success"
    assert calling.decoded(b"no zip", "application/zip") == "no zip"


def test_texts_that_stand_for_something_else() -> None:
    known = {"id": 7, "name": "a", "line": {"x": 1}}
    assert filled("${id}", 0, None, known) == 7
    assert filled("/users/${id}/${name}", 0, None, known) == "/users/7/a"
    assert filled({"${name}": ["${line}", "$now-5"]}, 100, None, known) == {"a": [{"x": 1}, 95]}
    assert filled({"$copies": 2, "of": {"id": "user-{n}"}}, 0) == [{"id": "user-0"}, {"id": "user-1"}]
    assert filled("$text:x:3", 0) == "xxx"
    assert filled("Hello {{${first_name}}}", 0) == "Hello {{${first_name}}}"  # Liquid, where nothing is known
    with pytest.raises(Unknown, match="nobody"):
        filled("${nobody}", 0, None, known)


@pytest.mark.parametrize(
    ("pointer", "found"),
    [("", {"a/b": [1, {"c": None}], "0": "zero"}), ("/a~1b/0", 1), ("/a~1b/-1/c", None), ("/0", "zero")],
)
def test_pointers(pointer: str, found: Any) -> None:
    assert pointed({"a/b": [1, {"c": None}], "0": "zero"}, pointer) == found


@pytest.mark.parametrize("pointer", ["/c", "/a/2", "/a/x", "/a/0/b"])
def test_pointers_to_nothing(pointer: str) -> None:
    assert nowhere(pointed({"a": [1, 2]}, pointer))
