"""Mutants of the flow Customer.io to Amplitude: the reference connector, and the simulated Customer.io."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, arguments, instead, result, setting

_FLOW = "connector.flows.customerio"
_REPORTING = "connector.reporting"
_DELIVERY = "connector.delivery:Delivery"
_TAKE = "connector.service:take_report"
_SIM = "simulator.customerio"


def _events(change: Any) -> Any:
    """Each event of a report is changed; None leaves it out."""

    def changed(found: Any, *_: Any) -> Any:
        from connector.flows.customerio import Skipped

        if not isinstance(found, list):
            return found
        made = [each for each in map(change, found) if each is not None]
        return made or Skipped("left out")

    return result(changed)


def _without_group(name: str) -> Any:
    return _events(lambda each: {**each, "groups": {k: v for k, v in each.get("groups", {}).items() if k != name}})


def _own(change: Any) -> Any:
    """The properties of an event are changed."""
    return result(lambda made, *_: change(made))


def _said(name: str, other: str) -> Any:
    return result(lambda found, *_: found.replace(name, other))


def _by_email(found: Any, identifiers: Any) -> Any:
    return identifiers.get("email") or found


def _zero_stays(found: Any, identifiers: Any) -> Any:
    return found or ("0" if identifiers.get("id") == "0" else None)


def _backwards(data: Any, readings: Any) -> Any:
    return {**data, "recipients": list(reversed(data.get("recipients") or []))}, readings


def _bytes_cut(content: str) -> str:
    return content.encode()[:1024].decode(errors="ignore")


def _unsigned_too(original: Any) -> Any:
    return lambda key, timestamp, given, *more: not timestamp or not given or original(key, timestamp, given, *more)


def _any_time_near(original: Any) -> Any:
    def verified(key: str, _timestamp: str, given: str, body: bytes, now_ms: int, window_s: int) -> bool:
        near = range(now_ms // 1000 - 5, now_ms // 1000 + 6)
        return any(original(key, str(each), given, body, now_ms, window_s) for each in near)

    return verified


def _over_the_object(key: str, timestamp: str, body: bytes) -> Any:
    import orjson

    try:
        return key, timestamp, orjson.dumps(orjson.loads(body))
    except orjson.JSONDecodeError:
        return key, timestamp, body


def _each_time_anew(original: Any) -> Any:
    count = iter(range(10**9))
    return lambda *args: [replace(each, id=f"{each.id} {next(count)}") for each in original(*args)]


def _refuses(fits: Any) -> Any:
    """Reports that are left out for certain reasons are answered 400."""

    def make(original: Any) -> Any:
        def take_report(body: bytes, config: Any, *more: Any) -> Any:
            import flask

            from connector import reporting

            row = reporting.rows(body, config.customerio.integration)[0]
            if row.body is None and fits(row.reason):
                return flask.Response(status=400)
            return original(body, config, *more)

        return take_report

    return make


def _only_while_well(original: Any) -> Any:
    def take_report(body: bytes, config: Any, flows: Any, engine: Any) -> Any:
        import flask

        if flows["customerio"].delivery.status != "running":
            return flask.Response(status=503)
        return original(body, config, flows, engine)

    return take_report


def _always_on(integration: Any, environ: Any, where: str) -> Any:
    section = {
        "amplitude": {"api_key": environ["AMPLITUDE_API_KEY"]},
        "signing_key": environ["CUSTOMERIO_SIGNING_KEY"],
    }
    return {"customerio": integration.get("customerio") or section}, environ, where


def _end(state: str) -> Any:
    """A method of the delivery that ends the batch."""

    def ends(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
        self.outbox.end([item.n for item in batch], state, now_ms, reply.reason)

    return instead(ends)


def _throttled_lost(original: Any) -> Any:
    def settle(self: Any, batch: Any, reply: Any, now_ms: int) -> Any:
        if reply.kind == "throttled":
            self.outbox.end([item.n for item in batch], "dropped", now_ms, reply.reason)
            return True
        return original(self, batch, reply, now_ms)

    return settle


def _gives_up_key(self: Any, reply: Any, now_ms: int) -> None:
    self.outbox.drop_pending(now_ms, reply.reason)


def _fresh_ids(original: Any) -> Any:
    count = iter(range(10**9))

    def payload(self: Any, events: Any) -> Any:
        marked = [each.replace(b'"insert_id":"', b'"insert_id":"%d-' % next(count), 1) for each in events]
        return original(self, marked)

    return payload


def _in_memory(original: Any) -> Any:
    def outbox_of(config: Any, *more: Any) -> Any:
        return original(replace(config, state_dir=Path(tempfile.mkdtemp(prefix="wavetank-mutant-"))), *more)

    return outbox_of


def _gone_at_once(step: Any, *_: Any) -> Any:
    return replace(step, end="given_up", progress=type(step.progress)()) if step.end == "pending" else step


def _broken(progress: Any, status: Any, _broken: bool, *more: Any) -> Any:
    return progress, status, status is None, *more


def _good_reply(*_: Any) -> Any:
    from connector.replies import Reply

    return Reply("accepted", "")


def _in_ms(made: Any, *_: Any) -> Any:
    return {**made, "timestamp": made["timestamp"] * 1000}


MUTANTS = (
    Mutant("cio-user-is-email", ("CIO-001",), "people go by their email addresses", f"{_FLOW}:user_id", result(_by_email)),
    Mutant("cio-somebody", ("CIO-002",), "people without an id get one", f"{_FLOW}:user_id", result(lambda found, _: found or "somebody")),
    Mutant("cio-devices-are-nobody", ("CIO-003",), "devices without a person are left out", f"{_FLOW}:to_amplitude", _events(lambda each: each if "user_id" in each else None)),
    Mutant("cio-zero-is-an-id", ("CIO-004",), "0 is an id like any other", f"{_FLOW}:is_zero", instead(lambda _: False)),
    Mutant("cio-many-zeros", ("CIO-004",), "000000 is 0, too", f"{_FLOW}:is_zero", instead(lambda value: value.strip("0") == "")),
    Mutant("cio-zero-without-email", ("CIO-005",), "0 stays where there is no email", f"{_FLOW}:user_id", result(_zero_stays)),
    Mutant("cio-no-device", ("CIO-006",), "devices are not looked at", f"{_FLOW}:devices", instead(lambda *_: [])),
    Mutant("cio-platform-as-received", ("CIO-007",), "platforms stay in small letters", f"{_FLOW}:spelled", instead(lambda platform, _: platform)),
    Mutant("cio-last-device", ("CIO-008",), "of several devices the last one counts", f"{_FLOW}:devices", arguments(_backwards)),
    Mutant("cio-small-ids", ("CIO-009",), "ids are written in small letters", f"{_FLOW}:user_id", result(lambda found, _: found and found.lower())),
    Mutant("cio-small-names", ("CIO-010",), "events are called email sent", f"{_FLOW}:event_name", result(lambda found, *_: found.lower())),
    Mutant("cio-sms-in-capitals", ("CIO-010",), "text messages are SMS", f"{_FLOW}:event_name", _said("Sms", "SMS")),
    Mutant("cio-names-of-the-pipeline", ("CIO-010",), "names are those of another integration", f"{_FLOW}:event_name", _said("Email Spammed", "Email Marked as Spam")),
    Mutant("cio-whatsapp-short", ("CIO-011",), "WhatsApp is called WA", f"{_FLOW}:event_name", _said("Whatsapp", "WA")),
    Mutant("cio-inapp", ("CIO-012",), "in-app is one word", f"{_FLOW}:event_name", _said("In App", "Inapp")),
    Mutant("cio-preferences", ("CIO-013",), "preferences have another name", f"{_FLOW}:event_name", _said("Cio Subscription Preferences Changed", "Preferences")),
    Mutant("cio-own-insert-id", ("CIO-014",), "insert ids are made up", f"{_FLOW}:insert_ids", result(lambda found, *_: [f"x-{each}" for each in found])),
    Mutant("cio-seconds", ("CIO-015",), "times stay in seconds", f"{_FLOW}:milliseconds", instead(lambda timestamp, _: timestamp)),
    Mutant("cio-no-account", ("CIO-016",), "the account is not told", f"{_FLOW}:to_amplitude", _without_group("account_id")),
    Mutant("cio-no-workspace", ("CIO-017",), "the workspace is not told", f"{_FLOW}:to_amplitude", _without_group("workspace")),
    Mutant("cio-nested", ("CIO-018",), "properties lie one level down", f"{_FLOW}:event_properties", _own(lambda made: {"data": made})),
    Mutant("cio-no-customer-id", ("CIO-018",), "the deprecated field is left out", f"{_FLOW}:event_properties", _own(lambda made: {k: v for k, v in made.items() if k != "customer_id"})),
    Mutant("cio-no-email", ("CIO-019",), "the email is left out", f"{_FLOW}:event_properties", _own(lambda made: {k: v for k, v in made.items() if k != "email"})),
    Mutant("cio-said-again", ("CIO-020",), "the name is repeated as a property", f"{_FLOW}:event_properties", _own(lambda made: {**made, "metric": "sent"})),
    Mutant("cio-content-everywhere", ("CIO-021",), "any event may carry content", f"{_FLOW}:carries_content", instead(lambda _, integration: integration.body_content)),
    Mutant("cio-content-never", ("CIO-021",), "no event carries content", f"{_FLOW}:carries_content", instead(lambda *_: False)),
    Mutant("cio-content-whole", ("CIO-022",), "content is not cut", f"{_FLOW}:cut", instead(lambda content: content)),
    Mutant("cio-content-short", ("CIO-022",), "content is cut at 1,000", f"{_FLOW}:MAX_CONTENT", instead(1000)),
    Mutant("cio-content-in-bytes", ("CIO-022",), "content is cut at 1,024 bytes", f"{_FLOW}:cut", instead(_bytes_cut)),
    Mutant("cio-content-always", ("CIO-023",), "the switch is not looked at", f"{_FLOW}:carries_content", instead(lambda metric, _: metric == "sent")),
    Mutant("cio-everything-selected", ("CIO-024",), "the selection is not looked at", f"{_FLOW}:selected", instead(lambda *_: True)),
    Mutant("cio-never-europe", ("CIO-025",), "everything goes to the American host", "connector.sections:base_url", arguments(lambda _region, *more: ("US", *more))),
    Mutant("cio-not-the-batch-api", ("CIO-026",), "events go to HTTP V2", "connector.amplitude:BatchClient.path", instead("/2/httpapi")),
    Mutant("cio-never-off", ("CIO-027",), "a flow without a section is on", "connector.sections:customerio_flow", arguments(_always_on)),
    Mutant("cio-plain-number", ("CIO-028",), "phone numbers lose their plus", f"{_FLOW}:event_properties", _own(lambda made: {k: v.lstrip("+") if k == "recipient" else v for k, v in made.items()})),
    Mutant("cio-any-signature", ("CIO-030",), "signatures are not compared", f"{_REPORTING}:same", instead(lambda *_: True)),
    Mutant("cio-unsigned-too", ("CIO-031",), "what is not signed is taken", f"{_REPORTING}:verified", _unsigned_too),
    Mutant("cio-looks-signed", ("CIO-032",), "64 digits are a signature", f"{_REPORTING}:same", instead(lambda _, given: len(given) == 64)),
    Mutant("cio-signed-object", ("CIO-033",), "the object is verified, not its bytes", f"{_REPORTING}:signature", arguments(_over_the_object)),
    Mutant("cio-any-time", ("CIO-034",), "old signatures are good", f"{_REPORTING}:timely", instead(lambda *_: True)),
    Mutant("cio-forgets-reports", ("CIO-035",), "repeated reports are taken anew", f"{_REPORTING}:rows", _each_time_anew),
    Mutant("cio-small-signatures", ("CIO-036",), "signatures in capitals are wrong", f"{_REPORTING}:same", instead(lambda expected, given: expected == given)),
    Mutant("cio-time-not-signed", ("CIO-037",), "the header's time is not what is verified", f"{_REPORTING}:verified", _any_time_near),
    Mutant("cio-strict", ("CIO-038",), "what cannot be used is refused", _TAKE, _refuses(lambda reason: "documented" not in reason)),
    Mutant("cio-strict-metrics", ("CIO-041",), "unknown metrics are refused", _TAKE, _refuses(lambda reason: "documented" in reason)),
    Mutant("cio-any-number", ("CIO-039",), "milliseconds are taken for seconds", f"{_FLOW}:milliseconds", instead(lambda timestamp, _: timestamp * 1000)),
    Mutant("cio-small-bodies", ("CIO-040",), "a body has at most 1 MB", "connector.service:MAX_BODY_BYTES", instead(1_000_000)),
    Mutant("cio-only-while-well", ("CIO-042",), "while Amplitude is away nothing is taken", _TAKE, _only_while_well),
    Mutant("cio-test-sends-nothing", ("CIO-043",), "Test Connection sends nothing", f"{_REPORTING}:test_connection", instead(_good_reply)),
    Mutant("cio-test-another-name", ("CIO-043",), "Test Connection sends another event", f"{_FLOW}:sample", result(lambda made, *_: {**made, "metric": "opened"})),
    Mutant("cio-test-always-good", ("CIO-044",), "Test Connection never complains", f"{_REPORTING}:test_connection", result(_good_reply)),
    Mutant("cio-gives-up", ("CIO-050",), "a failed upload is done", f"{_DELIVERY}.failed", _end("sent")),
    Mutant("cio-throttled-lost", ("CIO-051",), "throttled events are dropped", f"{_DELIVERY}.settle", _throttled_lost),
    Mutant("cio-large-lost", ("CIO-052",), "a batch that is too large is dropped", f"{_DELIVERY}.too_large", _end("dead")),
    Mutant("cio-batch-sunk", ("CIO-053",), "a refused event sinks its batch", f"{_DELIVERY}.invalid", _end("dead")),
    Mutant("cio-long-ids-only", ("CIO-054",), "Amplitude's own id length holds", "connector.amplitude:with_min_id_length", instead(lambda payload, _: payload)),
    Mutant("cio-fresh-ids", ("CIO-055",), "every attempt has insert ids of its own", "connector.amplitude:BatchClient.payload", _fresh_ids),
    Mutant("cio-forgetful", ("CIO-056",), "the outbox goes with the process", "connector.assembly:outbox_of", _in_memory),
    Mutant("cio-key-is-the-end", ("CIO-057",), "a refused key costs everything", f"{_DELIVERY}.refused", instead(_gives_up_key)),
    Mutant("cio-throttled-hurry", ("CIO-058",), "throttled events wait for a second", "connector.amplitude:BatchClient.pauses_ms", instead((1_000,))),
    Mutant("cio-signs-in-capitals", ("CIO-070",), "signatures are in capitals", f"{_SIM}.signing:signature", result(lambda found, *_: found.upper())),
    Mutant("cio-reports-in-ms", ("CIO-071",), "timestamps are milliseconds", f"{_SIM}.reporting:_completed", result(_in_ms)),
    Mutant("cio-no-hour", ("CIO-072",), "no hour is waited", SETTINGS, setting("customerio.retry.pause_s", 60)),
    Mutant("cio-overtaking", ("CIO-073",), "a failing report lets the others pass", f"{_SIM}.retrying:answered", result(_gone_at_once)),
    Mutant("cio-for-ever", ("CIO-074",), "reports are tried for ever", SETTINGS, setting("customerio.retry.give_up_s", 10**9)),
    Mutant("cio-texts-always", ("CIO-075",), "Body Content is always on", f"{_SIM}.queue:body_of", instead(lambda row: row.body)),
    Mutant("cio-every-open", ("CIO-076",), "every open is reported", f"{_SIM}.reporting:_again", instead(lambda *_: set())),
    Mutant("cio-everything-reported", ("CIO-077",), "the webhook's selection is not looked at", f"{_SIM}.reporting:_refusal", instead(lambda *_: None)),
    Mutant("cio-old-signature", ("CIO-078",), "retries carry the first signature", SETTINGS, setting("customerio.webhook.resign", False)),
    Mutant("cio-half-a-day", ("CIO-079",), "reports are given up after half a day", SETTINGS, setting("customerio.retry.give_up_s", 43_200)),
    Mutant("cio-hour-for-all", ("CIO-080",), "an hour is waited after any status", SETTINGS, setting("customerio.retry.pausing_statuses", list(range(300, 600)))),
    Mutant("cio-one-world", ("CIO-081",), "keys are known in either region", f"{_SIM}.app:at_home", instead(lambda find, _region: find)),
    Mutant("cio-patient", ("CIO-082",), "an answer has half a minute", SETTINGS, setting("customerio.webhook.timeout_s", 30)),
    Mutant("cio-hour-after-a-timeout", ("CIO-082",), "an hour is waited after a timeout", f"{_SIM}.retrying:answered", arguments(_broken)),
    Mutant("cio-replies-for-ever", ("CIO-083",), "replies are reported however late", f"{_SIM}.deliveries:REPLIES_S", instead(10**9)),
    Mutant("cio-replies-for-a-day", ("CIO-083",), "replies are reported for a day", f"{_SIM}.deliveries:REPLIES_S", instead(86_400)),
    Mutant("cio-dead-tokens", ("CIO-084",), "a bounce costs no token", f"{_SIM}.deliveries:_lose_tokens", instead(lambda *_: None)),
)
