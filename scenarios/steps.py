"""Steps: what a scenario does to its tank and its connector, one function per kind of step."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from scenarios.connectors import Connector, NeverReady
from scenarios.control import TankHandle
from scenarios.environment import environment, lay_out, merged
from scenarios.matching import duration_ms, instant_ms
from scenarios.packs import kind
from scenarios.readback import Answer, Emission

_MOMENT = re.compile(r"^\$(now|start)(_ms)?([+-]\d+)?$")
_SETTLED_MS = 20
"""Real ms without traffic after which a tank counts as quiet while its connector is stopped."""


class Gone(Exception):
    """The connector under test did what no connector may: it did not come back. One line."""


@dataclass
class Stage:
    """A scenario under way: its tank, its connector, and what it has to remember."""

    tank: TankHandle
    connector: Connector | None
    start_ms: int
    feed: dict[str, Any] = field(default_factory=dict)
    integration: dict[str, Any] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    emissions: list[Emission] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    settle_ms: int | None = None


def run(step: Mapping[str, Any], stage: Stage) -> None:
    """Take one step (``expect`` is the runner's). Raises ControlError, Gone, Unusable."""
    name = kind(step)
    STEPS[name](step[name], stage)


def filled(value: Any, now_ms: int, start_ms: int) -> Any:
    """A value of a scenario with ``$now``, ``$now-60``, ``$now_ms``, ``$start+5`` replaced by numbers."""
    if isinstance(value, str):
        found = _MOMENT.match(value)
        if not found:
            return value
        ms = now_ms if found[1] == "now" else start_ms
        offset = int(found[3] or 0)
        return ms + offset if found[2] else ms // 1000 + offset
    if isinstance(value, Mapping):
        return {key: filled(each, now_ms, start_ms) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, now_ms, start_ms) for each in value]
    return value


def uses_moments(value: Any) -> bool:
    """Whether a value holds ``$now`` or ``$start``."""
    if isinstance(value, str):
        return value.startswith("$") and _MOMENT.match(value) is not None
    if isinstance(value, Mapping):
        return any(map(uses_moments, value.values()))
    return isinstance(value, list) and any(map(uses_moments, value))


def _moments(value: Any, stage: Stage) -> Any:
    return filled(value, stage.tank.now_ms(), stage.start_ms) if uses_moments(value) else value


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace("{n}", str(number))
    if isinstance(value, Mapping):
        return {key: _numbered(each, number) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbered(each, number) for each in value]
    return value


def _emit(body: Mapping[str, Any], stage: Stage) -> None:
    if "repeat" in body:
        event = _moments(body["event"], stage)
        events = [_numbered(event, number) for number in range(body["repeat"])]
    else:
        events = _moments(body["events"], stage)
    done = stage.tank.call("POST", "/emit", {"flow": "currents", "events": events})
    for event_id, event in zip(done["ids"], events, strict=False):
        user = event.get("user") or {}
        stage.emissions.append(Emission(event_id, user.get("device_id"), user.get("external_user_id")))


def _generate(body: Mapping[str, Any], stage: Stage) -> None:
    stage.tank.call("POST", "/generate", {"flow": "currents", **body})


def _advance(body: Any, stage: Stage) -> None:
    if isinstance(body, Mapping) and "until" in body:
        stage.tank.call("POST", "/clock/advance", {"until": instant_ms(body["until"], stage.start_ms)})
        return
    by = body["by"] if isinstance(body, Mapping) else body
    stage.tank.call("POST", "/clock/advance", {"by": duration_ms(by)})


def _settle(_body: Any, stage: Stage) -> None:
    stage.tank.settle()


def _fault(body: Mapping[str, Any], stage: Stage) -> None:
    fault = {key: value for key, value in body.items() if key != "as"}
    for key in ("from", "until"):
        if key in fault:
            fault[key] = instant_ms(fault[key], stage.start_ms)
    made = stage.tank.call("POST", "/faults", fault)
    if "as" in body:
        stage.faults[body["as"]] = made["id"]


def _mend(name: str, stage: Stage) -> None:
    if name == "all":
        stage.tank.call("DELETE", "/faults")
    else:
        stage.tank.call("DELETE", f"/faults/{stage.faults[name]}")


def _credential(body: Mapping[str, Any], stage: Stage) -> None:
    change = {key: value for key, value in body.items() if key != "name"}
    stage.tank.call("PUT", f"/credentials/{body['name']}", change)


def _stop(body: Mapping[str, Any], stage: Stage) -> None:
    connector = _connector(stage)
    connector.stop(body["signal"])
    # Nothing runs that could wake up late, so there is no need to wait for it before time goes on.
    stage.settle_ms = stage.tank.call("GET", "/settings")["clock.settle_ms"]
    stage.tank.call("PATCH", "/settings", {"clock.settle_ms": _SETTLED_MS})


def _start(_body: Any, stage: Stage) -> None:
    connector = _connector(stage)
    connector.start()
    try:
        connector.wait_ready()
    except NeverReady as error:
        raise Gone(f"after a restart {error}") from None
    if stage.settle_ms is not None:
        stage.tank.call("PATCH", "/settings", {"clock.settle_ms": stage.settle_ms})


def _restart(body: Mapping[str, Any], stage: Stage) -> None:
    connector = _connector(stage)
    connector.stop(body["signal"])
    if body.get("environment") == "fresh":
        ready = stage.tank.refresh()
        clock = "WAVETANK_CLOCK_URL" in connector.environ
        connector.environ = environment(ready, connector.folder, clock=clock)
        lay_out(ready, connector.folder, stage.integration)
    _start(True, stage)


def _connector(stage: Stage) -> Connector:
    if stage.connector is None:
        raise Gone("the scenario has no connector to stop or start")
    return stage.connector


def _post(body: Mapping[str, Any], stage: Stage) -> None:
    request = {key: _moments(body[key], stage) for key in ("path", "body", "headers", "token") if key in body}
    for _ in range(body.get("repeat", 1)):
        _remember(stage.tank.call("POST", "/feeds/raw", request), stage, body.get("as"))


def _remember(answer: Mapping[str, Any], stage: Stage, name: str | None) -> None:
    text = answer.get("body", "")
    stage.answers.append(
        Answer(
            answer.get("status"),
            text if isinstance(text, str) else json.dumps(text),
            answer.get("headers") or {},
            name,
        )
    )


def _check(_body: Any, stage: Stage) -> None:
    _remember(stage.tank.call("POST", "/feeds/currents/check"), stage, "check_credentials")


def _test_events(_body: Any, stage: Stage) -> None:
    _remember(stage.tank.call("POST", "/feeds/currents/test"), stage, "test_events")


def _feed(body: Mapping[str, Any], stage: Stage) -> None:
    stage.feed = merged(stage.feed, body)
    stage.tank.call("PUT", "/feeds/currents", stage.feed)


def _usage(body: Mapping[str, Any], stage: Stage) -> None:
    given = {
        kind_of: [
            {**each, "at": instant_ms(each["at"], stage.start_ms)} if "at" in each else each
            for each in _moments(entries, stage)
        ]
        for kind_of, entries in body.items()
    }
    stage.tank.call("PUT", "/amplitude/usage", given)


def _silence(devices: list[str], stage: Stage) -> None:
    stage.tank.call("PUT", "/amplitude/silenced", {"device_ids": devices})


def _settings(body: Mapping[str, Any], stage: Stage) -> None:
    stage.tank.call("PATCH", "/settings", dict(body))


def _amplitude(body: Mapping[str, Any], stage: Stage) -> None:
    ready = stage.tank.ready
    payload = _keyed(_moments(body.get("body"), stage), ready)
    if isinstance(payload, dict) and body["path"] in ("/2/httpapi", "/batch"):
        payload.setdefault("api_key", ready["amplitude"]["api_key"])
    headers = dict(body.get("headers", {}))
    data: bytes | None = None
    if payload is not None:
        data = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        headers.setdefault("Content-Type", "application/json")
        if body.get("gzip"):
            data = gzip.compress(data)
            headers.setdefault("Content-Encoding", "gzip")
    for _ in range(body.get("repeat", 1)):
        try:
            answer = requests.request(
                body.get("method", "POST"),
                ready["amplitude"]["url"] + body["path"],
                data=data,
                headers=headers,
                timeout=60,
                allow_redirects=False,
            )
            found = Answer(answer.status_code, answer.text, dict(answer.headers), body.get("as"))
        except requests.RequestException:
            found = Answer(None, "", {}, body.get("as"))
        stage.answers.append(found)


def _keyed(value: Any, ready: Mapping[str, Any]) -> Any:
    if value == "$api_key":
        return ready["amplitude"]["api_key"]
    if value == "$secret_key":
        return ready["amplitude"]["secret_key"]
    if isinstance(value, Mapping):
        # null takes a member out, so that a scenario can leave out the key itself.
        return {key: _keyed(each, ready) for key, each in value.items()}
    if isinstance(value, list):
        return [_keyed(each, ready) for each in value]
    return value


STEPS: dict[str, Callable[[Any, Stage], None]] = {
    "emit": _emit,
    "generate": _generate,
    "advance": _advance,
    "settle": _settle,
    "fault": _fault,
    "mend": _mend,
    "credential": _credential,
    "restart": _restart,
    "stop": _stop,
    "start": _start,
    "post": _post,
    "check_credentials": _check,
    "test_events": _test_events,
    "feed": _feed,
    "usage": _usage,
    "silence": _silence,
    "settings": _settings,
    "amplitude": _amplitude,
}
