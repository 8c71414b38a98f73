"""Columns of samples to lines: each sample once, sorted by time, thinned so that extremes survive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from coldaisle.frame import Block, Frame, Times, Values
from coldaisle.matcher import Matcher
from coldaisle.series import Series, labels_of

Rows = tuple[NDArray[np.int64], Times, Values]
"""Numbers of series, times, values; one of each a sample."""


class Numbering:
    """Every series met, numbered; a layout's numbers are looked up once."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self._numbers: dict[Series, int] = {}
        self._layouts: dict[tuple[str, str], NDArray[np.int64]] = {}

    def number(self, series: Series) -> int:
        """Return the number of ``series``, a new one where it is new."""
        number = self._numbers.setdefault(series, len(self.series))
        if number == len(self.series):
            self.series.append(series)
        return number

    def rows(self, item: Frame | Block) -> Rows:
        """Return copies of the samples. A frame's node becomes the label ``node`` where a series lacks it."""
        node = item.node if isinstance(item, Frame) else ""
        key = (node, item.layout.digest)
        table = self._layouts.get(key)
        if table is None:
            every = (_with_node(series, node) for series in item.layout.series)
            table = self._layouts[key] = np.array([self.number(series) for series in every], np.int64)
        numbers = table if isinstance(item, Frame) else table[item.index]
        return numbers, np.array(item.timestamps, np.int64), np.array(item.values, np.float64)


def _with_node(series: Series, node: str) -> Series:
    if not node or series.label("node") is not None:
        return series
    return Series(series.metric, labels_of((*series.labels, ("node", node))))


def matching(series: Sequence[Series], matchers: Sequence[Matcher]) -> Iterator[Series]:
    """Yield the series whose labels fulfil every matcher."""
    if not matchers:
        yield from series
        return
    for each in series:
        named = dict(each.labels)
        if all(matcher.matches(named) for matcher in matchers):
            yield each


def joined(parts: Sequence[Rows]) -> Rows:
    """Return ``parts`` as one."""
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    if len(parts) == 1:
        return parts[0]
    numbers, times, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return numbers, times, values


def once(rows: Rows) -> Rows:
    """Return ``rows`` sorted by series and time, the later written of two samples at one time."""
    numbers, times, values = rows
    in_time = bool(np.all(times[1:] >= times[:-1]))
    order = np.argsort(numbers, kind="stable") if in_time else np.lexsort((times, numbers))
    numbers, times, values = numbers[order], times[order], values[order]
    if not len(numbers):
        return numbers, times, values
    last = np.append((numbers[1:] != numbers[:-1]) | (times[1:] != times[:-1]), True)
    return numbers[last], times[last], values[last]


def thinned(times: Times, values: Values, max_points: int) -> tuple[Times, Values]:
    """
    Return at most ``max_points`` samples of a line sorted by time: the least and the greatest of each span.

    A span in which nothing could be read keeps one NaN, so that the gap is seen.
    """
    if len(times) <= max_points:
        return times, values
    spans = max(max_points // 2, 1)
    # Python integers: nanoseconds times spans does not fit 64 bits.
    width = max(-(-(int(times[-1]) - int(times[0]) + 1) // spans), 1)
    starts = np.flatnonzero(np.diff((times - times[0]) // width, prepend=-1))
    unknown = np.isnan(values)
    low = _first_equal(np.where(unknown, np.inf, values), starts, np.minimum)
    high = _first_equal(np.where(unknown, -np.inf, values), starts, np.maximum)
    kept = np.unique(np.concatenate((low, high)))[:max_points]
    return times[kept], values[kept]


def _first_equal(values: Values, starts: NDArray[np.int64], extreme: np.ufunc) -> NDArray[np.int64]:
    """Return for each span the position of its first sample that is its extreme."""
    best = np.repeat(extreme.reduceat(values, starts), np.diff(starts, append=len(values)))
    hits = np.flatnonzero(values == best)
    spans = np.searchsorted(starts, hits, side="right")
    return np.asarray(hits[np.diff(spans, prepend=0) != 0])
