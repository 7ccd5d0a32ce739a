"""Expectations about requests and time: what went over the wire, when it arrived, how fast it came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scenarios.matching import (
    MISSING,
    differences,
    duration_ms,
    fits,
    holds,
    instant_ms,
    pick,
    shown,
    span,
    status_fits,
    worded,
)
from scenarios.readback import Emission, Exchange, Reading, event_device, event_ids

_SENT_BY = {"insert_id", "device_id", "user_id"}


def requests(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Requests of the journal: how many match and what each must hold."""
    where = wanted.get("where", {})
    found = [
        each
        for each in reading.exchanges
        if each.entry["platform"] == wanted["platform"] and _matches(each, where, reading.start_ms)
    ]
    amount = wanted.get("count", {"at_least": 1})
    lines = []
    if not fits(amount, len(found)):
        suffix = f" where {shown(where)}" if where else ""
        lines.append(
            f"{wanted['platform']} requests{suffix}: expected {worded(amount)}, received {len(found)}"
        )
        lines += [f"  {each}" for each in _seen(wanted["platform"], reading)]
    for each in found:
        problems = _shape(wanted.get("each", {}), each)
        for name, value in (("events_per_request", len(each.events)), ("bytes", each.bytes)):
            if name in wanted and not fits(wanted[name], value):
                problems.append(f"{name}: expected {worded(wanted[name])}, received {value}")
        lines += [f"request {each.entry['id']}: {problem}" for problem in problems]
    return lines


def _seen(platform: str, reading: Reading) -> list[Exchange]:
    return [each for each in reading.exchanges if each.entry["platform"] == platform][:8]


def _matches(each: Exchange, where: Mapping[str, Any], start_ms: int) -> bool:
    entry = each.entry
    if "path" in where and entry["path"] != where["path"]:
        return False
    if "method" in where and entry["method"] != where["method"]:
        return False
    if "status" in where and not status_fits(where["status"], each.status):
        return False
    if "since" in where and each.ms < instant_ms(where["since"], start_ms):
        return False
    if "until" in where and each.ms >= instant_ms(where["until"], start_ms):
        return False
    if "fault" in where and (entry.get("fault") is not None) != where["fault"]:
        return False
    if "device" in where and where["device"] not in map(event_device, each.events):
        return False
    return "insert_id" not in where or where["insert_id"] in event_ids(each)


def _shape(wanted: Mapping[str, Any], each: Exchange) -> list[str]:
    lines: list[str] = []
    for path, value in wanted.get("body", {}).items():
        for place, received in _members(each.body, path):
            lines += differences(value, received, place, whole=False)
    for path in wanted.get("body_absent", ()):
        for place, received in _members(each.body, path):
            if received is not MISSING:
                lines.append(f"{place}: expected (absent), received {shown(received)}")
    return lines + headers(wanted.get("headers", {}), each.entry["request_headers"], "request")


def _members(body: Any, path: str) -> list[tuple[str, Any]]:
    """Every value at a dotted path in which ``*`` stands for each item of a list."""
    head, star, rest = path.partition(".*")
    if not star:
        return [(path, pick(body, path))]
    items = pick(body, head)
    if not isinstance(items, list):
        return [(head, MISSING)]
    found = []
    for number, item in enumerate(items):
        place = f"{head}.{number}"
        if not rest:
            found.append((place, item))
        else:
            found += [(f"{place}.{name}", value) for name, value in _members(item, rest.lstrip("."))]
    return found


def headers(wanted: Mapping[str, Any], received: Mapping[str, str], place: str) -> list[str]:
    """Headers that differ; null wants a header absent, true wants it present with any value."""
    have = {name.lower(): value for name, value in received.items()}
    lines = []
    for name, value in wanted.items():
        found = have.get(name.lower())
        if value is None:
            wrong = found is not None
        elif value is True:
            wrong = found is None
        else:
            wrong = found != value
        if wrong:
            expected = "(absent)" if value is None else "(present)" if value is True else shown(value)
            received_now = "(absent)" if found is None else shown(found)
            lines.append(f"{place} header {name}: expected {expected}, received {received_now}")
    return lines


def arrival(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Tank time from emission to storage, of every matching event or of a share of them."""
    where = wanted.get("where", {})
    stored: dict[str, int] = {}
    for each in reading.events:
        if holds(each, where) and str(each["insert_id"]) in reading.emitted_ms:
            at = instant_ms(each["server_upload_time"], reading.start_ms)
            stored[str(each["insert_id"])] = min(at, stored.get(str(each["insert_id"]), at))
    ids = sorted({*stored, *_emitted(where, reading)})
    if not ids:
        return [f"no emitted event matches {shown(where)}"]
    late = []
    for event_id in ids:
        if event_id not in stored:
            late.append(f"event {event_id}: never arrived")
            continue
        took = stored[event_id] - reading.emitted_ms[event_id]
        problem = _wrong_time(wanted, took)
        if problem:
            late.append(f"event {event_id}: {problem}, arrived after {span(took)}")
    share = wanted.get("share", 1)
    good = (len(ids) - len(late)) / len(ids)
    if good >= share:
        return []
    if share < 1:
        late.insert(0, f"in time: expected {share:.0%} of {len(ids)}, received {good:.1%}")
    return late


def _wrong_time(wanted: Mapping[str, Any], took: int) -> str | None:
    if "within" in wanted and took > duration_ms(wanted["within"]):
        return f"expected within {span(duration_ms(wanted['within']))}"
    if "after" in wanted and took < duration_ms(wanted["after"]):
        return f"expected after {span(duration_ms(wanted['after']))}"
    if "at" in wanted and took != duration_ms(wanted["at"]):
        return f"expected at {span(duration_ms(wanted['at']))}"
    return None


def _emitted(where: Mapping[str, Any], reading: Reading) -> Iterable[str]:
    """Ids of emitted events that ``where`` is about, arrived or not, as far as the emission tells."""
    if not where:
        return reading.emitted_ms
    if not set(where) <= _SENT_BY:
        return ()
    return [each.event_id for each in reading.emissions if all(_is(each, *item) for item in where.items())]


def _is(emission: Emission, name: str, value: Any) -> bool:
    own = {"insert_id": emission.event_id, "device_id": emission.device_id, "user_id": emission.user_id}
    return bool(own[name] == value)


def rate(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Stored events of a device or user in the busiest window of tank time."""
    window = duration_ms(wanted["window"])
    where = {
        name: wanted[key] for key, name in (("device", "device_id"), ("user", "user_id")) if key in wanted
    }
    times = sorted(
        instant_ms(each["server_upload_time"], reading.start_ms)
        for each in reading.events
        if holds(each, where)
    )
    busiest, at, first = 0, 0, 0
    for last, moment in enumerate(times):
        while times[first] <= moment - window:
            first += 1
        if last - first + 1 > busiest:
            busiest, at = last - first + 1, times[first]
    when = f" from {span(at - reading.start_ms)} after the start" if busiest else ""
    lines = []
    if "at_most" in wanted and busiest > wanted["at_most"]:
        lines.append(
            f"events in {span(window)}: expected at most {wanted['at_most']}, received {busiest}{when}"
        )
    if "at_least" in wanted and busiest < wanted["at_least"]:
        lines.append(
            f"events in {span(window)}: expected at least {wanted['at_least']}, received {busiest}{when}"
        )
    return lines


def pause(wanted: Mapping[str, Any], reading: Reading) -> list[str]:
    """Tank time from a refused request to the next one that carries one of its refused events again."""
    exchanges = [each for each in reading.exchanges if each.entry["platform"] == "amplitude"]
    lines: list[str] = []
    seen = 0
    for number, each in enumerate(exchanges):
        if not status_fits(wanted["after_status"], each.status):
            continue
        ids = _refused(each, wanted.get("device"))
        if not ids:
            continue
        seen += 1
        again = next((other for other in exchanges[number + 1 :] if ids & set(event_ids(other))), None)
        if again is None:
            if "at_most" in wanted:
                lines.append(f"{each}: its events were not sent again")
            continue
        took = again.ms - each.ms
        lines += [f"{each}: {problem}, received {span(took)}" for problem in _wrong_pause(wanted, took)]
    if not seen:
        return [f"no request was answered {shown(wanted['after_status'])}"]
    return lines


def _wrong_pause(wanted: Mapping[str, Any], took: int) -> list[str]:
    lines = []
    if "at_least" in wanted and took < duration_ms(wanted["at_least"]):
        lines.append(f"expected a pause of {span(duration_ms(wanted['at_least']))} at least")
    if "at_most" in wanted and took > duration_ms(wanted["at_most"]):
        lines.append(f"expected a pause of {span(duration_ms(wanted['at_most']))} at most")
    return lines


def _refused(each: Exchange, device: str | None) -> set[str]:
    events = each.events
    named = pick(each.answer, "throttled_events") if each.status == 429 else MISSING
    if isinstance(named, list) and named:
        events = [events[index] for index in named if isinstance(index, int) and 0 <= index < len(events)]
    return {
        str(event.get("insert_id")) for event in events if device is None or event_device(event) == device
    }
