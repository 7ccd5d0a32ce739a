"""Configuration: integration.yaml and the environment. Everything is checked before anything starts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import yaml
from jsonschema.exceptions import best_match

from connector.flows import currents

HOSTS = {"US": "https://api2.amplitude.com", "EU": "https://api.eu.amplitude.com"}
DEFAULT: Mapping[str, Any] = {
    "currents": {"amplitude": {"api_key": "${AMPLITUDE_API_KEY}", "region": "${AMPLITUDE_REGION}"}, "events": "all"}
}


class ConfigError(ValueError):
    """The configuration cannot be used: one line that says what is wrong, where, and how to mend it."""


@dataclass(frozen=True)
class CurrentsConfig:
    """The Currents flow. ``selection`` None is all events."""

    url: str
    api_key: str
    selection: frozenset[str] | None


@dataclass(frozen=True)
class Config:
    """Everything the connector is told. ``currents`` None: the flow is off."""

    port: int
    state_dir: Path
    clock_url: str | None
    currents_token: str
    currents: CurrentsConfig | None


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of integration.yaml."""
    loaded: dict[str, Any] = orjson.loads(Path(__file__).with_name("integration.schema.json").read_bytes())
    return loaded


def load(environ: Mapping[str, str]) -> Config:
    """Read the environment and the integration.yaml it names. Raises ConfigError."""
    port = environ.get("PORT", "9000")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"PORT: {port!r} is not a port: give a number from 1 to 65535")
    path = environ.get("WAVETANK_INTEGRATION")
    text = dict(DEFAULT) if not path else read(Path(path))
    integration = checked(_filled(text, environ, path or "environment"), path or "environment")
    return Config(
        int(port),
        Path(environ.get("WAVETANK_STATE_DIR") or ".wavetank-connector"),
        environ.get("WAVETANK_CLOCK_URL") or None,
        environ.get("CURRENTS_TOKEN", ""),
        _currents(integration.get("currents"), environ),
    )


def read(path: Path) -> dict[str, Any]:
    """An integration.yaml as written, ``${NAME}`` not yet filled in. Raises ConfigError."""
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}: name a file that can be read") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise ConfigError(f"{path}{line}: this is not YAML: {getattr(error, 'problem', error)}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: the file holds no mapping: start with a section such as currents:")
    return loaded


def _filled(value: Any, environ: Mapping[str, str], where: str) -> Any:
    """``value`` with every ``${NAME}`` taken from the environment."""
    if isinstance(value, dict):
        return {key: _filled(each, environ, f"{where}: {key}") for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, environ, where) for each in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name == "AMPLITUDE_REGION":
            return environ.get(name, "US").upper()
        if name not in environ:
            raise ConfigError(f"{where}: ${{{name}}} is not set: export {name} or write the value itself")
        return environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", replace, value)


def checked(integration: Any, where: str) -> dict[str, Any]:
    """The integration when it fits its schema. Raises ConfigError."""
    error = best_match(jsonschema.Draft202012Validator(schema()).iter_errors(integration))
    if error is not None:
        place = ".".join(str(each) for each in error.path) or "the file"
        raise ConfigError(f"{where}: {place}: {error.message}: see connector/integration.schema.json")
    for name in _selection(integration.get("currents", {}).get("events", "all")) or ():
        if not currents.known_event(name):
            raise ConfigError(
                f"{where}: currents.events: {name!r} is not an event Braze exports: use a name like Email Open, or all"
            )
    return dict(integration)


def _selection(events: Any) -> frozenset[str] | None:
    return None if events == "all" else frozenset(events)


def _currents(section: Mapping[str, Any] | None, environ: Mapping[str, str]) -> CurrentsConfig | None:
    if section is None:
        return None
    amplitude = section["amplitude"]
    region = str(amplitude.get("region", "US")).upper()
    return CurrentsConfig(
        (environ.get("AMPLITUDE_URL") or HOSTS[region]).rstrip("/"),
        amplitude["api_key"],
        _selection(section.get("events", "all")),
    )
