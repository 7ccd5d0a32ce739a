"""What a workspace knows of addresses beside its profiles: bounces, spam reports, blocked and unsubscribed e-mail
addresses, and states that wait for somebody to have an address.

Source: Braze docs, Query hard bounced emails; Query unsubscribed email addresses; Blocklist email addresses; Update
user's subscription group status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from sqlalchemy import BigInteger, Column, Connection, Index, Select, String, Table, select

from simulator.store import insert_rows, json_set, metadata, rows_in

Kind = Literal["hard_bounce", "spam", "blocked", "unsubscribed"]
SUPPRESSING: tuple[Kind, ...] = ("hard_bounce", "spam", "blocked")

marks = Table(
    "braze_email_marks",
    metadata,
    Column("email", String, primary_key=True),
    # 'hard_bounce', 'spam', 'blocked' or 'unsubscribed'
    Column("kind", String, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Index("braze_email_marks_kind", "kind", "at_ms"),
    sqlite_with_rowid=False,
)
waiting = Table(
    "braze_waiting_states",
    metadata,
    # 'email' or 'phone'
    Column("kind", String, primary_key=True),
    Column("address", String, primary_key=True),
    # A subscription group, or 'email_subscribe'
    Column("name", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def suppressed() -> Select[str]:
    """Addresses that get no mail whatever their state: those that bounced for good, complained or are blocked."""
    return select(marks.c.email).where(marks.c.kind.in_(SUPPRESSING))


def bad(conn: Connection, emails: Iterable[str]) -> dict[str, str]:
    """Which of these addresses take no e-mail, with the first reason of :data:`SUPPRESSING` that holds."""
    rows = rows_in(conn, marks, ("email", "kind"), "email", set(emails))
    found = {(email, kind) for email, kind in rows}
    return {email: kind for kind in reversed(SUPPRESSING) for email in emails if (email, kind) in found}


def mark(conn: Connection, kind: Kind, emails: Iterable[str], now_ms: int) -> None:
    """Note addresses; one that is noted keeps its first time."""
    held = {row[0] for row in rows_in(conn, marks, ("email", "kind"), "email", set(emails)) if row[1] == kind}
    fresh = [(email, kind, now_ms) for email in dict.fromkeys(emails) if email not in held]
    insert_rows(conn, marks, ("email", "kind", "at_ms"), fresh)


def unmark(conn: Connection, kind: Kind, emails: Iterable[str]) -> int:
    """Forget addresses; answers how many there were."""
    gone = marks.delete().where(marks.c.kind == kind, marks.c.email.in_(json_set(emails)))
    return conn.execute(gone).rowcount


def note_states(conn: Connection, states: Sequence[tuple[str, str, int]]) -> None:
    """Keep the list of unsubscribed addresses: ``(email, state, at_ms)`` in order, of which the last counts."""
    last = {email: (state, at_ms) for email, state, at_ms in states}
    unmark(conn, "unsubscribed", [email for email, (state, _) in last.items() if state != "unsubscribed"])
    for email, (state, at_ms) in last.items():
        if state == "unsubscribed":
            mark(conn, "unsubscribed", [email], at_ms)
