"""Puts alerts into incidents: those that explain them, else new ones when they have waited for company."""

from __future__ import annotations

from collections.abc import Sequence

from coldaisle.anomaly import Anomaly
from coldaisle.clock import SECOND
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.severity import Severity
from pipeline.alerting.correlate import STRONG, Group, correlate
from pipeline.alerting.desk import Desk, Papers
from pipeline.alerting.graph import Graph
from pipeline.alerting.lifecycle import Case, Step
from pipeline.alerting.track import Track
from pipeline.alerting.words import duration

_DEVICES = ("pdu/", "ups/", "crac/", "cdu/", "switch/")


class Sorting:
    """From waiting alerts to incidents under way."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def _papers(self) -> Papers:
        return self._desk.papers

    def sort(self, now: int) -> None:
        """Put waiting alerts into incidents that explain them, or open new ones when they have waited enough."""
        if not self._papers.waiting or self._papers.look_at is None or now < self._papers.look_at:
            return
        wait = self._desk.group_wait
        tracks = list(self._papers.waiting.values()) + self._company(now)
        self._papers.look_at = None
        for group in correlate(tracks, self._desk.graph, self._desk.settings):
            waiting = [track for track in group.tracks if track.incident is None]
            if not waiting:
                continue
            target = self._target(group, now)
            if target is not None:
                self._join(target, waiting, now)
                continue
            loud = [track for track in waiting if track.severity is not Severity.INFO]
            if not loud:
                continue  # context without anything to be context of
            ready = min(track.first_seen for track in loud) + wait
            if ready <= now:
                if not self._take_up(waiting, now):
                    self._open(waiting, now)
            else:
                self._papers.look_at = ready if self._papers.look_at is None else min(self._papers.look_at, ready)

    def _company(self, now: int) -> list[Track]:
        """
        Alerts of open incidents that new ones may belong to.

        Those of late; faults of plant that still hold; and what still holds on a thing that has something new.
        """
        slow = round(self._desk.settings.slow_window_seconds * SECOND)
        news = {(track.entity, track.symptom) for track in self._papers.waiting.values()}
        found: list[Track] = []
        for case in self._papers.cases.values():
            if now - case.last_joined <= slow:
                found += case.tracks.values()
            else:
                found += [
                    track
                    for track in case.tracks.values()
                    if track.firing
                    if (track.strength >= STRONG and track.entity.startswith(_DEVICES))
                    or (track.entity, track.symptom) in news
                ]
        return found

    def _target(self, group: Group, now: int) -> Case | None:
        """Return the incident that a group continues, merging those that prove to be one."""
        held: dict[str, int] = {}
        for track in group.tracks:
            if track.incident in self._papers.cases:
                held[track.incident] = held.get(track.incident, 0) + 1
        if not held:
            return None
        whole = [self._papers.cases[one] for one in held if 2 * held[one] >= len(self._papers.cases[one].tracks)]
        if not whole:
            return self._papers.cases[max(sorted(held), key=lambda one: held[one])]
        whole.sort(key=lambda case: (case.incident.opened_at, case.incident.started_at, case.incident.id))
        target = next((case for case in whole if case.incident.state is IncidentState.ACKNOWLEDGED), whole[0])
        for case in whole:
            if case is not target and case.incident.state is not IncidentState.ACKNOWLEDGED:
                self._merge(case, target, now)
        return target

    def _merge(self, case: Case, target: Case, now: int) -> None:
        target.line(now, "note", f"incident {case.incident.id} proved to be part of this one: {case.incident.title}")
        moved = list(case.tracks.values())
        for track in moved:
            # The duplicate keeps its alerts as they are; what happens to them from now on is told here.
            track.incident = target.incident.id
            target.tracks[track.fingerprint] = track
        target.last_joined = max(target.last_joined, case.last_joined)
        target.write_by(now)
        case.step(Step.DUPLICATE, f"duplicate: it is part of incident {target.incident.id}", now)
        self._desk.stats.add("alerting_incidents_merged_total")

    def _join(self, case: Case, tracks: Sequence[Track], now: int) -> None:
        case.join(tracks, now, self._desk.settings)
        for track in tracks:
            self._papers.waiting.pop(track.fingerprint, None)

    def _open(self, tracks: Sequence[Track], now: int) -> None:
        case = Case.open(tracks, now)
        known = self._papers.cases.get(case.incident.id)
        if known is None:
            stored = self._desk.store.get(case.incident.id)
            if stored is not None:
                known = self._again(stored, tracks, now)
                if known is None:
                    return
        if known is not None:
            self._join(known, tracks, now)
            return
        self._papers.cases[case.incident.id] = case
        for track in tracks:
            self._papers.waiting.pop(track.fingerprint, None)
        self._desk.stats.add("alerting_incidents_opened_total")

    def _again(self, stored: Incident, tracks: Sequence[Track], now: int) -> Case | None:
        """What was written before a crash: continue it; if it is resolved already, all has been said."""
        if stored.state is not IncidentState.RESOLVED:
            return self._desk.adopt(stored, now)
        self._papers.over[stored.id] = (stored.resolved_at or now, stored.resolve_reason)
        for track in tracks:
            track.incident = stored.id
            self._papers.waiting.pop(track.fingerprint, None)
        return None

    def _take_up(self, tracks: Sequence[Track], now: int) -> bool:
        """
        Open an incident again that ended by itself of late and was about the same thing; return whether there is one.

        A straggler that its peers have got used to, and that drift then calls slow, is the same straggler.
        """
        graph, papers = self._desk.graph, self._papers
        within = round(self._desk.settings.reopen_within_seconds * SECOND)
        matter = {(track.entity, track.symptom) for track in tracks if track.severity is not Severity.INFO}
        if len({graph.unit(place) for place, _ in matter}) != 1:
            return False
        ended = {
            track.incident: papers.over[track.incident][0]
            for track in self._desk.stage.tracks.values()
            if track.incident in papers.over and (track.entity, track.symptom) in matter
            if papers.over[track.incident][1] is ResolveReason.ENDED and now - papers.over[track.incident][0] <= within
        }
        if not ended:
            return False
        latest = max(sorted(ended), key=lambda one: ended[one])
        stored = self._desk.store.get(latest)
        if stored is None or stored.state is not IncidentState.RESOLVED or stored.suspect not in _units(tracks, graph):
            return False
        case = self._desk.adopt(stored, now)
        lead = tracks[0]
        case.step(Step.REOPEN, f"{lead.name} on {lead.entity} follows after {duration(now - ended[latest])}", now)
        self._join(case, tracks, now)
        return True

    def reopen(self, track: Track, anomaly: Anomaly, now: int, hold_seconds: float | None) -> bool:
        """Open the incident of an alert that is back soon after it was resolved; return whether that was so."""
        when, reason = self._papers.over.get(track.incident or "", (0, None))
        within = round(self._desk.settings.reopen_within_seconds * SECOND)
        if reason not in (ResolveReason.ENDED, ResolveReason.REAL) or now - when > within:
            return False
        stored = self._desk.store.get(track.incident or "")
        if stored is None or stored.state is not IncidentState.RESOLVED:
            return False
        case = self._desk.adopt(stored, now)
        self._papers.over.pop(stored.id, None)
        text = f"{track.name} on {track.entity} is back after {duration(now - when)}"
        case.step(Step.REOPEN, text, now)
        self._desk.stage.take(anomaly, now, hold_seconds)
        return True


def _units(tracks: Sequence[Track], graph: Graph) -> set[str]:
    """Return what alerts are on, and what is repaired as one with it."""
    return {place for track in tracks for place in (track.entity, graph.unit(track.entity))}
