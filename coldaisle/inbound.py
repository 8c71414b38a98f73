"""Reads what anybody writes to the topic ``frames``: our frames, and what Telegraf sends without saying what it is."""

from __future__ import annotations

from typing import NamedTuple

from coldaisle.bus import Message
from coldaisle.codec import ARROW, LINE_PROTOCOL, LayoutCache, decode_frame
from coldaisle.errors import Permanent
from coldaisle.frame import Frame
from coldaisle.line_protocol import LineReader, Refused
from coldaisle.plausible import refuse_absurd
from coldaisle.selfstats import SelfStats

LINES_COLLECTOR = "telegraf"
_LINES_TYPES = frozenset({LINE_PROTOCOL, "text/plain"})
_ARROW_BEGINS = b"\xff\xff\xff\xff"
"""Of every Arrow stream since format 0.15 (its continuation mark); no UTF-8 text holds such a byte."""


class Inbound(NamedTuple):
    """What a message holds: frames, and lines that are poison while the rest of the message is not."""

    frames: list[Frame]
    refused: list[Refused]


class FrameReader:
    """Reads messages of the topic ``frames``; remembers layouts. One for each thread."""

    def __init__(self, stats: SelfStats) -> None:
        self._layouts = LayoutCache()
        self._lines = LineReader(stats)

    def read(self, message: Message) -> Inbound:
        """
        Return what ``message`` holds. Raises Permanent with the reason where it is poison as a whole.

        Its header ``content-type`` decides how it is read; without one its first bytes do. What is dated before
        2000 or more than a day after the bus received it is poison, so that a message read again is judged
        the same.
        """
        kind = message.headers.get("content-type") if message.headers else None
        if kind is None and message.value.startswith(_ARROW_BEGINS):
            kind = ARROW
        if kind == ARROW:
            frame = decode_frame(message.value, self._layouts)
            try:
                refuse_absurd(frame, message.timestamp)
            except Permanent as error:
                raise Permanent(f"frame of {frame.node!r:.200}: {error}") from error
            return Inbound([frame], [])
        if kind is not None and kind.partition(";")[0].strip().lower() not in _LINES_TYPES:
            raise Permanent(f"has content-type {kind[:100]!r}; frames are {ARROW} or {LINE_PROTOCOL}")
        if kind is None and not _may_be_text(message.value):
            raise Permanent("is neither an Arrow stream nor line protocol, which are what frames may be")
        lines = self._lines.read(message.value, LINES_COLLECTOR, message.timestamp)
        if lines.refused and not lines.frames:
            raise Permanent(f"line protocol: line {lines.refused[0].number}: {lines.refused[0].reason}")
        return Inbound(lines.frames, lines.refused)


def _may_be_text(data: bytes) -> bool:
    return b"\0" not in data[:64] and bool(data.strip())
