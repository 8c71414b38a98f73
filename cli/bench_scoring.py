"""Measures what scoring costs one process, from the bytes of a message to the verdicts."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

from cli.bench_fleet import START, Fleet
from cli.rules_folder import rules_folder
from coldaisle.bus import FRAMES
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, ManualClock
from coldaisle.codec import LayoutCache, decode_frame
from coldaisle.detector import Detector
from coldaisle.selfstats import SelfStats
from coldaisle.topology import Topology
from models.calibrate import TailCalibrator
from models.level import Level
from models.peers import Peers
from pipeline.deadletter import DeadLetters
from pipeline.roles import Reader, Scorer
from pipeline.rules import load
from pipeline.scoring import Engine, EngineSettings

WARM_UP_SCRAPES = 36
"""Detectors say nothing before 32 samples."""


class Rate(NamedTuple):
    """Samples, and the seconds that they took: of the processor, and on the wall."""

    samples: int
    processor_seconds: float
    wall_seconds: float

    @property
    def per_second(self) -> float:
        """Samples a second of this process's time on one processor; what others do here does not count."""
        return self.samples / self.processor_seconds


class Meter:
    """Adds up the time of what runs inside ``with``."""

    def __init__(self) -> None:
        self.samples = 0
        self._processor = self._wall = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time(), time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._processor += time.process_time() - self._began[0]
        self._wall += time.perf_counter() - self._began[1]

    def rate(self) -> Rate:
        """Return what was measured."""
        return Rate(self.samples, self._processor, self._wall)


def engine(both_everywhere: bool = True, stats: SelfStats | None = None) -> Engine:
    """Return an engine with the shipped rules; by default both detectors look at every metric, the most work."""
    both = ("level", "peers")
    settings = EngineSettings(load_detectors=both, steady_detectors=both) if both_everywhere else EngineSettings()
    detectors: list[Detector] = [Level(), Peers()]
    calibrator = TailCalibrator(len(detectors), 64)
    return Engine(detectors, calibrator, load(rules_folder(None)), Topology(), settings, stats or SelfStats())


def scoring(nodes: int, scrapes: int, both_everywhere: bool = True, scorer: Engine | None = None) -> Rate:
    """Measure decode, ingest, ticks, detectors, calibration, limits and silences on a fleet after its warm-up."""
    fleet, layouts = Fleet(nodes), LayoutCache()
    scorer = scorer or engine(both_everywhere)
    meter = Meter()
    warm = WARM_UP_SCRAPES * fleet.interval_seconds
    for second in range(warm + scrapes * fleet.interval_seconds):
        messages = fleet.messages(second)
        now = START + (second + 1) * SECOND
        if second < warm:
            scorer.process([decode_frame(message, layouts) for message in messages], now)
            continue
        with meter:
            frames = [decode_frame(message, layouts) for message in messages]
            scorer.process(frames, now)
        meter.samples += sum(map(len, frames))
    return meter.rate()


def bus_to_findings(nodes: int, scrapes: int) -> Rate:
    """Measure the role ``score`` itself on the bus in memory: poll, decode, score, produce, commit."""
    fleet, stats, clock = Fleet(nodes), SelfStats(), ManualClock(START)
    bus = MemoryBus()
    producer = bus.producer()
    reader = Reader(DeadLetters(producer, stats), stats)
    scorer = Scorer(bus.consumer(Scorer.topics, Scorer.group), producer, engine(stats=stats), reader, clock, stats)
    meter = Meter()
    warm = WARM_UP_SCRAPES * fleet.interval_seconds
    for second in range(warm + scrapes * fleet.interval_seconds):
        frames = fleet.frames(second)
        for frame, message in zip(frames, fleet.encode(frames), strict=True):
            producer.produce(FRAMES, frame.node.encode(), message)
        clock.set(START + (second + 1) * SECOND)
        if second < warm:
            scorer.step(0.0)
            continue
        with meter:
            scorer.step(0.0)
        meter.samples += sum(map(len, frames))
    bus.close()
    return meter.rate()


def decoding(nodes: int, scrapes: int) -> Rate:
    """Measure decoding messages whose layouts are known, and nothing else: what any scorer pays first."""
    fleet, layouts = Fleet(nodes), LayoutCache()
    meter = Meter()
    for second in range((1 + scrapes) * fleet.interval_seconds):
        messages = fleet.messages(second)
        if second < fleet.interval_seconds:
            for message in messages:
                decode_frame(message, layouts)
            continue
        with meter:
            frames = [decode_frame(message, layouts) for message in messages]
        meter.samples += sum(map(len, frames))
    return meter.rate()


def encoding(nodes: int, scrapes: int) -> Rate:
    """Measure encoding frames whose layouts are known."""
    fleet = Fleet(nodes)
    meter = Meter()
    for second in range((1 + scrapes) * fleet.interval_seconds):
        frames = fleet.frames(second)
        if second < fleet.interval_seconds:
            fleet.encode(frames)
            continue
        with meter:
            fleet.encode(frames)
        meter.samples += sum(map(len, frames))
    return meter.rate()


def bytes_per_series(nodes: int, scorer_of: Callable[[], Engine] = engine) -> float:
    """Return what the role ``score`` holds for each series: words, table, detectors, evidence, known messages."""
    fleet = Fleet(nodes)
    seconds = [fleet.messages(second) for second in range(2 * fleet.interval_seconds)]
    gc.collect()
    tracemalloc.start(1)
    before = tracemalloc.get_traced_memory()[0]
    scorer, layouts = scorer_of(), LayoutCache()
    for second, messages in enumerate(seconds):
        frames = [decode_frame(message, layouts) for message in messages]
        scorer.process(frames, START + (second + 1) * SECOND)
    # What waits for its tick is let go; a finding or two that follow weigh nothing.
    scorer.advance(START + (len(seconds) + fleet.interval_seconds) * SECOND)
    del frames
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held / fleet.series
