"""``python -m tests.golden.shards``: keep snapshots of both stages of scoring in mid-life, and what they find later."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from coldaisle.anomaly import Anomaly
from coldaisle.clock import SECOND
from pipeline.shards import snapshot_of
from tests.golden.examples import GOLDEN
from tests.pipeline.eventful_hall import Hall, Moment, Stages

FOLDER = GOLDEN / "snapshot"
CUT, STEPS = 75, 180  # in the middle of five faults

Brief = list[list[str | int]]


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
