"""The settings of the InfluxDB store."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from coldaisle.config import Section


class InfluxQueueConfig(Section):
    """
    Where writes wait on disk while InfluxDB is away or slow.

    One process, one folder. Without a folder nothing is kept here: ``flush`` raises Transient and the bus keeps
    what was not stored.
    """

    folder: Path | None = None
    max_bytes: int = Field(default=4 << 30, ge=1 << 20)


class InfluxConfig(Section):
    """
    One InfluxDB 2 and the buckets in it: ``bucket`` and, made of its name, ``-1m``, ``-1h`` and ``-events``.

    Retention is in days; 0 keeps for ever. ``coldaisle doctor --fix`` makes the buckets as they are set here.
    """

    url: str
    org: str
    token: SecretStr
    bucket: str = "coldaisle"
    raw_days: int = Field(default=30, ge=0)
    minute_days: int = Field(default=180, ge=0)
    hour_days: int = Field(default=0, ge=0)
    event_days: int = Field(default=0, ge=0)
    timeout_seconds: float = Field(default=10.0, gt=0)
    gzip: bool = True
    verify_tls: bool = True
    ca_file: Path | None = None
    batch_samples: int = Field(default=20_000, ge=1)
    queue: InfluxQueueConfig = InfluxQueueConfig()

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("write it as http://host:8086 or https://host:8086")
        if "@" in url:
            raise ValueError("a password does not belong into the address; give a token")
        return url.rstrip("/")

    @field_validator("bucket", "org")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if not name or not name.isprintable() or '"' in name or "\\" in name:
            raise ValueError("must be a name of printable letters without quotes and backslashes")
        return name

    @model_validator(mode="after")
    def _longer_when_coarser(self) -> InfluxConfig:
        for finer, coarser, words in (
            (self.raw_days, self.minute_days, "minute_days must not be shorter than raw_days"),
            (self.minute_days, self.hour_days, "hour_days must not be shorter than minute_days"),
        ):
            if coarser and (not finer or coarser < finer):
                raise ValueError(words)
        return self

    @property
    def minute_bucket(self) -> str:
        """Return the bucket of windows of a minute."""
        return f"{self.bucket}-1m"

    @property
    def hour_bucket(self) -> str:
        """Return the bucket of windows of an hour."""
        return f"{self.bucket}-1h"

    @property
    def event_bucket(self) -> str:
        """Return the bucket of events, which are few and kept for longer than samples."""
        return f"{self.bucket}-events"
