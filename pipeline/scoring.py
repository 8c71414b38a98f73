"""The scoring engine: samples in, findings out."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coldaisle.anomaly import Anomaly
from coldaisle.clock import HOUR, SECOND
from coldaisle.detector import Calibrator, Detector, Ids
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.live import LiveView
from coldaisle.selfstats import SelfStats
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from pipeline.engine_settings import EngineSettings
from pipeline.evidence import Evidence
from pipeline.findings import Findings
from pipeline.ingest import Ingest, Samples
from pipeline.judge import Judge
from pipeline.limits import Limits
from pipeline.opinions import Opinions
from pipeline.peer_groups import PeerGroups
from pipeline.quality import Quality
from pipeline.rounds import Round, Rounds
from pipeline.rulebook import RuleBook
from pipeline.series_table import SeriesTable
from pipeline.silences import Silences
from pipeline.ticks import Tick, TickBuffer
from pipeline.watermark import Watermark

__all__ = ["Engine", "EngineSettings"]

_BAND_SPREADS = 3.0


class Engine:
    """
    Scores samples in event time and says what was found.

    The same samples give the same findings in whatever order and batches they arrive, as long as none is
    later than the allowed lateness. Safe to use from several threads.
    """

    def __init__(
        self, detectors: Sequence[Detector], calibrator: Calibrator, rules: RuleBook, topology: Topology,
        settings: EngineSettings, stats: SelfStats,
    ) -> None:  # fmt: skip
        self._lock = threading.RLock()
        self._settings = settings
        self._topology = topology
        self._stats = stats
        self._table = SeriesTable(topology)
        self._ingest = Ingest(self._table, stats)
        self._watermark = Watermark(round(settings.allowed_lateness_seconds * SECOND))
        fixed = None if settings.tick_seconds == "auto" else float(settings.tick_seconds)
        self._ticks = TickBuffer(self._table, fixed)
        self._rounds = Rounds(self._table, self._ingest)
        self._groups = PeerGroups(self._table, topology)
        self._evidence = Evidence(self._table, settings.evidence_seconds)
        self._findings = Findings()
        self._judge = Judge(self._table, detectors, calibrator, rules, settings, stats)
        self._opinions = Opinions(self._table, self._judge, self._evidence, self._findings)
        self._limits = Limits(self._table, self._rounds, self._evidence, self._findings, rules.metric_rules())
        self._quality = Quality(self._table, self._rounds, self._evidence, self._findings, rules.quality_rules())
        self._silences = Silences(self._table, self._findings, rules, settings)
        self._stale_sources: set[int] = set()
        self._regroup_all = False
        self._closed = 0  # event time up to which ticks have closed
        self._swept = 0
        self._last_view: LiveView | None = None
        stats.describe("samples_scored_total", "counter", "Samples that a detector scored.")
        stats.describe("late_samples_total", "counter", "Samples older than the watermark: stored, not scored.")
        stats.describe("findings_open", "gauge", "Findings that have not ended.")
        stats.describe("series", "gauge", "Series with a slot.")
        stats.describe("anomaly_threshold", "gauge", "Tail probability below which a sample may count as evidence.")

    def process(self, batch: Sequence[Frame | Block], now: int) -> list[Anomaly]:
        """Take samples that arrived at ``now`` (Unix ns); return what the ticks that closed show."""
        with self._lock:
            samples = self._columns(batch)
            self._admit()
            found: list[Anomaly] = []
            if len(samples.ids):
                arrived = self._ingest.accept(samples, now, self._closed or None)
                found += self._quality.complain(arrived.invalid, arrived.skewed, now)
                if len(arrived.good.ids):
                    self._ticks.add(arrived.good)
                    ends = self._ends(arrived.good.ids)
                    self._silences.arrive(arrived.good.ids[ends], arrived.good.timestamps[ends])
                    self._watermark.observe(int(arrived.good.timestamps.max()), now)
            return found + self._move(now)

    def advance(self, now: int) -> list[Anomaly]:
        """Let time pass without data: ticks close, silences open."""
        with self._lock:
            self._watermark.advance(now)
            return self._move(now)

    def resume(self, now: int, pause_ns: int) -> None:
        """Say that this process did not run for ``pause_ns`` until ``now``; what was not heard then was not silent."""
        with self._lock:
            self._watermark.resume(now)
            self._silences.excuse(pause_ns)

    def observe(self, events: Sequence[Event]) -> None:
        """Take note of jobs that start and end: they decide who is whose peer."""
        with self._lock:
            for event in events:
                if event.kind == "job" and event.code in ("start", "end"):
                    self._job(event)

    def topology_changed(self) -> None:
        """Say that entities or relations changed; peers are grouped anew at the next tick."""
        with self._lock:
            self._regroup_all = True

    def view(self) -> LiveView:
        """Return a copy of the newest values and opinions."""
        with self._lock:
            return self._view()

    def open_findings(self) -> int:
        """Return how many findings have not ended."""
        return len(self._findings)

    def _columns(self, batch: Sequence[Frame | Block]) -> Samples:
        parts = [part for part in batch if len(part)]
        ids = [
            self._table.ids(part.layout)[part.index] if isinstance(part, Block) else self._table.ids(part.layout)
            for part in parts
        ]
        if not parts:
            nothing = np.zeros(0, np.int64)
            return Samples(nothing, nothing, np.zeros(0, np.float64))
        if len(parts) == 1:
            return Samples(ids[0], parts[0].timestamps, parts[0].values)
        return Samples(
            np.concatenate(ids),
            np.concatenate([part.timestamps for part in parts]),
            np.concatenate([part.values for part in parts]),
        )

    def _admit(self) -> None:
        fresh = self._table.take_fresh()
        if not len(fresh):
            return
        for part in (self._rounds, self._evidence, self._judge, self._limits, self._quality):
            part.reset(fresh)
        self._silences.admit(fresh)
        self._stale_sources |= self._groups.add(fresh)
        self._judge.admit(fresh)

    def _move(self, now: int) -> list[Anomaly]:
        found: list[Anomaly] = []
        watermark, latest = self._watermark.value, self._watermark.latest
        if watermark is None or latest is None:
            return found
        for tick in self._ticks.close_until(watermark):
            # What is silent is seen before what came back is: an outage does not vanish with its end.
            found += self._quiet(tick.end)
            found += self._tick(tick)
        found += self._quiet(watermark)
        found += self._sweep(watermark)
        self._stats.set("findings_open", float(len(self._findings)))
        self._stats.set("series", float(len(self._table)))
        self._stats.set("anomaly_threshold", self._judge.threshold)
        self._stats.set("watermark_seconds", watermark / SECOND)
        self._stats.set("watermark_lag_seconds", max(0.0, (now - latest) / SECOND))
        return found

    def _quiet(self, until: int) -> list[Anomaly]:
        if until <= self._closed:
            return []
        found = self._silences.check(until) if self._closed else []
        self._closed = until
        return found

    def _tick(self, tick: Tick) -> list[Anomaly]:
        self._regroup(tick.end)
        found: list[Anomaly] = []
        for samples in self._rounds.of(tick.samples):
            if not len(samples.ids):
                continue
            self._learn_gaps(samples)
            ends = self._ends(samples.ids)
            found += self._silences.hear(samples.ids[ends], samples.timestamps[ends], tick.end)
            self._evidence.note(tick.end, samples.ids, samples.values)
            found += self._limits.check(samples)
            found += self._quality.note(samples)
            verdict = self._judge.judge(samples)
            if verdict is not None:
                found += self._opinions.decide(verdict)
        return found + self._quality.check(tick.end)

    def _ends(self, ids: Ids) -> NDArray[np.int64]:
        """Return where each run of samples of one entity ends: enough to know who was heard, and when."""
        entity = self._table.entity[ids]
        return np.append(np.flatnonzero(entity[1:] != entity[:-1]), len(ids) - 1)

    def _learn_gaps(self, samples: Round) -> None:
        told = samples.gaps > 0
        if told.any():
            step = max(1, len(told) // 4096)
            some = np.flatnonzero(told)[::step]
            self._ticks.learn_gaps(self._table.metric[samples.ids[some]], samples.gaps[some])

    def _regroup(self, at: int) -> None:
        if self._regroup_all:
            changed, moved = self._groups.regroup_all()
        elif self._stale_sources:
            changed, moved = self._groups.regroup(sorted(self._stale_sources))
        else:
            return
        self._regroup_all = False
        self._stale_sources = set()
        if len(changed):
            self._judge.admit(changed)
            self._judge.withhold(moved, at)
            self._table.version += 1
        gpus = len(self._topology.of_kind("gpu"))
        self._judge.set_budget(gpus, int((self._table.drive[: self._table.size] <= 1).sum()))

    def _job(self, event: Event) -> None:
        name = event.label("job") or event.attributes.get("job", "")
        if not name:
            self._stats.add("events_ignored_total", reason="job_without_name")
            return
        job = f"job/{name}"
        touched = self._topology.targets(job, RelationKind.RUNS)
        self._topology.unrelate(RelationKind.RUNS, job)
        if event.code == "start":
            names = event.attributes.get("nodes", "").replace(",", " ").split()
            nodes = [each if "/" in each else f"node/{each}" for each in names]
            if not nodes and event.label("node"):
                nodes = [f"node/{event.label('node')}"]
            if job not in self._topology:
                self._topology.add(Entity("job", name))
            for node in nodes:
                self._topology.relate(Relation(RelationKind.RUNS, job, node))
            touched = [*touched, *nodes]
        for node in touched:
            source = self._table.sources.find(node)
            if source >= 0:
                self._stale_sources.add(source)
                members = np.array(self._groups.members(source), np.int64)
                self._judge.withhold(members, event.timestamp)

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
        found = self._limits.gone(ids, now) + self._opinions.gone(ids, now) + self._quality.gone(ids, now)
        self._judge.forget(ids)
        self._groups.remove(ids.tolist())
        self._table.free(ids.tolist())
        self._stats.add("series_forgotten_total", float(len(ids)))
        return found

    def _view(self) -> LiveView:
        table = self._table
        used = np.flatnonzero(table.used[: table.size])
        known = self._last_view
        if known is not None and known.version == table.version:
            series, entities = known.series, known.entities
        else:
            series = tuple(table.series(number) for number in used.tolist())
            entities = tuple(table.entity_name(number) for number in used.tolist())
        expected = self._judge.expected[used]
        half = np.float32(_BAND_SPREADS) * self._judge.spread[used]
        seen = self._rounds.last_seen[used]
        view = LiveView(
            now=int(seen.max()) if len(seen) else 0,
            version=table.version,
            series=series,
            entities=entities,
            timestamps=seen,
            values=self._rounds.values()[used],
            scores=self._judge.scores()[used],
            expected=expected,
            low=np.asarray(expected - half, np.float32),
            high=np.asarray(expected + half, np.float32),
            groups=table.group[used],
        )
        self._last_view = view
        return view
