"""Mutants of the simulated Braze: what /users/track takes, identifiers, events, purchases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import instead, result

_TRACK = "simulator.braze.track"
_CHECKS = "simulator.braze.track_checks"
_APPLYING = "simulator.braze.applying"
_IDENTITY = "simulator.braze.identity"
_WRITES = "simulator.braze.writes"


def _always_errors(found: Any, *_: Any) -> Any:
    return replace(found, body={"errors": [], **found.body}) if found.status == 201 else found


def _over_all(found: Any, *_: Any) -> Any:
    return replace(found, errors=[{**each, "index": n} for n, each in enumerate(found.errors)])


def _makes_bare_profiles(found: Any, body: Any, *_: Any) -> Any:
    refused = [body[each["input_array"]][each["index"]] for each in found.errors]
    ids = [each["external_id"] for each in refused if each.get("external_id")]
    return replace(found, accepted=[*found.accepted, *(("attributes", {"external_id": each}) for each in ids)])


def _created_when_bad(found: Any, *_: Any) -> Any:
    return found if found.status != 400 or "errors" not in found.body else replace(found, status=201)


def _empty_is_fine(original: Any) -> Any:
    def track(call: Any, body: Any) -> Any:
        from simulator.exchange import Answer

        return original(call, body) if any(body.values()) else Answer(201, {"message": "success"})

    return track


def _words(name: str, text: str) -> Any:
    return result(lambda found, *_: {**found, name: text})


def _first_primary(found: Any, *_: Any) -> Any:
    return None if found == "two_primaries" else found


def _lower_case(original: Any) -> Any:
    def give(profile: Any, given: Any) -> None:
        original(profile, given)
        if profile.external_id is not None:
            profile.external_id = profile.external_id.lower()

    return give


def _texts_only(found: Any, given: Any, *_: Any) -> Any:
    return "external_id" if isinstance(given.get("external_id"), int) else found


def _as_external_id(found: Any, *_: Any) -> Any:
    if found.get("braze_id") is None:
        return found
    return {"external_id": found["braze_id"], **{name: each for name, each in found.items() if name != "braze_id"}}


def _alias_creates(of_attributes: bool) -> Any:
    def change(found: Any, given: Any, *_: Any) -> Any:
        mine = "user_alias" in given and of_attributes == (not given.keys() & {"name", "product_id"})
        return mine or found

    return result(change)


def _external_creates(found: Any, given: Any, *_: Any) -> Any:
    return True if given.get("external_id") is not None else found


def _counted_if_applied(original: Any) -> Any:
    def processed(self: Any) -> dict[str, int]:
        kept = [each for each in self.accepted if each[1].get("_update_existing_only") is not True]
        return dict(original(replace(self, accepted=kept)))

    return processed


def _contact_never_found(kind: str) -> Any:
    return lambda original: lambda people, given: None if _only(kind, given) else original(people, given)


def _only(kind: str, given: Any) -> bool:
    primaries = ("external_id", "user_alias", "braze_id")
    return given.get(kind) is not None and not any(given.get(name) for name in primaries)


def _newest(candidates: Any) -> Any:
    from simulator.braze.identity import most_recent

    return most_recent(candidates)


def _last_made(candidates: Any) -> Any:
    from simulator.braze.identity import most_recent

    return most_recent([each for each in candidates if each.identified]) or next(reversed(candidates), None)


def _by_phone(found: Any, *_: Any) -> Any:
    if _only("email", found) and found.get("phone") is not None:
        return {name: value for name, value in found.items() if name != "email"}
    return found


def _taken_over(original: Any) -> Any:
    def track_people(conn: Any, tank: Any, objects: Any, received_ms: int, now_ms: int, *rest: Any) -> Any:
        from simulator.braze import profile_store

        for _, given in objects:
            if given.get("external_id") and given.get("email"):
                keys = ("external_id", given["external_id"]), ("email", given["email"])
                people = profile_store.load(conn, tank, set(keys), now_ms)
                mine = people.all(*keys[1])
                if mine and not people.all(*keys[0]):
                    mine[0].external_id = given["external_id"]
                    people.touch(mine[0], now_ms)
                    profile_store.save(conn, people)
        return original(conn, tank, objects, received_ms, now_ms, *rest)

    return track_people


def _limits(**members: Any) -> Any:
    return result(lambda found, *_: {name: replace(plan, **members) for name, plan in found.items()})


def _takes_first(original: Any) -> Any:
    handle, *rest = original["POST /users/track/sync"]

    def sync(call: Any, body: Any) -> Any:
        filled = {name: each[:1] for name, each in body.items() if each}
        return handle(call, dict([*filled.items()][:1]))

    return {**original, "POST /users/track/sync": (sync, *rest)}


def _sync_bare(found: Any, *_: Any) -> Any:
    return {"custom_attributes": {}, "custom_events": [], "purchase_events": []}


def _once_each(original: Any) -> Any:
    def apply(people: Any, objects: Any, *rest: Any) -> Any:
        return original(people, [each for n, each in enumerate(objects) if each not in objects[:n]], *rest)

    return apply


def _as_given(given: Any, received_ms: int) -> int:
    from simulator.braze import dates

    at_ms = dates.parse(given["time"])
    return received_ms if at_ms is None else at_ms


def _only_the_last(original: Any) -> Any:
    def count(tallies: Any, name: str, *rest: Any) -> None:
        original(tallies, name, *rest)
        tallies[name][0] = tallies[name][1]

    return count


def _unblocked(original: Any) -> Any:
    return lambda conn: (frozenset(each for each in original(conn)[0] if each[0] != "event"), original(conn)[1])


def _fixed_name(original: Any) -> Any:
    def event(given: Any, known: Any) -> Any:
        from simulator.braze.ecommerce import NAMES

        name = given.get("name")
        lower = name.lower() if isinstance(name, str) else name
        return original({**given, "name": lower} if lower in NAMES else given, known)

    return event


def _not_negative(found: Any, given: Any, *_: Any) -> Any:
    return "price" if found is None and given["price"] < 0 else found


def _numbers_are_no_products(found: Any, given: Any, *_: Any) -> Any:
    return "product_id" if isinstance(given.get("product_id"), int) else found


MUTANTS = (
    Mutant("brz-empty-errors", ("BRZ-030",), "errors are always there", f"{_TRACK}:_accept", result(_always_errors)),
    Mutant("brz-index-over-all", ("BRZ-031",), "indexes count the errors", f"{_CHECKS}:check", result(_over_all)),
    Mutant("brz-bad-makes-profiles", ("BRZ-032",), "refused objects make their profile", f"{_CHECKS}:check", result(_makes_bare_profiles)),
    Mutant("brz-all-bad-201", ("BRZ-033",), "a call that is all bad is taken", f"{_TRACK}:_accept", result(_created_when_bad)),
    Mutant("brz-empty-201", ("BRZ-034",), "an empty call is taken", f"{_TRACK}:_accept", _empty_is_fine),
    Mutant("brz-old-words", ("BRZ-035",), "the words before e-mail was an identifier", f"{_CHECKS}:errors", _words("NO_IDENTIFIER", "'external_id' or 'braze_id' or 'user_alias' is required")),
    Mutant("brz-first-primary", ("BRZ-036",), "the first of two identifiers counts", f"{_CHECKS}:_identifier", result(_first_primary)),
    Mutant("brz-lower-ids", ("BRZ-037",), "external ids become lower case", f"{_IDENTITY}:give", _lower_case),
    Mutant("brz-text-ids", ("BRZ-038",), "a number is no external id", f"{_CHECKS}:_identifier", result(_texts_only)),
    Mutant("brz-id-characters", ("BRZ-039",), "external ids have 988 bytes", f"{_CHECKS}:MAX_EXTERNAL_ID_BYTES", instead(988)),
    Mutant("brz-braze-id-creates", ("BRZ-040",), "a Braze id is an external id", f"{_APPLYING}:normalized", result(_as_external_id)),
    Mutant("brz-alias-creates", ("BRZ-041",), "attributes by alias make profiles", f"{_IDENTITY}:may_create", _alias_creates(True)),
    Mutant("brz-alias-events-create", ("BRZ-042",), "events by alias make profiles", f"{_IDENTITY}:may_create", _alias_creates(False)),
    Mutant("brz-always-creates", ("BRZ-043",), "external ids always make profiles", f"{_IDENTITY}:may_create", result(_external_creates)),
    Mutant("brz-skipped-uncounted", ("BRZ-044",), "objects for existing people only are not counted", f"{_CHECKS}:Checked.processed", _counted_if_applied),
    Mutant("brz-email-unfound", ("BRZ-045",), "an e-mail alone finds nobody", f"{_IDENTITY}:resolve", _contact_never_found("email")),
    Mutant("brz-newest-anyway", ("BRZ-046",), "the newest of several profiles is written, identified or not", f"{_IDENTITY}:by_contact", instead(_newest)),
    Mutant("brz-last-made", ("BRZ-047",), "the last made of anonymous profiles is written", f"{_IDENTITY}:by_contact", instead(_last_made)),
    Mutant("brz-phone-as-given", ("BRZ-048",), "phone numbers are kept as they come", "simulator.braze.standard:phone", instead(lambda value: (str(value), True))),
    Mutant("brz-phone-first", ("BRZ-049",), "a phone number beats an e-mail", f"{_APPLYING}:normalized", result(_by_phone)),
    Mutant("brz-email-taken-over", ("BRZ-050",), "a new external id takes the profile of its e-mail over", f"{_WRITES}:track_people", _taken_over),
    Mutant("brz-any-number", ("BRZ-051",), "any number of objects is taken", "simulator.braze.rate_limits:plans", _limits(most_combined=None)),
    Mutant("brz-75-in-all", ("BRZ-052",), "every account has 75 objects in all", "simulator.braze.rate_limits:plans", _limits(most_combined=75)),
    Mutant("brz-bulk-any-number", ("BRZ-053",), "a bulk call has any number of objects", f"{_TRACK}:BULK_OBJECTS", instead(10**9)),
    Mutant("brz-bulk-one-profile", ("BRZ-059",), "one profile may have all of a bulk call", f"{_TRACK}:BULK_PER_PROFILE", instead(10**9)),
    Mutant("brz-sync-first", ("BRZ-054",), "of a synchronous call the first object counts", "simulator.braze.app:HANDLERS", _takes_first),
    Mutant("brz-sync-bare", ("BRZ-055",), "a synchronous call answers the profile before", f"{_TRACK}:_sync_shown", result(_sync_bare)),
    Mutant("brz-other-order", ("BRZ-056",), "purchases come first", f"{_CHECKS}:ARRAYS", instead(("purchases", "events", "attributes"))),
    Mutant("brz-deduplicates", ("BRZ-057",), "equal events of a call are one", f"{_APPLYING}:apply", _once_each),
    Mutant("brz-no-bots", ("BRZ-058",), "nobody is a bot", f"{_APPLYING}:is_spam", instead(lambda *_: False)),
    Mutant("brz-long-names", ("BRZ-270",), "names have 256 characters", f"{_CHECKS}:MAX_NAME", instead(256)),
    Mutant("brz-time-words", ("BRZ-271",), "a missing time is one that is not valid", f"{_CHECKS}:errors", _words("time_required", "'time' is not valid")),
    Mutant("brz-future", ("BRZ-272",), "events happen in the future", f"{_APPLYING}:_at", instead(_as_given)),
    Mutant("brz-zone-lost", ("BRZ-273",), "zones of times are passed over", "simulator.braze.dates:parse", lambda original: lambda text: original(text[:19])),
    Mutant("brz-dollar-names", ("BRZ-274",), "every property name is taken", f"{_CHECKS}:_RESERVED", lambda original: {**original, "events": frozenset()}),
    Mutant("brz-large-properties", ("BRZ-275",), "properties have 1 MB", f"{_CHECKS}:MAX_EVENT_PROPERTIES_BYTES", instead(10**6)),
    Mutant("brz-last-only", ("BRZ-276",), "the first time of an event is forgotten", f"{_APPLYING}:_count", _only_the_last),
    Mutant("brz-unblocked", ("BRZ-277",), "events on the blocklist count", "simulator.braze.profile_store:special_names", _unblocked),
    Mutant("brz-any-schema", ("BRZ-278",), "recommended events have no schema", "simulator.braze.ecommerce:problem", instead(lambda *_: None)),
    Mutant("brz-name-case", ("BRZ-279",), "recommended events are known in any case", f"{_CHECKS}:_CHECKS", lambda original: {**original, "events": _fixed_name(original["events"])}),
    Mutant("brz-no-orders", ("BRZ-280",), "orders change nothing", "simulator.braze.ecommerce:apply", instead(lambda *_: None)),
    Mutant("brz-old-carts", ("BRZ-281",), "carts are kept for ever", "simulator.braze.ecommerce:CART_LIVES_MS", lambda original: original * 1000),
    Mutant("brz-any-currency", ("BRZ-282",), "every currency is taken", f"{_CHECKS}:is_currency", instead(lambda value: isinstance(value, str))),
    Mutant("brz-quantity", ("BRZ-283",), "quantities have no end", f"{_CHECKS}:MAX_QUANTITY", instead(10**6)),
    Mutant("brz-dollars", ("BRZ-284",), "every amount is in dollars", f"{_APPLYING}:_rate", instead(lambda *_: 1.0)),
    Mutant("brz-no-refunds", ("BRZ-285",), "a negative price is refused", f"{_CHECKS}:_CHECKS", lambda original: {**original, "purchases": result(_not_negative)(original["purchases"])}),
    Mutant("brz-text-products", ("BRZ-286",), "a number is no product", f"{_CHECKS}:_CHECKS", lambda original: {**original, "purchases": result(_numbers_are_no_products)(original["purchases"])}),
    Mutant("brz-purchase-names", ("BRZ-287",), "properties may be called like members", f"{_CHECKS}:_RESERVED", lambda original: {**original, "purchases": frozenset()}),
    Mutant("brz-large-purchases", ("BRZ-288",), "purchase properties have 100 KB", f"{_CHECKS}:MAX_PURCHASE_PROPERTIES_BYTES", instead(102_400)),
    Mutant("brz-price-words", ("BRZ-289",), "a missing price is one that is not valid", f"{_CHECKS}:errors", _words("price_required", "'price' is not valid")),
)  # fmt: skip
