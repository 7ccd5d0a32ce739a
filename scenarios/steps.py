"""The steps of a scenario, each done over the control API or on the connector's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from scenarios import calling
from scenarios.connectors import Connector, healthy
from scenarios.control import Control, View
from scenarios.expectations import judge
from scenarios.variables import filled, nowhere, pointed
from scenarios.verdict import Failure, Verdict


class CannotGoOn(RuntimeError):
    """An answer lacks what later steps need; a failure says so already."""


class NotOffered(RuntimeError):
    """The connector under test does not have what the scenario is about."""


_KNOWN = {
    "amplitude": ("api_key", "secret_key", "url", "other_region_url", "active_cohort_id", "feed_token"),
    "braze": ("rest_api_key", "partner_api_key", "data_import_key"),
}
"""What ``${name}`` stands for from the beginning, by platform."""


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
        self.known: dict[str, Any] = {name: ready[side][name] for side, names in _KNOWN.items() for name in names}
        self.start_ms = self.now_ms()

    def connect(self, connector: Connector, environ: dict[str, str]) -> None:
        """Take the connector in that has been started; ``${connector_url}`` is where it listens."""
        self.connector, self.environ = connector, environ
        self.known["connector_url"] = connector.url

    def now_ms(self) -> int:
        """Tank time."""
        return int(self.control.call("GET", "/clock/now")["epoch_ms"])

    def view(self) -> View:
        """What can be read back now."""
        state = None if self.connector is None else healthy(self.connector.url)
        return View(self.control, self.start_ms, self.answers, state)

    def play(self, step: Mapping[str, Any]) -> None:
        """Do one step."""
        name, value = next(iter(step.items()))
        STEPS[name](self, value)

    def judge(self, expectations: list[Mapping[str, Any]]) -> None:
        """Judge expectations against one and the same view."""
        view = self.view()
        for each in filled(expectations, self.start_ms // 1000, None, self.known):
            judge(each, self.rules, view, self.verdict)

    def answered(self, value: Mapping[str, Any]) -> None:
        """Save what a step wants of the last answer, and judge the answers as it expects. Raises CannotGoOn."""
        expected = dict(value.get("expect", {}))
        outer = {name: expected.pop(name) for name in ("rule", "because") if name in expected}
        saved = {name: pointed(self.answers[-1], pointer) for name, pointer in value.get("save", {}).items()}
        # What cannot be saved is a failure like any other: the scenario is told no further.
        missing = sorted(name for name, found in saved.items() if nowhere(found))
        self.known.update({name: None if nowhere(found) else found for name, found in saved.items()})
        if expected:
            self.judge([{"answers": expected, **outer}])
        if missing:
            text = f"{value['save'][missing[0]]} of the answer, which later steps need"
            self.verdict.judged.update(self.rules)
            self.verdict.failures.append(Failure(text, "it is there", self.answers[-1], self.rules))
            raise CannotGoOn(text)


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
    """Stop and start it, with other sections of integration.yaml where ``integration`` gives them."""
    stop(world, value)
    if "integration" in value:
        path = Path(world.environ["WAVETANK_INTEGRATION"])
        written = {**yaml.safe_load(path.read_text("utf-8")), **value["integration"]}
        path.write_text(yaml.safe_dump(written, allow_unicode=True), "utf-8")
    start(world, True)


def post(world: World, value: Mapping[str, Any]) -> None:
    body = {name: each for name, each in value.items() if name in ("path", "headers", "token")}
    content = filled(value.get("body", ""), world.now_ms() // 1000)
    if "size" in value:
        content = str(content) + " " * (value["size"] - len(str(content)))
    world.answers = []
    for _ in range(value.get("repeat", 1)):
        answer = world.control.call("POST", "/feeds/raw", {**body, "body": content})
        world.answers.append(_answer(answer["status"], answer["body"] or ""))


def _answer(status: int | None, text: str = "") -> dict[str, Any]:
    """An answer of which only this is known, in the shape of :func:`scenarios.calling.call`."""
    return {"status": status, "headers": {}, "text": text, "body": calling.decoded(text.encode(), "")}


def report(world: World, value: Mapping[str, Any]) -> None:
    """Let things be reported in Customer.io: ``reports``, or copies of one."""
    given = value.get("reports", {"$copies": value.get("repeat", 1), "of": value.get("report")})
    body = {"reports": filled(given, world.now_ms() // 1000, None, world.known)}
    world.control.call("POST", "/customerio/reports", {**body, **({"raw": True} if value.get("raw") else {})})


def send_report(world: World, value: Mapping[str, Any]) -> None:
    """Send a request of one's own past the queue of Customer.io, as wrong as wanted."""
    told = world.control.call("POST", "/feeds/customerio/send", filled(dict(value), world.now_ms() // 1000))
    world.answers = [_answer(each["status"], each["body"] or "") for each in told["answers"]]


def test_connection(world: World, flow: str) -> None:
    """Let the connector test its connection: 2xx says that Amplitude has taken the event. Raises NotOffered."""
    assert world.connector is not None
    world.answers = [calling.call(world.connector.url, {"method": "POST", "path": f"/flows/{flow}/test"})]
    if world.answers[0]["status"] in (404, 405, 501):
        raise NotOffered(f"the connector has no Test Connection of {flow}")


def check_credentials(world: World, _value: Any) -> None:
    answer = world.control.call("POST", "/feeds/currents/check")
    world.answers = [_answer(answer["status"])]


def send_test_events(world: World, _value: Any) -> None:
    answer = world.control.call("POST", "/feeds/currents/test")
    world.answers = [_answer(each["status"]) for each in answer["answers"]]


def feed(world: World, value: Mapping[str, Any]) -> None:
    world.control.call("PUT", "/feeds/currents", dict(value))


def usage(world: World, value: Mapping[str, Any]) -> None:
    world.control.call("PUT", "/amplitude/usage", dict(value))


def silence(world: World, value: list[str]) -> None:
    world.control.call("PUT", "/amplitude/silenced", {"device_ids": value})


def amplitude(world: World, value: Mapping[str, Any]) -> None:
    """Call an API of the simulated Amplitude."""
    side = world.ready["amplitude"]
    base = side["other_region_url"] if value.get("region") == "other" else side["url"]
    key = {"right": side["api_key"], "wrong": "0" * 32}.get(value.get("key", "right"))
    _call(world, value, base, _upload(value), lambda spec: _proven(spec, value, key, side["secret_key"]))


def braze(world: World, value: Mapping[str, Any]) -> None:
    """Call Braze's REST API with the workspace's key, or as a partner with the two keys in the content."""
    side = world.ready["braze"]
    key = {"right": side["rest_api_key"], "wrong": "0" * 36}.get(value.get("key", "right"))

    def proven(spec: dict[str, Any]) -> dict[str, Any]:
        if spec.get("auth") == "partner":
            keys = {"partner_api_key": side["partner_api_key"], "client_secret": side["data_import_key"]}
            return {**spec, "json": {**keys, **spec["json"]}}
        proof = {} if key is None else {"Authorization": f"Bearer {key}"}
        return {**spec, "headers": {**proof, **spec.get("headers", {})}}

    _call(world, value, side["url"], _request(value), proven)


def customerio(world: World, value: Mapping[str, Any]) -> None:
    """Call the App API of Customer.io with its key, or the Track API with site id and key."""
    side = world.ready["customerio"]
    base = side["other_region_url"] if value.get("region") == "other" else side["url"]
    track = value.get("auth") == "track"
    key = {"right": side["track_api_key" if track else "app_api_key"], "wrong": "0" * 32}.get(value.get("key", "right"))

    def proven(spec: dict[str, Any]) -> dict[str, Any]:
        if key is None:
            return spec
        proof = calling.basic(side["site_id"], key) if track else f"Bearer {key}"
        return {**spec, "headers": {"Authorization": proof, **spec.get("headers", {})}}

    _call(world, value, base, _request(value), proven)


def _call(
    world: World,
    value: Mapping[str, Any],
    base: str,
    request: Mapping[str, Any],
    proven: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    """Make a step's request, ``times`` times with a ``pause`` of tank time between, or ``at_once``.

    ``proven`` gives the request its caller's proof.
    """
    numbers = range(value["times"]) if "times" in value else [None]
    began_s = world.now_ms() // 1000

    def send(number: int | None) -> dict[str, Any]:
        if number and "pause" in value:
            advance(world, value["pause"])
        now_s = world.now_ms() // 1000 if "pause" in value else began_s
        return calling.call(base, proven(filled(dict(request), now_s, number, world.known)))

    with ThreadPoolExecutor(len(numbers) if value.get("at_once") else 1) as pool:
        world.answers = list(pool.map(send, numbers))
    world.answered(value)


_REQUEST = ("method", "path", "query", "headers", "json", "form", "body", "base64", "pad", "gzip", "auth")


def _request(value: Mapping[str, Any]) -> dict[str, Any]:
    """The request that a step says itself: POST with a content, else GET."""
    own = {name: value[name] for name in _REQUEST if name in value}
    return {"method": "POST" if own.keys() & {"json", "form", "body", "base64"} else "GET", **own}


def _upload(value: Mapping[str, Any]) -> dict[str, Any]:
    """The request of a step of Amplitude: an upload of ``events`` (or of copies of ``event``), or what it says."""
    own = {"path": "/2/httpapi", **_request(value)}
    if "events" not in value and "event" not in value:
        return own
    events = value.get("events", {"$copies": value.get("repeat", 1), "of": value.get("event")})
    upload = {"events": events, **({"options": value["options"]} if "options" in value else {})}
    return {"auth": "json", **own, "method": value.get("method", "POST"), "json": upload}


def _proven(spec: dict[str, Any], value: Mapping[str, Any], key: str | None, secret: str) -> dict[str, Any]:
    """The request with its caller's proof where ``auth`` says; ``key`` None gives none."""
    how = spec.get("auth")
    if key is None or how is None:
        return spec
    if how in ("json", "form", "query"):
        return {**spec, how: {"api_key": key, **spec.get(how, {})}}
    right = value.get("key", "right") == "right"
    header = calling.basic(key, secret) if how == "basic" else f"Api-Key {secret if right else key}"
    return {**spec, "headers": {"Authorization": header, **spec.get("headers", {})}}


def control(world: World, value: Mapping[str, Any]) -> None:
    """Any request of the tank's control API, for what no other step says."""
    given = filled(dict(value), world.now_ms() // 1000, None, world.known)
    body = world.control.call(given.get("method", "PUT"), given["path"], given.get("body"))
    world.answers = [{**_answer(200), "body": body}]
    world.answered(value)


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
    "report": report,
    "send_report": send_report,
    "test_connection": test_connection,
    "check_credentials": check_credentials,
    "test_events": send_test_events,
    "feed": feed,
    "usage": usage,
    "silence": silence,
    "amplitude": amplitude,
    "braze": braze,
    "customerio": customerio,
    "control": control,
    "expect": expect,
}
