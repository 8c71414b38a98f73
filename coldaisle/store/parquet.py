"""The embedded metric store: Parquet segments on disk, read through DuckDB in memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from coldaisle.clock import HOUR, Clock, SystemClock
from coldaisle.errors import Backpressure, ConfigError, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.matcher import Matcher, all_match
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series
from coldaisle.store import Line
from coldaisle.store.event_files import EventFiles
from coldaisle.store.lines import Numbering, Rows, joined, matching, once, thinned
from coldaisle.store.segments import Segments, labels_text, reason, series_in
from coldaisle.store.series_index import SeriesIndex

_LOG = logging.getLogger(__name__)
_FLUSH_ROWS = 2_000_000
_RAW_ROWS = 4_000_000
"""Above this many samples a query is thinned while it is read (some 100 MB)."""
_TRIES = 3


class ParquetStore:
    """
    Keeps samples below ``folder``; one process writes, any number read (``read_only``).

    Written samples wait in memory until ``flush`` (or until ``flush_rows`` wait) and are durable after it.
    A killed writer leaves temporary files; the next start deletes them and says so in ``repaired``. A
    segment that cannot be read is moved to ``broken/`` and counted. Safe to use from any thread. Raises
    ConfigError where ``folder`` cannot be made, Transient (naming the folder) where the disk is full.
    """

    def __init__(
        self,
        folder: Path | str,
        clock: Clock | None = None,
        stats: SelfStats | None = None,
        flush_rows: int = _FLUSH_ROWS,
        read_only: bool = False,
    ) -> None:
        self._folder = Path(folder)
        self._clock = clock or SystemClock()
        self._stats = stats or SelfStats()
        self._flush_rows = flush_rows
        self._read_only = read_only
        self._lock = threading.RLock()
        self._known = Numbering()
        self._waiting: list[Rows] = []
        self._waiting_rows = 0
        self._waiting_events: list[Event] = []
        self._segments = Segments(self._folder / "samples", self._stats)
        self._event_files = EventFiles(self._folder / "events", self._stats)
        self._index = SeriesIndex(self._folder / "series.jsonl")
        self._closed = False
        self.repaired = self._open()
        self._compacted_hour = self._clock.now() // HOUR
        self._compacting: threading.Thread | None = None
        self._closing = threading.Event()
        self._con = duckdb.connect(":memory:")
        self._con.execute("SET preserve_insertion_order = false")

    def write(self, frames: Iterable[Frame | Block]) -> None:
        """Take frames. Raises Backpressure when the disk has refused so long that memory is full."""
        with self._lock:
            self._must_write()
            if self._waiting_rows >= 4 * self._flush_rows:
                raise Backpressure(f"{self._folder}: {self._waiting_rows} samples wait for the disk")
            for frame in frames:
                if len(frame):
                    self._waiting.append(self._known.rows(frame))
                    self._waiting_rows += len(frame)
            if self._waiting_rows >= self._flush_rows:
                self.flush()

    def write_events(self, events: Iterable[Event]) -> None:
        """Take events."""
        with self._lock:
            self._must_write()
            self._waiting_events += events

    def flush(self) -> None:
        """Return when everything written is on the disk. Raises Transient; then nothing was lost."""
        with self._lock:
            if self._waiting:
                rows = joined(self._waiting)
                self._index.add(self._known.series[number] for number in np.unique(rows[0]).tolist())
                # A failure between two segments writes the first twice, which a query does not show.
                self._segments.write(rows, self._known)
                self._waiting, self._waiting_rows = [], 0
            if self._waiting_events:
                self._event_files.write(self._waiting_events)
                self._waiting_events = []
            self._compact_what_is_over()

    def _compact_what_is_over(self) -> None:
        """Begin to merge the segments of the hours that are over; nobody who writes or asks waits for it."""
        hour = self._clock.now() // HOUR
        if hour <= self._compacted_hour or (self._compacting is not None and self._compacting.is_alive()):
            return
        self._compacted_hour = hour
        given = (hour * HOUR, self._closing)
        self._compacting = threading.Thread(target=self._segments.compact, args=given, name="compact", daemon=True)
        self._compacting.start()

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
        with self._lock:
            wanted = self._matching(metric, matchers)
            numbers = {series: self._known.number(series) for series in wanted}
            waiting = joined(self._waiting)
        here = (waiting[1] >= start) & (waiting[1] <= end) & np.isin(waiting[0], list(numbers.values()))
        fresh = (waiting[0][here], waiting[1][here], waiting[2][here])
        stored = self._stored(metric, numbers, start, end, max(max_points // 2, 1), max_series)
        codes, times, values = once(joined([stored, fresh]))
        bounds = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), len(codes)]
        lines: list[Line] = []
        for first, last in pairwise(bounds):
            series = self._known.series[int(codes[first])]
            lines.append(Line(series, *thinned(times[first:last], values[first:last], max_points)))
        return sorted(lines, key=lambda line: line.series)[:max_series]

    def metrics(self) -> list[str]:
        """Return the names of all metrics that have samples, sorted."""
        with self._lock:
            self._index.refresh()
            return sorted({*self._index.metrics(), *(series.metric for series in self._unwritten())})

    def series(self, metric: str, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Series]:
        """Return the series of ``metric``, sorted."""
        with self._lock:
            return self._matching(metric, matchers)[:limit]

    def events(self, start: int, end: int, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Event]:
        """Return events of a span, the newest first."""
        with self._lock:
            waiting = [event for event in self._waiting_events if start <= event.timestamp <= end]
            found = self._event_files.read(start, end)
        unique = {(e.timestamp, e.kind, e.code, e.labels): e for e in (*found, *waiting)}
        fitting = [event for event in unique.values() if all_match(tuple(matchers), dict(event.labels))]
        return sorted(fitting, key=lambda event: event.timestamp, reverse=True)[:limit]

    def retain(self, oldest: int) -> int:
        """Delete the hours that ended before ``oldest`` (ns); return how many samples went."""
        with self._lock:
            self._must_write()
            self.flush()
            if self._compacting is not None:
                self._compacting.join()  # what it merges may be what goes
            gone = self._segments.retain(oldest)
            self._event_files.retain(oldest)
            if gone:
                self._rebuild_index()
            return gone

    def close(self) -> None:
        """Flush and let go; safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closing.set()
            self.flush()
            self._closed = True
            if self._compacting is not None:
                self._compacting.join()
            self._con.close()

    def _must_write(self) -> None:
        if self._closed or self._read_only:
            raise Permanent(f"{self._folder}: the store is {'closed' if self._closed else 'open for reading only'}")

    def _open(self) -> list[str]:
        if self._read_only:
            if not self._folder.is_dir():
                raise ConfigError(f"{self._folder}: no such folder; start what writes it first")
            self._index.refresh()
            return []
        try:
            (self._folder / "samples").mkdir(parents=True, exist_ok=True)
            (self._folder / "events").mkdir(exist_ok=True)
            repaired = self._segments.clean()
            repaired += Segments(self._folder / "events", self._stats).clean()
            torn = self._index.repair()
        except OSError as error:
            raise ConfigError(f"{self._folder}: cannot be written: {error.strerror}") from error
        self._index.refresh()
        if torn is not None:
            self._rebuild_index()
            repaired.append(torn)
        elif not self._index.metrics() and self._segments.files(0, 2**63 - 1):
            self._rebuild_index()
            repaired.append(f"{self._folder}: the list of series was missing; made anew from the segments")
        for sentence in repaired:
            _LOG.info("repaired: %s", sentence)
        return repaired

    def _rebuild_index(self) -> None:
        files = self._segments.files(0, 2**63 - 1)
        if self._segments.set_aside_broken(files):
            files = self._segments.files(0, 2**63 - 1)
        self._index.rewrite({series: None for path in files for series in series_in(path)})

    def _unwritten(self) -> list[Series]:
        return [self._known.series[number] for rows in self._waiting for number in np.unique(rows[0]).tolist()]

    def _matching(self, metric: str, matchers: Sequence[Matcher]) -> list[Series]:
        self._index.refresh()
        fresh = (series for series in self._unwritten() if series.metric == metric)
        return list(matching(sorted({*self._index.of(metric), *fresh}), matchers))

    def _stored(
        self, metric: str, numbers: dict[Series, int], start: int, end: int, spans: int, max_series: int
    ) -> Rows:
        """Read from the segments; a broken one is set aside and one that has just been merged looked up anew."""
        for _ in range(_TRIES):
            files = self._segments.files(start, end)
            if not files or not numbers:
                return joined([])
            try:
                with self._con.cursor() as con:
                    return _read(con, files, metric, numbers, (start, end), spans, max_series)
            except duckdb.Error as error:
                problem: Exception = error
                # Merged meanwhile is not broken; to find out what is, all are read whole.
                if all(path.exists() for path in files):
                    self._segments.set_aside_broken(files)
        raise Transient(f"{self._folder}: the segments cannot be read: {reason(problem)}") from problem


def _read(
    con: Any,
    files: list[Path],
    metric: str,
    numbers: dict[Series, int],
    span: tuple[int, int],
    spans: int,
    max_series: int,
) -> Rows:
    texts = [labels_text(series.labels) for series in numbers]
    con.execute(
        "CREATE TEMP TABLE wanted AS SELECT unnest(?::VARCHAR[]) AS labels, unnest(?::BIGINT[]) AS number",
        [texts, list(numbers.values())],
    )
    try:
        where = (
            "FROM read_parquet(?) AS samples JOIN wanted USING (labels) "
            "WHERE metric = ? AND timestamp BETWEEN make_timestamp_ns(?) AND make_timestamp_ns(?)"
        )
        given = [[str(path) for path in files], metric, *span]
        counts = con.execute(
            f"SELECT number, count(*) {where} GROUP BY number ORDER BY min(labels) LIMIT {int(max_series)}", given
        ).fetchall()
        if not counts:
            return joined([])
        con.execute("DELETE FROM wanted WHERE NOT list_contains(?::BIGINT[], number)", [[row[0] for row in counts]])
        if sum(row[1] for row in counts) <= _RAW_ROWS:
            found = con.execute(f"SELECT number, epoch_ns(timestamp) AS t, value {where}", given).fetchnumpy()
        else:
            width = max(-(-(span[1] - span[0] + 1) // spans), 1)
            found = con.execute(
                f"WITH raw AS (SELECT number, epoch_ns(timestamp) AS t, value {where} AND NOT isnan(value)), "
                "spans AS (SELECT number, "
                "arg_min(t, value) AS t1, min(value) AS v1, arg_max(t, value) AS t2, max(value) AS v2 "
                f"FROM raw GROUP BY number, (t - {int(span[0])}) // {width}) "
                "SELECT number, t1 AS t, v1 AS value FROM spans UNION ALL SELECT number, t2, v2 FROM spans",
                given,
            ).fetchnumpy()
    finally:
        con.execute("DROP TABLE wanted")
    return (
        np.asarray(found["number"], np.int64),
        np.asarray(found["t"], np.int64),
        np.asarray(found["value"], np.float64),
    )
