"""integration.yaml and the environment: what is read, and how each fault is told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from connector.config import Config, ConfigError, load, schema

ENVIRON = {
    "PORT": "9000",
    "AMPLITUDE_URL": "http://127.0.0.1:8701/",
    "AMPLITUDE_REGION": "US",
    "AMPLITUDE_API_KEY": "key-1",
    "CURRENTS_TOKEN": "token-1",
}
DESIGN = """
currents:            {amplitude: {api_key: "${AMPLITUDE_API_KEY}", region: US}, events: all}
event_stream:
  status: enabled
  braze: {endpoint: "${BRAZE_URL}", api_key: "${BRAZE_REST_API_KEY}", app_id: "${BRAZE_APP_ID}",
          user_alias_label: "", update_users_only: false}
  mapping: {amplitude_property: user_id, braze_user_id_type: external_id}
  send_events: true
  events: [{event_type: Checkout, where: [{property: plan, op: is, values: [pro]}]}]
  additional_properties: {event: [cart_value], user: [tier]}
  send_users: true
  user_properties: [tier, city]
cohort_sync:
  braze: {endpoint: "${BRAZE_URL}", data_import_key: "${BRAZE_DATA_IMPORT_KEY}"}
  syncs: [{cohort_id: cxyzz3hz, identifier: user_id, cadence: hourly}]
property_sync:
  braze: {endpoint: "${BRAZE_URL}", api_key: "${BRAZE_REST_API_KEY}"}
  syncs: [{kind: user_property, name: tier, cadence: daily}]
customerio:
  amplitude: {api_key: "${AMPLITUDE_API_KEY}", eu_data_residency: false}
  signing_key: "${CUSTOMERIO_SIGNING_KEY}"
  events: all
  body_content: false
"""
BRAZE = {
    "BRAZE_URL": "http://127.0.0.1:8702",
    "BRAZE_REST_API_KEY": "rest",
    "BRAZE_APP_ID": "app",
    "BRAZE_DATA_IMPORT_KEY": "import",
    "AMPLITUDE_SECRET_KEY": "secret",
    "AMPLITUDE_ACTIVE_COHORT_ID": "active1",
    "CUSTOMERIO_SIGNING_KEY": "signing",
}


def _load(tmp_path: Path, text: str | None, **environ: str) -> Config:
    whole = {**ENVIRON, "WAVETANK_STATE_DIR": str(tmp_path / "state"), **environ}
    if text is not None:
        (tmp_path / "integration.yaml").write_text(text, "utf-8")
        whole["WAVETANK_INTEGRATION"] = str(tmp_path / "integration.yaml")
    return load(whole)


def _changed(**changes: Any) -> str:
    section: dict[str, Any] = {"amplitude": {"api_key": "key-1", "region": "US"}, "events": "all"}
    return yaml.safe_dump({"currents": {**section, **changes}})


def test_without_a_file_currents_is_on_with_the_keys_of_the_environment(tmp_path: Path) -> None:
    config = _load(tmp_path, None)
    assert config.currents is not None
    assert (config.currents.url, config.currents.api_key) == ("http://127.0.0.1:8701", "key-1")
    assert config.currents.selection is None
    assert (config.port, config.currents_token, config.clock_url) == (9000, "token-1", None)
    assert "key-1" not in repr(config)
    assert "token-1" not in repr(config)


def test_the_schema_is_sound_and_takes_all_five_sections(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    config = _load(tmp_path, DESIGN, **BRAZE)
    assert config.currents is not None
    assert config.customerio is not None
    assert config.event_stream is not None
    assert config.event_stream.enabled
    assert config.cohort_sync is not None
    assert [each.cadence for each in config.cohort_sync.scheduled] == ["hourly"]
    assert config.property_sync is not None
    assert [each.name for each in config.property_sync.syncs] == ["tier"]


def test_an_absent_section_is_a_flow_that_is_off(tmp_path: Path) -> None:
    assert _load(tmp_path, "profile: late\n").currents is None
    assert _load(tmp_path, "").currents is None


def test_events_are_chosen_by_name_or_type(tmp_path: Path) -> None:
    config = _load(tmp_path, _changed(events=["Email Open", "users.behaviors.Purchase", "Custom Event"]))
    assert config.currents is not None
    assert set(config.currents.selection or ()) == {"Email Open", "users.behaviors.Purchase", "Custom Event"}


def test_the_newest_profile_is_taken_from_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path, 'profile: "2026"\n' + _changed(events=["Banner Click"]))
    assert config.currents is not None
    assert config.currents.profile == "2026"


def test_the_other_regions_address_comes_from_the_ready_file(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    ready.write_text(json.dumps({"amplitude": {"other_region_url": "http://127.0.0.1:8704"}}), "utf-8")
    text = _changed(amplitude={"api_key": "key-1", "region": "EU"})
    config = _load(tmp_path, text, WAVETANK_TANK=str(ready))
    assert config.currents is not None
    assert config.currents.url == "http://127.0.0.1:8704"
    with pytest.raises(ConfigError, match="region"):
        _load(tmp_path, text)


def test_without_an_address_it_is_the_vendors_own(tmp_path: Path) -> None:
    for region, host in (("US", "https://api2.amplitude.com"), ("EU", "https://api.eu.amplitude.com")):
        text = _changed(amplitude={"api_key": "key-1", "region": region})
        config = _load(tmp_path, text, AMPLITUDE_URL="", AMPLITUDE_REGION="")
        assert config.currents is not None
        assert config.currents.url == host


FAULTS: list[tuple[str, str]] = [
    ("currents: {", "line 1: this is not YAML"),
    ("- currents", "holds no mapping"),
    ("curents: {}\n", "did you mean 'currents'"),
    ("currents: {}\n", "currents: 'amplitude' is missing: add it"),
    ("currents: []\n", "currents: this is not of type object"),
    (_changed(amplitude={"region": "US"}), "currents.amplitude: 'api_key' is missing"),
    (_changed(amplitude={"api_key": ""}), "currents.amplitude.api_key: this is empty"),
    (_changed(amplitude={"api_key": 5}), "currents.amplitude.api_key: this is not of type string"),
    (
        _changed(amplitude={"api_key": "k", "region": "UK"}),
        "currents.amplitude.region: 'UK' does not fit: use",
    ),
    (_changed(amplitude={"api_key": "${NOT_THERE}"}), "${NOT_THERE} is not set: export NOT_THERE"),
    (_changed(event=["Email Open"]), "did you mean 'events'"),
    (
        _changed(events=["Email Opened"]),
        "'Email Opened' is not an event Braze exports: did you mean 'Email Open'",
    ),
    (_changed(events=["Banner Click"]), "'Banner Click' is not an event Braze exports"),
    (_changed(events="none"), "currents.events"),
    ("profile: [\n", "is not YAML"),
]


@pytest.mark.parametrize(("text", "told"), FAULTS)
def test_a_fault_is_told_in_one_line_with_file_place_and_remedy(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "integration.yaml"))
    assert told in message
    assert "\n" not in message
    assert message.count(": ") >= 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "http"), ("PORT", "0"), ("PORT", "70000"), ("PORT", "\u0663"), ("AMPLITUDE_URL", "127.0.0.1")],
)
def test_a_fault_of_the_environment_is_told_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        _load(tmp_path, None, **{name: value})


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load({**ENVIRON, "WAVETANK_INTEGRATION": str(tmp_path / "none.yaml")})
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00currents")
    with pytest.raises(ConfigError, match=r"UTF-8|not YAML"):
        load({**ENVIRON, "WAVETANK_INTEGRATION": str(tmp_path / "binary.yaml")})
