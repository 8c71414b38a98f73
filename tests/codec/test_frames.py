from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.codec import HeadCache, LayoutCache, decode_frame, encode_frame
from coldaisle.errors import Permanent
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series, labels, labels_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SERIES = st.builds(Series, TEXT, st.dictionaries(TEXT, TEXT, max_size=4).map(lambda d: labels_of(d.items())))


def frame_of(*values: float, node: str = "n1") -> Frame:
    layout = Layout(Series(f"m{i}_watts", labels(node=node, gpu=f"GPU-{i}")) for i in range(len(values)))
    return Frame("nvml", node, layout, np.arange(len(values)) + 10**18, np.array(values, np.float64))


def same(a: Frame, b: Frame) -> bool:
    return (
        (a.collector, a.node, a.layout.series) == (b.collector, b.node, b.layout.series)
        and np.array_equal(a.timestamps, b.timestamps)
        and np.array_equal(a.values, b.values, equal_nan=True)
    )


@settings(derandomize=True, max_examples=60, deadline=None)
@given(TEXT, TEXT, st.lists(st.tuples(SERIES, st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=6))
def test_a_frame_survives_the_wire(collector: str, node: str, rows: list[tuple[Series, int, float]]) -> None:
    layout = Layout(row[0] for row in rows)
    times, values = np.array([r[1] for r in rows], np.int64), np.array([r[2] for r in rows], np.float64)
    frame = Frame(collector, node, layout, times, values)
    heads, layouts = HeadCache(), LayoutCache()
    for _ in range(2):  # the second time from the caches
        assert same(decode_frame(encode_frame(frame, heads), layouts), frame)
    assert encode_frame(frame, heads) == encode_frame(frame)


def test_a_known_layout_is_one_object_and_other_numbers_are_read_anew() -> None:
    layouts = LayoutCache()
    first = decode_frame(encode_frame(frame_of(1.0, 2.0)), layouts)
    second = decode_frame(encode_frame(frame_of(3.0, float("nan"))), layouts)
    assert second.layout is first.layout
    assert second.values[0] == 3.0
    assert np.isnan(second.values[1])
    assert not second.values.flags.writeable


def test_any_arrow_reader_opens_a_frame() -> None:
    table = pa.ipc.open_stream(encode_frame(frame_of(1.5, node="n7"))).read_all()
    assert table.to_pylist()[0]["metric"] == "m0_watts"
    assert json.loads(table.to_pylist()[0]["labels"]) == {"gpu": "GPU-0", "node": "n7"}
    assert table.schema.metadata[b"coldaisle.node"] == b"n7"
    assert table.to_pandas()["value"].tolist() == [1.5]


def test_what_another_arrow_writer_sends_is_read_nulls_and_compression_included() -> None:
    table = pa.ipc.open_stream(encode_frame(frame_of(1.0, 2.0))).read_all()
    nullable = table.set_column(3, "value", pa.array([None, 2.0])).replace_schema_metadata(table.schema.metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, nullable.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(nullable)
    layouts = LayoutCache()
    for _ in range(2):
        values = decode_frame(bytes(sink.getvalue()), layouts).values
        assert np.isnan(values[0])
        assert values[1] == 2.0


def rewritten(change: dict[bytes, bytes], drop: str = "", batches: int = 1) -> bytes:
    table = pa.ipc.open_stream(encode_frame(frame_of(1.0, 2.0))).read_all()
    table = table.replace_schema_metadata({**table.schema.metadata, **change})
    if drop:
        table = table.drop_columns([drop])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for _ in range(batches):
            writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an Arrow stream"),
        (b"cpu,host=a value=1 5", "not an Arrow stream"),
        (rewritten({b"coldaisle.version": b"9"}), "version '9'"),
        (rewritten({b"coldaisle.layout": b"00"}), "claims layout '00'"),
        (rewritten({}, drop="value"), "columns are 'metric', 'labels', 'timestamp'; expected"),
        (rewritten({}, batches=2), "more than one record batch"),
        (rewritten({}, batches=0), "no record batch"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_malformed_frame_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Permanent, match=reason):
        decode_frame(data, LayoutCache())


def test_a_frame_that_is_cut_anywhere_is_refused() -> None:
    whole = encode_frame(frame_of(1.0, 2.0))
    layouts = LayoutCache()
    decode_frame(whole, layouts)
    # The last eight bytes are the end mark, which Arrow does not insist on.
    for length in range(0, len(whole) - 8, 31):
        for cache in (None, layouts):
            with pytest.raises(Permanent):
                decode_frame(whole[:length], cache)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_a_frame_with_changed_bytes_is_read_or_refused_never_worse(changes: list[tuple[int, int]], warm: bool) -> None:
    whole = bytearray(encode_frame(frame_of(1.0, 2.0, 3.0)))
    layouts = LayoutCache()
    if warm:
        decode_frame(bytes(whole), layouts)
    for position, byte in changes:
        whole[position % len(whole)] = byte
    try:
        frame = decode_frame(bytes(whole), layouts)
    except Permanent:
        return  # refused; any other error, or a crash, fails the test
    assert len(frame) == len(frame.layout)


def test_a_label_named_twice_is_refused() -> None:
    layout = Layout([Series("m_watts", (("a", "1"), ("a", "2")))])
    with pytest.raises(Permanent, match="named twice"):
        encode_frame(Frame("c", "n", layout, np.zeros(1, np.int64), np.zeros(1)))


def test_caches_stay_within_their_bounds() -> None:
    layouts, heads = LayoutCache(capacity=2), HeadCache(capacity_bytes=4_000)
    for node in ("a", "b", "c", "d", "e"):
        decode_frame(encode_frame(frame_of(1.0, node=node), heads), layouts)
    assert len(layouts) == 2
    assert 1 <= len(heads) < 5


def test_labels_and_names_that_series_of_one_frame_share_are_one_object() -> None:
    layout = decode_frame(encode_frame(frame_of(1.0, 2.0, node="n0123"))).layout
    (gpu, node), (other_gpu, other_node) = (each.labels for each in layout.series)
    assert node == ("node", "n0123")
    assert node is other_node
    assert gpu[0] is other_gpu[0]
