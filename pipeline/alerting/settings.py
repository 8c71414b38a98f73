"""What an operator can set about alerts and incidents."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field, field_validator, model_validator

from coldaisle import matcher
from coldaisle.clock import SECOND
from coldaisle.config import Section
from coldaisle.errors import ConfigError


class MaintenanceWindow(Section):
    """A planned span: alerts that fulfil ``matchers`` are quiet in it, and say so."""

    matchers: str  # as in a silence: rack="r12", alertname=~"pdu.*"
    starts_at: datetime
    ends_at: datetime
    comment: str

    @field_validator("matchers")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            found = matcher.parse(text)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if not found:
            raise ValueError('is empty and would mute everything; write for example rack="r12"')
        return text

    @model_validator(mode="after")
    def _in_order(self) -> MaintenanceWindow:
        if self.nanoseconds(self.starts_at) >= self.nanoseconds(self.ends_at):
            raise ValueError("ends_at must be later than starts_at")
        return self

    @staticmethod
    def nanoseconds(moment: datetime) -> int:
        """Return Unix nanoseconds; a time without a zone is UTC."""
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return round(aware.timestamp()) * SECOND


class AlertSettings(Section):
    """
    How alerts become incidents. Times are event time.

    The defaults are chosen for telemetry every one to sixty seconds; ``docs/correlation.md`` says why.
    """

    group_wait_seconds: float = Field(10.0, ge=0)
    """How long a new alert waits for company before its incident opens. A page waits no longer than this."""
    lateness_seconds: float = Field(3.0, ge=0)
    """How much later than others a finding may arrive and still be heard in its place; part of the group wait."""
    merge_window_seconds: float = Field(300.0, gt=0)
    """Alerts that start within this of each other may have one cause."""
    slow_window_seconds: float = Field(1800.0, gt=0)
    """The same for heat, which travels slowly."""
    resolve_after_seconds: float = Field(300.0, ge=0)
    """Quiet before an incident resolves by itself; an alert that returns sooner continues it."""
    reopen_within_seconds: float = Field(600.0, ge=0)
    """An alert that returns this soon after its incident resolved opens it again."""
    acknowledge_seconds: float = Field(4 * 3600.0, ge=0)
    """When an acknowledgement without its own end expires; 0 = never."""
    refresh_seconds: float = Field(10.0, ge=0)
    """How often to look whether people have acted through another process."""
    update_seconds: float = Field(60.0, ge=0)
    """How often an incident whose numbers merely moved is written again."""
    page_nodes: int = Field(4, ge=2)
    """From this many harmed nodes (one cause) an incident pages whatever its alerts say alone."""
    page_gpus: int = Field(16, ge=2)
    """The same for GPUs."""
    max_windows: int = Field(8, ge=0)
    """How many frozen windows of evidence an incident keeps."""
    max_full_alerts: int = Field(200, ge=1)
    """Beyond this many, an incident keeps its alerts without their findings."""
    max_timeline: int = Field(200, ge=20)
    """How many lines a timeline may have."""
    maintenance: tuple[MaintenanceWindow, ...] = ()

    @property
    def lateness_ns(self) -> int:
        """The lateness, at most half of the group wait, so that nobody waits longer for a page than the group wait."""
        return round(min(self.lateness_seconds, self.group_wait_seconds / 2) * SECOND)
