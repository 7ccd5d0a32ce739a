"""What a person has received, for exports: campaigns, Canvases and cards, out of the messages and Canvas entries.

Nothing is kept twice: a merge takes messages and entries along, so it takes this along too. Source: Braze docs, Export
user profile by identifier (sample and table of campaigns_received, canvases_received, cards_clicked).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection

from simulator.braze import dates, marketing
from simulator.braze.marketing import Marketed
from simulator.braze.messaging_tables import entries, messages, windows
from simulator.store import rows_in

FIELDS = frozenset({"campaigns_received", "canvases_received", "cards_clicked"})
ENGAGED: Mapping[str, str] = {
    "users.messages.email.Open": "opened_email",
    "users.messages.email.Click": "clicked_email",
    "users.messages.pushnotification.Open": "opened_push",
    "users.messages.inappmessage.Click": "clicked_triggered_in_app_message",
    "users.messages.contentcard.Click": "clicked_card",
}
"""How exports call what somebody did with a message."""

Found = dict[str, list[dict[str, Any]]]


def of(conn: Connection, uids: Iterable[int], fields: Iterable[str]) -> Mapping[int, Found]:
    """The fields of :data:`FIELDS` among ``fields`` by profile; one without anything to show is not there."""
    if FIELDS.isdisjoint(fields):
        return {}
    people: dict[int, Found] = {}
    made = _Definitions(conn)
    wanted = list(uids)
    columns = ("uid", "facts", "engaged", "at_ms", "n")
    sent = [
        (uid, orjson.loads(facts), (engaged or "").split(), at_ms)
        for uid, facts, engaged, at_ms, _ in sorted(
            rows_in(conn, messages, columns, "uid", wanted, "AND state = 'sent'"), key=lambda row: row[4]
        )
    ]
    _campaigns(conn, people, made, sent, wanted)
    _canvases(conn, people, made, sent, wanted)
    for uid, facts, engaged, _ in sent:
        each = made.of(facts["object_id"])
        if "clicked_card" in engaged and each is not None:
            cards = people.setdefault(uid, {}).setdefault("cards_clicked", [])
            if {"name": each.name} not in cards:
                cards.append({"name": each.name})
    return people


class _Definitions:
    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._made: dict[str, Marketed | None] = {}

    def of(self, object_id: str, kind: str | None = None) -> Marketed | None:
        """A campaign or Canvas by id; messages without one belong to none."""
        if object_id not in self._made:
            self._made[object_id] = marketing.find(self._conn, object_id)
        found = self._made[object_id]
        return found if found is not None and kind in (None, found.kind) else None


def _campaigns(
    conn: Connection, people: dict[int, Found], made: _Definitions, sent: list[Any], uids: list[int]
) -> None:
    """The newest message of each campaign, with everything that was done with any of them."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for uid, facts, engaged, at_ms in sent:
        campaign = made.of(facts["object_id"], "campaign")
        if campaign is None:
            continue
        row = found.setdefault((uid, campaign.id), {"name": campaign.name})
        did = {**row.pop("engaged", {}), **{word: True for word in engaged if word != "clicked_card"}}
        part = campaign.variation(facts["part"])
        row |= {
            "last_received": dates.shown(at_ms),
            **({"engaged": did} if did else {}),
            "api_campaign_id": campaign.id,
            "variation_name": facts["part_name"] if part is None else part["name"],
            "variation_api_id": facts["part"],
            "in_control": False,
        }
    for uid, object_id, converted in rows_in(conn, windows, ("uid", "object_id", "converted"), "uid", uids):
        if converted and (uid, object_id) in found:
            found[(uid, object_id)]["converted"] = True
    for (uid, _), row in found.items():
        people.setdefault(uid, {}).setdefault("campaigns_received", []).append(row)


def _canvases(
    conn: Connection, people: dict[int, Found], made: _Definitions, sent: list[Any], uids: list[int]
) -> None:
    """The newest entry of each Canvas, with the steps whose messages were received."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    steps: dict[tuple[int, str], dict[str, dict[str, Any]]] = {}
    columns = ("uid", "canvas_id", "variant_id", "in_control", "entered_ms", "exited_ms", "n")
    for uid, canvas_id, variant_id, control, entered_ms, exited_ms, _ in sorted(
        rows_in(conn, entries, columns, "uid", uids), key=lambda row: row[6]
    ):
        canvas = made.of(canvas_id, "canvas")
        if canvas is None:
            continue
        variant = canvas.variant(variant_id)
        row = found.setdefault((uid, canvas_id), {"name": canvas.name, "api_canvas_id": canvas_id})
        row |= {
            "last_entered": dates.shown(entered_ms),
            "variation_name": "Control" if variant is None else variant["name"],
            "in_control": bool(control),
            **({} if exited_ms is None else {"last_exited": dates.shown(exited_ms)}),
        }
    for uid, facts, _, at_ms in sent:
        key = (uid, facts["object_id"])
        if key in found:
            found[key]["last_received_message"] = dates.shown(at_ms)
            step = {"name": facts["part_name"], "api_canvas_step_id": facts["part"]}
            steps.setdefault(key, {})[facts["part"]] = {**step, "last_received": dates.shown(at_ms)}
    for key, row in found.items():
        row["steps_received"] = list(steps.get(key, {}).values())
        people.setdefault(key[0], {}).setdefault("canvases_received", []).append(row)
