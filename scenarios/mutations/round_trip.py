"""Mutants of the whole loop: it breaks somewhere, or it feeds itself."""

from __future__ import annotations

from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import instead, result

_CURRENTS = "connector.flows.currents"
_STREAM = "connector.flows.event_stream"
_SYNC = "connector.flows.cohort_sync"


def _everybody(original: Any) -> Any:
    from sqlalchemy import true

    return {**original, "partner_cohort": lambda *_: true()}


def _nameless_opens(made: Any, *_: Any) -> Any:
    if isinstance(made, dict) and made["event_type"].endswith("Email Open"):
        return {name: value for name, value in made.items() if name != "user_id"} | {"device_id": "somebody-else"}
    return made


def _any_event(found: Any, clause: Any, _now_ms: int) -> Any:
    return found[:2] if clause["type"] == "event" else found


MUTANTS = (
    Mutant("rnd-no-user", ("RND-001",), "custom events lose their user", f"{_CURRENTS}:identity",
           result(lambda found, *_: {"device_id": found.get("device_id", "somebody-else")})),
    Mutant("rnd-any-segment", ("RND-002",), "everybody is in every cohort", "simulator.braze.segment_filters:_FILTERS", _everybody),
    Mutant("rnd-no-profile", ("RND-003",), "no host may be called", "simulator.braze.connected_calls:mapped", instead(lambda *_: None)),
    Mutant("rnd-nameless-opens", ("RND-004",), "opens are told of somebody else", f"{_CURRENTS}:to_amplitude", result(_nameless_opens)),
    Mutant("rnd-streams-all", ("RND-005",), "the selection of the stream is ignored: events go round for ever", f"{_STREAM}:check_selected", instead(lambda *_: None)),
    Mutant("rnd-nobody-leaves", ("RND-006",), "exits are not sent: there is a message every day", f"{_SYNC}:CohortSync.items",
           lambda original: lambda self, added, _removed: original(self, added, iter(()))),
    Mutant("rnd-any-event-counts", ("RND-006",), "a cohort counts every event: each message keeps the person in it", "simulator.amplitude.definitions:events_of", result(_any_event)),
)  # fmt: skip
