"""Putting accepted events away: duplicates, identity, user properties, rows. Batches are handled as sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from zlib import crc32

import orjson
from sqlalchemy import Connection, func, select

from simulator.amplitude import event_states, group_types, identified, retention, streams, tables
from simulator.amplitude.identity import FIRST_ID, Device, People, assign, derived_device_id, numbers
from simulator.amplitude.properties import apply, merged
from simulator.amplitude.throttle import HOUR_MS
from simulator.store import fetch, insert_rows, rows_in, run, upsert_rows
from simulator.tank import Tank

DAY_MS = 86_400_000
REVENUE = "revenue_amount"
"""The event type under which clients send revenue."""
_EVENT_COLUMNS = (
    "amplitude_id",
    "user_id",
    "device_id",
    "event_type",
    "time_ms",
    "insert_id",
    "insert_key",
    "received_ms",
    "route",
    "event",
    "user_properties",
    "user_groups",
    "group_properties",
    "upload_ms",
)
CLOCK_SLACK_MS = 60_000
"""A client's clock may be this far behind before the times of its events are put right."""


@dataclass(frozen=True)
class Stored:
    """What an accepted upload changed."""

    rows: int
    duplicates: int
    merges: int

    def shown(self) -> dict[str, int]:
        return {"events_stored": self.rows, "duplicates_ignored": self.duplicates, "merges": self.merges}


def _known(conn: Connection, table: Any, values: Any) -> list[Any]:
    """Whole rows of a table by its first column."""
    names = [column.name for column in table.columns]
    return rows_in(conn, table, names, names[0], values)


def store(
    conn: Connection,
    tank: Tank,
    events: Sequence[dict[str, Any]],
    route: str,
    now_ms: int,
    remote_addr: str,
    upload_ms: int | None = None,
) -> Stored:
    """Store checked events, in order; ``upload_ms``: when the client says that it sent them.

    Source: Amplitude docs, HTTP V2 API, Event deduplication; Track unique users; Data backfill guide (event times).
    """
    dropped = event_states.dropped(conn, tank, now_ms)
    if dropped:
        events = [event for event in events if event["event_type"] not in dropped]
    events = group_types.kept(conn, events)
    devices = [event.get("device_id") or _derived(tank, event) for event in events]
    insert_ids = _insert_ids(conn, tank, events)
    keys = [crc32(each.encode()) for each in insert_ids]
    fresh = _fresh(conn, tank, events, devices, insert_ids, keys, now_ms)
    if len(fresh) < len(events):
        kept = set(fresh)
        _count_duplicates(conn, [insert_ids[i] for i in range(len(events)) if i not in kept])
    users = [event.get("user_id") for event in events]
    people = _load(conn, set(devices), {user for user in users if user is not None})
    last = _counter(conn, "amplitude_id", FIRST_ID)
    ids = numbers(last, tank.seed)
    owners = [assign(people, devices[i], users[i], ids) for i in fresh]
    _save(conn, people, last, now_ms)
    if last == FIRST_ID:
        retention.begin(conn, now_ms)
    _note_facts(conn, [events[i] for i in fresh], owners, last, now_ms)
    shown = _user_properties(conn, tank, [events[i] for i in fresh], owners, now_ms)
    for gone, now in people.merges:
        _merge_properties(conn, gone, now)  # what this very upload has set before the merge
        _merge_facts(conn, gone, now)
    grouped = _user_groups(conn, [events[i] for i in fresh], owners)
    known = _known_groups(conn, [events[i] for i in fresh], grouped)
    late_ms = 0 if upload_ms is None or now_ms - upload_ms < CLOCK_SLACK_MS else now_ms - upload_ms
    rows = []
    told: list[tuple[int, dict[str, Any]]] = []
    for i, owner, properties, groups in zip(fresh, owners, shown, grouped, strict=True):
        event = events[i]
        event_type = event["event_type"]
        if event_type == "$groupidentify":
            known.update(group_properties(conn, event.get("groups", {}), event.get("group_properties", {})))
            continue
        if event_type == "$identify":
            told.append((owner, event))
            continue
        if event.get("ip") == "$remote":
            event = {**event, "ip": remote_addr}
        at = event["time"] + late_ms if "time" in event else now_ms
        text = orjson.dumps(event).decode()
        names = (owner, users[i], devices[i], event_type, at, insert_ids[i], keys[i])
        of_groups = None
        if groups is not None or "groups" in event:
            pairs = _groups(event, groups)
            held = {kind: {name: known.get((kind, name), {}) for name in names} for kind, names in pairs}
            of_groups = orjson.dumps(held).decode()
        rows.append((*names, now_ms, route, text, properties, groups, of_groups, upload_ms))
    newest = streams.watching(conn)
    insert_rows(conn, tables.events, _EVENT_COLUMNS, rows)
    if told:
        identified.note(conn, told, now_ms)
    if newest is not None:
        streams.offer(conn, tank, [events[i] for i in fresh], newest, now_ms)
    return Stored(len(rows), len(events) - len(fresh), len(people.merges))


def _count_duplicates(conn: Connection, insert_ids: Sequence[str]) -> None:
    run(
        conn,
        "INSERT INTO amplitude_duplicates (insert_id, arrivals) VALUES (?, 1) "
        "ON CONFLICT (insert_id) DO UPDATE SET arrivals = amplitude_duplicates.arrivals + 1",
        [(each,) for each in insert_ids],
    )


def _derived(tank: Tank, event: dict[str, Any]) -> str:
    return derived_device_id(f"{tank.id}:{tank.seed}", event["user_id"])


def _insert_ids(conn: Connection, tank: Tank, events: Sequence[dict[str, Any]]) -> list[str]:
    given: list[Any] = [event.get("insert_id") for event in events]
    if None not in given:
        return given
    count = _counter(conn, "assigned_insert_ids", 0)
    random = tank.rng("insert_id", count)
    found = [
        event["insert_id"] if "insert_id" in event else str(UUID(int=random.getrandbits(128), version=4))
        for event in events
    ]
    _set_counter(conn, "assigned_insert_ids", count + len(events))
    return found


def _fresh(
    conn: Connection,
    tank: Tank,
    events: Sequence[dict[str, Any]],
    devices: Sequence[str],
    insert_ids: Sequence[str],
    keys: Sequence[int],
    now_ms: int,
) -> list[int]:
    """Indexes of the events that are no duplicates, within the request and of the last days."""
    since = now_ms - round(float(tank.settings["amplitude.dedupe_days"]) * DAY_MS)
    wanted = set(insert_ids)
    found = rows_in(conn, tables.events, ("insert_id", "device_id"), "insert_key", keys, _RECENT, (since,))
    seen = {(row[0], row[1]) for row in found if row[0] in wanted}
    if not seen and len(wanted) == len(events) and not any("event_id" in event for event in events):
        return list(range(len(events)))
    anywhere = {insert_id for insert_id, _ in seen}
    counters = _known_event_ids(conn, tank, events, devices, since)
    new_counters = []
    fresh = []
    for i, event in enumerate(events):
        key = (insert_ids[i], devices[i])
        if key in seen or ("device_id" not in event and insert_ids[i] in anywhere):
            continue
        if counters is not None and "event_id" in event and "time" in event:
            counter = (devices[i], event["event_id"], event["time"])
            if counter in counters:
                continue
            counters.add(counter)
            new_counters.append((*counter, now_ms))
        seen.add(key)
        anywhere.add(insert_ids[i])
        fresh.append(i)
    columns = ("device_id", "event_id", "time_ms", "received_ms")
    upsert_rows(conn, tables.event_ids, columns, new_counters, columns[:3])
    return fresh


def _known_event_ids(
    conn: Connection, tank: Tank, events: Sequence[dict[str, Any]], devices: Sequence[str], since: int
) -> set[tuple[str, int, int]] | None:
    carriers = {devices[i] for i, event in enumerate(events) if "event_id" in event and "time" in event}
    if not carriers or not tank.settings["amplitude.dedupe_by_event_id"]:
        return None
    columns = ("device_id", "event_id", "time_ms")
    found = rows_in(conn, tables.event_ids, columns, "device_id", carriers, _RECENT, (since,))
    return {(r[0], r[1], r[2]) for r in found}


_RECENT = "AND received_ms > ?"


def _load(conn: Connection, devices: set[str], users: set[str]) -> People:
    people = People()
    for row in _known(conn, tables.devices, devices):
        people.devices[row[0]] = Device(row[1], row[2])
    if users:
        for row in _known(conn, tables.users, users):
            people.users[row[0]] = row[1]
    return people


def _save(conn: Connection, people: People, last: int, now_ms: int) -> None:
    rows = [(d, people.devices[d].own, people.devices[d].user) for d in sorted(people.changed_devices)]
    upsert_rows(conn, tables.devices, ("device_id", "own_id", "user_amplitude_id"), rows, ("device_id",))
    upsert_rows(conn, tables.users, ("user_id", "amplitude_id"), list(people.new_users.items()), ("user_id",))
    for gone, now in people.merges:
        _merge_properties(conn, gone, now)
    merges = [(gone, now, now_ms) for gone, now in people.merges]
    insert_rows(conn, tables.merges, ("amplitude_id", "merged_amplitude_id", "merge_time_ms"), merges)
    used = [d.own for d in people.devices.values() if d.own] + list(people.users.values())
    used += [gone for gone, _ in people.merges]
    newest = max(used, default=last)
    if newest > last:
        _set_counter(conn, "amplitude_id", newest)


def _note_facts(
    conn: Connection, events: Sequence[dict[str, Any]], owners: Sequence[int], last: int, now_ms: int
) -> None:
    """Keep the version that new people began with, and since when who has paid; an Identify call may tell both."""
    started: dict[int, str | None] = {}
    paid: set[int] = set()
    unpaid: set[int] = set()
    for event, owner in zip(events, owners, strict=True):
        if "start_version" in event:
            started[owner] = event["start_version"]
        elif owner > last and owner not in started:
            started[owner] = event.get("version_name") or event.get("app_version")
        if event.get("paying") is False:
            paid.discard(owner)
            unpaid.add(owner)
        elif "paying" in event or "price" in event or "revenue" in event or event["event_type"] == REVENUE:
            paid.add(owner)
    rows = [(owner, version) for owner, version in started.items() if version is not None]
    upsert_rows(conn, tables.facts, ("amplitude_id", "start_version"), rows, ("amplitude_id",))
    upsert_rows(conn, tables.facts, ("amplitude_id", "paying_from_ms"), [(o, None) for o in unpaid], ("amplitude_id",))
    if paid:
        known = {row[0]: row[2] for row in _known(conn, tables.facts, paid)}
        new = [(owner, now_ms) for owner in sorted(paid) if known.get(owner) is None]
        upsert_rows(conn, tables.facts, ("amplitude_id", "paying_from_ms"), new, ("amplitude_id",))


def _merge_facts(conn: Connection, gone: int, now: int) -> None:
    held = {row[0]: row for row in _known(conn, tables.facts, (gone, now))}
    paid = [row[2] for row in held.values() if row[2] is not None]
    # The newer id's version wins, as its user properties do.
    versions = [held[each][1] for each in (max(gone, now), min(gone, now)) if each in held]
    row = (now, next((each for each in versions if each is not None), None), min(paid, default=None))
    if held:
        columns = ("amplitude_id", "start_version", "paying_from_ms")
        upsert_rows(conn, tables.facts, columns, [row], ("amplitude_id",))


def _merge_properties(conn: Connection, gone: int, now: int) -> None:
    # Amplitude IDs grow, so the larger one is the newer: its values win.
    table = tables.properties
    held = {row[0]: row for row in _known(conn, table, (gone, now))}
    if gone not in held:
        return
    newer, older = max(gone, now), min(gone, now)
    both = merged(*(orjson.loads(held[each][1]) if each in held else {} for each in (older, newer)))
    hour, updates = held[now][2:4] if now in held else held[gone][2:4]
    row = (now, orjson.dumps(both).decode(), hour, updates)
    upsert_rows(conn, table, ("amplitude_id", "properties", "hour", "updates"), [row], ("amplitude_id",))
    conn.execute(table.delete().where(table.c.amplitude_id == gone))


def _counter(conn: Connection, name: str, default: int) -> int:
    rows = fetch(conn, _COUNTER, (name,))
    return int(rows[0][0]) if rows else default


_COUNTER = f"SELECT value FROM {tables.counters.name} WHERE name = ?"


def _set_counter(conn: Connection, name: str, value: int) -> None:
    upsert_rows(conn, tables.counters, ("name", "value"), [(name, value)], ("name",))


def _user_properties(
    conn: Connection, tank: Tank, events: Sequence[dict[str, Any]], owners: Sequence[int], now_ms: int
) -> list[str | None]:
    """Apply the events' user properties in order; answers what each event shows (JSON), None for none."""
    if not any("user_properties" in event for event in events) and not fetch(conn, _ANY_PROPERTIES):
        return [None] * len(events)
    table = tables.properties
    held = {row[0]: row for row in _known(conn, table, set(owners))}
    current = {amplitude_id: orjson.loads(row[1]) for amplitude_id, row in held.items()}
    hour = now_ms // HOUR_MS
    updates = {a: (row[3] if row[2] == hour else 0) for a, row in held.items()}
    most = int(tank.settings["amplitude.property_updates_per_hour"])
    texts = {a: row[1] for a, row in held.items()}
    changed: set[int] = set()
    shown: list[str | None] = []
    for event, owner in zip(events, owners, strict=True):
        given = event.get("user_properties")
        if event.get("$skip_user_properties_sync"):
            shown.append(None if given is None else orjson.dumps(apply({}, given)).decode())
            continue
        if given and updates.get(owner, 0) < most:
            current[owner] = apply(current.get(owner, {}), given)
            updates[owner] = updates.get(owner, 0) + 1
            texts[owner] = orjson.dumps(current[owner]).decode()
            changed.add(owner)
        shown.append(texts.get(owner))
    rows = [(a, texts[a], hour, updates[a]) for a in sorted(changed)]
    upsert_rows(conn, table, ("amplitude_id", "properties", "hour", "updates"), rows, ("amplitude_id",))
    return shown


_ANY_PROPERTIES = f"SELECT 1 FROM {tables.properties.name} LIMIT 1"


def _user_groups(conn: Connection, events: Sequence[dict[str, Any]], owners: Sequence[int]) -> list[str | None]:
    """The groups that each event's user is in (JSON): an identify puts a user into groups for good."""
    setting = any(event["event_type"] == "$identify" and event.get("groups") for event in events)
    if not setting and not fetch(conn, _ANY_GROUPS):
        return [None] * len(events)
    table = tables.user_groups
    texts = {row[0]: row[1] for row in _known(conn, table, set(owners))}
    changed: set[int] = set()
    shown: list[str | None] = []
    for event, owner in zip(events, owners, strict=True):
        if event["event_type"] == "$identify" and event.get("groups"):
            held = orjson.loads(texts[owner]) if owner in texts else {}
            texts[owner] = orjson.dumps({**held, **event["groups"]}).decode()
            changed.add(owner)
        shown.append(texts.get(owner))
    rows = [(owner, texts[owner]) for owner in sorted(changed)]
    upsert_rows(conn, table, ("amplitude_id", "groups"), rows, ("amplitude_id",))
    return shown


_ANY_GROUPS = f"SELECT 1 FROM {tables.user_groups.name} LIMIT 1"


def group_properties(
    conn: Connection, members: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Apply property operations to groups and answer what they hold then; ``members``: group type → name or names."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    if not given:
        return found
    table = tables.groups
    for kind, value in members.items():
        for name in value if isinstance(value, list) else [value]:
            where = (table.c.group_type == kind) & (table.c.group_name == str(name))
            held = conn.execute(select(table.c.properties).where(where)).scalar()
            now = apply(orjson.loads(held) if held else {}, given)
            row = (kind, str(name), orjson.dumps(now).decode())
            upsert_rows(conn, table, ("group_type", "group_name", "properties"), [row], ("group_type", "group_name"))
            found[(kind, str(name))] = now
    return found


def _groups(event: Mapping[str, Any], user_groups: str | None) -> Iterator[tuple[str, list[str]]]:
    """The groups that an event belongs to: its own, and its user's where it names none of that type."""
    held = orjson.loads(user_groups) if user_groups else {}
    for kind, value in {**held, **event.get("groups", {})}.items():
        yield kind, [str(each) for each in (value if isinstance(value, list) else [value])]


def _known_groups(
    conn: Connection, events: Sequence[Mapping[str, Any]], grouped: Sequence[str | None]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Properties of every group that these events belong to, by type and name, in one query."""
    wanted = {
        name
        for event, held in zip(events, grouped, strict=True)
        if held is not None or "groups" in event
        for _, names in _groups(event, held)
        for name in names
    }
    if not wanted:
        return {}
    columns = ("group_type", "group_name", "properties")
    return {(r[0], r[1]): orjson.loads(r[2]) for r in rows_in(conn, tables.groups, columns, "group_name", wanted)}


def count_events(conn: Connection) -> int:
    """How many events the project holds."""
    return int(conn.execute(select(func.count()).select_from(tables.events)).scalar_one())
