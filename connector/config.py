"""Configuration: integration.yaml and the environment. Everything is checked before anything starts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema.exceptions import ValidationError, best_match

from connector import sections
from connector.sections import (
    CohortSyncConfig,
    ConfigError,
    CurrentsConfig,
    CustomerioConfig,
    PropertySyncConfig,
    StreamConfig,
    nearest,
)

FLOWS = ("currents", "event_stream", "cohort_sync", "property_sync", "customerio")
DEFAULT: Mapping[str, Any] = {
    "currents": {
        "amplitude": {"api_key": "${AMPLITUDE_API_KEY}", "region": "${AMPLITUDE_REGION}"},
        "events": "all",
    }
}


@dataclass(frozen=True)
class Config:
    """Everything the connector is told. A flow that is None is off."""

    port: int
    state_dir: Path
    clock_url: str | None
    currents_token: str = field(repr=False)
    currents: CurrentsConfig | None
    feed_token: str = field(default="", repr=False)
    event_stream: StreamConfig | None = None
    cohort_sync: CohortSyncConfig | None = None
    property_sync: PropertySyncConfig | None = None
    customerio: CustomerioConfig | None = None
    outbox_url: str | None = field(default=None, repr=False)
    """The PostgreSQL that holds the outboxes; None is a file for each in ``state_dir``."""


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of integration.yaml."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("integration.schema.json").read_bytes())
    return loaded


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def load(environ: Mapping[str, str]) -> Config:
    """Read the environment and the integration.yaml it names. Raises ConfigError."""
    port = environ.get("PORT", "9000")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"PORT: {port!r} is not a port: give a number from 1 to 65535")
    path = environ.get("WAVETANK_INTEGRATION")
    where = path or "environment"
    text = dict(DEFAULT) if not path else read(Path(path))
    integration = checked(filled(text, environ, where), where)
    return Config(
        int(port),
        Path(environ.get("WAVETANK_STATE_DIR") or ".wavetank-connector"),
        environ.get("WAVETANK_CLOCK_URL") or None,
        environ.get("CURRENTS_TOKEN", ""),
        sections.currents_flow(integration, environ, where),
        environ.get("AMPLITUDE_FEED_TOKEN", ""),
        sections.event_stream_flow(integration, where),
        sections.cohort_flow(integration, environ, where),
        sections.property_flow(integration, environ, where),
        sections.customerio_flow(integration, environ, where),
        _outbox_url(environ.get("CONNECTOR_OUTBOX", "")),
    )


def _outbox_url(given: str) -> str | None:
    if given and not given.startswith(("postgresql://", "postgres://")):
        raise ConfigError("CONNECTOR_OUTBOX: this is no URL of a PostgreSQL: write postgresql://USER@HOST/DATABASE")
    return given or None


def read(path: Path) -> dict[str, Any]:
    """An integration.yaml as written, ``${NAME}`` not yet filled in. Raises ConfigError."""
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise ConfigError(f"{path}: {problem}: name a file that can be read") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: this is not UTF-8 text: save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        raise ConfigError(f"{path}{line}: this is not YAML: {problem}: mend that line") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: the file holds no mapping: start with a section such as currents:")
    return loaded


def filled(value: Any, environ: Mapping[str, str], where: str) -> Any:
    """``value`` with every ``${NAME}`` taken from the environment. Raises ConfigError for one not set."""
    if isinstance(value, dict):
        return {key: filled(each, environ, f"{where}: {key}") for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, environ, where) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name == "AMPLITUDE_REGION":
            return environ.get(name, "").upper() or "US"
        if not environ.get(name):
            raise ConfigError(f"{where}: ${{{name}}} is not set: export {name} or write the value itself")
        return environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", replace, value)


def checked(integration: Any, where: str) -> dict[str, Any]:
    """The integration when it fits its schema. Raises ConfigError for the most telling misfit."""
    error = best_match(_validator().iter_errors(integration))
    if error is not None:
        raise ConfigError(f"{where}: {_place(error)}: {_in_words(error)}")
    return dict(integration)


def _place(error: ValidationError) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path]
    return "".join(parts).lstrip(".") or "top level"


def _in_words(error: ValidationError) -> str:
    instance: Any = error.instance
    wanted: Any = error.validator_value
    if error.validator == "additionalProperties":
        known = list(_mapping(error.schema).get("properties", {}))
        strange = next(str(key) for key in instance if key not in known)
        return f"{strange!r} is not known here: {nearest(strange, known)}"
    if error.validator == "required":
        missing = next(key for key in wanted if key not in instance)
        return f"{missing!r} is missing: add it"
    if error.validator == "enum":
        return f"{instance!r} does not fit: use one of {', '.join(map(str, wanted))}"
    if error.validator == "const":
        return f"{instance!r} does not fit: use {wanted} or a list"
    if error.validator == "minLength":
        return "this is empty: give it a value"
    if error.validator == "type":
        kinds = " or ".join(wanted) if isinstance(wanted, list) else wanted
        return f"this is not of type {kinds}: write one"
    return f"{error.message[:120]}: see connector/integration.schema.json"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
