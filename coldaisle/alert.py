"""The claim that something is wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.severity import Severity


class AlertState(StrEnum):
    """An alert is pending until its rule's ``for`` has passed, then firing, then resolved."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Alert:
    """
    One rule holding for one entity, from ``starts_at`` until ``ends_at``.

    Its fingerprint is its identity over time: the same rule on the same entity is the same alert.
    """

    name: str  # the rule's name
    entity: str
    severity: Severity
    state: AlertState
    starts_at: int
    updated_at: int
    ends_at: int | None = None
    summary: str = ""
    explanation: str = ""
    action: str = ""
    runbook: str = ""
    score: float = 1.0
    detector: str = ""
    version: str = ""
    anomalies: tuple[Anomaly, ...] = ()  # the strongest few that support it, with their windows
    members: tuple[str, ...] = ()
    suppressed_by: str | None = None  # why it is quiet although firing

    @property
    def fingerprint(self) -> str:
        """16 hex digits of name and entity."""
        return fingerprint(self.name, self.entity)

    def suppressed(self, reason: str) -> Alert:
        """Return this alert, quiet for ``reason``; never removed, so that the page can say why."""
        return replace(self, suppressed_by=reason)


def fingerprint(name: str, entity: str) -> str:
    """Return the identity of the alert ``name`` on ``entity``."""
    return blake2b(f"{name}\x1f{entity}".encode(), digest_size=8).hexdigest()


def alert_of(anomaly: Anomaly) -> Alert:
    """Return the alert that one finding makes on its own."""
    closed = anomaly.phase is Phase.CLOSED
    return Alert(
        name=anomaly.rule,
        entity=anomaly.entity,
        severity=anomaly.severity,
        state=AlertState.RESOLVED if closed else AlertState.FIRING,
        starts_at=anomaly.started_at,
        updated_at=anomaly.updated_at,
        ends_at=anomaly.ended_at,
        summary=anomaly.summary,
        explanation=anomaly.explanation,
        action=anomaly.action,
        runbook=anomaly.runbook,
        score=anomaly.score,
        detector=anomaly.detector,
        version=anomaly.version,
        anomalies=(anomaly,),
        members=anomaly.members,
    )
