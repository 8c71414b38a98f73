"""Watches sources: samples in, findings on limits, quality and silence out, and rounds for the court."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.anomaly import Anomaly
from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.detector import Ids
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.selfstats import SelfStats
from coldaisle.state import Kept, State, Stateful
from coldaisle.teaching import KIND as TEACHING
from coldaisle.teaching import series_of
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from coldaisle.words_json import event_from_json, event_to_json
from pipeline.court import Court
from pipeline.doubles import Doubles
from pipeline.engine_settings import EngineSettings
from pipeline.evidence import Evidence
from pipeline.findings import Findings
from pipeline.ingest import Ingest, Samples
from pipeline.limits import Limits
from pipeline.peer_groups import PeerGroups
from pipeline.predictions import Foresight, Predictions, watched_series_for
from pipeline.quality import Quality
from pipeline.rounds import Round, Rounds
from pipeline.rulebook import RuleBook
from pipeline.series_table import SeriesTable
from pipeline.silences import Silences
from pipeline.ticks import Tick, TickBuffer
from pipeline.watermark import Watermark

_LONG_QUIET_NS = 10 * MINUTE


class Ground(NamedTuple):
    """What the watch and the court of one process share: the series, what is open on them, their last points."""

    table: SeriesTable
    evidence: Evidence
    findings: Findings


def ground_of(topology: Topology, settings: EngineSettings) -> Ground:
    """Return a ground on which nothing stands yet."""
    table = SeriesTable(topology)
    return Ground(table, Evidence(table, settings.evidence_seconds), Findings())


class Watch:
    """
    The first stage of scoring, keyed by source.

    It sorts samples into ticks of event time, finds what limits, quality and silence tell of each source
    alone, says who is whose peer, and hands the rounds to a :class:`Court`. The same samples give the same
    findings in whatever order and batches they arrive, as long as none is later than the allowed lateness.
    """

    def __init__(
        self,
        ground: Ground,
        topology: Topology,
        rules: RuleBook,
        settings: EngineSettings,
        stats: SelfStats,
        court: Callable[[PeerGroups], Court],
        foresight: Foresight | None = None,
    ) -> None:
        self._settings = settings
        self._topology = topology
        self._stats = stats
        self.ground = ground
        self._table = table = ground.table
        self._evidence = evidence = ground.evidence
        self._findings = findings = ground.findings
        self._ingest = Ingest(table, stats)
        self._watermark = Watermark(round(settings.allowed_lateness_seconds * SECOND))
        fixed = None if settings.tick_seconds == "auto" else float(settings.tick_seconds)
        self._ticks = TickBuffer(table, fixed)
        self.rounds = Rounds(table, self._ingest)
        self._groups = PeerGroups(table, topology)
        self._limits = Limits(table, self.rounds, evidence, findings, rules.metric_rules())
        self._quality = Quality(table, self.rounds, evidence, findings, rules.quality_rules())
        self._doubles = Doubles(table, self._ingest, findings, rules.quality_rules())
        self._silences = Silences(table, findings, rules, settings)
        self._court = court(self._groups)
        ahead = foresight or Foresight(())
        watched = watched_series_for(table, self.rounds, findings, rules.metric_rules(), ahead)
        self._predictions = Predictions(table, evidence, watched, topology, ahead, stats)
        self._stale_sources: set[int] = set()
        self._regroup_all = False
        self._jobs: list[tuple[int, int, Event]] = []  # that start and end, and lessons, waiting for their time
        self._job_number = 0
        self._closed = 0  # event time up to which ticks have closed
        self._swept = 0

    @property
    def closed(self) -> int:
        """The event time up to which everything has been handed on, Unix ns; 0 = nothing yet."""
        return self._closed

    @property
    def latest(self) -> int | None:
        """The event time reached; None before the first sample."""
        return self._watermark.latest

    def process(self, batch: Sequence[Frame | Block], now: int) -> list[Anomaly]:
        """Take samples that arrived at ``now`` (Unix ns); return what the ticks that closed show."""
        samples = self._columns(batch)
        self._admit()
        found = self._doubles.hear(batch)
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
        self._watermark.advance(now)
        return self._move(now)

    def resume(self, now: int, pause_ns: int) -> None:
        """Say that this process did not run for ``pause_ns`` until ``now``; what was not heard then was not silent."""
        self._watermark.resume(now)
        self._silences.excuse(pause_ns)

    def observe(self, events: Sequence[Event]) -> None:
        """
        Take note of jobs that start and end: from the events' own time they decide who is whose peer.

        Errors that drivers and links report settle predictions. What a person has called normal is taught.
        """
        self._predictions.hear(events)
        for event in events:
            if (event.kind == "job" and event.code in ("start", "end")) or event.kind == TEACHING:
                self._job_number += 1
                heappush(self._jobs, (event.timestamp, self._job_number, event))

    def parts(self) -> dict[str, Stateful]:
        """Return what a snapshot keeps of this stage, in the order in which it must be restored."""
        ahead = {"predictions": self._predictions} if self._predictions.warners else {}
        return {
            "topology": self._topology,
            "table": self._table,
            "groups": self._groups,
            "evidence": self._evidence,
            "findings": self._findings,
            "watermark": self._watermark,
            "ticks": self._ticks,
            "rounds": self.rounds,
            "limits": self._limits,
            "quality": self._quality,
            "doubles": self._doubles,
            "silences": self._silences,
            **ahead,
            "watch": self,
        }

    def state(self) -> State:
        """Return what this object itself keeps, beside its parts."""
        return {
            "closed": self._closed,
            "swept": self._swept,
            "stale_sources": sorted(self._stale_sources),
            "regroup_all": self._regroup_all,
            "jobs": [[number, event_to_json(event)] for _, number, event in sorted(self._jobs)],
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned, after the parts. Raises Permanent that names the key."""
        kept = Kept(state)
        self._closed, self._swept = kept.integer("closed"), kept.integer("swept")
        self._stale_sources = {int(each) for each in kept.items("stale_sources")}
        self._regroup_all = bool(state.get("regroup_all")) or self._topology.moved
        self._jobs = []
        for number, told in kept.rows("jobs", int, dict):
            event = event_from_json(told)
            heappush(self._jobs, (event.timestamp, number, event))
            self._job_number = max(self._job_number, number)

    def topology_changed(self) -> None:
        """Say that entities or relations changed; peers are grouped anew at the next tick."""
        self._regroup_all = True

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
        for part in (self.rounds, self._evidence, self._court, self._limits, self._quality, self._predictions):
            part.reset(fresh)
        self._silences.admit(fresh)
        self._stale_sources |= self._groups.add(fresh)
        self._court.admit(fresh)

    def _move(self, now: int) -> list[Anomaly]:
        found: list[Anomaly] = []
        watermark, latest = self._watermark.value, self._watermark.latest
        if watermark is None or latest is None:
            return found
        for tick in self._ticks.close_until(watermark):
            found += self._predictions.advance(tick.end - 1)
            # What is silent is seen before what came back is: an outage does not vanish with its end.
            found += self._quiet(tick.end)
            found += self._tick(tick)
        found += self._predictions.advance(watermark)
        found += self._quiet(watermark)
        found += self._sweep(watermark)
        self._stats.set("watermark_seconds", watermark / SECOND)
        self._stats.set("watermark_lag_seconds", max(0.0, (now - latest) / SECOND))
        return found

    def _quiet(self, until: int) -> list[Anomaly]:
        """
        Look for silence up to ``until``.

        Only at whole seconds of event time, so that it does not matter in how many steps time went on.
        """
        if until <= self._closed:
            return []
        step = SECOND if until - self._closed <= _LONG_QUIET_NS else MINUTE
        start = (self._closed // step + 1) * step if self._closed else until + 1
        found: list[Anomaly] = []
        for at in range(start, until + 1, step):
            found += self._silences.check(at)
        self._closed = until
        return found

    def _tick(self, tick: Tick) -> list[Anomaly]:
        while self._jobs and self._jobs[0][0] <= tick.end:
            event = heappop(self._jobs)[2]
            if event.kind == TEACHING:
                self._teach(event)
            else:
                self._job(event)
        self._regroup(tick.end)
        found: list[Anomaly] = []
        for samples in self.rounds.of(tick.samples):
            if not len(samples.ids):
                continue
            self._learn_gaps(samples)
            ends = self._ends(samples.ids)
            found += self._silences.hear(samples.ids[ends], samples.timestamps[ends], tick.end)
            self._evidence.note(tick.end, samples.ids, samples.values)
            found += self._limits.check(samples)
            found += self._quality.note(samples)
            found += self._court.hear(tick.end, samples)
        return found + self._quality.check(tick.end) + self._doubles.check(tick.end)

    def _ends(self, ids: Ids) -> NDArray[np.int64]:
        """Return where each run of samples of one entity ends: enough to know who was heard, and when."""
        entity = self._table.entity[ids]
        return np.append(np.flatnonzero(entity[1:] != entity[:-1]), len(ids) - 1)

    def _learn_gaps(self, samples: Round) -> None:
        told = samples.gaps > 0
        if told.any():
            self._ticks.learn_gaps(self._table.metric[samples.ids[told]], samples.gaps[told])

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
            self._court.admit(changed)
            self._court.withhold(moved, at)
            self._table.version += 1
        gpus = len(self._topology.of_kind("gpu"))
        self._court.set_budget(gpus, int((self._table.drive[: self._table.size] <= 1).sum()))

    def _teach(self, event: Event) -> None:
        known = [number for series in series_of(event) if (number := self._table.find(series)) >= 0]
        self._court.accept(np.array(sorted(known), np.int64), event.timestamp)
        self._stats.add("lessons_total", float(len(known)))

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
        sources = {source for node in touched if (source := self._table.sources.find(node)) >= 0}
        self._stale_sources |= sources
        self._court.withhold(self._groups.members(sources), event.timestamp)

    def _sweep(self, now: int) -> list[Anomaly]:
        """Give back the slots of series that stayed away; look once an hour of event time."""
        if now - self._swept < HOUR:
            return []
        self._swept = now
        size = self._table.size
        seen = self.rounds.last_seen[:size]
        away = self._table.used[:size] & (seen > 0) & (now - seen > self._settings.forget_seconds * SECOND)
        ids = np.flatnonzero(away)
        if not len(ids):
            return []
        found = self._limits.gone(ids, now) + self._court.gone(ids, now) + self._quality.gone(ids, now)
        found += self._predictions.gone(ids, now)
        self._table.free(ids.tolist())
        self._stats.add("series_forgotten_total", float(len(ids)))
        return found
