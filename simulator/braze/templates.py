"""Message bodies: Liquid with Braze's own spelling of variables, its abort tag and Connected Content.

A body is rendered for one recipient; every field of a message is a template of its own. Source: Braze docs,
Personalization (supported tags); Aborting Liquid messages; Connected Content.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

import orjson
from liquid import BoundTemplate, Environment, Node, RenderContext, Tag
from liquid.exceptions import LiquidError
from liquid.stream import TokenStream
from liquid.token import TOKEN_EXPRESSION, TOKEN_TAG, Token

from simulator.braze.connected_content import CALLER, Caller, ConnectedContentTag

PROFILE = "braze_profile"
"""Where the variables of plain ``${name}`` live for templates."""

MAX_LOOPS = 10_000
MAX_OUTPUT_BYTES = 2_000_000

_MARKUP = re.compile(r"\{%.*?%\}|\{\{(?:\$\{[^}]*\}|.)*?\}\}", re.DOTALL)
_OWNED = re.compile(r"([A-Za-z_]\w*)\.\$\{([^}]*)\}")
_BARE = re.compile(r"\$\{([^}]*)\}")
_REASON = re.compile(r"\(\s*(?:'([^']*)'|\"([^\"]*)\")?\s*\)")


class Aborted(Exception):
    """The body says that this recipient gets no message. ``reason`` is the body's own, or empty."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def plain(source: str) -> str:
    """The body in standard Liquid: ``${name}`` and ``custom_attribute.${name}`` become lookups by name."""
    return _MARKUP.sub(lambda found: _plain(found.group()), source)


def _plain(markup: str) -> str:
    named = _OWNED.sub(lambda found: f"{found.group(1)}[{_quoted(found.group(2))}]", markup)
    return _BARE.sub(lambda found: f"{PROFILE}[{_quoted(found.group(1))}]", named)


def _quoted(name: str) -> str:
    name = name.strip()
    return f"'{name}'" if '"' in name else f'"{name}"'


class _AbortNode(Node):
    def __init__(self, token: Token, reason: str) -> None:
        super().__init__(token)
        self.reason = reason

    def render_to_output(self, _context: RenderContext, _buffer: TextIO) -> int:
        raise Aborted(self.reason)


class _AbortTag(Tag):
    """``{% abort_message('reason') %}``; the reason and the brackets may be left out."""

    name = "abort_message"
    block = False

    def parse(self, stream: TokenStream) -> Node:
        token = stream.eat(TOKEN_TAG)
        text = ""
        if stream.current.kind == TOKEN_EXPRESSION:
            text = stream.current.value.strip()
        found = _REASON.fullmatch(text)
        return _AbortNode(token, text if found is None else found.group(1) or found.group(2) or "")


class _Environment(Environment):
    loop_iteration_limit = MAX_LOOPS
    output_stream_limit = MAX_OUTPUT_BYTES


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


_FILTERS: Mapping[str, Callable[..., object]] = {
    "url_param_escape": lambda value: quote(_text(value), safe=""),
    "url_escape": lambda value: quote(_text(value), safe=":/?#[]@!$&'()*+,;=%"),
    "url_encode": lambda value: quote_plus(_text(value)),
    "json_escape": lambda value: orjson.dumps(_text(value)).decode()[1:-1],
    "property_accessor": lambda value, name: value.get(name, "") if isinstance(value, Mapping) else "",
    "md5": lambda value: hashlib.md5(_text(value).encode()).hexdigest(),
    "sha1": lambda value: hashlib.sha1(_text(value).encode()).hexdigest(),
    "sha2": lambda value: hashlib.sha256(_text(value).encode()).hexdigest(),
    "base64_encode": lambda value: base64.b64encode(_text(value).encode()).decode(),
}


@cache
def _environment() -> Environment:
    made = _Environment()
    for tag in (_AbortTag, ConnectedContentTag):
        made.add_tag(tag)
    for name, function in _FILTERS.items():
        made.add_filter(name, function)
    return made


@lru_cache(maxsize=512)
def _parsed(source: str) -> BoundTemplate:
    return _environment().from_string(plain(source))


def problem(source: str) -> str | None:
    """What keeps a body from being a template, None when it is one."""
    try:
        _parsed(source)
    except (LiquidError, ValueError) as error:
        return str(error).splitlines()[0][:200]
    return None


def calls_out(source: str) -> bool:
    """Whether rendering the body may make a request."""
    return "connected_content" in source


def render(source: str, variables: Mapping[str, Any], caller: Caller | None = None) -> str:
    """The body for one recipient. ``caller`` makes its Connected Content calls.

    Raises Aborted when the body says so, and when its Liquid fails, which is how Braze treats such a message
    (inferred); :class:`connected_content.Retry` when a call is to be made again later.
    """
    if "{" not in source:
        return source
    try:
        return _parsed(source).render({**variables, CALLER: caller})
    except (LiquidError, ValueError) as error:
        raise Aborted(f"Liquid: {str(error).splitlines()[0][:200]}") from None
