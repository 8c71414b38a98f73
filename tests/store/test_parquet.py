from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from coldaisle.clock import HOUR, SECOND, ManualClock
from coldaisle.errors import Backpressure, ConfigError, Permanent, Transient
from coldaisle.frame import Block
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels
from coldaisle.store import parquet
from coldaisle.store.lines import Rows, joined
from coldaisle.store.parquet import ParquetStore
from coldaisle.store.segments import Segments

START = 1_763_780_400 * SECOND  # 03:00:00 UTC
LAYOUT = Layout(Series("node_power_watts", labels(node=f"n{i}")) for i in range(2))


def block(at: int, *values: float) -> Block:
    n = len(values)
    return Block(LAYOUT, np.arange(n), np.full(n, at), np.array(values))


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("samples/date=*/hour=*/*.parquet"))


def values(store: ParquetStore) -> list[list[float]]:
    return [line.values.tolist() for line in store.query("node_power_watts", (), 0, START + 9 * HOUR)]


def test_segments_lie_in_the_folder_of_their_date_and_hour_and_open_anywhere(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    store.write([block(START, 1.0, 2.0), block(START + HOUR, 3.0)])
    store.flush()
    assert [str(p.parent.relative_to(tmp_path)) for p in segments(tmp_path)] == [
        "samples/date=2025-11-22/hour=03",
        "samples/date=2025-11-22/hour=04",
    ]
    rows = duckdb.connect().execute(f"SELECT metric, labels, value FROM '{segments(tmp_path)[1]}'").fetchall()
    assert rows == [("node_power_watts", '{"node":"n0"}', 3.0)]


def when_there_are(count: int, root: Path) -> list[Path]:
    """Wait until a merge has left so many segments."""
    for _ in range(1000):
        if len(segments(root)) == count:
            break
        threading.Event().wait(0.01)
    assert len(segments(root)) == count
    return segments(root)


def test_a_flush_after_the_hour_merges_its_segments(tmp_path: Path) -> None:
    clock = ManualClock(START)
    store = ParquetStore(tmp_path, clock)
    for second in range(3):
        store.write([block(START + second * SECOND, float(second))])
        store.flush()
    store.write([block(START, 0.0)])  # once more
    store.flush()
    assert len(segments(tmp_path)) == 4
    clock.advance(3_600)
    store.flush()
    (merged,) = when_there_are(1, tmp_path)
    assert duckdb.connect().execute(f"SELECT count(*) FROM '{merged}'").fetchall() == [(3,)]
    assert values(store) == [[0.0, 1.0, 2.0]]


def test_a_busy_hour_is_merged_a_part_at_a_time_and_each_part_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coldaisle.store.segments._MERGED_ROWS", 5)
    clock = ManualClock(START)
    store = ParquetStore(tmp_path, clock)
    for second in (0, 1, 2, 3, 1):  # two samples each; the last ones once more
        store.write([block(START + second * SECOND, float(second), 7.0)])
        store.flush()
    before = values(store)
    parts = Segments(tmp_path / "samples", SelfStats())
    assert parts.compact(START + HOUR, threading.Event()) == 1
    assert len(segments(tmp_path)) == 3
    assert values(store) == before
    assert parts.compact(START + HOUR, threading.Event()) == 0
    whole = duckdb.connect().execute(f"SELECT metric, labels FROM '{segments(tmp_path)[0]}'").fetchall()
    assert whole == sorted(whole)


def test_of_two_samples_at_one_time_the_later_written_outlives_the_merge(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    for number, value in enumerate((1.0, 2.0)):
        before = set(segments(tmp_path))
        store.write([block(START, value)])
        store.flush()
        (written,) = set(segments(tmp_path)) - before
        os.utime(written, ns=(START + number, START + number))
    assert Segments(tmp_path / "samples", SelfStats()).compact(START + HOUR, threading.Event()) == 1
    assert values(store) == [[2.0]]


def test_nobody_waits_while_an_hour_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    merge = Segments._merge

    def slow(*given: Any) -> bool:
        begun.set()
        assert go_on.wait(30)
        return merge(*given)

    monkeypatch.setattr(Segments, "_merge", slow)
    clock = ManualClock(START)
    store = ParquetStore(tmp_path, clock)
    for second in range(2):
        store.write([block(START + second * SECOND, float(second))])
        store.flush()
    clock.advance(3_600)
    store.flush()
    assert begun.wait(30)
    store.write([block(START + HOUR, 5.0)])
    store.flush()
    assert values(store) == [[0.0, 1.0, 5.0]]
    assert len(segments(tmp_path)) == 3
    go_on.set()
    when_there_are(2, tmp_path)
    store.close()
    assert values(ParquetStore(tmp_path, clock, read_only=True)) == [[0.0, 1.0, 5.0]]


def test_a_merge_is_given_up_when_the_store_closes_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    for second in range(3):
        store.write([block(START + second * SECOND, float(second))])
        store.flush()
    before, stop = segments(tmp_path), threading.Event()

    def read_and_close(*_: object) -> Rows:
        stop.set()
        return joined([])

    monkeypatch.setattr("coldaisle.store.segments._read", read_and_close)
    with caplog.at_level(logging.WARNING):
        assert Segments(tmp_path / "samples", SelfStats()).compact(START + HOUR, stop) == 0
    assert segments(tmp_path) == before
    assert not caplog.records
    assert values(store) == [[0.0, 1.0, 2.0]]


def test_an_hour_in_which_nothing_changed_is_not_looked_into_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    parts, never = Segments(tmp_path / "samples", SelfStats()), threading.Event()
    for second in range(2):
        store.write([block(START + second * SECOND, float(second))])
        store.flush()
    assert [parts.compact(START + HOUR, never) for _ in range(2)] == [1, 0]
    with monkeypatch.context() as patch:
        patch.setattr("coldaisle.store.segments._groups", None)
        assert parts.compact(START + HOUR, never) == 0
    store.write([block(START + 2 * SECOND, 2.0)])
    store.flush()
    assert parts.compact(START + HOUR, never) == 1
    assert values(store) == [[0.0, 1.0, 2.0]]


def test_a_question_that_meets_a_merge_asks_again_and_validates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    for second in range(2):
        store.write([block(START + second * SECOND, float(second))])
        store.flush()
    found = Segments.files

    def then_merged(self: Segments, start: int, end: int) -> list[Path]:
        files = found(self, start, end)
        self.compact(START + HOUR, threading.Event())
        return files

    def refuse(*_: object) -> int:
        raise AssertionError("each segment was read whole")

    monkeypatch.setattr(Segments, "files", then_merged)
    monkeypatch.setattr(Segments, "set_aside_broken", refuse)
    assert values(store) == [[0.0, 1.0]]


def test_another_process_reads_what_was_flushed(tmp_path: Path) -> None:
    writer = ParquetStore(tmp_path, ManualClock(START))
    writer.write([block(START, 1.0)])
    writer.flush()
    reader = ParquetStore(tmp_path, ManualClock(START), read_only=True)
    writer.write([block(START, 1.0, 2.0)])
    writer.flush()
    assert values(reader) == [[1.0], [2.0]]
    with pytest.raises(Permanent, match="reading only"):
        reader.write([block(START, 1.0)])


def test_a_killed_writer_is_cleaned_up_after_and_said_so(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    store.write([block(START, 1.0)])
    store.flush()
    stray = segments(tmp_path)[0].with_name(".abc.tmp")
    stray.write_bytes(b"half")
    with (tmp_path / "series.jsonl").open("ab") as file:
        file.write(b'["torn_wat')
    again = ParquetStore(tmp_path, ManualClock(START))
    assert len(again.repaired) == 2
    assert "not finished when the last run ended" in again.repaired[0]
    assert not stray.exists()
    assert values(again) == [[1.0]]
    assert ParquetStore(tmp_path, ManualClock(START)).repaired == []


def test_a_lost_list_of_series_is_made_anew(tmp_path: Path) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    store.write([block(START, 1.0)])
    store.close()
    (tmp_path / "series.jsonl").unlink()
    again = ParquetStore(tmp_path, ManualClock(START))
    assert "list of series was missing" in again.repaired[0]
    assert again.series("node_power_watts") == [LAYOUT.series[0]]


def test_a_broken_segment_is_set_aside_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stats = SelfStats()
    store = ParquetStore(tmp_path, ManualClock(START), stats)
    store.write([block(START, 1.0), block(START + HOUR, 2.0)])
    store.flush()
    bad = segments(tmp_path)[0]
    bad.write_bytes(bad.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert values(store) == [[2.0]]
    assert stats.get("store_segments_set_aside_total", reason="unreadable") == 1
    assert "cannot be read" in caplog.text
    assert [path.name.endswith(bad.name) for path in (tmp_path / "samples/../broken").iterdir()] == [True]


def test_a_disk_that_refuses_loses_nothing_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParquetStore(tmp_path, ManualClock(START), flush_rows=1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("coldaisle.store.segments._write", full)
        for second in range(4):
            with pytest.raises(Transient, match=f"{tmp_path}.*No space left on device"):
                store.write([block(START + second * SECOND, 1.0)])
        with pytest.raises(Backpressure, match="wait for the disk"):
            store.write([block(START, 1.0)])
    assert not list(tmp_path.rglob("*.tmp"))
    store.flush()
    assert values(store) == [[1.0, 1.0, 1.0, 1.0]]


def test_a_huge_answer_is_thinned_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ParquetStore(tmp_path, ManualClock(START))
    wave = np.sin(np.arange(3_000) / 9.0)
    wave[777] = 50.0
    store.write([Block(LAYOUT, np.zeros(3_000, np.int64), START + np.arange(3_000) * SECOND, wave)])
    store.flush()
    monkeypatch.setattr(parquet, "_RAW_ROWS", 10)
    (line,) = store.query("node_power_watts", (), START, START + HOUR, max_points=60)
    assert 20 < len(line.values) <= 60
    assert (line.values.max(), line.values.min()) == (50.0, wave.min())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file"):
        ParquetStore(tmp_path / "file", ManualClock(START))
    with pytest.raises(ConfigError, match="no such folder"):
        ParquetStore(tmp_path / "none", ManualClock(START), read_only=True)
