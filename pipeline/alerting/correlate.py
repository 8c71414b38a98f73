"""Sort alerts into groups with one likely cause each, by time and by the physical graph."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from coldaisle.clock import SECOND
from coldaisle.severity import Severity
from coldaisle.topology import kind_of
from pipeline.alerting.graph import Graph
from pipeline.alerting.settings import AlertSettings
from pipeline.alerting.symptoms import Symptom, plausible
from pipeline.alerting.track import Track

STRONG = 0.8
"""From this strength a finding is direct evidence against the entity it names."""
_MIN_PLAUSIBLE = 0.3
_DEVICES = frozenset({"pdu", "ups", "crac", "cdu", "switch"})
_COOLING = frozenset({"crac", "cdu"})
_FOREVER = 2**63 - 1
_WIDE = frozenset({"row", "site"})
_MASS_UNITS = 5  # so many units falling silent together have one cause, whatever share of the hall they are
_MASS_SECONDS = 60
_LASTING = 4  # how many slow windows the consequences of a cause that still holds may trail behind it
_SLOW = frozenset({Symptom.THERMAL, Symptom.SPEED})
_UPSETTING = frozenset({Symptom.SILENCE, Symptom.POWER, Symptom.DEVICE, Symptom.THERMAL})
_CONSEQUENCES = frozenset({Symptom.THERMAL, Symptom.SPEED, Symptom.POWER})
_WEIGHT = {Severity.PAGE: 1.0, Severity.TICKET: 0.8, Severity.INFO: 0.2}


@dataclass(slots=True)
class Group:
    """Alerts with one likely cause; ``scope`` is what they share."""

    scope: str
    tracks: list[Track]


@dataclass(slots=True)
class _Atom:
    """All alerts of one symptom on one unit: what a cause either explains or does not."""

    unit: str
    symptom: Symptom
    start: int
    tracks: list[Track] = field(default_factory=list)
    weight: float = 0.0
    strength: float = 0.0
    firing: bool = False
    held: dict[str, int] = field(default_factory=dict)  # place -> when it was last seen harmed

    def add(self, track: Track, place: str) -> None:
        self.tracks.append(track)
        until = _FOREVER if track.ends_at is None else track.ends_at
        self.held[place] = max(self.held.get(place, 0), until)
        self.start = min(self.start, track.starts_at)
        # The second alert of one kind on one unit adds little; four hundred add no more than two.
        self.weight = min(1.5, self.weight + _WEIGHT[track.severity] * track.strength / (1 + len(self.tracks) // 2))
        self.strength = max(self.strength, track.strength)
        self.firing = self.firing or track.firing

    def goes_on(self, track: Track, place: str, window: int) -> bool:
        """
        Whether ``track`` is the next word of the same thing.

        It starts within the window of the last one; or what it is on is still harmed in this way, however long
        that has lasted: a GPU that corrects errors, then remaps rows, then fails is one matter.
        """
        if track.starts_at - self.tracks[-1].starts_at <= window:
            return True
        return self.symptom is not Symptom.SENSOR and self.held.get(place, 0) >= track.starts_at - window


def anchor(track: Track, graph: Graph) -> str:
    """
    Return where an alert belongs in the graph.

    That is its entity, unless it speaks of many and its entity says nothing (the site): then it is what
    those share most tightly.
    """
    if len(track.members) < 2 or kind_of(track.entity) not in ("site", "row"):
        return track.entity
    counts: Counter[str] = Counter()
    for member in track.members:
        counts.update((member, *graph.topology.ancestors(member)))
    shared = [candidate for candidate, count in counts.items() if count >= 0.9 * len(track.members)]
    return min(sorted(shared), key=lambda one: graph.reach_counts(one).total()) if shared else track.entity


def correlate(tracks: Iterable[Track], graph: Graph, settings: AlertSettings) -> list[Group]:
    """
    Return groups of ``tracks``, each track in exactly one; the best explained group first.

    Greedy cover: every possible cause is scored by what it explains (coverage, weighted by strength and by
    the plausibility of the symptom), by the share of its reach that is harmed, and by direct evidence on
    itself; the best takes its alerts, and the rest is scored again. Cost grows with the number of alerts
    times the height of the graph, not with its square. ``docs/correlation.md`` gives the formulae.
    """
    return _Cover(tracks, graph, settings).groups()


class _Cover:
    def __init__(self, tracks: Iterable[Track], graph: Graph, settings: AlertSettings) -> None:
        self._graph = graph
        self._quick = round(settings.merge_window_seconds * SECOND)
        self._slow = round(settings.slow_window_seconds * SECOND)
        self._atoms = self._build(tracks)
        self._alive = [True] * len(self._atoms)
        self._covers: dict[str, list[int]] = {}
        for index, atom in enumerate(self._atoms):
            for cause in self._causes(atom):
                self._covers.setdefault(cause, []).append(index)

    def _causes(self, atom: _Atom) -> set[str]:
        """What can have caused all of an atom: of a dead supply only the feed it hangs on, not the other one."""
        places = {anchor(track, self._graph) for track in atom.tracks}
        shared = frozenset.intersection(*(self._graph.causes(place) for place in places))
        return {atom.unit} | {
            cause for cause in shared if self._graph.unit(cause) == cause and self._plausible(cause, atom)
        }

    def _plausible(self, cause: str, atom: _Atom) -> bool:
        """Heat makes a board draw less; a supply that says it is dead, or a cap that is set, is not the cooling's."""
        if kind_of(cause) in _COOLING and atom.symptom is Symptom.POWER and atom.strength >= STRONG:
            return False
        return plausible(cause, atom.symptom) >= _MIN_PLAUSIBLE

    def _build(self, tracks: Iterable[Track]) -> list[_Atom]:
        found: list[_Atom] = []
        atoms: dict[tuple[str, Symptom], list[_Atom]] = {}
        for track in sorted(tracks, key=lambda one: (one.starts_at, one.fingerprint)):
            place = anchor(track, self._graph)
            unit = self._graph.unit(place)
            window = self._slow if track.symptom in _SLOW else self._quick
            runs = atoms.setdefault((unit, track.symptom), [])
            atom = next((run for run in reversed(runs) if run.goes_on(track, place, window)), None)
            if atom is None:
                atom = _Atom(unit, track.symptom, track.starts_at)
                runs.append(atom)
                found.append(atom)
            atom.add(track, place)
        return found

    def groups(self) -> list[Group]:
        heap = [(-score, cause) for cause in self._covers if (score := self._score(cause)[0]) > 0]
        heapq.heapify(heap)
        found: list[Group] = []
        homes: dict[str, Group] = {}  # of units with a fault of their own: what else is odd about them follows
        while heap:
            _, cause = heapq.heappop(heap)
            score, chosen = self._score(cause)
            if score <= 0:
                continue
            if heap and score < -heap[0][0] - 1e-9:
                heapq.heappush(heap, (-score, cause))
                continue
            group = self._home(chosen, homes) or Group(cause, [])
            left = len(chosen) < sum(1 for index in self._covers[cause] if self._alive[index])
            if not group.tracks:
                found.append(group)
            for index in chosen:
                self._alive[index] = False
                atom = self._atoms[index]
                group.tracks += atom.tracks
                if (atom.symptom in _UPSETTING and atom.strength >= STRONG) or (
                    len(chosen) > 1 and atom.symptom in _SLOW
                ):
                    homes.setdefault(atom.unit, group)
            if left:
                heapq.heappush(heap, (-self._score(cause)[0], cause))  # what it did at another time is another matter
        return found

    def _home(self, chosen: Sequence[int], homes: dict[str, Group]) -> Group | None:
        """A lone oddity of a unit that a chosen cause already explains belongs to that cause, unless it is a fault."""
        units = {self._atoms[index].unit for index in chosen}
        if len(units) != 1:
            return None
        home = homes.get(next(iter(units)))
        if home is None:
            return None
        starts = [track.starts_at for track in home.tracks]
        for index in chosen:
            atom = self._atoms[index]
            own_fault = atom.strength >= STRONG and (
                atom.symptom in (Symptom.DEVICE, Symptom.SENSOR)
                or (atom.symptom is Symptom.POWER and kind_of(home.scope) in _COOLING)
            )
            until = max(starts) + (self._slow if self._follows(atom, home) else self._quick)
            if own_fault or not min(starts) - self._quick <= atom.start <= until:
                return None
        return home

    def _follows(self, atom: _Atom, home: Group) -> bool:
        """Whether an oddity that only statistics see began while its unit says of itself that something is wrong."""
        return (
            atom.strength < STRONG
            and atom.symptom in _CONSEQUENCES
            and any(
                track.strength >= STRONG and (track.ends_at is None or track.ends_at >= atom.start - self._quick)
                for track in home.tracks
            )
        )

    def _score(self, cause: str) -> tuple[float, list[int]]:
        """Return how well ``cause`` explains what is left, and which atoms it would take."""
        alive = [index for index in self._covers[cause] if self._alive[index]]
        if not alive:
            return 0.0, []
        direct = [index for index in alive if self._atoms[index].unit == cause]
        if len(alive) == len(direct):
            taken = self._run(direct, None)
            return sum(self._atoms[index].weight for index in taken), taken
        strong = [self._atoms[i] for i in direct if self._atoms[i].strength >= STRONG]
        since = min((atom.start for atom in strong), default=None)
        lasting = kind_of(cause) in _DEVICES and any(atom.firing for atom in strong)
        taken = self._run(alive, since, lasting)
        units = {self._atoms[index].unit for index in taken} - {cause}
        own = sum(self._atoms[index].weight for index in taken if self._atoms[index].unit == cause)
        if not units:
            return own, taken
        share = self._share(cause, units)
        if strong:
            share = max(share, 0.9)
        elif not self._believable(cause, taken, units, share, own > 0):
            alone = self._run(direct, None) if direct else []
            return sum(self._atoms[index].weight for index in alone), alone
        explained = sum(
            self._atoms[index].weight * plausible(cause, self._atoms[index].symptom)
            for index in taken
            if self._atoms[index].unit != cause
        )
        return explained * (0.3 + 0.7 * share) + own * (2.0 if strong else 1.0), taken

    def _believable(self, cause: str, taken: list[int], units: set[str], share: float, touched: bool) -> bool:
        """Whether so many of a cause's dependants are harmed at once that chance is the worse explanation."""
        if len(units) < 2:
            return touched and share >= 0.1
        kind = kind_of(cause)
        if kind == "job":
            return share >= 0.3 or touched
        symptoms = Counter(self._atoms[index].symptom for index in taken)
        if symptoms[Symptom.SILENCE] >= _MASS_UNITS and self._together(taken):
            return True
        if kind in _WIDE:
            return len(units) >= 3 and share >= 0.4
        return share >= 0.4 or (len(units) >= 3 and share >= 0.25)

    def _together(self, taken: list[int]) -> bool:
        starts = sorted(self._atoms[i].start for i in taken if self._atoms[i].symptom is Symptom.SILENCE)
        return starts[len(starts) * 9 // 10] - starts[len(starts) // 10] <= _MASS_SECONDS * SECOND

    def _share(self, cause: str, units: set[str]) -> float:
        below = self._graph.reach_counts(cause)
        harmed = Counter(kind_of(unit) for unit in units)
        if harmed["node"]:
            return min(1.0, harmed["node"] / max(1, below["node"]))
        return max(min(1.0, count / max(1, below[kind])) if count > 1 else 0.0 for kind, count in harmed.items())

    def _run(self, indices: list[int], since: int | None, lasting: bool = False) -> list[int]:
        """Return the atoms that hang together in time; those that began well before ``since`` had another cause."""
        if len(indices) == 1:
            return indices
        ordered = sorted(indices, key=lambda index: self._atoms[index].start)
        if since is not None:
            ordered = [index for index in ordered if self._atoms[index].start >= since - self._quick]
            if lasting:
                end = since + _LASTING * self._slow
                return [index for index in ordered if self._atoms[index].start <= end]
        runs: list[list[int]] = []
        for index in ordered:
            atom = self._atoms[index]
            if runs:
                before = self._atoms[runs[-1][-1]]
                both_slow = atom.symptom in _SLOW and before.symptom in _SLOW
                if atom.start - before.start <= (self._slow if both_slow else self._quick):
                    runs[-1].append(index)
                    continue
            runs.append([index])
        return max(runs, key=lambda run: sum(self._atoms[index].weight for index in run))
