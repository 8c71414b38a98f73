"""A recording plays back what was recorded, in order and with its silences."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from coldaisle.clock import SECOND
from coldaisle.event import Event
from coldaisle.frame import Block
from coldaisle.series import Layout, Series, labels
from coldaisle.store.recording import Recording, RecordingWriter
from collectors.replay.feed import ReplayFeed
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator, record

SERIES = Series("node_power_watts", labels(node="n1"))


def write(path: Path, times: list[int], events: list[int]) -> Recording:
    with RecordingWriter(path) as writer:
        count = len(times)
        stamps = np.array(times, np.int64) * SECOND
        writer.write(Block(Layout([SERIES]), np.zeros(count, np.int64), stamps, np.arange(count, dtype=np.float64)))
        for at in events:
            writer.write_event(Event("link", "down", at * SECOND, labels(node="n1"), str(at)))
    return Recording(path)


def test_samples_and_events_come_in_the_step_in_which_they_happened(tmp_path: Path) -> None:
    feed = ReplayFeed(write(tmp_path / "r", [10, 11, 12, 20], [11, 20]), step_seconds=5)
    seen = [
        (s.now // SECOND, (s.block.timestamps // SECOND).tolist(), [e.text for e in s.events]) for s in feed.steps()
    ]
    assert seen == [(15, [10, 11, 12], ["11"]), (20, [], []), (25, [20], ["20"])]


def test_events_before_and_after_the_samples_are_played_too(tmp_path: Path) -> None:
    feed = ReplayFeed(write(tmp_path / "r", [100, 101], [7, 8, 40, 300]), step_seconds=10)
    steps = list(feed.steps())
    assert [event.text for step in steps for event in step.events] == ["7", "8", "40", "300"]
    assert [step.now // SECOND for step in steps if step.events] == [10, 50, 310]
    assert all(a.now < b.now for a, b in itertools.pairwise(steps))


def test_the_step_is_the_recordings_own_interval_unless_told(tmp_path: Path) -> None:
    assert ReplayFeed(write(tmp_path / "r", [0, 15, 30], [])).step_ns == 15 * SECOND
    assert ReplayFeed(write(tmp_path / "s", [0, 600, 1200], [])).step_ns == 60 * SECOND


def test_a_step_must_last(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 s"):
        ReplayFeed(write(tmp_path / "r", [0], []), step_seconds=0)


def test_a_recorded_hall_plays_back_as_it_lived(tmp_path: Path) -> None:
    config = SimulatorConfig(
        rows=2, racks_per_row=1, nodes_per_rack=2, faults=["host_down", "psu_lost"],
        first_fault_after_seconds=5, fault_rate=300,
    )  # fmt: skip
    with RecordingWriter(tmp_path / "hall") as writer:
        record(Simulator(config), 20, writer)
    recording = Recording(tmp_path / "hall")
    live = Simulator(config)
    lived = [live.step() for _ in range(20)]
    played = list(ReplayFeed(recording, step_seconds=1).steps())
    assert len(played) == len(lived)
    for was, now in zip(lived, played, strict=True):
        expected = {live.layout.series[i]: v for i, v in zip(was.block.index.tolist(), was.block.values, strict=True)}
        found = {recording.layout.series[i]: v for i, v in zip(now.block.index.tolist(), now.block.values, strict=True)}
        assert found == expected
        assert now.events == was.events
    assert [truth.fault for truth in recording.truth()] == ["host_down", "psu_lost"]
    assert all(truth.end is None for truth in recording.truth())  # they outlast the recording
    assert {one.id for one in recording.topology() if one.kind != "job"} == {one.id for one in live.hall.entities()}
