"""What the alerter keeps between two lives: everything in memory that decides, in parts that change apart."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from coldaisle.anomaly import Anomaly
from coldaisle.incident import ResolveReason, TimelineEntry
from coldaisle.severity import Severity
from coldaisle.store.dataclass_json import decoder, encoder
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from pipeline.alerting.desk import Desk
from pipeline.alerting.lifecycle import Case, Step
from pipeline.alerting.symptoms import Symptom
from pipeline.alerting.track import Track

ROLE = "alert"
VERSION = 1
_LOG = logging.getLogger(__name__)
_POSITION, _DESK, _TOPOLOGY, _TRACK, _CASE = "position", "desk", "topology", "track/", "case/"


@dataclass(frozen=True)
class _DeskRecord:
    version: int
    cases: tuple[str, ...]
    waiting: tuple[str, ...]
    over: Mapping[str, tuple[int, ResolveReason | None]]
    counted: tuple[tuple[str, str, tuple[tuple[int, int], ...]], ...]
    refreshed_at: int | None
    look_at: int | None


@dataclass(frozen=True)
class _CaseRecord:
    version: int  # of the incident as it was written beside this
    tracks: tuple[str, ...]
    joined: tuple[str, ...]
    ended: tuple[str, ...]
    returned: tuple[str, ...]
    lines: tuple[TimelineEntry, ...]
    steps: tuple[tuple[Step, str], ...]
    due: int | None
    last_joined: int
    told_reach: int
    told_severity: Severity
    told_at: int
    quiet: bool


@dataclass(frozen=True)
class _TrackRecord:
    name: str
    entity: str
    severity: Severity
    starts_at: int
    updated_at: int
    first_seen: int
    symptom: Symptom
    strength: float
    ends_at: int | None
    incident: str | None
    hold_until: int | None
    occurrences: int
    flaps: int
    muted: str | None
    described: bool
    open: Mapping[str, Anomaly]
    closed: tuple[str, ...]
    strongest: tuple[Anomaly, ...]
    members: tuple[str, ...]
    holding: tuple[str, ...]
    series: tuple[str, ...]


_PLAIN = tuple(
    one.name for one in fields(_TrackRecord) if one.name not in ("open", "closed", "strongest", "holding", "series")
)


@dataclass(frozen=True)
class _TopologyRecord:
    entities: tuple[Entity, ...]  # beyond those that a file declares
    runs: tuple[tuple[str, str], ...]  # which job runs on which node


class StateKeeper:
    """
    Turns a Desk into named texts and back.

    An alert is a part of its own, written when it has changed; so are an incident's work in progress, what was
    learnt of the hall, and the rest. What the store's incidents hold is not repeated.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        topology = desk.graph.topology
        self._declared = frozenset(entity.id for entity in topology)
        self._told: dict[str, str] = {}  # small parts as they were last written
        self._tracks: frozenset[str] = frozenset()  # names of those that are written
        self._topology_version = topology.version
        self.changed_by_others: list[Case] = []  # since the state was written, as ``load`` found them
        self._pending: tuple[dict[str, str], frozenset[str], int, list[Track]] | None = None

    def parts(self, position: str) -> dict[str, str | None]:
        """Return the parts that differ from what is written; None = no longer needed."""
        named = self._named()
        names = {id(track): name for name, track in named.items()}
        fresh = [(name, track) for name, track in named.items() if track.changed or name not in self._tracks]
        small = {_CASE + key: _dump(_case_out(case, names)) for key, case in self._desk.papers.cases.items()}
        small[_DESK], small[_POSITION] = _dump(self._desk_out(names)), position
        version = self._desk.graph.topology.version
        if version != self._topology_version:
            small[_TOPOLOGY] = _dump(self._topology_out())
        elif _TOPOLOGY in self._told:
            small[_TOPOLOGY] = self._told[_TOPOLOGY]
        changed: dict[str, str | None] = {part: text for part, text in small.items() if self._told.get(part) != text}
        changed |= {_TRACK + name: _dump(_track_out(track)) for name, track in fresh}
        changed |= dict.fromkeys(self._told.keys() - small.keys())
        changed |= {_TRACK + name: None for name in self._tracks - named.keys()}
        self._pending = (small, frozenset(named), version, [track for _, track in fresh])
        return changed

    def kept(self) -> None:
        """Take note that the parts returned last are written."""
        if self._pending is not None:
            self._told, self._tracks, self._topology_version, tracks = self._pending
            for track in tracks:
                track.changed = False
            self._pending = None

    def load(self) -> tuple[str | None, bool]:
        """
        Fill the desk from the store; return the position, and whether the desk could be filled. Raises Transient.

        Another version's state, or a damaged one, is refused; the position is good all the same.
        """
        parts = self._desk.store.state(ROLE)
        position = parts.get(_POSITION)
        if _DESK not in parts:
            return position, False
        try:
            version = json.loads(parts[_DESK]).get("version")
            if version != VERSION:
                raise ValueError(f"it has version {version}, this Coldaisle knows {VERSION}")
            self._load(parts)
            return position, True
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _LOG.warning(
                "the state of role %s cannot be read (%s): it is rebuilt from the open incidents; alerts that "
                "waited for company are lost unless they are announced again",
                ROLE,
                error,
            )
            self._desk.stats.add("alerting_states_refused_total")
            self._told = {part: "" for part in parts if not part.startswith(_TRACK)}
            self._tracks = frozenset(part.removeprefix(_TRACK) for part in parts if part.startswith(_TRACK))
            return position, False

    def _load(self, parts: Mapping[str, str]) -> None:
        desk, papers = self._desk, self._desk.papers
        record: _DeskRecord = _read(_DeskRecord, parts[_DESK])
        records = {key: _read(_CaseRecord, parts[_CASE + key]) for key in record.cases}
        tracks = {
            part.removeprefix(_TRACK): _track_in(_read(_TrackRecord, text))
            for part, text in sorted(parts.items())
            if part.startswith(_TRACK)
        }
        topology = _read(_TopologyRecord, parts[_TOPOLOGY]) if _TOPOLOGY in parts else None
        # From here on everything was readable: the desk is filled whole or not at all.
        for name, track in tracks.items():
            if "@" not in name:
                desk.stage.put_back(track)
        for key, kept in records.items():
            incident = desk.store.get(key)
            if incident is not None:
                case = papers.cases[key] = _case_in(Case(incident), kept, tracks)
                if incident.version != kept.version:
                    self.changed_by_others.append(case)
        papers.waiting = {tracks[name].fingerprint: tracks[name] for name in record.waiting}
        papers.over = dict(record.over)
        papers.refreshed_at, papers.look_at = record.refreshed_at, record.look_at
        if record.refreshed_at is not None:
            papers.silences = desk.store.silences(record.refreshed_at)
        for rule, entity, times in record.counted:
            desk.stage.counted[rule, entity] = list(times)
        if topology is not None:
            _learn(desk.graph.topology, topology)
        desk.graph.refresh()
        self._topology_version = desk.graph.topology.version
        self._told = {part: text for part, text in parts.items() if not part.startswith(_TRACK)}
        self._tracks = frozenset(tracks)
        for track in tracks.values():
            track.changed = False

    def _named(self) -> dict[str, Track]:
        """Every alert by its fingerprint; what only an incident still knows, by fingerprint and incident."""
        live = self._desk.stage.tracks
        named = dict(live)
        for key, case in self._desk.papers.cases.items():
            for print_, track in case.tracks.items():
                if live.get(print_) is not track:
                    named[f"{print_}@{key}"] = track
        return named

    def _desk_out(self, names: Mapping[int, str]) -> _DeskRecord:
        papers = self._desk.papers
        return _DeskRecord(
            version=VERSION,
            cases=tuple(papers.cases),
            waiting=tuple(names[id(track)] for track in papers.waiting.values()),
            over=papers.over,
            counted=tuple((rule, entity, tuple(times)) for (rule, entity), times in self._desk.stage.counted.items()),
            refreshed_at=papers.refreshed_at,
            look_at=papers.look_at,
        )

    def _topology_out(self) -> _TopologyRecord:
        topology = self._desk.graph.topology
        learnt = tuple(entity for entity in topology if entity.id not in self._declared)
        runs = [(one.source, one.target) for one in topology.relations() if one.kind is RelationKind.RUNS]
        return _TopologyRecord(learnt, tuple(runs))


def _learn(topology: Topology, record: _TopologyRecord) -> None:
    for entity in record.entities:
        if topology.get(entity.id) != entity:
            topology.add(entity)
    for source in {one.source for one in topology.relations() if one.kind is RelationKind.RUNS}:
        topology.unrelate(RelationKind.RUNS, source)
    for source, target in record.runs:
        topology.relate(Relation(RelationKind.RUNS, source, target))


def _case_out(case: Case, names: Mapping[int, str]) -> _CaseRecord:
    return _CaseRecord(
        version=case.incident.version,
        tracks=tuple(names[id(track)] for track in case.tracks.values()),
        joined=_known(case.joined, names),
        ended=_known(case.ended, names),
        returned=_known(case.returned, names),
        lines=tuple(case.lines),
        steps=tuple(case.steps),
        due=case.due,
        last_joined=case.last_joined,
        told_reach=case.told_reach,
        told_severity=case.told_severity,
        told_at=case.told_at,
        quiet=case.quiet,
    )


def _known(tracks: Sequence[Track], names: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(names[id(track)] for track in tracks if id(track) in names)


def _case_in(case: Case, record: _CaseRecord, tracks: Mapping[str, Track]) -> Case:
    case.tracks = {tracks[name].fingerprint: tracks[name] for name in record.tracks}
    case.joined = [tracks[name] for name in record.joined]
    case.ended = [tracks[name] for name in record.ended]
    case.returned = [tracks[name] for name in record.returned]
    case.lines, case.steps = list(record.lines), list(record.steps)
    case.due, case.last_joined, case.quiet = record.due, record.last_joined, record.quiet
    case.told_reach, case.told_severity, case.told_at = record.told_reach, record.told_severity, record.told_at
    return case


def _track_out(track: Track) -> _TrackRecord:
    plain = {name: getattr(track, name) for name in _PLAIN}
    return _TrackRecord(
        **plain,
        open=track.open,
        closed=tuple(track.closed),
        strongest=tuple(track.strongest.values()),
        holding=tuple(sorted(track.holding)),
        series=tuple(track.series),
    )


def _track_in(record: _TrackRecord) -> Track:
    plain = {name: getattr(record, name) for name in _PLAIN}
    return Track(
        **plain,
        open=dict(record.open),
        closed=dict.fromkeys(record.closed),
        strongest={one.id: one for one in record.strongest},
        holding=frozenset(record.holding),
        series=dict.fromkeys(record.series),
    )


def _dump(record: object) -> str:
    kind: Any = type(record)
    return json.dumps(encoder(kind)(record), ensure_ascii=False, separators=(",", ":"))


def _read(kind: Any, text: str) -> Any:
    return decoder(kind)(json.loads(text))
