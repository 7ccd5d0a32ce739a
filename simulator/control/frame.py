"""What every control route is made of, and how its input is checked and its errors told."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match

from simulator.control.desk import Desk
from simulator.openapi import contract
from simulator.tank import Tank


class Refused(Exception):
    """A request that cannot be done: what is wrong, where, and how to mend it."""

    def __init__(self, what: str, where: str, mend: str, status: int = 400) -> None:
        super().__init__(what)
        self.status = status
        self.error = {"what": what, "where": where, "mend": mend}


@dataclass(frozen=True)
class Ask:
    """A checked request: ``tank`` is set on routes below ``/tanks/{tank_id}``."""

    desk: Desk
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any
    _tank: Tank | None = None

    @property
    def tank(self) -> Tank:
        assert self._tank is not None
        return self._tank


Handler = Callable[[Ask], tuple[int, Any]]
"""Answers ``(status, body)``; body None is an empty answer."""


@dataclass(frozen=True)
class ControlRoute:
    """One control operation. ``schema`` names a definition of ``contracts/control.json``."""

    method: str
    path: str
    name: str
    handle: Handler
    responses: Mapping[int, str]
    schema: str | None = None
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs_body: bool = True
    open: bool = False
    """Whether it answers without the token: health and the clock, which connectors ask."""


@cache
def body_schema(name: str) -> dict[str, Any]:
    """The schema of one kind of body, whole."""
    return {**contract("control"), "$ref": f"#/$defs/{name}"}


def _is_integer(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# 5.0 is an integer to JSON Schema, and no use as a count.
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


@cache
def _validator(name: str) -> Any:
    return _Validator(body_schema(name))


def check_body(name: str, body: Any) -> None:
    """Raise Refused, in words, when ``body`` does not fit the schema ``name``."""
    error = best_match(_validator(name).iter_errors(body))
    if error is not None:
        where = "body" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in error.path)
        what = error.message if len(error.message) <= 300 else error.message[:297] + "..."
        raise Refused(what, where, f"GET /openapi.json shows the schema ({name})")


def check_query(route: ControlRoute, given: Mapping[str, str]) -> dict[str, Any]:
    """The query parameters by name, converted; Refused names the first that does not fit."""
    values: dict[str, Any] = {}
    for name, text in given.items():
        schema = route.query.get(name)
        if schema is None:
            known = ", ".join(route.query) or "none"
            raise Refused(f"query parameter {name!r} is unknown", f"query.{name}", f"known here: {known}")
        value: Any = text
        if schema.get("type") == "integer":
            if not re.fullmatch(r"-?[0-9]{1,18}", text):
                raise Refused(f"{text!r} is not an integer", f"query.{name}", "give digits")
            value = int(text)
        error = best_match(jsonschema.Draft202012Validator(dict(schema)).iter_errors(value))
        if error is not None:
            raise Refused(error.message, f"query.{name}", "GET /openapi.json shows what fits")
        values[name] = value
    return values
