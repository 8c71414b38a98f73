"""Scores one entity's metrics together, row by row, from nothing but the rows before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import surprise
from models.budget import SECONDS_PER_DAY, threshold
from models.entity_bonds import Bonds, Departures
from models.entity_rarity import BRIDGED_ROWS, Rarity
from models.entity_residuals import HALF_LIFE_ROWS, EntityResiduals, Residuals
from models.frozen import Frozen
from models.one_metric import OneMetric
from models.row_findings import Findings, nothing_found, part

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

BLOCK = 50
"""Rows between two updates of what is known."""
WARM_UP = 150
"""Rows before the first score."""
SMOOTHING = 0.1
"""Weight of the newest row in the smoothed statistic (an EWMA chart, Roberts 1959)."""
BRISK = 0.5
"""The same for what ends an anomaly: a smoothed statistic takes long to forget something huge."""
BRISK_HEIGHT = 4.5
"""A row is flagged only while also the brisk statistic is so many e-folds above the usual."""
FLOOR = 0.05
"""Added to each mean square, so that one look at perfect ease does not silence the other."""
BLAME = 0.3
"""Weight of the newest row in the steps by which metrics are blamed."""
WORTH_NAMING = 0.3
"""A metric is named beside the first one if its steps are at least this share of the first one's."""
SIDE_LOOKS = 2.0
"""Bonds and standstills are looks beside the steps: each is held to half the budget. Held to all of it they find no
more."""
SIDE_RANK = 6.0
"""In the ranking of rows what they say is taken for so many times as likely: of equals, the steps come first. With 2
they rank what SMD calls normal above its events (docs/detection.md)."""
EVEN_SO = 1.0 / 200.0
"""However large the budget is, no such row is told that is not at least as rare."""
STILL_ROWS = 60
"""For so many rows beyond the usual a standstill is told. A person has understood by then."""
STILL_WEIGHT = 0.5
"""So much a decade of a standstill counts, as for one metric: values that repeat hang together."""
GAP_INTERVALS = 5.0
"""A pause of more than so many usual intervals is a gap: the row after it is compared with none before it."""


class Ensemble:
    """
    What all metrics of one entity do together, held against its own past: steps, what they leave unexplained, bonds.

    A row's statistic is the mean square of the steps times the mean square of the joint residuals: one
    alone is often wild in normal life (a job starts and all metrics step; a slow drift bends the
    correlations), both together seldom. What comes away from the others without a step is told by its bonds
    (:mod:`models.entity_bonds`), what stands still by :mod:`models.frozen`; the rarest counts. Scoring comes before
    learning, and no row looks at a later one. A single metric has no others to be held against;
    :class:`OneMetric` judges it.
    """

    def __init__(self, metrics: int, budget_events_per_day: float) -> None:
        self._metrics = metrics
        self._budget = budget_events_per_day
        self._alone = OneMetric(budget_events_per_day) if metrics == 1 else None
        self._residuals = EntityResiduals(metrics)
        self._rarity = Rarity()
        self._bonds = Bonds(metrics, HALF_LIFE_ROWS)
        self._frozen = Frozen(metrics, STILL_ROWS)
        self._side_limit = 0.0
        self._smooth = np.zeros(2)
        self._shares = np.zeros(metrics)
        self._rows = 0
        self._before: int | None = None
        self._intervals: list[int] = []
        self._interval_ns = 0
        self._began_with = np.zeros(0, np.int64)
        self._flagged_row = -(10**9)

    def score(self, timestamps: Times, values: Floats) -> Findings:
        """Score and learn rows in order of time; ``timestamps`` [n] ns, ``values`` [n, metrics], NaN = missing."""
        if self._alone is not None:
            return self._alone.score(timestamps, values)
        rows = len(timestamps)
        found = nothing_found(rows, self._metrics)
        start = 0
        while start < rows:
            # Blocks end at the same rows however the rows are handed over.
            stop = min(rows, start + BLOCK - self._rows % BLOCK)
            self._block(timestamps[start:stop], values[start:stop], part(found, slice(start, stop)))
            start = stop
        return found

    def _block(self, timestamps: Times, values: Floats, found: Findings) -> None:
        elapsed = np.diff(timestamps, prepend=timestamps[0] if self._before is None else self._before)
        self._before = int(timestamps[-1])
        residuals = self._residuals.score(values, self._resumes(elapsed))
        present: NDArray[np.bool_] = np.asarray(~np.isnan(values).all(axis=1))
        change, joint = residuals.change**2, residuals.joint**2
        seen = np.maximum((~np.isnan(values)).sum(axis=1), 1)
        raw = (change.sum(axis=1) / seen + FLOOR) * (joint.sum(axis=1) / seen + FLOOR)
        # The first block is only learnt: without moments its distances would be in the metrics' units.
        taught = present & (np.arange(len(values)) + self._rows >= BLOCK)
        smooth, brisk = self._smoothed(raw, taught)
        self._blame(residuals, taught, found)
        height = self._rarity.height(smooth)
        warm = (np.arange(len(values)) + self._rows >= WARM_UP) & present
        found.tail[:] = np.where(warm, self._rarity.tail(height), np.nan)
        lively = self._rarity.height(brisk) > BRISK_HEIGHT
        found.flagged[:] = warm & lively & (height > self._rarity.limit(self._budget))
        departures = self._bonds.score(residuals.average)
        apart = self._hear_bonds(departures, found)
        still = self._hear_standstills(values, found)
        found.score[:] = surprise(found.tail)
        self._hold(found)
        first, at = found.ranked[:, 0], np.arange(len(values))
        found.fits[:] = np.abs(residuals.change[at, first]) >= np.abs(residuals.joint[at, first])
        found.fits[apart] = False
        found.expected[:] = np.where(found.fits, residuals.before[at, first], residuals.rebuilt[at, first])
        found.expected[apart] = departures.expected[apart, first[apart]]
        found.still[:] = still[at, first]

        self._rarity.learn(smooth[taught], int(elapsed[taught].sum()))
        self._residuals.learn()
        self._bonds.learn()
        self._rows += len(values)
        self._pace(elapsed)

    def _smoothed(self, raw: Floats, present: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        smooth = np.empty((len(raw), 2))
        now, brisk = self._smooth.tolist()
        for row, (value, there) in enumerate(zip(raw.tolist(), present.tolist(), strict=True)):
            if there:
                now += SMOOTHING * (value - now)
                brisk += BRISK * (value - brisk)
            smooth[row] = now, brisk
        self._smooth = np.array([now, brisk])
        return smooth[:, 0], smooth[:, 1]

    def _blame(self, residuals: Residuals, present: NDArray[np.bool_], found: Findings) -> None:
        """Rank the metrics by their newest steps away from the usual."""
        shares = residuals.blame**2
        for row in np.flatnonzero(present):
            self._shares = self._shares + BLAME * (shares[row] - self._shares)
            shares[row] = self._shares
        order = np.argsort(-shares, axis=1, kind="stable")[:, : found.ranked.shape[1]]
        ranked = np.take_along_axis(shares, order, axis=1)
        found.ranked[:] = np.where(ranked < WORTH_NAMING**2 * ranked[:, :1], -1, order)
        found.ranked[:, 0] = order[:, 0]

    def _believe(self, tail: Floats, found: Findings) -> NDArray[np.int64]:
        """Take over a look's ``tail`` where it is the rarest or alone rare enough; return which rows these are."""
        alone, ranked = SIDE_LOOKS * tail < self._side_limit, SIDE_RANK * tail
        rows = np.flatnonzero(~found.flagged & ~np.isnan(found.tail) & ((ranked < found.tail) | alone))
        found.tail[rows] = np.minimum(ranked, found.tail)[rows]
        found.flagged[rows] = alone[rows]
        return rows

    def _hear_bonds(self, departures: Departures, found: Findings) -> NDArray[np.int64]:
        """Take over what the bonds say where they are surer, or alone sure enough; return which rows these are."""
        rows = self._believe(departures.tail, found)
        spreads = np.abs(departures.spreads[rows])
        order = np.argsort(-spreads, axis=1, kind="stable")[:, : found.ranked.shape[1]]
        ranked = np.take_along_axis(spreads, order, axis=1)
        found.ranked[rows] = np.where(ranked < WORTH_NAMING * ranked[:, :1], -1, order)
        return rows

    def _hear_standstills(self, values: Floats, found: Findings) -> NDArray[np.int64]:
        """Take over the same of values that stand still; return for how many rows they do, 0 where nothing is told."""
        restless = self._frozen.restless()
        decades, runs = self._frozen.see(values)
        rarity = np.where(restless, STILL_WEIGHT * decades, 0.0)
        longest = rarity.argmax(axis=1)
        # As many looks as metrics, of which the rarest counts (Bonferroni).
        rows = self._believe(self._metrics * 10.0 ** -rarity.max(axis=1), found)
        found.ranked[rows] = -1
        found.ranked[rows, 0] = longest[rows]
        told = np.zeros_like(runs)
        told[rows] = np.where(rarity[rows] > 0.0, runs[rows], 0)
        return told

    def _hold(self, found: Findings) -> None:
        """Blame, as long as an anomaly lasts, what it began with: what it drags along is often wilder."""
        for row in np.flatnonzero(found.flagged):
            found.begins[row] = self._rows + row - self._flagged_row > BRIDGED_ROWS + 1
            if found.begins[row]:
                self._began_with = found.ranked[row].copy()
            found.ranked[row] = self._began_with
            self._flagged_row = self._rows + int(row)

    def _resumes(self, elapsed: Times) -> NDArray[np.bool_]:
        if self._interval_ns == 0:
            return np.zeros(len(elapsed), np.bool_)
        return np.asarray(elapsed > GAP_INTERVALS * self._interval_ns)

    def _pace(self, elapsed: Times) -> None:
        """Settle, when warm-up ends, how often rows come."""
        if self._interval_ns == 0:
            self._intervals.extend(int(step) for step in elapsed if step > 0)
            if self._rows >= WARM_UP and self._intervals:
                self._interval_ns = int(np.median(self._intervals))
                self._intervals.clear()
                rows_per_day = SECONDS_PER_DAY * SECOND / self._interval_ns
                self._rarity.pace(rows_per_day)
                self._side_limit = min(threshold(self._budget, rows_per_day), EVEN_SO)
