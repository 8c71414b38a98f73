from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.series import Layout, Series, labels
from coldaisle.store.recording import Recording, RecordingWriter, Truth
from coldaisle.topology import Entity, Topology

START = 1_763_780_400 * SECOND
LAYOUT = Layout(Series("gpu_power_watts", labels(gpu=f"GPU-{i}", node=f"n{i}")) for i in range(3))


def block(index: list[int], times: list[int], values: list[float]) -> Block:
    return Block(LAYOUT, np.array(index), np.array(times, np.int64), np.array(values))


def rows(recording: Recording, step_ns: int = SECOND) -> list[tuple[str, int, float]]:
    return [
        (recording.layout.series[i].label("node") or "", t, v)
        for _, part in recording.blocks(step_ns)
        for i, t, v in zip(part.index.tolist(), part.timestamps.tolist(), part.values.tolist(), strict=True)
    ]


def test_everything_written_is_read_again(tmp_path: Path) -> None:
    event = Event("xid", "79", START + 1, labels(gpu="GPU-0"), "GPU has fallen off the bus.", {"a": "b"})
    truth = Truth("f1", "gpu_off_bus", "gpu/GPU-0", ("node/n0",), START, None, "page")
    with RecordingWriter(tmp_path / "r") as writer:
        writer.write(block([0, 1], [START, START + 123], [1.0, 2.0]), "simulator")
        writer.write(Frame("nvml", "n9", Layout([Series("m_watts", ())]), np.array([START + 500]), np.array([3.0])))
        writer.write_event(event)
        writer.write_truth(truth)
        writer.write_topology(Topology([Entity("rack", "r1"), Entity("node", "n0", "rack/r1")]))
    recording = Recording(tmp_path / "r")
    assert rows(recording) == [("n0", START, 1.0), ("n1", START + 123, 2.0), ("n9", START + 500, 3.0)]
    assert recording.span == (START, START + 500)
    assert recording.events() == [event]
    assert recording.truth() == [truth]
    assert recording.topology().parent("node/n0") == "rack/r1"
    assert len(recording) == 3


def test_the_file_is_the_contract(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r") as writer:
        writer.write(block([1], [START], [2.0]), "simulator")
    table = pq.read_table(tmp_path / "r" / "samples.parquet")
    assert table.schema.equals(
        pa.schema(
            [
                pa.field("collector", pa.string()),
                pa.field("node", pa.string()),
                pa.field("metric", pa.string()),
                pa.field("labels", pa.map_(pa.string(), pa.string())),
                pa.field("timestamp", pa.timestamp("ns", tz="UTC")),
                pa.field("value", pa.float64()),
            ]
        )
    )
    assert table.to_pylist()[0]["labels"] == [("gpu", "GPU-1"), ("node", "n1")]
    assert table.to_pylist()[0]["collector"] == "simulator"
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["samples.parquet"]


def test_samples_that_come_out_of_order_are_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coldaisle.store.recording_writer._ROW_GROUP", 4)
    times = np.random.default_rng(0).permutation(100) * SECOND + START
    with RecordingWriter(tmp_path / "r") as writer:
        for time in times.tolist():
            writer.write(block([time // SECOND % 3], [time], [float(time)]))
    stored = pq.read_table(tmp_path / "r" / "samples.parquet")["timestamp"].cast(pa.int64()).to_pylist()
    assert stored == sorted(times.tolist())
    assert [value for _, _, value in rows(Recording(tmp_path / "r"))] == [float(time) for time in sorted(times)]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), RecordingWriter(tmp_path / "r") as writer:  # noqa: PT012
        writer.write(block([0], [START], [1.0]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Permanent, match="closed"):
        writer.write(block([0], [START], [1.0]))


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("coldaisle.store.recording_writer.sync", full)
    with pytest.raises(Transient, match=f"{tmp_path}: .*No space left"), RecordingWriter(tmp_path / "r") as writer:
        writer.write(block([0], [START], [1.0]))
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "precious").write_text("x")
    with pytest.raises(ConfigError, match="exists already"):
        RecordingWriter(tmp_path / "r")


def test_blocks_end_at_multiples_of_the_step_and_show_silence(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r") as writer:
        writer.write(block([0, 1, 0], [START, START + SECOND - 1, START + 3 * SECOND], [1.0, 2.0, 3.0]))
    found = [((now - START) // SECOND, len(part)) for now, part in Recording(tmp_path / "r").blocks(SECOND)]
    assert found == [(1, 2), (2, 0), (3, 0), (4, 1)]


def test_the_interval_is_the_median_between_samples_of_a_series(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r") as writer:
        for step in range(5):
            writer.write(block([0, 1, 2], [START + step * 15 * SECOND] * 3, [1.0] * 3))
    assert Recording(tmp_path / "r").interval_seconds == 15.0


COLUMNS: dict[str, Any] = {
    "collector": pa.array(["c", "c"]),
    "node": pa.array(["n1", "n2"]),
    "metric": pa.array(["m_watts", "m_watts"]),
    "labels": pa.array([[("gpu", "a")], []], pa.map_(pa.string(), pa.string())),
    "timestamp": pa.array([START, START + SECOND], pa.int64()).cast(pa.timestamp("ns", "UTC")),
    "value": pa.array([1.0, 2.0]),
}


def foreign(folder: Path, **changes: Any) -> Path:
    columns = {name: column for name, column in {**COLUMNS, **changes}.items() if column is not None}
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "samples.parquet", row_group_size=1)
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"node": pa.array(["n1", "n2"], pa.large_string()), "metric": COLUMNS["metric"].dictionary_encode()},
        {"labels": pa.array([[("gpu", "a")], []], pa.map_(pa.large_string(), pa.large_string()))},
        {"labels": pa.array([{"gpu": "a"}, None], pa.struct([("gpu", pa.string())]))},
        {"labels": pa.array([[("gpu", "a")], None], pa.map_(pa.string(), pa.string()))},
        {"labels": pa.array([[("gpu", "a"), ("node", "n1")], [("gpu", None)]], pa.map_(pa.string(), pa.string()))},
        {"timestamp": COLUMNS["timestamp"].cast(pa.timestamp("ms", "UTC"))},
        {"timestamp": COLUMNS["timestamp"].cast(pa.timestamp("us", "Europe/Berlin"))},
        {"value": pa.array([1, 2], pa.int32())},
        {"value": pa.array([1.0, 2.0], pa.float32()), "collector": pa.array([None, "c"])},
        {"more": pa.array([1, 2])},
    ],
)
def test_recordings_of_others_are_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    recording = Recording(foreign(tmp_path / "r", **changes))
    assert rows(recording) == [("n1", START, 1.0), ("n2", START + SECOND, 2.0)]
    assert recording.layout.series == (
        Series("m_watts", labels(gpu="a", node="n1")),
        Series("m_watts", labels(node="n2")),
    )


def test_rows_that_are_not_sorted_are_played_in_order(tmp_path: Path) -> None:
    back = pa.array([START + SECOND, START], pa.int64()).cast(pa.timestamp("ns", "UTC"))
    assert [node for node, _, _ in rows(Recording(foreign(tmp_path / "r", timestamp=back)))] == ["n2", "n1"]


def test_a_null_value_is_not_a_number(tmp_path: Path) -> None:
    found = rows(Recording(foreign(tmp_path / "r", value=pa.array([None, 2.0]))))
    assert np.isnan(found[0][2])
    assert found[1][2] == 2.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": None}, "has no column 'labels'"),
        ({"labels": pa.array(["a", "b"])}, "labels: is string; expected map"),
        ({"value": pa.array(["1", "2"])}, "value: is string; expected double"),
        ({"timestamp": pa.array([1, 2])}, r"timestamp: is int64; expected timestamp\[ns, UTC\]"),
        ({"timestamp": COLUMNS["timestamp"].cast(pa.timestamp("ns"))}, "timestamp: is timestamp"),
        ({"timestamp": pa.array([None, 5], pa.timestamp("ns", "UTC"))}, "timestamp: a row has none"),
        ({"node": pa.array([1, 2])}, "node: is int64; expected string"),
    ],
)
def test_a_wrong_column_is_named_in_one_line(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        Recording(foreign(tmp_path / "r", **changes))
    assert "samples.parquet" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("events.jsonl", '{"kind": "x"', "line 1: is not JSON"),
        ("events.jsonl", '{"kind":"x","timestamp":"2025-01-01T00:00:00Z","labels":{}}', "code: is missing"),
        ("events.jsonl", '{"kind":"x","code":1,"timestamp":"noon"}', "timestamp: is 'noon'; expected a time"),
        ("events.jsonl", "[]", "expected a JSON object"),
        ("truth.jsonl", '{"id":"1","fault":"f","entity":"e","start":null}', "start"),
        ("topology.toml", "[[entity]\n", "is not TOML"),
    ],
)
def test_a_mistake_beside_the_samples_is_named(tmp_path: Path, name: str, text: str, reason: str) -> None:
    folder = foreign(tmp_path / "r")
    (folder / name).write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        Recording(folder)
    assert name in str(caught.value)


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    path = foreign(tmp_path / "r") / "samples.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="not a whole Parquet file"):
        Recording(tmp_path / "r")
    path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        Recording(tmp_path / "r")
    with pytest.raises(ConfigError, match="no such folder"):
        Recording(tmp_path / "none")


def test_an_empty_recording_is_read(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r"):
        pass
    recording = Recording(tmp_path / "r")
    assert (len(recording), list(recording.blocks(SECOND))) == (0, [])
    with pytest.raises(ConfigError, match="neither samples nor events"):
        assert recording.span
