"""Mutants of the simulated Braze: keys, sizes, errors, rate limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, instead, result, setting

_TRANSPORT = "simulator.braze.transport"
_LIMITS = "simulator.braze.rate_limits"
_ENDPOINTS = "simulator.braze.permissions:endpoints"


def _bearer_only(original: Any) -> Any:
    return lambda request: original(request) if request.headers.get("Authorization", "")[:7] == "Bearer " else ""


def _key_anywhere(original: Any) -> Any:
    def key_of(request: Any) -> str:
        from simulator.braze.transport import parsed

        body = parsed(request.body)
        in_body = body.get("api_key") if isinstance(body, dict) else None
        return str(original(request) or in_body or next(iter(request.query.get("api_key", [])), ""))

    return key_of


def _echoes(name: str, _headers: Any = None, **_more: Any) -> Any:
    from simulator.braze.refusals import refuse

    return refuse("missing_api_key") if name == "invalid_api_key" else refuse(name, _headers, **_more)


def _other_words(name: str, other: str) -> Any:
    return lambda original: lambda given, *args, **more: original(other if given == name else given, *args, **more)


def _row(path: str, **members: Any) -> Any:
    """One endpoint's row differs."""

    def change(found: Mapping[str, Any], *_: Any) -> Any:
        return {
            folder: {each: {**row, **members} if each == path else row for each, row in rows.items()}
            for folder, rows in found.items()
        }

    return result(change)


def _lets_in_types(found: Any, call: Any, *_: Any) -> Any:
    return None if found is not None and found.status == 415 else found


def _not_in_error(name: str, headers: Any = None, **more: Any) -> Any:
    from simulator.braze.refusals import refuse

    found: Any = refuse(name, headers, **more)
    return replace(found, body={"message": found.body["error"]}) if name == "not_json" else found


def _slashes(original: Any) -> Any:
    return lambda *args, **more: original(*args, **{**more, "strict_slashes": False})


def _no_headers(found: Any, *_: Any) -> Any:
    return replace(found, headers={k: v for k, v in found.headers.items() if k not in ("X-Request-Id", "Etag")})


def _known_only(original: Any) -> Any:
    def track(call: Any, body: Any) -> Any:
        from simulator.braze.refusals import refuse

        return original(call, body) if set(body) <= {"attributes", "events", "purchases"} else refuse("no_valid_data")

    return track


def _in_ms(found: dict[str, str], *_: Any) -> dict[str, str]:
    return {k: v + "000" if k == "X-RateLimit-Reset" else v for k, v in found.items()}


def _rolling(_original: Any) -> Any:
    return lambda self, now_ms: now_ms - now_ms % 1000 if self.length_ms == 60_000 else now_ms - now_ms % self.length_ms


def _by_endpoint(original: Any) -> Any:
    def gated(endpoint: Any, handle: Any) -> Any:
        pool = {"segments.list": "lists", "campaigns.list": "track_sync"}.get(endpoint.get("permission"))
        return original(endpoint if pool is None else {**endpoint, "pools": [pool]}, handle)

    return gated


def _one_limit(original: Any) -> Any:
    return lambda endpoint, handle: original({**endpoint, "pools": ["default"]}, handle)


def _counts_only(original: Any) -> Any:
    return lambda *args: replace(original(*args), over=False)


def _epoch(found: Any, *_: Any) -> Any:
    return {name: replace(plan, tells_seconds_left=False) for name, plan in found.items()}


def _no_jitter(original: Any) -> Any:
    def put(conn: Any, tank: Any, kind: str, payload: Any, now_ms: int) -> int:
        from simulator.braze.pending import table

        n = int(original(conn, tank, kind, payload, now_ms))
        conn.execute(table.update().where(table.c.n == n).values(due_ms=now_ms + 50))
        return n

    return put


MUTANTS = (
    Mutant("brz-bearer", ("BRZ-001",), "the scheme is matched exactly", f"{_TRANSPORT}:key_of", _bearer_only),
    Mutant("brz-key-unsaid", ("BRZ-002",), "the wrong key is not told", f"{_TRANSPORT}:refuse", instead(_echoes)),
    Mutant("brz-no-key", ("BRZ-003",), "a missing key is in other words", f"{_TRANSPORT}:refuse", _other_words("missing_api_key", "access_denied")),
    Mutant("brz-any-permission", ("BRZ-004",), "every key has every permission", "simulator.braze.permissions:Key.may", instead(lambda *_: True)),
    Mutant("brz-any-address", ("BRZ-005",), "allow-lists are not looked at", "simulator.braze.permissions:Key.lets_in", instead(lambda *_: True)),
    Mutant("brz-key-in-body", ("BRZ-006",), "a key in the content is a key", f"{_TRANSPORT}:key_of", _key_anywhere),
    Mutant("brz-any-type", ("BRZ-007",), "every content type is taken", f"{_TRANSPORT}:_door", result(_lets_in_types)),
    Mutant("brz-any-size", ("BRZ-008",), "contents have 10 MB", f"{_TRANSPORT}:MAX_BYTES", instead(10_000_000)),
    Mutant("brz-bulk-size", ("BRZ-009",), "bulk contents have 4 MB", _ENDPOINTS, _row("POST /users/track/bulk", max_bytes=4_000_000)),
    Mutant("brz-json-message", ("BRZ-010",), "the words are in message", f"{_TRANSPORT}:refuse", instead(_not_in_error)),
    Mutant("brz-unknown-path", ("BRZ-011",), "an unknown path is forbidden", "simulator.braze.app:refuse", _other_words("not_found", "access_denied")),
    Mutant("brz-slash", ("BRZ-025",), "a slash at the end is passed over", "simulator.braze.app:make_app", _slashes),
    Mutant("brz-bare-headers", ("BRZ-012",), "answers have no id", f"{_TRANSPORT}:_sent", result(_no_headers)),
    Mutant("brz-known-members", ("BRZ-013",), "unknown members are refused", "simulator.braze.track:_accept", _known_only),
    Mutant("brz-reset-ms", ("BRZ-014",), "the reset is in ms", f"{_LIMITS}:_headers", result(_in_ms)),
    Mutant("brz-rolling", ("BRZ-015",), "a minute's window begins with its first request", f"{_LIMITS}:Window.start_ms", _rolling),
    Mutant("brz-own-counters", ("BRZ-016",), "lists count by themselves", "simulator.braze.app:gated", _by_endpoint),
    Mutant("brz-broadcasts-shared", ("BRZ-249",), "broadcasts count in the shared pool", f"{_TRANSPORT}:_is_broadcast", instead(lambda *_: False)),
    Mutant("brz-merge-apart", ("BRZ-017",), "merges count elsewhere", _ENDPOINTS, _row("POST /users/merge", pools=["default"])),
    Mutant("brz-products-apart", ("BRZ-018",), "products count elsewhere", _ENDPOINTS, _row("GET /purchases/product_list", pools=["default"])),
    Mutant("brz-one-limit", ("BRZ-019",), "there is one limit", "simulator.braze.app:gated", _one_limit),
    Mutant("brz-counts-only", ("BRZ-020",), "limits are told and not kept", f"{_LIMITS}:count", _counts_only),
    Mutant("brz-always-epoch", ("BRZ-021",), "every plan tells the reset as an instant", f"{_LIMITS}:plans", result(_epoch)),
    Mutant("brz-partner-pool", ("BRZ-022",), "partner calls count in the workspace's pool", _ENDPOINTS, _row("POST /partners/<partner>/cohorts", pools=["default"])),
    Mutant("brz-503-writes", ("BRZ-026",), "a 503 writes", "simulator.faults:NOT_APPLIED", lambda original: original - {"status"}),
    Mutant("brz-synchronous", ("BRZ-023",), "writes are applied before the answer", SETTINGS, setting("braze.apply_delay_ms", 0)),
    Mutant("brz-refused-figures", ("BRZ-027",), "some 401 tell no limits", f"{_LIMITS}:NO_HEADERS", instead({})),
    Mutant("brz-in-order", ("BRZ-024",), "writes keep their order", "simulator.braze.pending:put", _no_jitter),
)  # fmt: skip
