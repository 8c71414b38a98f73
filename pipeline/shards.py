"""A stage of scoring for one partition, with how far it has read: what a member gains, saves and loses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from coldaisle.anomaly import Anomaly
from coldaisle.bus import COHORTS, FRAMES, Partition
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.selfstats import SelfStats
from coldaisle.snapshot import Snapshot, Stateful, collect_state, restore_state
from coldaisle.topology import Topology
from pipeline.court import Bar
from pipeline.court_room import CourtRoom
from pipeline.docket import Docket, Summons
from pipeline.engine_settings import EngineSettings
from pipeline.peer_groups import PeerGroups
from pipeline.predictions import Foresight
from pipeline.rulebook import RuleBook
from pipeline.watch import Watch, ground_of

VERSION = 4
"""Of what the parts keep; raise it when a snapshot of before cannot be read any more."""


class Workshop(NamedTuple):
    """What every shard is made of."""

    bar: Callable[[], Bar]  # detectors and calibrator of one's own
    topology: Callable[[], Topology]  # a copy of one's own
    rules: RuleBook
    settings: EngineSettings
    stats: SelfStats
    watches: int  # partitions of ``frames``
    courts: int  # partitions of ``cohorts``
    foresight: Callable[[], Foresight | None] = lambda: None  # warners of one's own


class Shard(Protocol):
    """What both stages have in common."""

    kind: str
    partition: Partition
    offset: int
    """The next message of the partition."""

    def parts(self) -> dict[str, Stateful]:
        """Return what a snapshot keeps, in the order in which it must be restored."""
        ...

    def offsets(self) -> dict[Partition, int]:
        """Return the next message of everything that went into the state."""
        ...

    def go_on_at(self, offsets: Mapping[Partition, int]) -> None:
        """Take back what ``offsets`` returned."""
        ...


class WatchShard:
    """The watch of one partition of ``frames``."""

    kind = "watch"

    def __init__(self, number: int, workshop: Workshop) -> None:
        topology = workshop.topology()
        ground = ground_of(topology, workshop.settings)
        dockets: list[Docket] = []

        def docket(groups: PeerGroups) -> Docket:
            dockets.append(Docket(ground.table, groups, workshop.courts, f"{FRAMES}/{number}"))
            return dockets[0]

        self.partition = Partition(FRAMES, number)
        self.offset = 0
        self.watch = Watch(
            ground, topology, workshop.rules, workshop.settings, workshop.stats, docket, workshop.foresight()
        )
        self.heard_at = 0  # processing time of the newest message, or of the beginning, Unix ns
        self.told: dict[int, int] = {}  # partition of ``cohorts`` -> the event time it has been told of
        self._docket = dockets[0]
        self._ground = ground
        self._events: dict[Partition, int] = {}

    @property
    def series(self) -> int:
        """How many series are watched here."""
        return len(self._ground.table)

    @property
    def open_findings(self) -> int:
        """How many findings have not ended."""
        return len(self._ground.findings)

    def take(self, frames: Sequence[Frame | Block], next_offset: int, arrived_at: int) -> list[Anomaly]:
        """Take the frames before ``next_offset``, the newest of which came to the bus at ``arrived_at``."""
        self.offset = next_offset
        return self.watch.process(frames, arrived_at) if frames else []

    def observe(self, partition: Partition, next_offset: int, events: Sequence[tuple[int, Event]]) -> None:
        """Take the events (offset, event) before ``next_offset`` that have not been taken yet."""
        known = self._events.get(partition, 0)
        self.watch.observe([event for offset, event in events if offset >= known])
        self._events[partition] = max(known, next_offset)

    def events_from(self, partition: Partition) -> int:
        """Return the next event that is not known here."""
        return self._events.get(partition, 0)

    def take_summons(self) -> list[Summons]:
        """Return what is to be put before the courts."""
        return self._docket.take()

    def parts(self) -> dict[str, Stateful]:
        """Return what a snapshot keeps, in the order in which it must be restored."""
        return {**self.watch.parts(), "docket": self._docket}

    def offsets(self) -> dict[Partition, int]:
        """Return the next message of everything that went into the state."""
        return {self.partition: self.offset, **self._events}

    def go_on_at(self, offsets: Mapping[Partition, int]) -> None:
        """Take back what ``offsets`` returned."""
        self._events = {partition: offset for partition, offset in offsets.items() if partition != self.partition}
        self.offset = offsets.get(self.partition, 0)


class CourtShard:
    """The court of one partition of ``cohorts``."""

    kind = "court"

    def __init__(self, number: int, workshop: Workshop) -> None:
        self.partition = Partition(COHORTS, number)
        self.offset = 0
        self.room = CourtRoom(workshop.bar(), workshop.topology(), workshop.watches, 1.0 / workshop.courts)

    def parts(self) -> dict[str, Stateful]:
        """Return what a snapshot keeps, in the order in which it must be restored."""
        return self.room.parts()

    def offsets(self) -> dict[Partition, int]:
        """Return the next message of everything that went into the state."""
        return {self.partition: self.offset}

    def go_on_at(self, offsets: Mapping[Partition, int]) -> None:
        """Take back what ``offsets`` returned."""
        self.offset = offsets.get(self.partition, 0)


def name_of(partition: Partition) -> str:
    """Return the name under which a shard's snapshots are kept."""
    return f"{'watch' if partition.topic == FRAMES else 'court'}-{partition.number}"


def snapshot_of(shard: Shard, now: int) -> Snapshot:
    """Return the state of ``shard``; it does not change afterwards."""
    return Snapshot(shard.kind, VERSION, now, shard.offsets(), collect_state(shard.parts()))


def restore(shard: Shard, snapshot: Snapshot) -> None:
    """Give a new shard what ``snapshot`` keeps. Raises Permanent; the shard is then of no use."""
    restore_state(shard.parts(), snapshot.parts)
    shard.go_on_at(snapshot.offsets)
