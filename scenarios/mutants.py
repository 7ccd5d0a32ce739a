"""Mutants: the reference connector, or the simulator, with exactly one rule broken.

A mutant replaces one function or table of ``connector`` (in a connector's own process) or of ``simulator`` (in the
worker process that plays it, where a lab is then made of the broken parts). Each proves that the scenarios of its
rules can fail.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from scenarios import mutations


@dataclass(frozen=True)
class Mutant:
    """``target`` is ``module:attribute`` (dots inside the attribute for methods); ``make`` gets the original and
    answers the replacement."""

    id: str
    rules: tuple[str, ...]
    text: str
    target: str
    make: Callable[[Any], Any]

    @property
    def side(self) -> str:
        """Which package is broken: ``connector`` or ``simulator``."""
        return self.target.partition(".")[0]

    def original(self) -> Any:
        """What it breaks, as it is."""
        holder, name, _ = _find(self.target)
        return inspect.getattr_static(holder, name)

    def resolves(self) -> bool:
        """Whether what it breaks is there."""
        try:
            _find(self.target)
        except (ImportError, AttributeError):
            return False
        return True


@cache
def mutants() -> Mapping[str, Mutant]:
    """All mutants by id: those of every module of :mod:`scenarios.mutations`, in order of their names."""
    names = sorted(each.name for each in pkgutil.iter_modules(mutations.__path__))
    modules = [importlib.import_module(f"{mutations.__name__}.{name}") for name in names]
    found: dict[str, Mutant] = {}
    for each in (each for module in modules for each in getattr(module, "MUTANTS", ())):
        if each.id in found:
            raise ValueError(f"two mutants are called {each.id}: one of them would never be tried")
        found[each.id] = each
    return found


def find(mutant_id: str) -> Mutant:
    """A mutant by id. Raises KeyError."""
    return mutants()[mutant_id]


def apply(mutant_id: str) -> Callable[[], None]:
    """Break the rule in this process; answers what mends it again."""
    mutant = find(mutant_id)
    holder, name, original = _find(mutant.target)
    setattr(holder, name, mutant.make(original))
    return lambda: setattr(holder, name, original)


def _find(target: str) -> tuple[Any, str, Any]:
    module_name, _, path = target.partition(":")
    holder: Any = importlib.import_module(module_name)
    *outer, name = path.split(".")
    for part in outer:
        holder = getattr(holder, part)
    return holder, name, getattr(holder, name)
