"""Frames as bytes and back: one Arrow IPC stream with one record batch for each frame."""

from __future__ import annotations

import json
import struct
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pyarrow as pa

from coldaisle.arrow_guard import refuse_bombs
from coldaisle.errors import Permanent
from coldaisle.frame import Frame
from coldaisle.layout_cache import Head, LayoutCache
from coldaisle.series import Labels, Layout, Series
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
_WORDS = (pa.string(), pa.large_string())
_READING = pa.ipc.IpcReadOptions(use_threads=False)
_BROKEN = (
    *(pa.ArrowException, OSError, struct.error),
    *(ValueError, TypeError, KeyError, IndexError, MemoryError, OverflowError),
)

MOST_SERIES = 100_000
"""Of one frame: a scrape of one node is some hundreds, of one large exporter some ten thousands."""
_MOST_TEXT = 32 << 20  # letters of all series, written out: a small dictionary can stand for any amount
_MOST_NAME_BYTES = 512


class HeadCache:
    """
    The unchanging parts of messages a writer has sent, so that a frame costs two copies and no Arrow.

    Bounded in bytes; the longest unused goes first. One for each thread.
    """

    def __init__(self, capacity_bytes: int = 128 << 20) -> None:
        self._capacity = capacity_bytes
        self._bytes = 0
        self._heads: OrderedDict[tuple[str, str, str, str], Head] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def head(self, frame: Frame) -> Head:
        """Return the parts around the numbers of ``frame``, built where they are new."""
        key = (frame.collector, frame.node, frame.layout.digest, frame.sender)
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
    ``timestamp`` (ns, UTC) and ``value``; collector, node, layout digest, sender (where it is known) and version
    in the metadata.

    Whoever sends the same layouts again and again passes ``heads``: 2 microseconds instead of 200.
    Raises Permanent where a label is named twice.
    """
    head = heads.head(frame) if heads is not None else _head(frame)
    times = np.ascontiguousarray(frame.timestamps, np.dtype("<i8"))
    values = np.ascontiguousarray(frame.values, np.dtype("<f8"))
    return b"".join((head.before, times.data, head.between, values.data, head.after))


def _head(frame: Frame) -> Head:
    """Let Arrow write a message whose numbers are marks, and cut them out; the rest never changes."""
    n = len(frame)
    if n == 0:
        return Head(_stream(frame, np.empty(0, np.int64), np.empty(0)), b"", b"")
    times, values = np.full(n, 0x1122334455667788, np.int64), np.full(n, -1.2345678901234567e-89)
    whole = _stream(frame, times, values)
    # Searched from the end: the two columns come last, so no text before them can be taken for them.
    value_at = whole.rfind(values.tobytes())
    time_at = whole.rfind(times.tobytes(), 0, value_at)
    return Head(whole[:time_at], whole[time_at + 8 * n : value_at], whole[value_at + 8 * n :])


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
    if frame.sender:
        about["coldaisle.sender"] = frame.sender
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

    No digest is believed: where any byte but the numbers is new, the series are read and the digest is
    recomputed; where none is, ``layouts`` has done so before. A null value is NaN. Raises Permanent with the
    reason for anything malformed, too large or written by a newer version.
    """
    known = None if layouts is None else layouts.recall(data)
    if known is not None:
        return known
    try:
        refuse_bombs(data)
        return _decode(data, layouts)
    except _BROKEN as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise Permanent(f"frame: is not an Arrow stream that can be read: {reason}") from error


def _decode(data: bytes, layouts: LayoutCache | None) -> Frame:
    source = pa.py_buffer(data)
    reader = pa.ipc.open_stream(source, options=_READING)
    about: dict[bytes, bytes] = reader.schema.metadata or {}
    _known_version(_text(about, b"coldaisle.version"))
    names = [field.name for field in _FIELDS]
    if reader.schema.names != names:
        have = ", ".join(map(repr, reader.schema.names))[:200]
        raise Permanent(f"frame: columns are {have}; expected {', '.join(names)}")
    _known_types(reader.schema)
    batch = _only_batch(reader)
    if batch.num_rows > MOST_SERIES:
        raise Permanent(f"frame: has {batch.num_rows:,} rows; at most {MOST_SERIES:,} are read")
    batch.validate(full=True)
    times, values = batch.column(2), batch.column(3)
    if times.null_count:
        raise Permanent("frame: a timestamp is missing")
    if values.null_count:
        values = values.fill_null(float("nan"))
    layout = _layout(batch, _text(about, b"coldaisle.layout"))
    if layouts is not None:
        layout = layouts.intern(layout)
    n = len(layout)
    whose = _text(about, b"coldaisle.collector"), _text(about, b"coldaisle.node")
    sender = _text(about, b"coldaisle.sender") if b"coldaisle.sender" in about else ""
    if n == 0:
        return Frame(*whose, layout, np.empty(0, np.int64), np.empty(0), sender)
    time_buffer, value_buffer = times.buffers()[1], values.buffers()[1]
    frame = Frame(
        *whose,
        layout,
        np.frombuffer(time_buffer, np.int64, n, 8 * times.offset),
        np.frombuffer(value_buffer, np.float64, n, 8 * values.offset),
        sender,
    )
    if layouts is not None:
        time_at = time_buffer.address - source.address + 8 * times.offset
        value_at = value_buffer.address - source.address + 8 * values.offset
        # A compressed column, or one with nulls, was copied out of the message: no view of it can be taken.
        if time_at > 0 and time_at + 8 * n <= value_at and value_at + 8 * n <= len(data):
            layouts.remember(data, frame, time_at, value_at)
    return frame


def _known_version(version: str) -> None:
    if version == FRAME_VERSION:
        return
    newer = version.isascii() and version.isdigit() and len(version) < 10 and int(version) > int(FRAME_VERSION)
    who = "a newer Coldaisle wrote it; upgrade this process, then replay it" if newer else "nobody wrote that"
    raise Permanent(f"frame: has version {version[:40]!r}; this reader knows {FRAME_VERSION!r} ({who})")


def _known_types(schema: Any) -> None:
    """Refuse other types: some cost no bytes on the wire and any amount of memory when read."""
    for name in ("metric", "labels"):
        kind = schema.field(name).type
        if kind not in _WORDS and not (pa.types.is_dictionary(kind) and kind.value_type in _WORDS):
            raise Permanent(f"frame: column {name!r} is {str(kind)[:100]}; expected text")
    for name, kind in (("timestamp", _TIMESTAMP), ("value", _FIELDS[3].type)):
        if schema.field(name).type != kind:
            have = str(schema.field(name).type)[:100]
            raise Permanent(f"frame: column {name!r} is {have}; expected {kind}")


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
    if len(value) > _MOST_NAME_BYTES:
        raise Permanent(f"frame: its {key.decode()!r} has {len(value):,} bytes; at most {_MOST_NAME_BYTES} are read")
    return value.decode()


def _layout(batch: Any, digest: str) -> Layout:
    """Read the series of a frame and hold them against the digest that the frame claims."""
    metrics, texts = _words(batch.column(0), "metric"), _words(batch.column(1), "labels")
    written_out = sum(map(len, metrics)) + sum(map(len, texts))
    if written_out > _MOST_TEXT:
        raise Permanent(f"frame: its series are {written_out:,} letters; at most {_MOST_TEXT:,} are read")
    known: dict[tuple[str, str], tuple[str, str]] = {}
    objects = {text: _pairs(text, known) for text in set(texts)}
    # Equal words are one object, since every series keeps its own for as long as it lives.
    layout = Layout(Series(sys.intern(metric), objects[text]) for metric, text in zip(metrics, texts, strict=True))
    if layout.digest != digest:
        raise Permanent(f"frame: claims layout {digest[:40]!r} but its series make {layout.digest!r}")
    return layout


def _words(column: Any, name: str) -> list[str]:
    """Return a column's words."""
    if column.null_count:
        raise Permanent(f"frame: a {name} is missing")
    encoded = isinstance(column, pa.DictionaryArray)
    words = (column.dictionary if encoded else column).to_pylist()
    if any(word is None for word in words):
        raise Permanent(f"frame: a {name} is missing")
    return [words[number] for number in column.indices.to_pylist()] if encoded else words


def _pairs(text: str, known: dict[tuple[str, str], tuple[str, str]]) -> Labels:
    """Return the labels that ``text`` holds; those ``known`` already are one object."""
    try:
        named = json.loads(text, object_pairs_hook=lambda pairs: {sys.intern(name): value for name, value in pairs})
    except (ValueError, RecursionError) as error:
        raise Permanent(f"frame: labels are not a JSON object: {text[:80]!r}") from error
    if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
        raise Permanent(f"frame: labels are not a JSON object of texts: {text[:80]!r}")
    pairs = tuple(named.items())
    if pairs != tuple(sorted(pairs)):
        raise Permanent(f"frame: labels are not sorted by name: {text[:80]!r}")
    # A node's name stands in the labels of all that it holds.
    return tuple(known.setdefault(pair, pair) for pair in pairs)
