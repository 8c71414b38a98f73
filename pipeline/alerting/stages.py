"""The first stage: findings and events become alerts, each finding once."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple, Protocol

from coldaisle.alert import fingerprint
from coldaisle.anomaly import Anomaly, Phase, anomaly_id
from coldaisle.clock import SECOND
from coldaisle.event import Event
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.topology import Entity, Relation, RelationKind, Topology, kind_of, name_of
from pipeline.alerting.track import Track

_MOST_COUNTED = 1000
_LOCAL = frozenset({"gpu", "nic", "port", "psu"})


class EventRule(Protocol):
    """A rule that turns an event into a finding."""

    @property
    def name(self) -> str:
        """The rule's name."""
        ...

    @property
    def count(self) -> int:
        """How many such events within ``window_seconds`` make a finding."""
        ...

    @property
    def window_seconds(self) -> float:
        """The span in which events are counted."""
        ...

    @property
    def hold_seconds(self) -> float:
        """How long the finding holds after the last such event."""
        ...

    def finding(self, event: Event, topology: Topology) -> Anomaly | None:
        """Return what ``event`` says: opened, or closed where it clears; None = it is not about this rule."""
        ...


class EventRules(Protocol):
    """The rules on events; the first that matches an event holds."""

    def event_rules(self) -> Sequence[EventRule]:
        """Return the rules in their order."""
        ...


class Heard(NamedTuple):
    """What became of one finding."""

    track: Track
    change: str  # new, back, worse, ended


class Deduplicate:
    """
    Keeps one Track per alert; a finding heard again changes nothing.

    Owned by one Alerter, not thread-safe.
    """

    def __init__(self, rules: EventRules, topology: Topology, stats: SelfStats) -> None:
        self._rules = rules
        self._topology = topology
        self._stats = stats
        self._holding: dict[str, Track] = {}
        self.counted: dict[tuple[str, str], list[tuple[int, int]]] = {}  # when (ns) and which
        self.tracks: dict[str, Track] = {}

    def findings(self, events: Sequence[Event]) -> Iterator[tuple[Anomaly, float]]:
        """
        Yield the findings of events with the seconds they hold.

        Events of one rule and entity that name different sensors are findings of one alert, each ended by
        its own clearing event.
        """
        rules = self._rules.event_rules()
        for event in events:
            self._job(event)
            for rule in rules:
                found = rule.finding(event, self._topology)
                if found is None:
                    continue
                if found.phase is Phase.CLOSED or self._enough(rule, found, event):
                    sensor = event.label("sensor")
                    if sensor is not None:
                        series = Series(event.kind, labels(sensor=sensor))
                        own = anomaly_id(found.rule, found.entity, series, found.started_at)
                        found = replace(found, id=own, series=series)
                    yield found, rule.hold_seconds
                break

    def _enough(self, rule: EventRule, found: Anomaly, event: Event) -> bool:
        """Whether this event and those before it are so many; one that is delivered twice happened once."""
        if rule.count <= 1:
            return True
        window = round(rule.window_seconds * SECOND)
        known = self.counted.setdefault((rule.name, found.entity), [])
        this = (found.started_at, _digest(event))
        if this in known:
            return False
        insort(known, this)
        before = known[: known.index(this) + 1]
        known[:] = [one for one in known if one[0] >= known[-1][0] - window][-_MOST_COUNTED:]
        return len(before) >= rule.count and found.started_at - before[-rule.count][0] <= window

    def _job(self, event: Event) -> None:
        """Keep who runs where: a job that starts or ends changes which nodes have something in common."""
        name = event.label("job")
        if event.kind != "job" or not name or event.code not in ("start", "end"):
            return
        self._topology.unrelate(RelationKind.RUNS, f"job/{name}")
        if event.code == "end":
            return
        if f"job/{name}" not in self._topology:
            self._topology.add(Entity("job", name))
        for node in event.attributes.get("nodes", "").replace(",", " ").split():
            target = node if "/" in node else f"node/{node}"
            self._topology.relate(Relation(RelationKind.RUNS, f"job/{name}", target))

    def place(self, anomaly: Anomaly) -> None:
        """Give entities that no file declares a place in the graph: what is inside a node belongs to it."""
        if anomaly.series is not None and anomaly.entity not in self._topology:
            self._topology.observe(anomaly.series.labels)
        for entity in (anomaly.entity, *anomaly.members):
            if entity in self._topology:
                continue
            node, colon, _ = name_of(entity).partition(":")
            parent = f"node/{node}" if colon else None
            if parent is None and anomaly.members and kind_of(anomaly.entity) == "node" and kind_of(entity) in _LOCAL:
                parent = anomaly.entity
            self._topology.add(Entity(kind_of(entity), name_of(entity), parent))

    def take(self, anomaly: Anomaly, now: int, hold_seconds: float | None = None) -> Heard | None:
        """Take one finding; return what changed, None where nothing did."""
        self._stats.add("alerting_findings_total", phase=anomaly.phase.value)
        key = fingerprint(anomaly.rule, anomaly.entity)
        track = self.tracks.get(key)
        if anomaly.phase is Phase.CLOSED:
            if track is None:
                self._stats.add("alerting_findings_dropped_total", reason="closed_but_never_opened")
                return None
            if hold_seconds is not None and anomaly.series is None:
                if not track.firing:
                    return None
                track.end(anomaly.updated_at)
                return Heard(track, "ended")
            return Heard(track, "ended") if track.release(anomaly) else None
        if track is None:
            track = self.tracks[key] = Track.of(anomaly, now)
            self._stats.add("alerting_alerts_total")
            self._hold(track, anomaly, hold_seconds)
            return Heard(track, "new")
        was_firing = track.firing
        news = track.hold(anomaly)
        self._hold(track, anomaly, hold_seconds)
        if not was_firing and track.firing:
            return Heard(track, "back")
        if not news:
            return None
        return Heard(track, "worse")

    def begin_anew(self, anomaly: Anomaly, now: int, hold_seconds: float | None = None) -> Heard:
        """Forget an alert that is over and begin it as a new one."""
        key = fingerprint(anomaly.rule, anomaly.entity)
        self.tracks.pop(key, None)
        self._holding.pop(key, None)
        track = self.tracks[key] = Track.of(anomaly, now)
        self._stats.add("alerting_alerts_total")
        self._hold(track, anomaly, hold_seconds)
        return Heard(track, "new")

    def expire(self, now: int) -> list[Heard]:
        """End the events' findings whose time has passed."""
        over = [(key, track) for key, track in self._holding.items() if (track.hold_until or 0) <= now]
        over.sort(key=lambda one: (one[1].hold_until or 0, one[0]))
        found = []
        for key, track in over:
            del self._holding[key]
            if track.firing:
                track.end(track.hold_until or now)
                found.append(Heard(track, "ended"))
        return found

    def next_end(self) -> int | None:
        """Return when (ns) the next event's finding ends by itself, or None."""
        return min((track.hold_until or 0 for track in self._holding.values()), default=None)

    def put_back(self, track: Track) -> None:
        """Take in an alert as a state kept it."""
        self.tracks[track.fingerprint] = track
        if track.hold_until is not None:
            self._holding[track.fingerprint] = track

    def forget(self, track: Track) -> None:
        """Drop an alert that no incident needs any more."""
        self.tracks.pop(track.fingerprint, None)
        self._holding.pop(track.fingerprint, None)

    def adopt(self, track: Track) -> None:
        """Take in an alert from the store; an event's finding holds for its rule's time from its last event."""
        self.tracks[track.fingerprint] = track
        if not track.firing or track.best.detector != "event":
            return
        hold = next((rule.hold_seconds for rule in self._rules.event_rules() if rule.name == track.name), None)
        if hold is not None:
            track.hold_until = track.updated_at + round(hold * SECOND)
            self._holding[track.fingerprint] = track

    def _hold(self, track: Track, anomaly: Anomaly, hold_seconds: float | None) -> None:
        if hold_seconds is None or not track.firing:
            return
        until = anomaly.updated_at + round(hold_seconds * SECOND)
        track.hold_until = max(track.hold_until or 0, until)
        self._holding[track.fingerprint] = track


def _digest(event: Event) -> int:
    """Tell two events of one instant apart by what they say."""
    text = "\x1f".join((event.code, str(event.labels), event.text, str(sorted(event.attributes.items()))))
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big")
