"""Reconstruction: how badly one entity's metrics fit together, by principal components learnt as time goes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXPLAINED = 0.8
"""The share of the variance that the kept components explain. Less than the usual 0.95: what is left over is
then many metrics' own life and not the last one's rounding (measured on SMD and ASD, benchmarks/)."""
FARTHEST = 10.0
"""No distance counts for more spreads than this, so that one wild metric does not drown the others."""
TEACHES = 5.0
"""No sample teaches as if it were farther off than this."""


class Reconstructed(NamedTuple):
    """What a block of rows looks like to the components; missing values have residual 0."""

    residual: Floats  # [rows, metrics] in the metric's own usual residuals
    expected: Floats  # [rows, metrics] what the other metrics let expect, in the metric's unit


class Reconstruction:
    """
    Principal components of an entity's metrics with exponential forgetting (Jackson and Mudholkar 1979: SPE).

    Rows come in blocks: ``score`` first, then ``learn``. ``score`` is pure and looks at each row alone.
    One metric has no others, and its residual is its distance from its mean.
    """

    def __init__(self, metrics: int, half_life_seconds: float = 7 * 86_400.0) -> None:
        self._half_life = half_life_seconds
        self._weight = 0.0
        self._sum = np.zeros(metrics)
        self._products = np.zeros((metrics, metrics))
        self._largest = np.zeros(metrics)
        self._mean = np.zeros(metrics)
        self._spread = np.ones(metrics)
        self._components = np.zeros((metrics, 0))
        self._usual = np.ones(metrics)
        self._blocks = 0

    def score(self, values: Floats) -> Reconstructed:
        """Return residuals of ``values`` [rows, metrics], NaN = missing."""
        distance = self._distance(values)
        fitted = (distance @ self._components) @ self._components.T
        residual = np.where(np.isnan(values), 0.0, (distance - fitted) / self._usual)
        return Reconstructed(residual, self._mean + self._spread * fitted)

    def learn(self, values: Floats, elapsed_seconds: Floats) -> None:
        """Move the components towards ``values``; ``elapsed_seconds`` [rows] since the row before each."""
        first = self._weight == 0.0
        if first:
            start = np.where(np.isnan(values), -np.inf, values)
            self._mean = np.nan_to_num(start.max(axis=0), neginf=0.0)
        taught = self._mean + self._spread * np.clip(self._distance(values), -TEACHES, TEACHES)
        if self._blocks < 4:  # the spread is too young to say what is far
            taught = np.where(np.isnan(values), self._mean, values)
        age = np.cumsum(elapsed_seconds[::-1])[::-1] - elapsed_seconds
        weights = 0.5 ** (age / self._half_life)
        kept = 0.5 ** (float(elapsed_seconds.sum()) / self._half_life)
        self._weight = self._weight * kept + float(weights.sum())
        self._sum = self._sum * kept + weights @ taught
        self._products = self._products * kept + (taught * weights[:, None]).T @ taught
        self._largest = np.maximum(self._largest, np.abs(taught).max(axis=0))
        self._blocks += 1
        self._fit(anew=self._blocks <= 20 or self._blocks % 8 == 0)

    def _distance(self, values: Floats) -> Floats:
        distance = np.clip((values - self._mean) / self._spread, -FARTHEST, FARTHEST)
        return np.nan_to_num(distance, nan=0.0)

    def _fit(self, anew: bool) -> None:
        self._mean = self._sum / self._weight
        covariance = self._products / self._weight - np.outer(self._mean, self._mean)
        # A constant metric gets a thousandth of its size as spread: its first change is news, but bounded.
        floor = 1e-3 * np.maximum(self._largest, 1e-12)
        self._spread = np.maximum(np.sqrt(np.maximum(np.diag(covariance), 0.0)), floor)
        correlation = covariance / np.outer(self._spread, self._spread)
        if anew:
            values, vectors = np.linalg.eigh(correlation)
            share = np.maximum(values[::-1], 0.0)
            total = share.sum()
            kept = int(np.searchsorted(np.cumsum(share) / total, EXPLAINED)) + 1 if total > 0 else 0
            self._components = vectors[:, ::-1][:, : min(kept, len(values) - 1)]
        rest = np.eye(len(correlation)) - self._components @ self._components.T
        usual = np.einsum("ij,jk,ik->i", rest, correlation, rest, optimize=True)
        self._usual = np.maximum(np.sqrt(np.maximum(usual, 0.0)), 0.05)
