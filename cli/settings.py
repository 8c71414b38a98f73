"""The configuration of the whole house: every section of every room, strict, in one file."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, SecretStr, field_validator, model_validator

from cli.health_port import HealthConfig
from cli.logs import LogConfig
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.config import Section, parse, read_toml
from coldaisle.errors import ConfigError
from coldaisle.overrides import overridden
from coldaisle.redaction import secrets_in
from coldaisle.store.influx_settings import InfluxConfig
from coldaisle.topology import Topology
from coldaisle.topology import load as load_topology
from collectors.registry import config_of
from collectors.schedule import ScrapeConfig
from collectors.simulator.config import SimulatorConfig
from dashboard.settings import ServeConfig
from pipeline.alerting.notifiers.webhook import WebhookConfig
from pipeline.alerting.settings import AlertSettings
from pipeline.engine_settings import EngineSettings


class StorageConfig(Section):
    """Where samples and incidents are kept, and how long."""

    folder: Path = Path("data")
    flush_seconds: Annotated[float, Field(gt=0)] = 5.0  # samples younger than this are lost if the process is killed
    retention_days: Annotated[float, Field(gt=0)] = 30.0
    metrics: Literal["parquet", "influx"] = "parquet"
    incidents: str = ""  # empty = SQLite in the folder, else postgresql://USER@HOST/DATABASE
    incidents_password: SecretStr | None = None
    influx: InfluxConfig | None = None

    @field_validator("incidents")
    @classmethod
    def _no_password_in_the_address(cls, url: str) -> str:
        query = url.partition("?")[2].lower()
        if ":" in url.partition("://")[2].rpartition("@")[0] or "password=" in query:
            raise ValueError("a password does not belong into the address; write it as storage.incidents_password")
        return url

    @model_validator(mode="after")
    def _influx_is_said(self) -> StorageConfig:
        if self.metrics == "influx" and self.influx is None:
            raise ValueError('metrics = "influx" needs a section [storage.influx] with url, org and token')
        return self


class BusConfig(Section):
    """What carries frames, events and findings from role to role, and how far behind a role may fall."""

    kind: Literal["memory", "kafka"] = "memory"  # memory is of one process: `up` and `demo`
    lag_limit_messages: Annotated[int, Field(ge=1)] = 50_000
    lag_limit_seconds: Annotated[float, Field(ge=0)] = 60.0
    kafka: KafkaConfig = KafkaConfig()


class SnapshotConfig(Section):
    """Where `run score` keeps what it has learnt, and how often it writes it down."""

    folder: Path | None = None  # None = the folder `snapshots` in storage.folder
    seconds: Annotated[float, Field(gt=0)] = 15.0


class ModelsConfig(Section):
    """Where trained models are kept."""

    folder: Path | None = None  # None = the folder `models` in storage.folder


class SpoolConfig(Section):
    """Where `run collect` keeps what it has read while Kafka is away."""

    folder: Path | None = None  # None = the folder `spool` in storage.folder
    max_bytes: Annotated[int, Field(ge=1 << 20)] = 1 << 30
    order_seconds: Annotated[float, Field(ge=0)] = 60.0  # what waited no longer goes out in order, before what is new


class CollectorEntry(Section):
    """One collector: its kind, and the keys that its kind knows."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict, repr=False)  # a secret in it is still plain text here

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, row: Any) -> Any:
        """``kind`` stands beside the collector's own keys in the file; only here they are told apart."""
        if isinstance(row, dict) and "options" not in row:
            return {"kind": row.get("kind"), "options": {key: value for key, value in row.items() if key != "kind"}}
        return row


class ReceiverConfig(WebhookConfig):
    """Someone who is told of incidents."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    kind: Literal["webhook"] = "webhook"
    severities: tuple[Literal["page", "ticket", "info"], ...] = ("page", "ticket")


class Settings(Section):
    """What ``coldaisle up --config F`` and ``coldaisle run ROLE --config F`` read."""

    hall: str = "hall-1"
    node: str = Field(default_factory=socket.gethostname)
    topology: Path | None = None
    rules: Path | None = None
    serve: ServeConfig = ServeConfig()
    storage: StorageConfig = StorageConfig()
    bus: BusConfig = BusConfig()
    snapshots: SnapshotConfig = SnapshotConfig()
    spool: SpoolConfig = SpoolConfig()
    models: ModelsConfig = ModelsConfig()
    health: HealthConfig = HealthConfig()
    log: LogConfig = LogConfig()
    engine: EngineSettings = EngineSettings()
    alerts: AlertSettings = AlertSettings()
    collectors: tuple[CollectorEntry, ...] = Field(default=(), alias="collector")
    receivers: tuple[ReceiverConfig, ...] = Field(default=(), alias="receiver")

    @model_validator(mode="after")
    def _receivers_differ(self) -> Settings:
        names = [receiver.name for receiver in self.receivers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two receivers are called {twice[0]!r}; give each its own name")
        return self


def read(path: Path | None) -> Settings:
    """
    Return the settings of ``path`` (its relative paths start at its folder), or the defaults.

    Variables ``COLDAISLE__SECTION__KEY`` go before what the file says. Raises ConfigError.
    """
    document = {} if path is None else read_toml(path)
    changed = overridden(document, Settings, os.environ)
    here = None if path is None else path.resolve().parent
    settings = parse(changed.document, Settings, str(path or "defaults"), here, changed.origins)
    return settings if here is None else _placed(settings, here)


def _placed(settings: Settings, here: Path) -> Settings:
    """Let every relative path start at ``here``."""
    storage, influx = settings.storage, settings.storage.influx
    if influx is not None:
        queue = influx.queue.model_copy(update=_below(here, influx.queue))
        influx = influx.model_copy(update={"queue": queue, **_below(here, influx)})
    storage = storage.model_copy(update={"influx": influx, **_below(here, storage)})
    kafka = settings.bus.kafka
    changes: dict[str, Any] = {
        "storage": storage,
        "bus": settings.bus.model_copy(update={"kafka": kafka.model_copy(update=_below(here, kafka))}),
        "snapshots": settings.snapshots.model_copy(update=_below(here, settings.snapshots)),
        "spool": settings.spool.model_copy(update=_below(here, settings.spool)),
        "models": settings.models.model_copy(update=_below(here, settings.models)),
        "receivers": tuple(each.model_copy(update=_below(here, each)) for each in settings.receivers),
        **_below(here, settings),
    }
    return settings.model_copy(update=changes)


def _below(here: Path, section: Section) -> dict[str, Path]:
    """Return every path among a section's own keys, below ``here`` unless it begins at the root."""
    values = {name: getattr(section, name) for name in type(section).model_fields}
    return {name: here / value for name, value in values.items() if isinstance(value, Path)}


SIMULATOR = "simulator"
"""A whole hall instead of a collector of one machine; it can stand among the collectors all the same."""


class Configured(NamedTuple):
    """A collector's word with its own checked section."""

    kind: str
    config: ScrapeConfig | SimulatorConfig


def collectors(settings: Settings, origin: str) -> list[Configured]:
    """Return every configured collector with its checked section. Raises ConfigError with all mistakes."""
    found: list[Configured] = []
    mistakes: list[str] = []
    for number, entry in enumerate(settings.collectors, start=1):
        try:
            found.append(Configured(entry.kind, _section_of(entry, f"{origin}: collector {number} ({entry.kind})")))
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return found


def _section_of(entry: CollectorEntry, origin: str) -> ScrapeConfig | SimulatorConfig:
    if entry.kind == SIMULATOR:
        return parse(entry.options, SimulatorConfig, origin)
    return config_of(entry.kind, entry.options, origin)


def snapshots_folder(settings: Settings) -> Path:
    """Return where what was learnt is kept."""
    return settings.snapshots.folder or settings.storage.folder / "snapshots"


def spool_folder(settings: Settings) -> Path:
    """Return where what Kafka does not take waits."""
    return settings.spool.folder or settings.storage.folder / "spool"


def models_folder(settings: Settings) -> Path:
    """Return where trained models are kept."""
    return settings.models.folder or settings.storage.folder / "models"


def secrets_of(settings: Settings) -> Iterator[str]:
    """Yield every secret of the configuration, so that nothing ever writes one."""
    yield from secrets_in(settings)
    for entry in settings.collectors:
        try:
            yield from secrets_in(_section_of(entry, entry.kind))
        except ConfigError:
            continue  # told to the operator where the collectors are checked


def topology_of(settings: Settings) -> Topology:
    """Return the declared graph, or an empty one that grows with the telemetry. Raises ConfigError."""
    return Topology() if settings.topology is None else load_topology(settings.topology)
