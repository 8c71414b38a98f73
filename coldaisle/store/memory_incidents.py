"""Incidents in memory: the twin of the SQL store, for tests, replays and headless runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from coldaisle.errors import Transient
from coldaisle.incident import Incident
from coldaisle.prediction import Prediction, newer
from coldaisle.silence import Silence
from coldaisle.store import (
    AuditEntry,
    Change,
    Conflict,
    IncidentQuery,
    Notification,
    NotificationState,
    PredictionQuery,
    RoleState,
)
from coldaisle.store.incident_json import windows_of, with_windows, without_windows
from coldaisle.store.incident_search import search_text, words_of
from coldaisle.store.prediction_port import means
from coldaisle.topology import name_of


def matches(incident: Incident, query: IncidentQuery) -> bool:
    """Return whether ``query`` means ``incident``; its limit and offset aside."""
    if query.states and incident.state not in query.states:
        return False
    if query.severities and incident.severity not in query.severities:
        return False
    if query.entity is not None:
        reach = {incident.suspect, *incident.entities}
        if query.entity not in reach and query.entity not in {name_of(entity) for entity in reach}:
            return False
    if query.end is not None and incident.started_at > query.end:
        return False
    if query.start is not None:
        over = incident.ended_at if incident.ended_at is not None else incident.resolved_at
        if over is not None and over < query.start:
            return False
    text = search_text(incident)
    return all(word in text for word in words_of(query.text))


class MemoryIncidentStore:
    """Keeps incidents until the process ends. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._incidents: dict[str, Incident] = {}
        self._outbox: dict[str, Notification] = {}  # in the order of writing
        self._leased_until: dict[str, int] = {}
        self._silences: dict[str, Silence] = {}
        self._audit: list[AuditEntry] = []
        self._roles: dict[str, dict[str, str]] = {}
        self._predictions: dict[str, Prediction] = {}
        self._holders: dict[str, tuple[str, int, int]] = {}  # holder, until when (ns), term

    def save(self, incident: Incident, notifications: Sequence[Notification] = ()) -> Incident:
        """See the port."""
        return self.save_round([(incident, notifications)])[0]

    def save_round(
        self, changes: Sequence[Change], state: RoleState | None = None, predictions: Sequence[Prediction] = ()
    ) -> list[Incident]:
        """See the port."""
        with self._lock:
            if state is not None and self._holders.get(state.role, ("", 0, 0))[0] != state.holder:
                raise Transient(f"the role {state.role} is held by another process now; this one stands by")
            for incident, _ in changes:
                known = self._incidents.get(incident.id)
                if (known.version if known else 0) != incident.version:
                    raise Conflict(f"incident {incident.id} was changed by somebody else: read it again")
            if state is not None:
                kept = self._roles.setdefault(state.role, {})
                kept |= {part: document for part, document in state.parts.items() if document is not None}
                for part in [part for part, document in state.parts.items() if document is None]:
                    kept.pop(part, None)
            self._foretell(predictions)
            return [self._write(incident, notifications) for incident, notifications in changes]

    def _foretell(self, predictions: Sequence[Prediction]) -> None:
        for told in predictions:
            if newer(self._predictions.get(told.id), told):
                self._predictions[told.id] = told

    def save_predictions(self, predictions: Sequence[Prediction]) -> None:
        """See the port."""
        with self._lock:
            self._foretell(predictions)

    def predictions(self, query: PredictionQuery) -> list[Prediction]:
        """See the port."""
        with self._lock:
            found = [one for one in self._predictions.values() if means(query, one)]
        found.sort(key=lambda one: one.id)
        return sorted(found, key=lambda one: one.made_at, reverse=True)[: query.limit]

    def _write(self, incident: Incident, notifications: Sequence[Notification]) -> Incident:
        known = self._incidents.get(incident.id)
        if known is not None:
            incident = with_windows(incident, windows_of(known))
        stored = replace(incident, version=incident.version + 1)
        self._incidents[incident.id] = stored
        for entry in incident.timeline[len(known.timeline) if known else 0 :]:
            if entry.actor != "coldaisle":
                self._audit.append(AuditEntry(entry.timestamp, entry.actor, entry.kind, incident.id, entry.text))
        for notification in notifications:
            self._outbox.setdefault(notification.id, notification)
        return stored

    def state(self, role: str) -> dict[str, str]:
        """See the port."""
        with self._lock:
            return dict(self._roles.get(role, {}))

    def hold(self, role: str, holder: str, now: int, seconds: float) -> int:
        """See the port."""
        with self._lock:
            who, until, term = self._holders.get(role, ("", 0, 0))
            if who != holder and until > now:
                return 0
            self._holders[role] = (holder, now + round(seconds * 1e9), term + (who != holder))
            return self._holders[role][2]

    def let_go(self, role: str, holder: str) -> None:
        """See the port."""
        with self._lock:
            who, _, term = self._holders.get(role, ("", 0, 0))
            if who == holder:
                self._holders[role] = (holder, 0, term)

    def get(self, incident_id: str) -> Incident | None:
        """See the port."""
        with self._lock:
            exact = self._incidents.get(incident_id)
            if exact is not None or not incident_id:
                return exact
            found = [incident for key, incident in self._incidents.items() if key.startswith(incident_id)]
            return found[0] if len(found) == 1 else None

    def find(self, query: IncidentQuery) -> list[Incident]:
        """See the port."""
        found = sorted(self._matching(query), key=lambda incident: (incident.opened_at, incident.id), reverse=True)
        return [without_windows(incident) for incident in found[query.offset : query.offset + query.limit]]

    def count(self, query: IncidentQuery) -> int:
        """See the port."""
        return len(self._matching(query))

    def _matching(self, query: IncidentQuery) -> list[Incident]:
        with self._lock:
            return [incident for incident in self._incidents.values() if matches(incident, query)]

    def lease(
        self, now: int, limit: int, lease_seconds: float, receivers: Sequence[str] | None = None
    ) -> list[Notification]:
        """See the port."""
        with self._lock:
            due: list[Notification] = []
            heads: set[tuple[str, str]] = set()
            for notification in self._outbox.values():
                if notification.state is not NotificationState.WAITING:
                    continue
                line = (notification.incident_id, notification.receiver)
                if line in heads:
                    continue
                heads.add(line)
                wanted = receivers is None or notification.receiver in receivers
                free = self._leased_until.get(notification.id, 0) <= now
                if wanted and free and notification.next_attempt_at <= now and len(due) < limit:
                    due.append(notification)
            for notification in due:
                self._leased_until[notification.id] = now + round(lease_seconds * 1e9)
            return due

    def settle(self, notification: Notification) -> None:
        """See the port."""
        with self._lock:
            known = self._outbox.get(notification.id)
            if known is None:
                return
            if known.state is NotificationState.WAITING or notification.state is NotificationState.SENT:
                self._outbox[notification.id] = replace(
                    known,
                    state=notification.state,
                    attempts=notification.attempts,
                    next_attempt_at=notification.next_attempt_at,
                    last_error=notification.last_error,
                    sent_at=notification.sent_at,
                )
                self._leased_until.pop(notification.id, None)

    def notifications(
        self, incident_id: str | None = None, state: NotificationState | None = None, limit: int = 100
    ) -> list[Notification]:
        """See the port."""
        with self._lock:
            found = [
                notification
                for notification in reversed(self._outbox.values())
                if incident_id in (None, notification.incident_id) and state in (None, notification.state)
            ]
        return found[:limit]

    def requeue(self, notification_id: str, now: int) -> bool:
        """See the port."""
        with self._lock:
            known = self._outbox.get(notification_id)
            if known is None or known.state is not NotificationState.DEAD:
                return False
            self._outbox[notification_id] = replace(
                known, state=NotificationState.WAITING, attempts=0, next_attempt_at=now, created_at=now
            )
            return True

    def save_silence(self, silence: Silence) -> None:
        """See the port."""
        with self._lock:
            self._silences.pop(silence.id, None)
            self._silences[silence.id] = silence
            self._audit.append(AuditEntry(silence.starts_at, silence.actor, "silenced", silence.id, silence.comment))

    def silences(self, now: int | None = None) -> list[Silence]:
        """See the port."""
        with self._lock:
            found = list(self._silences.values())
        held = [silence for silence in found if now is None or silence.starts_at <= now < silence.ends_at]
        return sorted(held, key=lambda silence: (silence.starts_at, silence.id), reverse=True)

    def expire_silence(self, silence_id: str, now: int, actor: str = "coldaisle") -> bool:
        """See the port."""
        with self._lock:
            silence = self._silences.get(silence_id)
            if silence is None or silence.ends_at <= now:
                return False
            self._silences[silence_id] = replace(silence, ends_at=now)
            self._audit.append(AuditEntry(now, actor, "silence expired", silence_id, ""))
            return True

    def audit(self, subject: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """See the port."""
        with self._lock:
            return [entry for entry in reversed(self._audit) if subject in (None, entry.subject)][:limit]

    def close(self) -> None:
        """Keep everything: there is nothing to let go."""
