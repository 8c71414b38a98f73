"""Remembers the last points of every series, so that a finding can show what led to it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coldaisle.anomaly import Window
from coldaisle.catalogue import Kind
from coldaisle.clock import SECOND
from coldaisle.detector import Ids
from coldaisle.frame import Values
from coldaisle.state import Kept, State
from pipeline.columns import grown
from pipeline.series_table import SeriesTable

POINTS = 64
SIBLINGS = 8


class Band:
    """What was expected when a finding opened: a value and one spread of it; None = nothing was."""

    __slots__ = ("expected", "high", "low")

    def __init__(self, expected: float | None, low: float | None, high: float | None) -> None:
        self.expected, self.low, self.high = expected, low, high


class Evidence:
    """
    A ring of ``POINTS`` float32 points per series at common times, one each ``step_seconds`` at most.

    256 bytes a series; a series read less often than that leaves gaps.
    """

    def __init__(self, table: SeriesTable, step_seconds: float) -> None:
        self._table = table
        self._step = round(step_seconds * SECOND)
        self._times = np.zeros(POINTS, np.int64)
        self._points = np.full((POINTS, 0), np.nan, np.float32)
        self._at = 0

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        self._points = grown(self._points, self._table.size, np.nan)
        self._points[:, ids] = np.nan

    def note(self, end: int, ids: Ids, values: Values) -> None:
        """Take the values of a tick that ended at ``end``."""
        column_time = -(-end // self._step) * self._step
        if column_time > self._times[self._at]:
            self._at = (self._at + 1) % POINTS
            self._times[self._at] = column_time
            self._points[self._at] = np.nan
        self._points[self._at, ids] = values

    def state(self) -> State:
        """Return what a snapshot keeps."""
        return {"times": self._times.copy(), "at": self._at, "points": self._points[:, : self._table.size].copy()}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        self._times, self._at = kept.array("times", np.int64, POINTS), kept.integer("at")
        self._points = kept.array("points", np.float32, POINTS, self._table.size)

    def siblings(self, number: int) -> Ids:
        """Return the ids of the series compared with ``number``, itself left out, ordered by their entities' names."""
        table = self._table
        group = int(table.group[number])
        if group < 0:
            return np.zeros(0, np.int64)
        members = np.flatnonzero((table.group[: table.size] == group) & table.used[: table.size])
        # By name, not by id: ids follow the order in which series came, and that may differ from run to run.
        others = sorted(members[members != number].tolist(), key=table.entity_name)
        return np.array(others, np.int64)

    def swings(self, ids: Ids) -> tuple[NDArray[np.float64], float]:
        """Return how far each series swung in what is kept, [n], and the smallest step that any made; 0 = none."""
        lines = self._points[:, ids].astype(np.float64)
        low = np.min(lines, axis=0, initial=np.inf, where=~np.isnan(lines))
        high = np.max(lines, axis=0, initial=-np.inf, where=~np.isnan(lines))
        order = [(self._at + 1 + i) % POINTS for i in range(POINTS)]
        steps = np.abs(np.diff(lines[order], axis=0))
        steps = steps[steps > 0]
        return np.maximum(high - low, 0.0), float(steps.min()) if len(steps) else 0.0

    def window(self, number: int, band: Band, by_peers: bool, limit: float | None = None) -> Window:
        """Return the points of a series beside what was expected, and of up to eight siblings."""
        row = self._table.row(number)
        order = [(self._at + 1 + i) % POINTS for i in range(POINTS)]
        lines = self._points[order]
        times = self._times[order]
        siblings = self.siblings(number)
        told = (times > 0) & ~np.isnan(lines[:, number])
        expected, low, high = self._band(lines[told], siblings, band, by_peers)
        shown = siblings[:: max(1, len(siblings) // SIBLINGS)][:SIBLINGS]
        per_second = row.kind is Kind.COUNTER
        return Window(
            metric=row.name,
            unit=f"{row.unit}/s" if per_second else row.unit,
            timestamps=tuple(times[told].tolist()),
            observed=_told(lines[told, number]),
            expected=expected,
            low=low,
            high=high,
            peers={self._table.entity_name(int(each)): _told(lines[told, each]) for each in shown},
            limit=limit,
        )

    @staticmethod
    def _band(
        lines: NDArray[np.float32], siblings: Ids, band: Band, by_peers: bool
    ) -> tuple[tuple[float | None, ...], tuple[float | None, ...], tuple[float | None, ...]]:
        if band.expected is None or band.low is None or band.high is None:
            return (), (), ()
        count = len(lines)
        if not by_peers or not len(siblings):
            return (band.expected,) * count, (band.low,) * count, (band.high,) * count
        among = lines[:, siblings]
        middle = np.full(count, np.nan, np.float64)
        some = ~np.isnan(among).all(axis=1)
        middle[some] = np.nanmedian(among[some], axis=1)
        # The last point is the instant of the opinion itself; the band keeps its width on the way there.
        return (
            _told(middle),
            _told(middle - (band.expected - band.low)),
            _told(middle + (band.high - band.expected)),
        )


def _told(line: NDArray[np.floating]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else round(float(value), 6) for value in line.tolist())
