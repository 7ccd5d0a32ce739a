"""Requests that are under way at the same time share one transaction: one beginning and one commit for all of them.

Each request runs in a greenlet of its own. What it does before and after its transaction (reading the body, parsing,
making the answer) happens outside the shared one, so other processes need not wait for it; its part of the transaction
is undone alone when it fails. No answer goes out before the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

Begin = Callable[[], "AbstractContextManager[Connection]"]
"""Opens a transaction; the same callable (by equality) for everybody who may share it."""


class _Member(greenlet, Generic[T]):
    """A request: it hands over the transaction that it wants, later that its part of it is done."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__()
        self.work = work
        self.result: T | None = None
        self.failure: BaseException | None = None
        self.wants: Begin | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except Exception as error:
            self.failure = error


def alone() -> bool:
    """Whether the caller shares its transactions with nobody."""
    return not isinstance(getcurrent(), _Member)


@contextmanager
def part(begin: Begin) -> Iterator[Connection]:
    """The caller's part of the transaction that its group shares; ends when the transaction is committed."""
    me = getcurrent()
    assert isinstance(me, _Member)
    assert me.parent is not None
    me.wants = begin
    conn: Connection = me.parent.switch()
    raw: Any = conn.connection.driver_connection
    raw.execute("SAVEPOINT part")
    try:
        yield conn
    except BaseException:
        raw.execute("ROLLBACK TO part")
        raw.execute("RELEASE part")
        raise
    raw.execute("RELEASE part")
    me.parent.switch()


def run(works: Sequence[Callable[[], T]]) -> list[T | BaseException]:
    """Do all that is asked for; the result of each in turn, or the exception that it ended with."""
    members = [_Member(work) for work in works]
    for member in members:
        member.switch()
    while waiting := [member for member in members if member.wants is not None]:
        begin = waiting[0].wants
        assert begin is not None
        _share(begin, [member for member in waiting if member.wants == begin])
    return [member.result if member.failure is None else member.failure for member in members]  # type: ignore[misc]


def _share(begin: Begin, members: Sequence[_Member[Any]]) -> None:
    done: list[_Member[Any]] = []
    try:
        with begin() as conn:
            for member in members:
                member.wants = None
                member.switch(conn)
                if not member.dead and member.wants is None:
                    done.append(member)
    except Exception as error:
        # Nothing of it was kept: who waits for the beginning or for the commit learns of it.
        for member in members:
            if not member.dead and (member in done or member.wants == begin):
                member.wants = None
                member.throw(error)
        return
    for member in done:
        member.switch()
