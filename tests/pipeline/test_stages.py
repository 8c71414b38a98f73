"""The two stages of scoring: whoever owns which part, the verdicts are the same."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from coldaisle.anomaly import Anomaly
from coldaisle.clock import SECOND
from coldaisle.codec import HeadCache, LayoutCache, decode_frame, encode_frame
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.topology import Topology
from pipeline.court import Bar
from pipeline.court_room import CourtRoom
from pipeline.docket import Docket
from pipeline.peer_groups import PeerGroups
from pipeline.rule_examples import FirstLevel, PlainPeers, PlainTails
from pipeline.rulebook import RuleBook, ScoreRule, SilenceRule
from pipeline.scoring import Engine, EngineSettings
from pipeline.watch import Ground, Watch, ground_of

START = 1_700_000_040 * SECOND
SETTINGS = EngineSettings(allowed_lateness_seconds=3, grace_seconds=10)
BOOK = RuleBook(
    [
        ScoreRule(
            name="strange", on="score", metrics=("*",), severity=Severity.TICKET, summary="{entity}", for_seconds=3
        ),
        SilenceRule(name="silent", on="silence", of="node", severity=Severity.PAGE, summary="{entity}"),
    ]
)
NODES = tuple(f"n{number:02}" for number in range(12))


def bar() -> Bar:
    return Bar((FirstLevel(), PlainPeers()), PlainTails(), BOOK, SETTINGS, SelfStats())


def scrape(node: str, second: int) -> Frame:
    """One node's scrape: its GPUs follow the job's load, its inlet stands still; n03 overheats, n05 stops."""
    at = START + second * SECOND
    load = 60 + 5 * np.sin(second / 7)
    samples = [
        Sample(Series("gpu_temperature_celsius", labels(gpu=f"{node}-g{i}", node=node)), at, load + 0.1 * i)
        for i in range(4)
    ]
    if node == "n03" and second >= 60:
        samples[2] = samples[2]._replace(value=load + 20)
    inlet = 24.0 + (8.0 if node == "n07" and second >= 80 else 0.0)
    samples.append(Sample(Series("node_inlet_temperature_celsius", labels(node=node)), at, inlet))
    return Frame.of("test", node, samples)


def hall() -> Iterable[tuple[int, list[Frame], list[Event]]]:
    for second in range(120):
        frames = [scrape(node, second) for node in NODES if not (node == "n05" and 40 <= second < 90)]
        events = []
        if second == 5:
            members = " ".join(NODES[:8])
            events = [Event("job", "start", START + 5 * SECOND, labels(job="train"), "", {"nodes": members})]
        yield second, frames, events


class Cell:
    """Some watches and courts that talk through encoded messages, as if each were a process of its own."""

    def __init__(self, watches: int, courts: int) -> None:
        self.watches: list[Watch] = []
        self.dockets: list[Docket] = []
        for number in range(watches):
            topology = Topology()
            ground = ground_of(topology, SETTINGS)
            made: list[Docket] = []

            def docket(
                groups: PeerGroups, ground: Ground = ground, number: int = number, made: list[Docket] = made
            ) -> Docket:
                made.append(Docket(ground.table, groups, courts, f"frames/{number}"))
                return made[0]

            self.watches.append(Watch(ground, topology, BOOK, SETTINGS, SelfStats(), docket))
            self.dockets += made
        self.courts = [CourtRoom(bar(), Topology(), watches, 1 / courts) for _ in range(courts)]
        self.heads, self.layouts = HeadCache(), LayoutCache()

    def feed(self, frames: list[Frame], events: list[Event], now: int, order: Iterable[int]) -> list[Anomaly]:
        found: list[Anomaly] = []
        for number in order:
            watch, docket = self.watches[number], self.dockets[number]
            watch.observe(events)
            found += watch.process([f for f in frames if int(f.node[1:]) % len(self.watches) == number], now)
            for partition, end, frame in docket.take():
                wire = decode_frame(encode_frame(frame, self.heads), self.layouts)
                self.courts[partition].take(wire, end)
                if partition == 0:
                    self.courts[partition].take(wire, end)  # sent twice, as after a crash
            for court in self.courts:
                court.reach(number, watch.closed)
        for court in self.courts:
            found += court.move()
        return found


Told = dict[tuple[str, str], tuple[str, str, int, int, str, float | None]]


def told(found: Iterable[Anomaly]) -> Told:
    return {
        (each.id, each.phase.value): (
            each.rule,
            each.entity,
            each.started_at,
            each.updated_at,
            each.explanation,
            each.observed,
        )
        for each in found
    }


def run(watches: int, courts: int, backwards: bool = False) -> Told:
    cell = Cell(watches, courts)
    found: list[Anomaly] = []
    order = range(watches - 1, -1, -1) if backwards else range(watches)
    for second, frames, events in hall():
        found += cell.feed(frames, events, START + second * SECOND, order)
    return told(found)


def one_process() -> Told:
    detectors, tails, book, settings, stats = bar()
    engine = Engine(detectors, tails, book, Topology(), settings, stats)
    found: list[Anomaly] = []
    for second, frames, events in hall():
        engine.observe(events)
        found += engine.process(frames, START + second * SECOND)
    return told(found)


def test_two_stages_find_what_one_engine_finds() -> None:
    alone = one_process()
    assert {entity for _, entity, *_ in alone.values()} >= {"gpu/n03:n03-g2", "node/n07", "node/n05"}
    assert run(1, 1) == alone


@pytest.mark.parametrize(("watches", "courts"), [(2, 1), (3, 4), (4, 8)])
def test_peers_that_span_partitions_are_judged_as_in_one_engine(watches: int, courts: int) -> None:
    assert run(watches, courts) == one_process()


def test_it_does_not_matter_which_watch_is_heard_first() -> None:
    assert run(4, 3, backwards=True) == run(4, 3)
