"""Mutants of the simulated Braze: attributes, standard fields, push tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scenarios.mutants import Mutant
from scenarios.mutations.making import SETTINGS, instead, result, setting

_ATTRIBUTES = "simulator.braze.attributes"
_APPLYING = "simulator.braze.applying"
_CHECKS = "simulator.braze.track_checks"
_STANDARD = "simulator.braze.standard"


def _lower_names(original: Any) -> Any:
    return lambda profile, name, *rest: original(profile, name.lower(), *rest)


def _null_is_a_value(original: Any) -> Any:
    def change(name: str, old: Any, new: Any, *rest: Any) -> Any:
        from simulator.braze.attributes import Change

        return Change(None, 1) if new is None else original(name, old, new, *rest)

    return change


def _attributes_unblocked(original: Any) -> Any:
    return lambda conn: (frozenset(each for each in original(conn)[0] if each[0] != "attribute"), original(conn)[1])


def _dates_only(*forms: str) -> Any:
    """Texts with one of these marks are no dates."""
    return lambda original: lambda text: None if any(each in text for each in forms) else original(text)


def _any_word(original: Any) -> Any:
    def text(old: Any, new: str, truncate: bool) -> Any:
        from simulator.braze.attributes import Change

        return Change("3001-01-01T00:00:00.000Z", 1) if new[:4] == "3001" else original(old, new, truncate)

    return text


def _sets(original: Any) -> Any:
    def increment(_old: Any, by: Any) -> Any:
        from simulator.braze.attributes import Change

        return Change(by, 1)

    return increment


def _known_numbers_only(original: Any) -> Any:
    return lambda old, by: replace(original(old, by), applied=old is not None)


def _stays_in_place(old: list[Any], add: list[Any]) -> list[Any]:
    return list(dict.fromkeys([*old, *add]))[-500:]


def _adds_only(original: Any) -> Any:
    return lambda old, add, remove: original(old, add, [] if add else remove)


def _shallow(old: Any, new: Any) -> dict[str, Any]:
    return {**old, **new}


def _keeps_time(original: Any) -> Any:
    return lambda value: value if isinstance(value, dict) and set(value) == {"$time"} else original(value)


def _drops_members(original: Any) -> Any:
    def nested(value: Any) -> Any:
        if not isinstance(value, dict) or set(value) == {"$time"}:
            return original(value)
        kept = {key: nested(each) for key, each in value.items() if original({key: each}) is not None}
        return kept or None

    return nested


def _any_key(original: Any) -> Any:
    def nested(value: Any) -> Any:
        if isinstance(value, dict) and any("." in key or "$" in key for key in value) and "$time" not in value:
            return value
        return original(value)

    return nested


def _first_match(original: Any) -> Any:
    return lambda item, criterion: original(item, criterion) and criterion["$identifier_value"] != 2


def _in_order_given(original: Any) -> Any:
    def object_array(old: Any, new: Any, merge: bool) -> Any:
        found = original(old, {}, merge)
        for name, value in new.items():
            found = original(found.value, {name: value}, merge)
        return found

    return object_array


def _never_merges(original: Any) -> Any:
    return lambda old, new, _merge: original(old, new, False)


def _any_case_fields(original: Any) -> Any:
    return lambda people, profile, given, *rest: original(
        people, profile, {k.lower(): v for k, v in given.items()}, *rest
    )


def _emptied(found: Any, *_: Any) -> Any:
    from simulator.braze.standard import SKIP

    return None if found is SKIP else found


def _as_written(found: Any, name: str, value: Any) -> Any:
    return value if name == "country" else found


def _fits_if(*names: str) -> Any:
    """These conditions refuse nothing."""
    return result(lambda found, *_: None if found in names else found)


def _states_passed_over(found: Any, given: Any, *_: Any) -> Any:
    return None if found in ("BAD_EMAIL_SUBSCRIPTION_STATE", "BAD_PUSH_SUBSCRIPTION_STATE") else found


def _null_skipped(original: Any) -> Any:
    def read(name: str, value: Any) -> Any:
        from simulator.braze.standard import SKIP

        return SKIP if value is None and name == "home_city" else original(name, value)

    return read


def _shares_token(_people: Any, profile: Any, row: Any, _now_ms: int) -> None:
    profile.tokens.append(row)


def _always_new(original: Any) -> Any:
    def import_tokens(people: Any, given: Any, context: Any, now_ms: int) -> None:
        from simulator.braze.applying import token_row

        for each in given["push_tokens"]:
            profile = people.create()
            profile.tokens.append(token_row(each, context))
            people.touch(profile, now_ms)

    return import_tokens


def _in_bytes_only(given: Any, known: Any) -> Any:
    from simulator.braze.track_checks import _tokens

    return _tokens(given.get("push_tokens"), known)


MUTANTS = (
    Mutant("brz-told-sessions", ("BRZ-296",), "dates of sessions are only kept", f"{_APPLYING}:_SESSIONS", instead({})),
    Mutant("brz-lower-names", ("BRZ-060",), "names of attributes become lower case", f"{_APPLYING}:_write_custom", _lower_names),
    Mutant("brz-null-kept", ("BRZ-061",), "null is a value", f"{_ATTRIBUTES}:change", _null_is_a_value),
    Mutant("brz-attribute-unblocked", ("BRZ-062",), "attributes on the blocklist are recorded", "simulator.braze.profile_store:special_names", _attributes_unblocked),
    Mutant("brz-not-forced", ("BRZ-063",), "no type is forced", f"{_ATTRIBUTES}:_coerced", instead(lambda _forced, value: value)),
    Mutant("brz-forced-lists", ("BRZ-063",), "lists and objects pass a forced type", f"{_ATTRIBUTES}:_is_of", instead(lambda _forced, new: isinstance(new, dict | list))),
    Mutant("brz-no-american-dates", ("BRZ-064",), "dates with slashes are texts", "simulator.braze.dates:parse", _dates_only("/")),
    Mutant("brz-far-dates", ("BRZ-065",), "a year after 3000 is a date", f"{_ATTRIBUTES}:_text", _any_word),
    Mutant("brz-long-texts", ("BRZ-066",), "long texts are dropped", SETTINGS, setting("braze.long_strings", "drop")),
    Mutant("brz-inc-sets", ("BRZ-067",), "inc sets", f"{_ATTRIBUTES}:_increment", _sets),
    Mutant("brz-inc-known", ("BRZ-068",), "inc needs a number that is there", f"{_ATTRIBUTES}:_increment", _known_numbers_only),
    Mutant("brz-array-place", ("BRZ-069",), "values that come again stay in their place", f"{_ATTRIBUTES}:_united", instead(_stays_in_place)),
    Mutant("brz-array-remove", ("BRZ-070",), "nothing is removed where something is added", f"{_ATTRIBUTES}:_array", _adds_only),
    Mutant("brz-array-length", ("BRZ-071",), "arrays have 25 values", f"{_ATTRIBUTES}:MAX_ELEMENTS", instead(25)),
    Mutant("brz-shallow-merge", ("BRZ-072",), "objects are merged at the first level", f"{_ATTRIBUTES}:_deep", instead(_shallow)),
    Mutant("brz-time-object", ("BRZ-073",), "$time is a key like others", f"{_ATTRIBUTES}:nested", _keeps_time),
    Mutant("brz-invalid-members", ("BRZ-074",), "of an object only the invalid members are dropped", f"{_ATTRIBUTES}:nested", _drops_members),
    Mutant("brz-any-key", ("BRZ-075",), "keys may have dots and dollar signs", f"{_ATTRIBUTES}:nested", _any_key),
    Mutant("brz-large-objects", ("BRZ-076",), "objects have 1 MB", f"{_ATTRIBUTES}:MAX_NESTED_BYTES", instead(10**6)),
    Mutant("brz-object-unmatched", ("BRZ-077",), "some objects match nothing", f"{_ATTRIBUTES}:_matches", _first_match),
    Mutant("brz-object-order", ("BRZ-078",), "operations run in the order given", f"{_ATTRIBUTES}:_object_array", _in_order_given),
    Mutant("brz-update-replaces", ("BRZ-079",), "$update replaces", f"{_ATTRIBUTES}:_object_array", _never_merges),
    Mutant("brz-field-case", ("BRZ-080",), "fields are known in any case", f"{_APPLYING}:write_attributes", _any_case_fields),
    Mutant("brz-invalid-empties", ("BRZ-081",), "a value that is not valid empties its field", f"{_STANDARD}:read", result(_emptied)),
    Mutant("brz-any-country", ("BRZ-082",), "countries are kept as they come", f"{_STANDARD}:read", result(_as_written)),
    Mutant("brz-any-email", ("BRZ-083",), "every text is an address", f"{_CHECKS}:is_email", instead(lambda value: isinstance(value, str))),
    Mutant("brz-any-state", ("BRZ-084",), "other states are passed over", f"{_CHECKS}:_CHECKS", lambda original: {**original, "attributes": result(_states_passed_over)(original["attributes"])}),
    Mutant("brz-phone-digits", ("BRZ-085",), "phone numbers lose nothing", f"{_STANDARD}:phone", instead(lambda value: (str(value), True))),
    Mutant("brz-any-place", ("BRZ-086",), "every location is taken", f"{_CHECKS}:is_location", instead(lambda _value: True)),
    Mutant("brz-null-field", ("BRZ-087",), "null leaves a field as it is", f"{_STANDARD}:read", _null_skipped),
    Mutant("brz-shared-tokens", ("BRZ-088",), "a token may belong to several", f"{_APPLYING}:take_token", instead(_shares_token)),
    Mutant("brz-import-again", ("BRZ-089",), "every token makes a profile", f"{_APPLYING}:_import_tokens", _always_new),
    Mutant("brz-import-any", ("BRZ-290",), "imports are not looked at", f"{_CHECKS}:_token_import", instead(_in_bytes_only)),
    Mutant("brz-device-ids", ("BRZ-291",), "device ids have any length", f"{_CHECKS}:_tokens", _fits_if("BAD_DEVICE_ID")),
    Mutant("brz-token-texts", ("BRZ-292",), "a token may be a number", f"{_CHECKS}:_tokens", _fits_if("BAD_PUSH_TOKEN_STRING")),
    Mutant("brz-any-group", ("BRZ-293",), "every group is known", f"{_CHECKS}:_groups", _fits_if("BAD_SUBSCRIPTION_GROUP_ID")),
    Mutant("brz-subscription-info", ("BRZ-294",), "email_subscription_info is an attribute", f"{_CHECKS}:_CHECKS", lambda original: {**original, "attributes": _fits_if("INVALID_ATTRIBUTE_EMAIL_SUBSCRIPTION_INFO")(original["attributes"])}),
    Mutant("brz-no-blocked-ids", ("BRZ-295",), "no external id is blocked", f"{_CHECKS}:_identifier", _fits_if("BLACKLISTED_EXTERNAL_USER_ID")),
)  # fmt: skip
