"""When messaging looks at its work: one timer per tank, for whatever is due first."""

from __future__ import annotations

from sqlalchemy import Connection

from simulator import timekeeper

KIND = "braze.messaging"


def wake(conn: Connection, due_ms: int) -> None:
    """Make sure that messaging looks at its work by then."""
    held = timekeeper.scheduled(conn, KIND)
    # Set anew in any case: a timer that is going off now has already looked.
    timekeeper.schedule(conn, due_ms if held is None else min(held, due_ms), KIND, KIND)
