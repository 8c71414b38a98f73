"""The second stage of scoring, keyed by cohort: hears what the watches of all sources send, tick by tick."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.anomaly import Anomaly
from coldaisle.clock import HOUR, SECOND
from coldaisle.codec import decode_frame, encode_frame
from coldaisle.detector import Ids
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series
from coldaisle.state import Kept, State, Stateful
from coldaisle.topology import Topology, kind_of
from pipeline.columns import column, grown
from pipeline.court import Bar, bench_of
from pipeline.docket import COHORT, COHORT_SINCE, COHORT_TAUGHT
from pipeline.ingest import Ingest, Samples
from pipeline.peer_groups import shape_of
from pipeline.rounds import Rounds
from pipeline.series_table import LOAD, STEADY, Interner
from pipeline.watch import ground_of

_PLANS_KEPT = 4096
_NOT_ITS_OWN = frozenset({COHORT, COHORT_SINCE, COHORT_TAUGHT})
_IDLE = np.iinfo(np.int64).max


class _Plan(NamedTuple):
    """What a layout says beside its values."""

    ids: Ids  # good until a slot is freed
    groups: NDArray[np.int32]
    since: NDArray[np.uint32]  # s
    taught: NDArray[np.uint32]  # s


class CourtRoom:
    """
    Judges the ticks of some cohorts once every watch has sent what it has of them.

    ``origins`` is how many partitions of ``frames`` there are: each tells until when it has sent everything,
    and a tick is heard when all have. So the verdict depends on what was sent, never on who sent it first or how
    many processes took part. ``share`` is the share of the alert budget that this court may spend.
    """

    def __init__(self, bar: Bar, topology: Topology, origins: int, share: float) -> None:
        self._settings = bar.settings
        self._stats = bar.stats
        self._topology = topology
        ground = ground_of(topology, bar.settings)
        self._table, self._evidence, self._findings = ground
        self._ingest = Ingest(self._table, bar.stats)
        self._rounds = Rounds(self._table, self._ingest, counters=False)
        self.bench = bench_of(bar, *ground)
        self._share = share
        self._origins = origins
        self._until: dict[int, int] = {}  # origin -> Unix ns
        self._waiting: dict[int, list[Frame]] = {}  # end of tick -> what came of it
        self._plans: dict[str, _Plan] = {}
        self._groups = Interner()
        self._since = column(0, np.uint32)  # s
        self._taught = column(0, np.uint32)  # s
        self._done = 0  # end of the last tick heard
        self._swept = 0
        bar.stats.describe(
            "cohort_frames_dropped_total", "counter", "Frames on cohorts that were not heard, by reason."
        )

    @property
    def open_findings(self) -> int:
        """How many findings have not ended."""
        return len(self._findings)

    @property
    def series(self) -> int:
        """How many series are judged here."""
        return len(self._table)

    def parts(self) -> dict[str, Stateful]:
        """Return what a snapshot keeps of this stage, in the order in which it must be restored."""
        return {
            "topology": self._topology,
            "table": self._table,
            "evidence": self._evidence,
            "findings": self._findings,
            "rounds": self._rounds,
            **self.bench.parts(),
            "court": self,
        }

    def state(self) -> State:
        """Return what this object itself keeps, beside its parts: how far it is, and what waits to be heard."""
        waiting = [(end, encode_frame(frame)) for end in sorted(self._waiting) for frame in self._waiting[end]]
        return {
            "until": sorted(self._until.items()),
            "done": self._done,
            "swept": self._swept,
            "groups": [
                [m, kind, [list(pair) for pair in shape], cohort] for m, kind, shape, cohort in self._groups.values
            ],
            "since": self._since[: self._table.size].copy(),
            "taught": self._taught[: self._table.size].copy(),
            "ends": np.array([end for end, _ in waiting], np.int64),
            "lengths": np.array([len(data) for _, data in waiting], np.int64),
            "frames": np.frombuffer(b"".join(data for _, data in waiting), np.uint8),
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned, after the parts. Raises Permanent that names the key."""
        kept = Kept(state)
        self._until = dict(kept.rows("until", int, int))
        self._done, self._swept = kept.integer("done"), kept.integer("swept")
        self._groups = Interner()
        for metric, kind, shape, cohort in kept.rows("groups", str, str, list, str):
            self._groups.number((metric, kind, tuple((name, value) for name, value in shape), cohort))
        self._since = kept.array("since", np.uint32, self._table.size)
        self._taught = kept.array("taught", np.uint32, self._table.size)
        lengths = kept.array("lengths", np.int64, None)
        data = kept.array("frames", np.uint8, int(lengths.sum())).tobytes()
        stops = np.cumsum(lengths)
        self._waiting = {}
        for end, length, stop in zip(kept.array("ends", np.int64, len(lengths)), lengths, stops, strict=True):
            self._waiting.setdefault(int(end), []).append(decode_frame(data[stop - length : stop]))

    def take(self, frame: Frame, end: int) -> None:
        """Take a part of the tick that ended at ``end``; one that has been heard is a repetition."""
        if end <= self._done:
            self._stats.add("cohort_frames_dropped_total", reason="heard")
            return
        self._waiting.setdefault(end, []).append(frame)

    def reach(self, origin: int, until: int | None) -> None:
        """Take note that ``origin`` has sent everything until then; None = it is idle and nobody waits for it."""
        known = self._until.get(origin, 0)
        self._until[origin] = _IDLE if until is None else max(until, 0 if known == _IDLE else known)

    def move(self) -> list[Anomaly]:
        """Hear the ticks that are complete; return what they show."""
        if len(self._until) < self._origins:
            return []
        until = min(self._until.values())
        found: list[Anomaly] = []
        for end in sorted(each for each in self._waiting if each <= until):
            found += self._hear(end, self._waiting.pop(end))
        return found + self._sweep(self._done)

    def _hear(self, end: int, frames: list[Frame]) -> list[Anomaly]:
        self._done = end
        plans = [self._plan(frame.layout) for frame in frames]
        parts = [plan.ids for plan in plans]
        self._admit()
        self._regroup(parts, plans, end)
        ids = np.concatenate(parts)
        values = np.concatenate([frame.values for frame in frames])
        times = np.concatenate([frame.timestamps for frame in frames])
        told = ~np.isnan(values)
        found: list[Anomaly] = []
        for samples in self._rounds.of(Samples(ids[told], times[told], values[told])):
            if len(samples.ids):
                self._evidence.note(end, samples.ids, samples.values)
                found += self.bench.hear(end, samples)
        self._ingest.take_suspects()  # who lies is the watch's business: here the same tick may come twice
        return found

    def _admit(self) -> None:
        fresh = self._table.take_fresh()
        if not len(fresh):
            return
        for part in (self._rounds, self._evidence, self.bench):
            part.reset(fresh)
        self._since = grown(self._since, self._table.size, 0)
        self._taught = grown(self._taught, self._table.size, 0)
        self._since[fresh] = self._taught[fresh] = 0
        self.bench.admit(fresh)
        gpus = len(self._topology.of_kind("gpu"))
        # Each court spends its share of the budget on what comes before it (Bonferroni over the courts).
        self.bench.set_budget(gpus, round(len(self._table) / self._share))

    def _regroup(self, parts: list[Ids], plans: list[_Plan], at: int) -> None:
        """Let each series be compared with those that its watch says."""
        changed: list[Ids] = []
        moved: list[Ids] = []
        for ids, plan in zip(parts, plans, strict=True):
            before = self._table.group[ids]
            different = before != plan.groups
            if different.any():
                changed.append(ids[different])
                moved.append(ids[different & (before >= 0)])
                self._table.group[ids] = plan.groups
        if changed:
            self.bench.admit(np.unique(np.concatenate(changed)))
            self.bench.withhold(np.unique(np.concatenate(moved)), at)
        for ids, plan in zip(parts, plans, strict=True):
            taught = plan.taught > self._taught[ids]
            if taught.any():
                self._taught[ids] = np.maximum(self._taught[ids], plan.taught)
                self.bench.accept(ids[taught], at)
            newer = self._since[ids] != plan.since
            if newer.any():
                self._since[ids] = plan.since
                for since in np.unique(plan.since[newer]).tolist():
                    if since:
                        self.bench.withhold(ids[newer & (plan.since == since)], since * SECOND)

    def _plan(self, layout: Layout) -> _Plan:
        known = self._plans.get(layout.digest)
        if known is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            known = self._plans[layout.digest] = self._read(layout)
        return known

    def _read(self, layout: Layout) -> _Plan:
        series: list[Series] = []
        cohorts: list[str] = []
        since: list[int] = []
        taught: list[int] = []
        for metric, labels in layout.series:
            named = dict(labels)
            cohorts.append(named.get(COHORT, ""))
            since.append(int(named.get(COHORT_SINCE, "0")))
            taught.append(int(named.get(COHORT_TAUGHT, "0")))
            own = tuple(pair for pair in labels if pair[0] not in _NOT_ITS_OWN)
            series.append(Series(metric, own))
        table = self._table
        ids = table.ids_of(series)
        groups = np.full(len(series), -1, np.int32)
        for i, number in enumerate(ids.tolist()):
            drive = int(table.drive[number])
            if drive in (LOAD, STEADY):
                kind = kind_of(table.entity_name(number))
                key = (series[i].metric, kind, shape_of(series[i].labels), cohorts[i])
                groups[i] = self._groups.number(key)
        return _Plan(ids, groups, np.array(since, np.uint32), np.array(taught, np.uint32))

    def _sweep(self, now: int) -> list[Anomaly]:
        """Give back the slots of series that stayed away; look once an hour of event time."""
        if now - self._swept < HOUR:
            return []
        self._swept = now
        size = self._table.size
        seen = self._rounds.last_seen[:size]
        away = self._table.used[:size] & (seen > 0) & (now - seen > self._settings.forget_seconds * SECOND)
        ids = np.flatnonzero(away)
        if not len(ids):
            return []
        found = self.bench.gone(ids, now)
        self._table.free(ids.tolist())
        self._plans.clear()
        return found
