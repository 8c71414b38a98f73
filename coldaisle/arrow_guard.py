"""Refuses Arrow streams whose declared lengths would fill the memory, before Arrow believes them."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa

from coldaisle.errors import Permanent

MOST_FRAME_BYTES = 16 << 20
"""Of one message, as sent and unpacked. 250,000 samples fit; Kafka itself takes 1 MiB unless told otherwise."""

# Field numbers in Arrow's flatbuffers: format/Message.fbs and format/Schema.fbs of the Arrow specification.
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_BUFFERS = 2
_BATCH_COMPRESSION = 3


def refuse_bombs(data: bytes) -> None:
    """
    Refuse a stream that is too large, or whose compressed buffers claim to unpack to too much.

    Arrow allocates what the eight bytes before a compressed buffer say; everything else it bounds by the
    message. Raises Permanent, and whatever Arrow raises on what is no stream.
    """
    if len(data) > MOST_FRAME_BYTES:
        raise Permanent(f"frame: has {len(data):,} bytes; at most {MOST_FRAME_BYTES:,} are read")
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
    unpacked = 0
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if message.type not in ("record batch", "dictionary"):
            continue
        unpacked += _unpacked(message)
        if unpacked > MOST_FRAME_BYTES:
            raise Permanent(f"frame: claims to unpack to {unpacked:,} bytes; at most {MOST_FRAME_BYTES:,} are read")


def _unpacked(message: Any) -> int:
    """Return what the compressed buffers of a message claim to be, unpacked; 0 where it is not compressed."""
    words = memoryview(message.metadata)
    batch = _child(words, _u32(words, 0), _MESSAGE_HEADER)
    if message.type == "dictionary":
        batch = _child(words, batch, _DICTIONARY_DATA)
    if not _field(words, batch, _BATCH_COMPRESSION):
        return 0
    body = memoryview(message.body)
    buffers = _child(words, batch, _BATCH_BUFFERS)
    total = 0
    for number in range(_u32(words, buffers)):
        offset, length = struct.unpack_from("<qq", words, buffers + 4 + 16 * number)
        if length >= 8:
            (claimed,) = struct.unpack_from("<q", body, offset)
            total += max(claimed, 0)  # -1: this one is stored as it is
    return total


def _u32(words: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", words, at)[0])


def _field(words: memoryview, table: int, number: int) -> int:
    """Return where field ``number`` of a flatbuffer's table lies; 0 = it is absent."""
    vtable = table - int(struct.unpack_from("<i", words, table)[0])
    (size,) = struct.unpack_from("<H", words, vtable)
    at = 4 + 2 * number
    if at + 2 > size:
        return 0
    (offset,) = struct.unpack_from("<H", words, vtable + at)
    return table + offset if offset else 0


def _child(words: memoryview, table: int, number: int) -> int:
    """Return where the table or vector lies that field ``number`` points to."""
    at = _field(words, table, number)
    if not at:
        raise Permanent("frame: an Arrow message lacks what it announces")
    return at + _u32(words, at)
