"""Two public client packages of Braze's REST API, unmodified, against a served tank: one from PyPI, one from npm.

Each takes one person from track to delete: `braze-client-sdk` in this process, `braze-api` in Node. What they have to
read is what Braze's documents answer.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

SCRIPT = Path(__file__).with_name("braze_community.mjs")
NPM_PACKAGE = "braze-api@2.13.4"
ALIAS = {"alias_name": "visitor-1", "alias_label": "web"}
FIELDS = ["external_id", "email", "custom_attributes", "custom_events", "purchases", "user_aliases"]
TIME = "2026-01-01T00:00:00Z"
STEPS: dict[str, dict[str, Any]] = {
    "track": {
        "attributes": [
            {"user_alias": ALIAS, "_update_existing_only": False, "plan": "pro"},
            {"external_id": "ann", "email": "ann@example.com"},
            {"external_id": "old-ann", "city": "Paris"},
            {"external_id": "nobody", "email_subscribe": "perhaps"},
        ],
        "events": [{"external_id": "old-ann", "name": "opened", "time": TIME}],
        "purchases": [{"external_id": "ann", "product_id": "sku", "currency": "USD", "price": 9.5, "time": TIME}],
    },
    "export": {"external_ids": ["ann", "old-ann"], "user_aliases": [ALIAS], "fields_to_export": FIELDS},
    "identify": {"aliases_to_identify": [{"external_id": "ann", "user_alias": ALIAS}]},
    "merge": {
        "merge_updates": [
            {"identifier_to_merge": {"external_id": "old-ann"}, "identifier_to_keep": {"external_id": "ann"}}
        ]
    },
    "delete": {"external_ids": ["ann"]},
}

Client = Callable[[str], Any]
"""Does a step and answers what the package hands to its caller."""


def journey(tank: Any, client: Client) -> None:
    """Every step of a person's life, and what the exports between them say."""
    tracked = client("track")
    assert (tracked["message"], tracked["attributes_processed"]) == ("success", 3)
    assert (tracked["events_processed"], tracked["purchases_processed"]) == (1, 1)
    (refused,) = tracked["errors"]
    assert (refused["input_array"], refused["index"]) == ("attributes", 3)
    assert client("export")["users"] == [], "a write is answered first and applied later"
    tank.advance("1s")
    apart = client("export")
    assert apart["message"] == "success"
    found = {each.get("external_id"): each for each in apart["users"]}
    assert found.keys() == {"ann", "old-ann", None}
    assert found[None]["user_aliases"] == [ALIAS]
    assert found[None]["custom_attributes"] == {"plan": "pro"}
    assert (found["ann"]["email"], found["ann"]["purchases"][0]["count"]) == ("ann@example.com", 1)
    assert client("identify") == {"aliases_processed": 1, "message": "success"}
    tank.advance("2m")
    found = {each.get("external_id"): each for each in client("export")["users"]}
    assert found.keys() == {"ann", "old-ann"}, "the profile of the alias is merged into the known one"
    assert (found["ann"]["custom_attributes"], found["ann"]["user_aliases"]) == ({"plan": "pro"}, [ALIAS])
    assert client("merge") == {"message": "success"}
    tank.advance("2m")
    merged = client("export")
    assert merged["invalid_user_ids"] == ["old-ann"]
    (ann,) = merged["users"]
    assert ann["custom_attributes"] == {"plan": "pro", "city": "Paris"}
    assert [(each["name"], each["count"]) for each in ann["custom_events"]] == [("opened", 1)]
    assert client("delete") == {"deleted": 1, "message": "success"}
    tank.advance("5m")
    gone = client("export")
    assert (gone["users"], gone["invalid_user_ids"]) == ([], ["ann", "old-ann"])


def test_the_python_package(tank: Any) -> None:
    braze = pytest.importorskip("braze", reason="braze-client-sdk of the extra 'test' is not installed")
    users = braze.Braze(host=tank.ready["braze"]["url"], token=tank.ready["braze"]["rest_api_key"]).users

    def client(step: str) -> Any:
        return (users.export.ids if step == "export" else getattr(users, step))(STEPS[step])

    journey(tank, client)
    stranger = braze.Braze(host=tank.ready["braze"]["url"], token="nobody")
    with pytest.raises(requests.HTTPError, match="401"):
        stranger.users.track(STEPS["track"])


@pytest.fixture(scope="module")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of its own with the package in it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not there")
    folder = tmp_path_factory.mktemp("npm")
    (folder / "package.json").write_text('{"private": true}')
    quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefer-offline"]
    try:
        made = subprocess.run(
            ["npm", "install", *quiet, NPM_PACKAGE], cwd=folder, capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {NPM_PACKAGE} within two minutes")
    if made.returncode:
        pytest.skip(f"npm cannot install {NPM_PACKAGE}: {made.stderr.strip()[-200:]}")
    return folder


def test_the_npm_package(tank: Any, npm_folder: Path) -> None:
    where = {"url": tank.ready["braze"]["url"], "key": tank.ready["braze"]["rest_api_key"]}

    def run(step: str, **more: str) -> Any:
        told = json.dumps({**where, "step": step, **more})
        done = subprocess.run(
            ["node", str(SCRIPT), told], cwd=npm_folder, capture_output=True, text=True, timeout=60, check=True
        )
        return json.loads(done.stdout)

    journey(tank, lambda step: run(step)["answer"])
    assert run("track", key="nobody") == {"refused": 401, "message": "Invalid API key: nobody", "errors": None}
