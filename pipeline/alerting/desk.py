"""What the alerter works on: alerts that wait, incidents under way, and what decides about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from coldaisle.clock import SECOND
from coldaisle.event import Event
from coldaisle.incident import Incident, ResolveReason
from coldaisle.selfstats import SelfStats
from coldaisle.silence import Silence
from coldaisle.store import Notification, RoleStore
from coldaisle.teaching import lesson_of
from coldaisle.topology import Topology
from pipeline.alerting.graph import Graph
from pipeline.alerting.lifecycle import Case, expires_at
from pipeline.alerting.mute import Mute
from pipeline.alerting.settings import AlertSettings
from pipeline.alerting.stages import Deduplicate, EventRules
from pipeline.alerting.track import Track

Notify = Callable[[Incident, str], Sequence[Notification]]
"""Builds the notifications of one change: ``opened, worsened, acknowledged, resolved, reopened``."""


@dataclass(slots=True)
class Papers:
    """Everything in memory that decides; what of it is not in an incident is kept in the role's state."""

    cases: dict[str, Case] = field(default_factory=dict)
    over: dict[str, tuple[int, ResolveReason | None]] = field(default_factory=dict)  # incidents resolved of late
    waiting: dict[str, Track] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    refreshed_at: int | None = None
    look_at: int | None = None  # when waiting alerts are to be sorted next


class Desk:
    """The papers with the rules and the store; owned by one Alerter, one thread."""

    def __init__(
        self, store: RoleStore, topology: Topology, rules: EventRules, settings: AlertSettings, stats: SelfStats
    ) -> None:
        self.store = store
        self.settings = settings
        self.stats = stats
        self.waited = 0  # ns that have passed since a finding's moment before it is heard
        self.teach: Callable[[Event], None] | None = None  # where lessons go
        self._rules = rules
        self._declared = (tuple(topology), tuple(topology.relations()))
        self._fill(topology)

    def _fill(self, topology: Topology) -> None:
        self.graph = Graph(topology)
        self.mute = Mute(self.settings, self.graph)
        self.stage = Deduplicate(self._rules, topology, self.stats)
        self.papers = Papers()

    def clear(self) -> None:
        """Begin anew: no papers, and of the hall only what files declare."""
        self._fill(Topology(*self._declared))

    @property
    def group_wait(self) -> int:
        """How long (ns) a heard alert waits for company."""
        return max(0, round(self.settings.group_wait_seconds * SECOND) - self.waited)

    def adopt(self, incident: Incident, now: int) -> Case:
        """Take an incident from the store, keeping what is already known of its alerts."""
        case = Case.restored(incident, now)
        for key, track in list(case.tracks.items()):
            live = self.stage.tracks.get(key)
            if live is not None and live.incident in (incident.id, None):
                live.incident = incident.id
                case.tracks[key] = live
            elif live is None:
                self.stage.adopt(track)
        self.papers.cases[incident.id] = case
        self.papers.over.pop(incident.id, None)
        return case

    def close(self, incident: Incident, now: int) -> None:
        """
        Put an incident that is resolved away; one that a person called noise teaches.

        It teaches before its end is written down: after a crash in between it does so again, which changes little.
        Raises Transient when the bus is away.
        """
        lesson = lesson_of(incident)
        if lesson is not None and self.teach is not None:
            self.teach(lesson)
        self.papers.over[incident.id] = (incident.resolved_at or now, incident.resolve_reason)
        self.papers.cases.pop(incident.id, None)

    def next_look(self) -> int | None:
        """Return when time alone changes something next (ns), None = never; not later than that, perhaps sooner."""
        papers = self.papers
        moments = [papers.look_at, self.stage.next_end()]
        quiet = round(self.settings.resolve_after_seconds * SECOND)
        for case in papers.cases.values():
            moments.append(case.due)
            if case.steps:
                continue
            since = case.quiet_since
            moments += [None if since is None else since + quiet, expires_at(case, self.settings)]
        if papers.refreshed_at is not None:
            every = self.refresh_ns
            moments.append((papers.refreshed_at // every + 1) * every)
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def refresh_ns(self) -> int:
        """How often (ns) to look what people did; at most once for each moment."""
        return max(1, round(self.settings.refresh_seconds * SECOND))
