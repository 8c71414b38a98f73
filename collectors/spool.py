"""A bounded queue of messages on disk, for the time in which the bus is away."""

from __future__ import annotations

import logging
import os
import struct
from collections import deque
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats

_log = logging.getLogger(__name__)
_HEAD = struct.Struct(">IHHI")  # crc32 of what follows it, length of topic, of key, of value
_SUFFIX = ".spool"
_SEGMENTS = 16  # a full spool drops a sixteenth of itself at a time


class Waiting(NamedTuple):
    """A message that has not reached the bus yet."""

    topic: str
    key: bytes
    value: bytes


class Spool:
    """
    Segments of messages in ``folder``, oldest first, together at most ``max_bytes``.

    When it is full the oldest segment goes, counted. A segment is deleted only by :meth:`done`, so what was
    read but not made durable on the bus comes again; a torn tail (the process was killed) is skipped,
    counted. Not thread-safe: its owner locks.
    """

    def __init__(self, folder: Path, max_bytes: int, stats: SelfStats) -> None:
        """Raises ConfigError when ``folder`` cannot be written."""
        self._folder, self._max_bytes, self._stats = folder, max_bytes, stats
        self._segment_bytes = max(1, max_bytes // _SEGMENTS)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._segments = deque(sorted(folder.glob(f"*{_SUFFIX}")))
            self._sizes = {path: path.stat().st_size for path in self._segments}
        except OSError as error:
            raise ConfigError(f"{folder}: the spool cannot be kept there: {error.strerror}; choose another") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder}: the spool cannot be written; give it to this user or choose another")
        self._next = int(self._segments[-1].stem) + 1 if self._segments else 1
        self._open: Path | None = None
        self._unwritable = False
        self._gauge()

    def __len__(self) -> int:
        """Return how many segments wait."""
        return len(self._segments)

    @property
    def held_bytes(self) -> int:
        """What it holds."""
        return sum(self._sizes.values())

    def append(self, message: Waiting) -> None:
        """Keep ``message``; where the disk refuses, it is dropped and counted."""
        topic = message.topic.encode()
        body = topic + message.key + message.value
        record = _HEAD.pack(crc32(body), len(topic), len(message.key), len(message.value)) + body
        if self._open is None or self._sizes[self._open] + len(record) > self._segment_bytes:
            self.seal()
            self._open = self._folder / f"{self._next:012d}{_SUFFIX}"
            self._next += 1
            self._segments.append(self._open)
            self._sizes[self._open] = 0
        try:
            with self._open.open("ab") as file:
                file.write(record)
        except OSError as error:
            self._stats.add("shipper_messages_dropped_total", reason="spool unwritable")
            if not self._unwritable:
                _log.error("%s: the spool cannot be written: %s; messages are lost", self._folder, error.strerror)
            self._unwritable = True
            # A torn record would hide what is written after it.
            self._open = None
            return
        self._unwritable = False
        self._sizes[self._open] += len(record)
        self._stats.add("shipper_messages_spooled_total")
        while self.held_bytes > self._max_bytes and len(self._segments) > 1:
            self._drop_oldest()
        self._gauge()

    def seal(self) -> None:
        """Make the segment that is being written safe on disk, so that it can be read."""
        if self._open is None:
            return
        try:
            with self._open.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            _log.warning("%s: cannot be synced: %s", self._open, error.strerror)
        self._open = None

    def oldest(self) -> tuple[Path, list[Waiting]] | None:
        """Return the oldest segment and its messages, or None when nothing waits."""
        if not self._segments:
            return None
        path = self._segments[0]
        if path == self._open:
            self.seal()
        try:
            data = path.read_bytes()
        except OSError as error:
            _log.error("%s: cannot be read: %s; dropped", path, error.strerror)
            self._stats.add("shipper_messages_dropped_total", reason="spool unreadable")
            data = b""
        return path, self._decode(data, path)

    def done(self, path: Path) -> None:
        """Delete a segment whose messages are durable elsewhere."""
        if path in self._sizes:
            self._segments.remove(path)
            del self._sizes[path]
        path.unlink(missing_ok=True)
        self._gauge()

    def _drop_oldest(self) -> None:
        found = self.oldest()
        if found is not None:
            self._stats.add("shipper_messages_dropped_total", len(found[1]), reason="spool full")
            self.done(found[0])

    def _decode(self, data: bytes, path: Path) -> list[Waiting]:
        messages: list[Waiting] = []
        at = 0
        while at < len(data):
            if at + _HEAD.size > len(data):
                break
            check, topic, key, value = _HEAD.unpack_from(data, at)
            body = data[at + _HEAD.size : at + _HEAD.size + topic + key + value]
            if len(body) != topic + key + value or crc32(body) != check:
                break
            messages.append(Waiting(body[:topic].decode(), body[topic : topic + key], body[topic + key :]))
            at += _HEAD.size + len(body)
        if at < len(data):
            _log.warning("%s: %d bytes at its end are torn; skipped", path, len(data) - at)
            self._stats.add("shipper_messages_dropped_total", reason="spool torn")
        return messages

    def _gauge(self) -> None:
        self._stats.set("shipper_spool_bytes", float(self.held_bytes))
