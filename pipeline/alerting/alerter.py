"""From findings to few incidents: deduplicate, mute, correlate, write with notifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from coldaisle.alert import fingerprint
from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.event import Event
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.severity import Severity
from coldaisle.store import RoleState, RoleStore
from coldaisle.topology import Topology
from pipeline.alerting.desk import Desk, Notify
from pipeline.alerting.lifecycle import let_time_pass
from pipeline.alerting.people import People
from pipeline.alerting.settings import AlertSettings
from pipeline.alerting.sorting import Sorting
from pipeline.alerting.stages import EventRules, Heard
from pipeline.alerting.state import ROLE, StateKeeper
from pipeline.alerting.writing import Writing


class Keep(NamedTuple):
    """Who holds the role, and how far the bus has been worked off: what is written beside the incidents."""

    holder: str
    position: str


class Alerter:
    """
    The working state of role ``alert``.

    One thread. Time is a parameter, and a pure function of it and of what is heard decides: who hears the same
    at the same moments decides the same. Given ``keep``, all that matters is in the store after each round
    that wrote something, in one transaction with its incidents: a crash goes on from there (``resume``)
    and hears what came after again. Without, ``restore`` rebuilds it from the store's incidents. A finding
    heard twice changes nothing. ``take`` and ``advance`` raise Transient when the store is away.
    """

    def __init__(
        self,
        store: RoleStore,
        topology: Topology,
        rules: EventRules,
        settings: AlertSettings,
        notify: Notify,
        stats: SelfStats,
    ) -> None:
        self._desk = Desk(store, topology, rules, settings, stats)
        self._people = People(self._desk)
        self._sorting = Sorting(self._desk)
        self._writing = Writing(self._desk, self._people, notify)
        self._state = StateKeeper(self._desk)

    @property
    def store(self) -> RoleStore:
        """Where it writes."""
        return self._desk.store

    @property
    def settings(self) -> AlertSettings:
        """What an operator has set."""
        return self._desk.settings

    @property
    def stats(self) -> SelfStats:
        """Where it counts."""
        return self._desk.stats

    # -- what comes in ----------------------------------------------------------------------------------------------

    def take(
        self, anomalies: Sequence[Anomaly], events: Sequence[Event], now: int, keep: Keep | None = None
    ) -> list[Incident]:
        """
        Take findings and events; return the incidents that changed, already saved with their notifications.

        ``now`` is event time, ns. Raises Transient when the store is away.
        """
        self._desk.graph.refresh()
        for found, hold_seconds in self._desk.stage.findings(events):
            self._hear(found, now, hold_seconds)
        for anomaly in anomalies:
            if anomaly.prediction is not None:
                self._writing.foretell(anomaly.prediction)
                if anomaly.severity is Severity.INFO:
                    continue  # not certain enough to tell people; it is kept to be settled
            self._hear(anomaly, now, None)
        return self.advance(now, keep)

    def advance(self, now: int, keep: Keep | None = None) -> list[Incident]:
        """Let time pass: waits and holds end, incidents resolve, acknowledgements expire. Raises Transient."""
        self._desk.graph.refresh()
        self._people.look(now)
        for heard in self._desk.stage.expire(now):
            self._changed(heard, now)
        self._sorting.sort(now)
        for case in self._desk.papers.cases.values():
            let_time_pass(case, self._desk.settings, now)
        self._forget(now)
        return self._write(now, keep, always=False)

    def save(self, now: int, keep: Keep) -> list[Incident]:
        """Write the state down even if no incident has changed. Raises Transient."""
        return self._write(now, keep, always=True)

    def next_look(self) -> int | None:
        """Return when ``advance`` has something to do next (ns), None = only when something is heard."""
        return self._desk.next_look()

    def teach_by(self, teach: Callable[[Event], None]) -> None:
        """Let ``teach`` carry what people teach by calling an incident noise; it may raise Transient."""
        self._desk.teach = teach

    def waited(self, nanoseconds: int) -> None:
        """Say that so much time passes before a finding is heard; a new alert waits so much less for company."""
        self._desk.waited = nanoseconds

    def begin_anew(self) -> None:
        """Forget everything, as a process that was just started."""
        self._desk.clear()
        self._writing.begin_anew()
        self._state = StateKeeper(self._desk)

    # -- restarts ---------------------------------------------------------------------------------------------------

    def resume(self, now: int) -> str | None:
        """
        Go on from the state that was kept, else as ``restore``; return the position beside it, if there is one.

        Raises Transient.
        """
        position, filled = self._state.load()
        if not filled:
            self.restore(now)
        for case in self._state.changed_by_others:
            self._people.adopt_changes(case, case.incident, case.incident.updated_at)
        return position

    def restore(self, now: int) -> None:
        """Rebuild what can be rebuilt from the store's unresolved incidents. Raises Transient."""
        for found in self._people.unresolved():
            whole = self._desk.store.get(found.id)
            if whole is not None:
                self._desk.adopt(whole, now)

    # -- findings -> alerts -------------------------------------------------------------------------------------------

    def _hear(self, anomaly: Anomaly, now: int, hold_seconds: float | None) -> None:
        self._desk.stage.place(anomaly)
        known = self._desk.stage.tracks.get(fingerprint(anomaly.rule, anomaly.entity))
        over = known is not None and known.incident is not None and known.incident not in self._desk.papers.cases
        if known is not None and over and anomaly.phase is not Phase.CLOSED and anomaly.id not in known.closed:
            worse = anomaly.severity.rank > known.severity.rank
            if not known.firing and self._sorting.reopen(known, anomaly, now, hold_seconds):
                return
            if not known.firing or worse:
                self._changed(self._desk.stage.begin_anew(anomaly, now, hold_seconds), now)
                return
        heard = self._desk.stage.take(anomaly, now, hold_seconds)
        if heard is not None:
            self._changed(heard, now)

    def _changed(self, heard: Heard, now: int) -> None:
        track, papers = heard.track, self._desk.papers
        case = papers.cases.get(track.incident or "")
        if heard.change == "new":
            track.muted = self._desk.mute.planned(track, papers.silences, now)
            papers.waiting[track.fingerprint] = track
            papers.look_at = now
        if case is None:
            return
        if heard.change == "back":
            case.returned.append(track)
            case.write_by(now + case.delay(10.0))
        elif heard.change == "worse":
            case.write_by(now if track.severity.rank > case.incident.severity.rank else now + case.delay(10.0))
        elif heard.change == "ended":
            case.ended.append(track)
            over = case.quiet_since is not None
            case.write_by(now + case.delay(10.0 if over else self._desk.settings.update_seconds))

    # -- what goes out ----------------------------------------------------------------------------------------------

    def _write(self, now: int, keep: Keep | None, always: bool) -> list[Incident]:
        def state() -> RoleState | None:
            return None if keep is None else RoleState(ROLE, keep.holder, self._state.parts(keep.position))

        written = self._writing.round(now, state, always)
        if keep is not None and self._writing.wrote:
            self._state.kept()
        return written

    def _forget(self, now: int) -> None:
        """Drop alerts that are over and belong to no open incident."""
        papers = self._desk.papers
        keep = round(max(self._desk.settings.reopen_within_seconds, self._desk.settings.resolve_after_seconds) * SECOND)
        slow = round(self._desk.settings.slow_window_seconds * SECOND)
        for track in [one for one in papers.waiting.values() if one.severity is Severity.INFO]:
            if now - track.first_seen > slow:
                del papers.waiting[track.fingerprint]
                self._desk.stats.add("alerting_alerts_dropped_total", reason="info_without_incident")
        if len(papers.over) == 0 and len(self._desk.stage.tracks) <= sum(len(c.tracks) for c in papers.cases.values()):
            return
        for incident, (when, _) in list(papers.over.items()):
            if now - when > keep:
                del papers.over[incident]
        held = papers.cases.keys() | papers.over.keys()
        for track in list(self._desk.stage.tracks.values()):
            told_again = now - track.updated_at <= keep  # whoever announced it may do so once more after a crash
            if track.firing or told_again or track.incident in held:
                continue
            if track.fingerprint not in papers.waiting:
                self._desk.stage.forget(track)
