"""Mutants of cohort, property and computation syncs to Braze: AUD-…, of the connector unless the rule is Braze's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson

from scenarios.mutants import Mutant
from scenarios.mutations.making import arguments, instead, result

_FLOW = "connector.flows.cohort_sync"
_SYNC = f"{_FLOW}:CohortSync"
_PROPERTY = "connector.flows.property_sync:PropertySync"
_CHANGES = "connector.cohort_changes"
_PERIODS = "connector.syncing:PERIOD_MS"
_RUN = "connector.syncing:Syncs._run"
_READ = "connector.braze:read"
HOUR_MS = 3_600_000


def _forgets_what_it_delivered(original: Any) -> Any:
    def run(self: Any, kind: Any, *rest: Any) -> None:
        self._last.clear()
        with self.outbox.taking() as db:
            db.execute("DELETE FROM delivered WHERE sync = ?", (kind.id,))
        original(self, kind, *rest)

    return run


def _everybody_when_somebody_enters(original: Any) -> Any:
    told: dict[str, list[str]] = {}

    def items(self: Any, added: Iterator[str], removed: Iterator[str]) -> Any:
        new = list(added)
        told[self.id] = [*told.get(self.id, []), *new]
        return original(self, iter(told[self.id] if new else []), removed)

    return items


def _nobody_leaves(self: Any, added: Any, _removed: Any) -> tuple[Any, ...]:
    return self, added, iter(())


def _both_at_once(original: Any) -> Any:
    def items(self: Any, added: Any, removed: Any) -> Any:
        requests = [orjson.loads(each) for each in original(self, added, removed)]
        if len(requests) > 1:
            (first,), (last,) = (requests[n]["body"]["cohort_changes"] for n in (0, -1))
            if "should_remove" in last and "should_remove" not in first:
                requests[-1]["body"]["cohort_changes"] = [first, last]
                del requests[0]
        return [orjson.dumps(each) for each in requests]

    return items


def _not_json(original: Any) -> Any:
    def post(self: Any, path: str, payload: bytes, headers: Any, count: Any) -> Any:
        return original(self, path, payload, {**headers, "Content-Type": "text/plain"}, count)

    return post


def _named_every_time(self: Any, name: Any, _known: Any, now_ms: int) -> tuple[Any, ...]:
    return self, name, None, now_ms


def _named_once(self: Any, name: Any, known: Any, now_ms: int) -> tuple[Any, ...]:
    return self, name if known is None else known, known, now_ms


class _MakesUsers:
    """The queue of writes, with an attributes object before each cohort change."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def put(self, conn: Any, tank: Any, kind: str, payload: Any, now_ms: int) -> Any:
        names = [each for change in payload["changes"] for each in change.get("user_ids") or ()]
        self._original.put(conn, tank, "track", [("attributes", {"external_id": each}) for each in names], now_ms)
        return self._original.put(conn, tank, kind, payload, now_ms)


def _by_amplitude_id(found: Any, _self: Any, row: Any, *_: Any) -> Any:
    return orjson.dumps({"user_id": row["amplitude_id"]}).decode()


def _amplitude_id_if_none(found: Any, self: Any, row: Any, *rest: Any) -> Any:
    return found or _by_amplitude_id(found, self, row, *rest)


def _first_kind_only(config: Any, *_: Any) -> Any:
    syncs = tuple(replace(each, identifiers=each.identifiers[:1]) for each in config.cohort_sync.scheduled)
    return replace(config, cohort_sync=replace(config.cohort_sync, scheduled=syncs))


def _by_user_id(config: Any, *_: Any) -> Any:
    from connector.flows.event_stream import Identification

    syncs = tuple(replace(each, mapping=Identification()) for each in config.property_sync.syncs)
    return replace(config, property_sync=replace(config.property_sync, syncs=syncs))


def _user_id_only(self: Any, *rest: Any) -> tuple[Any, ...]:
    return replace(self, amplitude_property="user_id"), *rest


def _untyped(self: Any, *rest: Any) -> tuple[Any, ...]:
    return replace(self, typed=False), *rest


def _as_if_computed_now(outbox: Any, syncs: Any, body: bytes, now_ms: int) -> tuple[Any, ...]:
    return outbox, syncs, orjson.dumps({**orjson.loads(body), "computed_time": "2000000000"}), now_ms


def _own_label(found: Any, *_: Any) -> Any:
    return found and found.replace('"alias_label":"amplitude_id"', '"alias_label":"user_id"')


def _period(cadence: str, ms: int) -> Callable[[Any], Any]:
    return lambda original: {**original, cadence: ms}


def _baseline_moves_anyway(original: Any) -> Any:
    def ended(self: Any, kind: Any, run: int, now_ms: int) -> Any:
        with self.outbox.taking() as db:
            db.execute("UPDATE events SET state = 'sent' WHERE state = 'dead'")
        return original(self, kind, run, now_ms)

    return ended


def _final(reply: Any, *_: Any) -> Any:
    return replace(reply, kind="invalid", events=()) if reply.kind in ("failed", "throttled") else reply


def _given_up_at_once(self: Any, reply: Any, now_ms: int) -> None:
    self.outbox.drop_pending(now_ms, reply.reason)
    with self.outbox.taking() as db:
        db.execute("UPDATE events SET state = 'sent' WHERE state = 'dropped'")


def _forgets_what_came(original: Any) -> Any:
    def take(outbox: Any, *rest: Any) -> Any:
        with outbox.taking() as db:
            db.execute("DELETE FROM messages")
            db.execute("DELETE FROM members")
            db.execute("UPDATE events SET id = 'old:' || n")
        return original(outbox, *rest)

    return take


def _in_memory(original: Any) -> Any:
    def init(self: Any, path: Any, more: str = "") -> None:
        import os

        # Half kept is worse than nothing: what was delivered is remembered, what was to be is not.
        original(self, path, more)
        if os.path.exists(f"{path}.began"):
            with self.taking() as db:
                db.execute("UPDATE events SET state = 'sent' WHERE state = 'pending'")
        open(f"{path}.began", "w").close()

    return init


def _unlike(original: Any) -> Any:
    return lambda conn: [{**each, "filter": "Cohorts"} for each in original(conn)]


def _of_objects(change: Callable[[dict[str, Any], Any], dict[str, Any]]) -> Callable[[Any], Any]:
    """The attributes objects of a property sync are changed; ``change`` gets each, and the sync."""

    def make(original: Any) -> Any:
        def items(self: Any, added: Any, removed: Any) -> Any:
            for each in original(self, added, removed):
                yield each[:1] + orjson.dumps(change(orjson.loads(each[1:]), self))

        return items

    return make


def _renamed(prefix: str, kind: str) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    def change(made: dict[str, Any], sync: Any) -> dict[str, Any]:
        if sync.kind != kind:
            return made
        return {prefix + name if name == sync.name else name: value for name, value in made.items()}

    return change


def _twice(original: Any) -> Any:
    return lambda self, added, removed: (each for each in original(self, added, removed) for _ in range(2))


def _empty_too(found: Any, _self: Any, row: Any, *_: Any) -> Any:
    return found or (orjson.dumps([row["user_id"], ""]).decode() if row.get("user_id") else None)


def _anonymous_too(self: Any, row: Any, *rest: Any) -> tuple[Any, ...]:
    return self, {**row, "user_id": row.get("user_id") or row["amplitude_id"]}, *rest


MUTANTS = (
    Mutant("aud-amplitude-ids", ("AUD-001",), "members are told by their Amplitude ID", f"{_SYNC}.value", result(_by_amplitude_id)),
    Mutant("aud-own-title", ("AUD-002",), "cohorts are named in another way", f"{_FLOW}:shown_name", instead(lambda name, cohort_id: f"{name} ({cohort_id})")),
    Mutant("aud-everybody-with-the-new", ("AUD-003",), "whoever enters brings everybody along", f"{_SYNC}.items", _everybody_when_somebody_enters),
    Mutant("aud-full-every-time", ("AUD-004",), "every run sends every member", _RUN, _forgets_what_it_delivered),
    Mutant("aud-nobody-leaves", ("AUD-005",), "who has left is not told", f"{_SYNC}.items", arguments(_nobody_leaves)),
    Mutant("aud-not-json", ("AUD-006",), "requests do not say that they are JSON", "connector.braze:_Sender._post", _not_json),
    Mutant("aud-names-always", ("AUD-007",), "every run names the cohort", f"{_SYNC}.opening", arguments(_named_every_time)),
    Mutant("aud-makes-users", ("AUD-008",), "Braze makes the users that a cohort names", "simulator.braze.cohort_import:pending", _MakesUsers),
    Mutant("aud-devices-as-users", ("AUD-009",), "device IDs are sent as user IDs", f"{_FLOW}:KEYS", lambda original: {**original, "device_id": "user_ids"}),
    Mutant("aud-any-device", ("AUD-010",), "Braze finds identified people by device", "simulator.braze.cohort_membership:_anonymous", instead(lambda _conn, uids: set(uids))),
    Mutant("aud-own-label", ("AUD-011",), "aliases get a label of the connector's", f"{_SYNC}.value", result(_own_label)),
    Mutant("aud-first-name", ("AUD-012",), "a new name is not told", f"{_SYNC}.opening", arguments(_named_once)),
    Mutant("aud-big-requests", ("AUD-013",), "requests hold 5,000 people", f"{_FLOW}:MAX_IDS", instead(5_000)),
    Mutant("aud-mixed", ("AUD-014",), "entries and exits share a request", f"{_SYNC}.items", _both_at_once),
    Mutant("aud-once-is-hourly", ("AUD-015",), "a one-time sync runs every hour", _PERIODS, _period("one-time", HOUR_MS)),
    Mutant("aud-daily-is-hourly", ("AUD-016", "AUD-047"), "a daily sync runs every hour", _PERIODS, _period("daily", HOUR_MS)),
    Mutant("aud-moves-anyway", ("AUD-017",), "the baseline moves when a run fails", "connector.syncing:Syncs._ended", _baseline_moves_anyway),
    Mutant("aud-one-try", ("AUD-018",), "trouble ends a run", _READ, result(_final)),
    Mutant("aud-invents-ids", ("AUD-019",), "members without an identifier go by their Amplitude ID", f"{_SYNC}.value", result(_amplitude_id_if_none)),
    Mutant("aud-pays-again", ("AUD-020",), "every run sends, and pays for, every member", _RUN, _forgets_what_it_delivered),
    Mutant("aud-refused-lost", ("AUD-021",), "a refused key costs the changes", "connector.delivery:Delivery.refused", instead(_given_up_at_once)),
    Mutant("aud-deaf", ("AUD-022",), "changes in real time are taken and forgotten", f"{_CHANGES}:take", instead(lambda *_: 0)),
    Mutant("aud-repeats", ("AUD-023",), "what has come is not remembered", f"{_CHANGES}:take", _forgets_what_came),
    Mutant("aud-forgets", ("AUD-024", "AUD-049"), "what waits is forgotten at a kill", "connector.outbox:Outbox.__init__", _in_memory),
    Mutant("aud-other-filter", ("AUD-025",), "the filter has another name", "simulator.braze.cohort_membership:listed", _unlike),
    Mutant("aud-first-kind-only", ("AUD-026",), "only the first identifier is looked at", "connector.run:load", result(_first_kind_only)),
    Mutant("aud-new-mapping-for-all", ("AUD-027",), "another mapping begins anew", f"{_SYNC}.id", instead(property(lambda sync: f"cohort:{sync.cohort_id}:{'+'.join(sync.identifiers)}"))),
    Mutant("aud-old-mapping-removes", ("AUD-027",), "who goes by the old mapping is removed", f"{_SYNC}._is_mapped", instead(lambda *_: True)),
    Mutant("aud-last-come", ("AUD-028",), "the change that comes last counts", f"{_CHANGES}:take", arguments(_as_if_computed_now)),
    Mutant("aud-every-two-hours", ("AUD-029",), "an hourly sync runs every two hours", _PERIODS, _period("hourly", 2 * HOUR_MS)),
    Mutant("aud-user-id-only", ("AUD-030",), "the mapped property is not looked at", f"{_SYNC}.value", arguments(_user_id_only)),
    Mutant("aud-prefixed", ("AUD-040",), "attributes are prefixed", f"{_PROPERTY}.items", _of_objects(_renamed("amplitude_", "user_property"))),
    Mutant("aud-updates-only", ("AUD-041",), "users are only updated", f"{_PROPERTY}.items", _of_objects(lambda made, _sync: {**made, "_update_existing_only": True})),
    Mutant("aud-empty-values", ("AUD-042",), "users without a value are sent", f"{_PROPERTY}.value", result(_empty_too)),
    Mutant("aud-unchanged-values", ("AUD-043",), "every run sends every value", _RUN, _forgets_what_it_delivered),
    Mutant("aud-all-ages", ("AUD-044",), "everybody counts as active", "simulator.amplitude.cohort_computing:ACTIVE_DAYS", instead(3_650)),
    Mutant("aud-anonymous", ("AUD-045",), "anonymous users go by their Amplitude ID", f"{_PROPERTY}.value", arguments(_anonymous_too)),
    Mutant("aud-computed-prefix", ("AUD-046",), "computations are prefixed", f"{_PROPERTY}.items", _of_objects(_renamed("computed_", "computation"))),
    Mutant("aud-text-values", ("AUD-051",), "every value is a text", f"{_PROPERTY}.value", arguments(_untyped)),
    Mutant("aud-property-once-is-hourly", ("AUD-047",), "a one-time sync of a property runs every hour", _PERIODS, _period("one-time", HOUR_MS)),
    Mutant("aud-user-id-always", ("AUD-050",), "the mapping is not looked at", "connector.run:load", result(_by_user_id)),
    Mutant("aud-values-twice", ("AUD-048",), "every value is sent twice", f"{_PROPERTY}.items", _twice),
)  # fmt: skip
