"""Schedules, splits and control groups, Canvases, messages in the app, figures, and what survives a restart.

Sources: Braze docs, POST /messages/schedule/create; Multivariate testing; Canvas; In-app messages; Conversion events;
Export campaign data series; Export Canvas data series; Merge users.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from simulator.braze import aftermath, sdk

Messaging = Any
START = "2026-01-01T"
HOUR_MS = 3_600_000
EMAIL = {"subject": "s", "body": "b"}
HOPED = [{"type": "performs_event", "name": "Bought", "window_s": 3600}]
OPENED = {"users.messages.email.Open": {"p": 1, "after": [10, 20]}}
CALM = {"users.messages.email.Bounce": {"p": 0}, "users.messages.email.SoftBounce": {"p": 0}}


def crowd(shop: Messaging, count: int) -> list[str]:
    names = [f"p{n:04d}" for n in range(count)]
    for start in range(0, count, 50):
        chunk = names[start : start + 50]
        shop.workspace.attributes(*({"external_id": each, "email": f"{each}@example.com"} for each in chunk))
    return names


def broadcast(shop: Messaging, made: Any, **more: Any) -> Any:
    path, name = ("/canvas", "canvas_id") if made.kind == "canvas" else ("/campaigns", "campaign_id")
    answer = shop.post(f"{path}/trigger/send", **{name: made.id, "broadcast": True, **more})
    assert answer.status_code == 201, answer.json
    shop.advance(1000)
    return answer.json


# -- schedules


def test_a_schedule_is_made_changed_and_deleted(shop: Messaging) -> None:
    body = {"external_user_ids": ["a"], "messages": {"email": EMAIL}, "schedule": {"time": START + "02:00:00Z"}}
    first, second, third = (shop.post("/messages/schedule/create", **body).json for _ in range(3))
    assert set(first) == {"dispatch_id", "schedule_id", "message"}
    later = shop.post(
        "/messages/schedule/update",
        schedule_id=second["schedule_id"],
        schedule={"time": START + "05:00:00Z"},
        messages={"email": {"subject": "s", "body": "new"}},
    )
    assert (later.status_code, later.json) == (200, {"message": "success"})
    assert shop.post("/messages/schedule/delete", schedule_id=third["schedule_id"]).status_code == 200
    assert shop.post("/messages/schedule/delete", schedule_id=third["schedule_id"]).status_code == 400
    shop.advance(2 * HOUR_MS - 1)
    assert shop.messages() == []
    shop.advance(1)
    assert [each["dispatch_id"] for each in shop.messages()] == [first["dispatch_id"]]
    shop.advance(3 * HOUR_MS)
    assert [each["rendered"]["body"] for each in shop.messages()] == ["b", "new"]
    # A change that comes too late is taken and changes nothing.
    late = {"schedule_id": first["schedule_id"], "schedule": {"time": START + "09:00:00Z"}}
    assert shop.post("/messages/schedule/update", **late).status_code == 200
    shop.advance(9 * HOUR_MS)
    assert len(shop.messages()) == 2


def test_local_time_is_each_persons_own(shop: Messaging) -> None:
    zones = {"a": "Asia/Tokyo", "c": "America/New_York", "d": "Europe/Berlin"}
    shop.workspace.attributes(*({"external_id": name, "time_zone": zone} for name, zone in zones.items()))
    spring = shop.campaign({"channel": "email", "message": EMAIL})
    schedule = {"time": "2026-01-02T09:00:00Z", "in_local_time": True}
    answer = shop.post("/campaigns/trigger/schedule/create", campaign_id=spring.id, broadcast=True, schedule=schedule)
    assert answer.status_code == 201
    shop.advance(48 * HOUR_MS)
    hours = {each["who"]: (each["at_ms"] - 1_767_312_000_000) / HOUR_MS for each in shop.messages(state="sent")}
    assert hours == {"a": 0, "d": 8, "c": 14}
    past = {"time": START + "00:00:00Z", "in_local_time": True}
    answer = shop.post("/campaigns/trigger/schedule/create", campaign_id=spring.id, broadcast=True, schedule=past)
    assert answer.status_code == 400


def test_scheduled_broadcasts_are_listed(shop: Messaging) -> None:
    spring = shop.campaign({"channel": "email", "message": EMAIL}, tags=["t"])
    flow = shop.canvas({"messages": {"email": EMAIL}})
    at = {"schedule": {"time": START + "10:00:00Z"}}
    shop.post("/campaigns/trigger/schedule/create", campaign_id=spring.id, broadcast=True, **at)
    shop.post("/canvas/trigger/schedule/create", canvas_id=flow.id, broadcast=True, schedule={"time": "2026-01-03"})
    one = {"campaign_id": spring.id, "recipients": [{"external_user_id": "a"}]}
    shop.post("/campaigns/trigger/schedule/create", **one, **at)
    (found,) = shop.get("/messages/scheduled_broadcasts", end_time="2026-01-02").json["scheduled_broadcasts"]
    assert found == {
        "name": "Spring",
        "id": spring.id,
        "type": "Campaign",
        "tags": ["t"],
        "next_send_time": "2026-01-01T10:00:00.000Z",
        "schedule_type": "time_based",
    }
    both = shop.get("/messages/scheduled_broadcasts", end_time="2026-01-04").json["scheduled_broadcasts"]
    assert [each["type"] for each in both] == ["Campaign", "Canvas"]
    assert shop.get("/messages/scheduled_broadcasts").status_code == 400


# -- splits


def test_shares_and_control_group_split_people_and_keep_them(shop: Messaging) -> None:
    names = crowd(shop, 1200)
    variations = [
        {"name": each, "channel": "email", "message": EMAIL, "share": n} for each, n in (("A", 30), ("B", 10))
    ]
    spring = shop.campaign(*variations, control_share=20, conversions=HOPED)
    broadcast(shop, spring)
    parts = {each["id"]: each["name"] for each in spring.data["variations"]}
    first = {each["who"]: parts[part_of(each)] for each in shop.messages() if each["who"] in set(names)}
    counted = Counter(first.values())
    # 1,200 people: 960 in variations, three in four of them in A; four standard deviations either way.
    assert abs(counted["A"] - 720) < 70
    assert abs(counted["B"] - 240) < 60
    before = len(shop.messages())
    broadcast(shop, spring)
    assert {each["who"]: parts[part_of(each)] for each in shop.messages()[before:] if each["who"] in first} == first
    # Who was held out may convert like everybody else.
    held_out = next(each for each in names if each not in first)
    reached = next(iter(first))
    events = [{"external_id": each, "name": "Bought", "time": START + "00:00:10Z"} for each in (held_out, reached)]
    shop.workspace.track(events=events)
    (day,) = shop.get("/campaigns/data_series", campaign_id=spring.id, length=1).json["data"]
    assert day["conversions"] == 4  # both were sent to twice


def part_of(message: Any) -> str:
    part: str = json.loads(message["facts"])["part"]
    return part


# -- Canvases


def test_a_canvas_takes_people_through_its_steps(shop: Messaging) -> None:
    second = {
        "name": "Second",
        "after_s": 7200,
        "messages": {"email": {"subject": "s", "body": "{{canvas.${name}}} 2"}},
    }
    flow = shop.canvas({"messages": {"email": EMAIL}}, second, exit=[{"type": "performs_event", "name": "Bought"}])
    whom = [{"external_user_id": each} for each in "acd"]
    answer = shop.post("/canvas/trigger/send", canvas_id=flow.id, recipients=whom)
    assert list(answer.json) == ["dispatch_id", "message"]
    shop.advance(1000)
    assert shop.sent() == list("acd")
    shop.workspace.track(events=[{"external_id": "a", "name": "Bought", "time": START + "00:30:00Z"}])
    shop.advance(2 * HOUR_MS)
    assert [(each["who"], each["rendered"]["body"]) for each in shop.messages()[3:]] == [
        ("c", "Flow 2"),
        ("d", "Flow 2"),
    ]
    with shop.tank.store.read() as conn:
        rows = conn.exec_driver_sql("SELECT step, exit_reason FROM braze_canvas_entries ORDER BY n").all()
    assert [tuple(row) for row in rows] == [(1, "exit criteria"), (2, "completed"), (2, "completed")]
    figures = shop.get("/canvas/data_series", canvas_id=flow.id, length=1, include_step_breakdown="true").json["data"]
    (day,) = figures["stats"]
    assert day["total_stats"]["entries"] == 3
    sent = [each["messages"]["email"][0]["sent"] for each in day["step_stats"].values()]
    assert sent == [3, 2]
    summary = shop.get("/canvas/data_summary", canvas_id=flow.id, length=1, include_variant_breakdown="true").json[
        "data"
    ]
    assert summary["total_stats"]["entries"] == 3
    assert [each["entries"] for each in summary["variant_stats"].values()] == [3, 0]


def test_a_paused_canvas_says_so_and_takes_nobody(shop: Messaging) -> None:
    flow = shop.canvas({"messages": {"email": EMAIL}}, status="paused")
    answer = broadcast(shop, flow)
    assert answer["notice"] == "The Canvas is paused. Resume the Canvas to ensure trigger requests will take effect."
    assert answer["message"] == "success"
    assert shop.messages() == []


def test_who_may_not_come_back_enters_once(shop: Messaging) -> None:
    once = shop.canvas({"messages": {"email": EMAIL}}, reeligible=False)
    again = shop.canvas({"messages": {"email": EMAIL}})
    for canvas in (once, once, again, again):
        broadcast(shop, canvas)
    with shop.tank.store.read() as conn:
        entered = conn.exec_driver_sql("SELECT canvas_id, count(*) FROM braze_canvas_entries GROUP BY 1").all()
    assert {row[0]: row[1] for row in entered} == {once.id: 4, again.id: 8}


# -- in the app


def act(shop: Messaging, **action: Any) -> None:
    with shop.tank.store.write() as conn:
        sdk.act(conn, shop.tank, action, shop.tank.clock.now_ms(conn))


def test_a_message_in_the_app_waits_for_the_next_session(shop: Messaging) -> None:
    act(shop, device_id="phone-a", do="change_user", external_id="a")
    message = {"message": "Hi {{${first_name}}} on {{targeted_device.${id}}}"}
    broadcast(shop, shop.campaign({"channel": "in_app_message", "message": message}))
    shop.advance(HOUR_MS)
    assert {each["state"] for each in shop.messages()} == {"waiting"}
    act(shop, device_id="phone-a", do="session_start")
    shop.advance(0)
    found = {each["who"]: (each["state"], each["rendered"]) for each in shop.messages()}
    assert found["a"] == ("sent", {"message": "Hi A on phone-a"})
    assert found["b"] == ("waiting", None)


# -- lists


def test_campaigns_and_canvases_are_listed_and_told_in_detail(shop: Messaging) -> None:
    spring = shop.campaign({"channel": "email", "message": EMAIL}, description="d", conversions=HOPED)
    old = shop.campaign({"channel": "sms", "message": {"subscription_group_id": "g", "body": "b"}}, status="archived")
    flow = shop.canvas({"messages": {"email": EMAIL, "webhook": {"url": "https://a.example"}}}, {"after_s": 60})
    listed = shop.get("/campaigns/list").json["campaigns"]
    assert listed == [
        {
            "id": spring.id,
            "last_edited": "2026-01-01T00:00:00.000Z",
            "name": "Spring",
            "is_api_campaign": True,
            "tags": [],
        }
    ]
    both = shop.get("/campaigns/list", include_archived="true", sort_direction="desc").json["campaigns"]
    assert [each["id"] for each in both] == [old.id, spring.id]
    assert shop.get("/campaigns/list", page=1).json["campaigns"] == []
    assert shop.get("/campaigns/list", **{"last_edit.time[gt]": "2026-01-02"}).json["campaigns"] == []
    told = shop.get("/campaigns/details", campaign_id=spring.id).json
    assert (told["name"], told["description"], told["archived"], told["channels"]) == ("Spring", "d", False, ["email"])
    assert told["conversion_behaviors"] == [{"type": "Performs Custom Event", "window": 3600}]
    assert told["first_sent"] is None
    assert [each["id"] for each in shop.get("/canvas/list").json["canvases"]] == [flow.id]
    told = shop.get("/canvas/details", canvas_id=flow.id).json
    steps = flow.data["variants"][0]["steps"]
    assert told["variants"][0]["first_step_ids"] == [steps[0]["id"]]
    assert [each["next_step_ids"] for each in told["steps"]] == [[steps[1]["id"]], []]
    assert told["channels"] == ["email", "webhook"]
    words = "canvas_id must be a string of the Canvas api identifier"
    assert (shop.get("/canvas/details", canvas_id="x").status_code, shop.get("/canvas/details").json["message"]) == (
        400,
        words,
    )


def test_figures_by_day(shop: Messaging) -> None:
    spring = shop.campaign({"name": "V", "channel": "email", "message": EMAIL}, conversions=HOPED)
    shop.workspace.set(behaviour={**OPENED, **CALM})
    broadcast(shop, spring)
    shop.advance(HOUR_MS)
    shop.advance(24 * HOUR_MS)
    broadcast(shop, spring)
    days = shop.get("/campaigns/data_series", campaign_id=spring.id, length=3).json["data"]
    assert [each["time"] for each in days] == ["2025-12-31", "2026-01-01", "2026-01-02"]
    assert [each["unique_recipients"] for each in days] == [0, 3, 3]
    (figures,) = days[1]["messages"]["email"]
    assert {name: figures[name] for name in ("variation_name", "sent", "delivered", "opens")} == {
        "variation_name": "V",
        "sent": 3,
        "delivered": 3,
        "opens": 3,
    }
    earlier = shop.get("/campaigns/data_series", campaign_id=spring.id, length=1, ending_at="2026-01-01").json["data"]
    assert earlier == days[1:2]
    for query in ({}, {"length": 101}, {"length": 0}, {"length": 1, "ending_at": "soon"}):
        assert shop.get("/campaigns/data_series", campaign_id=spring.id, **query).status_code == 400


# -- the behaviour model


def test_people_behave_by_their_chances_and_the_same_in_every_run(make_shop: Callable[..., Messaging]) -> None:
    def run() -> dict[str, int]:
        shop = make_shop()
        crowd(shop, 1500)
        spring = shop.campaign({"channel": "email", "message": EMAIL})
        broadcast(shop, spring)
        shop.advance(72 * HOUR_MS)
        days = shop.get("/campaigns/data_series", campaign_id=spring.id, length=5).json["data"]
        total: Counter[str] = Counter()
        for day in days:
            for figures in day["messages"].get("email", []):
                total.update({name: number for name, number in figures.items() if isinstance(number, int)})
        return dict(total)

    first = run()
    assert first["sent"] == 1500
    assert first["sent"] == first["delivered"] + first["bounces"] + first["soft_bounces"]
    # The document of the model says 35 % of the delivered; five standard deviations either way.
    assert abs(first["opens"] - 0.35 * first["delivered"]) < 5 * 18.5
    assert 0 < first["clicks"] < first["opens"]
    # Another tank has the seed of the first, so its people do the same.
    assert run() == first


def test_a_merge_takes_messages_and_chances_to_convert_along(shop: Messaging) -> None:
    spring = shop.campaign({"channel": "email", "message": EMAIL}, conversions=HOPED)
    broadcast(shop, spring)
    pair = {"identifier_to_merge": {"external_id": "a"}, "identifier_to_keep": {"external_id": "d"}}
    assert shop.post("/users/merge", merge_updates=[pair]).status_code == 202
    shop.advance(60_000)
    shop.workspace.track(events=[{"external_id": "d", "name": "Bought", "time": START + "00:01:00Z"}])
    assert sorted(shop.sent()) == ["c", "d", "d"]
    (day,) = shop.get("/campaigns/data_series", campaign_id=spring.id, length=1).json["data"]
    assert day["conversions"] == 2


def test_a_reaction_needs_a_message_that_was_sent_and_a_fitting_word(shop: Messaging) -> None:
    broadcast(shop, shop.campaign({"channel": "email", "message": EMAIL}))
    sent, skipped = (shop.messages(who=each)[0]["n"] for each in "ab")
    problems = []
    for n, do in ((sent, "dismiss"), (skipped, "open"), (999, "open")):
        with shop.tank.store.write() as conn:
            try:
                aftermath.react(conn, shop.tank, n, do, {}, 0)
            except ValueError as error:
                problems.append(str(error))
    assert len(problems) == 3
    assert "takes open, click, spam" in problems[0]


# -- restarts


def test_a_send_goes_on_after_a_restart(reopen: Callable[..., Messaging]) -> None:
    shop = reopen(behaviour={**OPENED, **CALM})
    crowd(shop, 100)
    spring = shop.campaign({"channel": "email", "message": EMAIL})
    shop.post("/campaigns/trigger/send", campaign_id=spring.id, broadcast=True)
    shop.tank.tanks.close()
    again = reopen()
    again.advance(1000)
    assert len(again.sent()) == 100
    again.tank.tanks.close()
    once_more = reopen()
    once_more.advance(HOUR_MS)
    (day,) = once_more.get("/campaigns/data_series", campaign_id=spring.id, length=1).json["data"]
    assert (day["messages"]["email"][0]["sent"], day["messages"]["email"][0]["opens"]) == (100, 100)
