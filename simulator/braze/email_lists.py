"""Lists of e-mail addresses over REST: unsubscribed, bounced, reported as spam, blocked; and their global state.

Source: Braze docs, Change email subscription status; Query unsubscribed email addresses; Query hard bounced emails;
Remove hard bounced emails; Remove emails from spam list; Blocklist email addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from simulator.braze import email_tables, pending, standard
from simulator.braze.email_tables import Kind, marks
from simulator.braze.queries import SORT, Parameter, asking, day, natural
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body, Served
from simulator.exchange import Answer, Call, Reason

MAX = 50
DAY_MS = 86_400_000
SOURCE = "Braze docs, Email lists and addresses"


def _emails(body: Body) -> list[str] | Answer:
    given = body.get("email")
    emails: list[Any] = given if isinstance(given, list) else [given]
    if not emails or not all(isinstance(each, str) and standard.is_email(each) for each in emails):
        return refuse("email_format")
    return refuse("max_ids") if len(emails) > MAX else list(dict.fromkeys(emails))


def _queued(call: Call, payload: dict[str, Any]) -> Answer:
    n = pending.put(call.conn, call.tank, "email_status", payload, call.now_ms)
    why = Reason("accepted", "the change is queued", SOURCE, {"write": n})
    return Answer(201, {"message": "success"}, why=(why,))


def status(call: Call, body: Body) -> Answer:
    """`/email/status`: the global state of up to 50 addresses, whoever has them."""
    emails = _emails(body)
    if isinstance(emails, Answer):
        return emails
    if body.get("subscription_state") not in standard.SUBSCRIPTION:
        return refuse("email_state")
    return _queued(call, {"emails": emails, "state": body["subscription_state"]})


def blocklist(call: Call, body: Body) -> Answer:
    """`/email/blocklist`: nobody is mailed there again; they are unsubscribed and count as hard bounced."""
    emails = _emails(body)
    if isinstance(emails, Answer):
        return emails
    return _queued(call, {"emails": emails, "state": "unsubscribed", "blocked": True})


def bounce_remove(call: Call, body: Body) -> Answer:
    """`/email/bounce/remove`."""
    return _removed(call, body, "hard_bounce")


def spam_remove(call: Call, body: Body) -> Answer:
    """`/email/spam/remove`."""
    return _removed(call, body, "spam")


def _removed(call: Call, body: Body, kind: Kind) -> Answer:
    emails = _emails(body)
    if isinstance(emails, Answer):
        return emails
    gone = email_tables.unmark(call.conn, kind, emails)
    why = Reason("removed", "the addresses are off the list", SOURCE, {"were_on_it": gone})
    return Answer(201, {"message": "success"}, why=(why,))


def unsubscribes(call: Call, asked: Body) -> Answer:
    """`/email/unsubscribes`."""
    return _listed(call, asked, "unsubscribed", "unsubscribed_at")


def hard_bounces(call: Call, asked: Body) -> Answer:
    """`/email/hard_bounces`."""
    return _listed(call, asked, "hard_bounce", "hard_bounced_at")


def _listed(call: Call, asked: Body, kind: Kind, member: str) -> Answer:
    """Addresses by time, newest first; an address asks for itself, whatever the dates."""
    query = select(marks.c.email, marks.c.at_ms).where(marks.c.kind == kind)
    if asked["email"] is not None:
        query = query.where(marks.c.email == asked["email"])
    elif asked["start_date"] is None or asked["end_date"] is None:
        return refuse("email_dates")
    elif asked["start_date"] > asked["end_date"]:
        return refuse("parameter_invalid", field="end_date")
    else:
        query = query.where(marks.c.at_ms >= asked["start_date"], marks.c.at_ms < asked["end_date"] + DAY_MS)
    time = marks.c.at_ms if asked["sort_direction"] == "asc" else marks.c.at_ms.desc()
    rows = call.conn.execute(query.order_by(time, marks.c.email).offset(asked["offset"]).limit(asked["limit"]))
    emails = [{"email": row.email, member: _shown(row.at_ms)} for row in rows]
    why = Reason("listed", "addresses on the list", SOURCE, {"found": len(emails)})
    return Answer(200, {"emails": emails, "message": "success"}, why=(why,))


def _shown(ms: int) -> str:
    """``2020-06-17 19:27:44 +0000``. Source: public recordings."""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%d %H:%M:%S} +0000"


_LIST = (
    Parameter("start_date", day),
    Parameter("end_date", day),
    Parameter("email"),
    Parameter("limit", natural(1, 500), 100),
    Parameter("offset", natural(0, 10**8), 0),
    SORT,
)
HANDLERS: Mapping[str, Served] = {
    "POST /email/status": (status, "braze_email_status", 201),
    "POST /email/blocklist": (blocklist, "braze_email_addresses", 201),
    "POST /email/blacklist": (blocklist, "braze_email_addresses", 201),
    "POST /email/bounce/remove": (bounce_remove, "braze_email_addresses", 201),
    "POST /email/spam/remove": (spam_remove, "braze_email_addresses", 201),
    "GET /email/unsubscribes": asking(unsubscribes, *_LIST),
    "GET /email/hard_bounces": asking(hard_bounces, *_LIST),
}
