"""Whenever the process that saves snapshots is killed, a whole one is there afterwards."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coldaisle.selfstats import SelfStats
from coldaisle.snapshot import Snapshot
from coldaisle.store.snapshots import FolderSnapshots

SAVER = """
import sys
from pathlib import Path
import numpy as np
from coldaisle.selfstats import SelfStats
from coldaisle.snapshot import Snapshot
from coldaisle.store.snapshots import FolderSnapshots

store = FolderSnapshots(Path(sys.argv[1]), SelfStats())
number = int(sys.argv[2])
while True:
    number += 1
    parts = {"part": {"values": np.full(200_000, number)}}
    store.save("watch-0", Snapshot("watch", 1, number, {}, parts).to_bytes())
    print(number, flush=True)
"""
KILLS = 5


@pytest.mark.integration
def test_after_every_kill_the_newest_that_was_said_to_be_saved_is_there(tmp_path: Path) -> None:
    stats, dice, newest = SelfStats(), random.Random(1), 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", SAVER, str(tmp_path), str(newest)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(dice.randint(1, 20))]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        read = FolderSnapshots(tmp_path, stats).load("watch-0", lambda data: Snapshot.from_bytes(data, "watch", 1))
        assert read is not None
        assert said[-1] <= read.made_at <= said[-1] + 1
        assert (read.parts["part"]["values"] == read.made_at).all()
        newest = read.made_at
    assert stats.get("snapshots_refused_total") == 0
