"""The simulated Amplitude over the control API: what an analyst sets up in its dashboard."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from simulator.amplitude import cohort_computing, cohort_syncs, cohort_tables, cohorts, definitions, models, rows
from simulator.control.desk import NotThere
from simulator.control.frame import Ask, ControlRoute, Handler, Refused

_T = "/tanks/<tank_id>/amplitude"
_MODELS = {
    "computations": ("computed property", "amplitude_computation"),
    "recommendations": ("recommendation", "amplitude_recommendation"),
    "predictions": ("prediction", "amplitude_prediction"),
}
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _id(ask: Ask, name: str) -> str:
    given = ask.path[name]
    if not _ID.fullmatch(given):
        raise Refused(f"{given!r} is no id", f"path.{name}", "use up to 64 letters, digits, - and _")
    return given


# -- cohorts


def put_cohort(ask: Ask) -> tuple[int, Any]:
    """Set up a computed cohort, or edit it: its members are computed at once."""
    cohort_id = _id(ask, "cohort_id")
    try:
        definitions.check(ask.body["definition"])
    except ValueError as error:
        mend = "docs/amplitude.md shows what a definition is made of"
        raise Refused(str(error), "body.definition", mend) from error
    with ask.tank.store.write() as conn:
        now_ms = ask.tank.clock.now_ms(conn)
        old = cohort_tables.row(conn, cohort_id)
        if old is not None and old.definition is None:
            raise Refused("this cohort was uploaded", "path.cohort_id", "give another id", 409)
        cohort_computing.save(conn, cohort_id, now_ms=now_ms, **ask.body)
        change = cohort_computing.recompute(conn, cohort_id, now_ms)
        shown = _cohort(ask, conn, cohort_id)
    return 200, {**shown, "entered": change.entered, "left": change.left}


def _cohort(ask: Ask, conn: Connection, cohort_id: str) -> dict[str, Any]:
    row = cohort_tables.row(conn, cohort_id)
    if row is None:
        raise NotThere(f"the project has no cohort {cohort_id!r}")
    return cohorts.shown(conn, row, rows.project_id(ask.tank.id, ask.tank.seed))


def get_cohorts(ask: Ask) -> tuple[int, Any]:
    """Every cohort, also those that no list of the vendor's shows, as they were computed last."""
    with ask.tank.store.read() as conn:
        ids = conn.execute(select(cohort_tables.cohorts.c.id).order_by(cohort_tables.cohorts.c.id)).scalars().all()
        return 200, {"cohorts": [_cohort(ask, conn, each) for each in ids]}


def get_cohort(ask: Ask) -> tuple[int, Any]:
    """One cohort with its members, computed again when they are too old."""
    cohort_id = _id(ask, "cohort_id")
    with ask.tank.store.write() as conn:
        cohort_computing.refresh(conn, ask.tank, cohort_id, ask.tank.clock.now_ms(conn))
        shown = _cohort(ask, conn, cohort_id)
        amplitude_ids, user_ids = cohorts.members_of(conn, cohort_id)
    return 200, {**shown, "amplitude_ids": amplitude_ids, "user_ids": user_ids}


def delete_cohort(ask: Ask) -> tuple[int, Any]:
    """Archive and delete a cohort: its syncs stop, what they have sent stays where it is."""
    cohort_id = _id(ask, "cohort_id")
    with ask.tank.store.write() as conn:
        _cohort(ask, conn, cohort_id)
        for each in cohort_syncs.listed(conn):
            if each["cohort_id"] == cohort_id:
                cohort_syncs.remove(conn, each["sync_id"])
        cohort_tables.remove(conn, cohort_id)
    return 204, None


# -- computed properties, recommendations, predictions


def _put_model(kind: str) -> Handler:
    def put(ask: Ask) -> tuple[int, Any]:
        with ask.tank.store.write() as conn:
            models.save(conn, kind, _id(ask, "id"), ask.body, ask.tank.clock.now_ms(conn))
        return 200, {"id": ask.path["id"], **ask.body}

    return put


def _list_models(kind: str) -> Handler:
    def listed(ask: Ask) -> tuple[int, Any]:
        with ask.tank.store.read() as conn:
            return 200, {kind: [{"id": each, **found} for each, found in models.listed(conn, kind).items()]}

    return listed


def _delete_model(kind: str) -> Handler:
    def delete(ask: Ask) -> tuple[int, Any]:
        with ask.tank.store.write() as conn:
            if not models.remove(conn, kind, _id(ask, "id")):
                raise NotThere(f"the project has no such {_MODELS[kind][0]}")
        return 204, None

    return delete


# -- syncs


def put_sync(ask: Ask) -> tuple[int, Any]:
    """Create or edit a cohort sync; it runs at once."""
    if "url" in ask.body:
        parts = urlsplit(ask.body["url"])
        if parts.scheme not in ("http", "https") or not parts.hostname:
            sample = "http://127.0.0.1:9000/feeds/amplitude/cohorts"
            raise Refused(f"{ask.body['url']!r} is not an http or https URL", "body.url", f"give one like {sample}")
    with ask.tank.store.write() as conn:
        state = cohort_syncs.configure(conn, ask.tank, _id(ask, "id"), ask.body, ask.tank.clock.now_ms(conn))
    ask.desk.keeper(ask.tank).poke()
    return 200, state


def get_syncs(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        return 200, {"syncs": cohort_syncs.listed(conn)}


def get_sync(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.read() as conn:
        try:
            return 200, cohort_syncs.state(conn, _id(ask, "id"))
        except LookupError as error:
            raise NotThere(f"the project has no sync {ask.path['id']!r}") from error


def delete_sync(ask: Ask) -> tuple[int, Any]:
    with ask.tank.store.write() as conn:
        if not cohort_syncs.remove(conn, _id(ask, "id")):
            raise NotThere(f"the project has no sync {ask.path['id']!r}")
    return 204, None


def _routes() -> tuple[ControlRoute, ...]:
    found = [
        ControlRoute("GET", f"{_T}/cohorts", "cohorts Amplitude holds", get_cohorts, {200: "cohorts"}),
        ControlRoute("GET", f"{_T}/cohorts/<cohort_id>", "a cohort and its members", get_cohort, {200: "cohort"}),
        ControlRoute(
            "PUT",
            f"{_T}/cohorts/<cohort_id>",
            "set up a computed cohort",
            put_cohort,
            {200: "cohort", 409: "an uploaded cohort has this id"},
            "amplitude_cohort",
        ),
        ControlRoute("DELETE", f"{_T}/cohorts/<cohort_id>", "delete a cohort", delete_cohort, {204: "gone"}),
        ControlRoute("GET", f"{_T}/syncs", "cohort syncs of Amplitude's own", get_syncs, {200: "syncs"}),
        ControlRoute("GET", f"{_T}/syncs/<id>", "a cohort sync and its runs", get_sync, {200: "sync"}),
        ControlRoute("PUT", f"{_T}/syncs/<id>", "set up a cohort sync", put_sync, {200: "sync"}, "amplitude_sync"),
        ControlRoute("DELETE", f"{_T}/syncs/<id>", "delete a cohort sync", delete_sync, {204: "gone"}),
    ]
    for kind, (word, schema) in _MODELS.items():
        path = f"{_T}/{kind}/<id>"
        found += [
            ControlRoute("GET", f"{_T}/{kind}", f"every {word}", _list_models(kind), {200: kind}),
            ControlRoute("PUT", path, f"set up a {word}", _put_model(kind), {200: word}, schema),
            ControlRoute("DELETE", path, f"delete a {word}", _delete_model(kind), {204: "gone"}),
        ]
    return tuple(found)


ROUTES = _routes()
