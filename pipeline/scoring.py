"""The scoring engine of one process: samples in, findings out."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from coldaisle.anomaly import Anomaly
from coldaisle.detector import Calibrator, Detector
from coldaisle.entity_detector import EntityDetector
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.live import LiveView
from coldaisle.selfstats import SelfStats
from coldaisle.topology import Topology
from pipeline.court import Bar, bench_of
from pipeline.engine_settings import EngineSettings
from pipeline.predictions import Foresight
from pipeline.rulebook import RuleBook
from pipeline.watch import Watch, ground_of

__all__ = ["Engine", "EngineSettings"]

_BAND_SPREADS = 3.0


class Engine:
    """
    Both stages of scoring on one table: the watch of sources, and the bench that judges them and their peers.

    Safe to use from several threads. What :class:`Watch` says of order and time holds here.
    """

    def __init__(
        self, detectors: Sequence[Detector], calibrator: Calibrator, rules: RuleBook, topology: Topology,
        settings: EngineSettings, stats: SelfStats, foresight: Foresight | None = None,
        entities: tuple[EntityDetector, Calibrator] | None = None,
    ) -> None:  # fmt: skip
        self._lock = threading.RLock()
        self._stats = stats
        ground = ground_of(topology, settings)
        bar = Bar(tuple(detectors), calibrator, rules, settings, stats, entities)
        self._table, self._findings = ground.table, ground.findings
        self._bench = bench_of(bar, *ground)
        self._watch = Watch(ground, topology, rules, settings, stats, lambda _groups: self._bench, foresight)
        self._last_view: LiveView | None = None
        stats.describe("samples_scored_total", "counter", "Samples that a detector scored.")
        stats.describe("readings_past_threshold_total", "counter", "Samples whose score was past the threshold.")
        stats.describe("score_crossings_total", "counter", "How often a series' score went past its threshold.")
        stats.describe("late_samples_total", "counter", "Samples older than the watermark: stored, not scored.")
        stats.describe("findings_open", "gauge", "Findings that have not ended.")
        stats.describe("series", "gauge", "Series with a slot.")
        stats.describe("anomaly_threshold", "gauge", "Tail probability below which a sample may count as evidence.")

    def process(self, batch: Sequence[Frame | Block], now: int) -> list[Anomaly]:
        """Take samples that arrived at ``now`` (Unix ns); return what the ticks that closed show."""
        with self._lock:
            return self._said(self._watch.process(batch, now))

    def advance(self, now: int) -> list[Anomaly]:
        """Let time pass without data: ticks close, silences open."""
        with self._lock:
            return self._said(self._watch.advance(now))

    def resume(self, now: int, pause_ns: int) -> None:
        """Say that this process did not run for ``pause_ns`` until ``now``; what was not heard then was not silent."""
        with self._lock:
            self._watch.resume(now, pause_ns)

    def observe(self, events: Sequence[Event]) -> None:
        """Take note of jobs that start and end: they decide who is whose peer."""
        with self._lock:
            self._watch.observe(events)

    def topology_changed(self) -> None:
        """Say that entities or relations changed; peers are grouped anew at the next tick."""
        with self._lock:
            self._watch.topology_changed()

    def view(self) -> LiveView:
        """Return a copy of the newest values and opinions."""
        with self._lock:
            return self._view()

    def open_findings(self) -> int:
        """Return how many findings have not ended."""
        return len(self._findings)

    def _said(self, found: list[Anomaly]) -> list[Anomaly]:
        self._stats.set("findings_open", float(len(self._findings)))
        self._stats.set("series", float(len(self._table)))
        self._stats.set("anomaly_threshold", self._bench.judge.threshold)
        return found

    def _view(self) -> LiveView:
        table, judge, rounds = self._table, self._bench.judge, self._watch.rounds
        used = np.flatnonzero(table.used[: table.size])
        known = self._last_view
        if known is not None and known.version == table.version:
            series, entities = known.series, known.entities
        else:
            series = tuple(table.series(number) for number in used.tolist())
            entities = tuple(table.entity_name(number) for number in used.tolist())
        expected = judge.expected[used]
        half = np.float32(_BAND_SPREADS) * judge.spread[used]
        seen = rounds.last_seen[used]
        view = LiveView(
            now=int(seen.max()) if len(seen) else 0,
            version=table.version,
            series=series,
            entities=entities,
            timestamps=seen,
            values=rounds.values()[used],
            scores=judge.scores()[used],
            expected=expected,
            low=np.asarray(expected - half, np.float32),
            high=np.asarray(expected + half, np.float32),
            groups=table.group[used],
        )
        self._last_view = view
        return view
