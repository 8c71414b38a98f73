"""What a person can do to an incident; the pages and the API share this one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coldaisle.clock import SECOND
from coldaisle.errors import Transient
from coldaisle.incident import Incident, ResolveReason
from dashboard.source import Backends

_ATTEMPTS = 4
MOST_NOTE = 2000
MOST_ACTOR = 100


class NotFound(Exception):
    """There is no such incident."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does something, and what they say about it."""

    actor: str
    note: str = ""

    @classmethod
    def of(cls, actor: str | None, note: str | None) -> Deed:
        """Take what a person typed; an empty name is ``operator``."""
        return cls((actor or "").strip()[:MOST_ACTOR] or "operator", (note or "").strip()[:MOST_NOTE])


def acknowledge(backends: Backends, incident_id: str, deed: Deed, expires_in_seconds: float | None = None) -> Incident:
    """Take an incident. Raises NotFound, Permanent (resolved already), Transient."""

    def change(incident: Incident, now: int) -> Incident:
        expires = None if expires_in_seconds is None else now + round(expires_in_seconds * SECOND)
        return incident.acknowledged(now, deed.actor, expires, deed.note)

    return _change(backends, incident_id, change, "acknowledged")


def unacknowledge(backends: Backends, incident_id: str, deed: Deed) -> Incident:
    """Give an incident back. Raises NotFound, Permanent, Transient."""
    return _change(backends, incident_id, lambda i, now: i.unacknowledged(now, deed.actor, deed.note))


def resolve(backends: Backends, incident_id: str, deed: Deed, reason: ResolveReason) -> Incident:
    """Close an incident. Raises NotFound, Permanent (resolved already), Transient."""
    return _change(backends, incident_id, lambda i, now: i.resolved(now, deed.actor, reason, deed.note), "resolved")


def reopen(backends: Backends, incident_id: str, deed: Deed) -> Incident:
    """Open a resolved incident again. Raises NotFound, Permanent, Transient."""
    return _change(backends, incident_id, lambda i, now: i.reopened(now, deed.actor, deed.note), "reopened")


def note(backends: Backends, incident_id: str, deed: Deed) -> Incident:
    """Add a line to the timeline. Raises NotFound, Transient."""
    return _change(backends, incident_id, lambda i, now: i.noted(now, "note", deed.note, deed.actor))


def _change(
    backends: Backends, incident_id: str, change: Callable[[Incident, int], Incident], kind: str | None = None
) -> Incident:
    """Read, change, save; when somebody else was quicker, read again, so that no change is lost."""
    for attempt in range(1, _ATTEMPTS + 1):
        incident = backends.incidents.get(incident_id)
        if incident is None:
            raise NotFound(f"no incident {incident_id!r}; the list is at /api/v1/incidents")
        changed = change(incident, backends.clock.now())
        try:
            return backends.incidents.save(changed, backends.notify(changed, kind) if kind else ())
        except Transient:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")
