"""Both stages of scoring go on from snapshots that any writer of this version ever made, as that writer did."""

from __future__ import annotations

import gzip
import json

import pytest

from coldaisle.snapshot import Snapshot
from pipeline.shards import VERSION, CourtShard, WatchShard, restore
from tests.golden.shards import CUT, FOLDER, brief, files, moments
from tests.pipeline.eventful_hall import Stages

KEPT = [int(path.stem.removeprefix("stages-")) for path in sorted(FOLDER.glob("stages-*.means"))]


def kept(number: int, stages: Stages) -> dict[Snapshot, WatchShard | CourtShard]:
    """Return both snapshots, and whose they are."""
    shards: tuple[WatchShard | CourtShard, ...] = (stages.watch, stages.court)
    pairs = zip(files(number), shards, strict=False)
    return {
        Snapshot.from_bytes(gzip.decompress(path.read_bytes()), shard.kind, VERSION): shard for path, shard in pairs
    }


def test_there_are_golden_snapshots_of_this_version() -> None:
    newest = kept(KEPT[-1], Stages())
    assert [each.version for each in newest] == [VERSION] * 2, "run python -m tests.golden.shards and commit"


@pytest.mark.parametrize("number", KEPT)
def test_a_snapshot_of_this_version_is_gone_on_from(number: int) -> None:
    means = files(number)[-1]
    stages = Stages()
    for snapshot, shard in kept(number, stages).items():
        # Refused? So are those of everybody who upgrades: raise the version if that must be.
        restore(shard, snapshot)
    assert stages.watch.offset == CUT
    life = moments()
    found = [row for i, moment in enumerate(life[CUT:], CUT) for row in brief(stages.feed(i, moment))]
    assert found == json.loads(means.read_text(encoding="utf-8"))
    assert len({row[0] for row in found}) > 5
