"""Named settings: every reading that no document decides, with its default and its source.

Each platform declares its own in ``settings.yaml`` beside its code; a tank may override any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


@dataclass(frozen=True)
class Setting:
    """One named setting: ``text`` says what it decides, ``source`` where the reading comes from."""

    name: str
    default: Any
    type: str
    text: str
    source: str
    enum: tuple[Any, ...] = ()


@cache
def declared() -> Mapping[str, Setting]:
    """All settings by name, gathered from the ``settings.yaml`` files of the simulator."""
    found: dict[str, Setting] = {}
    for path in sorted(Path(__file__).parent.rglob("settings.yaml")):
        for name, entry in (yaml.safe_load(path.read_text("utf-8")) or {}).items():
            found[name] = Setting(
                name,
                entry["default"],
                entry["type"],
                entry["text"],
                entry["source"],
                tuple(entry.get("enum", ())),
            )
    return found


def check(overrides: Mapping[str, Any]) -> None:
    """Raise ValueError, in one line, when a name is unknown or a value does not fit."""
    for name, value in overrides.items():
        setting = declared().get(name)
        if setting is None:
            raise ValueError(f"setting {name!r} is unknown: see GET /settings for the names")
        wrong_bool = isinstance(value, bool) and setting.type != "boolean"
        if wrong_bool or not isinstance(value, _TYPES[setting.type]):
            raise ValueError(f"setting {name!r} takes {setting.type}, not {value!r}")
        if setting.enum and value not in setting.enum:
            raise ValueError(f"setting {name!r} takes one of {list(setting.enum)}, not {value!r}")


class Settings(Mapping[str, Any]):
    """A tank's settings: the declared defaults under the tank's overrides."""

    def __init__(self, overrides: Mapping[str, Any]) -> None:
        self.overrides = dict(overrides)

    def __getitem__(self, name: str) -> Any:
        if name in self.overrides:
            return self.overrides[name]
        return declared()[name].default

    def __iter__(self) -> Any:
        return iter(declared())

    def __len__(self) -> int:
        return len(declared())
