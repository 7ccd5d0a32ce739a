"""Whatever is thrown at whichever route of a platform: an answer that the route declares, and a refusal changes nothing.

Amplitude docs, HTTP V2 API, Responses (a 400, 413 or 429 takes nothing); Braze docs, API errors; Customer.io docs, App
and Track APIs.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hostile_requests import (
    BOMB,
    CAMPAIGN,
    CANVAS,
    FORMS,
    GOOD,
    GROUP,
    HEADERS,
    ODD_QUERIES,
    ODD_SEGMENTS,
    PAPER,
    SEGMENT,
    TYPES,
    Wired,
    bodies,
    call,
    queries,
    quoted,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator import apps, braze
from simulator.amplitude import rows
from simulator.braze import marketing, segments, subscription_groups
from simulator.exchange import Route
from simulator.tank import Tanks

APPS = ("amplitude_us", "amplitude_eu", "braze", "customerio_us")
QUERY = {
    "s": "[]", "g": "country",
    "start": "20260101T00", "end": "20260101T05", "user": "person-1", "user_id": "person-1", "device_id": "device-1",
    "user_ids": "person-1", "start_day": "2026-01-01", "end_day": "2026-01-31", "m": "active", "i": "1",
    "offset": "0", "limit": "10", "direction": "latest", "get_amp_props": "true", "sync_id": "1",
    "time_period": "LAST_HOUR", "props": "1", "propKeys": "plan", "includeSyncInfo": "true",
}  # fmt: skip
DAYS = {"start": "20260101", "end": "20260105"}
INSTANTS = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"}
OWN_QUERY = {
    "/api/2/users": DAYS,
    "/api/2/event-streaming/delivery-metrics-summary": INSTANTS,
    "/api/3/annotations": INSTANTS,
    "/api/2/annotations": INSTANTS,
}
EVERYTHING = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


def _routes() -> list[tuple[str, Route]]:
    tanks = Tanks()
    found = [
        (name, each) for name, app in apps.platform_apps(tanks).items() for each in app.extensions["wavetank"].routes
    ]
    tanks.close()
    return found


ROUTES = _routes()
SERVED = [(name, each) for name, each in ROUTES if each.handle is not None]
ABSENT = [(name, each) for name, each in ROUTES if each.handle is None]


class World:
    """A tank per region with some people in it, behind the apps of all platforms."""

    def __init__(self) -> None:
        self.tanks = Tanks()
        quiet = {"clock.settle_ms": 0, "braze.apply_delay_ms": 0, "braze.merge_delay_ms": 0, "amplitude.rest_ms": 0}
        self.us = self.tanks.create("hostile-us", settings=quiet)
        self.eu = self.tanks.create("hostile-eu", settings=quiet, region="eu")
        self.apps = apps.platform_apps(self.tanks)
        self.ids: dict[str, str] = {"<partner>": "amplitude", "<day>": "2026-01-13", "<campaign_id>": PAPER}
        self.schedules: dict[str, str] = {}
        self.market()

    def market(self) -> None:
        """Make what a marketer makes in Braze's dashboard."""
        variations = [{"channel": "email", "message": {"from": "a@example.com", "subject": "s", "body": "b"}}]
        made = {"name": "m", "variations": variations}
        plan = {"custom_attribute": {"custom_attribute_name": "x", "comparison": "exists"}}
        with self.us.store.write() as conn:
            now_ms = self.us.clock.now_ms(conn)
            segments.make(conn, self.us, {"name": "s", "definition": plan}, now_ms, SEGMENT)
            subscription_groups.make(conn, self.us, "g", "email", GROUP)
            marketing.make(conn, self.us, "campaign", {**made, "id": CAMPAIGN}, now_ms)
            marketing.make(conn, self.us, "campaign", {**made, "id": PAPER, "type": "transactional"}, now_ms)
            steps = [{"messages": {"email": variations[0]["message"]}}]
            canvas = {"name": "c", "variants": [{"steps": steps}], "id": CANVAS}
            marketing.make(conn, self.us, "canvas", canvas, now_ms)

    def fill(self, name: str) -> None:
        """Put people and things into the tank of an app; :attr:`ids` says which path names them."""
        if name == "braze":
            people = [{"external_id": "a", "email": "a@example.com", "x": [1]}, {"external_id": "b"}]
            self.good(name, "/users/track", {"attributes": people, "events": GOOD["/users/track"]["events"]})
            for kind in ("/messages", "/campaigns/trigger", "/canvas/trigger"):
                made = self.good(name, f"{kind}/schedule/create", GOOD[f"{kind}/schedule/create"])
                self.schedules[kind] = made["schedule_id"]
        elif name == "customerio_us":
            self.good(name, "/api/v1/customers/a/unsuppress", {})
            self.good(name, "/api/v1/customers/a@example.com/unsuppress", {})
            self.good(name, "/api/v1/customers/a", {"email": "a@example.com", "phone": "+15550001"}, "PUT")
            self.good(name, "/api/v1/customers/a/devices", {"device": {"id": "token-1", "platform": "ios"}}, "PUT")
            hook = self.good(name, "/v1/reporting_webhooks", GOOD["/v1/reporting_webhooks"])["id"]
            sent = self.good(name, "/v1/send/push", {"transactional_message_id": 10, "identifiers": {"id": "a"}})
            mail = {"transactional_message_id": 9, "identifiers": {"id": "a"}, "to": "a@example.com"}
            mailed = self.good(name, "/v1/send/email", mail)["delivery_id"]
            self.ids.update({"<identifier>": "a", "<device_id>": "token-1", "<webhook_id>": str(hook)})
            self.ids.update({"<delivery_id>": mailed, "<broadcast_id>": "12", "push": sent["delivery_id"]})
        elif name.startswith("amplitude"):
            events = [
                {"device_id": "device-1", "event_type": "a"},
                {"device_id": "device-1", "user_id": "person-1", "event_type": "b", "user_properties": {"plan": "a"}},
                {"device_id": "device-2", "event_type": "a"},
                {"device_id": "device-2", "user_id": "person-1", "event_type": "a"},
            ]
            self.good(name, "/2/httpapi", {"events": events})
            cohort = self.good(name, "/api/3/cohorts/upload", GOOD["/api/3/cohorts/upload"])["cohortId"]
            asked = self.good(name, f"/api/5/cohorts/request/{cohort}", {}, "GET")["request_id"]
            mark = self.good(name, "/api/3/annotations", GOOD["/api/3/annotations"])["data"]["id"]
            kinds = self.good(name, "/api/3/annotation-categories", {"category": f"kind {self.us.clock.now_ms()}"})[
                "data"
            ]["id"]
            person = self.good(name, "/api/2/deletions/users", {"user_ids": ["person-1"]})[0]["amplitude_ids"][0]
            self.ids.update({"<cohort_id>": cohort, "<request_id>": asked, "<annotation_id>": str(mark)})
            self.ids.update({"<category_id>": str(kinds), "<amplitude_id>": str(person["amplitude_id"])})
        self.later()
        self.seen = self.digest()

    def good(self, name: str, path: str, body: dict[str, Any], method: str = "POST") -> Any:
        """A request that has to succeed; its answer."""
        sent = json.dumps({**body, **self.fixed(name, path)}).encode()
        headers = {"Content-Type": "application/json", **self.authorization(name, path)}
        status, _, answer = call(self.apps[name], Wired(method, path, "", sent, headers))
        assert status in (200, 201, 202), answer
        return json.loads(answer)

    def tank(self, name: str) -> Any:
        return self.eu if name == "amplitude_eu" else self.us

    def authorization(self, name: str, path: str) -> dict[str, str]:
        """How somebody who may call the route says so in a header."""
        tank = self.tank(name)
        if name == "braze":
            return {"Authorization": f"Bearer {tank.credential('braze_rest_api_key')}"}
        if name == "customerio_us":
            if path.startswith("/v1/"):
                return {"Authorization": f"Bearer {tank.credential('customerio_app_api_key')}"}
            pair = f"{tank.credential('customerio_site_id')}:{tank.credential('customerio_track_api_key')}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        secret = tank.credential("amplitude_secret_key")
        if path.startswith("/v1/"):
            return {"Authorization": f"Api-Key {secret}"}
        pair = base64.b64encode(f"{tank.credential('amplitude_api_key')}:{secret}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    def fixed(self, name: str, path: str) -> dict[str, Any]:
        """What a body must hold for the request to find its tank."""
        tank = self.tank(name)
        if name == "braze":
            if not path.startswith("/partners/"):
                return {}
            key, secret = tank.credential("braze_partner_api_key"), tank.credential("braze_data_import_key")
            return {"partner_api_key": key, "client_secret": secret}
        if name == "customerio_us":
            named = {"/api/v1/metrics": "<delivery_id>", "/api/v1/push/events": "push"}.get(path)
            return {} if named is None else {"delivery_id": self.ids[named]}
        if path in ("/2/httpapi", "/batch"):
            return {"api_key": tank.credential("amplitude_api_key")}
        if path == "/api/3/cohorts/membership":
            return {"cohort_id": self.ids.get("<cohort_id>")}
        return {"app_id": rows.project_id(tank.id, tank.seed)} if "cohorts" in path else {}

    def body(self, path: str) -> Any:
        """A good body of a route; of a schedule that is there, if it is about one."""
        kind, _, rest = path.partition("/schedule/")
        known = {"schedule_id": self.schedules[kind]} if rest in ("update", "delete") else {}
        return {**GOOD[path], **known} if known else GOOD.get(path, {"a": 1})

    def query(self, path: str) -> dict[str, str]:
        """Good values of the parameters of a route."""
        person = {"user": self.ids["<amplitude_id>"]} if path == "/api/2/useractivity" else {}
        return {**QUERY, **OWN_QUERY.get(path, {}), **person}

    def digest(self) -> str:
        return self.us.store.digest() + self.eu.store.digest()

    def later(self) -> None:
        """A minute passes, so that rates do not keep everything else out."""
        for tank in (self.us, self.eu):
            now = tank.meta().clock
            with tank.store.write() as conn:
                tank.clock.set(conn, replace(now, tank_ms=tank.clock.now_ms() + 60_000))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.tanks.close()


@st.composite
def requests(draw: st.DrawFn, world: World, name: str, route: Route) -> Wired:
    """A request to the route: mostly by somebody who may, and with something wrong."""
    path = route.path
    for part in re.findall(r"<\w+>", path):
        segment = draw(st.sampled_from(ODD_SEGMENTS)) if draw(st.integers(0, 2)) == 0 else world.ids.get(part, "1")
        path = path.replace(part, segment.encode("utf-8").decode("latin-1"))
    may = draw(st.integers(0, 9)) > 0
    headers = world.authorization(name, route.path) if may else {}
    fixed = world.fixed(name, route.path) if may else {}
    body, packing = draw(bodies(world.body(route.path), fixed))
    key = {"api_key": world.tank(name).credential("amplitude_api_key")} if name.startswith("amplitude") and may else {}
    field = FORMS.get(route.path)
    kind = "application/json"
    if field is not None:
        fields = key if draw(st.booleans()) else {}
        body = (
            "&".join([f"{n}={quoted(v)}" for n, v in fields.items()]).encode()
            + b"&"
            + field.encode()
            + b"="
            + _form(body)
        )
        kind = "application/x-www-form-urlencoded"
    if draw(st.integers(0, 7)) == 0:
        kind = draw(st.sampled_from(TYPES))
    if draw(st.integers(0, 7)) == 0:
        headers |= draw(st.sampled_from(HEADERS))
    query = draw(
        queries(tuple(n for n in route.query if n != "api_key"), key if field else {}, world.query(route.path))
    )
    if route.method == "GET" and draw(st.booleans()):
        body = b""
    if field is not None and route.method == "GET":
        query = f"{query}&{body.decode('latin-1')}"
    return Wired(route.method, path, query, body, {**headers, **packing, "Content-Type": kind})


def _form(body: bytes) -> bytes:
    return body.replace(b"%", b"%25").replace(b"&", b"%26").replace(b"+", b"%2B")


def check(world: World, name: str, route: Route, wired: Wired) -> None:
    """Send it and hold the answer and what it did to the state against the route."""
    before = world.seen
    status, headers, body = call(world.apps[name], wired)
    world.seen = world.digest()
    shown = (status, body[:500], wired.method, wired.path[:200], wired.query[:300], wired.body[:300], wired.headers)
    if route.handle is None:
        assert status == 501 or 400 <= status < 500, shown
        allowed: tuple[str, ...] = ("application/json", "text/html")
    else:
        assert status in route.responses, shown
        allowed = route.produces
    assert b"a defect" not in body, shown
    kind = headers["Content-Type"].partition(";")[0].strip().lower()
    assert kind in allowed, shown
    if kind == "application/json":
        json.loads(body, parse_constant=lambda word: pytest.fail(f"{word} is no JSON: {shown}"))
    if status >= 400:
        assert world.seen == before, shown


@pytest.mark.parametrize(
    ("name", "route"),
    [pytest.param(n, r, id=f"{n} {r.method} {r.path}") for n, r in SERVED],
)
def test_anything_at_every_served_route(world: World, name: str, route: Route) -> None:
    world.fill(name)

    @settings(EVERYTHING, max_examples=60)
    @given(wired=requests(world, name, route))
    def run(wired: Wired) -> None:
        world.later()
        check(world, name, route, wired)

    run()


@pytest.mark.parametrize("name", APPS)
def test_anything_at_routes_that_are_not_simulated(world: World, name: str) -> None:
    world.seen = world.digest()
    absent = [each for app, each in ABSENT if app == name]

    @settings(EVERYTHING, max_examples=150)
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        route = data.draw(st.sampled_from(absent))
        check(world, name, route, data.draw(requests(world, name, route)))

    if absent:
        run()


@pytest.mark.parametrize("name", APPS)
def test_unknown_paths_and_methods(world: World, name: str) -> None:
    """A path or method that no document names is a client's mistake, and no state changes."""
    before = world.digest()
    known = [each.path for app, each in ROUTES if app == name]

    @settings(EVERYTHING, max_examples=150)
    @given(
        path=st.one_of(
            st.sampled_from(known).map(lambda each: each + "/x/y/z"), st.sampled_from(ODD_SEGMENTS), st.text()
        ),
        method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO", "get"]),
        query=st.sampled_from(["", *ODD_QUERIES]),
    )
    def run(path: str, method: str, query: str) -> None:
        raw = "/nowhere/" + path.encode("utf-8", "surrogatepass").decode("latin-1")
        status, headers, body = call(world.apps[name], Wired(method, raw, query))
        assert 400 <= status < 500, (status, method, raw)
        assert headers["Content-Type"].startswith("application/json")
        assert isinstance(json.loads(body), dict) or method == "HEAD"

    run()
    assert world.digest() == before


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("amplitude_us", "/2/httpapi"),
        ("amplitude_us", "/batch"),
        ("braze", "/users/track"),
        ("customerio_us", "/v1/send/email"),
    ],
)
@pytest.mark.parametrize(
    "body", [BOMB, BOMB + BOMB[:50], b"[" * 5_000_000, b"\x00" * 65_000_000], ids=["bomb", "two", "deep", "nul"]
)
def test_bodies_beyond_every_limit(world: World, name: str, path: str, body: bytes) -> None:
    before = world.digest()
    for packing in ({"Content-Encoding": "gzip"}, {}):
        headers = {"Content-Type": "application/json", **world.authorization(name, path), **packing}
        status, _, answer = call(world.apps[name], Wired("POST", path, "", body, headers))
        assert status in (400, 413), answer
    assert world.digest() == before


def test_the_routes_that_are_tried_are_all_there_are() -> None:
    posts = {each.path for _, each in SERVED if each.method in ("POST", "PUT")}
    assert posts == set(GOOD)
    assert braze.app.HANDLERS.keys() <= {f"{each.method} {each.path}" for _, each in SERVED}
