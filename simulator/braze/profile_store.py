"""Profiles in the store: load those a request reaches, save those it changed, and read them for others.

A request of any size is a handful of statements. Reading functions for segments, messages and the control API are
:func:`find`, :func:`pages` and :func:`shown`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from sqlalchemy import Connection, Table, func, select

from simulator.braze import data_points, dates
from simulator.braze.applying import Effects
from simulator.braze.identity import People, Profile
from simulator.braze.user_tables import activity, counters, identifiers, names, profiles
from simulator.store import insert_rows, rows_in, run, upsert_rows
from simulator.tank import Tank

FOLLOWING: list[Table] = []
"""Tables of message history whose rows (column ``uid``) go over to the kept profile; their owners add them."""

_COLUMNS = ("uid", "braze_id", "external_id", "updated_ms", "updated_n", "data", "gone", "into_uid")
_DATA = (
    "random_bucket",
    "created_ms",
    "deprecated",
    "aliases",
    "standard",
    "custom",
    "events",
    "purchases",
    "subscriptions",
    "tokens",
    "devices",
    "apps",
    "stats",
)


def _profile(row: Any) -> Profile:
    uid, braze_id, external_id, updated_ms, updated_n, data, gone, into_uid = row
    return Profile(
        uid=uid,
        braze_id=braze_id,
        external_id=external_id,
        updated_ms=updated_ms,
        updated_n=updated_n,
        gone=gone,
        into_uid=into_uid,
        **orjson.loads(data),
    )


def _row(profile: Profile) -> tuple[Any, ...]:
    # Empty collections are left out: most profiles have few of them, and every byte is written and read again.
    data = {name: value for name in _DATA if (value := getattr(profile, name)) not in ({}, [])}
    return (
        profile.uid,
        profile.braze_id,
        profile.external_id,
        profile.updated_ms,
        profile.updated_n,
        orjson.dumps(data).decode(),
        profile.gone,
        profile.into_uid,
    )


def _uids(conn: Connection, wanted: set[tuple[str, str]]) -> list[int]:
    """Numbers of the living profiles that any of ``wanted`` (kind, value) finds; external ids also as deprecated."""
    rows = rows_in(conn, identifiers, ("kind", "value", "uid"), "value", {value for _, value in wanted})
    kinds = {("deprecated", value) for kind, value in wanted if kind == "external_id"} | wanted
    return sorted({row[2] for row in rows if (row[0], row[1]) in kinds})


def load(conn: Connection, tank: Tank, wanted: set[tuple[str, str]], now_ms: int) -> People:
    """The profiles that these identifiers find, ready to be changed."""
    found = [_profile(row) for row in rows_in(conn, profiles, _COLUMNS, "uid", _uids(conn, wanted))] if wanted else []
    last_uid = conn.exec_driver_sql("SELECT max(uid) FROM braze_profiles").scalar()
    last_n = conn.exec_driver_sql("SELECT value FROM braze_counters WHERE name = 'writes'").scalar()
    numbers = iter(range((last_uid or 0) + 1, 2**62))

    def new() -> Profile:
        uid = next(numbers)
        # A digest, as good as a seeded random source and far cheaper when a request makes many profiles.
        digest = hashlib.sha256(f"{tank.seed}:braze_profile:{uid}".encode())
        return Profile(uid, digest.hexdigest()[:24], int.from_bytes(digest.digest()[-4:], "big") % 10_000, now_ms)

    people = People(found, new)
    people.write_n = last_n or 0
    return people


def load_more(conn: Connection, people: People, wanted: set[tuple[str, str]]) -> None:
    """Add the profiles of further identifiers to those in hand."""
    add(conn, people, _uids(conn, wanted))


def add(conn: Connection, people: People, uids: Iterable[int]) -> None:
    """Add profiles by their numbers to those in hand."""
    missing = [uid for uid in uids if uid not in people.profiles]
    for row in rows_in(conn, profiles, _COLUMNS, "uid", missing) if missing else ():
        people.take(_profile(row))


def save(conn: Connection, people: People, effects: Effects | None = None, source: str = "api") -> None:
    """Write what has changed; ``source`` is who is billed for it: ``api``, ``sdk`` or ``cohort_import``."""
    changed = [people.profiles[uid] for uid in sorted(people.changed)]
    if changed:
        upsert_rows(conn, profiles, _COLUMNS, [_row(each) for each in changed], ("uid",))
        upsert_rows(conn, counters, ("name", "value"), [("writes", people.write_n)], ("name",))
    gone, come = people.identifier_changes()
    if gone:
        run(conn, "DELETE FROM braze_identifiers WHERE value = ? AND kind = ? AND uid = ?", gone)
    insert_rows(conn, identifiers, ("value", "kind", "uid"), come)
    if effects is not None:
        insert_rows(conn, activity, ("uid", "kind", "name", "time_ms", "detail"), effects.activity)
        data_points.add(conn, [(uid, day, points) for (uid, day), points in effects.points.items()], source)
        note_names(conn, effects.names)
    followed = [(table, people.moved_messages) for table in FOLLOWING]
    for table, pairs in [(activity, people.moved_activity), *followed]:
        if pairs:
            run(conn, f"UPDATE {table.name} SET uid = ? WHERE uid = ?", [(new, old) for old, new in pairs])


def note_names(conn: Connection, seen: dict[tuple[str, str], str]) -> None:
    """Note names that were never seen before, with the type of their first value."""
    if not seen:
        return
    known = {(row[0], row[1]) for row in rows_in(conn, names, ("kind", "name"), "name", {n for _, n in seen})}
    fresh = [
        (kind, name, type_, 0, int(type_ == "spam"))
        for (kind, name), type_ in seen.items()
        if (kind, name) not in known
    ]
    insert_rows(conn, names, ("kind", "name", "type", "forced", "blocked"), fresh)


def special_names(conn: Connection) -> tuple[frozenset[tuple[str, str]], dict[str, str]]:
    """``(kind, name)`` of every name on a blocklist, and the types that the dashboard forces by attribute name."""
    rows = conn.exec_driver_sql(
        "SELECT kind, name, type, forced, blocked FROM braze_names WHERE forced = 1 OR blocked = 1"
    ).all()
    blocked = frozenset((kind, name) for kind, name, _, _, is_blocked in rows if is_blocked)
    return blocked, {name: type_ for kind, name, type_, forced, _ in rows if forced and kind == "attribute"}


def set_names(conn: Connection, given: Iterable[dict[str, Any]]) -> None:
    """Block or unblock names and force types: objects of ``kind``, ``name``, ``blocked`` and ``type`` ('' is none)."""
    rows = [
        (each["kind"], each["name"], each.get("type", ""), int(bool(each.get("type"))), int(each.get("blocked", False)))
        for each in given
    ]
    upsert_rows(conn, names, ("kind", "name", "type", "forced", "blocked"), rows, ("kind", "name"))


def listed_names(conn: Connection) -> list[dict[str, Any]]:
    """Every name of custom data that was ever seen or set, with its type."""
    rows = conn.execute(select(names).order_by(names.c.kind, names.c.name))
    return [
        {
            "kind": row.kind,
            "name": row.name,
            "type": row.type,
            "forced": bool(row.forced),
            "blocked": bool(row.blocked),
        }
        for row in rows
    ]


# -- reading


def find(conn: Connection, kind: str, value: str) -> list[Profile]:
    """The living profiles of one identifier: ``external_id`` (deprecated ones too), ``braze_id``, ``alias`` (see
    :func:`identity.alias_text`), ``email``, ``phone``, ``device`` or ``token``; in order of creation."""
    return by_uid(conn, _uids(conn, {(kind, value)}))


def by_uid(conn: Connection, uids: Iterable[int]) -> list[Profile]:
    """Living profiles by number, in order of numbers."""
    rows = rows_in(conn, profiles, _COLUMNS, "uid", uids, "AND gone = '' ORDER BY uid")
    return [_profile(row) for row in rows]


def pages(conn: Connection, size: int = 1000) -> Iterator[list[Profile]]:
    """All living profiles in order of creation, so many at a time."""
    after = 0
    while page := page_after(conn, after, size):
        yield page
        after = page[-1].uid


def page_after(conn: Connection, after: int, size: int) -> list[Profile]:
    """The next living profiles after the number ``after``."""
    table = profiles
    query = select(*(table.c[name] for name in _COLUMNS)).where(table.c.uid > after, table.c.gone == "")
    return [_profile(row) for row in conn.execute(query.order_by(table.c.uid).limit(size))]


def count(conn: Connection) -> int:
    """How many profiles live."""
    return int(conn.execute(select(func.count()).select_from(profiles).where(profiles.c.gone == "")).scalar_one())


def shown(profile: Profile) -> dict[str, Any]:
    """A profile as a plain dict, for segments, templates and the control API; instants are ISO texts."""

    def tallies(found: dict[str, list[Any]]) -> list[dict[str, Any]]:
        return [
            {"name": name, "first": dates.shown(first), "last": dates.shown(last), "count": count}
            for name, (first, last, count) in found.items()
        ]

    return {
        "uid": profile.uid,
        "braze_id": profile.braze_id,
        "external_id": profile.external_id,
        "deprecated_external_ids": profile.deprecated,
        "user_aliases": [{"alias_name": name, "alias_label": label} for label, name in profile.aliases.items()],
        "anonymous": not profile.identified,
        "created_at": dates.shown(profile.created_ms),
        "updated_at": dates.shown(profile.updated_ms),
        "random_bucket": profile.random_bucket,
        **profile.standard,
        "custom_attributes": profile.custom,
        "custom_events": tallies(profile.events),
        "purchases": tallies(profile.purchases),
        "subscription_groups": profile.subscriptions,
        "push_tokens": profile.tokens,
        "devices": profile.devices,
        "apps": profile.apps,
        "stats": profile.stats,
    }
