"""The ``connected_content`` tag: how a call is written in a message body, and what its answer leaves there.

Who makes the call is the caller's business (:mod:`connected_calls`): this module knows no network and no clock.
Source: Braze docs, Making an API call with Connected Content; Connected Content retries; Local caching.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

import orjson
from liquid import Node, RenderContext, Tag
from liquid.exceptions import LiquidSyntaxError
from liquid.stream import TokenStream
from liquid.token import TOKEN_EXPRESSION, TOKEN_TAG, Token

OPTIONS = (
    *("method", "headers", "body", "content_type", "save", "retry", "cache_max_age", "no_cache"),
    *("basic_auth", "auth_credentials"),
)
CALLER = "braze connected content"
"""Name of the caller in a template's variables; no template can spell it, for it has blanks."""

STATUS = "__http_status_code__"
DEFAULT_VARIABLE = "connected"
MIN_CACHE_S, MAX_CACHE_S, DEFAULT_CACHE_S = 300, 14_400, 300

_OPTION = re.compile(rf"\s:({'|'.join(OPTIONS)})(?=\s|$)")
_PAIR = re.compile(r"([^=&]*)=([^&]*)")
_NAME = re.compile(r"[A-Za-z_]\w*")


class Retry(Exception):
    """A call with ``:retry`` failed: the message is to be rendered again later."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Wanted:
    """One call as the body writes it. ``cache_s`` None asks for no cached answer."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    content_type: str | None = None
    retry: bool = False
    cache_s: int | None = DEFAULT_CACHE_S
    basic_auth: str | None = None
    auth_credentials: str | None = None


@dataclass(frozen=True)
class Got:
    """What came of a call: ``status`` None when no usable answer came. ``again`` says that a retry may help."""

    status: int | None
    text: str = ""
    again: bool = False
    problem: str = ""

    @property
    def usable(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Caller(Protocol):
    """Makes the calls of one rendering."""

    def call(self, wanted: Wanted) -> Got:
        """Make a call; never raises for what the network does."""


def split(text: str) -> tuple[str, dict[str, str]]:
    """The address and the options of a tag, texts as they are written. Raises ValueError."""
    found = list(_OPTION.finditer(text))
    if not found:
        return _address(text.strip()), {}
    starts = [match for match in found if not _inside(text, match.start())]
    if not starts:
        return _address(text.strip()), {}
    options = {}
    for match, after in zip(starts, [*starts[1:], None], strict=True):
        options[match.group(1)] = text[match.end() : None if after is None else after.start()].strip()
    return _address(text[: starts[0].start()].strip()), options


def _inside(text: str, at: int) -> bool:
    """Whether a place lies within quotes or braces, so that what looks like an option there is none."""
    depth, quote = 0, ""
    for index in range(at):
        char = text[index]
        if quote:
            quote = "" if char == quote and text[index - 1] != "\\" else quote
        elif char in "\"'" and depth:
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
    return depth > 0 or bool(quote)


def _address(text: str) -> str:
    if not text:
        raise ValueError("connected_content needs a URL")
    return text


def parsed_headers(text: str) -> dict[str, str]:
    """The ``:headers`` object: JSON of names and texts. Raises ValueError."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError(":headers takes a JSON object") from None
    if not isinstance(found, dict):
        raise ValueError(":headers takes a JSON object")
    return {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in found.items()}


def body_of(text: str, content_type: str) -> str:
    """The body as it is sent: ``a=b&c=d`` becomes an object when the content type is JSON."""
    if not text or "json" not in content_type or text.lstrip().startswith(("{", "[")):
        return text
    return orjson.dumps({name.strip(): value for name, value in _PAIR.findall(text)}).decode()


def cache_seconds(options: Mapping[str, str], method: str) -> int | None:
    """How long an answer may be kept: GET by default, POST only when asked; None means not at all."""
    if "no_cache" in options:
        return None
    if "cache_max_age" not in options:
        return DEFAULT_CACHE_S if method == "GET" else None
    text = options["cache_max_age"]
    asked = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else DEFAULT_CACHE_S
    return min(MAX_CACHE_S, max(MIN_CACHE_S, asked))


class ConnectedContentNode(Node):
    """A call within a template."""

    def __init__(self, token: Token, url: Any, options: Mapping[str, Any], flags: Mapping[str, str]) -> None:
        super().__init__(token)
        self.url = url
        self.options = options
        self.flags = flags

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        """Make the call; what it leaves is a variable, or text in its place."""
        texts = {name: _rendered(each, context) for name, each in self.options.items()}
        try:
            wanted = self._wanted(_rendered(self.url, context).strip(), texts)
        except ValueError as error:
            raise LiquidSyntaxError(str(error), token=self.token) from None
        caller = context.resolve(CALLER, default=None)
        got = Got(None, problem="no calls are made here") if caller is None else caller.call(wanted)
        name = self.flags.get("save")
        if not got.usable:
            if wanted.retry and got.again:
                raise Retry(f"{wanted.url.partition('?')[0]}: {got.problem or got.status}")
            context.assign(name or DEFAULT_VARIABLE, None)
            return 0
        try:
            value = orjson.loads(got.text)
        except orjson.JSONDecodeError:
            # Text is inserted; a name given for it holds it instead.
            if name is None:
                return buffer.write(got.text)
            context.assign(name, got.text)
            return 0
        context.assign(name or DEFAULT_VARIABLE, {**value, STATUS: got.status} if isinstance(value, dict) else value)
        return 0

    def _wanted(self, url: str, texts: Mapping[str, str]) -> Wanted:
        method = texts.get("method", "get").strip("\"'").upper()
        if method not in ("GET", "POST"):
            raise ValueError("connected_content makes GET and POST calls only")
        given_type = texts.get("content_type", "").strip("\"'") or None
        kind = given_type or ("application/json" if method == "GET" else "application/x-www-form-urlencoded")
        return Wanted(
            url,
            method,
            parsed_headers(texts["headers"]) if "headers" in texts else {},
            body_of(texts.get("body", ""), kind),
            given_type,
            "retry" in self.flags,
            cache_seconds({**self.flags, **texts}, method),
            texts.get("basic_auth"),
            texts.get("auth_credentials"),
        )


def _rendered(template: Any, context: RenderContext) -> str:
    """A part of the tag with its variables filled in, in the scope of the body around it."""
    buffer = io.StringIO()
    for node in template.nodes:
        node.render(context, buffer)
    return buffer.getvalue()


class ConnectedContentTag(Tag):
    """``{% connected_content URL :option value … %}``."""

    name = "connected_content"
    block = False

    def parse(self, stream: TokenStream) -> Node:
        token = stream.eat(TOKEN_TAG)
        text = stream.current.value if stream.current.kind == TOKEN_EXPRESSION else ""
        try:
            url, options = split(text)
        except ValueError as error:
            raise LiquidSyntaxError(str(error), token=token) from None
        flags = {name: value for name, value in options.items() if name in ("save", "retry", "no_cache")}
        if "save" in flags and not _NAME.fullmatch(flags["save"]):
            raise LiquidSyntaxError(":save takes a name", token=token)
        parts = {name: self.env.from_string(value) for name, value in options.items() if name not in flags}
        return ConnectedContentNode(token, self.env.from_string(url), parts, flags)
