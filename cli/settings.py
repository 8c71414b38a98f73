"""The configuration of the whole house: every section of every room, strict, in one file."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from coldaisle.config import Section, load
from coldaisle.errors import ConfigError
from coldaisle.topology import Topology
from coldaisle.topology import load as load_topology
from collectors.registry import config_of
from collectors.schedule import ScrapeConfig
from dashboard.settings import ServeConfig
from pipeline.alerting.notifiers.webhook import WebhookConfig
from pipeline.alerting.settings import AlertSettings
from pipeline.engine_settings import EngineSettings


class StorageConfig(Section):
    """Where samples and incidents are kept, and how long."""

    folder: Path = Path("data")
    flush_seconds: Annotated[float, Field(gt=0)] = 5.0  # samples younger than this are lost if the process is killed
    retention_days: Annotated[float, Field(gt=0)] = 30.0


class CollectorEntry(Section):
    """One collector: its kind, and the keys that its kind knows."""

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)

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
    """What ``coldaisle up --config F`` reads."""

    hall: str = "hall-1"
    node: str = Field(default_factory=socket.gethostname)
    topology: Path | None = None
    rules: Path | None = None
    serve: ServeConfig = ServeConfig()
    storage: StorageConfig = StorageConfig()
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
    """Return the settings of ``path`` (its relative paths start at its folder), or the defaults. Raises ConfigError."""
    if path is None:
        return Settings()
    settings = load(path, Settings)
    here = path.resolve().parent
    storage = settings.storage.model_copy(update={"folder": here / settings.storage.folder})
    changes: dict[str, Any] = {"storage": storage}
    for key in ("topology", "rules"):
        given: Path | None = getattr(settings, key)
        if given is not None:
            changes[key] = here / given
    return settings.model_copy(update=changes)


class Configured(NamedTuple):
    """A collector's word with its own checked section."""

    kind: str
    config: ScrapeConfig


def collectors(settings: Settings, origin: str) -> list[Configured]:
    """Return every configured collector with its checked section. Raises ConfigError with all mistakes."""
    found: list[Configured] = []
    mistakes: list[str] = []
    for number, entry in enumerate(settings.collectors, start=1):
        try:
            section = config_of(entry.kind, entry.options, f"{origin}: collector {number} ({entry.kind})")
            found.append(Configured(entry.kind, section))
        except ConfigError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return found


def topology_of(settings: Settings) -> Topology:
    """Return the declared graph, or an empty one that grows with the telemetry. Raises ConfigError."""
    return Topology() if settings.topology is None else load_topology(settings.topology)
