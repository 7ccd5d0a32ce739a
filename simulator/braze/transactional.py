"""Send ids, and transactional e-mail: one message to one person whatever they are subscribed to.

Statuses are not posted back to a web address of the customer's: the control API tells what became of a message.
Source: Braze docs, POST /sends/id/create; Send transactional email.
"""

from __future__ import annotations

import re

import orjson
from sqlalchemy import func, select

from simulator import clock
from simulator.braze import marketing, messaging_checks
from simulator.braze.marketing import Marketed
from simulator.braze.messaging_api import put, refused
from simulator.braze.messaging_checks import Given
from simulator.braze.messaging_tables import send_ids
from simulator.braze.people import uuid_text
from simulator.braze.reach import TRANSACTIONAL
from simulator.braze.refusals import refuse
from simulator.braze.transport import Body
from simulator.exchange import Answer, Call, Reason

DAY_MS = 86_400_000
_EXTERNAL_SEND_ID = re.compile(r"[a-zA-Z0-9\-_+/=]+")


def send_id_create(call: Call, body: Body) -> Answer:
    """`/sends/id/create`."""
    campaign = marketing.find(call.conn, body.get("campaign_id"), "campaign")
    if campaign is None:
        return refuse("invalid_campaign_id")
    given = body.get("send_id")
    if given is not None and not messaging_checks.fits_send_id(given):
        return refuse("send_id_form")
    made = given or uuid_text(call.tank.rng("braze_send_id_made", campaign.id, call.now_ms, _made(call)))
    if call.conn.execute(select(send_ids.c.send_id).where(send_ids.c.send_id == made)).first() is not None:
        return refuse("send_id_taken")
    values = {"send_id": made, "campaign_id": campaign.id, "created_ms": call.now_ms}
    call.conn.execute(send_ids.insert().values(**values))
    why = Reason("created", "the send id is made", "Braze docs, POST /sends/id/create")
    return Answer(201, {"message": "success", "send_id": made}, why=(why,))


def _made(call: Call) -> int:
    return int(call.conn.execute(select(func.count()).select_from(send_ids)).scalar_one())


def transactional_send(call: Call, body: Body) -> Answer:
    """`/transactional/v1/campaigns/{campaign_id}/send`."""
    campaign = marketing.find(call.conn, call.path_args["campaign_id"], "campaign")
    if campaign is None:
        return refuse("transactional_unknown")
    if campaign.type != "transactional":
        return refuse("transactional_only")
    if campaign.status != "active":
        return refuse("transactional_archived" if campaign.status == "archived" else "transactional_paused")
    external = body.get("external_send_id")
    if external is not None and not (isinstance(external, str) and _EXTERNAL_SEND_ID.fullmatch(external)):
        return refuse("external_send_id")
    one = body.get("recipient")
    recipient = one[0] if isinstance(one, list) and len(one) == 1 else one
    if not isinstance(recipient, dict) or "email" in recipient or "braze_id" in recipient:
        return refuse("bad_recipients")
    sent = {"recipients": [recipient], "trigger_properties": body.get("trigger_properties")}
    # A campaign of its own kind passes the checks of triggered ones but for that kind.
    given = Given("transactional", campaign, bool)
    found = next((each for check in messaging_checks.OF_ANY_CAMPAIGN if (each := check(sent, given)) is not None), None)
    if found is not None:
        return refused(found)
    return _repeated(call, external) or _transact(call, campaign, sent, external)


def _key(external: str) -> str:
    return f"transactional:{external}"


def _repeated(call: Call, external: str | None) -> Answer | None:
    """The answer of the same send id within 24 hours: it is sent once."""
    if external is None:
        return None
    row = call.conn.execute(select(send_ids).where(send_ids.c.send_id == _key(external))).first()
    if row is None or row.answer is None or call.now_ms - row.created_ms >= DAY_MS:
        return None
    why = Reason("repeated", "this external_send_id was sent within 24 hours", "Braze docs, Send transactional email")
    return Answer(201, orjson.loads(row.answer), why=(why,))


def _transact(call: Call, campaign: Marketed, sent: Body, external: str | None) -> Answer:
    dispatch_id = put(call, sent, "campaign", campaign, None, None, TRANSACTIONAL)
    at = clock.iso(call.now_ms)
    metadata = {"received_at": at, "enqueued_at": at, "campaign_api_id": campaign.id}
    if external is not None:
        metadata["external_send_id"] = external
    shown = {"dispatch_id": dispatch_id, "status": "sent", "metadata": metadata}
    if external is not None:
        key = _key(external)
        call.conn.execute(send_ids.delete().where(send_ids.c.send_id == key))
        row = {"send_id": key, "campaign_id": campaign.id, "created_ms": call.now_ms}
        call.conn.execute(send_ids.insert().values(**row, answer=orjson.dumps(shown).decode()))
    why = Reason("queued", "the e-mail is queued", "Braze docs, Send transactional email")
    return Answer(201, shown, why=(why,))
