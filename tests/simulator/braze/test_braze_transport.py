"""Keys, permissions, envelope, sizes, rate limits. Source: Braze docs, API overview; Errors; API limits."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.braze import app as braze_app
from simulator.braze import permissions, rate_limits, refusals
from simulator.tank import Tanks

TRACK = {"events": [{"external_id": "ann", "name": "seen", "time": "2026-01-01T00:00:00Z"}]}
START_S = 1_767_225_600
RATE = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


def rate(answer: Any) -> tuple[str | None, ...]:
    return tuple(answer.headers.get(name) for name in RATE)


def test_success_is_201_and_message_comes_last(workspace: Any) -> None:
    answer = workspace.post("/users/track", TRACK)
    assert answer.status_code == 201
    assert answer.text == '{"events_processed":1,"message":"success"}'
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "max-age=0, private, must-revalidate"
    assert answer.headers["Etag"].startswith('W/"')
    assert len(answer.headers["X-Request-Id"]) == 36


def test_202_and_errors_are_not_cached(workspace: Any) -> None:
    pair = {"identifier_to_merge": {"external_id": "a"}, "identifier_to_keep": {"external_id": "b"}}
    merged = workspace.post("/users/merge", {"merge_updates": [pair]})
    assert (merged.status_code, merged.headers["Cache-Control"]) == (202, "no-cache")
    assert workspace.post("/users/merge", {}).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_counts_in_any_case(workspace: Any, scheme: str) -> None:
    assert workspace.post("/users/track", TRACK, Authorization=f"{scheme} {workspace.key}").status_code == 201


@pytest.mark.parametrize("given", ["Bearer {KEY}", "Basic {key}", "{key}", ""])
def test_the_key_is_matched_exactly_and_in_the_header_only(workspace: Any, given: str) -> None:
    value = given.replace("{key}", workspace.key).replace("{KEY}", workspace.key.upper())
    before = workspace.digest()
    answer = workspace.post("/users/track", {**TRACK, "api_key": workspace.key}, Authorization=value)
    assert answer.status_code == 401
    assert answer.json["message"].lower().startswith("invalid api key")
    assert rate(answer) == ("", "", "")
    assert workspace.digest() == before


def test_a_key_may_do_what_its_permissions_say(workspace: Any) -> None:
    made = permissions.make(workspace.tank, "rest", "tracker", permissions=["users.track"])
    auth = {"Authorization": f"Bearer {made['value']}"}
    assert workspace.post("/users/track", TRACK, **auth).status_code == 201
    before = workspace.digest()
    refused = workspace.post("/users/delete", {"external_ids": ["ann"]}, **auth)
    assert (refused.status_code, refused.json) == (403, {"message": "Access Denied"})
    assert all(rate(refused))
    mail = workspace.post("/transactional/v1/campaigns/receipt/send", {"recipient": {"external_user_id": "ann"}}, **auth)
    assert (mail.status_code, mail.json) == (403, {"message": "You do not have permission to access this resource"})
    assert workspace.digest() == before
    assert permissions.revoke(workspace.tank, made["value"])
    assert workspace.post("/users/track", TRACK, **auth).json == {"message": f"Invalid API key: {made['value']}"}


def test_every_documented_permission_has_its_endpoint() -> None:
    rows = {endpoint: row for folder in permissions.endpoints().values() for endpoint, row in folder.items()}
    assert rows["POST /users/track/bulk"]["permission"] == "users.track.bulk"
    assert rows["POST /users/external_ids/rename"]["permission"] == "users.external_ids.rename"
    assert rows["GET /subscription/user/status"]["permission"] == "subscription.groups.get"
    without = [endpoint for endpoint in braze_app.HANDLERS if "permission" not in rows[endpoint]]
    assert all("/partners/" in endpoint for endpoint in without)


@pytest.mark.parametrize(("allowed", "status"), [(["127.0.0.1"], 201), (["10.0.0.0/8"], 401), (["127.0.0.0/8"], 201)])
def test_a_key_with_an_allow_list_lets_only_those_addresses_in(workspace: Any, allowed: list[str], status: int) -> None:
    key = permissions.make(workspace.tank, "rest", "office", permissions=["users.track"], allowed_ips=allowed)
    answer = workspace.post("/users/track", TRACK, Authorization=f"Bearer {key['value']}")
    assert answer.status_code == status
    if status != 201:
        assert answer.json == {"message": "Invalid whitelisted IPs"}


def test_keys_find_their_own_workspace_and_outlive_no_tank() -> None:
    tanks = Tanks()
    for name in ("one", "two"):
        tanks.create(name)
    made = permissions.make(tanks.get("two"), "rest", "k", permissions=["users.track"])
    assert permissions.find_rest(tanks, made["value"])[0] is tanks.get("two")
    with pytest.raises(ValueError, match="already"):
        permissions.make(tanks.get("one"), "rest", "other", value=made["value"])
    with pytest.raises(ValueError, match="unknown"):
        permissions.make(tanks.get("one"), "rest", "odd", permissions=["users.everything"])
    tanks.delete("two")
    assert permissions.find_rest(tanks, made["value"]) == (None, None)
    tanks.create("two")
    assert permissions.find_rest(tanks, made["value"]) == (None, None)
    tanks.close()


# -- bodies


def test_a_body_that_is_no_json_says_so_in_error(workspace: Any) -> None:
    headers = {"Authorization": f"Bearer {workspace.key}", "Content-Type": "application/json"}
    for body in (b"", b"{", b"[]", b'"x"', b'{"a": NaN}', b"\xff"):
        answer = workspace.client.post("/users/track", data=body, headers=headers)
        assert (answer.status_code, answer.json) == (
            400,
            {"error": "Error while parsing request body. Please check your syntax."},
        )


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_415(workspace: Any, kind: str) -> None:
    assert workspace.post("/users/track", TRACK, **{"Content-Type": kind}).status_code == 415


def test_the_content_type_may_name_its_charset(workspace: Any) -> None:
    answer = workspace.post("/users/track", TRACK, **{"Content-Type": "application/json; charset=utf-8"})
    assert answer.status_code == 201


def test_four_megabytes_and_two_for_bulk(workspace: Any) -> None:
    body = {**TRACK, "pad": "x" * 2_000_001}
    assert workspace.post("/users/track/bulk", body).status_code == 400
    assert workspace.post("/users/track", body).status_code == 201
    assert workspace.post("/users/track", {**TRACK, "pad": "x" * 4_000_001}).status_code == 413


def test_unknown_top_level_keys_are_tolerated(workspace: Any) -> None:
    assert workspace.post("/users/track", {**TRACK, "partner": "RudderStack"}).status_code == 201


# -- rate limits


def test_headers_tell_the_window_that_follows_the_clock(workspace: Any) -> None:
    assert rate(workspace.post("/users/track", TRACK)) == ("3000", "2999", str(START_S + 3))
    assert rate(workspace.post("/users/alias/new", {"user_aliases": []})) == ("20000", "19999", str(START_S + 60))
    # Another endpoint of the same pool goes on counting, another pool does not.
    assert rate(workspace.post("/users/delete", {"external_ids": ["a"]}))[1] == "19998"
    assert rate(workspace.post("/users/track", TRACK))[1] == "2998"
    workspace.advance(25_000)
    assert rate(workspace.post("/users/identify", {}))[1:] == ("19997", str(START_S + 60))
    workspace.advance(35_000)
    assert rate(workspace.post("/users/identify", {}))[1:] == ("19999", str(START_S + 120))


def test_over_the_limit_is_429_until_the_window_ends(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(pool_limits={"identity": 2})
    delete = {"external_ids": ["nobody"]}
    assert [workspace.post("/users/delete", delete).status_code for _ in range(3)] == [201, 201, 429]
    before = workspace.digest()
    refused = workspace.post("/users/merge", {"merge_updates": []})
    assert (refused.status_code, refused.json) == (429, {"message": "Rate limited"})
    assert rate(refused) == ("2", "0", str(START_S + 60))
    assert workspace.digest() == before
    assert workspace.post("/users/track", TRACK).status_code == 201
    workspace.advance(60_000)
    assert workspace.post("/users/delete", delete).status_code == 201


def test_contracts_in_monthly_users_tell_seconds_left_and_retry_after(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(plan="mau", pool_limits={"track": 1})
    workspace.advance(600_000)
    assert rate(workspace.post("/users/track", TRACK)) == ("1", "0", "3000")
    refused = workspace.post("/users/track", TRACK)
    assert refused.status_code == 429
    assert rate(refused) == (None, None, None)
    assert refused.headers["X-Ratelimit-Retry-After"] == "3"


def test_counters_are_kept_by_restarts(tmp_path: Path) -> None:
    plan = rate_limits.plans()["shared_75"]
    for _ in range(2):
        tanks = Tanks(tmp_path / "state.db")
        tank = tanks.get("t") if tanks.list() else tanks.create("t")
        with tank.store.write() as conn:
            verdict = rate_limits.count(conn, plan, "identity", {}, 1_000)
        tanks.close()
    assert verdict.headers["X-RateLimit-Remaining"] == "19998"


def _count_many(path: str, times: int) -> None:
    tanks = Tanks(Path(path))
    plan = rate_limits.plans()["shared_75"]
    for _ in range(times):
        with tanks.get("t").store.write() as conn:
            rate_limits.count(conn, plan, "identity", {}, 1_000)
    tanks.close()


def test_two_processes_count_in_one_pool(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    tanks = Tanks(path)
    tank = tanks.create("t")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count_many, args=(str(path), 100)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    with tank.store.write() as conn:
        verdict = rate_limits.count(conn, rate_limits.plans()["shared_75"], "identity", {}, 1_000)
    tanks.close()
    assert verdict.headers["X-RateLimit-Remaining"] == str(20_000 - 201)


@pytest.mark.parametrize(
    ("plan", "limit", "window_s", "combined", "each"),
    [
        ("shared_75", 3000, 3, 75, None),
        ("each_75", 3000, 3, None, 75),
        ("combined_50", 50_000, 60, 50, None),
        ("per_minute_50k", 50_000, 60, None, 75),
    ],
)
def test_plans(plan: str, limit: int, window_s: int, combined: int | None, each: int | None) -> None:
    found = rate_limits.plans()[plan]
    assert found.pools["track"] == [rate_limits.Window(limit, window_s * 1000)]
    assert (found.most_combined, found.most_each) == (combined, each)
    assert found.pools["default"] == [rate_limits.Window(250_000, 3_600_000)]
    assert found.pools["track_bulk"] == [rate_limits.Window(50, 1000)]


def test_every_refusal_has_words_and_a_source() -> None:
    for row in refusals.table().values():
        assert 400 <= row.status < 500
        assert row.text
        assert row.source
