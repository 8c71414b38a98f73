"""Takes telemetry that stops as evidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.anomaly import Anomaly
from coldaisle.clock import HOUR, SECOND
from coldaisle.detector import Ids
from coldaisle.frame import Times
from coldaisle.state import Kept, State, nested
from coldaisle.topology import kind_of
from pipeline.columns import column, grown
from pipeline.engine_settings import EngineSettings
from pipeline.findings import Findings, Measured, Subject
from pipeline.rulebook import RuleBook
from pipeline.series_table import SeriesTable
from pipeline.words import span

_KNOWN_GAPS = 3  # before these many gaps nobody knows what is normal
_LONGEST_HALF_LIFE = 6 * HOUR
_MANY = 0.05  # a return of more than this share at once is the end of an outage, not a habit
_MARGIN = 1.5  # over the longest normal gap
_SOON = 0.7  # of the threshold: what falls silent together with many others needs less proof
_SOON_MARGIN = 1.1
_KEPT = {
    "last_seen": np.int64, "_arrived": np.int64, "_next": np.int64, "silent": np.bool_,
    "interval": np.float64, "_longest": np.float64, "_heard": np.uint8,
}  # fmt: skip
"""The columns in a snapshot, and what they are of."""


class Gaps:
    """
    How often things (sources, or entities) are heard, in arrays by their number.

    A thing is overdue when it has been quiet for N of its usual intervals, and for half as long again as its
    longest normal gap: what reports now and then is not silent between. Where many are overdue at once,
    seven tenths of that are enough, since chance does not make many miss their time together.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._intervals = settings.silence_intervals
        self._least = round(settings.silence_least_seconds * SECOND)
        self.last_seen = column(0, np.int64)
        self._arrived = column(0, np.int64)  # newest sample that came, its tick perhaps still open
        self._next = column(0, np.int64)  # the first that came after ``last_seen``, where it is later
        self.silent = column(False, np.bool_)
        self.interval = column(0.0, np.float64)  # ns
        self._longest = column(0.0, np.float64)  # ns, fades
        self._heard = column(0, np.uint8)
        self._look_at = 0  # before this nothing can be overdue: never later than that, so no part of a snapshot

    def resize(self, size: int) -> None:
        """Make room for ``size`` things."""
        self.last_seen, self.silent = grown(self.last_seen, size, 0), grown(self.silent, size, False)
        self._arrived, self._next = grown(self._arrived, size, 0), grown(self._next, size, 0)
        self.interval, self._longest = grown(self.interval, size, 0.0), grown(self._longest, size, 0.0)
        self._heard = grown(self._heard, size, 0)

    def state(self, size: int) -> State:
        """Return what a snapshot keeps of ``size`` things."""
        return {name.removeprefix("_"): getattr(self, name)[:size].copy() for name in _KEPT}

    def restore(self, kept: Kept, size: int) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        for name, dtype in _KEPT.items():
            setattr(self, name, kept.array(name.removeprefix("_"), dtype, size))

    def arrive(self, things: NDArray[np.int32], timestamps: Times) -> None:
        """Take note of samples as they come, before their tick closes."""
        waits = self._next[things] > self.last_seen[things]
        self._next[things] = np.where(waits, np.minimum(self._next[things], timestamps), timestamps)
        self._arrived[things] = np.maximum(self._arrived[things], timestamps)

    def newest(self, thing: int) -> int:
        """Return the time of the newest sample that came, ns."""
        return max(int(self.last_seen[thing]), int(self._arrived[thing]))

    def excuse(self, pause_ns: int) -> None:
        """Take no account of a span in which nobody listened."""
        heard = (self.last_seen > 0) & ~self.silent
        self.last_seen[heard] += pause_ns

    def hear(self, things: NDArray[np.int32], timestamps: Times, size: int) -> NDArray[np.int64]:
        """Take note of samples; return the things that were silent and have come back."""
        newest = np.zeros(size, np.int64)
        # Many samples of one thing lie within one tick; whichever is kept is exact enough for gaps.
        newest[things] = timestamps
        if len(timestamps):
            self._look_at = min(self._look_at, int(timestamps.min()) + self._least)
        heard = np.flatnonzero(newest > self.last_seen[:size])
        before = self.last_seen[heard]
        self.last_seen[heard] = newest[heard]
        again = heard[before > 0]
        gap = (self.last_seen[again] - before[before > 0]).astype(np.float64)
        returned = again[self.silent[again]]
        self.silent[returned] = False
        outage = len(returned) > max(3.0, _MANY * size)
        count = self._heard[again]
        interval = self.interval[again]
        learnt = np.where(count == 0, gap, interval + 0.1 * (np.minimum(gap, 3 * interval) - interval))
        self.interval[again] = np.where(count < _KNOWN_GAPS, np.minimum(learnt, gap), learnt)
        faded = self._longest[again] * np.exp2(-gap / _LONGEST_HALF_LIFE)
        habit = np.where(gap > self.threshold(again), 0.0 if outage else gap, gap)
        # An hour without a word is no habit.
        self._longest[again] = np.maximum(faded, np.where(habit > HOUR, 0.0, habit))
        self._heard[again] = np.minimum(count, 250) + 1
        return np.asarray(returned, np.int64)

    def threshold(self, things: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how long (ns) things may be quiet."""
        return self._threshold(things, 1.0, _MARGIN)

    def _threshold(self, things: NDArray[np.int64], share: float, margin: float) -> NDArray[np.float64]:
        usual = np.maximum(share * self._intervals * self.interval[things], self._least)
        return np.asarray(np.maximum(usual, margin * self._longest[things]))

    def fall_silent(self, now: int, size: int) -> NDArray[np.int64]:
        """Mark and return the things that are overdue at ``now``."""
        if now < self._look_at:
            return np.zeros(0, np.int64)
        things = np.flatnonzero(~self.silent[:size] & (self._heard[:size] >= _KNOWN_GAPS))
        soon = self._threshold(things, _SOON, _SOON_MARGIN)
        fallen = self._overdue(things, now, soon)
        self._look_at = now + self._least
        if len(things):
            self._look_at = min(self._look_at, int((self.last_seen[things] + soon).min()))
        if len(fallen) < max(5.0, _MANY * size):
            fallen = self._overdue(things, now, self.threshold(things))
        self.silent[fallen] = True
        return fallen

    def _overdue(self, things: NDArray[np.int64], now: int, threshold: NDArray[np.float64]) -> NDArray[np.int64]:
        last = self.last_seen[things]
        came = np.where(self._next[things] > last, self._next[things], self._arrived[things]) - last
        # One that has spoken within its time is not silent, although what it said waits for its tick.
        waiting = (came > 0) & (came <= threshold)
        return np.asarray(things[(now - last > threshold) & ~waiting], np.int64)


class Silences:
    """
    Findings on sources that fell silent, on entities whose series stopped while their node still reports.

    Each silent source is one finding with its entities as members, however many fall silent at once: what
    is common to them is the correlation's business.
    """

    def __init__(self, table: SeriesTable, findings: Findings, rules: RuleBook, settings: EngineSettings) -> None:
        self._table = table
        self._findings = findings
        self._rules = rules
        self.sources = Gaps(settings)
        self._entities = Gaps(settings)
        self._source_of = column(-1, np.int32)  # of each entity
        self._part_members: dict[int, set[int]] = {}  # source -> entities that stopped together

    def admit(self, ids: Ids) -> None:
        """Make room for new series' sources and entities."""
        table = self._table
        self.sources.resize(len(table.sources))
        self._entities.resize(len(table.entities))
        self._source_of = grown(self._source_of, len(table.entities), -1)
        self._source_of[table.entity[ids]] = table.source[ids]

    def arrive(self, ids: Ids, timestamps: Times) -> None:
        """Take note of samples as they come."""
        self.sources.arrive(self._table.source[ids], timestamps)
        self._entities.arrive(self._table.entity[ids], timestamps)

    def hear(self, ids: Ids, timestamps: Times, now: int) -> list[Anomaly]:
        """Take note of a tick's samples; close the findings of what has come back."""
        table = self._table
        back = self.sources.hear(table.source[ids], timestamps, len(table.sources))
        found = self._close([("silence", each) for each in back.tolist()], now)
        back = self._entities.hear(table.entity[ids], timestamps, len(table.entities))
        found += self._close([("vanished", each) for each in back.tolist()], now)
        for source in {int(self._source_of[each]) for each in back.tolist()} & self._part_members.keys():
            self._part_members[source] -= set(back.tolist())
            if not self._part_members[source]:
                del self._part_members[source]
                found += self._close([("part", source)], now)
        return found

    def excuse(self, pause_ns: int) -> None:
        """Take no account of a span in which nobody listened: this machine slept, not the fleet."""
        self.sources.excuse(pause_ns)
        self._entities.excuse(pause_ns)

    def check(self, now: int) -> list[Anomaly]:
        """Return findings on what is overdue at event time ``now``."""
        table = self._table
        fallen = self.sources.fall_silent(now, len(table.sources))
        found = self._silent_sources(fallen, now) if len(fallen) else []
        overdue = self._entities.fall_silent(now, len(table.entities))
        if len(overdue):
            found += self._vanished(overdue, now)
        return found

    def state(self) -> State:
        """Return what a snapshot keeps."""
        sources, entities = len(self._table.sources), len(self._table.entities)
        return {
            **nested("sources", self.sources.state(sources)),
            **nested("entities", self._entities.state(entities)),
            "source_of": self._source_of[:entities].copy(),
            "part_members": [[source, sorted(members)] for source, members in self._part_members.items()],
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept, entities = Kept(state), len(self._table.entities)
        self.sources.restore(kept.within("sources"), len(self._table.sources))
        self._entities.restore(kept.within("entities"), entities)
        self._source_of = kept.array("source_of", np.int32, entities)
        self._part_members = {source: set(members) for source, members in kept.rows("part_members", int, list)}

    def _silent_sources(self, fallen: NDArray[np.int64], now: int) -> list[Anomaly]:
        members = self._members(fallen)
        found: list[Anomaly] = []
        for source in fallen.tolist():
            name = str(self._table.sources.values[source])
            # What stopped in part before is now a part of the whole silence.
            if source in self._part_members:
                del self._part_members[source]
                found += self._close([("part", source)], now)
            found += self._open("node", ("silence", source), name, members.get(source, ()), self._last(source), now)
        return found

    def _vanished(self, overdue: NDArray[np.int64], now: int) -> list[Anomaly]:
        by_source: dict[int, list[int]] = {}
        for entity in overdue.tolist():
            by_source.setdefault(int(self._source_of[entity]), []).append(entity)
        found: list[Anomaly] = []
        for source, entities in by_source.items():
            age = now - self.sources.newest(source)
            alive = not self.sources.silent[source] and age <= self._grace(source)
            if not alive:
                # Perhaps the whole source is falling silent; ask again at the next tick.
                if not self.sources.silent[source]:
                    self._entities.silent[entities] = False
                continue
            name = str(self._table.sources.values[source])
            since = int(self._entities.last_seen[entities].min())
            if len(entities) > 1:
                key = ("part", source)
                self._part_members.setdefault(source, set()).update(entities)
                names = tuple(sorted(str(self._table.entities.values[each]) for each in entities))
                found += self._open("part", key, name, names, since, now)
                continue
            entity = str(self._table.entities.values[entities[0]])
            found += self._open("entity", ("vanished", entities[0]), entity, (), since, now)
        return found

    def _grace(self, source: int) -> float:
        return max(1.5 * float(self.sources.interval[source]), 1.5 * SECOND)

    def _last(self, source: int) -> int:
        return int(self.sources.last_seen[source])

    def _members(self, sources: NDArray[np.int64]) -> dict[int, tuple[str, ...]]:
        wanted = np.zeros(len(self._table.sources), np.bool_)
        wanted[sources] = True
        owner = self._source_of[: len(self._table.entities)]
        result: dict[int, list[str]] = {}
        for entity in np.flatnonzero((owner >= 0) & wanted[np.maximum(owner, 0)]).tolist():
            result.setdefault(int(owner[entity]), []).append(str(self._table.entities.values[entity]))
        return {source: tuple(names) for source, names in result.items()}

    def _open(
        self, of: str, key: tuple[str, int], entity: str, members: tuple[str, ...], since: int, now: int
    ) -> list[Anomaly]:
        rule = self._rules.silence_rule(of, kind_of(entity))
        if rule is None or key in self._findings:
            return []
        measured = Measured(detector="silence", members=members)
        words = {"silent": span((now - since) / SECOND)}
        return [self._findings.open(key, rule, Subject(entity), measured, since, now, words)]

    def _close(self, keys: list[tuple[str, int]], now: int) -> list[Anomaly]:
        return [self._findings.close(key, now) for key in keys if key in self._findings]
