"""What a person can do to an incident; the pages and the API share this one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from coldaisle.clock import SECOND, rfc3339
from coldaisle.errors import ConfigError, Transient
from coldaisle.incident import Incident, ResolveReason
from coldaisle.matcher import Matcher
from coldaisle.silence import Silence
from dashboard import silencing
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


def silence(backends: Backends, matchers: tuple[Matcher, ...], deed: Deed, lasts_seconds: float) -> Silence:
    """Mute what fulfils ``matchers``; the note is its comment. Raises ConfigError (nothing named, no comment)."""
    if not matchers:
        raise ConfigError('matchers: none given, which would mute everything; write alertname="..." or row="B"')
    if not deed.note:
        raise ConfigError("a silence needs a comment: say why, for whoever finds it")
    if not 0 < lasts_seconds <= silencing.MOST_SECONDS:
        raise ConfigError(f"a silence lasts at most {silencing.MOST_SECONDS // 86400} days; choose a shorter time")
    now = backends.clock.now()
    text = "\x1f".join((str(now), *map(str, matchers), deed.actor))
    identity = blake2b(text.encode(), digest_size=8).hexdigest()
    made = Silence(identity, matchers, now, now + round(lasts_seconds * SECOND), deed.actor, deed.note)
    backends.incidents.save_silence(made)
    return made


def silence_incident(backends: Backends, incident_id: str, deed: Deed, lasts_seconds: float) -> Silence:
    """Mute all of an incident, with a line in its timeline. Raises NotFound, ConfigError, Transient."""
    incident = found(backends, incident_id)
    made = silence(backends, silencing.matchers_for(incident, backends.topology()), deed, lasts_seconds)
    line = f"silenced until {rfc3339(made.ends_at)}: {deed.note}"
    _change(backends, incident.id, lambda i, now: i.noted(now, "note", line, deed.actor))
    return made


def end_silence(backends: Backends, silence_id: str, deed: Deed) -> None:
    """End a silence now. Raises NotFound."""
    if not backends.incidents.expire_silence(silence_id, backends.clock.now(), deed.actor):
        raise NotFound(f"no silence {silence_id!r} that still holds; the list is at /api/v1/silences")


def requeue(backends: Backends, notification_id: str) -> None:
    """Send a failed notification once more. Raises NotFound."""
    if not backends.incidents.requeue(notification_id, backends.clock.now()):
        raise NotFound(f"no failed notification {notification_id!r}; see /api/v1/notifications?state=dead")


def found(backends: Backends, incident_id: str) -> Incident:
    """Return one incident. Raises NotFound."""
    incident = backends.incidents.get(incident_id)
    if incident is None:
        raise NotFound(f"no incident {incident_id!r}; the list is at /api/v1/incidents")
    return incident


def _change(
    backends: Backends, incident_id: str, change: Callable[[Incident, int], Incident], kind: str | None = None
) -> Incident:
    """Read, change, save; when somebody else was quicker, read again, so that no change is lost."""
    for attempt in range(1, _ATTEMPTS + 1):
        incident = found(backends, incident_id)
        changed = change(incident, backends.clock.now())
        try:
            return backends.incidents.save(changed, backends.notify(changed, kind) if kind else ())
        except Transient:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")
