"""The reporting webhook as the control API sees it: set it up, read its state, send one request of one's own.

The feed is the workspace's oldest webhook; further ones are made over the App API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection

from simulator import clock, feeds
from simulator.customerio import catalogue, ids, queue, reporting, samples, sending, signing, webhooks
from simulator.customerio.webhooks import Webhook
from simulator.tank import Tank

NO_WEBHOOK = "there is no reporting webhook: PUT /tanks/{id}/feeds/customerio first"
SAMPLE_URL = "http://127.0.0.1:9000/feeds/customerio"


def configure(conn: Connection, tank: Tank, config: Mapping[str, Any]) -> dict[str, Any]:
    """Set up or edit the oldest webhook; answers :func:`state`. What is left out stays as it was.

    ``url``, ``name``, ``events`` (``"all"`` or a list of names), ``with_content``, ``full_resolution``, ``disabled``.
    Raises ValueError in one line.
    """
    given = {key: value for key, value in config.items() if key != "url"}
    if "url" in config:
        given["endpoint"] = config["url"]
    old = webhooks.first(conn)
    if old is None and not str(given.get("endpoint", "")).startswith(("http://", "https://")):
        raise ValueError(f"the reporting webhook has no url yet: give one like {SAMPLE_URL}")
    saved = webhooks.save(conn, given, None if old is None else old.id, webhooks.FIRST)
    saved_now(conn, tank, saved)
    return state(conn, tank)


def saved_now(conn: Connection, tank: Tank, webhook: Webhook) -> None:
    """A webhook was saved: what waits in its queue goes on when its time comes."""
    reporting.wake(conn, webhook.id, tank.clock.now_ms(conn))


def removed(conn: Connection, webhook_id: int, now_ms: int) -> None:
    """Delete a webhook with its queue."""
    queue.end_all(conn, webhook_id, "the webhook was deleted", now_ms)
    reporting.forget(conn, webhook_id)
    webhooks.remove(conn, webhook_id)


def state(conn: Connection, tank: Tank) -> dict[str, Any]:
    """How the webhooks do: the oldest one's members at the top, all of them under ``webhooks``.

    ``status`` is ``enabled``, ``disabled``, or ``off`` without a webhook.
    """
    found = [_state(conn, tank, each) for each in webhooks.every(conn)]
    if not found:
        return {"status": "off", "url": None, "webhooks": []}
    return {**found[0], "webhooks": found}


def _state(conn: Connection, tank: Tank, webhook: Webhook) -> dict[str, Any]:
    progress = webhook.progress
    return {
        "id": webhook.id,
        "name": webhook.name,
        "url": webhook.endpoint,
        "status": "disabled" if webhook.disabled else "enabled",
        "events": "all" if webhook.events is None else list(webhook.events),
        "with_content": webhook.with_content,
        "full_resolution": webhook.full_resolution,
        "signing_key": webhooks.signing_key(tank, webhook.id),
        "failed_attempts": progress.attempts,
        "failing_since": None if progress.began_ms is None else clock.iso(progress.began_ms),
        "next_attempt": None if progress.resume_ms is None else clock.iso(progress.resume_ms),
        **queue.counts(conn, webhook.id),
    }


def send_test(tank: Tank) -> dict[str, Any]:
    """Send Test: a sample of the first selected event; not queued, and not tried again. Raises ValueError without a
    webhook. Source: guide to reporting webhooks; which event it is, is inferred.
    """
    with tank.store.read() as conn:
        webhook = webhooks.first(conn)
        now_ms = tank.clock.now_ms(conn)
    if webhook is None:
        raise ValueError(NO_WEBHOOK)
    wanted = [each for each in catalogue.pairs().values() if each.name is not None and webhook.wants(each.name)]
    pair = next((each for each in wanted if each.name == "email_sent"), wanted[0])
    rng = tank.rng("customerio_test", now_ms)
    report: dict[str, Any] = {"event_id": ids.ulid(rng, now_ms), "object_type": pair.object_type, "metric": pair.metric}
    report |= {"timestamp": now_ms // 1000, "data": samples.data(rng, pair, now_ms)}
    return {"report": report, **send(tank, {"report": report})[0]}


def send(tank: Tank, ask: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Send one request outside the queue, as wrong as it is asked for; answers what came of each sending.

    See ``customerio_send`` of the control API's contract. Raises ValueError without a webhook, and for a report that
    was never sent.
    """
    with tank.store.read() as conn:
        webhook = webhooks.first(conn)
        now_s = tank.clock.now_ms(conn) // 1000
        if webhook is None:
            raise ValueError(NO_WEBHOOK)
        body, timestamp = _what(conn, webhook, ask, now_s)
    key = webhooks.signing_key(tank, webhook.id)
    headers = {**sending.headers(tank, key, timestamp, body), **_signature(ask, key, timestamp, body)}
    encoding = ask.get("encoding", "compact")
    sent = body if encoding == "compact" else sending.reencoded(body, encoding)
    if ask.get("sign", "compact") == "sent":
        headers |= _signature(ask, key, timestamp, sent)
    if ask.get("timestamp") == "none":
        del headers["X-CIO-Timestamp"]
    if ask.get("signature") == "none":
        del headers["X-CIO-Signature"]
    if ask.get("alter"):
        sent = sending.altered(sent)
    headers.update(ask.get("headers", {}))
    timeout_s = float(tank.settings["customerio.webhook.timeout_s"])
    answers = []
    for _ in range(ask.get("times", 1)):
        outcome = feeds.post(tank, webhook.endpoint, sent, headers, timeout_s)
        text = outcome.body.decode("utf-8", "replace")
        answers.append({"status": outcome.status, "body": text, "error": outcome.error})
    return answers


def _what(conn: Connection, webhook: Webhook, ask: Mapping[str, Any], now_s: int) -> tuple[bytes, str]:
    """Body and timestamp: those of a report that was sent, or new ones."""
    if "event_id" in ask:
        found = queue.sent(conn, webhook.id, ask["event_id"])
        if found is None:
            raise ValueError(f"event_id: no report {ask['event_id']!r} was sent to this webhook")
        body, moment = queue.body_of(found), str(found.sent_s)
    else:
        body = ask["body"].encode("utf-8", "surrogateescape") if "body" in ask else orjson.dumps(ask.get("report", {}))
        moment = str(now_s - ask.get("age_s", 0))
    given = ask.get("timestamp", "now")
    return body, given["text"] if isinstance(given, dict) else moment


def _signature(ask: Mapping[str, Any], key: str, timestamp: str, body: bytes) -> dict[str, str]:
    given = ask.get("signature", "right")
    right = signing.signature(key, timestamp, body)
    if isinstance(given, dict):
        return {"X-CIO-Signature": given["text"]}
    wrong = signing.signature(f"not {key}", timestamp, body)
    shown = {"wrong": wrong, "upper_case": right.upper(), "prefixed": f"{signing.VERSION}={right}"}
    return {"X-CIO-Signature": shown.get(given, right)}
