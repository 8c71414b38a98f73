"""Level and trend of many series under several hypotheses at once, weighed by what each foretold."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids
from models.columns import Columns

Floats = NDArray[np.float64]

CLIP = 4.0
"""Beyond so many spreads a reading pulls no harder, so that one bad reading makes no trend."""
TAIL = 5.0
"""Degrees of freedom of the t distribution by which hypotheses are weighed: heavier than Gaussian, as telemetry is."""
FORGET = 0.98
"""What a step leaves of the evidence for a hypothesis: about the last 50 steps count."""
LEAST = -20.0
"""The least that the evidence for a hypothesis can be, as a log of odds against the best."""
SLOWEST = 0.02
"""The least weight of a new step for the spread."""
SLOWEST_MEAN = 0.005
"""The same for the long mean."""
QUANTISED = 0.2887
"""Standard deviation of rounding to a step of 1: 1 / sqrt(12)."""


class Hypothesis(NamedTuple):
    """One way in which a series may move; variances per step, in units of the series' own spread squared."""

    name: str
    noise: float  # of a reading around the level
    wander: float  # of the level, a step
    swing: float  # of the slope, a step
    back: float  # share of the distance from the long mean that a step leaves; 1 = never comes back
    lasting: float  # share of the slope that a step leaves; 0 = there is no slope
    prior: float  # log of the weight before any evidence


HYPOTHESES = (
    Hypothesis("still", 1.0, 1e-4, 0.0, 1.0, 0.0, 0.0),
    Hypothesis("wanders slowly", 1.0, 0.02, 0.0, 1.0, 0.0, 0.0),
    Hypothesis("wanders", 1.0, 0.5, 0.0, 1.0, 0.0, 0.0),
    Hypothesis("walks", 0.02, 1.0, 0.0, 1.0, 0.0, 0.0),
    Hypothesis("returns", 0.02, 1.0, 0.0, 0.9, 0.0, 0.0),
    Hypothesis("ramp, slow", 1.0, 1e-4, 1e-7, 1.0, 1.0, -0.5),
    Hypothesis("ramp", 1.0, 1e-3, 1e-5, 1.0, 1.0, -0.5),
    Hypothesis("ramp, bending", 1.0, 0.01, 1e-3, 1.0, 1.0, -2.0),
    Hypothesis("walks on", 0.02, 1.0, 1e-4, 1.0, 1.0, -1.5),
    Hypothesis("settles", 0.3, 0.1, 0.05, 1.0, 0.9, -0.5),
    Hypothesis("settles slowly", 1.0, 0.01, 5e-3, 1.0, 0.95, -0.5),
)
"""Together they hold noise, random walks, mean reversion, ramps and the way a heated thing settles: local linear trend
models (Harvey 1989, Forecasting, structural time series models and the Kalman filter, chapter 4)."""


class Way(NamedTuple):
    """Where one hypothesis says that each series goes; in the metric's unit."""

    level: Floats
    drift: Floats  # mean displacement of the level after the steps asked for
    drift_variance: Floats  # of the part of the displacement that a steady slope makes
    variance: Floats  # of the rest: where the level is now, and how it wanders
    wander: Floats  # variance by which the level wanders in one step


class Trends:
    """Kalman filters of every hypothesis for every series, in columns; steps are the series' own intervals."""

    def __init__(self) -> None:
        fresh: dict[str, Any] = {
            "count": np.int32(0),
            "mean": np.float64(0),  # over the long run
            "before": np.float64(0),  # the step before
            "grain": np.float64(0),  # smallest change seen
        }
        for k, each in enumerate(HYPOTHESES):
            # Scaled covariance of level and slope: pp, ps, ss; spread: variance that the scale stands for.
            fresh |= {f"level{k}": np.float64(0), f"slope{k}": np.float64(0), f"spread{k}": np.float64(0)}
            fresh |= {f"pp{k}": np.float32(1), f"ps{k}": np.float32(0), f"ss{k}": np.float32(each.lasting)}
            fresh[f"weight{k}"] = np.float32(each.prior)
        self.memory = Columns(fresh)

    def begin(self, ids: Ids, values: Floats) -> None:
        """Take the first value of each of ``ids``."""
        memory = self.memory
        memory["count"][ids] = 1
        memory["mean"][ids] = memory["before"][ids] = values
        for k in range(len(HYPOTHESES)):
            memory[f"level{k}"][ids] = values

    def step(self, ids: Ids, steps: Floats, values: Floats) -> None:
        """Move on by ``steps`` [n] intervals and take note of ``values`` [n]."""
        memory = self.memory
        count = memory["count"][ids]
        change = np.abs(values - memory["before"][ids])
        grain = memory["grain"][ids]
        smaller = (change > 1e-9 * np.abs(values)) & ((change < grain) | (grain == 0))
        grain = np.where(smaller, change, grain)
        mean = memory["mean"][ids]
        floor = np.maximum(QUANTISED * grain, 1e-9 * np.abs(values)) ** 2 + 1e-300
        logs = np.empty((len(HYPOTHESES), len(ids)))
        for k, hypothesis in enumerate(HYPOTHESES):
            likely = self._update(k, hypothesis, ids, steps, values, count, mean, floor)
            logs[k] = FORGET * memory[f"weight{k}"][ids] + (1.0 - FORGET) * hypothesis.prior + likely
        # Only differences matter; one that was wrong for long must still be able to come back.
        logs = np.maximum(logs - logs.max(axis=0, initial=-np.inf), LEAST)
        for k, log in enumerate(logs):
            memory[f"weight{k}"][ids] = log
        memory["mean"][ids] = mean + np.maximum(1.0 / (count + 1.0), SLOWEST_MEAN) * (values - mean)
        memory["before"][ids], memory["grain"][ids], memory["count"][ids] = values, grain, count + 1

    def weights(self, ids: Ids) -> Floats:
        """Return the weight of each hypothesis [hypotheses, n]; they add up to 1 for each series."""
        logs = np.array([self.memory[f"weight{k}"][ids] for k in range(len(HYPOTHESES))], np.float64)
        shares = np.exp(logs - logs.max(axis=0, initial=-np.inf))
        return np.asarray(shares / shares.sum(axis=0))

    def ways(self, k: int, ids: Ids, steps: Floats) -> Way:
        """Return where hypothesis ``k`` says that ``ids`` [n] are after ``steps`` intervals; shapes broadcast."""
        memory, hypothesis = self.memory, HYPOTHESES[k]
        level, spread = memory[f"level{k}"][ids], memory[f"spread{k}"][ids]
        here = memory[f"pp{k}"][ids].astype(np.float64)
        wander = spread * hypothesis.wander
        if hypothesis.back < 1.0:
            left = hypothesis.back**steps
            drift = (level - memory["mean"][ids]) * (left - 1.0)
            rest = here * left**2 + hypothesis.wander * (1.0 - left**2) / (1.0 - hypothesis.back**2)
            return Way(level, drift, np.zeros_like(drift), spread * rest, wander)
        rest = here + hypothesis.wander * steps
        if hypothesis.lasting == 0.0:
            return Way(level, np.zeros_like(rest), np.zeros_like(rest), spread * rest, wander)
        reach, bends = _reach(hypothesis.lasting, steps)
        steady = memory[f"ss{k}"][ids] * reach**2 + hypothesis.swing * bends
        rest = np.maximum(rest + 2.0 * memory[f"ps{k}"][ids] * reach, 1e-6)
        return Way(level, memory[f"slope{k}"][ids] * reach, spread * steady, spread * rest, wander)

    def _update(
        self,
        k: int,
        hypothesis: Hypothesis,
        ids: Ids,
        steps: Floats,
        values: Floats,
        count: NDArray[np.int32],
        mean: Floats,
        floor: Floats,
    ) -> Floats:
        """Move one hypothesis on; return the log of how likely it held ``values``."""
        memory = self.memory
        level, spread = memory[f"level{k}"][ids], memory[f"spread{k}"][ids]
        pp = memory[f"pp{k}"][ids].astype(np.float64)
        slope = ps = ss = None
        if hypothesis.back < 1.0:
            left = hypothesis.back**steps
            level = mean + (level - mean) * left
            pp = pp * left**2 + hypothesis.wander * (1.0 - left**2) / (1.0 - hypothesis.back**2)
        else:
            pp = pp + hypothesis.wander * steps
        if hypothesis.lasting > 0.0:
            slope, ps, ss = (memory[f"{name}{k}"][ids].astype(np.float64) for name in ("slope", "ps", "ss"))
            reach, bends = _reach(hypothesis.lasting, steps)
            left = hypothesis.lasting**steps
            level, slope = level + slope * reach, slope * left
            pp = pp + 2.0 * ps * reach + ss * reach**2 + hypothesis.swing * bends
            ps = ps * left + ss * reach * left + hypothesis.swing * 0.5 * steps**2 * left
            ss = ss * left**2 + hypothesis.swing * steps
        certain = pp + hypothesis.noise
        error = values - level
        young = count < 3
        # The first changes tell the spread; nothing is known yet to call them far.
        spread = np.maximum(np.where(count == 1, error**2 / certain, spread), floor)
        deviation = np.sqrt(spread * certain)
        distance = error / deviation
        held = np.where(young, error, np.clip(distance, -CLIP, CLIP) * deviation)
        likely: Floats = -np.log(deviation) - 0.5 * (TAIL + 1.0) * np.log1p(distance**2 / TAIL)
        likely[young] = 0.0
        gain = pp / certain
        memory[f"level{k}"][ids] = level + gain * held
        if slope is not None and ps is not None and ss is not None:
            turn = ps / certain
            memory[f"slope{k}"][ids] = slope + turn * held
            memory[f"ss{k}"][ids] = ss - turn * ps
            memory[f"ps{k}"][ids] = ps * (1.0 - gain)
        memory[f"pp{k}"][ids] = pp * (1.0 - gain)
        rate = np.maximum(1.0 / (count + 1.0), SLOWEST)
        memory[f"spread{k}"][ids] = np.maximum(spread + rate * (held**2 / certain - spread), floor)
        return likely


def _reach(lasting: float, steps: Floats) -> tuple[Floats, Floats]:
    """Return how far a slope of 1 carries in ``steps``, and what variance a swing of 1 a step gives the level."""
    if lasting == 1.0:
        return steps, steps**3 / 3.0
    rate = -math.log(lasting)
    gone = -np.expm1(-rate * steps)
    # Integrated Ornstein-Uhlenbeck process (Uhlenbeck and Ornstein 1930), started at rest.
    bends = (steps - 2.0 * gone / rate - np.expm1(-2.0 * rate * steps) / (2.0 * rate)) / rate**2
    return np.asarray(gone / rate), np.maximum(bends, 0.0)
