"""The identity endpoints: aliases, identify, merge, delete, and the migration of external ids.

A 2xx says that a request is well-formed and queued; pairs that match nobody succeed silently. Source: Braze docs,
the page of each endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from simulator.braze import identity, pending, profile_store, standard
from simulator.braze.refusals import refuse, table
from simulator.braze.track_checks import MAX_EXTERNAL_ID_BYTES, is_alias
from simulator.braze.transport import Body
from simulator.exchange import Answer, Call, Reason

MAX = 50
_ORDERS = ("identified", "unidentified", "most_recently_updated", "least_recently_updated")


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _entries(body: Body, field: str, fits: Callable[[Mapping[str, Any]], bool], too_many: str) -> Answer | None:
    """The refusal of a list of objects, None when it fits."""
    given = body.get(field)
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        return refuse("not_an_array", field=field)
    if len(given) > MAX:
        return refuse(too_many, detail={"entries": len(given)})
    bad = [index for index, each in enumerate(given) if not fits(each)]
    return refuse("bad_entry", field=field, detail={"indexes": bad}) if bad else None


def _queued(call: Call, kind: str, payload: Any, source: str) -> tuple[Reason, ...]:
    n = pending.put(call.conn, call.tank, kind, payload, call.now_ms)
    return (Reason("accepted", "the writes are queued", f"Braze docs, {source}", {"write": n}),)


# -- aliases


def alias_new(call: Call, body: Body) -> Answer:
    """`/users/alias/new`. An entry may nest the pair in ``user_alias``, as recorded calls do."""
    given = body.get("user_aliases")
    if isinstance(given, list):
        given = [{**each, **each["user_alias"]} if _nested(each) else each for each in given]
    problem = _entries({"user_aliases": given}, "user_aliases", is_alias, "max_ids_and_aliases")
    if problem is not None:
        return problem
    assert isinstance(given, list)
    why = _queued(call, "alias_new", given, "Create new user aliases")
    return Answer(201, {"aliases_processed": len(given), "message": "success"}, why=why)


def _nested(each: Any) -> bool:
    return isinstance(each, dict) and isinstance(each.get("user_alias"), dict)


def alias_update(call: Call, body: Body) -> Answer:
    """`/users/alias/update`."""

    def fits(each: Mapping[str, Any]) -> bool:
        return all(
            is_alias({"alias_name": each.get(name), "alias_label": each.get("alias_label")})
            for name in ("old_alias_name", "new_alias_name")
        )

    problem = _entries(body, "alias_updates", fits, "max_ids_and_aliases")
    if problem is not None:
        return problem
    why = _queued(call, "alias_update", body["alias_updates"], "Update user alias")
    return Answer(201, {"message": "success"}, why=why)


# -- identify and merge


def _order(value: Any, known: Sequence[str] = _ORDERS) -> bool:
    """Whether this is a list of prioritization rules; identified and unidentified exclude each other."""
    fits = value is None or (isinstance(value, list) and all(each in known for each in value))
    return fits and not {"identified", "unidentified"} <= set(value or ())


def identify(call: Call, body: Body) -> Answer:
    """`/users/identify`: by alias, e-mail or phone; the older ``merge_behavior`` is honoured."""
    shapes: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
        ("aliases_to_identify", lambda each: is_alias(each.get("user_alias"))),
        ("emails_to_identify", lambda each: _text(each.get("email")) and _order(each.get("prioritization"))),
        ("phone_numbers_to_identify", lambda each: _text(each.get("phone")) and _order(each.get("prioritization"))),
    )
    given = [(field, fits) for field, fits in shapes if body.get(field) is not None]
    if not given:
        return refuse("needs_identities")
    entries: list[dict[str, Any]] = []
    for field, fits in given:
        problem = _entries(body, field, partial(_identifies, fits), "max_ids_and_aliases")
        if problem is not None:
            return problem
        entries += [_only(each, _IDENTIFIES_BY[field], "external_id") for each in body[field]]
    if len(entries) > MAX:
        return refuse("max_ids_and_aliases", detail={"entries": len(entries)})
    if any(_too_large(each["external_id"]) for each in entries):
        return refuse("external_id_too_large")
    merge = body.get("merge_behavior") != "none"
    why = _queued(call, "identify", {"entries": entries, "merge": merge}, "Identify users")
    return Answer(201, {"aliases_processed": len(entries), "message": "success"}, why=why)


def _identifies(fits: Callable[[Mapping[str, Any]], bool], each: Mapping[str, Any]) -> bool:
    return _external_id(each.get("external_id")) and fits(each)


def _external_id(value: Any) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))


def _too_large(value: Any) -> bool:
    return len(str(value).encode()) > MAX_EXTERNAL_ID_BYTES


_IDENTIFIES_BY = {
    "aliases_to_identify": "user_alias",
    "emails_to_identify": "email",
    "phone_numbers_to_identify": "phone",
}
_KINDS = ("external_id", "user_alias", "email", "phone")


def _only(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """These members, and the prioritization, of an identifier; phones as they are looked up, in E.164."""
    found = {name: given[name] for name in (*names, "prioritization") if name in given}
    return {**found, "phone": standard.phone(found["phone"])[0]} if "phone" in found else found


def merge(call: Call, body: Body) -> Answer:
    """`/users/merge`: 202, then the pairs one by one, each in its own time."""
    given = body.get("merge_updates")
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        return refuse("merge_not_array")
    if len(given) > MAX:
        return refuse("merge_too_many", detail={"pairs": len(given)})
    sides = ("identifier_to_merge", "identifier_to_keep")
    if any(set(each) != set(sides) for each in given):
        return refuse("merge_keys")
    if not all(_merge_identifier(each[side]) for each in given for side in sides):
        return refuse("merge_identifiers")
    pairs = [{side: _only(each[side], *_KINDS) for side in sides} for each in given]
    return Answer(202, {"message": "success"}, why=_queued(call, "merge", pairs, "Merge users"))


def _merge_identifier(value: Any) -> bool:
    if not isinstance(value, dict) or not _order(value.get("prioritization")):
        return False
    kinds = [kind for kind in _KINDS if kind in value]
    if len(kinds) != 1:
        return False
    return is_alias(value["user_alias"]) if kinds == ["user_alias"] else isinstance(value[kinds[0]], str)


# -- delete


def _contact(kind: str, value: Any) -> bool:
    # Deleting knows no least_recently_updated.
    return isinstance(value, dict) and _text(value.get(kind)) and _order(value.get("prioritization"), _ORDERS[:3])


_DELETE: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "external_ids": ("external_id", _external_id),
    "user_aliases": ("user_alias", is_alias),
    "braze_ids": ("braze_id", _text),
    "email_addresses": ("email", lambda value: _contact("email", value)),
    "phone_numbers": ("phone", lambda value: _contact("phone", value)),
}


def delete(call: Call, body: Body) -> Answer:
    """`/users/delete`: exactly one kind of identifier; ``deleted`` is how many were queued."""
    kinds = [name for name in _DELETE if body.get(name) is not None]
    if len(kinds) != 1:
        return refuse("delete_one_kind")
    field = kinds[0]
    name, fits = _DELETE[field]
    given = body[field]
    if not isinstance(given, list) or not given or not all(fits(each) for each in given):
        return refuse("bad_entry", field=field)
    if len(given) > MAX:
        return refuse("max_ids", detail={"entries": len(given)})
    entries = [_only(each, name) if name in ("email", "phone") else {name: each} for each in given]
    why = _queued(call, "delete", entries, "Delete users")
    return Answer(201, {"deleted": len(given), "message": "success"}, why=why)


# -- external ids


def rename(call: Call, body: Body) -> Answer:
    """`/users/external_ids/rename`: done at once; errors are pairs of the request's index and a text."""

    def fits(each: Mapping[str, Any]) -> bool:
        return _text(each.get("current_external_id")) and _text(each.get("new_external_id"))

    given = body.get("external_id_renames")
    problem = _entries(body, "external_id_renames", fits, "max_ids")
    if problem is not None or not given:
        return problem or refuse("not_an_array", field="external_id_renames")
    wanted = {("external_id", each[name]) for each in given for name in ("current_external_id", "new_external_id")}
    people = profile_store.load(call.conn, call.tank, wanted, call.now_ms)
    renamed, errors = [], []
    for index, each in enumerate(given):
        current, new = each["current_external_id"], each["new_external_id"]
        too_large = table()["external_id_too_large"].text if _too_large(new) else None
        refused = too_large or identity.rename(people, current, new, call.now_ms)
        if refused is None:
            renamed.append({name: each[name] for name in ("current_external_id", "new_external_id")})
        else:
            errors.append([index, refused])
    profile_store.save(call.conn, people)
    body_ = {"rename_errors": errors, "external_ids": renamed, "message": "success"}
    return Answer(201, body_, why=(Reason("renamed", "external ids renamed", "Braze docs, External ID migration"),))


def remove(call: Call, body: Body) -> Answer:
    """`/users/external_ids/remove`: deprecated ids only."""
    given = body.get("external_ids")
    if not isinstance(given, list) or not given or not all(_text(each) for each in given):
        return refuse("bad_entry", field="external_ids")
    if len(given) > MAX:
        return refuse("max_ids", detail={"entries": len(given)})
    people = profile_store.load(call.conn, call.tank, {("external_id", each) for each in given}, call.now_ms)
    removed, errors = [], []
    for index, each in enumerate(given):
        refused = identity.remove_deprecated(people, each, call.now_ms)
        if refused is None:
            removed.append(each)
        else:
            errors.append([index, refused])
    profile_store.save(call.conn, people)
    body_ = {"removed_ids": removed, "removal_errors": errors, "message": "success"}
    return Answer(201, body_, why=(Reason("removed", "deprecated ids removed", "Braze docs, External ID migration"),))
