"""Mutants: a function is replaced everywhere it was imported, mended again, and every target is there."""

from __future__ import annotations

import json as json_module
from collections import Counter
from typing import Any

import pytest

from scenarios import matching, mutation, rulebook, traffic
from scenarios.mutation import Mutant, NoSuchSeam, apply, replaced


def test_a_function_is_replaced_wherever_it_was_imported_and_mended_again() -> None:
    before = matching.span
    mutant = Mutant(
        "m", ("CUR-001",), "words", "scenarios.matching:span", lambda original: lambda ms: f"<{original(ms)}>"
    )
    with replaced(mutant):
        assert matching.span(1500) == "<1s500ms>"
        assert traffic.span is matching.span
    assert matching.span is before
    assert traffic.span is before


def test_a_method_can_be_replaced() -> None:
    def shout(original: Any) -> Any:
        return lambda self: original(self).upper()

    mend = apply(Mutant("m", ("CUR-001",), "text", "scenarios.rulebook:Source.__str__", shout))
    source = rulebook.Source("docs", "limits", "2025")
    assert str(source) == "DOCS “LIMITS” (2025)"
    mend()
    assert str(source) == "docs “limits” (2025)"


@pytest.mark.parametrize(
    "target", ["scenarios.nowhere:f", "scenarios.matching:nothing", "scenarios.rulebook:Rule.gone"]
)
def test_a_lost_seam_is_named(target: str) -> None:
    with pytest.raises(NoSuchSeam, match=r"there is no module|has no"):
        apply(Mutant("m", ("CUR-001",), "", target, lambda original: original))


def test_every_mutant_has_its_seam_and_its_rules() -> None:
    mutants = list(mutation.catalogue().values())
    assert mutation.seams_missing(mutants) == []
    rules = rulebook.load()
    assert {rule for each in mutants for rule in each.rules} <= set(rules)


def test_every_must_rule_of_a_connector_has_a_mutant() -> None:
    broken = {rule for each in mutation.catalogue().values() for rule in each.rules}
    musts = {
        rule.id for rule in rulebook.load().values() if rule.level == "MUST" and rule.scope == "connector"
    }
    assert musts - broken == set()


def test_mutants_say_in_different_words_what_they_break() -> None:
    words = Counter(each.breaks for each in mutation.catalogue().values())
    assert [text for text, count in words.items() if count > 1 or not text] == []
    assert json_module.dumps([each.as_json() for each in mutation.catalogue().values()])
