"""Load profiles: the YAML files in ``profiles/``, or one of the user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from loadtests.timetable import Stage, Timetable

FOLDER = Path(__file__).parent / "profiles"


class BadProfile(ValueError):
    """A profile that cannot be used: one line, what is wrong, where, how to mend it."""


@dataclass(frozen=True)
class Group:
    """Requests of one kind: ``events`` objects each, about ``people`` persons, at the rates of ``stages``."""

    name: str
    path: str
    stages: tuple[Stage, ...]
    users: int = 4
    events: int = 100
    people: int = 1000
    one_device: bool = False
    retry_s: float = 2.0
    on_429: str = "pause"

    @property
    def timetable(self) -> Timetable:
        return Timetable(self.stages)


@dataclass(frozen=True)
class Threshold:
    """What a measure of the run must be; ``because`` and ``source`` are shown when it is not."""

    measure: str
    group: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    because: str = ""
    source: str = ""


@dataclass(frozen=True)
class Profile:
    """A whole profile; spans are in seconds of tank time."""

    id: str
    title: str
    into: str
    groups: tuple[Group, ...]
    expect: tuple[Threshold, ...]
    about: str = ""
    source: tuple[str, ...] = ()
    tank: Mapping[str, Any] = field(default_factory=dict)
    integration: Mapping[str, Any] = field(default_factory=dict)
    used_today: tuple[Mapping[str, Any], ...] = ()
    trouble: tuple[Mapping[str, Any], ...] = ()
    held: tuple[str, ...] = ()
    patience: float = 120.0

    @property
    def seconds(self) -> float:
        """How long requests come due."""
        return max(group.timetable.seconds for group in self.groups)

    @property
    def flows(self) -> set[str]:
        """The flows that a connector needs for it."""
        return {each.path for each in self.groups if each.path in ("currents", "customerio")}


@cache
def _validator() -> Any:
    schema = json.loads((Path(__file__).parent / "profile.schema.json").read_text("utf-8"))
    return jsonschema.Draft202012Validator(schema)


def names() -> list[str]:
    """The profiles that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Profile:
    """A profile by name, or by the path of a YAML file. Raises BadProfile."""
    path = FOLDER / f"{name}.yaml"
    if not path.exists():
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            raise BadProfile(f"profile {name!r} does not exist: choose {', '.join(names())}, or give a YAML file")
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise BadProfile(f"{path}: {error.strerror}: name a file that can be read") from None
    except yaml.YAMLError as error:
        raise BadProfile(f"{path}: this is no YAML: {str(error).splitlines()[0]}") from None
    return read(path.stem, found)


def read(profile_id: str, spec: Any) -> Profile:
    """Check and read a loaded profile. Raises BadProfile."""
    errors = sorted(_validator().iter_errors(spec), key=lambda each: list(map(str, each.path)))
    if errors:
        where = "/".join(map(str, errors[0].path)) or "the whole profile"
        raise BadProfile(f"profile {profile_id}: {where}: {errors[0].message}")
    groups = tuple(_group(each) for each in spec["groups"])
    known = {each.name for each in groups}
    if len(known) < len(groups):
        raise BadProfile(f"profile {profile_id}: groups: two groups have the same name: give each its own")
    expect = tuple(Threshold(**each) for each in spec["expect"])
    for where, name in [("expect", each.group) for each in expect] + [("held", each) for each in spec.get("held", ())]:
        if name is not None and name not in known:
            raise BadProfile(f"profile {profile_id}: {where}: there is no group {name!r}: name one of {sorted(known)}")
    feeds = {"currents", "customerio"}
    wrong = [each.name for each in groups if (each.path in feeds) != (spec["into"] == "connector")]
    if wrong:
        raise BadProfile(f"profile {profile_id}: group {wrong[0]}: its path does not lead into {spec['into']}")
    lists: dict[str, Any] = {key: tuple(spec.get(key, ())) for key in ("source", "used_today", "trouble", "held")}
    rest = {k: spec[k] for k in ("about", "tank", "integration", "patience") if k in spec}
    return Profile(profile_id, spec["title"], spec["into"], groups, expect, **lists, **rest)


def _group(spec: Mapping[str, Any]) -> Group:
    stages = tuple(
        Stage(each["for"], each.get("from", each.get("rate", 0)), each.get("to", each.get("rate", 0)))
        for each in spec["stages"]
    )
    return Group(**{**spec, "stages": stages})
