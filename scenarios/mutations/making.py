"""What most mutants are made of: other settings, other arguments, other results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

SETTINGS = "simulator.settings:declared"
"""The target of :func:`setting`."""


def setting(name: str, value: Any) -> Callable[[Any], Any]:
    """The named setting has another default."""

    def make(original: Any) -> Any:
        found = {**original(), name: replace(original()[name], default=value)}
        return lambda: found

    return make


def result(change: Callable[..., Any]) -> Callable[[Any], Any]:
    """What the original answers is changed; ``change`` gets it, and then the arguments."""
    return lambda original: lambda *args, **more: change(original(*args, **more), *args, **more)


def arguments(change: Callable[..., Any]) -> Callable[[Any], Any]:
    """The original gets other arguments: those that ``change`` makes of its own."""
    return lambda original: lambda *args: original(*change(*args))


def instead(value: Any) -> Callable[[Any], Any]:
    """Something else stands in the original's place: a constant, a table or a function."""
    return lambda _original: value


def answer(**members: Any) -> Callable[[Any], Any]:
    """An answer (:class:`simulator.exchange.Answer`) with other members: status, body, headers, …"""
    return result(lambda found, *_args, **_more: replace(found, **members))
