"""Scheduled syncs of cohorts and properties: download, compare with what was delivered, hand the changes over.

A sync's schedule begins when it is first seen and is remembered. What was delivered is the baseline of the next run;
it moves when a run's requests have all been taken, in one transaction, so that a crash at any moment repeats at
most what is harmless. Source: Amplitude docs, Sync cohorts with destinations; Braze docs, Amplitude Audiences.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import orjson

from connector import membership
from connector.amplitude_rest import RestClient, Unavailable
from connector.clock import FOREVER_MS
from connector.membership import File
from connector.outbox import Outbox, Taken

log = logging.getLogger(__name__)

PERIOD_MS: Mapping[str, int] = {"hourly": 3_600_000, "daily": 86_400_000}
POLL_MS = 5_000
AGAIN_MS, AGAIN_CAP_MS = 60_000, 1_800_000
HISTORY = 1_000
UNRESOLVED = "Unresolved mapping"
"""Why a member is skipped: it has no value for what is mapped (Amplitude docs, Sync to third-party destinations)."""

TABLES = """
CREATE TABLE IF NOT EXISTS syncs (
  id TEXT PRIMARY KEY, next_ms INTEGER, run INTEGER, request_id TEXT, tries INTEGER NOT NULL DEFAULT 0, name TEXT,
  due_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS delivered (
  sync TEXT NOT NULL, member TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (sync, member)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wanted (
  sync TEXT NOT NULL, member TEXT NOT NULL, value TEXT, PRIMARY KEY (sync, member)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
  n INTEGER PRIMARY KEY AUTOINCREMENT, sync TEXT NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER,
  added INTEGER NOT NULL DEFAULT 0, removed INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0,
  first INTEGER NOT NULL DEFAULT 0, last INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL, reason TEXT
);
"""


class Kind(Protocol):
    """What is synced: which members there are with which values, and the requests that tell of changes."""

    @property
    def id(self) -> str: ...

    @property
    def cohort_id(self) -> str: ...

    @property
    def cadence(self) -> str: ...

    @property
    def props(self) -> Sequence[str]: ...

    @property
    def removes(self) -> bool:
        """Whether a member that is gone is a change."""

    @property
    def steady(self) -> bool:
        """Whether the same line in two files means the same value."""

    def value(self, row: Mapping[str, str], held: str | None, client: RestClient) -> str | None:
        """What is told of a member (JSON), None when nothing can be; ``held`` is what was delivered. Unavailable."""

    def opening(self, name: str | None, known: str | None, now_ms: int) -> list[bytes]:
        """Requests that come before the changes: ``known`` is the name told last."""

    def items(self, added: Iterator[str], removed: Iterator[str]) -> Iterator[bytes]:
        """Outbox items that tell of these values."""


@dataclass(frozen=True)
class Counted:
    """How much a run changes."""

    added: int
    removed: int
    skipped: int


class Syncs:
    """The syncs of one section of integration.yaml; their changes go through ``outbox``."""

    def __init__(self, outbox: Outbox, client: RestClient, kinds: Sequence[Kind]) -> None:
        self.outbox = outbox
        self.client = client
        self.kinds = list(kinds)
        self._begun = False
        self._last: dict[str, File] = {}
        """The file of each sync's last run that succeeded, while this process lives."""
        self._running: dict[str, File] = {}
        self._skipped: dict[str, set[str]] = {}

    def work(self, now_ms: int) -> int:
        """Take every sync as far as it goes; answers when one has more to do, in ms."""
        if not self.outbox.leads():
            self._follow()
            return self.outbox.next_due_ms(now_ms) or FOREVER_MS
        if not self._begun:
            self._begin(now_ms)
        return min((self._sync(each, now_ms) for each in self.kinds), default=FOREVER_MS)

    def _follow(self) -> None:
        """Another process does the syncs: what is remembered here of runs grows old."""
        self._begun = False
        for each in (self._last, self._running, self._skipped):
            each.clear()

    def _begin(self, now_ms: int) -> None:
        with self.outbox.leading() as db:
            for each in self.kinds:
                row = (each.id, now_ms, now_ms)
                db.execute("INSERT INTO syncs (id, next_ms, due_ms) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING", row)
        self._begun = True

    def _sync(self, kind: Kind, now_ms: int) -> int:
        columns = "next_ms, run, request_id, tries, name"
        row = self.outbox.read(f"SELECT {columns} FROM syncs WHERE id = ?", kind.id)[0]
        next_ms, run, request_id, tries, name = row
        moment: int | None = None if next_ms is None else int(next_ms)
        if run is not None and not self._ended(kind, int(run), now_ms):
            return FOREVER_MS  # the outbox has its requests: the delivery's turn tells when
        if moment is None:
            return FOREVER_MS
        if moment > now_ms:
            return moment
        try:
            if request_id is None:
                self._note(kind, request_id=self.client.request(kind.cohort_id, kind.props), next_ms=now_ms)
                return now_ms
            if not self.client.is_completed(request_id):
                self._note(kind, next_ms=now_ms + POLL_MS)
                return now_ms + POLL_MS
            self._run(kind, request_id, name, now_ms)
        except Unavailable as error:
            again_ms: int = now_ms + min(AGAIN_CAP_MS, AGAIN_MS << min(int(tries), 8))
            log.warning("sync %s: %s", kind.id, error)
            self._note(kind, request_id=None, next_ms=again_ms, tries=tries + 1)
            return again_ms
        return now_ms

    def _note(self, kind: Kind, **values: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in values)
        with self.outbox.leading() as db:
            db.execute(f"UPDATE syncs SET {names} WHERE id = ?", (*values.values(), kind.id))

    # -- a run

    def _run(self, kind: Kind, request_id: str, known: str | None, now_ms: int) -> None:
        """Compare the members with what was delivered and put the changes into the outbox, all at once."""
        name = self.client.cohort_name(kind.cohort_id) if kind.removes else None
        try:
            file = membership.read(self.client.file(request_id))
            before = self._last.get(kind.id)
            if before is not None and before.header == file.header and kind.steady:
                # What is the same in both files was delivered: only the other lines have to be read.
                rows, old = file.changes(before)
                held = self._held(kind, [each["amplitude_id"] for each in (*rows, *old)])
                present = {each["amplitude_id"] for each in rows}
            else:
                rows, held = file.rows(), self._held(kind, None)
                present = {each["amplitude_id"] for each in rows}
                self._skipped[kind.id] = set()
                old = []
        except membership.Unreadable as error:
            raise Unavailable(f"the file of {kind.cohort_id}: {error}") from None
        gone = {member: value for member, value in held.items() if member not in present} if kind.removes else {}
        skipped = self._skipped.setdefault(kind.id, set())
        skipped -= {each["amplitude_id"] for each in old} - present
        new: dict[str, str] = {}
        for row in rows:
            member = row["amplitude_id"]
            value = kind.value(row, held.get(member), self.client)
            if value is None:
                skipped.add(member)
                continue
            skipped.discard(member)
            if held.get(member) != value:
                new[member] = value
        opening = kind.opening(name, known, now_ms)
        with self.outbox.leading() as db:
            run = self._open_run(db, kind, Counted(len(new), len(gone), len(skipped)), now_ms)
            told_of = [(kind.id, member, value) for member, value in (*new.items(), *((each, None) for each in gone))]
            db.execute("DELETE FROM wanted WHERE sync = ?", (kind.id,))
            db.executemany("INSERT INTO wanted (sync, member, value) VALUES (?, ?, ?)", told_of)
            items = [*opening, *kind.items(iter(new.values()), iter(gone.values()))]
            first = _highest(db) + 1
            self.outbox.put_in(db, [Taken(f"{kind.id}:{run}:{n}", kind.id, body) for n, body in enumerate(items)])
            db.execute("UPDATE runs SET first = ?, last = ? WHERE n = ?", (first, _highest(db), run))
            due_ms = int(db.execute("SELECT due_ms FROM syncs WHERE id = ?", (kind.id,)).fetchone()[0])
            next_ms = following(kind.cadence, due_ms, now_ms)
            values = (run, name or known, next_ms, next_ms, kind.id)
            db.execute(
                "UPDATE syncs SET run = ?, request_id = NULL, tries = 0, name = ?, next_ms = ?, "
                "due_ms = COALESCE(?, due_ms) WHERE id = ?",
                values,
            )
        self._running[kind.id] = file

    def _held(self, kind: Kind, members: Sequence[str] | None) -> dict[str, str]:
        """What was delivered of these members, or of all."""
        sql = "SELECT member, value FROM delivered WHERE sync = ?"
        if members is None:
            rows = self.outbox.read(sql, kind.id)
        else:
            wanted = orjson.dumps(members).decode()
            rows = self.outbox.read(f"{sql} AND member {self.outbox.AMONG}", kind.id, wanted)
        return {row[0]: row[1] for row in rows}

    def _open_run(self, db: sqlite3.Connection, kind: Kind, counted: Counted, now_ms: int) -> int:
        made = db.execute(
            "INSERT INTO runs (sync, began_ms, added, removed, skipped, state) VALUES (?, ?, ?, ?, ?, 'running') "
            "RETURNING n",
            (kind.id, now_ms, counted.added, counted.removed, counted.skipped),
        )
        run = int(made.fetchone()[0])
        db.execute("DELETE FROM runs WHERE n <= ?", (run - HISTORY,))
        return run

    def _ended(self, kind: Kind, run: int, now_ms: int) -> bool:
        """Close a run whose requests have all come to their end: the baseline moves when every one was taken."""
        rows = self.outbox.read("SELECT first, last FROM runs WHERE n = ?", run)
        first, last = rows[0] if rows else (1, 0)
        states = dict(
            self.outbox.read("SELECT state, count(*) FROM events WHERE n BETWEEN ? AND ? GROUP BY state", first, last)
        )
        if states.get("pending"):
            return False
        lost = sum(count for state, count in states.items() if state not in ("sent", "skipped"))
        with self.outbox.leading() as db:
            if not lost:
                db.execute(
                    "DELETE FROM delivered WHERE sync = ? AND member IN "
                    "(SELECT member FROM wanted WHERE sync = ? AND value IS NULL)",
                    (kind.id, kind.id),
                )
                db.execute(
                    "INSERT INTO delivered (sync, member, value) "
                    "SELECT sync, member, value FROM wanted WHERE sync = ? AND value IS NOT NULL "
                    "ON CONFLICT (sync, member) DO UPDATE SET value = excluded.value",
                    (kind.id,),
                )
            db.execute("DELETE FROM wanted WHERE sync = ?", (kind.id,))
            db.execute("UPDATE syncs SET run = NULL WHERE id = ?", (kind.id,))
            state = "failed" if lost else "succeeded"
            reason = f"{lost} requests were refused" if lost else None
            db.execute("UPDATE runs SET state = ?, reason = ?, ended_ms = ? WHERE n = ?", (state, reason, now_ms, run))
        file = self._running.pop(kind.id, None)
        if file is None or lost:
            self._last.pop(kind.id, None)
        else:
            self._last[kind.id] = file
        return True

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The newest runs: when, how many were added, removed and skipped (and why), and how each ended."""
        names = ("sync", "began_ms", "ended_ms", "added", "removed", "skipped", "state", "reason")
        rows = self.outbox.read(f"SELECT {', '.join(names)} FROM runs ORDER BY n DESC LIMIT ?", limit)
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**each, "skip_reasons": {UNRESOLVED: each["skipped"]} if each["skipped"] else {}} for each in found]


def _highest(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT COALESCE(max(n), 0) FROM events").fetchone()[0])


def following(cadence: str, due_ms: int, now_ms: int) -> int | None:
    """When a sync whose run was due at ``due_ms`` runs next: at the same offset in every period, or never again."""
    period = PERIOD_MS.get(cadence)
    return None if period is None else due_ms + ((now_ms - due_ms) // period + 1) * period


def pages(values: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Values in lists of up to ``size``."""
    while page := list(islice(values, size)):
        yield page


def told(value: Any) -> str:
    """A value as the baseline keeps it."""
    return orjson.dumps(value).decode()
