"""Putting the flows together: an outbox and a delivery for each, and the syncs that fill some of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from connector import cohort_changes, reporting, streaming, syncing
from connector.amplitude import Client
from connector.amplitude_rest import RestClient
from connector.braze import CohortClient, TrackClient
from connector.config import Config
from connector.delivery import EXPIRE_MS, HOUR_MS, Delivery
from connector.engine import Work
from connector.outbox import Outbox, Unreachable
from connector.sections import ConfigError, Source
from connector.syncing import Syncs

FILES = {"currents": "outbox.db"}
"""Where a flow keeps its outbox, unless it is in a file of its name."""


@dataclass(frozen=True)
class Flow:
    """One flow at work."""

    name: str
    outbox: Outbox
    delivery: Delivery
    syncs: Syncs | None = None

    def works(self) -> Iterator[Work]:
        """What the engine's thread does for it; a sync looks at its run before and after its requests are sent."""
        if self.syncs is not None:
            yield self.syncs
        yield self.delivery
        if self.syncs is not None:
            yield self.syncs


Flows = dict[str, Flow]
"""The flows that are on, by name."""


def outbox_of(config: Config, name: str, tables: str = "") -> Outbox:
    """The outbox of a flow. Raises ConfigError when the folder, or PostgreSQL, cannot hold it."""
    if config.outbox_url is not None:
        return _shared_outbox(config.outbox_url, name, tables)
    try:
        return Outbox(config.state_dir / FILES.get(name, f"{name}.db"), tables)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(
            f"WAVETANK_STATE_DIR: {config.state_dir} cannot hold the outbox ({error}): name another folder"
        ) from None


def _shared_outbox(url: str, name: str, tables: str) -> Outbox:
    try:
        from connector.shared_outbox import SharedOutbox
    except ImportError:
        raise ConfigError("CONNECTOR_OUTBOX: there is no psycopg: pip install 'wavetank[postgresql]'") from None
    try:
        return SharedOutbox(url, name, tables)
    except Unreachable as error:
        raise ConfigError(f"CONNECTOR_OUTBOX: PostgreSQL cannot hold the outbox ({error}): mend the URL") from None


def assemble(config: Config) -> Flows:
    """Every flow that is on. Raises ConfigError."""
    flows: list[Flow] = []
    if config.currents is not None:
        outbox = outbox_of(config, "currents")
        client = Client(config.currents.url, config.currents.api_key)
        flows.append(Flow("currents", outbox, Delivery(outbox, client)))
    stream = config.event_stream
    if stream is not None and stream.enabled:
        outbox = outbox_of(config, "event_stream", streaming.TABLES)
        client_of_braze = TrackClient(stream.url, stream.api_key)
        flows.append(Flow("event_stream", outbox, Delivery(outbox, client_of_braze, expire_ms=EXPIRE_MS)))
    cohorts = config.cohort_sync
    if cohorts is not None:
        outbox = outbox_of(config, "cohort_sync", syncing.TABLES + cohort_changes.TABLES)
        sender = CohortClient(cohorts.url, cohorts.data_import_key, cohorts.partner, cohorts.partner_key)
        syncs = Syncs(outbox, _reader(cohorts.source), cohorts.scheduled)
        flows.append(Flow("cohort_sync", outbox, Delivery(outbox, sender), syncs))
    properties = config.property_sync
    if properties is not None:
        outbox = outbox_of(config, "property_sync", syncing.TABLES)
        syncs = Syncs(outbox, _reader(properties.source), properties.syncs)
        delivery = Delivery(outbox, TrackClient(properties.url, properties.api_key))
        flows.append(Flow("property_sync", outbox, delivery, syncs))
    metrics = config.customerio
    if metrics is not None:
        outbox = outbox_of(config, "customerio")
        keep_ms = metrics.integration.readings.key_refused_hours * HOUR_MS
        flows.append(Flow("customerio", outbox, Delivery(outbox, reporting.client_of(metrics), keep_ms)))
    return {flow.name: flow for flow in flows}


def _reader(source: Source) -> RestClient:
    return RestClient(source.url, source.api_key, source.secret_key)
