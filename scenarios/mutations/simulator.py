"""Mutants of the simulator: platforms that are kinder, or other, than the documents."""

from __future__ import annotations

from typing import Any, ClassVar

from scenarios.mutants import Mutant

_INGEST = "simulator.amplitude.ingest"
_FEED = "simulator.braze.currents_feed"
_ACT = "simulator.braze.profiles:Rules.act"


def _never_over(original: Any) -> Any:
    def judge(indexes: Any, uses: Any, now_ms: int, limits: Any) -> Any:
        return type(original(indexes, uses, now_ms, limits))()

    return judge


def _without_quota(original: Any) -> Any:
    def judge(indexes: Any, uses: Any, now_ms: int, limits: Any) -> Any:
        found = original(indexes, uses, now_ms, limits)
        return type(found)() if found.quotas else found

    return judge


def _new_id_for_user(original: Any) -> Any:
    def assign(people: Any, device_id: str, user_id: str | None, ids: Any) -> Any:
        if user_id is not None and user_id not in people.users:
            people.users[user_id] = people.new_users[user_id] = next(ids)
        return original(people, device_id, user_id, ids)

    return assign


def _device_first(original: Any) -> Any:
    def assign(people: Any, device_id: str, user_id: str | None, ids: Any) -> Any:
        return original(people, device_id, None, ids)

    return assign


def _stores_what_fits(original: Any) -> Any:
    def answer(verdict: Any, limits: Any, usage: Any, now_ms: int, batch: bool) -> Any:
        from simulator.amplitude import storing

        storing.store(usage.conn, _tank_of(usage), _kept(usage), "/2/httpapi", now_ms, "")
        return original(verdict, limits, usage, now_ms, batch)

    return answer


def _tank_of(_usage: Any) -> Any:
    class Tank:
        id, seed = "mutant", 0
        settings: ClassVar[dict[str, object]] = {
            "amplitude.dedupe_days": 7,
            "amplitude.dedupe_by_event_id": False,
            "amplitude.property_updates_per_hour": 1800,
        }

    return Tank()


def _kept(usage: Any) -> Any:
    (kind, each_id), _ = next(iter(usage.indexes.items()))
    return [{f"{kind}_id": each_id, "event_type": "kept", "insert_id": "kept-by-mutant"}]


def _everything_selected(_original: Any) -> Any:
    return lambda _names: None


def _forgets_duplicates(original: Any) -> Any:
    def fresh(conn: Any, tank: Any, events: Any, devices: Any, insert_ids: Any, keys: Any, now_ms: int) -> Any:
        return list(range(len(events)))

    return fresh


def _remembers_for_ever(original: Any) -> Any:
    def fresh(conn: Any, tank: Any, events: Any, devices: Any, insert_ids: Any, keys: Any, now_ms: int) -> Any:
        return original(conn, tank, events, devices, insert_ids, keys, 0)

    return fresh


def _instead(found: str | None, instead: str) -> Any:
    """An answer that would earn ``found`` (None: no answer at all) earns ``instead``."""

    def make(original: Any) -> Any:
        def act(self: Any, status: Any) -> Any:
            earned = original(self, status)
            hit = status is None if found is None else earned == found
            return instead if hit else earned

        return act

    return make


def _at_once(original: Any) -> Any:
    return lambda queue, pending, oldest_ms, rules: 0 if pending else original(queue, pending, oldest_ms, rules)


def _replays(original: Any) -> Any:
    def emit(conn: Any, tank: Any, events: Any, now_ms: int, *, strict: bool = False) -> Any:
        state = _feed_state(conn, tank)
        if state["status"] == "off":
            from simulator.braze import currents_feed

            currents_feed.configure(conn, tank, {"url": "http://127.0.0.1:9/feeds/currents"})
        return original(conn, tank, events, now_ms, strict=strict)

    return emit


def _feed_state(conn: Any, tank: Any) -> Any:
    from simulator.braze import currents_feed

    return currents_feed.state(conn, tank)


def _first_type_only(original: Any) -> Any:
    return lambda: dict(list(original().items())[:1])


def _no_version(original: Any) -> Any:
    return lambda tank, setup: {k: v for k, v in original(tank, setup).items() if k != "Braze-Currents-Version"}


def _no_check(original: Any) -> Any:
    return lambda events, rules: (
        [
            each
            for each in events
            if isinstance(each, dict) and "event_type" in each and ("user_id" in each or "device_id" in each)
        ],
        None,
    )


def _no_size(original: Any) -> Any:
    return lambda tank, upload, route, source, headers: upload.problem


class _tiny:
    def __init__(self, original: Any) -> None:
        self.original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def dumps(self, *args: Any, **more: Any) -> Any:
        return _Short(self.original.dumps(*args, **more))


class _Short(bytes):
    def __len__(self) -> int:
        return 1


MUTANTS = (
    Mutant("sim-retries-for-ever", ("CUR-093",), "events are re-sent without end", "simulator.braze.profiles:Rules.retry_lost_ms", lambda _o: lambda *_: 10**15),
    Mutant("sim-gives-up-in-a-day", ("CUR-094",), "events are lost after a day in every profile", "simulator.braze.profiles:Rules.retry_lost_ms", lambda _o: lambda *_: 86_400_000),
    Mutant("sim-no-halves", ("CUR-095",), "a batch that is too large is re-sent whole", _ACT, _instead("halve", "retry")),
    Mutant("sim-sends-refused-again", ("CUR-096",), "refused events are re-sent in every profile", _ACT, _instead("halt_lossy", "halt")),
    Mutant("sim-any-event-size", ("CUR-097",), "events of any size leave Braze", "simulator.braze.currents_emitting:orjson", _tiny),
    Mutant("sim-no-takeover", ("CUR-007",), "a new user never takes a device's history over", "simulator.amplitude.storing:assign", _new_id_for_user),
    Mutant("sim-device-first", ("CUR-009",), "the device decides who somebody is", "simulator.amplitude.storing:assign", _device_first),
    Mutant("sim-all-selected", ("CUR-045",), "the selection of events is ignored", "simulator.braze.currents_emitting:selected_types", _everything_selected),
    Mutant("sim-no-throttle", ("CUR-053", "CUR-054"), "nobody is throttled", "simulator.amplitude.throttle:judge", _never_over),
    Mutant("sim-no-quota", ("CUR-055",), "there is no daily quota", "simulator.amplitude.throttle:judge", _without_quota),
    Mutant("sim-partial", ("CUR-057",), "a throttled request is stored in part", f"{_INGEST}:_throttled_answer", _stores_what_fits),
    Mutant("sim-never-fails", ("CUR-060",), "Braze retries refused credentials like anything else", _ACT, _instead("halt", "retry")),
    Mutant("sim-one-test-event", ("CUR-080",), "Send Test Events sends one event", f"{_FEED}:event_types", _first_type_only),
    Mutant("sim-no-version", ("CUR-081",), "the version header is missing", "simulator.braze.currents_sending:headers", _no_version),
    Mutant("sim-no-wait", ("CUR-082",), "batches leave at once", "simulator.braze.currents:due_ms", _at_once),
    Mutant("sim-no-split", ("CUR-083",), "a 400 is retried whole", _ACT, _instead("split", "retry")),
    Mutant("sim-lost-is-taken", ("CUR-084",), "no answer counts as taken", _ACT, _instead(None, "deliver")),
    Mutant("sim-replays", ("CUR-085",), "events from before the set-up are queued", f"{_FEED}:emit", _replays),
    Mutant("sim-silent-key", ("CUR-086",), "an unknown key is not echoed", "simulator.amplitude.answers:unknown_key", lambda original: lambda key: original("")),
    Mutant("sim-no-validation", ("CUR-087", "CUR-090"), "bad events are dropped quietly", f"{_INGEST}:check", _no_check),
    Mutant("sim-no-dedupe", ("CUR-088",), "insert ids mean nothing", "simulator.amplitude.storing:_fresh", _forgets_duplicates),
    Mutant("sim-dedupe-for-ever", ("CUR-088",), "insert ids are remembered for ever", "simulator.amplitude.storing:_fresh", _remembers_for_ever),
    Mutant("sim-any-size", ("CUR-089",), "there is no size limit", f"{_INGEST}:_form", _no_size),
)  # fmt: skip
