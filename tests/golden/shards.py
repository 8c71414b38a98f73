"""``python -m tests.golden.shards``: keep snapshots of both stages of scoring in mid-life, and what they find later."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from coldaisle.anomaly import Anomaly
from coldaisle.bus import EVENTS, Partition
from coldaisle.clock import SECOND
from coldaisle.codec import HeadCache, LayoutCache, decode_frame, encode_frame
from coldaisle.selfstats import SelfStats
from models.calibrate import TailCalibrator
from models.level import Level
from models.peers import Peers
from pipeline.court import Bar
from pipeline.shards import CourtShard, WatchShard, Workshop, snapshot_of
from tests.golden.examples import GOLDEN
from tests.pipeline.eventful_hall import RULES, SETTINGS, Hall, Moment, topology

FOLDER = GOLDEN / "snapshot"
CUT, STEPS = 75, 180  # in the middle of five faults

Brief = list[list[str | int]]


def workshop() -> Workshop:
    """Return what one watch and one court are made of."""
    stats = SelfStats()

    def bar() -> Bar:
        return Bar((Level(warm_up=20), Peers()), TailCalibrator(2, 4), RULES, SETTINGS, stats)

    return Workshop(bar, topology, RULES, SETTINGS, stats, 1, 1)


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


def moments() -> list[Moment]:
    """Return the life of the hall."""
    return list(Hall(1).moments(STEPS))


def brief(found: Iterable[Anomaly]) -> Brief:
    """Return what must be the same on every machine: numbers may differ in their last bit."""
    return [[each.rule, each.entity, each.phase.value, each.started_at // SECOND] for each in found]


def files(number: int) -> tuple[Path, Path, Path]:
    """Return where the two snapshots and what they mean stand."""
    start = f"stages-{number:03d}"
    return FOLDER / f"{start}.watch.gz", FOLDER / f"{start}.court.gz", FOLDER / f"{start}.means"


def main() -> int:
    """Write the next golden snapshots."""
    stages = Stages()
    life = moments()
    for number, moment in enumerate(life[:CUT]):
        stages.feed(number, moment)
    number = 1 + len(list(FOLDER.glob("stages-*.means")))
    FOLDER.mkdir(exist_ok=True)
    watch, court, means = files(number)
    for path, shard in ((watch, stages.watch), (court, stages.court)):
        with path.open("xb") as file:
            file.write(gzip.compress(snapshot_of(shard, life[CUT].now).to_bytes(), mtime=0))
    later = [each for i, moment in enumerate(life[CUT:], CUT) for each in brief(stages.feed(i, moment))]
    with means.open("x", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(row) for row in later) + "\n]\n")
    sys.stdout.write(f"snapshot: wrote {number:03d}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
