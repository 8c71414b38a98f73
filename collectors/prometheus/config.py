"""What an operator may say about scraping an exporter."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from collectors.schedule import ScrapeConfig


class Buckets(StrEnum):
    """What becomes of a histogram's buckets."""

    SKIP = "skip"
    KEEP = "keep"


class PrometheusConfig(ScrapeConfig):
    """The section of a `prometheus` collector; one for each target."""

    url: str = Field(description="address of the page, e.g. http://127.0.0.1:9100/metrics")
    timeout_seconds: float = Field(5.0, gt=0, le=300, description="longest silence of the target")
    max_bytes: int = Field(64 << 20, gt=0, description="a larger page (unpacked) is refused as a whole")
    max_samples: int = Field(200_000, gt=0, description="a page with more samples is refused as a whole")
    honor_labels: bool = Field(False, description="let the target's own `node` label stand; else it is `exported_node`")
    buckets: Buckets = Field(Buckets.SKIP, description="histogram buckets: `skip` or `keep`; sum and count are kept")
    labels: dict[str, str] = Field(default_factory=dict, description="labels added to every series")
    bearer_token: SecretStr | None = Field(None, description="sent as Authorization; write it as ${VARIABLE}")
    ca_file: Path | None = Field(None, description="certificates to trust beside the machine's own")

    @field_validator("url")
    @classmethod
    def _has_scheme(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("is no address of a page; write http://HOST:PORT/metrics")
        return url

    @field_validator("labels")
    @classmethod
    def _no_node(cls, pairs: dict[str, str]) -> dict[str, str]:
        if "node" in pairs:
            raise ValueError("the label `node` is set by the key `node`")
        return pairs
