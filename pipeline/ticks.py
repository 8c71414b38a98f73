"""Sorts samples into spans of event time that are judged at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.frame import Times
from coldaisle.state import Kept, State
from pipeline.columns import column, grown
from pipeline.ingest import Samples
from pipeline.series_table import SeriesTable

LENGTHS = tuple(seconds * SECOND for seconds in (1, 2, 5, 10, 15, 30, 60))
"""The ticks there are; each metric has the longest that its sampling interval fills."""
_JITTER = 1.25  # an interval must be this far from a metric's tick before the tick changes
_FEW_SPANS = 4
_FEW_GAPS = 32


class Tick(NamedTuple):
    """The samples with timestamps before ``end`` whose metrics' ticks end there."""

    end: int
    samples: Samples


class TickBuffer:
    """
    Holds samples until the watermark has passed the end of their tick.

    Metrics that are read once a minute and metrics that are read each second live in ticks of their own
    length, so that siblings read at different seconds of a minute still meet. What is in a tick depends on
    timestamps only, never on the order or the batches in which samples arrive. Ticks close in order of their ends.
    """

    def __init__(self, table: SeriesTable, fixed_seconds: float | None) -> None:
        self._table = table
        self._fixed = None if fixed_seconds is None else round(fixed_seconds * SECOND)
        self._first = self._fixed if self._fixed is not None else LENGTHS[0]
        self._spans: dict[int, list[Samples]] = {}  # number of span of ``_first`` ns -> its samples
        self._held: dict[int, list[Samples]] = {}  # length of tick -> samples of the tick that is being filled
        self._held_end: dict[int, int] = {}
        self._length = column(self._first, np.int64)  # per metric
        self._interval = column(np.nan, np.float64)  # per metric, ns

    def length_of(self, metric: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the ticks' lengths (ns) of metrics."""
        self._length = grown(self._length, len(self._table.rows), self._first)
        return np.asarray(self._length[metric], np.int64)

    def add(self, samples: Samples) -> None:
        """Take samples that are not late."""
        for number, part in _by_span(samples, self._first):
            self._spans.setdefault(number, []).append(part)

    def close_until(self, watermark: int) -> Iterator[Tick]:
        """Yield the ticks that end at or before ``watermark``; state may be learnt between them."""
        while True:
            end = self._next_end()
            if end is None or end > watermark:
                break
            # Every tick's length is a multiple of a span's, so no span reaches across an end.
            over = sorted(number for number in self._spans if number * self._first < end)
            before = _joined([part for number in over for part in self._spans.pop(number)])
            samples = self._closing(before, end)
            if len(samples.ids):
                yield Tick(end, samples)

    def learn_gaps(self, metric: NDArray[np.int32], gaps: NDArray[np.int64]) -> None:
        """Take note of the time between samples of series, and let the ticks of their metrics follow."""
        if self._fixed is not None or not len(gaps):
            return
        count = len(self._table.rows)
        self._length = grown(self._length, count, self._first)
        self._interval = grown(self._interval, count, np.nan)
        order = np.argsort(metric.astype(np.int16), kind="stable")  # numpy sorts 16 bits in linear time
        metric, gaps = metric[order], gaps[order]
        starts = np.flatnonzero(np.concatenate(([True], metric[1:] != metric[:-1])))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(metric)], strict=True):
            # Some samples of each are enough: the interval is a property of a metric, not of each series.
            number = int(metric[start])
            typical = float(np.median(gaps[start : stop : max(1, (stop - start) // _FEW_GAPS)]))
            known = self._interval[number]
            self._interval[number] = typical if np.isnan(known) else known + 0.2 * (typical - known)
            interval = self._interval[number]
            length = self._length[number]
            if interval > length * _JITTER or interval < length / _JITTER:
                self._length[number] = max([each for each in LENGTHS if each <= interval * 1.1], default=LENGTHS[0])

    def state(self) -> State:
        """Return what a snapshot keeps, the samples that wait among it."""
        waiting = [(number, 0, _joined(self._spans[number])) for number in sorted(self._spans)]
        held = [(length, self._held_end[length], _joined(self._held[length])) for length in sorted(self._held)]
        samples = [part for _, _, part in (*waiting, *held)]
        nothing = np.zeros(0)
        return {
            "first": self._first,
            "spans": [[number, len(part.ids)] for number, _, part in waiting],
            "held": [[length, end, len(part.ids)] for length, end, part in held],
            # Joined anew even where there is but one part, so that nobody's message is held by it.
            "ids": np.concatenate([nothing.astype(np.int64), *(part.ids for part in samples)]),
            "timestamps": np.concatenate([nothing.astype(np.int64), *(part.timestamps for part in samples)]),
            "values": np.concatenate([nothing, *(part.values for part in samples)]),
            "length": self._length[: len(self._table.rows)].copy(),
            "interval": self._interval[: len(self._table.rows)].copy(),
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned; under another ``fixed_seconds`` only the samples. Raises Permanent."""
        kept = Kept(state)
        ids = kept.array("ids", np.int64, None)
        samples = Samples(ids, kept.array("timestamps", np.int64, len(ids)), kept.array("values", np.float64, len(ids)))
        if kept.integer("first") != self._first:
            self.add(samples)
            return
        start = 0
        for number, count in kept.rows("spans", int, int):
            self._spans[number] = [_picked(samples, np.arange(start, start + count))]
            start += count
        for length, end, count in kept.rows("held", int, int, int):
            self._held[length], self._held_end[length] = [_picked(samples, np.arange(start, start + count))], end
            start += count
        self._length, self._interval = kept.array("length", np.int64, None), kept.array("interval", np.float64, None)

    def _base(self) -> int:
        return self._shortest_and_longest()[0]

    def _shortest_and_longest(self) -> tuple[int, int]:
        self._length = grown(self._length, len(self._table.rows), self._first)
        lengths = self._length[: len(self._table.rows)]
        return (int(lengths.min()), int(lengths.max())) if len(lengths) else (self._first, self._first)

    def _next_end(self) -> int | None:
        ends = list(self._held_end.values())
        if self._spans:
            base = self._base()
            ends.append((min(self._spans) * self._first // base + 1) * base)
        return min(ends, default=None)

    def _closing(self, before: Samples, end: int) -> Samples:
        ready: list[Samples] = []
        if len(before.ids):
            shortest, longest = self._shortest_and_longest()
            different = [shortest]
            if shortest < longest:
                lengths = self.length_of(self._table.metric[before.ids])
                different = [each for each in LENGTHS if (lengths == each).any()]
            for length in different:
                part = before if len(different) == 1 else _picked(before, lengths == length)
                if end % length == 0 and length not in self._held_end:
                    ready.append(part)
                else:
                    self._hold(part, length)
        for length in sorted(self._held_end):
            if self._held_end[length] <= end:
                ready += self._held.pop(length)
                del self._held_end[length]
        return _joined(ready)

    def _hold(self, part: Samples, length: int) -> None:
        self._held.setdefault(length, []).append(part)
        if length not in self._held_end:
            self._held_end[length] = (int(part.timestamps.max()) // length + 1) * length


def _by_span(samples: Samples, length: int) -> Iterator[tuple[int, Samples]]:
    """Yield samples by the number of their span of ``length`` ns."""
    if not len(samples.ids):
        return
    times = samples.timestamps
    first, last = int(times.min()) // length, int(times.max()) // length
    if first == last:
        yield first, samples
        return
    if last - first < _FEW_SPANS:
        spans = times // length
        for number in range(first, last + 1):
            part = _picked(samples, spans == number)
            if len(part.ids):
                yield number, part
        return
    if not bool((times[1:] >= times[:-1]).all()):
        samples = _picked(samples, np.argsort(times, kind="stable"))
    spans = samples.timestamps // length
    starts = np.flatnonzero(np.concatenate(([True], spans[1:] != spans[:-1])))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(spans)], strict=True):
        where = slice(start, stop)
        yield int(spans[start]), Samples(samples.ids[where], samples.timestamps[where], samples.values[where])


def _picked(samples: Samples, which: NDArray[np.bool_] | NDArray[np.int64]) -> Samples:
    return Samples(samples.ids[which], samples.timestamps[which], samples.values[which])


def _joined(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nothing: Times = np.zeros(0, np.int64)
        return Samples(nothing, nothing, np.zeros(0, np.float64))
    return Samples(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.timestamps for part in parts]),
        np.concatenate([part.values for part in parts]),
    )
