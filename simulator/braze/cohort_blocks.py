"""Who is in which imported cohort, kept as blocks of marks: one byte for each of so many profile numbers in a row.

A cohort of a million people comes in a thousand requests, each about people from all over the workspace. Rows by person
would cost every request more than the one before, since each touches a page of its own; blocks cost the same always.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import ColumnElement, Connection, Integer, LargeBinary, func, literal, select

from simulator.braze.user_tables import cohort_blocks, cohorts
from simulator.store import json_set, rows_in, upsert_rows

BLOCK = 4000
"""Numbers of a block: with it a row fills one page of the database."""

_COLUMNS = ("cohort", "block", "marks", "size")
_KEY = ("cohort", "block")
_IN, _OUT = b"1"[0], b"0"[0]
_NOBODY = b"0" * BLOCK


def add(conn: Connection, cohort: int, uids: Iterable[int]) -> None:
    """Let profiles enter a cohort; who is in it stays."""
    _mark(conn, cohort, uids, _IN)


def discard(conn: Connection, cohort: int, uids: Iterable[int]) -> None:
    """Let profiles leave a cohort, if they are in it."""
    _mark(conn, cohort, uids, _OUT)


def _mark(conn: Connection, cohort: int, uids: Iterable[int], mark: int) -> None:
    wanted = _by_block(uids)
    held = rows_in(conn, cohort_blocks, ("block", "marks"), "block", wanted, f"AND cohort = {int(cohort)}")
    marks = {block: bytearray(stored) for block, stored in held}
    for block, offsets in wanted.items():
        if block not in marks:
            if mark == _OUT:
                continue
            marks[block] = bytearray(_NOBODY)
        for offset in offsets:
            marks[block][offset] = mark
    rows = [(cohort, block, bytes(each), each.count(_IN)) for block, each in sorted(marks.items())]
    upsert_rows(conn, cohort_blocks, _COLUMNS, rows, _KEY)


def _by_block(uids: Iterable[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for uid in uids:
        block, offset = divmod(uid, BLOCK)
        found.setdefault(block, []).append(offset)
    return found


def leave_all(conn: Connection, uids: Collection[int]) -> list[tuple[int, int]]:
    """Take profiles out of every cohort; answers ``(cohort, uid)`` of those they were in."""
    wanted = _by_block(uids)
    table = cohort_blocks.c
    # By way of the cohorts, which are few: blocks are found by their key alone.
    query = select(table.cohort, table.block, table.marks).join(cohorts, cohorts.c.number == table.cohort)
    left: dict[int, list[int]] = {}
    for cohort, block, marks in conn.execute(query.where(table.block.in_(json_set(wanted)))).all():
        mine = [block * BLOCK + offset for offset in wanted[block] if marks[offset] == _IN]
        if mine:
            left.setdefault(cohort, []).extend(mine)
    for cohort, mine in left.items():
        discard(conn, cohort, mine)
    return [(cohort, uid) for cohort, mine in sorted(left.items()) for uid in sorted(mine)]


# -- reading


def sizes(conn: Connection) -> dict[int, int]:
    """How many are in each cohort, by its number; one that is empty may be missing."""
    table = cohort_blocks.c
    counted = conn.execute(select(table.cohort, func.sum(table.size)).group_by(table.cohort))
    return {row[0]: int(row[1]) for row in counted}


def uids(conn: Connection, cohort: int) -> list[int]:
    """The numbers of a cohort's members, in order."""
    table = cohort_blocks.c
    query = select(table.block, table.marks).where(table.cohort == cohort).order_by(table.block)
    return [
        block * BLOCK + offset
        for block, marks in conn.execute(query)
        for offset, mark in enumerate(marks)
        if mark == _IN
    ]


def inside(uid: ColumnElement[int], partner: str, cohort_id: str) -> ColumnElement[bool]:
    """The condition that the profile of this number is in a cohort."""
    table = cohort_blocks.c
    number = select(cohorts.c.number).where(cohorts.c.partner == partner, cohorts.c.cohort_id == cohort_id)
    block = uid.op("/", return_type=Integer())(literal(BLOCK))
    mark = func.substr(table.marks, uid % BLOCK + 1, 1)
    return (
        select(literal(1))
        .where(table.cohort == number.scalar_subquery(), table.block == block)
        .where(mark == literal(b"1", LargeBinary()))
        .correlate_except(cohort_blocks)
        .exists()
    )
