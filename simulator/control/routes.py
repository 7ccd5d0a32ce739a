"""The control API's route table: what this port answers, in one place."""

from __future__ import annotations

from typing import Any

from simulator.control import amplitude, braze, braze_segments, customerio, feeding, readback, time, trouble, world
from simulator.control.frame import ControlRoute

_TEXT = {"type": "string", "minLength": 1, "maxLength": 1024}
_LIMIT = {"type": "integer", "minimum": 1, "maximum": 100000}
_AFTER = {"type": "integer", "minimum": 0}
_PLATFORM = {"type": "string", "enum": ["amplitude", "braze", "customerio", "connector"]}
_READY = {200: "ready object"}

_JOURNAL: dict[str, Any] = {
    "after": _AFTER,
    "limit": _LIMIT,
    "platform": _PLATFORM,
    "direction": {"type": "string", "enum": ["in", "out"]},
    "path": _TEXT,
    "status": {"type": "integer"},
}
_LEDGER: dict[str, Any] = {
    "flow": _TEXT,
    "state": {"type": "string", "enum": ["delivered", "refused", "dropped", "pending"]},
    "limit": _LIMIT,
    "after": _AFTER,
}
_EVENTS: dict[str, Any] = {
    "limit": _LIMIT,
    "after": _AFTER,
    "user_id": _TEXT,
    "device_id": _TEXT,
    "insert_id": _TEXT,
    "event_type": _TEXT,
}

_T = "/tanks/<tank_id>"

ROUTES = (
    ControlRoute("GET", "/healthz", "is the server up", world.healthz, {200: "it is"}, open=True),
    ControlRoute("GET", "/settings", "every named setting with its source", world.all_settings, {200: "settings"}),
    ControlRoute("GET", "/explain/<request_id>", "why an answer was given", readback.explain, {200: "reasons"}),
    ControlRoute("POST", "/tanks", "make a tank", world.create, {201: "ready object"}, "tank", needs_body=False),
    ControlRoute("GET", "/tanks", "list the tanks", world.listed, {200: "tanks"}),
    ControlRoute("GET", _T, "where everything is", world.show, _READY),
    ControlRoute("DELETE", _T, "remove a tank", world.delete, {204: "gone"}),
    ControlRoute("POST", f"{_T}/reset", "empty a tank", world.reset, _READY),
    ControlRoute("POST", f"{_T}/snapshots", "keep a copy", world.snapshot, {201: "snapshot"}, "snapshot"),
    ControlRoute("GET", f"{_T}/snapshots", "list the copies", world.snapshots, {200: "snapshots"}),
    ControlRoute("POST", f"{_T}/snapshots/<name>/restore", "go back to a copy", world.restore, _READY),
    ControlRoute("GET", f"{_T}/settings", "the tank's settings", world.settings, {200: "settings"}),
    ControlRoute("PATCH", f"{_T}/settings", "override settings", world.change_settings, {200: "settings"}, "settings"),
    ControlRoute(
        "PUT",
        f"{_T}/credentials/<name>",
        "revoke, mend or replace a key",
        world.credential,
        {200: "credential"},
        "credential",
    ),
    ControlRoute("GET", f"{_T}/clock/now", "tank time", time.now, {200: "tank time"}, open=True),
    ControlRoute(
        "GET",
        f"{_T}/clock/wait",
        "hold until tank time reaches an instant",
        time.wait,
        {200: "reached", 204: "not yet, ask again"},
        query={"until": _TEXT, "name": _TEXT},
        open=True,
    ),
    ControlRoute("GET", f"{_T}/clock/waiting", "who waits at the clock", time.waiting, {200: "waits"}),
    ControlRoute(
        "POST",
        f"{_T}/clock/advance",
        "move a stepped clock",
        time.advance,
        {200: "done", 409: "the clock is not stepped"},
        "advance",
    ),
    ControlRoute(
        "POST",
        f"{_T}/clock/settle",
        "wait for quiet",
        time.settle,
        {200: "quiet", 409: "the clock is not stepped"},
    ),
    ControlRoute("PUT", f"{_T}/clock", "change the kind of time", time.change, {200: "clock"}, "clock_change"),
    ControlRoute("GET", f"{_T}/faults", "list the faults", trouble.listed, {200: "faults"}),
    ControlRoute("POST", f"{_T}/faults", "set a fault", trouble.add, {201: "fault"}, "fault"),
    ControlRoute("DELETE", f"{_T}/faults", "remove all faults", trouble.remove_all, {200: "removed"}),
    ControlRoute("DELETE", f"{_T}/faults/<fault_id>", "remove a fault", trouble.remove, {204: "gone"}),
    ControlRoute(
        "PUT",
        f"{_T}/feeds/currents",
        "point Currents at a connector",
        feeding.configure,
        {200: "feed"},
        "currents_feed",
    ),
    ControlRoute("GET", f"{_T}/feeds/currents", "how the feed does", feeding.state, {200: "feed"}),
    ControlRoute(
        "POST",
        f"{_T}/feeds/currents/check",
        "empty-body credential check",
        feeding.check,
        {200: "answer", 409: "no connector"},
    ),
    ControlRoute(
        "POST",
        f"{_T}/feeds/currents/test",
        "Send Test Events",
        feeding.test_events,
        {200: "answer", 409: "no connector"},
    ),
    ControlRoute(
        "POST",
        f"{_T}/feeds/raw",
        "send one request of your own down the feed",
        feeding.raw,
        {200: "answer", 409: "no connector"},
        "raw",
    ),
    ControlRoute(
        "PUT",
        f"{_T}/feeds/amplitude/<kind>",
        "stream Amplitude's events or users to a connector",
        feeding.configure_stream,
        {200: "stream"},
        "amplitude_stream",
    ),
    ControlRoute("GET", f"{_T}/feeds/amplitude/<kind>", "how the stream does", feeding.stream, {200: "stream"}),
    ControlRoute("POST", f"{_T}/emit", "emit events", feeding.emit, {202: "emitted"}, "emit"),
    ControlRoute("POST", f"{_T}/generate", "generate traffic", feeding.generate, {202: "emitted"}, "generate"),
    ControlRoute("GET", f"{_T}/journal", "requests in order", readback.entries, {200: "journal"}, query=_JOURNAL),
    ControlRoute(
        "GET", f"{_T}/ledger", "what became of every event", readback.ledger_of, {200: "ledger"}, query=_LEDGER
    ),
    ControlRoute(
        "GET",
        f"{_T}/amplitude/events",
        "events Amplitude holds",
        readback.amplitude_events,
        {200: "events"},
        query=_EVENTS,
    ),
    ControlRoute(
        "GET",
        f"{_T}/amplitude/arrivals",
        "events Amplitude holds, in few words",
        readback.amplitude_arrivals,
        {200: "events"},
        query={"limit": _LIMIT, "after": _AFTER},
    ),
    ControlRoute(
        "GET",
        f"{_T}/amplitude/users",
        "users Amplitude holds",
        readback.amplitude_users,
        {200: "users"},
        query={"limit": _LIMIT, "after": _AFTER},
    ),
    ControlRoute("GET", f"{_T}/amplitude/merges", "merged users", readback.amplitude_merges, {200: "merges"}),
    ControlRoute("GET", f"{_T}/amplitude/usage", "use of the limits", readback.amplitude_usage, {200: "usage"}),
    ControlRoute(
        "PUT", f"{_T}/amplitude/usage", "preset use of the limits", readback.preset_usage, {200: "usage"}, "usage"
    ),
    ControlRoute("PUT", f"{_T}/amplitude/silenced", "silence devices", readback.silence, {200: "silenced"}, "silenced"),
    ControlRoute(
        "PUT",
        f"{_T}/amplitude/event-types",
        "block, delete or hide event types",
        readback.event_types,
        {200: "states"},
        "event_types",
    ),
    ControlRoute("GET", f"{_T}/braze/currents", "catalogue and queue", readback.braze_currents, {200: "currents"}),
    *amplitude.ROUTES,
    *braze.ROUTES,
    *braze_segments.ROUTES,
    *customerio.ROUTES,
)
