"""One incident while it is being worked on: what joins it, what ends, when people hear of it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b

from coldaisle.alert import Alert
from coldaisle.clock import SECOND, rfc3339
from coldaisle.incident import Incident, IncidentState, ResolveReason, TimelineEntry
from coldaisle.severity import Severity
from coldaisle.topology import kind_of
from pipeline.alerting.correlate import anchor, correlate
from pipeline.alerting.explain import explain, ranked
from pipeline.alerting.graph import Graph
from pipeline.alerting.mute import PLANNED, Mute
from pipeline.alerting.settings import AlertSettings
from pipeline.alerting.suspects import judge
from pipeline.alerting.symptoms import Symptom
from pipeline.alerting.track import Track
from pipeline.alerting.words import called, counts, duration, names, number

_LARGE = 200  # from this many alerts an incident is written less often, in proportion
_QUIET_BEFORE_RETELLING_SECONDS = 60.0
_NOTABLE_GROWTH = 8
WORSE = "worse than when last told"
"""How the line of a timeline begins that goes with a notification ``worsened``."""
_SURE_ENOUGH = 0.6  # confidence from which breadth alone may wake somebody


class Step(StrEnum):
    """A change of state that waits to be written."""

    RESOLVE = "resolve"
    DUPLICATE = "duplicate"
    EXPIRE = "expire"
    REOPEN = "reopen"


def incident_id(tracks: Sequence[Track]) -> str:
    """Return 16 hex digits that are the same whenever the same first alert opens an incident."""
    first = min(tracks, key=lambda track: (track.starts_at, track.fingerprint))
    return blake2b(f"{first.fingerprint}\x1f{first.starts_at}".encode(), digest_size=8).hexdigest()


@dataclass(slots=True)
class Case:
    """
    An unresolved incident with its alerts in progress.

    ``incident`` is what the store has; everything else waits to be written, and is applied again to what
    the store has whenever somebody else wrote in between.
    """

    incident: Incident
    tracks: dict[str, Track] = field(default_factory=dict)
    lines: list[TimelineEntry] = field(default_factory=list)
    steps: list[tuple[Step, str]] = field(default_factory=list)
    joined: list[Track] = field(default_factory=list)  # since the last writing
    ended: list[Track] = field(default_factory=list)
    returned: list[Track] = field(default_factory=list)
    due: int | None = None  # when to write what has changed; None = nothing has
    last_joined: int = 0
    told_reach: int = 0
    told_severity: Severity = Severity.INFO
    told_at: int = 0
    quiet: bool = False  # nobody was told yet, because people muted all of it

    @classmethod
    def open(cls, tracks: Sequence[Track], now: int) -> Case:
        """Begin an incident; it has no words until it is written."""
        blank = Incident(
            id=incident_id(tracks),
            title="",
            severity=Severity.INFO,
            state=IncidentState.OPEN,
            suspect="",
            entities=(),
            started_at=min(track.starts_at for track in tracks),
            opened_at=now,
            updated_at=now,
            explanation="",
            recommended_action="",
            reasons=(),
            confidence=0.0,
            alerts=(),
        )
        case = cls(blank)
        case.join(tracks, now, AlertSettings())
        case.joined.clear()
        case.due = now
        return case

    @classmethod
    def restored(cls, incident: Incident, now: int) -> Case:
        """Take an incident back from the store."""
        case = cls(incident, last_joined=incident.opened_at, told_at=incident.updated_at)
        for alert in incident.alerts:
            track = Track.restored(alert, incident.id, now)
            case.tracks[track.fingerprint] = track
        case.told_reach = len(incident.entities)
        case.told_severity = incident.severity
        case.quiet = incident.suppressed_by is not None
        return case

    def join(self, tracks: Sequence[Track], now: int, settings: AlertSettings) -> None:
        """Take alerts in."""
        for track in tracks:
            track.incident = self.incident.id
            self.tracks[track.fingerprint] = track
            self.joined.append(track)
        self.last_joined = max(self.last_joined, now)
        worst = max(track.severity.rank for track in tracks)
        grown = len(self.tracks) >= 2 * max(1, len(self.tracks) - len(tracks))
        urgent = worst > self.incident.severity.rank or grown
        self.write_by(now if urgent else now + self.delay(10.0))

    def delay(self, seconds: float) -> int:
        """Return how long (ns) a change may wait; large incidents are written less often."""
        return round(seconds * max(1.0, len(self.tracks) / _LARGE) * SECOND)

    def write_by(self, timestamp: int) -> None:
        """Ask for a writing not later than ``timestamp``."""
        self.due = timestamp if self.due is None else min(self.due, timestamp)

    def step(self, step: Step, text: str, now: int) -> None:
        """Ask for a change of state."""
        self.steps.append((step, text))
        self.write_by(now)

    def line(self, timestamp: int, kind: str, text: str) -> None:
        """Add a line to the timeline that waits to be written."""
        self.lines.append(TimelineEntry(timestamp, kind, text))

    @property
    def quiet_since(self) -> int | None:
        """When the last alert ended, or None while one holds."""
        last = 0
        for track in self.tracks.values():
            if track.ends_at is None:
                return None
            last = max(last, track.ends_at)
        return last

    def expect(self, incident: Incident) -> None:
        """Take ``incident`` as stored: nothing waits any more."""
        self.incident = replace(incident, version=incident.version + 1)
        self.lines.clear()
        self.steps.clear()
        self.due = None
        self.quiet = incident.suppressed_by is not None and (self.quiet or incident.version == 0)

    def tell_bursts(self, now: int, settings: AlertSettings) -> None:
        """Turn what happened since the last writing into at most three lines."""
        room = len(self.incident.timeline) + len(self.lines) < settings.max_timeline
        for kind, tracks, one, many in (
            ("alert", self.joined, "joined", "joined"),
            ("alert", self.returned, "is back", "are back"),
            ("alert", self.ended, "ended", "ended"),
        ):
            if tracks and room:
                self.line(now, kind, _burst(tracks, one, many))
            tracks.clear()


def compose(case: Case, graph: Graph, mute: Mute, settings: AlertSettings, now: int) -> tuple[Incident, list[str]]:
    """
    Return the incident as it should be stored now, and which notifications it is due.

    Pure but for the mute reasons it writes on the alerts: applying it again to a newer stored incident keeps
    what a person did there.
    """
    base = case.incident
    tracks = list(case.tracks.values())
    scope = max(correlate(tracks, graph, settings), key=lambda group: len(group.tracks)).scope
    verdict = judge(scope, tracks, graph)
    on_suspect = [track for track in tracks if anchor(track, graph) == verdict.suspect]
    for track in tracks:
        if track.muted is None or not track.muted.startswith(PLANNED):
            muted = mute.inhibited(track, verdict.suspect, on_suspect)
            if muted != track.muted:  # setting it would make a track of thousands look changed
                track.muted = muted
    account = explain(tracks, verdict, graph, now)
    ordered = ranked(tracks, verdict.suspect)
    first_time = base.version == 0
    changed = replace(
        base,
        title=account.title,
        severity=max(base.severity, severity_of(tracks, verdict.confidence, graph, settings), key=lambda one: one.rank),
        suspect=verdict.suspect,
        entities=_reach(verdict.suspect, ordered),
        started_at=min(base.started_at, *(track.starts_at for track in tracks)),
        updated_at=max(now, base.updated_at),
        explanation=account.explanation,
        recommended_action=account.action,
        reasons=account.reasons,
        confidence=verdict.confidence,
        alerts=tuple(_alerts(ordered, settings)),
        runbook=account.runbook,
        suppressed_by=_suppressed(tracks),
        ended_at=case.quiet_since,
        timeline=(*base.timeline, *case.lines),
    )
    if first_time:
        places = list(dict.fromkeys(place for track in tracks for place in track.subjects))
        note = f"{number(len(tracks), 'alert')} on {counts(places)}"
        changed = changed.noted(now, "opened", f"{account.title} ({note})")
    elif base.suspect != verdict.suspect and base.suspect:
        changed = changed.noted(now, "note", f"{called(verdict.suspect)} is suspected now, not {called(base.suspect)}")
    return _stepped(case, changed, first_time, now)


def _stepped(case: Case, changed: Incident, first_time: bool, now: int) -> tuple[Incident, list[str]]:
    kinds: list[str] = []
    muted = changed.suppressed_by is not None
    if first_time or (case.quiet and not muted):
        kinds.append("opened")
    elif _worse(case, changed, now):
        was = f"{case.told_severity.value}, {number(case.told_reach, 'entity', 'entities')}"
        is_now = f"{changed.severity.value}, {number(len(changed.entities), 'entity', 'entities')}"
        changed = changed.noted(now, "note", f"{WORSE}: {is_now}; it was {was}")
        kinds.append("worsened")
    for step, text in case.steps:
        resolved = changed.state is IncidentState.RESOLVED
        if step is Step.REOPEN and resolved:
            changed = replace(changed.reopened(now, "coldaisle", text), ended_at=case.quiet_since)
            kinds = ["reopened"]
        elif step is Step.EXPIRE and changed.state is IncidentState.ACKNOWLEDGED:
            changed = changed.unacknowledged(now, "coldaisle", text)
            kinds = ["reopened"]
        elif step in (Step.RESOLVE, Step.DUPLICATE) and not resolved:
            reason = ResolveReason.ENDED if step is Step.RESOLVE else ResolveReason.DUPLICATE
            changed = changed.resolved(now, "coldaisle", reason, text)
            kinds = [*kinds, "resolved"] if kinds == ["opened"] else ["resolved"]
    return changed, [] if muted or (case.quiet and kinds == ["resolved"]) else kinds


def severity_of(tracks: Sequence[Track], confidence: float, graph: Graph, settings: AlertSettings) -> Severity:
    """
    Return the worst severity, raised to ``page`` by breadth.

    ``page_nodes`` nodes or ``page_gpus`` GPUs harmed by one cause page whatever each alone would do, if that
    cause is believed. What is
    only ``info``, and metrics nobody described, count for nothing here; the latter never page at all.
    """
    worst = max((track.severity for track in tracks), key=lambda severity: severity.rank)
    known = [track for track in tracks if track.described and track.severity is not Severity.INFO]
    if not known:
        return min(worst, Severity.TICKET, key=lambda severity: severity.rank)
    places = {place for track in known if track.symptom is not Symptom.SENSOR for place in track.places}
    nodes = {graph.unit(place) for place in places if kind_of(graph.unit(place)) == "node"}
    gpus = sum(1 for place in places if kind_of(place) == "gpu")
    if confidence < _SURE_ENOUGH:
        return worst
    if len(nodes) >= settings.page_nodes or gpus >= settings.page_gpus:
        return Severity.PAGE
    return worst


def _worse(case: Case, changed: Incident, now: int) -> bool:
    if case.quiet:
        return False
    if changed.severity.rank > case.told_severity.rank:
        return True
    if now - case.told_at < _QUIET_BEFORE_RETELLING_SECONDS * SECOND:
        return False
    reach = len(changed.entities)
    taken = changed.state is IncidentState.ACKNOWLEDGED
    return reach >= 2 * max(1, case.told_reach) and (taken or reach - case.told_reach >= _NOTABLE_GROWTH)


def _reach(suspect: str, tracks: Sequence[Track]) -> tuple[str, ...]:
    found = {suspect: None}
    for track in tracks:
        found.update(dict.fromkeys(track.places))
    return tuple(found)


def _suppressed(tracks: Sequence[Track]) -> str | None:
    """Why nobody is told of an incident: people muted every alert that would."""
    loud = [track for track in tracks if track.severity is not Severity.INFO] or list(tracks)
    planned = [track.muted for track in loud if track.muted is not None and track.muted.startswith(PLANNED)]
    follows = sum(1 for track in loud if track.muted is not None) - len(planned)
    if not planned or len(planned) + follows < len(loud):
        return None
    return planned[0]


def _alerts(ordered: Sequence[Track], settings: AlertSettings) -> list[Alert]:
    windows = settings.max_windows
    found: list[Alert] = []
    for place, track in enumerate(ordered):
        alert = track.alert(min(windows, 2), full=place < settings.max_full_alerts)
        windows -= sum(1 for one in alert.anomalies if one.window is not None)
        found.append(alert)
    return found


def _burst(tracks: Sequence[Track], one: str, many: str) -> str:
    lead = tracks[0]
    if len(tracks) == 1:
        text = (lead.best.summary or lead.best.explanation).strip().rstrip(".") or lead.name
        return f"alert {one}: {text}" if one != "is back" else f"alert is back: {text}"
    if one == "ended" and all(track.symptom is Symptom.SILENCE for track in tracks):
        return f"{counts(t.entity for t in tracks)} send telemetry again: {names([t.entity for t in tracks])}"
    by_name: dict[str, list[Track]] = {}
    for track in tracks:
        by_name.setdefault(track.name, []).append(track)
    parts = [f"{name} on {names([t.entity for t in some])}" for name, some in list(by_name.items())[:3]]
    rest = len(by_name) - len(parts)
    more = f"; {number(rest, 'other rule')}" if rest > 0 else ""
    return f"{number(len(tracks), 'alert')} {many}: {'; '.join(parts)}{more}"


def let_time_pass(case: Case, settings: AlertSettings, now: int) -> None:
    """Resolve an incident that has been quiet for long enough; end an acknowledgement that has expired."""
    quiet = round(settings.resolve_after_seconds * SECOND)
    since = case.quiet_since
    if since is not None and now - since >= quiet and not case.steps:
        lasted = duration(since - case.incident.started_at)
        case.step(Step.RESOLVE, f"ended by itself after {lasted}: no alert for {duration(quiet)}", now)
    if case.steps:
        return
    taken, expires = case.incident.acknowledgement, expires_at(case, settings)
    if taken is not None and expires is not None and expires <= now:
        case.step(Step.EXPIRE, f"the acknowledgement by {taken.actor} expired at {rfc3339(expires)}", now)


def expires_at(case: Case, settings: AlertSettings) -> int | None:
    """Return when (ns) an incident is given back by itself, None = never, or nobody has it."""
    taken = case.incident.acknowledgement
    if taken is None or case.incident.state is not IncidentState.ACKNOWLEDGED:
        return None
    if taken.expires_at is None and settings.acknowledge_seconds > 0:
        return taken.timestamp + round(settings.acknowledge_seconds * SECOND)
    return taken.expires_at
