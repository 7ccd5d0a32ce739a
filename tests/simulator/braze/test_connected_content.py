"""Connected Content: what a body writes, what a call leaves, and messages that render a recommendation of Amplitude.

Sources: Braze docs, Making an API call with Connected Content; Connected Content retries; Local caching; Aborting
Liquid messages; Amplitude docs, User Profile API.
"""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.braze import templates
from simulator.braze.connected_content import Got, Retry, Wanted, split

START_MS = 1_767_225_600_000
RECOMMENDED = """{% connected_content
  https://profile-api.amplitude.com/v1/userprofile?user_id={{${user_id} | url_param_escape}}&get_recs=true&rec_id=r1
  :headers {"Authorization": "Api-Key SECRET"} :retry :save ap %}{% assign rec = ap.userData.recommendations[0] %}\
{% if rec == nil or rec.is_control %}{% abort_message('no treatment') %}{% endif %}For you: {{ rec.items[0] }}"""


# -- the tag


@dataclass
class Answers:
    """A caller that answers as told and remembers what it was asked."""

    got: Got = field(default_factory=lambda: Got(200, '{"a": 1}'))
    asked: list[Wanted] = field(default_factory=list)

    def call(self, wanted: Wanted) -> Got:
        self.asked.append(wanted)
        return self.got


def render(body: str, got: Got | None = None, **profile: Any) -> tuple[str, Answers]:
    caller = Answers() if got is None else Answers(got)
    return templates.render(body, {templates.PROFILE: profile, "custom_attribute": {"pet name": "Rex"}}, caller), caller


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [
        ("https://a.example/x", Wanted("https://a.example/x")),
        ("https://a.example/x?u={{${user_id} | url_param_escape}}", Wanted("https://a.example/x?u=a%20%26b")),
        ("https://a.example/x :no_cache", Wanted("https://a.example/x", cache_s=None)),
        ("https://a.example/x :cache_max_age 900 :retry", Wanted("https://a.example/x", cache_s=900, retry=True)),
        ("https://a.example/x :cache_max_age 5", Wanted("https://a.example/x", cache_s=300)),
        ("https://a.example/x :cache_max_age 99999", Wanted("https://a.example/x", cache_s=14400)),
        (
            'https://a.example/x :headers {"X-A": "1 :save no", "X-B": "{{custom_attribute.${pet name}}}"} :save pet',
            Wanted("https://a.example/x", headers={"X-A": "1 :save no", "X-B": "Rex"}),
        ),
        (
            "https://a.example/x :method post :body a=1&b={{${user_id}}}",
            Wanted("https://a.example/x", "POST", body="a=1&b=a &b", cache_s=None),
        ),
        (
            "https://a.example/x :method post :body a=1&b=2 :content_type application/json :cache_max_age 600",
            Wanted(
                "https://a.example/x", "POST", body='{"a":"1","b":"2"}', content_type="application/json", cache_s=600
            ),
        ),
        ("https://a.example/x :basic_auth shop", Wanted("https://a.example/x", basic_auth="shop")),
    ],
)
def test_a_tag_is_read_as_it_is_written(tag: str, wanted: Wanted) -> None:
    _, caller = render("{% connected_content " + tag + " %}", user_id="a &b")
    assert caller.asked == [wanted]


def test_json_becomes_a_variable_and_text_is_inserted() -> None:
    tag = "{% connected_content https://a.example/x"
    assert render(tag + " %}[{{connected.a}}]")[0] == "[1]"
    assert render(tag + " :save it %}[{{it.a}} {{it.__http_status_code__}}]")[0] == "[1 200]"
    assert render(tag + " :save it %}[{{it[1]}}{{it.__http_status_code__}}]", Got(200, "[1, 2]"))[0] == "[2]"
    assert render(tag + " %}!", Got(200, "plain text"))[0] == "plain text!"
    assert render(tag + " %}[{{connected}}]", Got(404, "gone"))[0] == "[]"
    assert render(tag + " :save it %}[{{it.a}}{{it.__http_status_code__}}]", Got(500, '{"a": 1}'))[0] == "[]"


def test_a_retry_is_asked_for_only_with_the_option_and_an_answer_that_may_change() -> None:
    tag = "{% connected_content https://a.example/x :retry %}go on"
    with pytest.raises(Retry):
        render(tag, Got(503, again=True))
    assert render(tag, Got(400))[0] == "go on"
    assert render(tag.replace(":retry", ""), Got(503, again=True))[0] == "go on"
    # An abort comes before a retry.
    with pytest.raises(templates.Aborted, match="first"):
        render("{% abort_message('first') %}" + tag, Got(503, again=True))


def test_brazes_spelling_of_variables() -> None:
    body = "{{${first_name} | default: 'you'}} {{ custom_attribute.${pet name} }} ${5} {{${nothing}}}|"
    assert render(body, first_name="Ann")[0] == "Ann Rex ${5} |"
    assert render(body)[0] == "you Rex ${5} |"
    for tag, reason in (("abort_message", ""), ("abort_message()", ""), ("abort_message('no: 1')", "no: 1")):
        with pytest.raises(templates.Aborted) as caught:
            render("{% " + tag + " %}")
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "body", ["{% if x %}", "{% connected_content %}", "{% connected_content https://a.example :save 1a %}", "{{ x"]
)
def test_bodies_that_are_no_templates_are_told(body: str) -> None:
    assert templates.problem(body)


@settings(max_examples=300)
@given(st.text(st.sampled_from("{}%$ '\":ab|.connected_content abort_message()[]0\\\n"), max_size=40), st.booleans())
def test_no_text_breaks_a_rendering(text: str, tagged: bool) -> None:
    body = "{% connected_content https://a.example/" + text + " %}" if tagged else text
    if templates.problem(body) is None:
        with contextlib.suppress(templates.Aborted, Retry):
            render(body)
    else:
        with pytest.raises(templates.Aborted):
            render(body)


@given(st.text(max_size=60))
def test_splitting_answers_or_refuses(text: str) -> None:
    if text.strip():
        assert split(text + " :retry")[0]
    else:
        with pytest.raises(ValueError, match="needs a URL"):
            split(text)


# -- calls


@dataclass
class Site:
    """A small web site on the loopback; ``answer`` gives status, body and headers of a path."""

    url: str = ""
    got: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[str], tuple[int, bytes]] = lambda _: (200, b'{"n": 1}')
    hold: threading.Event | None = None


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.got.append((self.command, self.path, dict(self.headers.items()), body))
            if state.hold is not None:
                state.hold.wait(5)
            status, text = state.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _do

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    if state.hold is not None:
        state.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Desk:
    """A tank's dashboard with one person in the workspace."""

    def __init__(self, tank: Any) -> None:
        self.tank = tank
        key = tank.ready["braze"]["rest_api_key"]
        self.headers = {"Authorization": f"Bearer {key}"}
        self.people("person-1", "person-2")

    def people(self, *names: str) -> None:
        attributes = [{"external_id": name, "email": f"{name}@example.com"} for name in names]
        assert self.post("/users/track", {"attributes": attributes}).status_code == 201
        self.tank.advance("1s")

    def post(self, path: str, body: Any) -> Any:
        url = self.tank.ready["braze"]["url"] + path
        return self.tank.session.post(url, json=body, headers=self.headers, timeout=60)

    def set(self, **values: Any) -> None:
        named = {f"braze.connected_content.{name}": value for name, value in values.items()}
        answer = self.tank.control("PATCH", "/settings", named)
        assert answer.status_code == 200, answer.text

    def preview(self, body: str) -> dict[str, Any]:
        given = {"message": {"subject": "s", "body": body}, "external_id": "person-1"}
        answer = self.tank.control("POST", "/braze/preview", given)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def campaign(self, body: str) -> str:
        message = {"subject": "s", "body": body.replace("SECRET", self.tank.ready["amplitude"]["secret_key"])}
        made = {"name": "Recs", "variations": [{"channel": "email", "message": message}]}
        answer = self.tank.control("POST", "/braze/campaigns", made)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["id"]
        return found

    def send(self, campaign_id: str, *names: str, by: str = "1m") -> dict[str, dict[str, Any]]:
        """Messages by external id, some time after a send."""
        recipients = [{"external_user_id": name} for name in names]
        answer = self.post("/campaigns/trigger/send", {"campaign_id": campaign_id, "recipients": recipients})
        assert answer.status_code == 201, answer.text
        self.tank.advance(by)
        return self.messages(answer.json()["dispatch_id"])

    def messages(self, dispatch_id: str) -> dict[str, dict[str, Any]]:
        found = self.tank.control("GET", "/braze/messages", dispatch_id=dispatch_id).json()["messages"]
        return {each["external_id"]: each for each in found}


@pytest.fixture
def desk(make_tank: Any) -> Desk:
    return Desk(make_tank(settings={"clock.settle_ms": 1}))


def test_only_mapped_hosts_are_called(desk: Desk, site: Site) -> None:
    tag = "{% connected_content ADDRESS %}[{{connected.n}}]"
    problems = {
        "https://elsewhere.example/x": "not mapped",
        site.url + "/x": "only ports 80 and 443",
        "http://127.0.0.1/x": "not mapped",
        "http://profile-api.amplitude.com/v1/userprofile": "redirect",
        "ftp://profile-api.amplitude.com/": "not an http",
        "https://[::1": "not a URL",
    }
    for address, words in problems.items():
        shown = desk.preview(tag.replace("ADDRESS", address))
        assert shown["rendered"]["body"] == "[]"
        assert words in shown["calls"][0]["problem"], shown
    desk.set(hosts={"far.example": "http://198.51.100.7", "site.example": site.url})
    assert "not mapped" in desk.preview(tag.replace("ADDRESS", "https://far.example/x"))["calls"][0]["problem"]
    assert site.got == []
    assert desk.preview(tag.replace("ADDRESS", "https://site.example/x?a=b"))["rendered"]["body"] == "[1]"
    ((method, path, headers, _),) = site.got
    assert (method, path) == ("GET", "/x?a=b")
    assert headers["User-Agent"].startswith("Braze Sender ")
    assert (headers["Content-Type"], headers["Accept"], headers["Accept-Encoding"]) == (
        "application/json",
        "*/*",
        "gzip",
    )


def test_answers_are_kept_for_their_time(desk: Desk, site: Site) -> None:
    desk.set(hosts={"site.example": site.url})
    get = "{% connected_content https://site.example/x :cache_max_age 600 %}"
    post = "{% connected_content https://site.example/x :method post :body a=1 %}"
    for waited, body, calls in (("1s", get, 1), ("9m", get, 1), ("2m", get, 2), ("1s", post, 3), ("1s", post, 4)):
        desk.tank.advance(waited)
        desk.preview(body)
        assert len(site.got) == calls, (waited, body)
    site.answer = lambda _: (500, b"{}")
    for calls in (5, 6):
        desk.preview("{% connected_content https://site.example/y %}")
        assert len(site.got) == calls  # what failed is not kept


def test_large_and_late_answers_leave_nothing(desk: Desk, site: Site) -> None:
    desk.set(hosts={"site.example": site.url}, timeout_s=0.2)
    site.answer = lambda _: (200, b'"' + b"x" * 1_000_000 + b'"')
    shown = desk.preview("{% connected_content https://site.example/large %}[{{connected}}]")
    assert (shown["rendered"]["body"], shown["calls"][0]["problem"]) == ("[]", "the answer is larger than 1 MB")
    site.hold = threading.Event()
    shown = desk.preview("{% connected_content https://site.example/late %}[{{connected}}]")
    assert (shown["rendered"]["body"], shown["calls"][0]["status"]) == ("[]", None)
    assert "0.2 s" in shown["calls"][0]["problem"]


def test_stored_credentials(desk: Desk, site: Site) -> None:
    kept = {"shop": {"username": "ann", "password": "pw"}, "token": {"headers": {"X-Token": "t"}}}
    desk.set(hosts={"site.example": site.url}, credentials=kept)
    desk.preview("{% connected_content https://site.example/a :basic_auth shop %}")
    desk.preview("{% connected_content https://site.example/b :auth_credentials token %}")
    assert site.got[0][2]["Authorization"] == "Basic YW5uOnB3"
    assert site.got[1][2]["X-Token"] == "t"


def test_an_unhealthy_host_is_left_alone_for_a_minute(desk: Desk, site: Site) -> None:
    desk.set(hosts={"site.example": site.url}, unhealthy_failures=3)
    site.answer = lambda _: (503, b"")
    tag = "{% connected_content https://site.example/x :no_cache %}"
    statuses = [desk.preview(tag)["calls"][0]["status"] for _ in range(6)]
    assert statuses == [503, 503, 503, 503, 598, 598]
    desk.tank.advance("61s")
    site.answer = lambda _: (200, b"{}")
    assert desk.preview(tag)["calls"][0]["status"] == 200


# -- messages


def bought(name: str, *items: str) -> list[dict[str, Any]]:
    return [
        {"user_id": name, "event_type": "Bought", "time": START_MS, "event_properties": {"item": item}}
        for item in items
    ]


def recommend(tank: Any, **more: Any) -> None:
    tank.upload(bought("person-1", "hat") + bought("person-3", "hat", "shoe") + bought("person-2", "hat", "shoe"))
    body = {"event_type": "Bought", "item_property": "item", **more}
    assert tank.control("PUT", "/amplitude/recommendations/r1", body).status_code == 200


def test_a_message_renders_a_recommendation(desk: Desk) -> None:
    recommend(desk.tank)
    sent = desk.send(desk.campaign(RECOMMENDED), "person-1")["person-1"]
    assert sent["state"] == "sent"
    assert sent["rendered"]["body"] == "For you: shoe"
    assert [(each["status"], each["how"]) for each in sent["calls"]] == [(200, "call")]
    paths = [each["path"] for each in desk.tank.control("GET", "/journal", platform="amplitude").json()["entries"]]
    assert paths.count("/v1/userprofile") == 1


def test_people_in_control_groups_and_unknown_people_get_nothing(desk: Desk) -> None:
    recommend(desk.tank, control_percent=100)
    desk.people("stranger")
    found = desk.send(desk.campaign(RECOMMENDED), "person-1", "stranger")
    assert {name: (each["state"], each["reason"]) for name, each in found.items()} == {
        "person-1": ("aborted", "no treatment"),
        "stranger": ("aborted", "no treatment"),
    }
    assert [each["calls"][0]["status"] for each in found.values()] == [200, 400]


def test_a_basic_header_opens_nothing(desk: Desk) -> None:
    recommend(desk.tank)
    secret = desk.tank.ready["amplitude"]["secret_key"]
    desk.set(credentials={"amplitude": {"username": "x", "password": secret}})
    body = RECOMMENDED.replace(':headers {"Authorization": "Api-Key SECRET"}', ":basic_auth amplitude")
    sent = desk.send(desk.campaign(body), "person-1")["person-1"]
    assert (sent["state"], sent["calls"][0]["status"]) == ("aborted", 401)


def test_a_call_that_times_out_is_made_again_and_then_the_message_is_aborted(desk: Desk) -> None:
    recommend(desk.tank)
    desk.set(timeout_s=0.05)
    slow = {"platform": "amplitude", "route": "/v1/userprofile", "kind": "latency", "params": {"ms": 300}}
    assert desk.tank.control("POST", "/faults", slow).status_code == 201
    campaign_id = desk.campaign(RECOMMENDED)
    waiting = desk.send(campaign_id, "person-1", by="10s")["person-1"]
    assert (waiting["state"], waiting["attempts"]) == ("due", 1)
    desk.tank.advance("1h")
    ended = desk.messages(waiting["dispatch_id"])["person-1"]
    assert (ended["state"], ended["attempts"]) == ("aborted", 5)
    assert ended["reason"].startswith("Connected Content failed: https://profile-api.amplitude.com")


def test_a_retry_that_succeeds_sends_the_message(desk: Desk) -> None:
    recommend(desk.tank)
    broken = {
        "platform": "amplitude",
        "route": "/v1/userprofile",
        "kind": "status",
        "times": 2,
        "params": {"status": 502},
    }
    assert desk.tank.control("POST", "/faults", broken).status_code == 201
    sent = desk.send(desk.campaign(RECOMMENDED), "person-1", by="10m")["person-1"]
    assert (sent["state"], sent["attempts"], sent["rendered"]["body"]) == ("sent", 2, "For you: shoe")
