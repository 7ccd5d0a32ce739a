"""Query parameters of Braze's GET endpoints: read, checked and handed to the handler as its body would be.

Source: Braze docs, Export endpoints; Subscription groups; Email lists. The words of a refusal are inferred.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simulator.braze import dates
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body, JsonHandler, Served
from simulator.exchange import Answer, Call

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``read`` makes the value of its text, None refuses it; ``many`` takes it several times, as
    ``name`` or ``name[]``, and hands over a list."""

    name: str
    read: Callable[[str], Any] = lambda text: text or None
    default: Any = None
    required: bool = False
    many: bool = False


def natural(least: int, most: int) -> Callable[[str], int | None]:
    """A whole number from ``least`` to ``most``."""

    def read(text: str) -> int | None:
        fits = re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most
        return int(text) if fits else None

    return read


def one_of(*words: str) -> Callable[[str], str | None]:
    """One of so many words."""
    return lambda text: text if text in words else None


def day(text: str) -> int | None:
    """``YYYY-MM-DD`` as ms of its midnight in UTC."""
    return dates.parse(text) if _DAY.fullmatch(text) else None


def instant(text: str) -> int | None:
    """A date-time as ms; a ``+`` of its offset may have become a space on the way."""
    return dates.instant(re.sub(r" (?=\d\d:?\d\d$)", "+", text.strip()))


PAGE = Parameter("page", natural(0, 10**8), 0)
SORT = Parameter("sort_direction", one_of("asc", "desc"))
LENGTH = Parameter("length", natural(1, 100), required=True)
ENDING_AT = Parameter("ending_at", instant)
UNIT = Parameter("unit", one_of("day", "hour"), "day")
APP = Parameter("app_id")


@dataclass(frozen=True)
class Asking:
    """A handler of a GET endpoint with its parameters; called like any other handler."""

    handle: JsonHandler
    parameters: tuple[Parameter, ...]

    def __call__(self, call: Call, _body: Body) -> Answer:
        asked: dict[str, Any] = {}
        for each in self.parameters:
            texts = [*call.request.query.get(each.name, ()), *call.request.query.get(f"{each.name}[]", ())]
            if not texts:
                if each.required:
                    return refuse("parameter_missing", field=each.name)
                asked[each.name] = [] if each.many else each.default
                continue
            values = [each.read(text) for text in texts]
            if None in values:
                return refuse("parameter_invalid", field=each.name)
            asked[each.name] = values if each.many else values[-1]
        return self.handle(call, asked)


def asking(handle: Callable[[Call, Mapping[str, Any]], Answer], *parameters: Parameter) -> Served:
    """The row of a GET endpoint for the table of handlers."""
    return Asking(handle, parameters), None, 200
