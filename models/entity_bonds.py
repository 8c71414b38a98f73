"""How far each metric of an entity has come away from what its other metrics let expect, minutes long."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decades import DecadeTail, Usual
from models.entity_moments import Moments

Floats = NDArray[np.float64]

YOUNG_BLOCKS, SPEAKS_AFTER_BLOCKS = 6, 10
"""Departures are measured after so many blocks, and told after so many: at first it is known badly what others let
expect."""
RIDGE = 0.05
"""Added to each metric's variance, 1: metrics that are copies of each other would let expect anything, to the last
digit. From 0.02 to 0.2 makes no difference (docs/detection.md)."""
LEAST_SPREAD = 0.05
"""The smallest usual departure, in spreads of the metric."""
FARTHEST = 10.0
"""No metric lets expect more of the others than from so many spreads."""
USUAL = Usual(start=1.5, excess=0.7, rows=300.0)
"""Where the tail of the logarithm of departures begins, in e-folds, and its mean excess, as machines have them (2.1 and
0.9, 1.4 and 0.5 on two published sets), before an entity has shown its own."""


class Departures(NamedTuple):
    """What a block of rows looks like."""

    tail: Floats  # [rows] probability that this entity's life goes as far; NaN before anything is known
    spreads: Floats  # [rows, metrics] how far each metric is from what the others let expect, in its usual departures
    expected: Floats  # [rows, metrics] what they let expect of its average of the last rows, in its unit


class Bonds:
    """
    Each metric's average held against its regression on all the others; the farthest one is what counts.

    The regressions come from one inverse, the precision matrix ``P`` of the averages' correlations: with
    ``z`` in spreads, metric ``i`` departs by ``(P z)_i / P_ii`` (Whittaker, Graphical Models, 1990, 5.5). Nothing of a
    metric's own past takes part, so that one which drifts away, lags or stands still is seen as long as it does. How
    rare that is each entity tells by its own life: where metrics hardly hang together, far is nothing. Rows come in
    blocks: ``score``, then ``learn`` the same.
    """

    def __init__(self, metrics: int, half_life_rows: float) -> None:
        self._averages = Moments(metrics, half_life_rows, covariance=True)
        self._departures = Moments(metrics, half_life_rows, covariance=False)
        self._regressions = np.zeros((metrics, metrics))
        self._tail = DecadeTail(half_life_rows, USUAL)
        self._seen: tuple[Floats, Floats, Floats] | None = None

    def score(self, averages: Floats) -> Departures:
        """Return how far ``averages`` [rows, metrics] are from what the others let expect; NaN = missing."""
        missing = np.isnan(averages)
        place = self._averages.distance(averages, FARTHEST)
        departure = place @ self._regressions.T
        if missing.any():
            for _ in range(2):  # what is missing is where the others let expect it, so that it pulls on none of them
                place = np.where(missing, place - departure, place)
                departure = place @ self._regressions.T
        departure[missing] = np.nan
        if self._departures.blocks < YOUNG_BLOCKS:
            spreads = np.zeros_like(departure)
        else:
            usual = np.maximum(self._departures.spread, LEAST_SPREAD)
            spreads = np.nan_to_num((departure - self._departures.mean) / usual)
        statistic = np.log1p(np.abs(spreads).max(axis=1))
        speaks = ~missing.all(axis=1) & (self._averages.blocks >= SPEAKS_AFTER_BLOCKS)
        self._seen = averages, departure, np.where(speaks, statistic, np.nan)
        expected = averages - np.nan_to_num(departure) * self._averages.spread
        return Departures(np.where(speaks, self._tail.tail(statistic), np.nan), spreads, expected)

    def learn(self) -> None:
        """Learn the block that was scored last. Raises RuntimeError where there is none."""
        if self._seen is None:
            raise RuntimeError("learn() before score()")
        averages, departure, statistic = self._seen
        self._seen = None
        if self._averages.blocks:
            self._departures.learn(departure)
        self._tail.learn(statistic, np.ones(len(statistic)))
        self._averages.learn(averages)
        if self._averages.blocks <= 16 or self._averages.blocks % 8 == 0:
            self._regress()

    def _regress(self) -> None:
        correlation = np.nan_to_num(self._averages.correlation())
        variances, vectors = np.linalg.eigh((correlation + correlation.T) / 2.0)
        # Of metrics that are seldom there together, correlations may contradict each other: no variance is below 0.
        precision = (vectors / (np.maximum(variances, 0.0) + RIDGE)) @ vectors.T
        self._regressions = precision / np.diag(precision)[:, None]
