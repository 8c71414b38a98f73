"""The metric store on InfluxDB 2, for many machines."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from coldaisle.clock import Clock, SystemClock, rfc3339
from coldaisle.errors import Permanent
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.matcher import Matcher, all_match
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series
from coldaisle.store import Line
from coldaisle.store.influx_delivery import Delivery, Reject
from coldaisle.store.influx_flux import EARLIEST, LATEST
from coldaisle.store.influx_late import LateWindows
from coldaisle.store.influx_lines import Heads, event_line
from coldaisle.store.influx_queue import Queued, WriteQueue
from coldaisle.store.influx_reader import InfluxReader
from coldaisle.store.influx_server import InfluxServer
from coldaisle.store.influx_settings import InfluxConfig
from coldaisle.store.influx_writer import Batch, InfluxWriter
from coldaisle.store.lines import Numbering, Rows, joined, matching, once, thinned


class InfluxStore:
    """
    Keeps samples and events in InfluxDB 2; safe to use from any thread.

    Written samples are sent by a thread, ``batch_samples`` at a time; ``flush`` returns when InfluxDB has them or,
    where it is away, when they lie in the queue on disk (``queue.folder``), from which they are sent later, also by
    the next process. Reads show what waits in memory, not what waits in that queue. Lines that InfluxDB refuses
    for good go to ``reject``. Without ``writes`` neither thread nor queue exist. Raises ConfigError where the queue's
    folder cannot be used or the server says that token, organisation or bucket are wrong.
    """

    def __init__(
        self,
        config: InfluxConfig,
        clock: Clock | None = None,
        stats: SelfStats | None = None,
        reject: Reject | None = None,
        read_only: bool = False,
    ) -> None:
        stats = stats or SelfStats()
        self._config, self._stats = config, stats
        clock = clock or SystemClock()
        self._server = InfluxServer(config, clock)
        self._reader = InfluxReader(self._server, clock)
        self._lock = threading.RLock()
        self._known, self._heads = Numbering(), Heads()
        self._filling: list[Rows] = []
        self._filling_rows = 0
        self._filling_events: list[Event] = []
        self._closed = False
        self._writer: InfluxWriter | None = None
        if not read_only:
            folder = config.queue.folder
            queue = WriteQueue(folder, config.queue.max_bytes, stats) if folder else None
            self._late = LateWindows(self._server, clock, folder, stats)
            self._writer = InfluxWriter(
                Delivery(self._server, stats, reject), self._lines, queue, stats, self._delivered
            )

    def write(self, frames: Iterable[Frame | Block]) -> None:
        """Take frames. Raises Backpressure when neither memory nor queue have room; then none were taken."""
        writer = self._must_write()
        writer.make_room()
        with self._lock:
            for frame in frames:
                if len(frame):
                    self._take(self._known.rows(frame))
            if self._filling_rows >= self._config.batch_samples:
                self._seal(writer)

    def write_events(self, events: Iterable[Event]) -> None:
        """Take events. Raises Backpressure as ``write`` does."""
        self._must_write().make_room()
        with self._lock:
            self._filling_events += events

    def flush(self) -> None:
        """
        Return when everything written is in InfluxDB or synced in the queue on disk.

        Raises Transient or Backpressure (nothing is lost; flush again), ConfigError, Permanent.
        """
        writer = self._must_write()
        with self._lock:
            self._seal(writer)
        writer.flush()

    def query(
        self,
        metric: str,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        max_points: int = 2000,
        max_series: int = 200,
    ) -> list[Line]:
        """Return the lines of ``metric``, ``start <= timestamp <= end``, thinned so that extremes survive."""
        span = (max(start, EARLIEST), min(end, LATEST))
        if span[0] > span[1]:
            return []
        # What waits is looked at first: a batch that arrives in between is then seen twice, and not never.
        fresh, waiting = self._fresh(metric, matchers, span)
        spans = max(max_points // 2, 1)
        found = self._reader.find(metric, matchers, span, spans)
        stored = {series for part in found for series in part.found.series}
        wanted = list(matching(sorted({*stored, *waiting}), matchers))[:max_series]
        parts = [self._reader.rows(part, wanted, spans, matchers) for part in found]
        positions = {series: position for position, series in enumerate(wanted)}
        known = np.array([positions.get(series, -1) for series in waiting], np.int64)
        if len(fresh[0]):
            chosen = known[fresh[0]]
            parts.append((chosen[chosen >= 0], fresh[1][chosen >= 0], fresh[2][chosen >= 0]))
        return _cut(once(joined(parts)), wanted, max_points)

    def metrics(self) -> list[str]:
        """Return the names of all metrics that have samples, sorted."""
        fresh = {series.metric for series in self._unwritten()}
        return sorted({*fresh, *self._reader.metrics()})

    def series(self, metric: str, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Series]:
        """Return the series of ``metric``, sorted."""
        fresh = [series for series in self._unwritten() if series.metric == metric]
        return sorted({*self._reader.series(metric, matchers), *matching(fresh, matchers)})[:limit]

    def events(self, start: int, end: int, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Event]:
        """Return events of a span, the newest first."""
        with self._lock:
            waiting = [*self._filling_events, *(event for batch in self._batches() for event in batch.events)]
        here = [e for e in waiting if start <= e.timestamp <= end and all_match(tuple(matchers), dict(e.labels))]
        stored = self._reader.events((start, end), matchers, limit)
        unique = {(e.timestamp, e.kind, e.code, e.labels): e for e in (*stored, *here)}
        return sorted(unique.values(), key=lambda event: event.timestamp, reverse=True)[:limit]

    def retain(self, oldest: int) -> int:
        """
        Delete what is older than ``oldest`` (ns); return how many samples went.

        Retention of the buckets does this by itself; here it is for who wants it sooner.
        """
        self.flush()
        last = oldest - 1
        if last < EARLIEST:
            return 0
        gone = self._reader.count_until(last)
        api = self._server.client.delete_api()
        for bucket in (self._config.bucket, self._config.event_bucket):
            self._server.call(
                partial(api.delete, _MOST_PAST, _precise(last), "", bucket, self._config.org), f"bucket {bucket}"
            )
        return gone

    def close(self) -> None:
        """Flush and let go; safe to call twice."""
        with self._lock:
            if self._closed:
                return
        try:
            if self._writer is not None:
                self.flush()
        finally:
            self._closed = True
            if self._writer is not None:
                self._writer.close()
                self._late.close()
            self._server.close()

    def _must_write(self) -> InfluxWriter:
        if self._closed or self._writer is None:
            raise Permanent(f"{self._config.url}: the store is {'closed' if self._closed else 'open for reading only'}")
        return self._writer

    def _take(self, rows: Rows) -> None:
        numbers, times, values = rows
        endless = np.isinf(values)
        if endless.any():
            # Line protocol cannot say infinity, and no sensor reads it.
            self._stats.add("store_samples_dropped_total", float(np.count_nonzero(endless)), reason="infinite")
            numbers, times, values = numbers[~endless], times[~endless], values[~endless]
        if len(values):
            self._filling.append((numbers, times, values))
            self._filling_rows += len(values)

    def _seal(self, writer: InfluxWriter) -> None:
        if self._filling:
            # Sorted by series: it compresses better, and InfluxDB looks each series up once a batch.
            numbers, times, values = once(joined(self._filling))
            step, bucket = self._config.batch_samples, self._config.bucket
            for first in range(0, len(times), step):
                part = slice(first, first + step)
                rows = (numbers[part], times[part], values[part])
                writer.add(Batch(bucket, len(rows[1]), int(rows[1].min()), int(rows[1].max()), rows))
            self._filling, self._filling_rows = [], 0
        if self._filling_events:
            every = tuple(self._filling_events)
            moments = [event.timestamp for event in every]
            writer.add(Batch(self._config.event_bucket, len(every), min(moments), max(moments), events=every))
            self._filling_events = []

    def _lines(self, batch: Batch) -> bytes:
        if batch.rows is None:
            return b"".join(map(event_line, batch.events))
        return self._heads.lines(self._known.series, *batch.rows)

    def _delivered(self, batch: Batch | Queued) -> None:
        if batch.bucket != self._config.bucket:
            return
        if isinstance(batch, Queued):
            self._late.note_body(batch.body, batch.first, batch.last)
        elif batch.rows is not None:
            self._late.note(batch.rows[1])

    def _batches(self) -> list[Batch]:
        return self._writer.waiting() if self._writer is not None else []

    def _parts(self) -> list[Rows]:
        with self._lock:
            return [*(batch.rows for batch in self._batches() if batch.rows is not None), *self._filling]

    def _unwritten(self) -> list[Series]:
        with self._lock:
            return [self._known.series[number] for part in self._parts() for number in np.unique(part[0]).tolist()]

    def _fresh(self, metric: str, matchers: Sequence[Matcher], span: tuple[int, int]) -> tuple[Rows, list[Series]]:
        """Return what waits in memory, and its series, of which the rows name the positions."""
        with self._lock:
            fitting = list(matching([series for series in set(self._unwritten()) if series.metric == metric], matchers))
            numbers = np.array([self._known.number(series) for series in fitting], np.int64)
            rows = joined(self._parts())
        here = (rows[1] >= span[0]) & (rows[1] <= span[1]) & np.isin(rows[0], numbers)
        order = np.argsort(numbers)
        at = order[np.searchsorted(numbers[order], rows[0][here])]
        return (at, rows[1][here], rows[2][here]), fitting


def _cut(rows: Rows, series: Sequence[Series], max_points: int) -> list[Line]:
    codes, times, values = rows
    bounds = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), len(codes)]
    return [
        Line(series[int(codes[first])], *thinned(times[first:last], values[first:last], max_points))
        for first, last in pairwise(bounds)
    ]


_MOST_PAST = "1677-09-21T00:12:44Z"


def _precise(timestamp: int) -> str:
    seconds, rest = divmod(timestamp, 1_000_000_000)
    return f"{rfc3339(seconds * 1_000_000_000).removesuffix('Z')}.{rest:09d}Z"
