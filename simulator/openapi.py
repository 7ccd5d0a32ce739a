"""OpenAPI documents of the ports, built from the same route tables and schema files that decide."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson

CONTRACTS = Path(__file__).parent / "contracts"


@dataclass(frozen=True)
class Operation:
    """One published operation. ``path`` is a Flask rule; ``responses`` maps status to its text and schema."""

    method: str
    path: str
    name: str
    responses: Mapping[int, tuple[str, Mapping[str, Any] | None]]
    request_schema: Mapping[str, Any] | None = None
    request_type: str = "application/json"
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    path_schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs_body: bool = True
    produces: tuple[str, ...] = ("application/json",)


@cache
def contract(name: str) -> dict[str, Any]:
    """A JSON Schema file of ``simulator/contracts`` by file name (``.json`` may be left out)."""
    path = CONTRACTS / (name if name.endswith(".json") else f"{name}.json")
    loaded: dict[str, Any] = orjson.loads(path.read_bytes())
    return loaded


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its local references resolved in place, so that it can stand inside the document."""
    definitions = schema.get("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/$defs/"):
                rest = {key: value for key, value in node.items() if key != "$ref"}
                return {**resolve(definitions[reference.removeprefix("#/$defs/")]), **resolve(rest)}
            return {key: resolve(value) for key, value in node.items() if key not in ("$defs", "$schema", "$id")}
        return [resolve(each) for each in node] if isinstance(node, list) else node

    resolved: dict[str, Any] = resolve(dict(schema))
    return resolved


def document(title: str, operations: Iterable[Operation], absent: Iterable[str] = ()) -> dict[str, Any]:
    """The OpenAPI 3.1 document of ``operations``.

    ``absent`` names endpoints that the vendor documents and that answer 501 here; they are listed apart, under
    ``x-not-simulated``, because nothing can be promised about them.
    """
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", each.path)
        parameters = [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": dict(each.path_schemas.get(name, {"type": "string"})),
            }
            for name in re.findall(r"{(\w+)}", path)
        ]
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": dict(schema)}
            for name, schema in each.query.items()
        ]
        operation: dict[str, Any] = {
            "summary": each.name,
            "operationId": f"{each.method.lower()}{re.sub('[^A-Za-z0-9]+', '_', path)}",
            "responses": {
                str(status): _response(text, schema, each.produces)
                for status, (text, schema) in sorted(each.responses.items())
            },
        }
        if parameters:
            operation["parameters"] = parameters
        if each.request_schema is not None:
            operation["requestBody"] = {
                "required": each.needs_body,
                "content": {each.request_type: {"schema": _inlined(each.request_schema)}},
            }
        paths.setdefault(path, {})[each.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": paths,
        "x-not-simulated": sorted(absent),
    }


def _response(text: str, schema: Mapping[str, Any] | None, produces: Iterable[str]) -> dict[str, Any]:
    if schema is None:
        return {"description": text}
    return {"description": text, "content": {kind: {"schema": _inlined(schema)} for kind in produces}}
