"""Mutants of event streaming and user forwarding to Braze: ACT-…, of the connector unless the rule is Braze's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from scenarios.mutants import Mutant
from scenarios.mutations.making import arguments, instead, result

_FLOW = "connector.flows.event_stream"
_TAKING = "connector.streaming"
_DELIVERY = "connector.delivery"
_LOAD = "connector.run:load"
_READ = "connector.braze:read"
_IDS = ("external_id", "braze_id", "user_alias", "email")


def _form(**members: Any) -> Callable[[Any], Any]:
    """The set-up form says something else than what was written."""

    def change(config: Any, *_: Any) -> Any:
        flow = config.event_stream
        return replace(config, event_stream=replace(flow, stream=replace(flow.stream, **members)))

    return result(change)


def _always_enabled(config: Any, *_: Any) -> Any:
    return replace(config, event_stream=replace(config.event_stream, enabled=True))


def _every_five_minutes(original: Any) -> Any:
    def work(self: Any, now_ms: int) -> Any:
        if now_ms % 300_000:
            return (now_ms // 300_000 + 1) * 300_000
        return max(original(self, now_ms), now_ms + 1)

    return work


def _other_name(made: Any, *_: Any) -> Any:
    return {**made, "name": made["name"].lower()}


def _of(body: Any, section: str) -> dict[str, Any]:
    from connector.flows.event_stream import sendable

    given = body.get(section) or {}
    return {name: value for name, value in given.items() if sendable(name, value)}


def _all_of_the_event(made: Any, _stream: Any, body: Any) -> Any:
    return {**_of(body, "event_properties"), **made}


def _all_when_none_is_chosen(made: Any, stream: Any, body: Any) -> Any:
    if stream.event_properties or stream.event_user_properties:
        return made
    return {**_of(body, "user_properties"), **_of(body, "event_properties")}


def _texts(made: Any, *_: Any) -> Any:
    return {name: str(value) if isinstance(value, bool | int | float) else value for name, value in made.items()}


def _lists_too(found: Any, _name: str, value: Any) -> Any:
    return found or isinstance(value, list | dict)


def _upload_time(stream_body: Any) -> tuple[Any]:
    return ({**stream_body, "event_time": stream_body["server_upload_time"]},)


def _backfills(original: Any) -> Any:
    """A new stream begins with what was stored before."""

    def configure(conn: Any, tank: Any, kind: str, config: Any) -> Any:
        from sqlalchemy import select

        from simulator.amplitude import streams, tables

        original(conn, tank, kind, config)
        if kind == "events":
            numbers = conn.execute(select(tables.events.c.n)).scalars().all()
            streams._queue(conn, tank, kind, [(n, None) for n in numbers], tank.clock.now_ms())
        return streams.state(conn, kind)

    return configure


def _fixed_label(made: Any, *_: Any) -> Any:
    if "user_alias" not in made:
        return made
    return {"user_alias": {**made["user_alias"], "alias_label": "user_id"}}


def _creates_by(kind: str) -> Callable[[Any], Any]:
    def change(made: Any, stream: Any) -> Any:
        return {"_update_existing_only": False} if stream.mapping.braze_user_id_type == kind else made

    return result(change)


def _silent_unless_ticked(made: Any, stream: Any) -> Any:
    return made if stream.update_users_only else {}


def _as_external_id(kind: str) -> Callable[[Any], Any]:
    return result(lambda made, *_: {"external_id": made[kind]} if kind in made else made)


def _by_address(given: Any) -> Any:
    return {name: value for name, value in given.items() if name != "external_id" or "email" not in given}


def _user_id_only(stream: Any, body: Any) -> tuple[Any, Any]:
    return replace(stream, mapping=replace(stream.mapping, amplitude_property="user_id")), body


def _choosing(choose: Callable[[tuple[str, ...], set[str]], tuple[str, ...]]) -> Callable[[Any], Any]:
    """Other user properties are chosen: ``choose`` gets those that are, and those that an update brings."""

    def change(outbox: Any, stream: Any, body: bytes) -> tuple[Any, ...]:
        given = orjson.loads(body).get("user_properties") or {}
        brought = {name for name in given if not name.startswith("$")} | set(given.get("$set") or {})
        return outbox, replace(stream, user_properties=choose(stream.user_properties, brought)), body

    return arguments(change)


def _no_operations(made: Any, _stream: Any, _held: Any, given: Any) -> Any:
    return {} if any(name.startswith("$") for name in given) else made


def _never_unset(made: Any, *_: Any) -> Any:
    return {name: value for name, value in made.items() if value is not None}


def _attribute_texts(made: Any, stream: Any, *_: Any) -> Any:
    return {name: str(value) if name in stream.user_properties else value for name, value in made.items()}


def _twice(original: Any) -> Any:
    return lambda self, events: (original(self, events), original(self, events))[1]


def _never_discards(original: Any) -> Any:
    def event(stream: Any, body: Any) -> Any:
        from connector.flows.event_stream import NOT_SELECTED, Discarded

        try:
            return original(stream, body)
        except Discarded:
            raise Discarded(NOT_SELECTED) from None

    return event


def _doubled(original: Any) -> Any:
    return lambda self, events: original(self, [each for each in events for _ in range(2)])


def _no_identifier() -> str:
    from connector.flows import event_stream

    return event_stream.NO_IDENTIFIER


def _kind(found: str, instead_: str) -> Callable[[Any], Any]:
    """Answers of one kind are taken for another."""
    return result(lambda reply, *_: replace(reply, kind=instead_, events=()) if reply.kind == found else reply)


def _no_window(reply: Any, *_: Any) -> Any:
    return replace(reply, until_ms=0) if reply.kind == "throttled" else reply


def _counted_as_sent(self: Any, batch: Any, *_: Any) -> None:
    self.outbox.end([item.n for item in batch], "sent", 0)


def _given_up_at_once(self: Any, reply: Any, now_ms: int) -> None:
    self.outbox.drop_pending(now_ms, reply.reason)


def _not_repeated(original: Any) -> Any:
    return lambda self, name, more: None if name == "repeated" else original(self, name, more)


def _same_event_once(original: Any) -> Any:
    def record(profile: Any, given: Any, context: Any, effects: Any, received_ms: int, now_ms: int) -> None:
        from simulator.braze import applying

        tally = profile.events.get(given["name"])
        if tally is None or tally[1] != applying._at(given, received_ms):
            original(profile, given, context, effects, received_ms, now_ms)

    return record


def _in_memory(original: Any) -> Any:
    def init(self: Any, path: Any, more: str = "") -> None:
        import os

        original(self, path.with_name(f"{os.getpid()}-{path.name}"), more)

    return init


def _new_each_time(original: Any) -> Any:
    numbers = iter(range(10**9))
    return lambda given, body: f"{original(given, body)}:{next(numbers)}"


MUTANTS = (
    Mutant("act-other-person", ("ACT-001",), "IDs are folded to upper case", f"{_FLOW}:identifier", result(lambda found, *_: found and found.upper())),
    Mutant("act-device-instead", ("ACT-002",), "the device stands in for the mapped property", f"{_FLOW}:identifier", result(lambda found, _stream, body: found or body.get("device_id"))),
    Mutant("act-always-on", ("ACT-003",), "the status is not looked at", _LOAD, result(_always_enabled)),
    Mutant("act-events-anyway", ("ACT-004",), "Send Events is not looked at", _LOAD, _form(send_events=True)),
    Mutant("act-collects", ("ACT-005",), "events leave every five minutes", f"{_DELIVERY}:Delivery.work", _every_five_minutes),
    Mutant("act-all-events", ("ACT-010",), "the selection is not looked at", f"{_FLOW}:check_selected", instead(lambda *_: None)),
    Mutant("act-lower-case-names", ("ACT-010",), "events are named in lower case", f"{_FLOW}:event", result(_other_name)),
    Mutant("act-no-conditions", ("ACT-011",), "conditions are not looked at", f"{_FLOW}:meets", instead(lambda *_: True)),
    Mutant("act-all-properties", ("ACT-012",), "every event property is sent", f"{_FLOW}:properties", result(_all_of_the_event)),
    Mutant("act-event-properties-only", ("ACT-013",), "chosen user properties are left out", _LOAD, _form(event_user_properties=())),
    Mutant("act-text-properties", ("ACT-014",), "properties become texts", f"{_FLOW}:properties", result(_texts)),
    Mutant("act-upload-time", ("ACT-015",), "events carry the time of their upload", f"{_FLOW}:instant", arguments(_upload_time)),
    Mutant("act-no-app-id", ("ACT-016",), "the app ID is left out", _LOAD, _form(app_id="")),
    Mutant("act-lists", ("ACT-017",), "lists are forwarded", f"{_FLOW}:sendable", result(_lists_too)),
    Mutant("act-all-by-default", ("ACT-018",), "without a selection every property is sent", f"{_FLOW}:properties", result(_all_when_none_is_chosen)),
    Mutant("act-identify-is-an-event", ("ACT-019",), "whatever has a name is streamed", f"{_FLOW}:NEVER_STREAMED", instead(frozenset())),
    Mutant("act-silent-discards", ("ACT-022",), "what has no identifier is counted as not selected", f"{_FLOW}:event", _never_discards),
    Mutant("act-filter-after-identifier", ("ACT-023",), "what is filtered counts as discarded", f"{_FLOW}:FILTERED", lambda _o: _no_identifier()),
    Mutant("act-reserved-names", ("ACT-024",), "reserved names are sent", f"{_FLOW}:RESERVED", instead(frozenset())),
    Mutant("act-empty-identifier", ("ACT-020",), "events without an identifier are sent", f"{_FLOW}:identifier", result(lambda found, *_: found or "")),
    Mutant("act-backfills", ("ACT-021",), "a new stream begins with what was before", "simulator.amplitude.streams:configure", _backfills),
    Mutant("act-own-label", ("ACT-030",), "aliases get a label of the connector's", f"{_FLOW}:person", result(_fixed_label)),
    Mutant("act-silent-alias", ("ACT-030", "ACT-031"), "_update_existing_only is only said when it is true", f"{_FLOW}:creates", result(_silent_unless_ticked)),
    Mutant("act-makes-aliases", ("ACT-032",), "Update Users Only is not looked at for aliases", f"{_FLOW}:creates", _creates_by("user_alias")),
    Mutant("act-makes-anyway", ("ACT-033",), "Update Users Only is not looked at for external ids", f"{_FLOW}:creates", _creates_by("external_id")),
    Mutant("act-braze-id-as-external", ("ACT-034",), "Braze IDs are sent as external ids", f"{_FLOW}:person", _as_external_id("braze_id")),
    Mutant("act-email-as-external", ("ACT-035",), "addresses are sent as external ids", f"{_FLOW}:person", _as_external_id("email")),
    Mutant("act-merges-addresses", ("ACT-036",), "Braze finds people by their address first", "simulator.braze.applying:normalized", result(lambda made, *_: _by_address(made))),
    Mutant("act-user-id-only", ("ACT-037",), "the mapped property is not looked at", f"{_FLOW}:identifier", arguments(_user_id_only)),
    Mutant("act-no-identify", ("ACT-040",), "identify calls update nobody", f"{_FLOW}:changes", result(_no_operations)),
    Mutant("act-all-user-properties", ("ACT-041",), "every user property is sent", f"{_TAKING}:take_user", _choosing(lambda chosen, brought: tuple(sorted({*chosen, *brought})))),
    Mutant("act-unchanged-too", ("ACT-042",), "users are sent without a change", f"{_FLOW}:same", instead(lambda *_: False)),
    Mutant("act-text-attributes", ("ACT-043",), "attributes become texts", f"{_FLOW}:attributes", result(_attribute_texts)),
    Mutant("act-never-unset", ("ACT-044",), "what is unset stays in Braze", f"{_FLOW}:changes", result(_never_unset)),
    Mutant("act-users-by-default", ("ACT-045",), "without chosen properties all are sent", f"{_TAKING}:take_user", _choosing(lambda chosen, brought: chosen or tuple(sorted(brought)))),
    Mutant("act-updates-only", ("ACT-046",), "users are only updated", f"{_FLOW}:creates", instead(lambda _stream: {"_update_existing_only": True})),
    Mutant("act-users-anyway", ("ACT-047",), "Send Users is not looked at", _LOAD, _form(send_users=True)),
    Mutant("act-pays-twice", ("ACT-048",), "every object is sent twice in a request", "connector.braze:TrackClient.upload", _doubled),
    Mutant("act-big-requests", ("ACT-050",), "requests hold 500 objects", "connector.braze:TrackClient.max_items", instead(500)),
    Mutant("act-twice", ("ACT-051",), "every request is made twice", "connector.braze:TrackClient.upload", _twice),
    Mutant("act-whole-again", ("ACT-052",), "a request with refused objects is repeated whole", _READ, _kind("judged", "failed")),
    Mutant("act-failed-lost", ("ACT-053",), "a 5xx costs the events", f"{_DELIVERY}:Delivery.failed", instead(_counted_as_sent)),
    Mutant("act-no-backoff", ("ACT-054",), "a 5xx is repeated every second", f"{_DELIVERY}:backoff_ms", instead(lambda *_: 1_000)),
    Mutant("act-braze-dedupes", ("ACT-055",), "Braze knows repeated events", "simulator.braze.applying:record_event", _same_event_once),
    Mutant("act-counts-nothing", ("ACT-063",), "repeated objects are not counted", "connector.outbox:Outbox.add_to_note", _not_repeated),
    Mutant("act-throttled-lost", ("ACT-056",), "a 429 costs the events", _READ, _kind("throttled", "accepted")),
    Mutant("act-hammers", ("ACT-057",), "a 429 is repeated at once", _READ, result(_no_window)),
    Mutant("act-refused-lost", ("ACT-058",), "a refused key costs the events", f"{_DELIVERY}:Delivery.refused", instead(_given_up_at_once)),
    Mutant("act-never-expires", ("ACT-064",), "events are tried for ever", "connector.outbox:Outbox.expire", instead(lambda *_: 0)),
    Mutant("act-nameless", ("ACT-062",), "requests do not name the partner", "connector.braze:USER_AGENT", instead("python-requests")),
    Mutant("act-forgets", ("ACT-059",), "taken events are not kept across restarts", "connector.outbox:Outbox.__init__", _in_memory),
    Mutant("act-repeats", ("ACT-060",), "an event that is streamed twice is two", f"{_TAKING}:event_id", _new_each_time),
    Mutant("act-any-token", ("ACT-061",), "every token is right", "connector.service:authorized", instead(lambda *_: True)),
)  # fmt: skip
