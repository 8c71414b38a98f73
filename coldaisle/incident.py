"""A group of alerts that people work on, with a timeline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from coldaisle.alert import Alert, AlertState
from coldaisle.errors import Permanent
from coldaisle.severity import Severity


class IncidentState(StrEnum):
    """Open until somebody takes it; resolved when the condition has ended or a person closes it."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class ResolveReason(StrEnum):
    """Why an incident is over; feeds each detector's measured precision."""

    REAL = "real"
    NOISE = "noise"
    PLANNED = "planned"
    DUPLICATE = "duplicate"
    ENDED = "ended"  # by itself: every alert resolved


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One line of what happened: ``kind`` is opened, alert, event, acknowledged, resolved, notified, note."""

    timestamp: int
    kind: str
    text: str
    actor: str = "coldaisle"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A person says "I have it" until ``expires_at``; stops escalation, mutes nothing."""

    actor: str
    timestamp: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """
    What is wrong, where, since when, why it is believed, how far it reaches, and what to do.

    Immutable: every change is a new value with a line in its timeline.
    """

    id: str
    title: str  # one sentence: what and where
    severity: Severity
    state: IncidentState
    suspect: str  # the entity that explains most of it
    entities: tuple[str, ...]  # the reach: everything with an alert, the suspect first
    started_at: int  # the first evidence
    opened_at: int  # when Coldaisle said so
    updated_at: int
    explanation: str  # one paragraph
    recommended_action: str
    reasons: tuple[str, ...]  # one line of evidence each, the strongest first
    confidence: float  # 0..1
    alerts: tuple[Alert, ...]
    timeline: tuple[TimelineEntry, ...] = ()
    ended_at: int | None = None  # when the condition ended
    resolved_at: int | None = None
    resolve_reason: ResolveReason | None = None
    acknowledgement: Acknowledgement | None = None
    runbook: str = ""
    suppressed_by: str | None = None
    version: int = 0  # rises with every stored change; 0 = not stored yet

    @property
    def firing(self) -> tuple[Alert, ...]:
        """The alerts that still hold."""
        return tuple(alert for alert in self.alerts if alert.state is AlertState.FIRING)

    def noted(self, timestamp: int, kind: str, text: str, actor: str = "coldaisle") -> Incident:
        """Return this incident with one more line in its timeline."""
        entry = TimelineEntry(timestamp, kind, text, actor)
        return replace(self, timeline=(*self.timeline, entry), updated_at=max(timestamp, self.updated_at))

    def acknowledged(self, now: int, actor: str, expires_at: int | None = None, note: str = "") -> Incident:
        """Return this incident in somebody's hands. Raises Permanent when it is already resolved."""
        if self.state is IncidentState.RESOLVED:
            raise Permanent(f"incident {self.id} is resolved already; nothing is left to acknowledge")
        taken = replace(
            self,
            state=IncidentState.ACKNOWLEDGED,
            acknowledgement=Acknowledgement(actor, now, expires_at),
        )
        return taken.noted(now, "acknowledged", note or f"{actor} has it", actor)

    def unacknowledged(self, now: int, actor: str, note: str = "") -> Incident:
        """Return this incident given back. Raises Permanent unless somebody has it."""
        if self.state is not IncidentState.ACKNOWLEDGED:
            raise Permanent(f"incident {self.id} is {self.state.value}; nobody has it")
        given = replace(self, state=IncidentState.OPEN, acknowledgement=None)
        return given.noted(now, "unacknowledged", note or f"{actor} gave it back", actor)

    def resolved(self, now: int, actor: str, reason: ResolveReason, note: str = "") -> Incident:
        """Return this incident closed. Raises Permanent when it is closed already."""
        if self.state is IncidentState.RESOLVED:
            raise Permanent(f"incident {self.id} is resolved already")
        closed = replace(
            self,
            state=IncidentState.RESOLVED,
            resolved_at=now,
            resolve_reason=reason,
            ended_at=self.ended_at if self.ended_at is not None else now,
        )
        return closed.noted(now, "resolved", note or f"resolved: {reason.value}", actor)

    def reopened(self, now: int, actor: str, note: str = "") -> Incident:
        """Return this incident open again. Raises Permanent unless it is resolved."""
        if self.state is not IncidentState.RESOLVED:
            raise Permanent(f"incident {self.id} is {self.state.value}, not resolved")
        again = replace(
            self,
            state=IncidentState.OPEN,
            resolved_at=None,
            resolve_reason=None,
            ended_at=None,
            acknowledgement=None,
        )
        return again.noted(now, "reopened", note or "it is back", actor)
