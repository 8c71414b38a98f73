"""What one entity's metrics do that neither their own last rows nor the other metrics let expect."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.entity_moments import Moments

Floats = NDArray[np.float64]

HALF_LIFE_ROWS = 20_000.0
"""Two weeks of one-minute rows; shorter memories were no better on SMD or ASD (docs/detection.md)."""
FAST, SLOW = 0.5, 1.0 / 11.0
"""Weights of the newest row in the two averages of the rows before: the last two rows, and the last eleven."""
EXPLAINED = 0.9
"""The share of the variance that the kept components explain. Less than the usual 0.95: what is left over is
then many metrics' own life and not the last one's rounding."""
FARTHEST = 15.0
"""No residual counts for more usual ones than this. With 10 one metric of many could never be wild enough to be
told alone; with 20 to 40 normal life calls five to ten times too often (docs/detection.md)."""
FARTHEST_BLAMED = 1e6
STEPS_PER_LEVEL = 15.0
"""A metric is blamed for no step of more usual steps than so many times its distance from its mean, in spreads: the
way back from a peak to the usual is a step, too, but nothing that needs a name."""
WILD = 20.0
"""Steps beyond this are blamed by the logarithm: a metric that never moved and then moves is at once thousands of its
tiny steps away."""
LEAST_USUAL = 0.05
"""The smallest usual residual, in spreads: what is explained wholly still has some rounding."""


class Residuals(NamedTuple):
    """What a block of rows looks like, [rows, metrics]; missing values have 0."""

    change: Floats  # the step from the rows just before, in the metric's usual steps, at most FARTHEST
    blame: Floats  # the same where the metric is also far from its mean, slowed beyond WILD: which one is the wildest
    joint: Floats  # what the components of all metrics, now and just before, leave unexplained, in its usual size
    before: Floats  # what the metric's own last rows let expect, in its unit
    rebuilt: Floats  # what the components let expect, in its unit
    average: Floats  # of the metric's last eleven rows, this one included, in its unit; NaN where it is missing


class EntityResiduals:
    """
    Steps of each metric, and principal components over the metrics now and their averages just before.

    The second is dynamic PCA (Ku, Storer and Georgakis 1995) with two averages in place of many lags: it
    knows how metrics go together and how each goes on. Rows come in blocks: ``score``, then ``learn`` the same.
    """

    def __init__(self, metrics: int) -> None:
        self._metrics = metrics
        self._steps = Moments(metrics, HALF_LIFE_ROWS, covariance=False)
        self._stacked = Moments(3 * metrics, HALF_LIFE_ROWS, covariance=True)
        self._averages = np.full((2, metrics), np.nan)
        self._weights = np.array([[FAST], [SLOW]])
        self._components = np.zeros((3 * metrics, 0))
        self._usual = np.ones(metrics)
        self._seen: tuple[Floats, Floats] | None = None

    def score(self, values: Floats, resumes: NDArray[np.bool_]) -> Residuals:
        """Return residuals of ``values`` [rows, metrics], NaN = missing; ``resumes`` [rows]: after a gap in time."""
        fast, slow = self._walk(values, resumes)
        steps, stacked = values - fast, np.hstack((values, fast, slow))
        self._seen = steps, stacked
        distance = self._stacked.distance(stacked)
        fitted = (distance @ self._components) @ self._components[: self._metrics].T
        missing = np.isnan(values)
        joint = np.clip((distance[:, : self._metrics] - fitted) / self._usual, -FARTHEST, FARTHEST)
        mean, spread = self._stacked.mean[: self._metrics], self._stacked.spread[: self._metrics]
        change = self._steps.distance(steps, FARTHEST_BLAMED)
        level = self._stacked.distance(stacked, FARTHEST_BLAMED)[:, : self._metrics]
        return Residuals(
            np.clip(change, -FARTHEST, FARTHEST), _blame(change, level), np.where(missing, 0.0, joint),
            fast, mean + spread * fitted, slow + SLOW * (values - slow),
        )  # fmt: skip

    def learn(self) -> None:
        """Learn the block that was scored last. Raises RuntimeError where there is none."""
        if self._seen is None:
            raise RuntimeError("learn() before score()")
        steps, stacked = self._seen
        self._seen = None
        self._steps.learn(steps)
        self._stacked.learn(stacked)
        if self._stacked.blocks <= 16 or self._stacked.blocks % 8 == 0:
            self._decompose()

    def _walk(self, values: Floats, resumes: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return the fast and the slow average of the rows before each row; a missing value leaves them alone."""
        averages = np.empty((len(values), 2, self._metrics))
        now = self._averages
        missing = np.isnan(values)
        some: list[bool] = np.asarray(missing.any(axis=1)).tolist()
        new: list[bool] = resumes.tolist()
        if np.isnan(now).any():
            new[0] = True
        for row, value in enumerate(values):
            if new[row] or some[row]:
                fresh = np.isnan(now) if not new[row] else np.ones_like(now, np.bool_)
                now = np.where(fresh & ~missing[row], value, now)
                averages[row] = now
                now = np.where(missing[row], now, now + self._weights * (value - now))
            else:
                averages[row] = now
                now = now + self._weights * (value - now)
        self._averages = now
        return averages[:, 0], averages[:, 1]

    def _decompose(self) -> None:
        correlation = self._stacked.correlation()
        values, vectors = np.linalg.eigh((correlation + correlation.T) / 2.0)
        share = np.maximum(values[::-1], 0.0)
        total = share.sum()
        kept = int(np.searchsorted(np.cumsum(share) / total, EXPLAINED)) + 1 if total > 0 else 0
        self._components = vectors[:, ::-1][:, : min(kept, len(values) - 1)]
        rest = (np.eye(len(values)) - self._components @ self._components.T)[: self._metrics]
        usual = np.einsum("ij,ij->i", rest @ correlation, rest)
        self._usual = np.maximum(np.sqrt(np.maximum(usual, 0.0)), LEAST_USUAL)


def _blame(change: Floats, level: Floats) -> Floats:
    """Return how much a step of ``change`` usual steps to ``level`` spreads from the mean is to be blamed."""
    both = np.minimum(np.abs(change), STEPS_PER_LEVEL * np.abs(level))
    return np.asarray(np.where(both > WILD, WILD * (1.0 + np.log(np.maximum(both, WILD) / WILD)), both))
