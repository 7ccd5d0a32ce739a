"""The App API: reporting webhooks, source addresses, transactional messages, API-triggered broadcasts.

Source: Customer.io docs, App API (2026-08); Common transactional API errors; Common API-triggered broadcast errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import BigInteger, Column, Integer, Table, func, select

from simulator.customerio import deliveries, feed, messages, people, webhooks
from simulator.customerio.access import Body, JsonHandler
from simulator.customerio.messages import Message
from simulator.customerio.people import Person
from simulator.customerio.refusals import refuse
from simulator.customerio.webhooks import Webhook
from simulator.exchange import Answer, Call, Request
from simulator.store import metadata
from simulator.tank import Region

ADDRESSES = {
    "us": (
        "35.188.196.183", "104.198.177.219", "104.154.232.87", "130.211.229.195", "104.198.221.24", "104.197.27.15",
        "35.194.9.154", "104.154.144.51", "104.197.210.12", "35.225.6.73",
    ),
    "eu": (
        "34.76.143.229", "34.78.91.47", "34.77.94.252", "35.187.188.242", "34.78.122.90", "35.195.137.235",
        "130.211.108.156", "104.199.50.18", "34.78.44.80", "35.205.31.154",
    ),
}  # fmt: skip
"""Where reports come from, by region. Source: Customer.io docs, reporting webhooks guide."""
DIRECT = 1
"""Messages that name no template are counted under this one (inferred)."""

_triggers = Table(
    "customerio_triggers",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("broadcast_id", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)


def addresses(call: Call, _body: Body) -> Answer:
    return Answer(200, {"ip_addresses": list(ADDRESSES[call.tank.region])})


def addresses_for_anybody(region: Region) -> Callable[[Request, object], Answer]:
    """The same without credentials: those of the host's region."""
    return lambda _request, _detail: Answer(200, {"ip_addresses": list(ADDRESSES[region])})


# -- reporting webhooks


def list_webhooks(call: Call, _body: Body) -> Answer:
    return Answer(200, {"reporting_webhooks": [each.shown() for each in webhooks.every(call.conn)]})


def create_webhook(call: Call, body: Body) -> Answer:
    return _save(call, body, None)


def get_webhook(call: Call, _body: Body) -> Answer:
    found = _webhook(call)
    return refuse("not_found") if found is None else Answer(200, found.shown())


def update_webhook(call: Call, body: Body) -> Answer:
    found = _webhook(call)
    return refuse("not_found") if found is None else _save(call, body, found)


def delete_webhook(call: Call, _body: Body) -> Answer:
    found = _webhook(call)
    if found is None:
        return refuse("not_found")
    feed.removed(call.conn, found.id, call.now_ms)
    return Answer(200, b"")


def _webhook(call: Call) -> Webhook | None:
    number = _number(call.path_args["webhook_id"])
    return None if number is None else webhooks.one(call.conn, number)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 17 else None


def _save(call: Call, body: Body, old: Webhook | None) -> Answer:
    wrong = _endpoint_problem(body["endpoint"])
    if wrong is not None:
        return refuse("request", wrong)
    saved = webhooks.save(call.conn, body, None if old is None else old.id)
    feed.saved_now(call.conn, call.tank, saved)
    return Answer(200, saved.shown())


def _endpoint_problem(endpoint: str) -> str | None:
    try:
        parts = urlsplit(endpoint)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    return None if fits and endpoint.isascii() and endpoint.isprintable() else "endpoint is not an http or https URL"


# -- transactional messages


def sender(channel: str) -> JsonHandler:
    """The handler that sends a transactional message by ``channel``."""

    def send(call: Call, body: Body) -> Answer:
        template = _template(call, channel, body)
        if template is None:
            return refuse("transactional_unknown")
        who = body["identifiers"]
        if sum(name in who for name in ("id", "email", "cio_id")) != 1:
            return refuse("request", "identifiers: give one of id, email and cio_id")
        person = _person(call, who)
        if isinstance(person, Answer):
            return person
        if person.unsubscribed and body.get("send_to_unsubscribed") is False:
            return refuse("request", "the person is unsubscribed and send_to_unsubscribed is false")
        made = deliveries.send(
            call.conn,
            call.tank,
            template,
            person,
            call.now_ms,
            to=body.get("to"),
            begins_ms=max(call.now_ms, 1000 * body.get("send_at", 0)),
            draft=bool(body.get("queue_draft")),
        )
        return Answer(200, {"delivery_id": made, "queued_at": call.now_ms // 1000})

    return send


def _template(call: Call, channel: str, body: Body) -> Message | None:
    """The message to send: a template of this channel, changed by what the request says."""
    named = body.get("transactional_message_id")
    if named is None:
        found: Message | None = Message("transactional", DIRECT, channel)
    elif isinstance(named, str) and _number(named) is None:
        found = next(iter(messages.triggered(call.conn, "transactional", named)), None)
    else:
        found = messages.one(call.conn, "transactional", int(named))
    if found is None or found.channel != channel:
        return None
    values = {name: getattr(found, name) for name in Message.__dataclass_fields__}
    if isinstance(body.get("subject"), str):
        values["subject"] = body["subject"]
    text = body.get("body") or body.get("message")
    if isinstance(text, str):
        values["content"] = text
    if isinstance(body.get("headers"), Mapping):
        values["headers"] = {name: [value] for name, value in body["headers"].items()}
    return Message(**values)


def _person(call: Call, who: Mapping[str, Any]) -> Person | Answer:
    """Whom a transactional message is about; an unknown id or address is added, an unknown cio_id is not."""
    kind, value = next((k, str(who[k])) for k in ("id", "email", "cio_id") if k in who)
    if not value.strip() or len(value.encode("utf-8", "replace")) > people.MAX_IDENTIFIER_BYTES:
        return refuse("request", f"identifiers.{kind} does not fit")
    found = people.find_by(call.conn, kind, value.removeprefix("cio_") if kind == "cio_id" else value)
    if found is None and kind != "cio_id" and (kind == "id" or people.several(call.tank)):
        found = people.identify(call.conn, call.tank, value, {}, call.now_ms, kind).person
    return found or refuse("request", "identifiers name nobody in this workspace")


# -- API-triggered broadcasts


def trigger(call: Call, body: Body) -> Answer:
    number = _number(call.path_args["broadcast_id"])
    broadcast = None if number is None else messages.one(call.conn, "broadcast", number)
    if broadcast is None or number is None:
        return refuse("broadcast_not_found")
    audience = _audience(call, body)
    if isinstance(audience, Answer):
        return audience
    last = int(call.conn.execute(select(func.max(_triggers.c.id))).scalar() or 0)
    call.conn.execute(_triggers.insert().values(id=last + 1, broadcast_id=number, at_ms=call.now_ms))
    for person in audience:
        if not person.unsubscribed:
            block = {"trigger_id": last + 1}
            deliveries.send(call.conn, call.tank, broadcast, person, call.now_ms, block=block)
    return Answer(200, {"id": last + 1})


def _audience(call: Call, body: Body) -> list[Person] | Answer:
    """Whom a broadcast goes to: named people, those of a filter, or everybody."""
    if "data_file_url" in body:
        return refuse("not_simulated", "data_file_url")
    if "ids" in body or "emails" in body or "per_user_data" in body:
        named = [("id", str(each)) for each in body.get("ids", ())]
        named += [("email", each) for each in body.get("emails", ())]
        for each in body.get("per_user_data", ()):
            named.append(("id", str(each["id"])) if "id" in each else ("email", str(each.get("email", ""))))
        return _named(call, body, named)
    everybody = [each for _, each in people.every(call.conn)]
    if "recipients" not in body:
        return everybody
    if _speaks_of_segments(body["recipients"]):
        return refuse("not_simulated", "a filter by segment")
    return [each for each in everybody if _fits(each, body["recipients"])]


def _named(call: Call, body: Body, named: Iterable[tuple[str, str]]) -> list[Person] | Answer:
    found: dict[str, Person] = {}
    for kind, value in named:
        person = people.find_by(call.conn, kind, value)
        if person is not None:
            found[person.cio_id] = person
        elif not body.get(f"{kind}_ignore_missing"):
            return refuse("audience", f"{kind} {value[:150]!r} is not in this workspace")
    return list(found.values())


def _speaks_of_segments(condition: Any) -> bool:
    if isinstance(condition, Mapping):
        return "segment" in condition or any(_speaks_of_segments(each) for each in condition.values())
    return isinstance(condition, list) and any(_speaks_of_segments(each) for each in condition)


def _fits(person: Person, condition: Any) -> bool:
    """Whether a person meets a filter of and, or, not and attribute conditions."""
    if not isinstance(condition, Mapping) or not condition:
        return True
    (name, inner), *_ = condition.items()
    if name in ("and", "or"):
        parts = [_fits(person, each) for each in inner] if isinstance(inner, list) else []
        return all(parts) if name == "and" else any(parts)
    if name == "not":
        return not _fits(person, inner)
    if name != "attribute" or not isinstance(inner, Mapping):
        return False
    known = {**person.attributes, "id": person.id, "email": person.email, "unsubscribed": person.unsubscribed}
    value = known.get(str(inner.get("field")))
    if inner.get("operator") == "exists":
        return value is not None
    return value is not None and str(value).casefold() == str(inner.get("value")).casefold()
