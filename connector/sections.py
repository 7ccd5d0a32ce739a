"""The sections of integration.yaml, one per flow, as the flows want them; the schema has checked them before."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from connector.flows import currents, customerio
from connector.flows.cohort_sync import REAL_TIME, CohortSync
from connector.flows.customerio import Integration, Readings
from connector.flows.event_stream import CONTROL, IDS, Identification, Selected, Stream
from connector.flows.property_sync import PropertySync

HOSTS = {"US": "https://api2.amplitude.com", "EU": "https://api.eu.amplitude.com"}
REST_HOSTS = {"US": "https://amplitude.com", "EU": "https://analytics.eu.amplitude.com"}


class ConfigError(ValueError):
    """The configuration cannot be used: one line that says what is wrong, where, and how to mend it."""


@dataclass(frozen=True)
class CurrentsConfig:
    """The Currents flow. ``selection`` None is all events; ``profile`` is None or ``2026``."""

    url: str
    api_key: str = field(repr=False)
    selection: frozenset[str] | None = None
    profile: str | None = None


@dataclass(frozen=True)
class StreamConfig:
    """Event streaming: where to, and what the set-up form says. ``enabled`` False: nothing is taken or sent."""

    url: str
    api_key: str = field(repr=False)
    stream: Stream
    enabled: bool


@dataclass(frozen=True)
class Source:
    """The Amplitude project that syncs read from."""

    url: str
    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class CohortSyncConfig:
    """Cohort syncs: scheduled ones are downloaded, those in real time arrive by webhook."""

    url: str
    data_import_key: str = field(repr=False)
    partner: str
    partner_key: str = field(repr=False)
    source: Source
    scheduled: tuple[CohortSync, ...]
    real_time: tuple[CohortSync, ...]


@dataclass(frozen=True)
class PropertySyncConfig:
    """Syncs of user properties and computations."""

    url: str
    api_key: str = field(repr=False)
    source: Source
    syncs: tuple[PropertySync, ...]


@dataclass(frozen=True)
class CustomerioConfig:
    """Customer.io's Amplitude (Message Metrics): where to, the webhook's signing key, and the set-up page."""

    url: str
    api_key: str = field(repr=False)
    signing_key: str = field(repr=False)
    integration: Integration


def nearest(name: str, known: Iterable[str]) -> str:
    """What somebody who wrote ``name`` may have meant."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(names)}"


def _selection(events: Any, profile: str | None, where: str) -> frozenset[str] | None:
    if events == "all":
        return None
    for name in events:
        if not currents.known_event(name, profile):
            near = nearest(name, [*currents.names(profile).values(), *currents.CUSTOM_NAMES[:1]])
            raise ConfigError(f"{where}: currents.events: {name!r} is not an event Braze exports: {near}")
    return frozenset(events)


def currents_flow(integration: Mapping[str, Any], environ: Mapping[str, str], where: str) -> CurrentsConfig | None:
    """The section ``currents``, None when it is not there. Raises ConfigError."""
    section = integration.get("currents")
    if section is None:
        return None
    amplitude = section["amplitude"]
    profile = currents.PROFILE_2026 if integration.get("profile") == currents.PROFILE_2026 else None
    return CurrentsConfig(
        base_url(amplitude.get("region"), environ, "currents.amplitude.region").rstrip("/"),
        amplitude["api_key"],
        _selection(section.get("events", "all"), profile, where),
        profile,
    )


def base_url(region: str | None, environ: Mapping[str, str], place: str) -> str:
    """Where Amplitude of a region answers; ``place`` is what asks for it. Raises ConfigError.

    ``AMPLITUDE_URL`` is the address of the region ``AMPLITUDE_REGION``; the other region's stands in the
    ready file that ``WAVETANK_TANK`` names. Without any of these it is the vendor's own address. A project
    lives in one region and the other does not know its key (Amplitude docs, HTTP V2 API, Regions).
    """
    url = environ.get("AMPLITUDE_URL", "")
    own = environ.get("AMPLITUDE_REGION", "").upper()
    if not url:
        return HOSTS[region or own or "US"]
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"AMPLITUDE_URL: {url!r} is no address: give one like http://127.0.0.1:8701")
    if not region or not own or region == own:
        return url
    try:
        ready = json.loads(Path(environ["WAVETANK_TANK"]).read_text("utf-8"))
        return str(ready["amplitude"]["other_region_url"])
    except (KeyError, OSError, ValueError, TypeError):
        raise ConfigError(f"{place}: AMPLITUDE_URL is of the region {own}, not {region}: correct either") from None


def event_stream_flow(integration: Mapping[str, Any], where: str) -> StreamConfig | None:
    """The section ``event_stream``, None when it is not there. Raises ConfigError."""
    section = integration.get("event_stream")
    if section is None:
        return None
    side, given = section["braze"], section.get("mapping", {})
    label = side.get("user_alias_label", "")
    kind = given.get("braze_user_id_type", "external_id")
    if kind == "user_alias" and not label:
        place = f"{where}: event_stream.braze.user_alias_label"
        raise ConfigError(f"{place}: user aliases are mapped and there is no label: give the label you plan to use")
    _check_attributes(section.get("user_properties", ()), f"{where}: event_stream.user_properties")
    chosen = section.get("additional_properties", {})
    ticked = section.get("events", "all")
    ticks = None
    if ticked != "all":
        ticks = tuple(Selected(each["event_type"], tuple(each.get("where", ()))) for each in ticked)
    stream = Stream(
        side.get("app_id", ""),
        side.get("update_users_only", False),
        Identification(given.get("amplitude_property", IDS[0]), kind, label),
        section.get("send_events", True),
        ticks,
        tuple(chosen.get("event", ())),
        tuple(chosen.get("user", ())),
        section.get("send_users", False),
        tuple(section.get("user_properties", ())),
        section.get("readings", {}).get("attributes", "chosen") == "changed",
    )
    enabled = section.get("status", "disabled") == "enabled"
    return StreamConfig(_address(side["endpoint"], where, "event_stream"), side["api_key"], stream, enabled)


def _address(url: str, where: str, section: str) -> str:
    if not url.startswith(("http://", "https://")):
        sample = "https://rest.iad-01.braze.com"
        raise ConfigError(f"{where}: {section}.braze.endpoint: {url!r} is no address: give one like {sample}")
    return url.rstrip("/")


def _source(environ: Mapping[str, str], where: str, section: str) -> Source:
    for name in ("AMPLITUDE_API_KEY", "AMPLITUDE_SECRET_KEY"):
        if not environ.get(name):
            raise ConfigError(f"{where}: {section}: {name} is not set: it takes the project's key pair to download")
    region = environ.get("AMPLITUDE_REGION", "").upper() or "US"
    url = environ.get("AMPLITUDE_URL") or REST_HOSTS[region]
    return Source(url, environ["AMPLITUDE_API_KEY"], environ["AMPLITUDE_SECRET_KEY"])


def cohort_flow(integration: Mapping[str, Any], environ: Mapping[str, str], where: str) -> CohortSyncConfig | None:
    """The section ``cohort_sync``, None when it is not there. Raises ConfigError."""
    section = integration.get("cohort_sync")
    if section is None:
        return None
    syncs: list[CohortSync] = []
    renames = section.get("readings", {}).get("renames", True)
    for index, each in enumerate(section["syncs"]):
        place = f"{where}: cohort_sync.syncs[{index}]"
        identifiers = tuple(each["identifier"] if isinstance(each["identifier"], list) else [each["identifier"]])
        if "user_alias" in identifiers and not each.get("user_alias_label"):
            raise ConfigError(f"{place}: user_alias_label is missing: give the label of the aliases")
        own = each.get("amplitude_property", IDS[0])
        if each["cadence"] == REAL_TIME and ("device_id" in identifiers or own != IDS[0]):
            raise ConfigError(f"{place}: the cohort webhook carries user ids only: map those")
        alike = [other for other in syncs if other.cohort_id == each["cohort_id"]]
        if any(other.identifiers == identifiers for other in alike):
            raise ConfigError(f"{place}: {each['cohort_id']} is synced twice by the same identifiers: keep one")
        label = each.get("user_alias_label", "")
        made = CohortSync(each["cohort_id"], each["cadence"], identifiers, label, own, len(alike) + 1)
        syncs.append(replace(made, renames=renames))
    return CohortSyncConfig(
        _address(section["braze"]["endpoint"], where, "cohort_sync"),
        section["braze"]["data_import_key"],
        environ.get("BRAZE_PARTNER_NAME") or "amplitude",
        environ.get("BRAZE_PARTNER_API_KEY", ""),
        _source(environ, where, "cohort_sync"),
        tuple(each for each in syncs if each.cadence != REAL_TIME),
        tuple(each for each in syncs if each.cadence == REAL_TIME),
    )


def property_flow(integration: Mapping[str, Any], environ: Mapping[str, str], where: str) -> PropertySyncConfig | None:
    """The section ``property_sync``, None when it is not there. Raises ConfigError."""
    section = integration.get("property_sync")
    if section is None:
        return None
    active = environ.get("AMPLITUDE_ACTIVE_COHORT_ID", "")
    if not active:
        raise ConfigError(
            f"{where}: property_sync: AMPLITUDE_ACTIVE_COHORT_ID is not set: name the cohort of users active in the "
            "last 90 days"
        )
    given, is_typed = section["syncs"], section.get("readings", {}).get("values", "typed") == "typed"
    return PropertySyncConfig(
        _address(section["braze"]["endpoint"], where, "property_sync"),
        section["braze"]["api_key"],
        _source(environ, where, "property_sync"),
        tuple(
            _property_sync(each, active, is_typed, f"{where}: property_sync.syncs[{n}]") for n, each in enumerate(given)
        ),
    )


def _property_sync(each: Mapping[str, Any], active: str, is_typed: bool, place: str) -> PropertySync:
    _check_attributes((each["name"],), f"{place}.name")
    given = each.get("mapping", {})
    kind, label = given.get("braze_user_id_type", "external_id"), each.get("user_alias_label", "")
    if kind == "user_alias" and not label:
        raise ConfigError(f"{place}: user_alias_label is missing: give the label of the aliases")
    mapping = Identification(given.get("amplitude_property", IDS[0]), kind, label)
    return PropertySync(each["kind"], each["name"], each["cadence"], active, mapping, is_typed)


def _check_attributes(names: Iterable[str], where: str) -> None:
    """Raise ConfigError for a property whose name means something else in Braze than an attribute."""
    for name in names:
        if name in CONTROL:
            raise ConfigError(f"{where}: {name!r} is no attribute in Braze but steers its objects: leave it out")


def customerio_flow(integration: Mapping[str, Any], environ: Mapping[str, str], where: str) -> CustomerioConfig | None:
    """The section ``customerio``, None when it is not there. Raises ConfigError."""
    section = integration.get("customerio")
    if section is None:
        return None
    amplitude, events = section["amplitude"], section.get("events", "all")
    unknown = [] if events == "all" else [each for each in events if each not in customerio.choices()]
    if unknown:
        near = nearest(unknown[0], sorted(customerio.choices()))
        raise ConfigError(f"{where}: customerio.events: {unknown[0]!r} is not a report of Customer.io's: {near}")
    readings = Readings(**section.get("readings", {}))
    group_types = {"account_id": "account_id", "workspace_id": readings.workspace_group}
    given = {name: section.get(name) or environ.get(f"CUSTOMERIO_{name.upper()}", "") for name in group_types}
    place = "customerio.amplitude.eu_data_residency"
    return CustomerioConfig(
        base_url("EU" if amplitude.get("eu_data_residency") else "US", environ, place).rstrip("/"),
        amplitude["api_key"],
        section["signing_key"],
        Integration(
            None if events == "all" else frozenset(events),
            section.get("body_content", False),
            {group_types[name]: value for name, value in given.items() if value},
            readings,
        ),
    )
