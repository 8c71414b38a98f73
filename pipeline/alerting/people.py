"""Looks what people did through other processes: silences, acknowledgements, incidents closed or opened again."""

from __future__ import annotations

from coldaisle.incident import Incident, IncidentState
from coldaisle.store import IncidentQuery
from pipeline.alerting.desk import Desk
from pipeline.alerting.lifecycle import Case
from pipeline.alerting.mute import PLANNED
from pipeline.alerting.track import Track

_UNRESOLVED = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
_MOST_UNRESOLVED = 10_000


class People:
    """What people did, taken over now and then."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def look(self, now: int) -> None:
        """Look, if it is time to. Raises Transient when the store is away."""
        papers, every = self._desk.papers, self._desk.refresh_ns
        # By the clock's own grid, so that a run that crashed looks at the same moments as one that did not.
        if papers.refreshed_at is not None and now // every == papers.refreshed_at // every:
            return
        first = papers.refreshed_at is None  # what the store had muted may be due again
        before, papers.silences = papers.silences, self._desk.store.silences(now)
        papers.refreshed_at = now
        planned = first or before or papers.silences or self._desk.settings.maintenance
        cases = papers.cases.values() if planned else ()
        for track in (*papers.waiting.values(), *(t for case in cases for t in case.tracks.values())):
            self._mute_again(track, now)
        self._take_over(now)

    def _take_over(self, now: int) -> None:
        cases = self._desk.papers.cases
        ours = [
            case.incident
            for case in cases.values()
            if case.incident.version > 0 and case.incident.state is not IncidentState.RESOLVED
        ]
        taken = sum(1 for incident in ours if incident.state is IncidentState.ACKNOWLEDGED)
        store = self._desk.store
        unresolved = store.count(IncidentQuery(states=_UNRESOLVED))
        if (unresolved, store.count(IncidentQuery(states=(IncidentState.ACKNOWLEDGED,)))) == (len(ours), taken):
            return
        versions = {found.id: found for found in self.unresolved()}
        for incident in ours:
            newest = versions.get(incident.id)
            if newest is None or newest.version != incident.version:
                self.adopt_changes(cases[incident.id], store.get(incident.id), now)
        for one in sorted(versions.keys() - cases.keys()):
            whole = store.get(one)
            if whole is not None:
                self._desk.adopt(whole, now)  # a person opened it again

    def unresolved(self) -> list[Incident]:
        """Return the store's unresolved incidents, without evidence. Raises Transient."""
        return self._desk.store.find(IncidentQuery(states=_UNRESOLVED, limit=_MOST_UNRESOLVED))

    def adopt_changes(self, case: Case, newest: Incident | None, now: int) -> None:
        """Go on from what somebody else wrote."""
        if newest is None:
            return
        case.incident = newest
        if newest.state is IncidentState.ACKNOWLEDGED:
            case.told_reach, case.told_severity = len(newest.entities), newest.severity
        if newest.state is IncidentState.RESOLVED:
            self._desk.close(newest, now)

    def _mute_again(self, track: Track, now: int) -> None:
        planned = self._desk.mute.planned(track, self._desk.papers.silences, now)
        if planned == track.muted or (planned is None and not (track.muted or "").startswith(PLANNED)):
            return
        track.muted = planned
        case = self._desk.papers.cases.get(track.incident or "")
        if case is not None:
            case.write_by(now)
