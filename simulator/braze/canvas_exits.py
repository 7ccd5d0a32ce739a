"""Leaving a Canvas early: what people do may meet its exit criteria. Source: Braze docs, Canvas (exit criteria)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from simulator.braze import conversions, marketing
from simulator.braze.messaging_tables import entries
from simulator.store import rows_in, run


def leave(conn: Connection, uids: Iterable[int], did: Iterable[tuple[int, str, str]], now_ms: int) -> None:
    """Take people out of Canvases whose exit criteria they have just met.

    :param did: ``(uid, kind, name)`` of what they did: ``event``, ``purchase`` or ``session``.
    """
    held = rows_in(
        conn, entries, ("n", "uid", "canvas_id"), "uid", uids, "AND exited_ms IS NULL AND due_ms IS NOT NULL"
    )
    if not held:
        return
    done: dict[int, set[tuple[str, str]]] = {}
    for uid, kind, name in did:
        done.setdefault(uid, set()).update({(kind, name), (kind, "")})
    gone = []
    for canvas_id in sorted({each[2] for each in held}):
        canvas = marketing.find(conn, canvas_id, "canvas")
        criteria = [] if canvas is None else canvas.data.get("exit", [])
        wanted = {(conversions.KINDS[each["type"]], each.get("name", "")) for each in criteria}
        gone += [n for n, uid, of in held if of == canvas_id and wanted & done.get(uid, set())]
    if gone:
        run(
            conn,
            f"UPDATE {entries.name} SET due_ms = NULL, exited_ms = ?, exit_reason = ? WHERE n = ?",
            [(now_ms, "exit criteria", n) for n in gone],
        )
