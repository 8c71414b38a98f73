"""Remembers the frames a reader has met, so that the next one like it costs two views."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from coldaisle.frame import Frame
from coldaisle.series import Layout


class Head(NamedTuple):
    """Everything of a message but its two columns of numbers: three stretches of bytes that never change."""

    before: bytes
    between: bytes
    after: bytes


class _Met(NamedTuple):
    """A message met before: whose it is, its unchanging bytes, and where its numbers lie, counted in bytes."""

    collector: str
    node: str
    layout: Layout
    head: Head
    rows: int
    time_at: int
    value_at: int
    length: int  # of the whole message
    sender: str


class LayoutCache:
    """
    The layouts a reader has met, by digest, and the messages that carried them, by their schema's bytes.

    A message that equals a known one in every byte but its numbers needs no Arrow at all: two views. Bounded
    in number and in bytes, the longest unused goes first. One for each thread.
    """

    def __init__(self, capacity: int = 65_536, capacity_bytes: int = 512 << 20) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._layouts: OrderedDict[str, Layout] = OrderedDict()
        self._met: OrderedDict[bytes, _Met] = OrderedDict()

    def __len__(self) -> int:
        return len(self._layouts)

    def intern(self, layout: Layout) -> Layout:
        """Return the one layout that stands for all equal to ``layout``."""
        known = self._layouts.setdefault(layout.digest, layout)
        self._layouts.move_to_end(layout.digest)
        if len(self._layouts) > self._capacity:
            self._layouts.popitem(last=False)
        return known

    def recall(self, data: bytes) -> Frame | None:
        """Return the frame where all but the numbers of ``data`` was met before, else None."""
        met = self._met.get(_schema_part(data))
        if met is None:
            return None
        collector, node, layout, (before, between, after), rows, time_at, value_at, length, sender = met
        if (
            len(data) != length
            or not data.startswith(before)
            or (between and not data.startswith(between, value_at - len(between)))
            or not data.endswith(after)
        ):
            return None
        times = np.frombuffer(data, np.int64, rows, time_at)
        return Frame(collector, node, layout, times, np.frombuffer(data, np.float64, rows, value_at), sender)

    def remember(self, data: bytes, frame: Frame, time_at: int, value_at: int) -> None:
        """Note where the numbers of ``data`` lie, counted in bytes."""
        rows, size = len(frame), 8 * len(frame)
        head = Head(data[:time_at], data[time_at + size : value_at], data[value_at + size :])
        met = _Met(frame.collector, frame.node, frame.layout, head, rows, time_at, value_at, len(data), frame.sender)
        key = _schema_part(data)
        self._forget(self._met.pop(key, None))
        self._met[key] = met
        self._bytes += _weight(met)
        while len(self._met) > 1 and (len(self._met) > self._capacity or self._bytes > self._capacity_bytes):
            self._forget(self._met.popitem(last=False)[1])

    def _forget(self, met: _Met | None) -> None:
        if met is not None:
            self._bytes -= _weight(met)


def _weight(met: _Met) -> int:
    return sum(map(len, met.head))


def _schema_part(data: bytes) -> bytes:
    """Return the first message of an Arrow stream (a mark, its length, itself): the schema with its metadata."""
    return data[: 8 + int.from_bytes(data[4:8], "little")]
