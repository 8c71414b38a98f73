"""Opens the servers that roles need, waiting for those that are not there yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cli.roles.process import Process
from cli.settings import Settings
from cli.storage_folder import alone_in
from coldaisle.bus.kafka import KafkaBus
from coldaisle.errors import Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store import MetricStore

if TYPE_CHECKING:
    from coldaisle.store.sql import SqlIncidentStore

Refuse = Callable[[bytes, str], None]
_OWN_FOLDER = "give each process its own storage.folder"


def bus_of(settings: Settings, stats: SelfStats) -> KafkaBus:
    """Return the bus between processes; nothing connects yet. Raises ConfigError."""
    return KafkaBus(settings.bus.kafka, stats)


def bus_for(process: Process, stack: ExitStack, topics: Iterable[str]) -> KafkaBus:
    """Return the bus once it answers and has ``topics``. Raises ConfigError (a topic is missing), Asked."""
    bus = bus_of(process.settings, process.stats)
    stack.callback(bus.close)

    def look() -> None:
        for topic in topics:
            bus.partitions(topic)

    process.wait_for("kafka", look)
    return bus


def incidents_for(process: Process, stack: ExitStack) -> SqlIncidentStore:
    """Return the incident store once its database answers. Raises ConfigError, Asked."""
    # A role that keeps no incidents starts a quarter sooner without the database's client.
    from coldaisle.store.sql import connect_incidents, open_incidents

    storage = process.settings.storage
    if storage.incidents:
        store = process.wait_for("postgresql", lambda: connect_incidents(storage.incidents, storage.incidents_password))
    else:
        store = process.wait_for("sqlite", lambda: open_incidents(storage.folder))
    stack.callback(store.close)
    return store


def metrics_for(process: Process, stack: ExitStack, refuse: Refuse | None) -> MetricStore:
    """
    Return the metric store; without ``refuse`` it is only read. A writer holds its folder alone.

    ``refuse`` takes a line that the store will never accept, and why. Raises ConfigError, Asked.
    """
    storage, clock, stats = process.settings.storage, process.clock, process.stats
    store: MetricStore
    if storage.metrics == "influx" and storage.influx is not None:
        from coldaisle.store.influx import InfluxStore

        store = InfluxStore(storage.influx, clock, stats, refuse, read_only=refuse is None)
    else:
        from coldaisle.store.parquet import ParquetStore

        if refuse is not None:
            stack.enter_context(alone_in(storage.folder, _OWN_FOLDER))
        folder = storage.folder / "metrics"

        def open_it() -> MetricStore:
            if refuse is None and not folder.is_dir():
                raise Transient(f"{folder}: no such folder yet; `coldaisle run store` makes it")
            return ParquetStore(folder, clock, stats, read_only=refuse is None)

        store = process.wait_for("parquet", open_it)
    stack.callback(store.close)
    return store


def where_metrics(settings: Settings) -> str:
    """Return in words where samples are kept; no secret."""
    influx = settings.storage.influx
    if settings.storage.metrics == "influx" and influx is not None:
        return f"bucket {influx.bucket} of InfluxDB at {influx.url}"
    return f"Parquet in {settings.storage.folder / 'metrics'}"


def where_incidents(settings: Settings) -> str:
    """Return in words where incidents are kept; no secret."""
    url = settings.storage.incidents
    if url:
        return f"PostgreSQL at {url.rpartition('@')[2].partition('?')[0].rpartition('://')[2]}"
    return f"SQLite in {settings.storage.folder}"


def where_bus(settings: Settings) -> str:
    """Return in words where the bus is."""
    return f"Kafka at {', '.join(settings.bus.kafka.servers)}"
