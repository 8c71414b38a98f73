"""Messages that lie: about whose layout they carry, and about how much memory they need."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.fuzz import Codecs
from benchmarks.fuzz_inputs import Inputs
from coldaisle.codec import LayoutCache, decode_event, decode_frame, encode_frame
from coldaisle.errors import Permanent
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series, labels


def frame_of(node: str, rows: int = 3) -> Frame:
    layout = Layout(Series(f"m{i}_watts", labels(node=node)) for i in range(rows))
    return Frame("nvml", node, layout, np.arange(rows) + 10**18, np.arange(float(rows)))


def written(columns: dict[str, pa.Array], about: dict[bytes, bytes], compression: str | None = None) -> bytes:
    table = pa.table(columns).replace_schema_metadata(about)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def columns_of(rows: int, metrics: pa.Array, texts: pa.Array) -> dict[str, pa.Array]:
    times = pa.array(np.full(rows, 10**18)).cast(pa.timestamp("ns", tz="UTC"))
    return {"metric": metrics, "labels": texts, "timestamp": times, "value": pa.array(np.zeros(rows))}


def about_of(digest: str) -> dict[bytes, bytes]:
    return {
        b"coldaisle.version": b"1", b"coldaisle.collector": b"c", b"coldaisle.node": b"n",
        b"coldaisle.layout": digest.encode(),
    }  # fmt: skip


def test_a_digest_that_lies_neither_takes_nor_poisons_another_nodes_layout() -> None:
    layouts = LayoutCache()
    honest = encode_frame(frame_of("good"))
    known = decode_frame(honest, layouts)
    liar = encode_frame(frame_of("liar"))
    stolen = liar.replace(frame_of("liar").layout.digest.encode(), known.layout.digest.encode())
    for data in (stolen, stolen, honest, stolen):
        if data is honest:
            assert decode_frame(data, layouts).layout is known.layout
            continue
        with pytest.raises(Permanent, match="claims layout"):
            decode_frame(data, layouts)
    first = LayoutCache()
    with pytest.raises(Permanent, match="claims layout"):
        decode_frame(stolen, first)
    assert decode_frame(honest, first).layout.series == known.layout.series


def test_a_frame_whose_series_were_changed_under_a_known_digest_is_refused() -> None:
    layouts = LayoutCache()
    honest = encode_frame(frame_of("n1"))
    decode_frame(honest, layouts)
    changed = honest.replace(b"m1_watts", b"m1_wattz")
    assert len(changed) == len(honest)
    with pytest.raises(Permanent, match="claims layout"):
        decode_frame(changed, layouts)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_what_would_unpack_to_too_much_is_refused_before_it_is_unpacked(compression: str) -> None:
    rows = 3_000_000
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["m"]))
    data = written(columns_of(rows, words, words), about_of("0"), compression)
    assert len(data) < 2_000_000
    with pytest.raises(Permanent, match="claims to unpack to"):
        decode_frame(data)


def test_a_length_before_a_compressed_column_is_not_believed() -> None:
    table = pa.ipc.open_stream(encode_frame(frame_of("n1", 1000))).read_all()
    data = written(dict(zip(table.column_names, table.columns, strict=True)), table.schema.metadata, "zstd")
    honest = (8000).to_bytes(8, "little")
    assert honest in data
    with pytest.raises(Permanent, match=r"claims to unpack to 2,199,0\d\d,\d\d\d,\d\d\d bytes"):
        decode_frame(data.replace(honest, (1 << 40).to_bytes(8, "little")))


def test_a_small_dictionary_that_stands_for_much_text_is_refused_at_once() -> None:
    rows = 50_000
    index = pa.array(np.zeros(rows, np.int32))
    words = pa.DictionaryArray.from_arrays(index, pa.array(["m" * 100_000]))
    texts = pa.DictionaryArray.from_arrays(index, pa.array(["{}"]))
    data = written(columns_of(rows, words, texts), about_of("0"))
    began = time.process_time()
    with pytest.raises(Permanent, match="its series are 5,000,100,000 letters"):
        decode_frame(data)
    assert time.process_time() - began < 1.0


def test_types_that_cost_no_bytes_are_refused() -> None:
    with pytest.raises(Permanent, match="column 'metric' is null; expected text"):
        decode_frame(written(columns_of(5, pa.nulls(5), pa.array(["{}"] * 5)), about_of("0")))
    rows = 100_001
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["m"]))
    with pytest.raises(Permanent, match="has 100,001 rows; at most"):
        decode_frame(written(columns_of(rows, words, words), about_of("0")))


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b'{"version": 1, "kind": ' + b"[" * 900 + b"]" * 900]
)
def test_deep_json_is_refused(text: bytes) -> None:
    with pytest.raises(Permanent):
        decode_event(text)


def test_what_no_store_can_keep_is_no_event() -> None:
    for field in (b'"timestamp": 9223372036854775808, "kind": "x"', b'"timestamp": 1, "kind": "\\ud800"'):
        with pytest.raises(Permanent, match=r"does not fit 64 bits|not valid Unicode"):
            decode_event(b'{"version": 1, "code": "1", "labels": {}, ' + field + b"}")


def test_some_thousand_broken_messages_are_read_or_refused_never_worse() -> None:
    inputs, codecs = Inputs(seed=7), Codecs()
    read = sum(codecs.read(*inputs.next()) for _ in range(4_000))
    assert 100 < read < 1_000
