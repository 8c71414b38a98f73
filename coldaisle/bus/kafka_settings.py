"""What an operator sets about Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from coldaisle.bus import ANOMALIES, COHORTS, DEADLETTERS, EVENTS, FRAMES
from coldaisle.config import Section

_TOPICS = (FRAMES, EVENTS, COHORTS, ANOMALIES, DEADLETTERS)


class TopicConfig(Section):
    """How a topic should be; ``coldaisle doctor --fix`` makes it so."""

    partitions: int = Field(ge=1, le=1000, description="the most members of a group that can share the work")
    retention_hours: float = Field(gt=0, description="how long messages are kept")


def _topics() -> dict[str, TopicConfig]:
    # Snapshots are minutes old; what is replayed after a long outage decides how long the log must be.
    return {
        FRAMES: TopicConfig(partitions=8, retention_hours=72),
        EVENTS: TopicConfig(partitions=4, retention_hours=336),
        COHORTS: TopicConfig(partitions=8, retention_hours=24),
        ANOMALIES: TopicConfig(partitions=4, retention_hours=336),
        DEADLETTERS: TopicConfig(partitions=1, retention_hours=336),
    }


class KafkaConfig(Section):
    """Where Kafka is and how to talk to it."""

    servers: tuple[str, ...] = Field(("127.0.0.1:9092",), min_length=1, description="host:port of some brokers")
    security: Literal["plaintext", "tls", "sasl_tls"] = "plaintext"
    ca_file: Path | None = Field(None, description="PEM of who signed the brokers; without it the system's list")
    client_cert_file: Path | None = Field(None, description="PEM of our own certificate, where brokers ask for one")
    client_key_file: Path | None = Field(None, description="PEM of its key")
    mechanism: Literal["SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: str | None = None
    password: SecretStr | None = Field(None, description="write it as ${VARIABLE}")

    prefix: str = Field("", pattern=r"^[a-zA-Z0-9._-]*$", description="before every topic and group, as site1.")
    client_id: str = Field("coldaisle", min_length=1)
    instance: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,200}$",
        description="name of this process, unlike any other's: one that comes back within session_seconds finds its "
        "partitions again and nobody else's move",
    )
    compression: Literal["lz4", "zstd", "none"] = "lz4"
    replication: int = Field(1, ge=1, le=9, description="copies of each message; 3 where there are 3 brokers")
    topics: Mapping[str, TopicConfig] = Field(default_factory=_topics)

    max_message_bytes: int = Field(4 << 20, ge=1 << 16, le=64 << 20)
    max_in_flight_bytes: int = Field(32 << 20, ge=1 << 20, description="produced and not yet durable, a producer")
    connect_seconds: float = Field(10.0, gt=0)
    away_seconds: float = Field(2.0, gt=0, description="no answer for so long means that the broker is away")
    flush_seconds: float = Field(10.0, gt=0, description="how long a flush waits before it says that it failed")
    delivery_seconds: float = Field(
        120.0,
        gt=0,
        description="how long a message is tried again; longer than a broker takes to restart, so that order holds",
    )
    session_seconds: float = Field(10.0, ge=1, le=300, description="a member silent for so long is taken for dead")
    max_work_seconds: float = Field(300.0, ge=10, description="a member may work for so long between two polls")

    @field_validator("servers")
    @classmethod
    def _addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{server!r} is no address; write host:port")
        return servers

    @field_validator("topics", mode="before")
    @classmethod
    def _all_topics(cls, topics: object) -> object:
        if not isinstance(topics, Mapping):
            return topics
        if unknown := topics.keys() - set(_TOPICS):
            raise ValueError(f"no topic {', '.join(sorted(map(str, unknown)))}; there are {', '.join(_TOPICS)}")
        whole: dict[str, object] = {}
        for name, usual in _topics().items():
            wanted = topics.get(name, {})
            whole[name] = usual.model_dump() | dict(wanted) if isinstance(wanted, Mapping) else wanted
        return whole

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.security == "sasl_tls" and (self.user is None or self.password is None):
            raise ValueError("security sasl_tls needs user and password")
        if self.security != "sasl_tls" and (self.user is not None or self.password is not None):
            raise ValueError("user and password are used by security sasl_tls only; set it")
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file go together")
        if self.security == "plaintext" and (self.ca_file or self.client_cert_file):
            raise ValueError("certificates are used by security tls and sasl_tls only; set one")
        if self.delivery_seconds <= self.flush_seconds:
            raise ValueError("delivery_seconds must be longer than flush_seconds")
        return self

    def topic(self, name: str) -> str:
        """Return the name of ``name`` on the brokers."""
        return self.prefix + name

    def group(self, name: str) -> str:
        """Return the name of a consumer group on the brokers."""
        return self.prefix + name
