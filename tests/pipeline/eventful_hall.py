"""A small hall in which nearly everything that the engine keeps in mind happens within two hours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coldaisle.anomaly import Anomaly
from coldaisle.bus import EVENTS, Partition
from coldaisle.clock import MINUTE, SECOND
from coldaisle.codec import HeadCache, LayoutCache, decode_frame, encode_frame
from coldaisle.detector import Detector
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.snapshot import Stateful
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from models.calibrate import TailCalibrator
from models.drift import Drift
from models.early_warning import EarlyWarning
from models.forest_nursery import Forests
from models.level import Level
from models.limit_warning import LimitWarning
from models.peers import Peers
from models.seasonal import Seasonal
from pipeline.court import Bar
from pipeline.predictions import Foresight
from pipeline.rules import load
from pipeline.scoring import Engine, EngineSettings
from pipeline.shards import CourtShard, WatchShard, Workshop

START = 1_800_000_000 * SECOND
STEP = 30
RULES = load(Path(__file__).resolve().parents[2] / "config" / "rules")
SETTINGS = EngineSettings(forget_seconds=1800, evidence_seconds=30)


class Moment(NamedTuple):
    """What comes at ``now``."""

    now: int
    frames: list[Frame]
    events: list[Event]


def topology() -> Topology:
    """Return what a file declares: some of the nodes, and what feeds them."""
    nodes = [Entity("node", f"n{i}", "rack/r0", {"sku": "hgx"}) for i in range(4)]
    feeds = [Relation(RelationKind.FEEDS, "pdu/p0", node.id) for node in nodes]
    return Topology([Entity("rack", "r0"), Entity("pdu", "p0"), *nodes], feeds)


def detectors() -> tuple[Detector, ...]:
    """Return detectors that have learnt nothing yet."""
    return Level(warm_up=20), Seasonal(), Peers(), Drift()


def foresight() -> Foresight:
    """Return warners that have seen nothing yet."""
    return Foresight((EarlyWarning(), LimitWarning()))


def engine(stats: SelfStats | None = None) -> Engine:
    """Return an engine that knows nothing yet."""
    counted = stats or SelfStats()
    mine = detectors(), TailCalibrator(4, 4)
    return Engine(*mine, RULES, topology(), SETTINGS, counted, foresight(), (Forests(), TailCalibrator(1, 4)))


def parts_of(scorer: Engine) -> dict[str, Stateful]:
    """Return everything of an engine that a snapshot keeps, in the order in which it must be restored."""
    return {**scorer._watch.parts(), **scorer._bench.parts()}


class Hall:
    """Eight nodes of three GPUs, and what befalls them; another seed is other noise and other victims."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes = [f"n{number}" for number in range(8)]
        self._own = {(node, gpu): self._random.normal(0, 2) for node in [*self._nodes, "new"] for gpu in range(3)}
        self._energy = dict.fromkeys(self._own, 1e6)
        self._ecc = dict.fromkeys(self._own, 0.0)
        # One that works in the job with others of its kind: only who has siblings that move can be stuck.
        self._stuck = f"n{self._random.integers(1, 4)}"
        victims = self._random.permutation([node for node in self._nodes if node != self._stuck]).tolist()
        self._hot, self._odd, self._ecc_storm, self._mute, self._partly, self._bad, self._gone = victims

    def moments(self, steps: int) -> Iterator[Moment]:
        """Yield the hall's life, ``STEP`` seconds at a time."""
        held: list[Frame] = []
        for step in range(steps):
            minute = step * STEP / 60
            frames = [frame for node in [*self._nodes, "new"] for frame in self._scrape(node, step, minute)]
            # Now and then the network holds some back; sometimes too long.
            late = [each for each in frames if self._random.random() < 0.01]
            now = START + step * STEP * SECOND + int(self._random.integers(0, SECOND))
            yield Moment(now, [*held, *(each for each in frames if each not in late)], self._events(step, now))
            held = late

    def _events(self, step: int, now: int) -> list[Event]:
        members = {"nodes": "n1 n2,n3 node/n4"}
        if step in (20, 150):
            return [Event("job", "start", now, labels(job="train"), "", members)]
        if step == 100:
            return [Event("job", "end", now - 5 * SECOND, labels(job="train"), "", members)]
        if step == 130:
            series = json.dumps([["gpu_temperature_celsius", {"gpu": f"GPU-{self._hot}-0", "node": self._hot}]])
            return [Event("teaching", "normal", now + 45 * SECOND, labels(node=self._hot), "", {"series": series})]
        if step == 60:
            return [Event("job", "start", now + 30 * SECOND, labels(job="serve", node="n6"), "")]
        return []

    def _scrape(self, node: str, step: int, minute: float) -> Iterator[Frame]:
        if node == self._mute and 30 <= minute < 45:
            return
        if (node == self._gone and minute >= 12) or (node == "new" and minute < 72):
            return
        at = START + step * STEP * SECOND + (10 * MINUTE if node == self._odd and 50 <= minute < 52 else 0)
        load = 1 + 0.3 * np.sin(minute / 4)
        samples: list[Sample] = []
        for gpu in range(3):
            if node == self._partly and ((gpu < 2 and 35 <= minute < 50) or (gpu == 2 and 60 <= minute < 65)):
                continue
            samples += self._gpu(node, gpu, minute, at, load)
        inlet = 24 + self._random.normal(0, 0.2) + (9 if node == self._bad and 55 <= minute < 60 else 0)
        psu = 0.0 if node == self._stuck and 70 <= minute < 75 else 1.0
        samples.append(Sample(Series("node_inlet_temperature_celsius", labels(node=node)), at, inlet))
        samples.append(Sample(Series("psu_up", labels(node=node, psu="psu0")), at, psu))
        yield Frame.of("test", node, samples)

    def _gpu(self, node: str, gpu: int, minute: float, at: int, load: float) -> list[Sample]:
        own, first = self._own[node, gpu], gpu == 0
        noise = self._random.normal(0, 1, 2)
        watts = 600 * load + 3 * own + 4 * noise[0]
        celsius = 40 + 25 * load + own + 0.4 * noise[1]
        if node == self._hot and first and 20 <= minute < 30:
            celsius += 30
        if node == self._odd and first and 60 <= minute < 80:
            celsius += 5 + (minute - 60) / 2
        if node == self._stuck and first and 15 <= minute < 40:
            celsius = 61.0
        if node == self._bad and first and 15 <= minute < 22:
            celsius = float("nan")
        self._energy[node, gpu] += watts * STEP
        if node == self._hot and first and 39 < minute < 39.3:
            self._energy[node, gpu] = 0.0
        self._ecc[node, gpu] += 30 if node == self._ecc_storm and first and 25 <= minute < 28 else 0
        values = {
            "gpu_temperature_celsius": celsius,
            "gpu_temperature_slowdown_celsius": 90.0,
            "gpu_power_watts": watts,
            "gpu_energy_joules_total": self._energy[node, gpu],
            "gpu_ecc_corrected_errors_total": self._ecc[node, gpu],
            "gpu_pcie_link_width_lanes": 8.0 if node == self._mute and first and 65 <= minute < 70 else 16.0,
        }
        pairs = labels(gpu=f"GPU-{node}-{gpu}", node=node)
        return [Sample(Series(metric, pairs), at, value) for metric, value in values.items()]


def workshop() -> Workshop:
    """Return what one watch and one court are made of."""
    stats = SelfStats()

    def bar() -> Bar:
        return Bar(detectors(), TailCalibrator(4, 4), RULES, SETTINGS, stats, (Forests(), TailCalibrator(1, 4)))

    return Workshop(bar, topology, RULES, SETTINGS, stats, 1, 1, foresight)


class Stages:
    """One watch and one court that talk through messages."""

    def __init__(self) -> None:
        made = workshop()
        self.watch, self.court = WatchShard(0, made), CourtShard(0, made)
        self._heads, self._layouts = HeadCache(), LayoutCache()

    def feed(self, number: int, moment: Moment) -> list[Anomaly]:
        """Take the moment ``number``; return what both stages find."""
        events = [(number, event) for event in moment.events]
        self.watch.observe(Partition(EVENTS, 0), number + 1, events)
        found = self.watch.take(moment.frames, number + 1, moment.now)
        for _, end, frame in self.watch.take_summons():
            self.court.offset += 1
            self.court.room.take(decode_frame(encode_frame(frame, self._heads), self._layouts), end)
        self.court.room.reach(0, self.watch.watch.closed)
        return found + self.court.room.move()
