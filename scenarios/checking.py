"""Checks a document against a published schema of ``schemas/`` and says in one line what does not fit."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import yaml
from jsonschema.exceptions import ValidationError, relevance

HERE = Path(__file__).parent


class Unusable(Exception):
    """Something the user gave cannot be used; the text is one line: what, where, how to mend it."""


@cache
def schema(name: str) -> dict[str, Any]:
    """The published schema ``schemas/{name}.schema.json``."""
    loaded: dict[str, Any] = json.loads((HERE / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    return loaded


@cache
def _fast(name: str, part: str | None) -> Any:
    return jsonschema_rs.Draft202012Validator(_part(name, part))


@cache
def _slow(name: str, part: str | None) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_part(name, part))


def _part(name: str, part: str | None) -> dict[str, Any]:
    whole = schema(name)
    if part is None:
        return whole
    return {"$schema": whole["$schema"], "$ref": f"#/$defs/{part}", "$defs": whole["$defs"]}


def misfit(document: Any, name: str, part: str | None = None) -> str | None:
    """What does not fit in ``document``, as ``where: what, how to mend it``; None when all fits.

    :param part: check against this member of the schema's ``$defs`` rather than the whole.
    """
    if _fast(name, part).is_valid(document):
        return None
    errors = list(_slow(name, part).iter_errors(document))
    if not errors:  # pragma: no cover - both validators read the same schema
        return "does not fit the schema"
    return _worded(_deepest(errors))


def _deepest(errors: Iterable[ValidationError]) -> ValidationError:
    error = max(errors, key=lambda each: (len(each.absolute_path), relevance(each)))
    while error.context:
        # Of alternatives, the one that agrees longest is what the author meant.
        branch = max(error.context, key=lambda each: (len(each.absolute_path), each.validator != "type"))
        if len(branch.absolute_path) <= len(error.absolute_path) and error.validator == "oneOf":
            return error
        error = branch
    return error


def _worded(error: ValidationError) -> str:
    where = ".".join(str(each) for each in error.absolute_path)
    place = f"{where}: " if where else ""
    value: Any = error.validator_value
    instance: Any = error.instance
    given = _short(instance)
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        known = list(error.schema.get("properties", {}))
        extra = sorted(str(each) for each in set(instance) - set(known))
        close = difflib.get_close_matches(extra[0], known, 1) if extra else []
        mend = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        return f"{place}{extra[0] if extra else given} is unknown, {mend}"
    if error.validator == "required" and isinstance(instance, dict):
        missing = [each for each in value if each not in instance]
        return f"{place}{', '.join(missing)} is missing, add it"
    if error.validator == "enum":
        return f"{place}{given} is unknown, use one of {', '.join(str(each) for each in value)}"
    if error.validator == "const":
        return f"{place}{given} does not fit, the only value is {json.dumps(value)}"
    if error.validator == "type":
        return f"{place}{given} is not of type {value}, change it"
    if error.validator == "oneOf" and value and all("required" in each for each in value):
        known = [each["required"][0] for each in value]
        return f"{place}{given} must hold exactly one of {', '.join(known)}"
    described = error.schema.get("description") if isinstance(error.schema, dict) else None
    if described:
        return f"{place}{given} does not fit, expected: {described}"
    return f"{place}{error.message}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _JsonLoader(_Base):  # type: ignore[misc]
    """Reads YAML as JSON would be: an unquoted instant stays text, `on` and `yes` stay text."""


def _plain(first: str, resolvers: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    kept = [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
    if first in "yYnNoO":
        kept = [each for each in kept if each[0] != "tag:yaml.org,2002:bool"]
    return kept


_JsonLoader.yaml_implicit_resolvers = {
    first: _plain(first, resolvers) for first, resolvers in _Base.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises Unusable that names file and line."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: cannot be read ({error}), give a readable UTF-8 file") from None
    try:
        return yaml.load(text, Loader=_JsonLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise Unusable(f"{path.name}{line}: {problem}, mend the YAML") from None
