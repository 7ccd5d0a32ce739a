"""What a connector under test finds in its environment and its integration.yaml."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_OWN = ("AMPLITUDE_", "BRAZE_", "CUSTOMERIO_", "CURRENTS_", "WAVETANK_")


def integration(ready: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The default integration.yaml of a tank with ``changes`` merged in; null removes a member."""
    whole: dict[str, Any] = {
        "currents": {
            "amplitude": {
                "api_key": "${AMPLITUDE_API_KEY}",
                "region": ready["amplitude"]["region"].upper(),
            },
            "events": "all",
        }
    }
    return merged(whole, changes)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, mapping by mapping; null removes a member."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def environment(ready: Mapping[str, Any], folder: Path, *, clock: bool) -> dict[str, str]:
    """The variables of the design for one tank; ``folder`` holds what they point to.

    :param clock: whether tank time is not real time, so that the connector must wait at the tank's clock.
    """
    amplitude, braze, customerio = ready["amplitude"], ready["braze"], ready["customerio"]
    own = {
        "AMPLITUDE_URL": amplitude["url"],
        "AMPLITUDE_REGION": amplitude["region"].upper(),
        "AMPLITUDE_API_KEY": amplitude["api_key"],
        "AMPLITUDE_SECRET_KEY": amplitude["secret_key"],
        "AMPLITUDE_ACTIVE_COHORT_ID": amplitude.get("active_cohort_id", ""),
        "BRAZE_URL": braze["url"],
        "BRAZE_REST_API_KEY": braze["rest_api_key"],
        "BRAZE_APP_ID": braze["app_id"],
        "BRAZE_DATA_IMPORT_KEY": braze["data_import_key"],
        "BRAZE_PARTNER_NAME": braze.get("partner_name", "amplitude"),
        "BRAZE_PARTNER_API_KEY": braze["partner_api_key"],
        "CUSTOMERIO_SIGNING_KEY": customerio["signing_key"],
        "CUSTOMERIO_ACCOUNT_ID": customerio["account_id"],
        "CUSTOMERIO_WORKSPACE_ID": customerio["workspace_id"],
        "CURRENTS_TOKEN": braze.get("currents_token", ""),
        "AMPLITUDE_FEED_TOKEN": amplitude.get("feed_token", ""),
        "WAVETANK_INTEGRATION": str(folder / "integration.yaml"),
        "WAVETANK_TANK": str(folder / "ready.json"),
        "WAVETANK_STATE_DIR": str(folder / "state"),
        "PYTHONUNBUFFERED": "1",
    }
    if clock:
        own["WAVETANK_CLOCK_URL"] = ready["control"]["clock_url"]
    # What the caller's shell says about a vendor must not leak into a tank.
    others = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    return {**others, **own}


def lay_out(ready: Mapping[str, Any], folder: Path, content: Mapping[str, Any]) -> None:
    """Write the files that the environment points to; the state folder is made once and kept."""
    (folder / "state").mkdir(parents=True, exist_ok=True)
    (folder / "ready.json").write_text(json.dumps(ready, indent=1), "utf-8")
    (folder / "integration.yaml").write_text(yaml.safe_dump(dict(content), sort_keys=False), "utf-8")
