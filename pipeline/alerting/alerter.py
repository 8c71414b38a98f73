"""From findings to few incidents: deduplicate, mute, correlate, write with notifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coldaisle.alert import fingerprint
from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.selfstats import SelfStats
from coldaisle.severity import Severity
from coldaisle.silence import Silence
from coldaisle.store import IncidentQuery, IncidentStore, Notification
from coldaisle.topology import Topology
from pipeline.alerting.correlate import STRONG, Group, correlate
from pipeline.alerting.graph import Graph
from pipeline.alerting.lifecycle import Case, Step, compose, let_time_pass
from pipeline.alerting.mute import PLANNED, Mute
from pipeline.alerting.settings import AlertSettings
from pipeline.alerting.stages import Deduplicate, EventRules, Heard
from pipeline.alerting.track import Track
from pipeline.alerting.words import duration

Notify = Callable[[Incident, str], Sequence[Notification]]
"""Builds the notifications of one change: ``opened, worsened, acknowledged, resolved, reopened``."""

_UNRESOLVED = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
_DEVICES = ("pdu/", "ups/", "crac/", "cdu/", "switch/")
_MOST_UNRESOLVED = 10_000


class Alerter:
    """
    The working state of role ``alert``; everything that matters is in the store after each call.

    One thread. Time is event time and is a parameter. A finding heard twice changes nothing, so after a
    crash it is enough to ``restore`` and to hear the findings since the last commit again. ``take`` and ``advance``
    raise Transient when the store is away: what was to be written is written by a later call.
    """

    def __init__(
        self,
        store: IncidentStore,
        topology: Topology,
        rules: EventRules,
        settings: AlertSettings,
        notify: Notify,
        stats: SelfStats,
    ) -> None:
        self._store = store
        self._graph = Graph(topology)
        self._stage = Deduplicate(rules, topology, stats)
        self._settings = settings
        self._mute = Mute(settings, self._graph)
        self._notify = notify
        self._stats = stats
        self._cases: dict[str, Case] = {}
        self._over: dict[str, tuple[int, ResolveReason | None]] = {}  # incidents resolved of late
        self._waiting: dict[str, Track] = {}
        self._silences: list[Silence] = []
        self._refreshed_at: int | None = None
        self._look_at: int | None = None  # when waiting alerts are to be sorted next

    # -- what comes in ----------------------------------------------------------------------------------------------

    def take(self, anomalies: Sequence[Anomaly], events: Sequence[Event], now: int) -> list[Incident]:
        """
        Take findings and events; return the incidents that changed, already saved with their notifications.

        ``now`` is event time, ns. Raises Transient when the store is away.
        """
        self._graph.refresh()
        for found, hold_seconds in self._stage.findings(events):
            self._hear(found, now, hold_seconds)
        for anomaly in anomalies:
            self._hear(anomaly, now, None)
        self._graph.refresh()
        return self.advance(now)

    def advance(self, now: int) -> list[Incident]:
        """Let time pass: waits and holds end, incidents resolve, acknowledgements expire. Raises Transient."""
        self._graph.refresh()
        self._refresh(now)
        for heard in self._stage.expire(now):
            self._changed(heard, now)
        self._sort(now)
        self._resolve(now)
        changed = self._write(now)
        self._forget(now)
        return changed

    def restore(self, now: int) -> None:
        """Rebuild the state from the store's unresolved incidents after a restart. Raises Transient."""
        for found in self._unresolved():
            whole = self._store.get(found.id)
            if whole is not None:
                self._adopt(whole, now)

    def topology_changed(self) -> None:
        """Forget what was remembered of the topology; a changed version is noticed without being told."""
        self._graph = Graph(self._graph.topology)
        self._mute = Mute(self._settings, self._graph)

    # -- findings -> alerts -------------------------------------------------------------------------------------------

    def _hear(self, anomaly: Anomaly, now: int, hold_seconds: float | None) -> None:
        self._stage.place(anomaly)
        known = self._stage.tracks.get(fingerprint(anomaly.rule, anomaly.entity))
        over = known is not None and known.incident is not None and known.incident not in self._cases
        if known is not None and over and anomaly.phase is not Phase.CLOSED and anomaly.id not in known.closed:
            worse = anomaly.severity.rank > known.severity.rank
            if not known.firing and self._reopen(known, anomaly, now, hold_seconds):
                return
            if not known.firing or worse:
                self._changed(self._stage.begin_anew(anomaly, now, hold_seconds), now)
                return
        heard = self._stage.take(anomaly, now, hold_seconds)
        if heard is not None:
            self._changed(heard, now)

    def _changed(self, heard: Heard, now: int) -> None:
        track = heard.track
        case = self._cases.get(track.incident or "")
        if heard.change == "new":
            track.muted = self._mute.planned(track, self._silences, now)
            self._waiting[track.fingerprint] = track
            self._look_at = now
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
            case.write_by(now + case.delay(10.0 if over else self._settings.update_seconds))

    # -- alerts -> incidents ------------------------------------------------------------------------------------------

    def _sort(self, now: int) -> None:
        """Put waiting alerts into incidents that explain them, or open new ones when they have waited enough."""
        if not self._waiting or self._look_at is None or now < self._look_at:
            return
        wait = round(self._settings.group_wait_seconds * SECOND)
        tracks = list(self._waiting.values()) + self._company(now)
        self._look_at = None
        for group in correlate(tracks, self._graph, self._settings):
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
                self._open(waiting, now)
            else:
                self._look_at = ready if self._look_at is None else min(self._look_at, ready)

    def _company(self, now: int) -> list[Track]:
        """Alerts of open incidents that new ones may belong to: those of late, and faults of plant that still hold."""
        slow = round(self._settings.slow_window_seconds * SECOND)
        found: list[Track] = []
        for case in self._cases.values():
            if now - case.last_joined <= slow:
                found += case.tracks.values()
            else:
                found += [
                    track
                    for track in case.tracks.values()
                    if track.firing and track.strength >= STRONG and track.entity.startswith(_DEVICES)
                ]
        return found

    def _target(self, group: Group, now: int) -> Case | None:
        """Return the incident that a group continues, merging those that prove to be one."""
        held: dict[str, int] = {}
        for track in group.tracks:
            if track.incident in self._cases:
                held[track.incident] = held.get(track.incident, 0) + 1
        if not held:
            return None
        whole = [self._cases[one] for one in held if 2 * held[one] >= len(self._cases[one].tracks)]
        if not whole:
            return self._cases[max(sorted(held), key=lambda one: held[one])]
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
        self._stats.add("alerting_incidents_merged_total")

    def _join(self, case: Case, tracks: Sequence[Track], now: int) -> None:
        case.join(tracks, now, self._settings)
        for track in tracks:
            self._waiting.pop(track.fingerprint, None)

    def _open(self, tracks: Sequence[Track], now: int) -> None:
        case = Case.open(tracks, now)
        known = self._cases.get(case.incident.id)
        if known is None:
            stored = self._store.get(case.incident.id)
            if stored is not None:
                known = self._again(stored, tracks, now)
                if known is None:
                    return
        if known is not None:
            self._join(known, tracks, now)
            return
        self._cases[case.incident.id] = case
        for track in tracks:
            self._waiting.pop(track.fingerprint, None)
        self._stats.add("alerting_incidents_opened_total")

    def _again(self, stored: Incident, tracks: Sequence[Track], now: int) -> Case | None:
        """What was written before a crash: continue it; if it is resolved already, all has been said."""
        if stored.state is not IncidentState.RESOLVED:
            return self._adopt(stored, now)
        self._over[stored.id] = (stored.resolved_at or now, stored.resolve_reason)
        for track in tracks:
            track.incident = stored.id
            self._waiting.pop(track.fingerprint, None)
        return None

    def _reopen(self, track: Track, anomaly: Anomaly, now: int, hold_seconds: float | None) -> bool:
        when, reason = self._over.get(track.incident or "", (0, None))
        within = round(self._settings.reopen_within_seconds * SECOND)
        if reason not in (ResolveReason.ENDED, ResolveReason.REAL) or now - when > within:
            return False
        stored = self._store.get(track.incident or "")
        if stored is None or stored.state is not IncidentState.RESOLVED:
            return False
        case = self._adopt(stored, now)
        self._over.pop(stored.id, None)
        text = f"{track.name} on {track.entity} is back after {duration(now - when)}"
        case.step(Step.REOPEN, text, now)
        self._stage.take(anomaly, now, hold_seconds)
        return True

    # -- incidents over time ------------------------------------------------------------------------------------------

    def _resolve(self, now: int) -> None:
        for case in self._cases.values():
            let_time_pass(case, self._settings, now)

    def _refresh(self, now: int) -> None:
        """Look whether people silenced, acknowledged or resolved something through another process."""
        every = round(self._settings.refresh_seconds * SECOND)
        if self._refreshed_at is not None and now - self._refreshed_at < every:
            return
        first = self._refreshed_at is None  # what the store had muted may be due again
        self._refreshed_at = now
        before, self._silences = self._silences, self._store.silences(now)
        planned = first or before or self._silences or self._settings.maintenance
        cases = self._cases.values() if planned else ()
        for track in (*self._waiting.values(), *(t for case in cases for t in case.tracks.values())):
            self._mute_again(track, now)
        ours = [
            case.incident
            for case in self._cases.values()
            if case.incident.version > 0 and case.incident.state is not IncidentState.RESOLVED
        ]
        taken = sum(1 for incident in ours if incident.state is IncidentState.ACKNOWLEDGED)
        unresolved = self._store.count(IncidentQuery(states=_UNRESOLVED))
        if (unresolved, self._store.count(IncidentQuery(states=(IncidentState.ACKNOWLEDGED,)))) == (len(ours), taken):
            return
        versions = {found.id: found for found in self._unresolved()}
        for incident in ours:
            newest = versions.get(incident.id)
            if newest is None or newest.version != incident.version:
                self._adopt_changes(self._cases[incident.id], self._store.get(incident.id), now)
        for one in versions.keys() - self._cases.keys():
            whole = self._store.get(one)
            if whole is not None:
                self._adopt(whole, now)  # a person opened it again

    def _mute_again(self, track: Track, now: int) -> None:
        planned = self._mute.planned(track, self._silences, now)
        if planned == track.muted or (planned is None and not (track.muted or "").startswith(PLANNED)):
            return
        track.muted = planned
        case = self._cases.get(track.incident or "")
        if case is not None:
            case.write_by(now)

    def _unresolved(self) -> list[Incident]:
        return self._store.find(IncidentQuery(states=_UNRESOLVED, limit=_MOST_UNRESOLVED))

    def _adopt(self, incident: Incident, now: int) -> Case:
        """Take an incident from the store, keeping what is already known of its alerts."""
        case = Case.restored(incident, now)
        for key, track in list(case.tracks.items()):
            live = self._stage.tracks.get(key)
            if live is not None and live.incident in (incident.id, None):
                live.incident = incident.id
                case.tracks[key] = live
            elif live is None:
                self._stage.adopt(track)
        self._cases[incident.id] = case
        self._over.pop(incident.id, None)
        return case

    def _adopt_changes(self, case: Case, newest: Incident | None, now: int) -> None:
        if newest is None:
            return
        case.incident = newest
        if newest.state is IncidentState.ACKNOWLEDGED:
            case.told_reach, case.told_severity = len(newest.entities), newest.severity
        if newest.state is IncidentState.RESOLVED:
            self._close(case, newest, now)

    def _close(self, case: Case, incident: Incident, now: int) -> None:
        self._over[incident.id] = (incident.resolved_at or now, incident.resolve_reason)
        self._cases.pop(incident.id, None)

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, now: int) -> list[Incident]:
        written: list[Incident] = []
        away: Transient | None = None
        for case in list(self._cases.values()):
            if case.due is None or case.due > now:
                continue
            case.tell_bursts(now, self._settings)
            try:
                stored = self._save(case, now)
            except Transient as error:
                self._stats.add("alerting_writes_failed_total")
                away = error
                continue
            if stored is not None:
                written.append(stored)
        self._stats.set("alerting_open_incidents", float(len(self._cases)))
        if away is not None:
            raise away
        return written

    def _save(self, case: Case, now: int) -> Incident | None:
        """Write one incident; where somebody else wrote in between, apply the change to what is there now."""
        incident, kinds = compose(case, self._graph, self._mute, self._settings, now)
        try:
            stored = self._store.save(incident, self._messages(incident, kinds))
        except Transient:
            newest = self._store.get(case.incident.id)
            if newest is None or newest.version == case.incident.version:
                raise
            self._stats.add("alerting_writes_repeated_total")
            self._adopt_changes(case, newest, now)
            if newest.state is IncidentState.RESOLVED and not any(step is Step.REOPEN for step, _ in case.steps):
                return newest  # a person closed it meanwhile, and that stands
            incident, kinds = compose(case, self._graph, self._mute, self._settings, now)
            stored = self._store.save(incident, self._messages(incident, kinds))
        case.incident = stored
        case.lines.clear()
        case.steps.clear()
        case.due = None
        case.quiet = stored.suppressed_by is not None and (case.quiet or stored.version == 1)
        if kinds:
            case.told_reach, case.told_severity, case.told_at = len(stored.entities), stored.severity, now
        if stored.state is IncidentState.RESOLVED:
            self._close(case, stored, now)
        return stored

    def _messages(self, incident: Incident, kinds: Sequence[str]) -> list[Notification]:
        if incident.suppressed_by is not None:
            self._stats.add("alerting_notifications_muted_total")
        return [message for kind in kinds for message in self._notify(incident, kind)]

    def _forget(self, now: int) -> None:
        """Drop alerts that are over and belong to no open incident."""
        keep = round(max(self._settings.reopen_within_seconds, self._settings.resolve_after_seconds) * SECOND)
        slow = round(self._settings.slow_window_seconds * SECOND)
        for track in [one for one in self._waiting.values() if one.severity is Severity.INFO]:
            if now - track.first_seen > slow:
                del self._waiting[track.fingerprint]
                self._stats.add("alerting_alerts_dropped_total", reason="info_without_incident")
        if len(self._over) == 0 and len(self._stage.tracks) <= sum(len(c.tracks) for c in self._cases.values()):
            return
        for incident, (when, _) in list(self._over.items()):
            if now - when > keep:
                del self._over[incident]
        held = self._cases.keys() | self._over.keys()
        for track in list(self._stage.tracks.values()):
            if not track.firing and track.incident not in held and track.fingerprint not in self._waiting:
                self._stage.forget(track)
