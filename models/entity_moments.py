"""Mean, spread and covariance of rows of metrics, learnt as the rows come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FARTHEST = 10.0
"""No distance counts for more spreads than this, so that one wild metric does not drown the others."""
TEACHES = 5.0
"""No value teaches as if it were farther off than this many spreads."""
YOUNG_BLOCKS = 4
"""For so many blocks the spread is too young to say what is far."""
LEAST_OF_RANGE = 1e-3
"""The spread is at least this share of all the ground that the metric ever covered: a metric that stood still
for days and moved once is news again when it moves, but not for ever."""
ROUNDING = 1e-12
LARGEST = 1e100
"""Larger values are taken for this, so that their squares are still numbers."""


class Moments:
    """
    Exponentially forgotten moments of rows that come in blocks; ``distance`` first, then ``learn``.

    A missing value is NaN, has distance 0 and teaches nothing. Scaling or shifting a column changes no distance.
    """

    def __init__(self, columns: int, half_life_rows: float, covariance: bool) -> None:
        shape = (columns, columns) if covariance else (columns,)
        self._half_life = half_life_rows
        self._full = covariance
        self._origin = np.full(columns, np.nan)  # sums are taken from here, so that large values keep their digits
        self._weight = np.zeros(shape)
        self._sum = np.zeros(shape)
        self._products = np.zeros(shape)
        self._lowest = np.full(columns, np.inf)
        self._highest = np.full(columns, -np.inf)
        self.mean = np.zeros(columns)
        self.spread = np.ones(columns)
        self.blocks = 0

    def distance(self, rows: Floats, farthest: float = FARTHEST) -> Floats:
        """Return how many spreads ``rows`` [n, columns] are from the mean, cut at ``farthest``."""
        distance = (np.clip(rows, -LARGEST, LARGEST) - self.mean) / self.spread
        return np.clip(np.nan_to_num(distance, nan=0.0), -farthest, farthest)

    def learn(self, rows: Floats) -> None:
        """Move the moments towards ``rows`` [n, columns]."""
        known = ~np.isnan(rows)
        whole = bool(known.all())
        rows = np.clip(rows, -LARGEST, LARGEST)
        unseen = np.isnan(self._origin) & known.any(axis=0)
        if unseen.any():
            first = rows[np.argmax(known, axis=0), np.arange(rows.shape[1])]
            self._origin[unseen] = first[unseen]
            self.mean[unseen] = first[unseen]
        taught = rows
        if self.blocks >= YOUNG_BLOCKS:
            taught = self.mean + self.spread * np.clip((rows - self.mean) / self.spread, -TEACHES, TEACHES)
        taught = np.nan_to_num(taught - self._origin, nan=0.0)
        weights = 0.5 ** (np.arange(len(rows))[::-1] / self._half_life)
        kept = 0.5 ** (len(rows) / self._half_life)
        weighted, present = taught * weights[:, None], known.astype(np.float64)
        self._weight *= kept
        self._sum *= kept
        self._products *= kept
        if self._full:
            self._weight += weights.sum() if whole else (present * weights[:, None]).T @ present
            self._sum += weighted.sum(axis=0)[:, None] if whole else weighted.T @ present
            self._products += weighted.T @ taught
        else:
            self._weight += weights @ present
            self._sum += weighted.sum(axis=0)
            self._products += weights @ taught**2
        self._lowest = np.fmin(self._lowest, np.where(known, rows, np.inf).min(axis=0))
        self._highest = np.fmax(self._highest, np.where(known, rows, -np.inf).max(axis=0))
        self.blocks += 1
        self._settle()

    def correlation(self) -> Floats:
        """Return the correlation matrix; a column that never moved has none, not even with itself."""
        weight = np.maximum(self._weight, 1e-12)
        mean = self._sum / weight  # [i, j]: of i where j is present too
        covariance = self._products / weight - mean * mean.T
        return np.asarray(covariance / np.outer(self.spread, self.spread))

    def _own(self, table: Floats) -> Floats:
        """Return each column's entry with itself."""
        return np.diag(table) if self._full else table

    def _settle(self) -> None:
        weight = np.maximum(self._own(self._weight), 1e-12)
        mean = self._own(self._sum) / weight
        variance = np.maximum(self._own(self._products) / weight - mean**2, 0.0)
        self.mean = np.nan_to_num(self._origin, nan=0.0) + mean
        ground = np.where(self._highest >= self._lowest, self._highest - self._lowest, 0.0)
        floor = np.maximum(LEAST_OF_RANGE * ground, ROUNDING * np.abs(self.mean))
        self.spread = np.maximum(np.maximum(np.sqrt(variance), floor), 1.0 / LARGEST)
