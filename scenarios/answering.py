"""Judging the answers to a scenario's own requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scenarios.comparing import fits, holds
from scenarios.control import View
from scenarios.variables import nowhere, pointed
from scenarios.verdict import Failure


def status_fits(wanted: Any, status: int | None) -> bool:
    """Whether a status is ``wanted``: a number, a class such as ``"4xx"``, or a list of them."""
    if isinstance(wanted, list):
        return any(status_fits(each, status) for each in wanted)
    if isinstance(wanted, str):
        return status is not None and f"{status // 100}xx" == wanted
    return bool(wanted == status)


def answers(spec: Mapping[str, Any], view: View) -> list[Failure]:
    """What is not as ``spec`` wants it: status, body, text, headers, and places in the body."""
    if not view.answers:
        return [Failure("the scenario has sent no request of its own", spec, None)]
    return [failure for each in view.answers for failure in _answer(spec, each)][:3]


def _answer(spec: Mapping[str, Any], each: Mapping[str, Any]) -> list[Failure]:
    body = each["body"]
    failures = []
    if "status" in spec and not status_fits(spec["status"], each["status"]):
        failures.append(Failure("status of the answer", spec["status"], {"status": each["status"], "body": body}))
    if "body" in spec and not holds(spec["body"], body):
        failures.append(Failure("body of the answer", spec["body"], body))
    if "text" in spec and not holds(spec["text"], each["text"]):
        failures.append(Failure("text of the answer", spec["text"], each["text"][:2000]))
    for name, wanted in spec.get("headers", {}).items():
        found = each["headers"].get(name.lower())
        if not holds(wanted, found):
            failures.append(Failure(f"header {name} of the answer", wanted, found))
    for pointer, wanted in spec.get("at", {}).items():
        found = pointed(body, pointer)
        if nowhere(found) or not holds(wanted, found):
            failures.append(Failure(f"{pointer} of the answer", wanted, body if nowhere(found) else found))
    failures += [
        Failure(f"{pointer} has no place in the answer", None, pointed(body, pointer))
        for pointer in spec.get("absent", ())
        if not nowhere(pointed(body, pointer))
    ]
    for pointer, wanted in spec.get("count", {}).items():
        found = pointed(body, pointer)
        if not isinstance(found, Mapping | list) or not fits(wanted, len(found)):
            failures.append(Failure(f"members of {pointer} of the answer", wanted, body if nowhere(found) else found))
    return failures
