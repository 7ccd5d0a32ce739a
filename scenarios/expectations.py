"""Expectations: pure functions from an expectation and a read-back to what is wrong, if anything.

What is compared comes from the scenario files, which are written from the documents; nothing here knows what
an integration does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from scenarios import traffic
from scenarios.matching import (
    MISSING,
    differences,
    first_lines,
    fits,
    holds,
    member,
    pick,
    shown,
    status_fits,
    worded,
)
from scenarios.packs import EXPECTATION_NOTES, kind
from scenarios.readback import Answer, Reading

AT_LEAST_ONE = {"at_least": 1}


@dataclass(frozen=True)
class Failure:
    """An expectation that does not hold: which one, why it is expected, and the differences line by line."""

    expectation: str
    because: str | None
    diff: tuple[str, ...]
    rules: tuple[str, ...] = ()


def judge(expectation: Mapping[str, Any], reading: Reading, rules: tuple[str, ...] = ()) -> Failure | None:
    """None when the expectation holds."""
    name = kind(expectation)
    lines = CHECKS[name](expectation[name], reading)
    if not lines:
        return None
    text = json.dumps(
        {key: value for key, value in expectation.items() if key not in EXPECTATION_NOTES}, ensure_ascii=False
    )
    return Failure(
        text if len(text) <= 500 else text[:480] + "…",
        expectation.get("because"),
        tuple(first_lines(lines)),
        rules,
    )


def amplitude_events(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Stored events: how many match, and what each must and must not hold."""
    where = wanted.get("where", {})
    found = [each for each in reading.events if holds(each, where)]
    lines = _counted(wanted, found, "stored events", where)
    if lines and not found and reading.events:
        kinds = Counter(str(each.get("event_type")) for each in reading.events)
        lines.append(f"stored are: {', '.join(f'{n}× {name}' for name, n in kinds.most_common(8))}")
    if "ids" in wanted:
        lines += _ids(wanted["ids"], [str(each.get("insert_id")) for each in found])
    for record in found:
        lines += _each(wanted, record, f"event {record.get('insert_id')}")
    return lines


def _counted(
    wanted: Mapping[str, Any], found: Sequence[Any], what: str, where: Mapping[str, Any]
) -> list[str]:
    default: Any = AT_LEAST_ONE
    if "ids" in wanted:
        default = {"at_least": 0}
    amount = wanted.get("count", default)
    if fits(amount, len(found)):
        return []
    suffix = f" where {shown(where)}" if where else ""
    return [f"{what}{suffix}: expected {worded(amount)}, received {len(found)}"]


def _ids(wanted: Sequence[str], received: Sequence[str]) -> list[str]:
    missing = Counter(wanted) - Counter(received)
    extra = Counter(received) - Counter(wanted)
    lines = [f"insert_id {each}: expected, not received" for each in sorted(missing.elements())]
    return lines + [f"insert_id {each}: received, not expected" for each in sorted(extra.elements())]


def _each(wanted: Mapping[str, Any], record: Mapping[str, Any], name: str) -> list[str]:
    lines: list[str] = []
    for path, value in wanted.get("equal", {}).items():
        lines += differences(value, member(record, path), path, whole=False)
    for path, value in wanted.get("exactly", {}).items():
        lines += differences(value, member(record, path), path, whole=True)
    for path in wanted.get("absent", ()):
        received = member(record, path)
        if received is not MISSING and received is not None:
            lines.append(f"{path}: expected (absent), received {shown(received)}")
    return [f"{name}: {line}" for line in lines]


def ledger(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Totals by end, the reasons named, and always that the totals add up."""
    totals = reading.ledger["totals"]
    lines = [
        f"{name}: expected {worded(amount)}, received {totals.get(name)}"
        for name, amount in wanted.items()
        if name != "reasons" and not fits(amount, totals.get(name, 0))
    ]
    reasons: Mapping[str, int] = totals.get("reasons", {})
    for pattern, amount in wanted.get("reasons", {}).items():
        count = sum(n for reason, n in reasons.items() if reason == pattern or fnmatchcase(reason, pattern))
        if not fits(amount, count):
            lines.append(f"reason {pattern!r}: expected {worded(amount)}, received {count}")
    if not totals.get("balanced"):
        lines.append(f"the ledger does not add up: {totals.get('mismatch', shown(totals))}")
    if lines and reasons:
        lines.append(f"reasons: {shown(reasons)}")
    return lines


def answers(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Remembered answers of posts and checks."""
    name = wanted.get("of")
    found: list[Answer] = [each for each in reading.answers if name is None or each.name == name]
    if "count" in wanted and not fits(wanted["count"], len(found)):
        return [f"answers: expected {worded(wanted['count'])}, received {len(found)}"]
    if not found:
        return [f"no answer{f' named {name}' if name else ''} was remembered"]
    which = wanted.get("which", "all")
    if which != "all":
        found = [found[0] if which == "first" else found[-1]]
    lines: list[str] = []
    for number, answer in enumerate(found):
        place = f"answer {number + 1}" if len(found) > 1 else "answer"
        if "status" in wanted and not status_fits(wanted["status"], answer.status):
            status = "none" if answer.status is None else answer.status
            lines.append(
                f"{place} status: expected {shown(wanted['status'])}, received {status} {answer.body[:200]}"
            )
        if "body" in wanted:
            lines += _body(wanted["body"], answer.body, f"{place} body")
        lines += traffic.headers(wanted.get("headers", {}), answer.headers, place)
    return lines


def _body(wanted: Any, text: str, name: str) -> list[str]:
    if isinstance(wanted, str):
        return [] if wanted == text else [f"{name}: expected {shown(wanted)}, received {shown(text)}"]
    try:
        received = json.loads(text)
    except ValueError:
        return [f"{name}: expected JSON, received {shown(text)}"]
    return differences(wanted, received, name, whole=False)


def feed(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """State of the platform's feed."""
    state = reading.feed
    lines = []
    if "status" in wanted and state.get("status") != wanted["status"]:
        lines.append(f"feed status: expected {wanted['status']}, received {state.get('status')}")
    for name, amount in wanted.get("counters", {}).items():
        value = pick(state, f"counters.{name}")
        if value is MISSING or not fits(amount, value):
            lines.append(f"feed counter {name}: expected {worded(amount)}, received {shown(value)}")
    if "pending" in wanted:
        queues = state.get("queues", {})
        waiting = sum(int(each.get("pending", 0)) for each in queues.values())
        if not fits(wanted["pending"], waiting):
            lines.append(f"feed pending: expected {worded(wanted['pending'])}, received {waiting}")
    return lines


def users(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Amplitude's users."""
    where = wanted.get("where", {})
    found = [each for each in reading.users if holds(each, where)]
    lines = _counted(wanted, found, "users", where)
    for record in found:
        lines += _each(wanted, record, f"user {record.get('amplitude_id', record.get('user_id'))}")
    return lines


def merges(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Merges of Amplitude ids."""
    where = wanted.get("where", {})
    return _counted(wanted, [each for each in reading.merges if holds(each, where)], "merges", where)


def healthy(wanted: bool, reading: Reading) -> list[str]:
    """Whether the connector answers for itself."""
    status = reading.health
    if (status is not None and 200 <= status < 300) == wanted:
        return []
    received = "no answer" if status is None else f"status {status}"
    return [f"/healthz: expected {'2xx' if wanted else 'no 2xx'}, received {received}"]


CHECKS: dict[str, Callable[[Any, Reading], list[str]]] = {
    "amplitude_events": amplitude_events,
    "ledger": ledger,
    "requests": traffic.requests,
    "arrival": traffic.arrival,
    "answers": answers,
    "feed": feed,
    "users": users,
    "merges": merges,
    "rate": traffic.rate,
    "pause": traffic.pause,
    "healthy": healthy,
}
