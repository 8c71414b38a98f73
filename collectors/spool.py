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
_MAGIC = b"CDSPOOL"
_VERSION = b"2"
_HEAD = struct.Struct(">IqHII")  # crc32 of all that follows it, time (ns), length of topic, of key, of value
_HEAD_1 = struct.Struct(">IHHI")  # version 1: no magic, no time; crc32 of topic, key and value
_SUFFIX = ".spool"
_SEGMENTS = 16  # a full spool drops a sixteenth of itself at a time


class Waiting(NamedTuple):
    """A message that has not reached the bus yet."""

    topic: str
    key: bytes
    value: bytes
    at: int = 0  # ns, when it was shipped; 0 = unknown


class Taken(NamedTuple):
    """The oldest messages, and the segment that they lie in until they are confirmed."""

    segment: Path
    messages: list[Waiting]
    last: bool  # nothing else waits on disk


class Spool:
    """
    Segments of messages in ``folder``, oldest first, together at most ``max_bytes``.

    When it is full the oldest segment goes, counted. A message leaves only by :meth:`confirm`, so what was
    read but not made durable on the bus comes again, in another process too; a torn tail (the process was
    killed) is skipped, counted. Not thread-safe: its owner locks.
    """

    def __init__(self, folder: Path, max_bytes: int, stats: SelfStats) -> None:
        """Raises ConfigError when ``folder`` cannot be written, or holds what a newer version wrote."""
        self._folder, self._max_bytes, self._stats = folder, max_bytes, stats
        self._segment_bytes = max(1, max_bytes // _SEGMENTS)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._segments = deque(sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit()))
            self._sizes = {path: path.stat().st_size for path in self._segments}
        except OSError as error:
            raise ConfigError(f"{folder}: the spool cannot be kept there: {error.strerror}; choose another") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder}: the spool cannot be written; give it to this user or choose another")
        for path in self._segments:
            _refuse_newer(path)
        self._next = int(self._segments[-1].stem) + 1 if self._segments else 1
        self._open: Path | None = None
        self._unwritable = False
        self._loaded: tuple[Path, list[Waiting]] | None = None  # the oldest segment, while it is being sent
        self._sent = 0  # of the oldest segment
        self._oldest_at: tuple[Path, int] | None = None
        self._gauge()

    def __len__(self) -> int:
        """Return how many segments wait."""
        return len(self._segments)

    @property
    def held_bytes(self) -> int:
        """What it holds."""
        return sum(self._sizes.values())

    @property
    def max_bytes(self) -> int:
        """What it may hold."""
        return self._max_bytes

    def oldest_at(self) -> int | None:
        """Return when the oldest message was shipped (ns); 0 where that is unknown, None when nothing waits."""
        if not self._segments:
            return None
        path = self._segments[0]
        if self._loaded is not None and self._loaded[0] == path and self._sent < len(self._loaded[1]):
            return self._loaded[1][self._sent].at
        if self._oldest_at is None or self._oldest_at[0] != path:
            self._oldest_at = path, _first_time(path)
        return self._oldest_at[1]

    def append(self, message: Waiting) -> None:
        """Keep ``message``; where the disk refuses, it is dropped and counted."""
        topic = message.topic.encode()
        head = _HEAD.pack(0, message.at, len(topic), len(message.key), len(message.value))[4:]
        body = b"".join((head, topic, message.key, message.value))
        record = crc32(body).to_bytes(4, "big") + body
        if self._open is None or self._sizes[self._open] + len(record) > self._segment_bytes:
            self.seal()
            self._open = self._folder / f"{self._next:012d}{_SUFFIX}"
            self._next += 1
            self._segments.append(self._open)
            self._sizes[self._open] = 0
        if not self._sizes[self._open]:
            record = _MAGIC + _VERSION + record
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

    def take(self, count: int) -> Taken | None:
        """Return up to ``count`` of the oldest messages, which stay here until confirmed; None when nothing waits."""
        while self._segments:
            path, messages = self._load()
            if self._sent < len(messages):
                found = messages[self._sent : self._sent + count]
                last = len(self._segments) == 1 and self._sent + len(found) == len(messages)
                return Taken(path, found, last)
            self._delete_oldest()
        return None

    def confirm(self, taken: Taken) -> None:
        """Let go of messages that are durable elsewhere."""
        if not self._segments or self._segments[0] != taken.segment:
            return  # it was dropped meanwhile, since the spool is full
        self._sent += len(taken.messages)
        if self._sent >= len(self._load()[1]):
            self._delete_oldest()

    def unload(self) -> None:
        """Keep nothing in memory while the bus is away."""
        self._loaded = None

    def _load(self) -> tuple[Path, list[Waiting]]:
        path = self._segments[0]
        if self._loaded is None or self._loaded[0] != path:
            if path == self._open:
                self.seal()
            self._loaded = path, self._read(path)
        return self._loaded

    def _read(self, path: Path) -> list[Waiting]:
        try:
            data = path.read_bytes()
        except OSError as error:
            _log.error("%s: cannot be read: %s; dropped", path, error.strerror)
            self._stats.add("shipper_messages_dropped_total", reason="spool unreadable")
            return []
        messages, read = decode_segment(data)
        if read < len(data):
            _log.warning("%s: %d bytes at its end are torn; skipped", path, len(data) - read)
            self._stats.add("shipper_messages_dropped_total", reason="spool torn")
        return messages

    def _drop_oldest(self) -> None:
        _, messages = self._load()
        self._stats.add("shipper_messages_dropped_total", len(messages) - self._sent, reason="spool full")
        self._delete_oldest()

    def _delete_oldest(self) -> None:
        path = self._segments.popleft()
        if path == self._open:
            self._open = None
        del self._sizes[path]
        self._loaded, self._sent = None, 0
        path.unlink(missing_ok=True)
        self._gauge()

    def _gauge(self) -> None:
        self._stats.set("shipper_spool_bytes", float(self.held_bytes))


def decode_segment(data: bytes) -> tuple[list[Waiting], int]:
    """Return the messages of a segment, and how many of its bytes were whole."""
    first = not data.startswith(_MAGIC)
    messages: list[Waiting] = []
    at = 0 if first else len(_MAGIC) + 1
    head_size = _HEAD_1.size if first else _HEAD.size
    while at + head_size <= len(data):
        if first:
            check, topic, key, value = _HEAD_1.unpack_from(data, at)
            shipped, covered = 0, at + head_size
        else:
            check, shipped, topic, key, value = _HEAD.unpack_from(data, at)
            covered = at + 4
        start = at + head_size
        end = start + topic + key + value
        if end > len(data) or crc32(data[covered:end]) != check:
            break
        key_at, value_at = start + topic, start + topic + key
        messages.append(Waiting(data[start:key_at].decode(), data[key_at:value_at], data[value_at:end], shipped))
        at = end
    return messages, at


def _first_time(path: Path) -> int:
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC) + 1 + _HEAD.size)
    except OSError:
        return 0
    if not begin.startswith(_MAGIC) or len(begin) < len(_MAGIC) + 1 + _HEAD.size:
        return 0
    return int(_HEAD.unpack_from(begin, len(_MAGIC) + 1)[1])


def _refuse_newer(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC) + 1)
    except OSError:
        return  # reading it later says why
    if begin.startswith(_MAGIC) and begin[len(_MAGIC) :] not in (_VERSION, b""):
        raise ConfigError(
            f"{path}: a newer Coldaisle wrote it (format {begin[len(_MAGIC) :].decode('latin-1')}; this one knows "
            f"{_VERSION.decode()}); start that version to send it, or move the file away to give it up"
        )
