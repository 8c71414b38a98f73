"""The two stages of scoring: whoever owns which part, the verdicts are the same."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from coldaisle.anomaly import Anomaly
from coldaisle.clock import SECOND
from coldaisle.codec import HeadCache, LayoutCache, decode_frame, encode_frame
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from coldaisle.topology import Topology
from pipeline.court_room import CourtRoom
from pipeline.docket import Docket
from pipeline.peer_groups import PeerGroups
from pipeline.watch import Ground, Watch, ground_of
from tests.pipeline.hall_story import BOOK, SETTINGS, START, Told, bar, hall, one_engine, told


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


def run(watches: int, courts: int, backwards: bool = False) -> Told:
    cell = Cell(watches, courts)
    found: list[Anomaly] = []
    order = range(watches - 1, -1, -1) if backwards else range(watches)
    for second, frames, events in hall():
        found += cell.feed(frames, events, START + second * SECOND, order)
    return told(found)


def test_two_stages_find_what_one_engine_finds() -> None:
    alone = one_engine()
    assert {entity for _, entity, *_ in alone.values()} >= {"gpu/n03:g2", "node/n07", "node/n05"}
    assert run(1, 1) == alone


@pytest.mark.parametrize(("watches", "courts"), [(2, 1), (3, 4), pytest.param(4, 8, marks=pytest.mark.slow)])
def test_peers_that_span_partitions_are_judged_as_in_one_engine(watches: int, courts: int) -> None:
    assert run(watches, courts) == one_engine()


def test_it_does_not_matter_which_watch_is_heard_first() -> None:
    assert run(4, 3, backwards=True) == run(4, 3)
