"""Whom a send is for: recipients by identifier, everybody, a segment, and the filters of an ``audience`` object.

Source: Braze docs, Recipients object; Connected audience object; POST /messages/send (recipients have to exist).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from simulator.braze import comparisons, dates, profile_store, writes
from simulator.braze.identity import Profile
from simulator.braze.user_tables import profiles
from simulator.tank import Tank

PAGE = 1000
DAY_MS = 86_400_000
MAX_DEPTH = 10

Given = tuple[Profile, Mapping[str, Any]]
"""A person with the properties that were given for them alone."""


# -- recipients by identifier


def identifier(recipient: Mapping[str, Any]) -> dict[str, Any]:
    """A recipient's identifier in the words of the identity endpoints."""
    if "external_user_id" in recipient:
        return {"external_id": recipient["external_user_id"]}
    return {
        name: recipient[name] for name in ("user_alias", "braze_id", "email", "prioritization") if name in recipient
    }


def resolve(conn: Connection, tank: Tank, recipients: Sequence[Mapping[str, Any]], now_ms: int) -> list[Given]:
    """The people of a list of recipients; unknown and ambiguous ones are skipped, of duplicates the last one counts."""
    named = [identifier(each) for each in recipients]
    people = profile_store.load(conn, tank, {writes.identifier_key(each) for each in named}, now_ms)
    found: dict[int, Given] = {}
    for each, recipient in zip(named, recipients, strict=True):
        matching = writes.candidates(people, each)
        if len(matching) == 1:
            own = recipient.get("trigger_properties") or recipient.get("context")
            own = own or recipient.get("canvas_entry_properties") or {}
            found.pop(matching[0].uid, None)
            found[matching[0].uid] = (matching[0], own)
    return list(found.values())


def page(
    conn: Connection, after_uid: int, members: Any, audience: Mapping[str, Any] | None, now_ms: int
) -> tuple[list[Profile], int | None]:
    """The next people of a broadcast after a number, and the number to go on after (None at the end).

    :param members: a select of the numbers of a segment's people; None is everybody.
    """
    mine = [profiles.c.uid > after_uid, profiles.c.gone == ""]
    if members is not None:
        mine.append(profiles.c.uid.in_(members))
    uids = list(conn.execute(select(profiles.c.uid).where(*mine).order_by(profiles.c.uid).limit(PAGE)).scalars())
    found = profile_store.by_uid(conn, uids)
    if audience is not None:
        found = [each for each in found if matches(audience, each, now_ms)]
    return found, uids[-1] if len(uids) == PAGE else None


# -- the filters of an audience


def problem(audience: Any, depth: int = 0) -> str | None:
    """What is wrong with an ``audience`` object, None when it is fine."""
    if not isinstance(audience, dict) or len(audience) != 1 or depth > MAX_DEPTH:
        return "a filter is an object of one member"
    ((name, value),) = audience.items()
    if name in ("AND", "OR"):
        if not isinstance(value, list) or not value:
            return f"{name} takes a list of filters"
        return next((found for each in value if (found := problem(each, depth + 1)) is not None), None)
    if name not in _FILTERS:
        return f"{name[:100]!r} is no filter of a connected audience"
    if not isinstance(value, dict):
        return f"{name} takes an object"
    return _FILTERS[name][0](value)


def matches(audience: Mapping[str, Any], profile: Profile, now_ms: int) -> bool:
    """Whether a person is in the audience; the object has passed :func:`problem`."""
    ((name, value),) = audience.items()
    if name == "AND":
        return all(matches(each, profile, now_ms) for each in value)
    if name == "OR":
        return any(matches(each, profile, now_ms) for each in value)
    return _FILTERS[name][1](value, profile, now_ms)


def _ms(value: Any) -> int | None:
    return dates.parse(value) if isinstance(value, str) else None


Compare = Callable[[Any, Any, int], bool]


def _ordered(test: Callable[[Any, Any], bool]) -> Compare:
    def compare(have: Any, want: Any, _now_ms: int) -> bool:
        return bool(_is_number(have) and _is_number(want) and test(have, want))

    return compare


def _dated(test: Callable[[int, int], bool]) -> Compare:
    def compare(have: Any, want: Any, _now_ms: int) -> bool:
        mine, theirs = _ms(have), _ms(want)
        return mine is not None and theirs is not None and test(mine, theirs)

    return compare


def _near(sign: int, *, less: bool) -> Compare:
    def compare(have: Any, want: Any, now_ms: int) -> bool:
        at_ms = _ms(have)
        if at_ms is None or not _is_number(want):
            return False
        days = sign * (now_ms - at_ms) / DAY_MS
        return bool(0 <= days < want if less else days > want)

    return compare


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(have: Any, want: Any) -> bool:
    return bool(have == want) and isinstance(have, bool) == isinstance(want, bool)


def _found(have: Any, want: Any) -> bool:
    return isinstance(have, str) and isinstance(want, str) and re.search(want, have) is not None


def _holds(have: Any, want: Any) -> bool:
    return isinstance(have, list) and any(_same(each, want) for each in have)


_COMPARISONS: Mapping[str, Compare] = {
    "equals": lambda have, want, _: _same(have, want),
    "not_equal": lambda have, want, _: not _same(have, want),
    "does_not_equal": lambda have, want, _: not _same(have, want),
    "exists": lambda have, _want, _: have is not None,
    "does_not_exist": lambda have, _want, _: have is None,
    "matches_regex": lambda have, want, _: _found(have, want),
    "does_not_match_regex": lambda have, want, _: not _found(have, want),
    "includes_value": lambda have, want, _: _holds(have, want),
    "does_not_include_value": lambda have, want, _: not _holds(have, want),
    "greater_than": _ordered(lambda a, b: a > b),
    "greater_than_or_equal_to": _ordered(lambda a, b: a >= b),
    "less_than": _ordered(lambda a, b: a < b),
    "less_than_or_equal_to": _ordered(lambda a, b: a <= b),
    "after": _dated(lambda a, b: a > b),
    "before": _dated(lambda a, b: a < b),
    "less_than_x_days_ago": _near(1, less=True),
    "greater_than_x_days_ago": _near(1, less=False),
    "less_than_x_days_in_the_future": _near(-1, less=True),
    "greater_than_x_days_in_the_future": _near(-1, less=False),
}
_STATES = ("opted_in", "subscribed", "unsubscribed")


def _attribute_problem(value: Mapping[str, Any]) -> str | None:
    comparison = value.get("comparison")
    if not isinstance(value.get("custom_attribute_name"), str):
        return "custom_attribute needs custom_attribute_name"
    if not isinstance(comparison, str) or comparison not in _COMPARISONS:
        return "custom_attribute needs a comparison"
    if "exist" not in comparison and "value" not in value:
        return "custom_attribute needs a value"
    if "regex" in comparison and not comparisons.is_pattern(value["value"]):
        return "the regular expression cannot be used"
    return None


def _attribute(value: Mapping[str, Any], profile: Profile, now_ms: int) -> bool:
    have = profile.custom.get(value["custom_attribute_name"])
    return _COMPARISONS[value["comparison"]](have, value.get("value"), now_ms)


def _state_problem(value: Mapping[str, Any]) -> str | None:
    fits = value.get("comparison") in ("is", "is_not") and value.get("value") in _STATES
    return None if fits else "a subscription status is or is_not opted_in, subscribed or unsubscribed"


def _state(name: str) -> Callable[[Mapping[str, Any], Profile, int], bool]:
    def test(value: Mapping[str, Any], profile: Profile, _now_ms: int) -> bool:
        return bool((profile.standard.get(name, "subscribed") == value["value"]) == (value["comparison"] == "is"))

    return test


def _used_problem(value: Mapping[str, Any]) -> str | None:
    fits = value.get("comparison") in ("after", "before") and _ms(value.get("value")) is not None
    return None if fits else "last_used_app is after or before a date"


def _used(value: Mapping[str, Any], profile: Profile, _now_ms: int) -> bool:
    last_ms, than_ms = profile.stats.get("last_session_ms"), _ms(value["value"])
    if last_ms is None or than_ms is None:
        return False
    return bool(last_ms > than_ms if value["comparison"] == "after" else last_ms < than_ms)


_FILTERS: Mapping[
    str,
    tuple[Callable[[Mapping[str, Any]], str | None], Callable[[Mapping[str, Any], Profile, int], bool]],
] = {
    "custom_attribute": (_attribute_problem, _attribute),
    "push_subscription_status": (_state_problem, _state("push_subscribe")),
    "email_subscription_status": (_state_problem, _state("email_subscribe")),
    "last_used_app": (_used_problem, _used),
}
