"""Mutants: the same program with exactly one rule broken, by replacing one function before it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

Replacement = Callable[[Any], Any]
"""Takes the original function and answers the one in its place."""

CATALOGUES = ("identity", "mapping", "intake", "delivery", "trouble", "amplitude", "braze")
"""Modules of ``scenarios.mutants``; each holds a list ``MUTANTS``."""


@dataclass(frozen=True)
class Mutant:
    """One broken rule.

    :param target: the function that is replaced, ``module:function`` or ``module:Class.method``.
    :param where: ``connector`` breaks the connector's process, ``simulator`` the platforms.
    :param scenarios: scenarios to try first; all others of the rules follow.
    """

    id: str
    rules: tuple[str, ...]
    breaks: str
    target: str
    replacement: Replacement
    where: str = "connector"
    scenarios: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The mutant as reports show it."""
        return {"id": self.id, "rules": list(self.rules), "breaks": self.breaks, "target": self.target}


class NoSuchSeam(LookupError):
    """The target of a mutant is not there: the mutant has to follow the code."""


@cache
def catalogue() -> dict[str, Mutant]:
    """Every mutant by id. Raises ValueError when an id appears twice."""
    found: dict[str, Mutant] = {}
    for name in CATALOGUES:
        try:
            module = importlib.import_module(f"scenarios.mutants.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"scenarios.mutants.{name}":
                raise
            continue
        for mutant in module.MUTANTS:
            if mutant.id in found:
                raise ValueError(f"mutant {mutant.id} is there twice")
            found[mutant.id] = mutant
    return found


def find(mutant_id: str) -> Mutant:
    """The mutant of this id. Raises KeyError."""
    return catalogue()[mutant_id]


def apply(mutant: Mutant) -> Callable[[], None]:
    """Break the rule in this process; the answer mends it again. Raises NoSuchSeam."""
    return replace(mutant.target, mutant.replacement)


def replace(target: str, replacement: Replacement) -> Callable[[], None]:
    """Put ``replacement(original)`` in the place of ``target``, wherever modules have imported it by name."""
    holder, name = _holder(target)
    original = vars(holder)[name]
    plain = original.__func__ if isinstance(original, staticmethod | classmethod) else original
    changed = replacement(plain)
    places: list[tuple[Any, str]] = [(holder, name)]
    if isinstance(holder, ModuleType):
        places += _copies(original, holder)
    new = type(original)(changed) if isinstance(original, staticmethod | classmethod) else changed
    for place, attribute in places:
        setattr(place, attribute, new)

    def mend() -> None:
        for place, attribute in places:
            setattr(place, attribute, original)

    return mend


@contextmanager
def replaced(mutant: Mutant) -> Iterator[None]:
    """The rule is broken inside the block."""
    mend = apply(mutant)
    try:
        yield
    finally:
        mend()


def _holder(target: str) -> tuple[Any, str]:
    module_name, _, path = target.partition(":")
    try:
        holder: Any = importlib.import_module(module_name)
    except ImportError:
        raise NoSuchSeam(f"{target}: there is no module {module_name}") from None
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part, None)
    if holder is None or name not in vars(holder):
        raise NoSuchSeam(f"{target}: {module_name} has no {path}")
    return holder, name


def _copies(original: Any, holder: ModuleType) -> list[tuple[Any, str]]:
    package = holder.__name__.partition(".")[0]
    found: list[tuple[Any, str]] = []
    for name, module in list(sys.modules.items()):
        if module is holder or name.partition(".")[0] != package:
            continue
        found += [(module, key) for key, value in list(vars(module).items()) if value is original]
    return found


def seams_missing(mutants: Sequence[Mutant]) -> list[str]:
    """Which mutants have lost their target, in words."""
    lost = []
    for mutant in mutants:
        try:
            _holder(mutant.target)
        except NoSuchSeam as error:
            lost.append(f"{mutant.id}: {error}")
    return lost
