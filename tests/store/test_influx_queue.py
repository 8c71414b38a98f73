from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.errors import Backpressure, ConfigError, Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store import influx_queue
from coldaisle.store.influx_queue import Queued, WriteQueue

MOST = 1 << 20


def batch(number: int, size: int = 100) -> Queued:
    return Queued("coldaisle", bytes([number % 256]) * size, number, number, number + 1)


def drained(queue: WriteQueue) -> list[Queued]:
    found = []
    while (oldest := queue.oldest()) is not None:
        found.append(oldest)
        queue.done()
    return found


def test_what_went_in_first_comes_out_first_and_then_it_is_empty(tmp_path: Path) -> None:
    queue = WriteQueue(tmp_path, MOST, SelfStats())
    for number in range(5):
        queue.append(batch(number))
    assert queue
    assert queue.oldest() == queue.oldest() == batch(0)
    assert drained(queue) == [batch(number) for number in range(5)]
    assert not queue
    assert queue.held_bytes == 0
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_small_batches_of_one_bucket_leave_together(tmp_path: Path) -> None:
    queue = WriteQueue(tmp_path, MOST, SelfStats())
    assert queue.oldest_run(100) == []
    several = [Queued("a", b"1", 40, 0, 0), Queued("a", b"2", 60, 0, 0), Queued("a", b"3", 1, 0, 0)]
    several += [Queued("b", b"4", 500, 0, 0), Queued("b", b"5", 1, 0, 0)]
    for each in several:
        queue.append(each)
    for run in (several[:2], several[2:3], several[3:4], several[4:]):
        assert queue.oldest_run(100) == run
        queue.done(len(run))
    assert not queue


def test_what_was_synced_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = WriteQueue(tmp_path, MOST, SelfStats())
    first.append(batch(1))
    first.sync()
    first.append(batch(2))
    first.close()
    first.close()
    stats = SelfStats()
    second = WriteQueue(tmp_path, MOST, stats)
    assert stats.get("store_queue_bytes") == second.held_bytes > 200
    second.append(batch(3))
    assert drained(second) == [batch(1), batch(2), batch(3)]


def test_what_was_not_done_comes_again(tmp_path: Path) -> None:
    first = WriteQueue(tmp_path, MOST, SelfStats())
    for number in range(3):
        first.append(batch(number))
    assert first.oldest() == batch(0)
    first.done()
    first.close()
    assert drained(WriteQueue(tmp_path, MOST, SelfStats())) == [batch(0), batch(1), batch(2)]


def test_a_full_queue_says_so_and_drops_nothing(tmp_path: Path) -> None:
    queue = WriteQueue(tmp_path, 1000, SelfStats())
    for number in range(2):
        queue.append(batch(number, 400))
    with pytest.raises(Backpressure, match="is full"):
        queue.append(batch(2, 400))
    assert drained(queue) == [batch(0, 400), batch(1, 400)]
    queue.append(batch(2, 400))
    assert drained(queue) == [batch(2, 400)]


def test_a_torn_end_is_kept_aside_and_what_comes_before_it_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = WriteQueue(tmp_path, MOST, SelfStats())
    queue.append(batch(1))
    queue.append(batch(2))
    queue.close()
    (segment,) = tmp_path.glob("*.queue")
    segment.write_bytes(segment.read_bytes()[:-1])
    stats = SelfStats()
    with caplog.at_level(logging.WARNING):
        assert drained(WriteQueue(tmp_path, MOST, stats)) == [batch(1)]
    assert stats.get("store_queue_broken_total") == 1
    assert "cannot be read; kept as" in caplog.text
    assert len(list(tmp_path.glob("*.broken"))) == 1


def test_two_processes_may_not_share_a_folder(tmp_path: Path) -> None:
    queue = WriteQueue(tmp_path, MOST, SelfStats())
    with pytest.raises(ConfigError, match="give each store a folder of its own"):
        WriteQueue(tmp_path, MOST, SelfStats())
    queue.close()
    WriteQueue(tmp_path, MOST, SelfStats()).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file.*choose another"):
        WriteQueue(tmp_path / "file", MOST, SelfStats())


def test_a_disk_that_fills_up_leaves_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = WriteQueue(tmp_path, MOST, SelfStats())
    queue.append(batch(1))
    write = os.write
    parts = [lambda fd, data: write(fd, data[:50])]

    def fills_up(fd: int, data: bytes) -> int:
        if parts:
            return parts.pop()(fd, data)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("coldaisle.store.influx_queue.os.write", fills_up)
        with pytest.raises(Transient, match=r"No space left"):
            queue.append(batch(2))
    queue.append(batch(3))
    assert drained(queue) == [batch(1), batch(3)]


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 700), st.none(), st.just("again")), max_size=40))
def test_nothing_is_lost_or_changed_whatever_the_order_of_things(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str | None]
) -> None:
    folder = tmp_path_factory.mktemp("queue")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(influx_queue, "_SEGMENT_BYTES", 900)
        queue = WriteQueue(folder, MOST, SelfStats())
        expected: list[Queued] = []
        taken: list[Queued] = []
        for step in steps:
            if step == "again":
                queue.close()
                queue = WriteQueue(folder, MOST, SelfStats())
                # What was delivered of a segment that is not finished comes again.
                first = queue.oldest()
                if first in taken:
                    at = taken.index(first)
                    taken, expected = taken[:at], taken[at:] + expected
            elif step is None:
                if queue.oldest() is not None:
                    taken.append(expected.pop(0))
                    queue.done()
            else:
                each = Queued("b", b"x" * int(step), len(taken) + len(expected), 0, 0)
                expected.append(each)
                queue.append(each)
        assert drained(queue) == expected
        queue.close()
