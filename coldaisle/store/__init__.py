"""What the platform asks of its stores: metrics that are written and asked for, incidents that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.frame import Block, Frame, Times, Values
from coldaisle.incident import Incident, IncidentState
from coldaisle.matcher import Matcher
from coldaisle.prediction import Prediction
from coldaisle.series import Series
from coldaisle.severity import Severity
from coldaisle.silence import Silence
from coldaisle.store.prediction_port import PredictionQuery, PredictionStore

__all__ = [
    "AuditEntry", "Change", "Conflict", "IncidentQuery", "IncidentStore", "Line", "MetricStore", "Notification",
    "NotificationState", "PredictionQuery", "PredictionStore", "RoleState", "RoleStore",
]  # fmt: skip


class Line(NamedTuple):
    """The samples of one series in a span, sorted by time; at most the points that were asked for."""

    series: Series
    timestamps: Times
    values: Values


class MetricStore(Protocol):
    """Keeps samples. Writing the same sample twice is harmless."""

    def write(self, frames: Iterable[Frame | Block]) -> None:
        """Take frames. They are durable after the next ``flush``. Raises Transient, Backpressure."""
        ...

    def write_events(self, events: Iterable[Event]) -> None:
        """Take events."""
        ...

    def flush(self) -> None:
        """Return when everything written is durable. Raises Transient (a full disk says so)."""
        ...

    def query(
        self,
        metric: str,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        max_points: int = 2000,
        max_series: int = 200,
    ) -> list[Line]:
        """
        Return the lines of ``metric`` whose labels fulfil ``matchers``, between ``start`` and ``end`` (ns).

        A line with more than ``max_points`` samples is thinned so that its extremes survive. What is
        written but not yet flushed is included.
        """
        ...

    def metrics(self) -> list[str]:
        """Return the names of all metrics that have samples, sorted."""
        ...

    def series(self, metric: str, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Series]:
        """Return the series of ``metric``."""
        ...

    def events(self, start: int, end: int, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Event]:
        """Return events of a span, the newest first."""
        ...

    def retain(self, oldest: int) -> int:
        """Delete what is older than ``oldest`` (ns); return how many samples went."""
        ...

    def close(self) -> None:
        """Flush and let go; safe to call twice."""
        ...


class NotificationState(StrEnum):
    """Where a notification is on its way."""

    WAITING = "waiting"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver: a row of the outbox, whose id is the webhook's id over all retries."""

    id: str
    incident_id: str
    receiver: str
    kind: str  # opened, worsened, acknowledged, resolved, reopened
    body: str  # JSON
    created_at: int
    state: NotificationState = NotificationState.WAITING
    attempts: int = 0
    next_attempt_at: int = 0
    last_error: str = ""
    sent_at: int | None = None


class AuditEntry(NamedTuple):
    """One thing that a person did."""

    timestamp: int
    actor: str
    action: str  # acknowledged, unacknowledged, resolved, reopened, note, silenced, silence expired, requeued
    subject: str  # the id of the incident, silence or notification
    text: str


@dataclass(frozen=True, slots=True)
class IncidentQuery:
    """
    Which incidents; an empty query means all.

    ``text`` is searched in title, explanation and entities, whatever its case; every word must be found.
    """

    states: tuple[IncidentState, ...] = ()
    severities: tuple[Severity, ...] = ()
    entity: str | None = None  # the suspect or anything in the reach; a name without its kind matches too
    text: str | None = None
    start: int | None = None  # touching the span [start, end], ns
    end: int | None = None
    limit: int = 100
    offset: int = 0


class Conflict(Transient):
    """Somebody else changed the incident in between, and nothing was written: read it again."""


class IncidentStore(PredictionStore, Protocol):
    """Keeps incidents with their outbox, the silences, predictions, and a record of what people did."""

    def save(self, incident: Incident, notifications: Sequence[Notification] = ()) -> Incident:
        """
        Write an incident and its notifications in one transaction; return it with its new version.

        A new incident carries version 0, a known one the version it was read with. Raises Conflict when
        somebody else changed it in between, Transient when the database is away. A window of evidence
        that was stored once stays, even if ``incident`` comes without it (from ``find``). A notification
        whose id is known already is left as it is. New lines of the timeline by a person enter the audit.
        """
        ...

    def get(self, incident_id: str) -> Incident | None:
        """Return one incident, alerts, timeline and frozen evidence included; an unambiguous prefix will do."""
        ...

    def find(self, query: IncidentQuery) -> list[Incident]:
        """Return incidents, the newest first, without the windows of their evidence."""
        ...

    def count(self, query: IncidentQuery) -> int:
        """Return how many incidents ``query`` means, whatever its limit."""
        ...

    def lease(
        self, now: int, limit: int, lease_seconds: float, receivers: Sequence[str] | None = None
    ) -> list[Notification]:
        """
        Return due notifications of the outbox, nobody else's until the lease ends; the oldest first.

        Of one incident and one receiver only the oldest waiting notification is ever due, so that nobody
        hears "resolved" before "opened". ``receivers`` limits whose.
        """
        ...

    def settle(self, notification: Notification) -> None:
        """Write what became of a leased notification and end its lease; one that was sent stays sent."""
        ...

    def notifications(
        self, incident_id: str | None = None, state: NotificationState | None = None, limit: int = 100
    ) -> list[Notification]:
        """Return notifications, the newest first."""
        ...

    def requeue(self, notification_id: str, now: int) -> bool:
        """Let a dead notification begin anew, as if created at ``now``; return whether there was one."""
        ...

    def save_silence(self, silence: Silence) -> None:
        """Write a silence; one with the same id is replaced."""
        ...

    def silences(self, now: int | None = None) -> list[Silence]:
        """Return the silences that hold at ``now`` (None = every one ever made), the newest first."""
        ...

    def expire_silence(self, silence_id: str, now: int, actor: str = "coldaisle") -> bool:
        """End a silence at ``now``; return whether there was one that had not ended yet."""
        ...

    def audit(self, subject: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return what people did (to ``subject``, an id), the newest first."""
        ...

    def close(self) -> None:
        """Let go; safe to call twice."""
        ...


Change = tuple[Incident, Sequence[Notification]]
"""An incident with the notifications that its change is due."""


@dataclass(frozen=True, slots=True)
class RoleState:
    """What changed of a role's working state: named parts, None = the part is gone."""

    role: str
    holder: str  # the process that must hold the role for this to be written
    parts: Mapping[str, str | None]


class RoleStore(IncidentStore, Protocol):
    """An incident store that keeps the state of a role in the same transactions, for one process at a time."""

    def save_round(
        self, changes: Sequence[Change], state: RoleState | None = None, predictions: Sequence[Prediction] = ()
    ) -> list[Incident]:
        """
        Write incidents, their notifications, predictions and a role's state in one transaction, all or nothing.

        Returns the incidents with their new versions. Raises Transient as ``save`` does, and when another
        process holds the role.
        """
        ...

    def state(self, role: str) -> dict[str, str]:
        """Return every part that was kept of a role's state."""
        ...

    def hold(self, role: str, holder: str, now: int, seconds: float) -> int:
        """
        Take a role, or keep it, until ``now`` plus ``seconds``; return its term, 0 where another process has it.

        The term rises whenever the holder changes: whoever finds another term than before has missed something.
        """
        ...

    def let_go(self, role: str, holder: str) -> None:
        """Give a role up, so that another process may take it at once."""
        ...
