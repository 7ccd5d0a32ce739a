"""Statistics of campaigns, Canvases and send ids: how often what happened, by part, channel and UTC day.

Source: Braze docs, Export campaign data series; Export Canvas data series; Export send data series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, select

from simulator.braze.messaging_tables import counts
from simulator.dialect import run

DAY_MS = 86_400_000

Key = tuple[str, str, str, str, str]
"""``(campaign or Canvas id, variation or step id, send id, channel, what)``; '' stands for none."""

WHAT: Mapping[str, str] = {
    "Send": "sent",
    "Delivery": "delivered",
    "Open": "opens",
    "Click": "clicks",
    "Bounce": "bounces",
    "SoftBounce": "soft_bounces",
    "MarkAsSpam": "reported_spam",
    "Unsubscribe": "unsubscribes",
    "IosForeground": "influenced_opens",
    "CarrierSend": "sent_to_carrier",
    "Rejection": "rejected",
    "DeliveryFailure": "delivery_failed",
    "Impression": "impressions",
    "Dismiss": "dismissals",
}
"""What a Currents event of a message counts as, by the last part of its type."""


def add(conn: Connection, found: Iterable[Key], now_ms: int) -> None:
    """Count each key once more today."""
    tallied = Counter(found)
    if not tallied:
        return
    day = now_ms // DAY_MS
    run(
        conn,
        f"INSERT INTO {counts.name} (object_id, part, send_id, channel, what, day, number) "
        f"VALUES ({', '.join('?' * 7)}) ON CONFLICT (object_id, part, send_id, channel, day, what) "
        f"DO UPDATE SET number = {counts.name}.number + excluded.number",
        [(*key, day, number) for key, number in sorted(tallied.items())],
    )


def read(conn: Connection, since_day: int, until_day: int, **equal: str) -> list[Any]:
    """Rows ``(part, send_id, channel, day, what, number)`` of some days, last one included, that match ``equal``."""
    columns = (counts.c.part, counts.c.send_id, counts.c.channel, counts.c.day, counts.c.what, counts.c.number)
    mine = [counts.c[name] == value for name, value in equal.items()]
    query = select(*columns).where(counts.c.day.between(since_day, until_day), *mine)
    return list(conn.execute(query.order_by(counts.c.day, counts.c.part, counts.c.channel, counts.c.what)))
