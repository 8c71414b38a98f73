"""A bounded queue of batches on disk that never drops any: when it is full it says so."""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from collections import deque
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from coldaisle.errors import Backpressure, ConfigError, Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store.recording_writer import sync

_LOG = logging.getLogger(__name__)
_HEAD = struct.Struct(">4sIHIIqq")  # magic, crc32 of what follows the head, length of bucket, of body, lines, span
_MAGIC = b"CIQ1"
_SUFFIX = ".queue"
_SEGMENT_BYTES = 8 << 20


class Queued(NamedTuple):
    """
    A batch that has not reached InfluxDB: gzipped lines for a bucket, and the span of their times (ns).

    Bodies may be joined: several gzip members one after another are gzip, too (RFC 1952, 2.2).
    """

    bucket: str
    body: bytes
    lines: int
    first: int
    last: int


class WriteQueue:
    """
    Segments of batches in ``folder``, oldest first, together at most ``max_bytes``.

    What ``append`` took is safe after ``sync``. A segment is deleted only after all of it was delivered; what a
    killed process had delivered of it is delivered again, which is harmless. A torn tail was never synced, so
    nobody counted on it; a segment broken elsewhere is kept aside and counted. Not thread-safe: its owner locks.
    """

    def __init__(self, folder: Path, max_bytes: int, stats: SelfStats) -> None:
        """Raises ConfigError when ``folder`` cannot be written or another process uses it."""
        self._folder, self._max_bytes, self._stats = folder, max_bytes, stats
        stats.describe("store_queue_bytes", "gauge", "What waits on disk for InfluxDB.")
        stats.describe("store_queue_broken_total", "counter", "Parts of the queue on disk that could not be read.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._sizes = {path: path.stat().st_size for path in sorted(folder.glob(f"*{_SUFFIX}"))}
        except BlockingIOError as error:
            raise ConfigError(
                f"{folder}: another process uses this queue; give each store a folder of its own"
            ) from error
        except OSError as error:
            raise ConfigError(f"{folder}: the queue cannot be kept there: {error.strerror}; choose another") from error
        self._next = int(max(self._sizes).stem) + 1 if self._sizes else 1
        self._open: int | None = None
        self._open_path: Path | None = None
        self._dirty = False
        self._reading: Path | None = None
        self._read: deque[Queued] = deque()
        self._gauge()

    def __bool__(self) -> bool:
        """Return whether something waits."""
        return bool(self._sizes)

    @property
    def held_bytes(self) -> int:
        """What waits."""
        return sum(self._sizes.values())

    def append(self, batch: Queued) -> None:
        """Take ``batch``. Raises Backpressure when it does not fit, Transient when the disk refuses."""
        bucket = batch.bucket.encode()
        record = bucket + batch.body
        about = (len(bucket), len(batch.body), batch.lines, batch.first, batch.last)
        record = _HEAD.pack(_MAGIC, crc32(record), *about) + record
        if self.held_bytes + len(record) > self._max_bytes:
            raise Backpressure(
                f"{self._folder}: the queue for InfluxDB is full ({self.held_bytes >> 20} MB); the bus keeps the rest",
                5.0,
            )
        path: Path | None = None
        try:
            path = self._segment()
            assert self._open is not None
            view = memoryview(record)
            while view:
                view = view[os.write(self._open, view) :]
        except OSError as error:
            self._cut_back(path)
            raise Transient(f"{self._folder}: the queue cannot be written: {error.strerror}") from error
        self._sizes[path] += len(record)
        self._dirty = True
        self._gauge()

    def sync(self) -> None:
        """Return when everything appended is on the disk. Raises Transient."""
        if not self._dirty or self._open is None:
            return
        try:
            os.fsync(self._open)
            sync(self._folder)
        except OSError as error:
            raise Transient(f"{self._folder}: the queue cannot be synced: {error.strerror}") from error
        self._dirty = False

    def oldest(self) -> Queued | None:
        """Return the oldest batch, the same one until ``done``; None when nothing waits."""
        while not self._read and self._sizes:
            path = self._reading = next(iter(self._sizes))
            if path == self._open_path:
                self._seal()
            self._read = deque(self._load(path))
            if not self._read:
                self._delete(path)
        return self._read[0] if self._read else None

    def oldest_run(self, most_lines: int) -> list[Queued]:
        """Return the oldest batch and those after it that may go in one request: one bucket, about so many lines."""
        first = self.oldest()
        run: list[Queued] = []
        lines = 0
        for batch in self._read if first else ():
            if run and (batch.bucket != run[0].bucket or lines + batch.lines > most_lines):
                break
            run.append(batch)
            lines += batch.lines
        return run

    def done(self, count: int = 1) -> None:
        """Forget the oldest ``count`` batches of those that ``oldest_run`` returned: they are durable elsewhere."""
        for _ in range(count):
            self._read.popleft()
        if not self._read and self._reading is not None:
            self._delete(self._reading)

    def close(self) -> None:
        """Sync and let go of the folder; safe to call twice."""
        if self._lock < 0:
            return
        self._seal()
        os.close(self._lock)
        self._lock = -1

    def _segment(self) -> Path:
        if self._open_path is not None and self._sizes[self._open_path] >= _SEGMENT_BYTES:
            self._seal()
        if self._open_path is None:
            path = self._folder / f"{self._next:012d}{_SUFFIX}"
            self._open = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._open_path = path
            self._sizes[path] = 0
            self._next += 1
        return self._open_path

    def _cut_back(self, path: Path | None) -> None:
        """A torn record would hide what is written after it."""
        if path is None or self._open is None:
            return
        os.ftruncate(self._open, self._sizes[path])
        os.lseek(self._open, self._sizes[path], os.SEEK_SET)

    def _seal(self) -> None:
        if self._open is None:
            return
        self.sync()
        os.close(self._open)
        self._open = self._open_path = None

    def _delete(self, path: Path) -> None:
        del self._sizes[path]
        path.unlink(missing_ok=True)
        self._reading = None
        self._gauge()

    def _load(self, path: Path) -> list[Queued]:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise Transient(f"{path}: cannot be read: {error.strerror}") from error
        batches: list[Queued] = []
        at = 0
        while at + _HEAD.size <= len(data):
            magic, check, bucket, body, lines, first, last = _HEAD.unpack_from(data, at)
            record = data[at + _HEAD.size : at + _HEAD.size + bucket + body]
            if magic != _MAGIC or len(record) != bucket + body or crc32(record) != check:
                break
            batches.append(Queued(record[:bucket].decode(), record[bucket:], lines, first, last))
            at += _HEAD.size + len(record)
        if at < len(data):
            aside = path.with_suffix(".broken")
            aside.write_bytes(data[at:])
            self._stats.add("store_queue_broken_total")
            _LOG.warning("%s: its last %d bytes cannot be read; kept as %s", path, len(data) - at, aside)
        return batches

    def _gauge(self) -> None:
        self._stats.set("store_queue_bytes", float(self.held_bytes))
