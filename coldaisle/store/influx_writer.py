"""What waits for InfluxDB: some batches in memory, the rest in a queue on disk; a thread sends them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from coldaisle.errors import Backpressure, ColdaisleError, Permanent, Transient
from coldaisle.event import Event
from coldaisle.selfstats import SelfStats
from coldaisle.store.influx_delivery import Delivery
from coldaisle.store.influx_queue import Queued, WriteQueue
from coldaisle.store.influx_server import zipped
from coldaisle.store.lines import Rows

_LOG = logging.getLogger(__name__)
_MOST_BATCHES = 16
"""In memory; 16 batches of 20,000 samples are 8 MB of columns."""
_PATIENCE_SECONDS = 5.0
"""How long a writer waits for a server that answers before what waits goes to the disk instead."""
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What is sent in one request: samples or events of one bucket, and the span of their times (ns)."""

    bucket: str
    size: int
    first: int
    last: int
    rows: Rows | None = None
    events: tuple[Event, ...] = ()


class InfluxWriter:
    """
    Sends batches in their order, from a thread of its own; safe to use from any thread.

    A batch is durable when InfluxDB has it or when it lies synced in ``queue``. The queue is used only while
    the server is away or too slow: a store that works leaves nothing on the disk of its machine.
    """

    def __init__(
        self,
        delivery: Delivery,
        lines: Callable[[Batch], bytes],
        queue: WriteQueue | None,
        stats: SelfStats,
        delivered: Callable[[Batch | Queued], None],
    ) -> None:
        """
        ``lines`` turns a batch into line protocol; several threads call it, one at a time.

        ``delivered`` is told what InfluxDB took.
        """
        self._delivery, self._lines, self._queue, self._stats = delivery, lines, queue, stats
        self._delivered, self._most_lines = delivered, delivery.most_lines
        self._changed = threading.Condition()
        self._formatting = threading.Lock()
        self._waiting: deque[Batch] = deque()
        self._trouble: ColdaisleError | None = None
        self._attempts, self._hurry = 0, False
        self._closed = False
        stats.describe("store_queued_total", "counter", "Samples and events that waited on disk for InfluxDB.")
        stats.describe("store_away", "gauge", "Whether InfluxDB could not be written the last time.")
        self._thread = threading.Thread(target=self._run, name="influx-writer", daemon=True)
        self._thread.start()

    def waiting(self) -> list[Batch]:
        """Return what is in memory only."""
        with self._changed:
            return list(self._waiting)

    @property
    def queued(self) -> bool:
        """Whether something waits on disk."""
        with self._changed:
            return bool(self._queue)

    def make_room(self) -> None:
        """Return when memory has room. Raises Backpressure when neither it nor the queue has any; ConfigError."""
        with self._changed:
            if len(self._waiting) < _MOST_BATCHES:
                return
            self._wait(lambda: len(self._waiting) < _MOST_BATCHES)
            if len(self._waiting) < _MOST_BATCHES:
                return
            self._raise_if_hopeless()
            if self._queue is None:
                raise Backpressure(f"{len(self._waiting)} batches wait for InfluxDB{self._because()}")
            self._to_disk(self._queue)

    def add(self, batch: Batch) -> None:
        """Take ``batch``; ask for room first."""
        with self._changed:
            self._waiting.append(batch)
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when everything added is durable. Raises Transient, Backpressure, ConfigError, Permanent."""
        with self._changed:
            self._try_once_more()
            if not self._queue:
                self._wait(lambda: not self._waiting)
            if self._waiting:
                self._raise_if_hopeless()
                if self._queue is None:
                    raise self._trouble or Transient("InfluxDB is slow; batches still wait")
                self._to_disk(self._queue)
            if self._queue is not None:
                self._queue.sync()

    def close(self) -> None:
        """Stop sending; flush first. What is in the queue stays for the next start."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._queue is not None:
            self._queue.close()

    def _wait(self, done: Callable[[], bool]) -> None:
        deadline = monotonic() + _PATIENCE_SECONDS
        while not done() and self._trouble is None and (left := deadline - monotonic()) > 0:
            self._changed.wait(left)

    def _try_once_more(self) -> None:
        """Somebody may have mended what only a person can mend: ask before it is told again."""
        if self._waiting and self._trouble is not None and not isinstance(self._trouble, Transient):
            before, self._hurry = self._attempts, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._attempts > before, _PATIENCE_SECONDS)

    def _raise_if_hopeless(self) -> None:
        if self._trouble is not None and not isinstance(self._trouble, Transient):
            raise self._trouble

    def _because(self) -> str:
        return f": {self._trouble}" if self._trouble else ""

    def _to_disk(self, queue: WriteQueue) -> None:
        while self._waiting:
            batch = self._waiting[0]
            body = zipped(self._body(batch))
            queue.append(Queued(batch.bucket, body, batch.size, batch.first, batch.last))
            self._stats.add("store_queued_total", batch.size)
            self._waiting.popleft()
        self._changed.notify_all()

    def _body(self, batch: Batch) -> bytes:
        with self._formatting:
            return self._lines(batch)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._waiting or self._queue):
                    self._changed.wait()
                if self._closed:
                    return
            try:
                self._send_next()
                trouble: ColdaisleError | None = None
            except ColdaisleError as error:
                trouble = error
            except Exception as error:
                # Not ours: a defect. Nothing is lost; whoever flushes next is told, and the trace is in the log.
                _LOG.exception("the writer of InfluxDB failed")
                trouble = Permanent(f"the writer of InfluxDB failed: {error!r}; the log has the trace")
            with self._changed:
                self._trouble = trouble
                self._attempts += 1
                self._stats.set("store_away", float(trouble is not None))
                self._changed.notify_all()
                if trouble is not None and not self._closed:
                    # What is written meanwhile wakes nobody: the server asked for this pause, or is away.
                    pause = monotonic() + getattr(trouble, "retry_after_seconds", _RETRY_SECONDS)
                    while not (self._closed or self._hurry) and (left := pause - monotonic()) > 0:
                        self._changed.wait(left)
                self._hurry = False

    def _send_next(self) -> None:
        with self._changed:
            queued = self._queue.oldest_run(self._most_lines) if self._queue else []
            batch = self._waiting[0] if not queued and self._waiting else None
        if queued:
            self._delivery.send_zipped(queued[0].bucket, b"".join(each.body for each in queued))
            for each in queued:
                self._delivered(each)
        elif batch is not None:
            self._delivery.send(batch.bucket, self._body(batch))
            self._delivered(batch)
        with self._changed:
            if queued:
                assert self._queue is not None
                self._queue.done(len(queued))
            elif self._waiting and self._waiting[0] is batch:
                # Else it has gone to the disk meanwhile and is sent once more, which is harmless.
                self._waiting.popleft()
            self._changed.notify_all()
