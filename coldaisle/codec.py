"""Frames as bytes and back: one Arrow IPC stream with one record batch for each frame."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from coldaisle.errors import Permanent
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series
from coldaisle.words_json import (
    ANOMALY_VERSION,
    EVENT_VERSION,
    anomaly_from_json,
    anomaly_to_json,
    decode_anomaly,
    decode_event,
    encode_anomaly,
    encode_event,
    event_from_json,
    event_to_json,
)

__all__ = [
    "ANOMALY_VERSION",
    "ARROW",
    "EVENT_VERSION",
    "FRAME_VERSION",
    "LINE_PROTOCOL",
    "HeadCache",
    "LayoutCache",
    "anomaly_from_json",
    "anomaly_to_json",
    "decode_anomaly",
    "decode_event",
    "decode_frame",
    "encode_anomaly",
    "encode_event",
    "encode_frame",
    "event_from_json",
    "event_to_json",
]

FRAME_VERSION = "1"
ARROW = "application/vnd.apache.arrow.stream"
"""Value of the header ``content-type`` for frames; a message without the header is one too."""
LINE_PROTOCOL = "application/vnd.influx.line-protocol"
"""Value of the header ``content-type`` for Influx line protocol (:mod:`coldaisle.line_protocol`)."""

_TEXT = pa.dictionary(pa.int32(), pa.string())
_TIMESTAMP = pa.timestamp("ns", tz="UTC")
_FIELDS = (
    pa.field("metric", _TEXT, nullable=False),
    pa.field("labels", _TEXT, nullable=False),
    pa.field("timestamp", _TIMESTAMP, nullable=False),
    pa.field("value", pa.float64(), nullable=False),
)
_TWO_COLUMNS = pa.ipc.IpcReadOptions(included_fields=[2, 3], use_threads=False)
_ALL_COLUMNS = pa.ipc.IpcReadOptions(use_threads=False)
_BROKEN = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError, MemoryError, OverflowError)


class _Head(NamedTuple):
    """Everything of a message but its two columns of numbers: three stretches of bytes that never change."""

    before: bytes
    between: bytes
    after: bytes


class _Met(NamedTuple):
    """A message met before: whose it is, its unchanging bytes, and where its numbers lie, counted in bytes."""

    collector: str
    node: str
    layout: Layout
    head: _Head
    rows: int
    time_at: int
    value_at: int
    length: int  # of the whole message


class LayoutCache:
    """
    The layouts a reader has met, by digest, and the messages that carried them, by their schema's bytes.

    A message that equals a known one in every byte but its numbers needs no Arrow at all: two views. Bounded,
    the longest unused goes first. One for each thread.
    """

    def __init__(self, capacity: int = 65_536) -> None:
        self._capacity = capacity
        self._layouts: OrderedDict[str, Layout] = OrderedDict()
        self._met: OrderedDict[bytes, _Met] = OrderedDict()

    def __len__(self) -> int:
        return len(self._layouts)

    def get(self, digest: str) -> Layout | None:
        """Return the layout with ``digest``, or None."""
        layout = self._layouts.get(digest)
        if layout is not None:
            self._layouts.move_to_end(digest)
        return layout

    def intern(self, layout: Layout) -> Layout:
        """Return the one layout that stands for all equal to ``layout``."""
        known = self._layouts.setdefault(layout.digest, layout)
        if len(self._layouts) > self._capacity:
            self._layouts.popitem(last=False)
        return known

    def recall(self, data: bytes) -> Frame | None:
        """Return the frame where all but the numbers of ``data`` was met before, else None."""
        met = self._met.get(_schema_part(data))
        if met is None:
            return None
        collector, node, layout, (before, between, after), rows, time_at, value_at, length = met
        if (
            len(data) != length
            or not data.startswith(before)
            or (between and not data.startswith(between, value_at - len(between)))
            or not data.endswith(after)
        ):
            return None
        times = np.frombuffer(data, np.int64, rows, time_at)
        return Frame(collector, node, layout, times, np.frombuffer(data, np.float64, rows, value_at))

    def remember(self, data: bytes, frame: Frame, time_at: int, value_at: int) -> None:
        """Note where the numbers of ``data`` lie, counted in bytes."""
        rows, size = len(frame), 8 * len(frame)
        head = _Head(data[:time_at], data[time_at + size : value_at], data[value_at + size :])
        met = _Met(frame.collector, frame.node, frame.layout, head, rows, time_at, value_at, len(data))
        self._met[_schema_part(data)] = met
        if len(self._met) > self._capacity:
            self._met.popitem(last=False)


def _schema_part(data: bytes) -> bytes:
    """Return the first message of an Arrow stream (a mark, its length, itself): the schema with its metadata."""
    return data[: 8 + int.from_bytes(data[4:8], "little")]


class HeadCache:
    """
    The unchanging parts of messages a writer has sent, so that a frame costs two copies and no Arrow.

    Bounded in bytes; the longest unused goes first. One for each thread.
    """

    def __init__(self, capacity_bytes: int = 128 << 20) -> None:
        self._capacity = capacity_bytes
        self._bytes = 0
        self._heads: OrderedDict[tuple[str, str, str], _Head] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def head(self, frame: Frame) -> _Head:
        """Return the parts around the numbers of ``frame``, built where they are new."""
        key = (frame.collector, frame.node, frame.layout.digest)
        known = self._heads.get(key)
        if known is not None:
            self._heads.move_to_end(key)
            return known
        made = _head(frame)
        self._heads[key] = made
        self._bytes += sum(map(len, made))
        while self._bytes > self._capacity and len(self._heads) > 1:
            self._bytes -= sum(map(len, self._heads.popitem(last=False)[1]))
        return made


def encode_frame(frame: Frame, heads: HeadCache | None = None) -> bytes:
    """
    Return ``frame`` as an Arrow IPC stream: ``metric`` and ``labels`` (JSON objects) dictionary-encoded,
    ``timestamp`` (ns, UTC) and ``value``; collector, node, layout digest and version in the metadata.

    Whoever sends the same layouts again and again passes ``heads``: 2 microseconds instead of 200.
    Raises Permanent where a label is named twice.
    """
    head = heads.head(frame) if heads is not None else _head(frame)
    times = np.ascontiguousarray(frame.timestamps, np.dtype("<i8"))
    values = np.ascontiguousarray(frame.values, np.dtype("<f8"))
    return b"".join((head.before, times.data, head.between, values.data, head.after))


def _head(frame: Frame) -> _Head:
    """Let Arrow write a message whose numbers are marks, and cut them out; the rest never changes."""
    n = len(frame)
    if n == 0:
        return _Head(_stream(frame, np.empty(0, np.int64), np.empty(0)), b"", b"")
    times, values = np.full(n, 0x1122334455667788, np.int64), np.full(n, -1.2345678901234567e-89)
    whole = _stream(frame, times, values)
    # Searched from the end: the two columns come last, so no text before them can be taken for them.
    value_at = whole.rfind(values.tobytes())
    time_at = whole.rfind(times.tobytes(), 0, value_at)
    return _Head(whole[:time_at], whole[time_at + 8 * n : value_at], whole[value_at + 8 * n :])


def _stream(frame: Frame, times: np.ndarray, values: np.ndarray) -> bytes:
    metrics, texts = [], []
    for metric, pairs in frame.layout.series:
        named = dict(pairs)
        if len(named) != len(pairs):
            raise Permanent(f"series {metric}: a label is named twice")
        metrics.append(metric)
        texts.append(json.dumps(named, ensure_ascii=False, separators=(",", ":")))
    about = {
        "coldaisle.version": FRAME_VERSION,
        "coldaisle.collector": frame.collector,
        "coldaisle.node": frame.node,
        "coldaisle.layout": frame.layout.digest,
    }
    schema = pa.schema(_FIELDS, metadata=about)
    columns = [
        _encoded(metrics),
        _encoded(texts),
        pa.Array.from_buffers(_TIMESTAMP, len(times), [None, pa.py_buffer(times)]),
        pa.Array.from_buffers(pa.float64(), len(values), [None, pa.py_buffer(values)]),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return bytes(sink.getvalue())


def _encoded(words: list[str]) -> Any:
    """Return words dictionary-encoded; built from buffers, since ``pa.array`` imports pandas for half a second."""
    numbers: dict[str, int] = {}
    indices = np.array([numbers.setdefault(word, len(numbers)) for word in words], np.int32)
    encoded = [word.encode() for word in numbers]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    offsets[1:] = np.cumsum([len(each) for each in encoded])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    dictionary = pa.Array.from_buffers(pa.string(), len(encoded), buffers)
    rows = pa.Array.from_buffers(pa.int32(), len(indices), [None, pa.py_buffer(indices)])
    return pa.DictionaryArray.from_arrays(rows, dictionary)


def decode_frame(data: bytes, layouts: LayoutCache | None = None) -> Frame:
    """
    Return the frame that ``data`` holds; its columns are views into ``data`` and must not be written.

    A digest that ``layouts`` knows is trusted and only the two columns of numbers are read; a new one
    is recomputed. A null value is NaN. Raises Permanent with the reason for anything malformed.
    """
    try:
        return _decode(data, layouts)
    except _BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Permanent(f"frame: is not an Arrow stream that can be read: {reason}") from error


def _decode(data: bytes, layouts: LayoutCache | None) -> Frame:
    if layouts is not None:
        known = layouts.recall(data)
        if known is not None:
            return known
    source = pa.py_buffer(data)
    reader = pa.ipc.open_stream(source, options=_TWO_COLUMNS)
    about: dict[bytes, bytes] = reader.schema.metadata or {}
    version = _text(about, b"coldaisle.version")
    if version != FRAME_VERSION:
        raise Permanent(f"frame: has version {version[:40]!r}; this reader knows {FRAME_VERSION!r}")
    collector, node = _text(about, b"coldaisle.collector"), _text(about, b"coldaisle.node")
    digest = _text(about, b"coldaisle.layout")
    layout = layouts.get(digest) if layouts is not None else None
    if layout is None:
        layout = _layout(data, digest)
        if layouts is not None:
            layout = layouts.intern(layout)
    batch = _only_batch(reader)
    if batch.num_columns != 2:
        raise Permanent("frame: lacks the columns timestamp and value")
    times, values = batch.column(0), batch.column(1)
    if times.type != _TIMESTAMP or values.type != _FIELDS[3].type:
        raise Permanent(f"frame: columns are {times.type} and {values.type}; expected timestamp[ns, UTC] and double")
    times.validate()
    values.validate()
    if len(times) != len(layout):
        raise Permanent(f"frame: has {len(times)} rows; its layout has {len(layout)} series")
    if times.null_count:
        raise Permanent("frame: a timestamp is missing")
    if values.null_count:
        values = values.fill_null(float("nan"))
    n = len(layout)
    if n == 0:
        return Frame(collector, node, layout, np.empty(0, np.int64), np.empty(0))
    time_buffer, value_buffer = times.buffers()[1], values.buffers()[1]
    frame = Frame(
        collector,
        node,
        layout,
        np.frombuffer(time_buffer, np.int64, n, 8 * times.offset),
        np.frombuffer(value_buffer, np.float64, n, 8 * values.offset),
    )
    if layouts is not None:
        time_at = time_buffer.address - source.address + 8 * times.offset
        value_at = value_buffer.address - source.address + 8 * values.offset
        # A compressed column, or one with nulls, was copied out of the message: no view of it can be taken.
        if time_at > 0 and time_at + 8 * n <= value_at and value_at + 8 * n <= len(data):
            layouts.remember(data, frame, time_at, value_at)
    return frame


def _only_batch(reader: Any) -> Any:
    try:
        batch = reader.read_next_batch()
    except StopIteration:
        raise Permanent("frame: holds no record batch") from None
    try:
        reader.read_next_batch()
    except StopIteration:
        return batch
    raise Permanent("frame: holds more than one record batch")


def _text(about: dict[bytes, bytes], key: bytes) -> str:
    value = about.get(key)
    if value is None:
        raise Permanent(f"frame: its metadata lacks {key.decode()!r}")
    return value.decode()


def _layout(data: bytes, digest: str) -> Layout:
    """Read the series of a frame and hold them against the digest that the frame claims."""
    reader = pa.ipc.open_stream(data, options=_ALL_COLUMNS)
    schema = reader.schema
    names = [field.name for field in _FIELDS]
    if schema.names != names:
        raise Permanent(f"frame: columns are {', '.join(map(repr, schema.names))[:200]}; expected {', '.join(names)}")
    batch = _only_batch(reader)
    batch.validate(full=True)
    metrics = _words(batch.column(0), "metric")
    objects = {text: _pairs(text) for text in set(texts)} if (texts := _words(batch.column(1), "labels")) else {}
    layout = Layout(Series(metric, objects[text]) for metric, text in zip(metrics, texts, strict=True))
    if layout.digest != digest:
        raise Permanent(f"frame: claims layout {digest[:40]!r} but its series make {layout.digest!r}")
    return layout


def _words(column: Any, name: str) -> list[str]:
    """Return a column's words; equal ones are one object, since every series keeps its own for as long as it lives."""
    if column.null_count:
        raise Permanent(f"frame: a {name} is missing")
    encoded = isinstance(column, pa.DictionaryArray)
    words = (column.dictionary if encoded else column).to_pylist()
    if any(not isinstance(word, str) for word in words):
        raise Permanent(f"frame: column {name!r} is {column.type}; expected text")
    words = [sys.intern(word) for word in words]
    return [words[number] for number in column.indices.to_pylist()] if encoded else words


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    try:
        named = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Permanent(f"frame: labels are not a JSON object: {text[:80]!r}") from error
    if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
        raise Permanent(f"frame: labels are not a JSON object of texts: {text[:80]!r}")
    pairs = tuple(named.items())
    if pairs != tuple(sorted(pairs)):
        raise Permanent(f"frame: labels are not sorted by name: {text[:80]!r}")
    return pairs
