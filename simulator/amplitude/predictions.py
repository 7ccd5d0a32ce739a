"""Predictions: how likely a person is to do something again, from the days on which they did it lately.

``{"event_type", "within_days"}``. The score is the rule of succession over days, (days with the event + 1) /
(days + 2); the percentile is the share of people with a lower score. Amplitude's own model is not published.
Source: Amplitude docs, Predictions; User Profile API, Propensity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from simulator.amplitude import definitions, models, tables
from simulator.amplitude.definitions import DAY_MS

TYPES = ("score", "pct")
DEFAULT_DAYS = 28


def propensities(
    conn: Connection, person: int, prediction_ids: list[str], prop_type: str, now_ms: int
) -> list[dict[str, Any]]:
    """``[{"prop", "pred_id", "prop_type"}]``; ids that nobody has set up are left out."""
    known = models.listed(conn, "predictions")
    return [
        {"prop": _propensity(conn, person, known[each], prop_type, now_ms), "pred_id": each, "prop_type": prop_type}
        for each in prediction_ids
        if each in known
    ]


def _propensity(conn: Connection, person: int, definition: Mapping[str, Any], prop_type: str, now_ms: int) -> float:
    within = definition.get("within_days", DEFAULT_DAYS)
    joined, who = definitions.people_of_events()
    events = tables.events
    clause = {"type": "event", "event_type": definition["event_type"], "within_days": within}
    days = func.count(((now_ms - events.c.time_ms) // DAY_MS).distinct())
    query = select(who.label("person"), days.label("days")).select_from(joined)
    active = query.where(*definitions.events_of(clause, now_ms)).group_by(who).cte("active_days")
    mine = conn.execute(select(active.c.days).where(active.c.person == person)).scalar() or 0
    if prop_type == "score":
        return float(round((mine + 1) / (within + 2), 6))
    every = conn.execute(select(func.count()).select_from(definitions.everybody().subquery())).scalar_one()
    not_lower = conn.execute(select(func.count()).select_from(active).where(active.c.days >= mine)).scalar_one()
    # Whoever is not among the active has 0 days: lower than anybody with some.
    lower = every - not_lower if mine else 0
    return float(100 * lower // max(1, every))
