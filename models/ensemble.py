"""Scores one entity's metrics together, row by row, from nothing but the rows before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Traits, surprise
from models.budget import SECONDS_PER_DAY, threshold
from models.calibrate import TailCalibrator, TailSettings
from models.level import Level
from models.reconstruction import Reconstruction
from models.row_findings import Findings, nothing_found, part

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

BLOCK = 50
"""Rows between two updates of components and calibration."""
WARM_UP = 150
"""Rows before the first score."""
SMOOTHING = 0.1
"""Weight of the newest row in the smoothed statistic (an EWMA chart, Roberts 1959)."""
ROWS_PER_LOOK = (2.0 - SMOOTHING) / SMOOTHING
"""Smoothed rows hang together: so many are one independent look at the entity (variance of an EWMA)."""
LEVEL_FARTHEST = 20.0
FLAGGED_TEACHES = 0.2
"""How much a flagged row teaches the calibrator: little, but a lasting new life must become normal at last."""
WORTH_NAMING = 0.3
"""A metric is named beside the first one if it contributes at least this share of the first one's part."""
QUIET_ROWS = 5
QUIET_TAIL = 0.05
"""An anomaly ends also after so many rows that are by themselves, unsmoothed, no rarer than this: the smoothed
statistic takes long to forget something huge."""
CLEAR_FACTOR = 10.0
"""An anomaly ends only when its tail probability is this many times the threshold (hysteresis)."""


class Ensemble:
    """
    Level and reconstruction of all metrics of one entity, multiplied, smoothed and calibrated on their own past.

    A row's statistic is the mean square of the levels' scores times the mean square of the residuals: one
    alone is often wild in normal life (a daily cycle moves levels, a rare job breaks correlations), both
    together seldom. Scoring comes before learning, and no row looks at a later one.
    """

    def __init__(self, metrics: int, budget_events_per_day: float) -> None:
        self._ids = np.arange(metrics)
        self._budget = budget_events_per_day
        self._level = Level(relearn_seconds=SECONDS_PER_DAY)
        nobody = np.full(metrics, -1, np.int32)
        self._level.admit(self._ids, Traits(np.zeros(metrics, np.int8), np.zeros(metrics, np.int32), nobody))
        self._reconstruction = Reconstruction(metrics)
        self._calibrator = TailCalibrator(2, 1, TailSettings(memory_ticks=2000.0))
        self._smooth = 0.0
        self._shares = np.zeros(metrics)
        self._rows = 0
        self._before: int | None = None
        self._intervals: list[int] = []
        self._limit = np.nan
        self._on = False
        self._quiet = 0

    def score(self, timestamps: Times, values: Floats) -> Findings:
        """Score and learn rows in order of time; ``timestamps`` [n] ns, ``values`` [n, metrics], NaN = missing."""
        rows = len(timestamps)
        found = nothing_found(rows, len(self._ids))
        start = 0
        while start < rows:
            stop = min(rows, start + BLOCK)
            self._block(timestamps[start:stop], values[start:stop], part(found, slice(start, stop)))
            start = stop
        return found

    def _block(self, timestamps: Times, values: Floats, found: Findings) -> None:
        elapsed = np.diff(timestamps, prepend=timestamps[0] if self._before is None else self._before)
        self._before = int(timestamps[-1])
        levels, expected = self._levels(timestamps, values)
        rebuilt = self._reconstruction.score(values)
        present: NDArray[np.bool_] = np.asarray(~np.isnan(values).all(axis=1))
        own, joint = np.minimum(levels**2, LEVEL_FARTHEST**2), rebuilt.residual**2
        seen = np.maximum((~np.isnan(values)).sum(axis=1), 1)
        raw = own.sum(axis=1) / seen * joint.sum(axis=1) / seen
        statistic = self._smoothed(raw, present)
        shares = self._ranked(own, joint, present)
        order = np.argsort(-shares, axis=1, kind="stable")[:, : found.ranked.shape[1]]
        ranked = np.take_along_axis(shares, order, axis=1)
        found.ranked[:] = np.where(ranked < WORTH_NAMING * ranked[:, :1], -1, order)
        first = found.ranked[:, 0]
        at = np.arange(len(values))
        found.fits[:] = own[at, first] >= joint[at, first]
        found.expected[:] = np.where(found.fits, expected[at, first], rebuilt.expected[at, first])

        family = np.zeros(len(values), np.int32)
        tail = np.where(present, self._calibrator.tail(0, family, statistic), np.nan)
        tail[: max(0, min(len(tail), WARM_UP - self._rows))] = np.nan
        found.tail[:] = tail
        found.score[:] = surprise(tail)
        self._flag(tail, self._calibrator.tail(1, family, raw), found.flagged)

        taught = present & (np.arange(len(values)) + self._rows >= BLOCK)  # the first block has no components yet
        weight = np.where(found.flagged, FLAGGED_TEACHES, 1.0) * taught
        self._calibrator.learn(0, family, statistic, weight)
        self._calibrator.learn(1, family, raw, weight)
        self._reconstruction.learn(values, np.maximum(elapsed, 0) / SECOND)
        self._rows += len(values)
        self._pace(elapsed)

    def _levels(self, timestamps: Times, values: Floats) -> tuple[Floats, Floats]:
        scores, expected = np.zeros_like(values), np.full_like(values, np.nan)
        known = ~np.isnan(values)
        whole, ones = np.asarray(known.all(axis=1)), np.ones(values.shape[1])
        for row, moment in enumerate(timestamps):
            where = slice(None) if whole[row] else known[row]
            ids = self._ids[where]
            batch = Batch(ids, np.full(len(ids), moment), values[row, where])
            thought = self._level.score(batch)
            scores[row, where] = np.nan_to_num(thought.score)
            expected[row, where] = thought.expected
            self._level.learn(batch, ones[: len(ids)])
        return scores, expected

    def _smoothed(self, statistic: Floats, present: NDArray[np.bool_]) -> Floats:
        smooth = np.empty_like(statistic)
        for row, value in enumerate(statistic):
            if present[row]:
                self._smooth += SMOOTHING * (float(value) - self._smooth)
            smooth[row] = self._smooth
        return smooth

    def _ranked(self, own: Floats, joint: Floats, present: NDArray[np.bool_]) -> Floats:
        """Return each metric's smoothed share of the rows' statistics, [rows, metrics]."""
        shares = own / np.maximum(own.sum(axis=1, keepdims=True), 1e-12)
        shares += joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-12)
        shares *= (own.sum(axis=1) * joint.sum(axis=1))[:, None]
        for row in range(len(shares)):
            if present[row]:
                self._shares = self._shares + SMOOTHING * (shares[row] - self._shares)
            shares[row] = self._shares
        return np.asarray(shares)

    def _flag(self, tail: Floats, raw_tail: Floats, flagged: NDArray[np.bool_]) -> None:
        for row, probability in enumerate(tail):
            self._quiet = 0 if raw_tail[row] < QUIET_TAIL else self._quiet + 1
            limit = self._limit * CLEAR_FACTOR if self._on else self._limit
            self._on = bool(probability < limit) and self._quiet < QUIET_ROWS
            flagged[row] = self._on

    def _pace(self, elapsed: Times) -> None:
        """Settle, when warm-up ends, how often rows come, and with it the threshold."""
        if np.isnan(self._limit):
            self._intervals.extend(int(step) for step in elapsed if step > 0)
            if self._rows >= WARM_UP:
                interval_seconds = float(np.median(self._intervals)) / SECOND if self._intervals else 1.0
                looks_per_day = SECONDS_PER_DAY / interval_seconds / ROWS_PER_LOOK
                self._limit = threshold(self._budget, looks_per_day)
                self._intervals.clear()
