"""Detectors of whole rows, each alone and all calibrated the same way, so that they can be compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Detector, Traits
from coldaisle.errors import ConfigError
from models.budget import SECONDS_PER_DAY, threshold
from models.calibrate import TailCalibrator, TailSettings
from models.isolation_forest import Forest, train_forest
from models.level import Level
from models.reconstruction import Reconstruction
from models.seasonal import Seasonal

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

BLOCK = 50
"""Rows between two updates of what is calibrated."""
SMOOTHING = 0.1
"""Weight of the newest row in every statistic but the random one (an EWMA chart, Roberts 1959)."""
ROWS_PER_LOOK = (2.0 - SMOOTHING) / SMOOTHING
"""Smoothed rows hang together: so many are one independent look (variance of an EWMA)."""
FARTHEST = 20.0
"""No metric counts for more of its own spreads than this."""
PCA_EXPLAINED = 0.95
PCA_WINDOW = 32
"""A file of one metric is reconstructed from windows of so many rows (TSB-AD's Sub-PCA)."""
WARM_UP_SHARE = 0.15
"""Without history the first rows are it: as much as the published benchmarks allow."""
FLAGGED_TEACHES = 0.2
RANDOM = "random"


class Rows(NamedTuple):
    """
    One entity's rows in order of time, the first ``learnt`` of them only to learn from.

    ``timestamps`` [n] ns, ``values`` [n, metrics], NaN = missing.
    """

    timestamps: Times
    values: Floats
    learnt: int


class Judged(NamedTuple):
    """What a detector thinks of the rows after those it only learnt from; NaN = no opinion."""

    score: Floats  # higher is stranger
    tail: Floats  # how often normal life goes as far
    flagged: NDArray[np.bool_]


Statistic = Callable[[Rows], Floats]
"""Returns how strange every row is, those learnt from too [n]; NaN = no opinion. No row looks at a later one."""


def judge(name: str, rows: Rows, budget_events_per_day: float) -> Judged:
    """
    Return what the detector called ``name`` thinks of ``rows`` at an alert budget. Raises KeyError.

    Its tail probabilities are learnt from its own past scores, as everywhere; its threshold is the budget's.
    """
    statistic, smoothed = ALONE[name]
    scores = statistic(rows)
    per_look = 1.0
    if smoothed:
        scores, per_look = _smooth(scores), ROWS_PER_LOOK
    steps = np.diff(rows.timestamps)
    interval_seconds = float(np.median(steps[steps > 0])) / SECOND if (steps > 0).any() else 1.0
    limit = threshold(budget_events_per_day, SECONDS_PER_DAY / interval_seconds / per_look)
    if name == RANDOM:  # how rare noise is need not be learnt
        tail, flagged = 1.0 - scores, 1.0 - scores < limit
    else:
        tail, flagged = _calibrated(scores, limit)
    return Judged(scores[rows.learnt :], tail[rows.learnt :], flagged[rows.learnt :])


def _calibrated(scores: Floats, limit: float) -> tuple[Floats, NDArray[np.bool_]]:
    calibrator = TailCalibrator(1, 1, TailSettings(memory_ticks=2000.0))
    tail, flagged = np.full(len(scores), np.nan), np.zeros(len(scores), np.bool_)
    for start in range(0, len(scores), BLOCK):
        part = slice(start, start + BLOCK)
        family = np.zeros(len(scores[part]), np.int32)
        tail[part] = calibrator.tail(0, family, scores[part])
        flagged[part] = tail[part] < limit
        known = ~np.isnan(scores[part])
        weight = np.where(flagged[part], FLAGGED_TEACHES, 1.0)
        calibrator.learn(0, family[known], scores[part][known], weight[known])
    return tail, flagged


def _smooth(scores: Floats) -> Floats:
    smoothed, level = np.full(len(scores), np.nan), 0.0
    for row, score in enumerate(scores):
        if not np.isnan(score):  # a row without an opinion moves nothing
            level += SMOOTHING * (float(score) - level)
            smoothed[row] = level
    return smoothed


def random_rows(rows: Rows) -> Floats:
    """Return noise: what knowing nothing is worth. The same noise for every file."""
    return np.random.default_rng(0).random(len(rows.values))


def pca_rows(rows: Rows) -> Floats:
    """
    Return the mark to beat: the squared error of principal components that explain 95 % of the variance.

    They are fitted once, to the rows learnt from, or where there are none to the first 15 %. One metric is cut into
    windows of its last 32 rows.
    """
    values = _without_gaps(rows.values)
    learnt = rows.learnt or max(2, int(WARM_UP_SHARE * len(values)))
    late = 0
    if values.shape[1] == 1:
        late = PCA_WINDOW - 1
        if len(values) <= PCA_WINDOW:
            return np.full(len(values), np.nan)
        values = sliding_window_view(values[:, 0], PCA_WINDOW)
    history = values[: max(2, learnt - late)]
    mean, spread = history.mean(axis=0), np.maximum(history.std(axis=0), 1e-4)
    variances, vectors = np.linalg.eigh(np.atleast_2d(np.cov(((history - mean) / spread).T)))
    kept = int(np.searchsorted(np.cumsum(variances[::-1]) / max(variances.sum(), 1e-12), PCA_EXPLAINED)) + 1
    components = vectors[:, ::-1][:, :kept]
    errors = np.full(len(rows.values), np.nan)
    for start in range(0, len(values), 4096):
        distance = (values[start : start + 4096] - mean) / spread
        residual = distance - distance @ components @ components.T
        errors[late + start : late + start + len(distance)] = (residual**2).sum(axis=1)
    if not rows.learnt:
        errors[:learnt] = np.nan
    return errors


def level_rows(rows: Rows) -> Floats:
    """Return the mean square of the metrics' distances from their levels, in spreads."""
    return _mean_square(_detector_rows(Level(relearn_seconds=SECONDS_PER_DAY), rows))


def seasonal_rows(rows: Rows) -> Floats:
    """Return the mean square of the metrics' distances from their time of day and week, in spreads."""
    return _mean_square(_detector_rows(Seasonal(), rows))


def reconstruction_rows(rows: Rows) -> Floats:
    """Return the mean square of what the metrics' components, learnt as time goes, do not explain."""
    model = Reconstruction(rows.values.shape[1])
    elapsed = np.maximum(np.diff(rows.timestamps, prepend=rows.timestamps[:1]), 0) / SECOND
    scores = np.full(len(rows.values), np.nan)
    for start in range(0, len(scores), BLOCK):
        part = slice(start, start + BLOCK)
        values = rows.values[part]
        seen = (~np.isnan(values)).sum(axis=1)
        squares = (model.score(values).residual ** 2).sum(axis=1) / np.maximum(seen, 1)
        if start:  # the first block has no components yet
            scores[part] = np.where(seen > 0, squares, np.nan)
        model.learn(values, elapsed[part])
    return scores


def forest_rows(rows: Rows) -> Floats:
    """
    Return how strange an isolation forest finds the metrics' distances from their levels.

    It is trained once, on the rows learnt from, or where there are none on the first 15 %; on too little to learn
    from it has no opinion.
    """
    distances = _detector_rows(Level(relearn_seconds=SECONDS_PER_DAY), rows)
    names = tuple(str(number) for number in range(distances.shape[1]))
    learnt = rows.learnt or int(WARM_UP_SHARE * len(distances))
    try:
        forest = Forest(train_forest(distances[:learnt], names, seed=0), "alone")
    except ConfigError:
        return np.full(len(distances), np.nan)
    strange = forest.score(names, distances.astype(np.float32))
    if not rows.learnt:
        strange[:learnt] = np.nan
    return strange


def _detector_rows(detector: Detector, rows: Rows) -> Floats:
    """Show a detector of series every row; it learns from all of them. Return [rows, metrics], signed."""
    metrics = rows.values.shape[1]
    ids = np.arange(metrics)
    nobody = np.full(metrics, -1, np.int32)
    detector.admit(ids, Traits(np.zeros(metrics, np.int8), np.zeros(metrics, np.int32), nobody))
    known = ~np.isnan(rows.values)
    scores, ones = np.full(rows.values.shape, np.nan), np.ones(metrics)
    for row, moment in enumerate(rows.timestamps):
        where = known[row]
        here = ids[where]
        if not len(here):
            continue
        batch = Batch(here, np.full(len(here), moment), rows.values[row, where])
        scores[row, where] = detector.score(batch).score
        detector.learn(batch, ones[: len(here)])
    return scores


def _mean_square(scores: Floats) -> Floats:
    """Return how far each row's metrics are in the mean; a row where none has an opinion has none itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(np.minimum(np.abs(scores), FARTHEST) ** 2, axis=1))


def _without_gaps(values: Floats) -> Floats:
    """Return ``values`` with each missing one as the one before it (the first as 0): PCA knows no gaps."""
    rows = np.where(np.isnan(values), -1, np.arange(len(values))[:, None])
    last = np.maximum.accumulate(rows, axis=0)
    return np.where(last >= 0, np.take_along_axis(values, np.maximum(last, 0), axis=0), 0.0)


ALONE: dict[str, tuple[Statistic, bool]] = {
    RANDOM: (random_rows, False),
    "pca": (pca_rows, True),
    "level": (level_rows, True),
    "seasonal": (seasonal_rows, True),
    "reconstruction": (reconstruction_rows, True),
    "forest": (forest_rows, True),
}
"""Each detector by its name, and whether its statistic is smoothed."""
