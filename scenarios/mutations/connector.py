"""Mutants of the reference connector."""

from __future__ import annotations

from typing import Any

from scenarios.mutants import Mutant

_FLOW = "connector.flows.currents"
_DELIVERY = "connector.delivery"
_SERVICE = "connector.service"


def _changed(change: Any) -> Any:
    """A replacement that changes the result of the original."""
    return lambda original: lambda *args: change(original(*args), *args)


def _without(name: str) -> Any:
    return _changed(lambda made, *_: {k: v for k, v in made.items() if k != name} if isinstance(made, dict) else made)


def _with(**more: Any) -> Any:
    return _changed(lambda made, *_: {**made, **more} if isinstance(made, dict) else made)


def _plain_identity(change: Any) -> Any:
    return lambda original: lambda event: change(original(event), event.get("user") or {})


def _top_level(made: Any, event: Any, _selection: Any) -> Any:
    if not isinstance(made, dict):
        return made
    given = event.get("properties") or {}
    moved = {k: given[k] for k in ("platform", "os_version", "device_model") if isinstance(given.get(k), str)}
    return {**made, **moved}


def _first_event_only(original: Any) -> Any:
    return lambda body: list(original(body))[:50]


def _end_as_sent(self: Any, batch: Any, *_: Any) -> None:
    self.outbox.end([item.n for item in batch], "sent", 0)


def _dead(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
    self.outbox.end([item.n for item in batch], "dead", now_ms, reply.reason)


def _drop_all_when_refused(self: Any, reply: Any, now_ms: int) -> None:
    self.outbox.drop_pending(now_ms, reply.reason)
    self.outbox.set_note("paused_ms", now_ms + 300_000)


def _fresh_ids_on_retry(original: Any) -> Any:
    count = iter(range(10**9))

    def body(api_key: str, events: Any) -> bytes:
        marked = [each.replace(b'"insert_id":"', b'"insert_id":"%d-' % next(count), 1) for each in events]
        made: bytes = original(api_key, marked)
        return made

    return body


def _named_only_dead(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
    self.outbox.end([item.n for item in batch], "dead", now_ms, reply.reason)


def _throttled_lost(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
    named = {batch[i].n for i in reply.events if i < len(batch)}
    self.outbox.end(list(named), "dropped", now_ms, "throttled")


def _throttled_request_lost(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
    self.outbox.end([item.n for item in batch], "dropped", now_ms, "throttled")


def _quota_lost(original: Any) -> Any:
    def throttled(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
        if reply.quota:
            _throttled_request_lost(self, batch, reply, now_ms)
        else:
            original(self, batch, reply, now_ms)

    return throttled


def _never_dead(self: Any, batch: Any, _reply: Any, now_ms: int) -> None:
    self.outbox.limit([item.n for item in batch], 1)
    self.outbox.hold([(item.n, now_ms + 10_000) for item in batch])


def _all_held(self: Any, batch: Any, _reply: Any, now_ms: int) -> None:
    self.outbox.hold([(item.n, now_ms + 300_000) for item in batch])


def _memory_only(original: Any) -> Any:
    def init(self: Any, _path: Any, more: str = "") -> None:
        from pathlib import Path

        original(self, Path("/dev/shm") / f"wavetank-{id(self)}-{__import__('os').getpid()}" / "outbox.db", more)

    return init


def _refused_means_unavailable(original: Any) -> Any:
    def create_app(config: Any, flows: Any, engine: Any, draining: Any) -> Any:
        app = original(config, flows, engine, draining)
        taken = app.view_functions["take"]

        def take() -> Any:
            if flows["currents"].outbox.note("refused_ms") is not None:
                return "key refused", 503
            return taken()

        app.view_functions["take"] = take
        return app

    return create_app


def _strict_types(original: Any) -> Any:
    def check(event: Any) -> Any:
        from connector.flows import currents

        found = original(event)
        if found["event_type"] != currents.CUSTOM_EVENT and found["event_type"] not in currents.names():
            raise currents.Malformed("unknown event type")
        return found

    return check


def _strict_zone(original: Any) -> Any:
    def check(event: Any) -> Any:
        from connector.flows import currents

        found = original(event)
        if "/" not in ((found.get("user") or {}).get("timezone") or "/"):
            raise currents.Malformed("unknown timezone")
        return found

    return check


def _recent_only(made: Any, event: Any, _selection: Any) -> Any:
    from connector.flows.currents import Skipped

    return Skipped("too old") if event["time"] < 1_600_000_000 else made


def _short_texts_only(made: Any, *_: Any) -> Any:
    from connector.flows.currents import Skipped

    if not isinstance(made, dict):
        return made
    long = any(isinstance(v, str) and len(v) > 1024 for v in made["event_properties"].values())
    return Skipped("too long") if long else made


def _flattened(made: dict[str, Any], *_: Any) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, dict | list) else v for k, v in made.items()}


def _texts(made: dict[str, Any], *_: Any) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, bool | int | float) else v for k, v in made.items()}


def _gives_up(original: Any) -> Any:
    """Failed uploads are counted as done."""
    return _end_as_sent


def _gives_up_on(words: str) -> Any:
    def make(original: Any) -> Any:
        def failed(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
            if words in reply.reason:
                _end_as_sent(self, batch)
            else:
                original(self, batch, reply, now_ms)

        return failed

    return make


def _lenient_read(original: Any) -> Any:
    def read(status: int, content: bytes) -> Any:
        from connector.replies import Reply

        found = original(status, content)
        return Reply("accepted", "") if found.kind == "failed" and status < 300 else found

    return read


def _huge(original: Any) -> Any:
    def choose(items: Any, _most: int) -> Any:
        return list(items)

    return choose


def _all_due(original: Any) -> Any:
    def due(self: Any, now_ms: int, limit: int) -> Any:
        return original(self, now_ms, 5000)

    return due


def _options(original: Any) -> Any:
    return lambda key, events: original(key, events)[:-1] + b',"options":{"min_id_length":1}}'


def _no_content_type(original: Any) -> Any:
    def init(self: Any, url: str, api_key: str) -> None:
        original(self, url, api_key)
        post = self._session.post
        self._session.post = lambda address, data, headers, **rest: post(
            address, data=data, headers={"Content-Type": "text/plain"}, **rest
        )

    return init


def _pause(ms: int) -> Any:
    return lambda _original: lambda *_: ms


def _fixed_region(original: Any) -> Any:
    def load(environ: Any) -> Any:
        import json
        from pathlib import Path

        ready = json.loads(Path(environ["WAVETANK_TANK"]).read_text("utf-8"))["amplitude"]
        url = ready["url"] if ready["region"] == "us" else ready["other_region_url"]
        return original({**environ, "AMPLITUDE_URL": url})

    return load


def _stays_failed(original: Any) -> Any:
    def refused(self: Any, reply: Any, now_ms: int) -> None:
        original(self, reply, now_ms)
        if now_ms - (self.outbox.note("refused_ms") or now_ms) > 48 * 3_600_000:
            self.outbox.set_note("paused_ms", now_ms + 10**12)

    return refused


def _old_name(event: Any) -> Any:
    from connector.flows import currents

    return currents.event_name(event)


def _giant_for_ever(original: Any) -> Any:
    def too_large(self: Any, batch: Any, reply: Any, now_ms: int) -> None:
        if len(batch) == 1:
            self.outbox.hold([(batch[0].n, now_ms + 60_000)])
        else:
            original(self, batch, reply, now_ms)

    return too_large


MUTANTS = (
    Mutant("stays-failed", ("CUR-091",), "nothing is delivered any more after a loss", f"{_DELIVERY}:Delivery.refused", _stays_failed),
    Mutant("needs-device", ("CUR-092",), "identified people without a device are not sent", f"{_FLOW}:identity",
           _plain_identity(lambda found, _user: found if "device_id" in found else {})),
    Mutant("never-newest", ("CUR-098",), "the newest names are not known", f"{_FLOW}:newest_name", lambda _o: _old_name),
    Mutant("giant-for-ever", ("CUR-099",), "an event too large alone is tried for ever", f"{_DELIVERY}:Delivery.too_large", _giant_for_ever),
    Mutant("sends-user-alias", ("CUR-001",), "the external id is not sent", f"{_FLOW}:identity",
           _plain_identity(lambda found, user: {k: v for k, v in found.items() if k != "user_id"} or {"device_id": str(user.get("user_id", "no-device"))})),
    Mutant("invents-device", ("CUR-002",), "people without ids are sent under the Braze id", f"{_FLOW}:identity",
           _plain_identity(lambda found, user: found or {"device_id": str(user.get("user_id"))})),
    Mutant("identified-only", ("CUR-003",), "anonymous people are not sent", f"{_FLOW}:identity",
           _plain_identity(lambda found, _user: found if "user_id" in found else {})),
    Mutant("braze-id-as-user", ("CUR-004",), "the Braze id stands in for the user id", f"{_FLOW}:identity",
           _plain_identity(lambda found, user: {"user_id": str(user.get("user_id")), **found} if found else found)),
    Mutant("no-device", ("CUR-005",), "identified events lose their device", f"{_FLOW}:identity",
           _plain_identity(lambda found, _user: {"user_id": found["user_id"]} if "user_id" in found else found)),
    Mutant("lower-case-user", ("CUR-006",), "user ids are folded to lower case", f"{_FLOW}:identity",
           _plain_identity(lambda found, _user: {k: v.lower().strip() for k, v in found.items()})),
    Mutant("empty-id", ("CUR-008",), "an empty id counts as an id", f"{_FLOW}:identity",
           _plain_identity(lambda found, user: {**({"user_id": ""} if user.get("external_user_id") == "" else {}), **found})),
    Mutant("braze-prefix", ("CUR-010",), "events are prefixed [Braze]", f"{_FLOW}:regular_name", lambda _o: lambda name: f"[Braze] {name}"),
    Mutant("no-custom-prefix", ("CUR-011",), "custom events are prefixed like others", f"{_FLOW}:custom_name", lambda _o: lambda name: f"[Appboy] {name}"),
    Mutant("no-space", ("CUR-012",), "no space after the prefix", f"{_FLOW}:regular_name", lambda _o: lambda name: f"[Appboy]{name}"),
    Mutant("glossary-names", ("CUR-013",), "events are named in lower case", f"{_FLOW}:regular_name", lambda _o: lambda name: f"[Appboy] {name.lower()}"),
    Mutant("drops-property", ("CUR-014",), "dispatch_id and app_id are left out", f"{_FLOW}:event_properties",
           _changed(lambda made, *_: {k: v for k, v in made.items() if k not in ("dispatch_id", "app_id", "source")})),
    Mutant("bare-custom-property", ("CUR-015",), "custom properties carry no prefix", f"{_FLOW}:custom_property", lambda _o: lambda key: key),
    Mutant("bare-purchase-property", ("CUR-016",), "purchase properties carry no prefix", f"{_FLOW}:purchase_property", lambda _o: lambda key: key),
    Mutant("prefixes-all", ("CUR-017",), "Braze's own properties carry the custom prefix too", f"{_FLOW}:card_property",
           lambda _o: lambda type_, key: f"[Custom event property] {key}" if type_.endswith("CustomEvent") else key),
    Mutant("no-product-id", ("CUR-018",), "product_id is sent as product_id", f"{_FLOW}:purchase_fields", _without("productId")),
    Mutant("no-price", ("CUR-019",), "the price is not sent", f"{_FLOW}:purchase_fields", _without("price")),
    Mutant("price-text", ("CUR-019", "CUR-029"), "the price is sent as text", f"{_FLOW}:purchase_fields",
           _changed(lambda made, *_: {**made, "price": str(made["price"])} if "price" in made else made)),
    Mutant("repeats-price", ("CUR-020",), "the price is repeated as a property", f"{_FLOW}:event_properties",
           _changed(lambda made, event: {**made, "price": (event.get("properties") or {}).get("price", 0)})),
    Mutant("no-currency", ("CUR-021",), "the currency is sent as a field instead of a property", f"{_FLOW}:event_properties", _without("currency")),
    Mutant("adds-revenue", ("CUR-022",), "revenue is sent", f"{_FLOW}:purchase_fields",
           _changed(lambda made, *_: {**made, "revenue": made["price"], "quantity": 1} if "price" in made else made)),
    Mutant("repeats-name", ("CUR-023",), "the custom event's name is repeated", f"{_FLOW}:event_properties",
           _changed(lambda made, event: {**made, "name": (event.get("properties") or {}).get("name")})),
    Mutant("flattens", ("CUR-024",), "lists and objects become texts", f"{_FLOW}:event_properties", _changed(_flattened)),
    Mutant("sends-nulls", ("CUR-025",), "nulls are sent", f"{_FLOW}:event_properties",
           _changed(lambda made, event: {**{k: None for k, v in (event.get("properties") or {}).items() if v is None}, **made})),
    Mutant("content-card-id", ("CUR-026",), "content_card_id keeps its name", f"{_FLOW}:card_property", lambda _o: lambda _type, key: key),
    Mutant("top-level-platform", ("CUR-027",), "platform and device go into Amplitude's fields", f"{_FLOW}:to_amplitude", _changed(_top_level)),
    Mutant("no-adid", ("CUR-028",), "advertising ids stay properties", f"{_FLOW}:advertising_ids", lambda _o: lambda _event: {}),
    Mutant("all-texts", ("CUR-029",), "numbers and booleans become texts", f"{_FLOW}:event_properties", _changed(_texts)),
    Mutant("user-properties", ("CUR-030",), "user properties are sent", f"{_FLOW}:to_amplitude", _with(user_properties={"braze": True})),
    Mutant("seconds", ("CUR-031", "CUR-077"), "times stay seconds", f"{_FLOW}:milliseconds", lambda _o: lambda seconds: seconds),
    Mutant("own-insert-id", ("CUR-032",), "insert ids are made up", f"{_FLOW}:insert_id", lambda _o: lambda event: f"wt-{event['id']}"),
    Mutant("new-insert-id-each-time", ("CUR-033", "CUR-065", "CUR-064", "CUR-063"), "every upload carries new insert ids", "connector.amplitude:body", _fresh_ids_on_retry),
    Mutant("no-library", ("CUR-034",), "library is not sent", f"{_FLOW}:to_amplitude", _without("library")),
    Mutant("min-id-length", ("CUR-035",), "options.min_id_length is sent", "connector.amplitude:body", _options),
    Mutant("dedupes-by-content", ("CUR-036",), "alike events are one", f"{_FLOW}:insert_id", lambda _o: lambda event: f"{event['event_type']}-{event['time']}"),
    Mutant("memory-outbox", ("CUR-037", "CUR-047"), "taken events are not kept across restarts", "connector.outbox:Outbox.__init__", _memory_only),
    Mutant("empty-body-refused", ("CUR-038",), "an empty body is malformed", f"{_SERVICE}:read_batch",
           lambda original: lambda body: original(body or b"[]")),
    Mutant("any-token", ("CUR-039", "CUR-040"), "every token is right", f"{_SERVICE}:authorized", lambda _o: lambda _header, _token: True),
    Mutant("half-batches", ("CUR-041",), "only the first 50 events of a batch are taken", f"{_SERVICE}:read_batch", _first_event_only),
    Mutant("swallows-malformed", ("CUR-042",), "malformed bodies are answered 2xx", f"{_SERVICE}:read_batch",
           lambda original: lambda body: original(body) if body.startswith(b'{"events":[{') else []),
    Mutant("malformed-unavailable", ("CUR-043",), "a malformed event makes the whole batch vanish", f"{_SERVICE}:read_batch",
           lambda original: lambda body: original(body) if b'"id":17' not in body else []),
    Mutant("strict-zone", ("CUR-044",), "test events are refused for their senseless values", f"{_FLOW}:check", _strict_zone),
    Mutant("sends-unselected", ("CUR-046",), "the selection is ignored", f"{_FLOW}:selected", lambda _o: lambda _type, _selection: True),
    Mutant("term-loses", ("CUR-048",), "what is pending is forgotten on SIGTERM", "connector.engine:Engine.stop",
           lambda original: lambda self, drain_s: ([each.outbox.drop_pending(0, "stopped") for each in self.works], original(self, drain_s))[1]),
    Mutant("throttled-lost", ("CUR-049",), "throttled events are given up", f"{_DELIVERY}:Delivery.throttled", lambda _o: _throttled_lost),
    Mutant("hammers", ("CUR-050",), "throttled events are sent again after a second", f"{_DELIVERY}:spread",
           lambda _o: lambda held, start_ms, _eps: [(n, start_ms - 29_000 + i * 1000) for i, n in enumerate(held)]),
    Mutant("throttled-request-lost", ("CUR-051",), "a throttled request is given up whole", f"{_DELIVERY}:Delivery.throttled", lambda _o: _throttled_request_lost),
    Mutant("holds-everybody", ("CUR-052",), "everybody waits five minutes for a throttled device", f"{_DELIVERY}:Delivery.throttled", lambda _o: _all_held),
    Mutant("quota-lost", ("CUR-056",), "requests over a daily quota are given up", f"{_DELIVERY}:Delivery.throttled", _quota_lost),
    Mutant("refused-lost", ("CUR-058", "CUR-071"), "a refused key costs the events", f"{_DELIVERY}:Delivery.refused", lambda _o: _drop_all_when_refused),
    Mutant("keeps-for-ever", ("CUR-059",), "nothing is ever dropped", f"{_DELIVERY}:GIVE_UP_MS", lambda _o: 10**15),
    Mutant("refuses-feed", ("CUR-061",), "feeds are refused while the key is", "connector.run:create_app", _refused_means_unavailable),
    Mutant("probes-hard", ("CUR-062",), "a refused key is tried every second", f"{_DELIVERY}:PROBE_MS", lambda _o: 1_000),
    Mutant("failed-lost", ("CUR-063", "CUR-064"), "failed uploads are given up", f"{_DELIVERY}:Delivery.failed", _gives_up),
    Mutant("too-large-lost", ("CUR-066",), "requests that are too large are given up", f"{_DELIVERY}:Delivery.too_large", lambda _o: _dead),
    Mutant("invalid-lost", ("CUR-067",), "a refused request is given up whole", f"{_DELIVERY}:Delivery.invalid", lambda _o: _named_only_dead),
    Mutant("silenced-lost", ("CUR-070",), "a refused request is given up whole", f"{_DELIVERY}:Delivery.invalid", lambda _o: _named_only_dead),
    Mutant("never-gives-up", ("CUR-068",), "refused events are sent for ever", f"{_DELIVERY}:Delivery.invalid", lambda _o: _never_dead),
    Mutant("trusts-any-answer", ("CUR-069",), "any 2xx counts as taken", "connector.amplitude:read", _lenient_read),
    Mutant("us-only", ("CUR-072",), "every project is sent to the American host", "connector.run:load", _fixed_region),
    Mutant("huge-requests", ("CUR-073",), "requests grow without bound", f"{_DELIVERY}:MAX_BYTES", lambda _o: 50_000_000),
    Mutant("no-content-type", ("CUR-074",), "uploads do not say they are JSON", "connector.amplitude:Client.__init__", _no_content_type),
    Mutant("identify-path", ("CUR-075",), "uploads go to another path", "connector.amplitude:Client.path", lambda _o: "/httpapi"),
    Mutant("no-backoff", ("CUR-076",), "failed uploads are repeated every second", f"{_DELIVERY}:backoff_ms", _pause(1_000)),
    Mutant("recent-only", ("CUR-077",), "old events are not sent", f"{_FLOW}:to_amplitude", _changed(_recent_only)),
    Mutant("short-texts-only", ("CUR-078",), "events with long texts are not sent", f"{_FLOW}:to_amplitude", _changed(_short_texts_only)),
    Mutant("known-types-only", ("CUR-079",), "unknown event types make a batch malformed", f"{_FLOW}:check", _strict_types),
)  # fmt: skip
