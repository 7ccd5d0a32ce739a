"""Oracles: sequences of writes against a model that is written from the documents alone, in another way.

The model keeps a plain list of people and looks everything up by walking through it. Source: Braze docs, POST
/users/track; Create new user aliases; Identify users; Merge users; Delete users; External ID migration; User profile
lifecycle; Custom attributes; API limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.braze import attributes, rate_limits, sdk
from simulator.tank import Tanks

STEADY = settings(max_examples=400, suppress_health_check=list(HealthCheck), database=None)


# -- identity


class Model:
    """Who is who, naively. A person is a dict: ``ids`` (primary first, then deprecated), ``aliases`` by label,
    ``email``, ``attributes``, ``events`` (a count), ``touched`` (when it was written last)."""

    def __init__(self) -> None:
        self.people: list[dict[str, Any]] = []
        self.on_device: dict[str, dict[str, Any]] = {}
        self.clock = 0

    def born(self) -> dict[str, Any]:
        person: dict[str, Any] = {"ids": [], "aliases": {}, "email": None, "attributes": {}, "events": 0}
        self.people.append(person)
        return person

    def touch(self, person: dict[str, Any]) -> None:
        self.clock += 1
        person["touched"] = self.clock

    def by_id(self, external_id: str) -> dict[str, Any] | None:
        return next((each for each in self.people if external_id in each["ids"]), None)

    def by_alias(self, name: str, label: str) -> dict[str, Any] | None:
        return next((each for each in self.people if each["aliases"].get(label) == name), None)

    def track(self, who: tuple[str, Any], key: str, value: int, only: bool | None, event: bool) -> None:
        kind, what = who
        if kind == "external_id":
            person, creates = self.by_id(what), only is not True
        elif kind == "alias":
            person, creates = self.by_alias(*what), only is False
        else:
            holders = [each for each in self.people if each["email"] == what]
            named = [each for each in holders if each["ids"]]
            person = max(named or holders, key=lambda each: each["touched"], default=None)
            creates = only is not True
        if person is None:
            if not creates:
                return
            person = self.born()
            if kind == "external_id":
                person["ids"] = [what]
            elif kind == "alias":
                person["aliases"] = {what[1]: what[0]}
            else:
                person["email"] = what
        if event:
            person["events"] += 1
        else:
            person["attributes"][key] = value
        self.touch(person)

    def set_email(self, external_id: str, email: str | None) -> None:
        person = self.by_id(external_id)
        if person is None:
            person = self.born()
            person["ids"] = [external_id]
        person["email"] = email
        self.touch(person)

    def new_alias(self, external_id: str | None, name: str, label: str) -> None:
        if self.by_alias(name, label) is not None:
            return
        person = self.born() if external_id is None else self.by_id(external_id)
        if person is None or label in person["aliases"]:
            return
        person["aliases"][label] = name
        self.touch(person)

    def absorb(self, keep: dict[str, Any], other: dict[str, Any]) -> None:
        for label, name in other["aliases"].items():
            keep["aliases"].setdefault(label, name)
        for key, value in other["attributes"].items():
            keep["attributes"].setdefault(key, value)
        keep["email"] = keep["email"] or other["email"]
        keep["events"] += other["events"]
        self.gone(other)
        self.touch(keep)

    def gone(self, person: dict[str, Any]) -> None:
        self.people = [each for each in self.people if each is not person]

    def identify(self, external_id: str, name: str, label: str) -> None:
        source, target = self.by_alias(name, label), self.by_id(external_id)
        if source is None or source["ids"]:
            return
        if target is None:
            source["ids"] = [external_id]
            self.touch(source)
        elif label not in target["aliases"] and not set(source["aliases"]) & set(target["aliases"]):
            self.absorb(target, source)

    def merge(self, source_id: str, keep_id: str) -> None:
        source, keep = self.by_id(source_id), self.by_id(keep_id)
        if source is not None and keep is not None and source is not keep:
            self.absorb(keep, source)

    def delete(self, external_id: str) -> None:
        person = self.by_id(external_id)
        if person is not None:
            self.gone(person)

    def rename(self, current: str, new: str) -> None:
        person = next((each for each in self.people if each["ids"][:1] == [current]), None)
        if person is not None and self.by_id(new) is None:
            person["ids"].insert(0, new)
            self.touch(person)

    def change_user(self, device: str, external_id: str) -> None:
        current = self.on_device.get(device)
        if current is None or not any(each is current for each in self.people):
            current = self.born()
        target = self.by_id(external_id)
        if target is None and not current["ids"]:
            current["ids"] = [external_id]
            target = current
        elif target is None:
            target = self.born()
            target["ids"] = [external_id]
        elif target is not current and not current["ids"]:
            self.absorb(target, current)
        self.touch(target)
        self.on_device[device] = target

    def browse(self, device: str) -> None:
        current = self.on_device.get(device)
        if current is None or not any(each is current for each in self.people):
            current = self.on_device[device] = self.born()
        current["events"] += 1
        self.touch(current)

    def shown(self) -> list[Any]:
        return sorted(
            (
                each["ids"],
                sorted(each["aliases"].items()),
                each["email"] or "",
                sorted(each["attributes"].items()),
                each["events"],
            )
            for each in self.people
        )


IDS = st.sampled_from(["a", "b", "c", "d"])
NAMES, LABELS = st.sampled_from(["n1", "n2", "n3"]), st.sampled_from(["l1", "l2"])
EMAILS = st.sampled_from(["x@example.com", "y@example.com"])
DEVICES = st.sampled_from(["device-1", "device-2"])
WHO = st.one_of(
    st.tuples(st.just("external_id"), IDS),
    st.tuples(st.just("alias"), st.tuples(NAMES, LABELS)),
    st.tuples(st.just("email"), EMAILS),
)
ONLY = st.sampled_from([None, True, False])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("track"), WHO, st.sampled_from("pqr"), st.integers(0, 9), ONLY, st.booleans()),
        st.tuples(st.just("set_email"), IDS, EMAILS | st.none()),
        st.tuples(st.just("new_alias"), IDS | st.none(), NAMES, LABELS),
        st.tuples(st.just("identify"), IDS, NAMES, LABELS),
        st.tuples(st.just("merge"), IDS, IDS),
        st.tuples(st.just("delete"), IDS),
        st.tuples(st.just("rename"), IDS, IDS),
        st.tuples(st.just("change_user"), DEVICES, IDS),
        st.tuples(st.just("browse"), DEVICES),
    ),
    max_size=25,
)


def pair(name: str, label: str) -> dict[str, str]:
    return {"alias_name": name, "alias_label": label}


def do(workspace: Any, step: tuple[Any, ...]) -> None:
    """The same step over the API, or by the device."""
    kind, *args = step
    if kind == "track":
        (who, what), key, value, only, event = args
        given: dict[str, Any] = {"user_alias": pair(*what)} if who == "alias" else {who: what}
        given.update({} if only is None else {"_update_existing_only": only})
        if event:
            workspace.track(events=[{**given, "name": "seen", "time": "2026-01-01"}])
        else:
            workspace.attributes({**given, key: value})
    elif kind == "set_email":
        workspace.attributes({"external_id": args[0], "email": args[1]})
    elif kind == "new_alias":
        more = {} if args[0] is None else {"external_id": args[0]}
        workspace.post("/users/alias/new", {"user_aliases": [{**pair(*args[1:]), **more}]})
    elif kind == "identify":
        entry = {"external_id": args[0], "user_alias": pair(*args[1:])}
        workspace.post("/users/identify", {"aliases_to_identify": [entry]})
    elif kind == "merge":
        sides = {"identifier_to_merge": {"external_id": args[0]}, "identifier_to_keep": {"external_id": args[1]}}
        workspace.post("/users/merge", {"merge_updates": [sides]})
    elif kind == "delete":
        workspace.post("/users/delete", {"external_ids": [args[0]]})
    elif kind == "rename":
        names = {"current_external_id": args[0], "new_external_id": args[1]}
        workspace.post("/users/external_ids/rename", {"external_id_renames": [names]})
    else:
        more = {"do": "event", "name": "seen"} if kind == "browse" else {"do": kind, "external_id": args[1]}
        with workspace.tank.store.write() as conn:
            sdk.act(conn, workspace.tank, {"device_id": args[0], **more}, workspace.tank.clock.now_ms(conn))


def seen(workspace: Any) -> list[Any]:
    return sorted(
        (
            [] if each["external_id"] is None else [each["external_id"], *each["deprecated_external_ids"][::-1]],
            sorted((one["alias_label"], one["alias_name"]) for one in each["user_aliases"]),
            each.get("email") or "",
            sorted(each["custom_attributes"].items()),
            sum(one["count"] for one in each["custom_events"]),
        )
        for each in workspace.people()
    )


def test_sequences_of_identity_steps_agree_with_the_model(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace()

    @STEADY
    @given(steps=STEPS)
    def run(steps: list[tuple[Any, ...]]) -> None:
        tanks = workspace.tank.tanks
        tanks.reset(workspace.tank.id)
        model = Model()
        for step in steps:
            getattr(model, step[0])(*step[1:])
            do(workspace, step)
        assert seen(workspace) == model.shown()

    run()


def test_one_request_is_as_many_requests_of_one_object(make_workspace: Callable[..., Any]) -> None:
    together, apart = make_workspace(), make_workspace()

    @settings(STEADY, max_examples=150)
    @given(steps=st.lists(st.tuples(WHO, st.sampled_from("pqr"), st.integers(0, 9), ONLY), min_size=1, max_size=20))
    def run(steps: list[Any]) -> None:
        objects = []
        for workspace in (together, apart):
            workspace.tank.tanks.reset(workspace.tank.id)
        for (who, what), key, value, only in steps:
            given: dict[str, Any] = {"user_alias": pair(*what)} if who == "alias" else {who: what}
            objects.append({**given, key: value, **({} if only is None else {"_update_existing_only": only})})
        together.attributes(*objects)
        for each in objects:
            apart.attributes(each)
        assert seen(together) == seen(apart)

    run()


# -- attribute operations

WORDS = st.sampled_from(["a", "b", "c", "1"])
SCALARS = WORDS | st.integers(0, 3) | st.booleans()
LISTS = st.lists(SCALARS, max_size=5)
ITEMS = st.fixed_dictionaries({"id": st.integers(0, 3)}, optional={"name": WORDS, "age": st.integers(0, 9)})
CRITERIA = st.fixed_dictionaries({"$identifier_key": st.just("id"), "$identifier_value": st.integers(0, 3)})
UPDATES = st.fixed_dictionaries(
    {"$identifier_key": st.just("id"), "$identifier_value": st.integers(0, 3), "$new_object": ITEMS}
)


def alike(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


@STEADY
@given(start=LISTS, changes=st.lists(st.tuples(LISTS, LISTS), max_size=5))
def test_arrays_agree_with_a_list_walked_through(start: list[Any], changes: list[tuple[list[Any], list[Any]]]) -> None:
    def walk(held: list[Any], add: list[Any], remove: list[Any]) -> list[Any]:
        for value in add:
            held = [each for each in held if not alike(each, value)] + [value]
        return [each for each in held if not any(alike(each, gone) for gone in remove)]

    value = attributes.change("x", None, start, False, attributes.Rules()).value
    model = walk([], start, [])
    for add, remove in changes:
        value = attributes.change("x", value, {"add": add, "remove": remove}, False, attributes.Rules()).value
        model = walk(model, add, remove)
    assert repr(value) == repr(model)


@STEADY
@given(
    start=st.lists(ITEMS, max_size=4),
    add=st.lists(ITEMS, max_size=3),
    remove=st.lists(CRITERIA, max_size=2),
    update=st.lists(UPDATES, max_size=2),
    merge=st.booleans(),
    order=st.permutations(["$add", "$remove", "$update"]),
)
def test_arrays_of_objects_agree_with_a_list_walked_through(
    start: list[Any], add: list[Any], remove: list[Any], update: list[Any], merge: bool, order: list[str]
) -> None:
    model = [dict(each) for each in [*start, *add]]
    for each in remove:
        model = [item for item in model if item.get("id") != each["$identifier_value"]]
    for each in update:
        new = each["$new_object"]
        model = [
            ({**item, **new} if merge else dict(new)) if item.get("id") == each["$identifier_value"] else item
            for item in model
        ]
    parts = {"$add": add, "$remove": remove, "$update": update}
    given_ = {name: parts[name] for name in order}
    done = attributes.change("x", [dict(each) for each in start], given_, merge, attributes.Rules())
    assert done.value == model


@STEADY
@given(start=st.none() | st.integers(-5, 5), steps=st.lists(st.integers(-9, 9), max_size=6))
def test_increments_add_up(start: int | None, steps: list[int]) -> None:
    value: Any = start
    for by in steps:
        value = attributes.change("x", value, {"inc": by}, False, attributes.Rules()).value
    assert (value or 0) == (start or 0) + sum(steps)


# -- rate limits


@settings(STEADY, max_examples=100)
@given(
    limit=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(["identity", "lists"]), st.integers(0, 40_000)), max_size=30),
)
def test_pools_agree_with_a_log_of_requests(limit: int, steps: list[tuple[str, int]]) -> None:
    lengths = {"identity": 60_000, "lists": 3_600_000}
    plan = rate_limits.plans()["shared_75"]
    tanks = Tanks()
    tank = tanks.create("t")
    taken: list[tuple[str, int]] = []
    now_ms = 1_000_000
    for pool, passed_ms in steps:
        now_ms += passed_ms
        window = now_ms // lengths[pool]
        fits = taken.count((pool, window)) < limit
        with tank.store.write() as conn:
            verdict = rate_limits.count(conn, plan, pool, {"identity": limit, "lists": limit}, now_ms)
        assert verdict.over is not fits
        if fits:
            taken.append((pool, window))
        assert verdict.headers["X-RateLimit-Remaining"] == str(limit - taken.count((pool, window)))
        assert verdict.headers["X-RateLimit-Reset"] == str((window + 1) * lengths[pool] // 1000)
    tanks.close()
