"""The steps of a scenario, each done over the control API or on the connector's process."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import requests

from scenarios.connectors import Connector, healthy
from scenarios.control import Control, View
from scenarios.expectations import Verdict, judge


class World:
    """A scenario's tank, its connector, and what has been remembered on the way."""

    def __init__(
        self,
        control: Control,
        ready: Mapping[str, Any],
        connector: Connector | None,
        environ: dict[str, str],
        rules: tuple[str, ...],
    ) -> None:
        self.control = control
        self.ready = ready
        self.connector = connector
        self.environ = environ
        self.rules = rules
        self.verdict = Verdict()
        self.answers: list[dict[str, Any]] = []
        self.faults: dict[str, int] = {}
        self.start_ms = self.now_ms()

    def now_ms(self) -> int:
        """Tank time."""
        return int(self.control.call("GET", "/clock/now")["epoch_ms"])

    def view(self) -> View:
        """What can be read back now."""
        state = None if self.connector is None else healthy(self.connector.url) is not None
        return View(self.control, self.start_ms, self.answers, state)

    def play(self, step: Mapping[str, Any]) -> None:
        """Do one step."""
        name, value = next(iter(step.items()))
        STEPS[name](self, value)

    def judge(self, expectations: list[Mapping[str, Any]]) -> None:
        """Judge expectations against one and the same view."""
        view = self.view()
        for each in filled(expectations, self.start_ms // 1000):
            judge(each, self.rules, view, self.verdict)


def filled(value: Any, now_s: int, number: int | None = None) -> Any:
    """``value`` with ``$now`` (seconds, with an offset) and ``{n}`` written out."""
    if isinstance(value, dict):
        return {filled(k, now_s, number): filled(v, now_s, number) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(each, now_s, number) for each in value]
    if isinstance(value, str):
        match = re.fullmatch(r"\$now([+-]\d+)?", value)
        if match:
            return now_s + int(match.group(1) or 0)
        long = re.fullmatch(r"\$text:(.):(\d+)", value)
        if long:
            return long.group(1) * int(long.group(2))
        if number is not None:
            return value.replace("{n}", str(number))
    return value


def emit(world: World, value: Mapping[str, Any]) -> None:
    now_s = world.now_ms() // 1000
    if "repeat" in value:
        events = [filled(value["event"], now_s, n) for n in range(value["repeat"])]
    else:
        events = filled(value["events"], now_s)
    world.control.call("POST", "/emit", {"flow": "currents", "events": events})


def generate(world: World, value: Mapping[str, Any]) -> None:
    world.control.call("POST", "/generate", {"flow": "currents", **value})


def advance(world: World, value: Any) -> None:
    world.control.call("POST", "/clock/advance", value if isinstance(value, dict) else {"by": value})


def settle(world: World, _value: Any) -> None:
    world.control.call("POST", "/clock/settle", {})


def fault(world: World, value: Mapping[str, Any]) -> None:
    body = {name: each for name, each in value.items() if name != "as"}
    for name in ("from", "until"):
        if isinstance(body.get(name), str) and body[name].startswith("+"):
            from scenarios.instants import instant_ms

            body[name] = instant_ms(body[name], world.start_ms)
    made = world.control.call("POST", "/faults", body)
    world.faults[str(value.get("as", made["id"]))] = made["id"]


def mend(world: World, name: str) -> None:
    if name == "all":
        world.control.call("DELETE", "/faults")
    else:
        world.control.call("DELETE", f"/faults/{world.faults[name]}")


def credential(world: World, value: Mapping[str, Any]) -> None:
    body = {name: each for name, each in value.items() if name != "name"}
    world.control.call("PUT", f"/credentials/{value['name']}", body)
    if "value" in value:
        world.environ.update({"amplitude_api_key": {"AMPLITUDE_API_KEY": value["value"]}}.get(value["name"], {}))


def stop(world: World, value: Mapping[str, Any]) -> None:
    assert world.connector is not None
    world.connector.stop(value.get("signal", "kill"))


def start(world: World, _value: Any) -> None:
    assert world.connector is not None
    world.connector.start(world.environ)


def restart(world: World, value: Mapping[str, Any]) -> None:
    stop(world, value)
    start(world, True)


def post(world: World, value: Mapping[str, Any]) -> None:
    body = {name: each for name, each in value.items() if name in ("path", "headers", "token")}
    content = filled(value.get("body", ""), world.now_ms() // 1000)
    if "size" in value:
        content = str(content) + " " * (value["size"] - len(str(content)))
    world.answers = []
    for _ in range(value.get("repeat", 1)):
        answer = world.control.call("POST", "/feeds/raw", {**body, "body": content})
        world.answers.append({"status": answer["status"], "body": _decoded(answer["body"])})


def _decoded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def check_credentials(world: World, _value: Any) -> None:
    answer = world.control.call("POST", "/feeds/currents/check")
    world.answers = [{"status": answer["status"], "body": ""}]


def send_test_events(world: World, _value: Any) -> None:
    answer = world.control.call("POST", "/feeds/currents/test")
    world.answers = [{"status": each["status"], "body": ""} for each in answer["answers"]]


def feed(world: World, value: Mapping[str, Any]) -> None:
    world.control.call("PUT", "/feeds/currents", dict(value))


def usage(world: World, value: Mapping[str, Any]) -> None:
    world.control.call("PUT", "/amplitude/usage", dict(value))


def silence(world: World, value: list[str]) -> None:
    world.control.call("PUT", "/amplitude/silenced", {"device_ids": value})


def amplitude(world: World, value: Mapping[str, Any]) -> None:
    """Send straight to the simulated Amplitude."""
    side = world.ready["amplitude"]
    base = side["other_region_url"] if value.get("region") == "other" else side["url"]
    now_s = world.now_ms() // 1000
    if "body" in value:
        content = value["body"]
    else:
        events = value.get("events", [])
        if "event" in value:
            events = [filled(value["event"], now_s, n) for n in range(value.get("repeat", 1))]
        content = {"events": filled(events, now_s)}
        key = value.get("key", "right")
        if key != "none":
            content = {"api_key": side["api_key"] if key == "right" else "0" * 32, **content}
        if "options" in value:
            content["options"] = value["options"]
    payload = content.encode() if isinstance(content, str) else orjson.dumps(content)
    payload += b" " * max(0, value.get("pad", 0) - len(payload))
    headers = {"Content-Type": "application/json", **value.get("headers", {})}
    if value.get("gzip"):
        payload = gzip.compress(payload)
        headers["Content-Encoding"] = "gzip"
    method = value.get("method", "POST")
    path = value.get("path", "/2/httpapi")
    answer = requests.request(method, f"{base}{path}", data=payload, headers=headers, timeout=60)
    world.answers = [{"status": answer.status_code, "body": _decoded(answer.text)}]


def expect(world: World, value: list[Mapping[str, Any]]) -> None:
    world.judge(value)


STEPS: Mapping[str, Callable[[World, Any], None]] = {
    "emit": emit,
    "generate": generate,
    "advance": advance,
    "settle": settle,
    "fault": fault,
    "mend": mend,
    "credential": credential,
    "restart": restart,
    "stop": stop,
    "start": start,
    "post": post,
    "check_credentials": check_credentials,
    "test_events": send_test_events,
    "feed": feed,
    "usage": usage,
    "silence": silence,
    "amplitude": amplitude,
    "expect": expect,
}
