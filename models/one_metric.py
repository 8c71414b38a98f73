"""Scores one metric, row by row, from nothing but the rows before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import surprise
from models.budget import SECONDS_PER_DAY, threshold
from models.calibrate import TailCalibrator, TailSettings
from models.decades import DecadeTail
from models.frozen import Frozen
from models.row_findings import Findings, nothing_found, part
from models.row_views import Change, Nearest, Prediction, Reconstructed, Season, Standing, View, period_of

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

BLOCK = 32
"""Rows between two updates of what is known."""
REMEMBERED = 5000
"""Rows that are looked back at."""
WARM_UP = 64
"""Rows before the first score."""
YOUNG = 30.0
"""A view has no opinion before it has judged so many rows."""
MOST_DECADES = 6.0
"""One view alone says no more than one in a million."""
EVEN_SO = 0.005
"""What one row in two hundred does is no anomaly, however large the budget."""
FLAGGED_TEACHES = 0.2
"""How much a flagged row teaches the calibrator: little, but a lasting new life must become normal at last."""
FARTHEST = 1e100
"""Beyond it squares overflow."""
CLEAR_FACTOR = 10.0
HOLD_ROWS = 10
"""For so many rows after one below the threshold, this many times the threshold is enough (hysteresis)."""
POINT_VIEWS = 4
"""The first ones see one row or few; the others a window, which holds an anomaly for long after its end."""
FROZEN_WEIGHT = 0.5
"""How much of the statistic a decade of standing still is worth: it speaks alone, where no other view sees anything."""
LIVELY_DECADES = 0.5
"""A row that only continues an anomaly is flagged if a view of single rows finds it at least so rare."""


class OneMetric:
    """
    Six views of one metric's past, each calibrated on what it said before, added up and calibrated again.

    The views (:mod:`models.row_views`): where a row stands, how much it changed, how well it was predicted, how
    far it is from the same phase of earlier periods (where there is a period), how well its window is rebuilt
    and how near the most similar earlier window is. Each view's departure
    becomes a tail probability; the statistic is halfway between the mean and the root mean square of their
    decades, so that several that agree count more than one alone, and one that is sure is still heard.

    Who has called more often than the budget allows must be surer for the next call, twice for each call
    too many. The period, in rows, is found from the rows themselves. Scoring comes before learning, and no
    row looks at a later one.
    """

    def __init__(self, budget_events_per_day: float) -> None:
        self._budget = budget_events_per_day
        self._views: tuple[View, ...] = (
            Standing(), Change(), Prediction(), Season(), Reconstructed(), Nearest(),
        )  # fmt: skip
        self._calibrator = TailCalibrator(len(self._views), 1, TailSettings(minimum=YOUNG, memory_ticks=20_000.0))
        self._tail = DecadeTail()
        self._frozen = Frozen(1)
        self._units = np.full(len(self._views), np.nan)  # a view's usual departure, so that bins fit
        self._first: list[Floats] = [np.empty(0) for _ in self._views]
        self._past = np.empty(0)
        self._rows = 0
        self._period = 0
        self._period_due = WARM_UP
        self._before: int | None = None
        self._intervals: list[int] = []
        self._limit = np.nan
        self._earned = 0.0  # events that the budget allows in a row's time
        self._spent = 0.0  # events begun, less what the budget has allowed since
        self._calm_rows = HOLD_ROWS

    def score(self, timestamps: Times, values: Floats) -> Findings:
        """Score and learn rows in order of time; ``timestamps`` [n] ns, ``values`` [n, 1], NaN = missing."""
        found = nothing_found(len(timestamps), 1)
        start = 0
        while start < len(timestamps):
            stop = min(len(timestamps), start + BLOCK - self._rows % BLOCK)
            rows = slice(start, stop)
            self._block(timestamps[rows], values[rows, 0], part(found, rows))
            start = stop
        return found

    def _block(self, timestamps: Times, values: Floats, found: Findings) -> None:
        steps = np.diff(timestamps, prepend=timestamps[0] if self._before is None else self._before)
        self._before = int(timestamps[-1])
        present = np.isfinite(values)
        rows = _filled(self._past, values)
        known = len(self._past)
        decades, expected, opinions = self._look(rows, known, present)
        rarity, runs = (each[:, 0] for each in self._frozen.see(values[:, None]))
        still, moving = np.minimum(rarity, MOST_DECADES), _combined(decades, opinions)
        statistic = np.maximum(moving, FROZEN_WEIGHT * still)
        heard = present & (np.arange(len(values)) + self._rows >= WARM_UP)
        tail = np.where(heard, self._tail.tail(statistic), np.nan)
        found.tail[:] = tail
        found.score[:] = surprise(tail)
        found.expected[:] = expected
        found.still[:] = np.where(FROZEN_WEIGHT * still > moving, runs, 0)
        lively = np.maximum(decades[:POINT_VIEWS].max(axis=0), still) >= LIVELY_DECADES
        beyond = self._flag(tail, lively, found.flagged)
        self._tail.learn(statistic, np.where(beyond, FLAGGED_TEACHES, 1.0) * heard)
        self._past = rows[-REMEMBERED:]
        self._rows += len(values)
        self._settle(steps)

    def _look(self, rows: Floats, known: int, present: NDArray[np.bool_]) -> tuple[Floats, Floats, int]:
        """Return each view's decades of rarity, [views, rows], what the surest expected, and how many said anything."""
        new = len(rows) - known
        decades, expected, surest = np.zeros((len(self._views), new)), np.full(new, np.nan), np.zeros(new)
        if known < BLOCK:
            return decades, expected, len(self._views)
        family = np.zeros(new, np.int32)
        silent = 0
        for number, view in enumerate(self._views):
            seen = view.see(rows, known, self._period)
            departure = self._in_units(number, seen.score)
            tail = self._calibrator.tail(number, family, departure)
            silent += bool(np.isnan(tail).all())
            decades[number] = np.minimum(-np.log10(np.where(np.isnan(tail), 1.0, tail)), MOST_DECADES)
            heard = present & np.isfinite(departure)
            self._calibrator.learn(number, family, np.nan_to_num(departure), heard.astype(np.float64))
            surer = ~np.isnan(seen.expected) & (decades[number] >= surest)
            np.copyto(expected, seen.expected, where=surer)
            np.copyto(surest, decades[number], where=surer)
        return decades, expected, max(len(self._views) - silent, 1)

    def _in_units(self, number: int, departure: Floats) -> Floats:
        """Return departures in units of the view's first ones, NaN until there are some."""
        if np.isnan(self._units[number]):
            self._first[number] = np.append(self._first[number], departure[np.isfinite(departure)])
            if len(self._first[number]) < YOUNG:
                return np.full(len(departure), np.nan)
            usual = float(np.median(self._first[number]))
            self._units[number] = usual if usual > 0 else 1.0
            self._first[number] = np.empty(0)
        return np.asarray(departure / self._units[number])

    def _flag(self, tail: Floats, lively: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Flag rows; return which are beyond the threshold, those included in which only a window still is."""
        beyond = np.zeros(len(tail), np.bool_)
        for row, probability in enumerate(tail):
            self._spent = max(0.0, self._spent - self._earned)
            limit = self._limit * 2.0 ** -max(0.0, self._spent - 1.0)
            self._calm_rows += 1
            lasts = self._calm_rows <= HOLD_ROWS
            if probability < (limit * CLEAR_FACTOR if lasts else limit):
                self._spent += 0.0 if lasts else 1.0
                self._calm_rows = 0
                beyond[row] = True
                flagged[row] = lively[row] or not lasts
        return beyond

    def _settle(self, steps: Times) -> None:
        """Settle, when warm-up ends, how often rows come; look for the period anew as the past grows."""
        if np.isnan(self._limit):
            self._intervals.extend(int(step) for step in steps if step > 0)
            if self._rows >= WARM_UP:
                interval_seconds = float(np.median(self._intervals)) / SECOND if self._intervals else 60.0
                rows_per_day = SECONDS_PER_DAY / interval_seconds
                self._limit = min(threshold(self._budget, rows_per_day), EVEN_SO)
                self._earned = self._budget / rows_per_day
                self._intervals.clear()
        if self._rows >= self._period_due:
            self._period = period_of(self._past[-4000:])
            self._period_due = self._rows + min(max(self._rows // 7, BLOCK), 1000)


def _combined(decades: Floats, views: int) -> Floats:
    """Return the statistic of ``decades`` [views, rows], of which so many may have an opinion."""
    mean = decades.sum(axis=0) / views
    return np.asarray((mean + np.sqrt((decades**2).sum(axis=0) / views)) / 2.0, np.float64)


def _filled(past: Floats, values: Floats) -> Floats:
    """Return the past and the new values, each missing one taken from before it; 0 before there is any."""
    rows = np.append(past, np.clip(values, -FARTHEST, FARTHEST))
    at = np.where(np.isfinite(rows), np.arange(len(rows)), 0)
    rows = rows[np.maximum.accumulate(at)]
    rows[~np.isfinite(rows)] = 0.0
    return rows
