"""How good forecasts were: MASE, weighted quantile loss and coverage, beside the seasonal-naive forecast."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.expected import LEVELS

Floats = NDArray[np.float64]

_MEDIAN = LEVELS.index(0.5)


class Quality(NamedTuple):
    """How good the forecasts of some series were; NaN where there was nothing to compare."""

    mase: float  # mean absolute error of the median, over that of the seasonal-naive forecast in the past
    quantile_loss: float  # weighted: twice the pinball loss over the sum of absolute values, mean of the LEVELS
    coverage_80: float  # share of values inside the band of 80 %
    coverage_98: float


def judge(truth: Floats, quantiles: Floats, scale: Floats) -> Quality:
    """
    Compare ``truth`` [forecasts, horizon] with ``quantiles`` [forecasts, horizon, LEVELS]; NaN in truth is left out.

    ``scale`` [forecasts]: :func:`naive_scale` of the series that each belongs to. MASE: Hyndman and Koehler (2006);
    weighted quantile loss as in the M5 competition and GluonTS.
    """
    known = np.isfinite(truth) & np.isfinite(quantiles).all(axis=2)
    there, said = truth[known], quantiles[known]
    if len(there) == 0:
        return Quality(np.nan, np.nan, np.nan, np.nan)
    scales = np.broadcast_to(scale[:, None], truth.shape)[known]
    scaled = np.abs(there - said[:, _MEDIAN])[scales > 0] / scales[scales > 0]
    return Quality(
        float(scaled.mean()) if len(scaled) else float("nan"),
        weighted_quantile_loss(there, said),
        float(np.mean((there >= said[:, 1]) & (there <= said[:, 3]))),
        float(np.mean((there >= said[:, 0]) & (there <= said[:, 4]))),
    )


def weighted_quantile_loss(truth: Floats, quantiles: Floats) -> float:
    """Return the mean over LEVELS of twice the pinball loss, over the sum of |truth|; [n] and [n, LEVELS]."""
    miss = truth[:, None] - quantiles
    levels = np.array(LEVELS)
    loss = np.maximum(levels * miss, (levels - 1.0) * miss).sum(axis=0)
    total = float(np.abs(truth).sum())
    return float(2.0 * loss.mean() / total) if total > 0 else float("nan")


def naive_scale(history: Floats, season: int) -> Floats:
    """Return the mean absolute change over ``season`` steps of each of ``history`` [series, steps]; NaN = unknown."""
    change = np.abs(history[:, season:] - history[:, :-season])
    known = np.isfinite(change)
    total = np.where(known, change, 0.0).sum(axis=1)
    return np.asarray(np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), np.nan))


class SeasonalNaive:
    """What was a season ago comes again; its bands are the quantiles of the errors that this made in the past."""

    def __init__(self, past: Floats, season: int, horizon: int) -> None:
        """Learn the errors of each step ahead from ``past`` [series, steps]."""
        self._steps = np.arange(horizon)
        self._season = season
        self._errors = np.zeros((len(past), horizon, len(LEVELS)))
        for lag in range(season, horizon + season, season):
            ahead = (self._steps >= lag - season) & (self._steps < lag)
            for row, change in enumerate(past[:, lag:] - past[:, :-lag]):
                known = change[np.isfinite(change)]
                if len(known):
                    self._errors[row, ahead] = np.quantile(known, LEVELS)
        self._errors[:, :, _MEDIAN] = 0.0  # its name says what its median is

    def predict(self, history: Floats, series: NDArray[np.int64]) -> Floats:
        """Return quantiles [n, horizon, LEVELS] after ``history`` [n, at least a season] of the rows ``series``."""
        point = history[:, history.shape[1] - self._season + self._steps % self._season]
        return np.asarray(point[:, :, None] + self._errors[series])
