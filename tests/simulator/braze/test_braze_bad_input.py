"""Whatever is thrown at a route: a documented refusal or success, never a 5xx; a refusal leaves the state unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.braze import app, messaging_routes

DOCUMENTED = {200, 201, 202, 400, 401, 403, 413, 415, 423, 429}
OWN = [endpoint.split() for endpoint in app.HANDLERS if endpoint not in messaging_routes.HANDLERS]
POSTS = sorted(path for method, path in OWN if method == "POST")
GETS = sorted(path for method, path in OWN if method == "GET")
FIELDS = {
    "/users/track": ["attributes", "events", "purchases"],
    "/users/alias/new": ["user_aliases"],
    "/users/alias/update": ["alias_updates"],
    "/users/identify": ["aliases_to_identify", "emails_to_identify", "phone_numbers_to_identify"],
    "/users/merge": ["merge_updates"],
    "/users/delete": ["external_ids", "user_aliases", "braze_ids", "email_addresses", "phone_numbers"],
    "/users/external_ids/rename": ["external_id_renames"],
    "/users/external_ids/remove": ["external_ids"],
    "/users/export/ids": ["external_ids", "user_aliases", "braze_id", "email_address", "phone", "fields_to_export"],
    "/users/export/segment": [
        *("segment_id", "fields_to_export", "custom_attributes_to_export", "callback_endpoint", "output_format"),
    ],
    "/users/export/global_control_group": ["fields_to_export", "callback_endpoint", "output_format"],
    "/subscription/status/set": [
        *("subscription_group_id", "subscription_state", "external_id", "email", "phone"),
    ],
    "/v2/subscription/status/set": ["subscription_groups"],
    "/email/status": ["email", "subscription_state"],
    "/email/blocklist": ["email"],
    "/email/blacklist": ["email"],
    "/email/bounce/remove": ["email"],
    "/email/spam/remove": ["email"],
    "/partners/<partner>/cohorts": ["cohort_id", "name", "created_at"],
    "/partners/<partner>/cohorts/users": ["cohort_id", "cohort_changes"],
}
FIELDS.update({f"/users/track/{kind}": FIELDS["/users/track"] for kind in ("bulk", "sync")})
KEYS = st.sampled_from(
    [
        *("external_id", "braze_id", "user_alias", "email", "phone", "alias_name", "alias_label", "name", "time"),
        *("product_id", "price", "currency", "quantity", "properties", "prioritization", "push_tokens", "token"),
        *("app_id", "device_id", "push_token_import", "subscription_groups", "_update_existing_only", "dob"),
        *("_merge_objects", "current_location", "country", "language", "time_zone", "gender", "x", "y", ""),
        *("$add", "$remove", "$update", "$identifier_key", "$identifier_value", "$new_object", "$time", "inc", "add"),
        *("remove", "old_alias_name", "new_alias_name", "current_external_id", "new_external_id", "should_remove"),
        *("identifier_to_merge", "identifier_to_keep", "user_ids", "device_ids", "aliases", "subscription_group_id"),
        *("subscription_state", "email_subscribe", "image_url", "facebook", "date_of_first_session"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["a", "b", "a@example.com", "+14155550100", "2026-01-01T00:00:00Z", "USD", "identified", "t"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
GOOD = {"external_id": "a", "name": "n", "time": "2026-01-01", "product_id": "p", "currency": "USD", "price": 1}
ANY = st.dictionaries(KEYS, VALUES, max_size=6)
# Half of the objects are good but for what is thrown in, so that writes are reached too.
OBJECTS = st.lists(ANY | ANY.map(lambda each: {**GOOD, **each}) | SCALARS, max_size=4)


@pytest.mark.parametrize("path", POSTS)
def test_anything_on_every_route(make_workspace: Callable[..., Any], path: str) -> None:
    workspace = make_workspace()
    workspace.attributes({"external_id": "a", "email": "a@example.com", "x": [{"y": 1}]}, {"email": "a@example.com"})

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(body=st.dictionaries(st.sampled_from(FIELDS[path]), OBJECTS | VALUES, max_size=3) | VALUES)
    def run(body: Any) -> None:
        before = workspace.digest()
        if path.startswith("/partners/") and isinstance(body, dict):
            answer = workspace.cohort(path.removeprefix("/partners/<partner>/"), **body)
        else:
            answer = workspace.post(path.replace("<partner>", "amplitude"), body)
        assert answer.status_code in DOCUMENTED, answer.text
        assert isinstance(answer.json, dict)
        if answer.status_code >= 400:
            assert workspace.digest() == before

    run()


QUERY = [
    *("page", "sort_direction", "segment_id", "length", "unit", "ending_at", "app_id", "event", "product", "cursor"),
    *("start_date", "end_date", "email", "limit", "offset", "subscription_group_id", "external_id", "external_id[]"),
    *("phone", "campaign_id", "canvas_id"),
]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["a", "1", "100", "asc", "hour", "2026-01-01", "2026-01-01T00:00:00+01:00", "a@example.com"]),
    st.sampled_from(["6b9bdc4b-8a5b-4a0e-9d6e-2c6a3f3c0001", "-1", "1e9", "99999999999999999999", "+14155550100"]),
)


@pytest.mark.parametrize("path", GETS)
def test_any_query_on_every_list(make_workspace: Callable[..., Any], path: str) -> None:
    workspace = make_workspace()
    workspace.track(
        attributes=[{"external_id": "a", "email": "a@example.com", "x": 1}],
        events=[{"external_id": "a", "name": "a", "time": "2026-01-01"}],
    )
    taken = set()

    @settings(max_examples=150, suppress_health_check=list(HealthCheck), database=None)
    @given(query=st.lists(st.tuples(st.sampled_from(QUERY), TEXTS), max_size=6))
    def run(query: list[tuple[str, str]]) -> None:
        before = workspace.digest()
        headers = {"Authorization": f"Bearer {workspace.key}"}
        answer = workspace.client.get(path, query_string=query, headers=headers)
        assert answer.status_code in DOCUMENTED, answer.text
        assert isinstance(answer.json, dict)
        assert workspace.digest() == before
        taken.add(answer.status_code)

    run()
    assert taken <= {200, 400}
