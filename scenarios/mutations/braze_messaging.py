"""Mutants of the simulated Braze: messaging, what follows from it, Connected Content."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import arguments, instead, result

_API = "simulator.braze.messaging_api"
_CHECKS = "simulator.braze.messaging_checks"
_CALLS = "simulator.braze.connected_calls"
_RESOLVE = "simulator.braze.audiences:resolve"


def _without(*names: str) -> Any:
    """The table of checks lacks some."""
    return lambda original: tuple(each for each in original if each.__name__ not in names)


def _only_if_all(found: Any, _conn: Any, _tank: Any, recipients: Any, *_: Any) -> Any:
    return found if len(found) == len(recipients) else []


def _no_own(found: Any, *_: Any) -> Any:
    return [(profile, {}) for profile, _ in found]


def _backwards(conn: Any, tank: Any, recipients: Any, now_ms: int) -> Any:
    return conn, tank, recipients[::-1], now_ms


def _takes_past(found: Any, *_: Any) -> Any:
    return None if found is not None and found.name == "past_local_time" else found


def _other_refusal(name: str, other: str) -> Any:
    return arguments(lambda given, *rest: (other if given == name else given, *rest))


def _anywhere(original: Any) -> Any:
    from simulator.braze.reach import Target

    return lambda *_: (Target(),)


def _never_delivered(original: Any) -> Any:
    tree = {**original(), "email": [{"type": "users.messages.email.Send"}]}
    return lambda: tree


def _goes_nowhere(conn: Any, _tank: Any, now_ms: int) -> bool:
    from simulator.braze.messaging_tables import entries

    conn.execute(entries.update().where(entries.c.due_ms <= now_ms).values(due_ms=None))
    return False


def _never_closed(original: Any) -> Any:
    def windows(conn: Any, people: Any, now_ms: int) -> Any:
        return [(*row[:4], now_ms - 1_800_000, row[5]) for row in original(conn, people, 0)]

    return windows


def _patient(*args: Any) -> Any:
    return *args[:-1], 30.0


def _as_https(url: str) -> tuple[str]:
    return (url.replace("http://profile-api", "https://profile-api"),)


MUTANTS = (
    Mutant("brz-dispatch-upper", ("BRZ-200",), "dispatch ids are in upper case", "simulator.braze.dispatching:hex_text", result(lambda found, *_: found.upper())),
    Mutant("brz-send-to-nobody", ("BRZ-201",), "a send to nobody is taken", f"{_CHECKS}:OF_ANY_CAMPAIGN", _without("_whom", "_broadcast_needs")),
    Mutant("brz-send-many", ("BRZ-202",), "any number of recipients is taken", f"{_CHECKS}:OF_ANY_CAMPAIGN", _without("_lists")),
    Mutant("brz-unknown-stops", ("BRZ-203",), "one unknown recipient stops the send", _RESOLVE, result(_only_if_all)),
    Mutant("brz-any-variation", ("BRZ-204",), "variations are not looked at", f"{_CHECKS}:OF_ANY_CAMPAIGN", _without("messages")),
    Mutant("brz-any-length", ("BRZ-205", "BRZ-206"), "every message is one", "simulator.braze.channels:unfit", instead(lambda *_: None)),
    Mutant("brz-all-states", ("BRZ-207",), "subscription states are not looked at", "simulator.braze.reach:_TAKEN", instead(defaultdict(lambda: ("opted_in", "subscribed", "unsubscribed")))),
    Mutant("brz-no-own-properties", ("BRZ-208",), "recipients have no properties of their own", _RESOLVE, result(_no_own)),
    Mutant("brz-first-counts", ("BRZ-209",), "of duplicates the first counts", _RESOLVE, arguments(_backwards)),
    Mutant("brz-makes-nobody", ("BRZ-210",), "attributes of recipients are passed over", f"{_CHECKS}:attribute_objects", instead(lambda _: [])),
    Mutant("brz-any-recipient", ("BRZ-211",), "recipients are not looked at", f"{_CHECKS}:_identified", instead(lambda _: True)),
    Mutant("brz-no-notice", ("BRZ-212",), "a paused Canvas gives no notice", f"{_API}:_NOTICES", instead({})),
    Mutant("brz-schedule-stays", ("BRZ-213",), "updates of a schedule are taken and forgotten", f"{_API}:_rewrite", instead(lambda *_: None)),
    Mutant("brz-past-local", ("BRZ-214",), "a local time that has passed is taken", f"{_CHECKS}:schedule_problem", result(_takes_past)),
    Mutant("brz-no-limits", ("BRZ-215",), "no pool is ever empty", "simulator.braze.rate_limits:count", result(lambda verdict, *_: replace(verdict, over=False))),
    Mutant("brz-free-broadcasts", ("BRZ-216",), "broadcasts have no limits of their own", f"{_API}:_over_broadcasts", instead(lambda *_: None)),
    Mutant("brz-receipt-twice", ("BRZ-217",), "transactional sends are repeated", "simulator.braze.transactional:_repeated", instead(lambda *_: None)),
    Mutant("brz-not-transactional", ("BRZ-218",), "other words for a campaign that is not transactional", "simulator.braze.transactional:refuse", _other_refusal("transactional_only", "transactional_unknown")),
    Mutant("brz-canvas-words", ("BRZ-219",), "other words for an unknown Canvas", "simulator.braze.messaging_lists:refuse", _other_refusal("canvas_id", "campaign_id")),
    Mutant("brz-no-figures", ("BRZ-220",), "nothing is counted", "simulator.braze.message_counts:add", instead(lambda *_: None)),
    Mutant("brz-everybody", ("BRZ-221",), "audiences filter nobody", "simulator.braze.audiences:matches", instead(lambda *_: True)),
    Mutant("brz-silent-control", ("BRZ-222",), "control groups make no event", "simulator.braze.dispatching:_enroll", instead(lambda *_: None)),
    Mutant("brz-no-steps", ("BRZ-223",), "nobody takes a step in a Canvas", "simulator.braze.dispatching:take_steps", instead(_goes_nowhere)),
    Mutant("brz-endless-window", ("BRZ-224",), "people convert whenever they like", "simulator.braze.conversions:_open", _never_closed),
    Mutant("brz-never-delivered", ("BRZ-225",), "e-mails are sent and nothing else", "simulator.braze.behaviour:model", _never_delivered),
    Mutant("brz-reaches-all", ("BRZ-226",), "everybody is reached", "simulator.braze.reach:targets", _anywhere),
    Mutant("brz-bounced-again", ("BRZ-227",), "bounced addresses are written to again", "simulator.braze.email_tables:bad", instead(lambda *_: {})),
    Mutant("brz-no-unsubscribe", ("BRZ-228",), "an unsubscribe changes nothing", "simulator.braze.aftermath:_change", instead(lambda *_: None)),
    Mutant("brz-quiet-activity", ("BRZ-229",), "writes make no events", "simulator.braze.currents_live:_events", instead(lambda *_: [])),
    Mutant("brz-app-never", ("BRZ-230",), "a session wakes no message", "simulator.braze.currents_live:_wake_waiting", instead(lambda *_: False)),
    Mutant("brz-any-member", ("BRZ-231",), "every send takes every member", f"{_CHECKS}:own", instead(lambda body, _: body)),
    Mutant("brz-any-wanted-state", ("BRZ-232",), "any subscription state may be asked for", f"{_CHECKS}:OF_ANY_CAMPAIGN", _without("_state")),
    Mutant("brz-nobody-held-out", ("BRZ-233", "BRZ-321", "BRZ-199"), "there is no Global Control Group", "simulator.braze.writes:control_share", instead(lambda _: 0.0)),
    Mutant("brz-no-hosts", ("BRZ-240",), "no host may be called", f"{_CALLS}:mapped", instead(lambda *_: None)),
    Mutant("brz-no-abort", ("BRZ-241",), "nothing is aborted", "simulator.braze.templates:_AbortNode.render_to_output", instead(lambda *_: 0)),
    Mutant("brz-any-status", ("BRZ-242",), "every answer is usable", "simulator.braze.connected_content:Got.usable", instead(property(lambda got: got.status is not None))),
    Mutant("brz-status-name", ("BRZ-243",), "the status has another name", "simulator.braze.connected_content:STATUS", instead("status")),
    Mutant("brz-patient", ("BRZ-244",), "late answers are waited for", f"{_CALLS}:_send", arguments(_patient)),
    Mutant("brz-one-retry", ("BRZ-245",), "a call is made again once", "simulator.braze.delivering:MAX_ATTEMPTS", instead(1)),
    Mutant("brz-no-cache", ("BRZ-246",), "no answer is kept", "simulator.braze.connected_content:cache_seconds", instead(lambda *_: None)),
    Mutant("brz-http-too", ("BRZ-247",), "http is as good as https", f"{_CALLS}:urlsplit", arguments(_as_https)),
    Mutant("brz-sick-host", ("BRZ-248",), "hosts are never left alone", f"{_CALLS}:UNHEALTHY_SHARE", instead(2.0)),
)  # fmt: skip
