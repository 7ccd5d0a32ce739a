"""What has to be there before a profile's first request: used quotas, and people for a cohort import."""

from __future__ import annotations

import json
from typing import Any

import requests

from loadtests.paths import COHORT
from loadtests.profiles import Group, Profile
from loadtests.tanks import Tank, Unusable

PER_REQUEST = 75


def prepare(profile: Profile, tank: Tank) -> None:
    """Bring the tank into the state that the profile begins with. Raises Unusable."""
    if profile.used_today:
        used = [{"id": each["device"], "events": each["events"]} for each in profile.used_today]
        tank.call("PUT", f"{tank.path}/amplitude/usage", {"devices": used})
    for group in profile.groups:
        if group.path == "cohort_import":
            _people(group, tank)


def _people(group: Group, tank: Tank) -> None:
    """Profiles for all members, and the cohort: an import finds people, it makes none (Braze docs, Cohort import)."""
    braze = tank.ready["braze"]
    names = [f"load-{group.name}-{n:07d}" for n in range(group.people)]
    key = {"Authorization": f"Bearer {braze['rest_api_key']}"}
    for start in range(0, len(names), PER_REQUEST):
        attributes = [{"external_id": each, "load": True} for each in names[start : start + PER_REQUEST]]
        _post(f"{braze['url']}/users/track", {"attributes": attributes}, key)
    cohort: dict[str, Any] = {
        "partner_api_key": braze["partner_api_key"],
        "client_secret": braze["data_import_key"],
        "cohort_id": COHORT,
        "name": "Load",
        "created_at": "2026-01-01T00:00:00",
    }
    _post(f"{braze['url']}/partners/amplitude/cohorts", cohort, {})


def _post(url: str, body: object, headers: dict[str, str]) -> None:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            url, data=json.dumps(body), headers={"Content-Type": "application/json", **headers}, timeout=60
        )
    if answer.status_code >= 300:
        raise Unusable(f"the run cannot be prepared: {url} answers {answer.status_code}: {answer.text[:200]}")
