"""When a series will cross its limit, and how likely that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Ids
from coldaisle.state import Kept, nested
from models.columns import Columns
from models.forecast.crossing import first_passage, normal_cdf
from models.forecast.trends import HYPOTHESES, Trends

Floats = NDArray[np.float64]

AHEAD = 16
"""Steps after which a series' own forecast is checked."""
CHECKED = 0.1
"""Weight of one such check."""
NARROWEST, WIDEST = 0.25, 16.0
"""How far such checks narrow and widen the variance of what is foretold."""
SLOWEST = 0.02
"""The least weight of a new interval between steps."""
NEGLIGIBLE = 1e-3
"""A hypothesis of less weight is left out."""
AHEAD_OF_HORIZON = 4.0
"""How many horizons the times are looked for."""
INSIDE = np.geomspace(1.0 / 64.0, 1.0, 16)
"""Shares of the horizon at which the probability is worked out; then come those beyond it."""
SHARES = np.concatenate([[0.0], INSIDE, np.geomspace(1.2, AHEAD_OF_HORIZON, 8)])
BETWEEN_READINGS = 0.5826
"""By how many deviations of one step a limit is as if further away, since levels are only known at steps: -zeta(1/2) /
sqrt(2 pi) (Broadie, Glasserman and Kou 1997)."""
FAR = 5.0
"""A limit further than so many deviations is not reached."""
FARTHEST, HALVINGS = 4.0, 24
"""Between so many deviations around all hypotheses a quantile is sought, and how often what lies between is halved."""
CHUNK = 2048
"""Series worked on at a time."""
NODES = (
    (-2.8569700, 0.0112574),
    (-1.3556262, 0.2220759),
    (0.0, 0.5333333),
    (1.3556262, 0.2220759),
    (2.8569700, 0.0112574),
)
"""Where and with what weight a Gaussian slope is looked at (Gauss-Hermite, five points)."""


class Crossing(NamedTuple):
    """When each series will cross its limit; NaN = not known yet, infinity = not within the time looked at."""

    probability: Floats  # [n] that it crosses within the horizon
    seconds_low: Floats  # [n] it crosses sooner with 10 %
    seconds_median: Floats  # [n] it crosses sooner with 50 %
    seconds_high: Floats  # [n] it crosses sooner with 90 %


class Outlook(NamedTuple):
    """Where each series stands and where it goes; NaN = not known yet."""

    level: Floats  # [n] without the noise of readings, in the metric's unit
    per_second: Floats  # [n] the trend, in the metric's unit


class TimeToLimit:
    """
    Level and trend of series that have a limit, and from these when the limit will be crossed, with a probability.

    Eleven local linear trend models run side by side for each series, scaled by its own spread and weighed by how well
    each foretold the last 50 steps or so (``models/forecast/trends.py``); what noise, a walk or a settling value
    explains is therefore not called a ramp. What crosses is the level, not the noise of single readings around it. Each
    series' forecast :data:`AHEAD` steps ahead is checked against what came; later ones are widened or narrowed by that.

    Samples closer than ``step_seconds`` are averaged into one step. No opinion before ``warm_up`` steps. About 0.5 KB
    a series, so admit only those that have a limit.
    """

    name = "time_to_limit"
    version = "1"

    def __init__(self, step_seconds: float = 15.0, warm_up: int = 24) -> None:
        self._step_ns = round(step_seconds * SECOND)
        self._warm_up = warm_up
        self._trends = Trends()
        self._memory = Columns({
            "seen": np.int64(0),  # mean time of the last step, ns
            "opened": np.int64(0),  # last sample of the last step, ns
            "sum": np.float64(0),  # of the samples since
            "late": np.float64(0),  # of their times since then, ns
            "samples": np.int32(0),
            "interval": np.float64(0),  # usual time between steps, ns
            "due": np.float32(0),  # steps until the forecast under way is checked; 0 = none is
            "foretold": np.float64(0),
            "margin": np.float64(0),  # variance of that forecast
            "stretch": np.float32(1),  # mean squared error of such forecasts, over what they said it would be
        })  # fmt: skip

    def admit(self, ids: Ids) -> None:
        """Make room; ids already known keep what was learnt."""
        self._memory.reach(ids)
        self._trends.memory.reach(ids)

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``."""
        self._memory.clear(ids)
        self._trends.memory.clear(ids)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        return {**self._memory.state(), **nested("trends", self._trends.memory.state())}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent that names the key."""
        self._memory.restore(state)
        self._trends.memory.restore(Kept(state).within("trends").state)

    def learn(self, ids: Ids, timestamps: NDArray[np.int64], values: Floats) -> None:
        """
        Take note of samples [n], each id at most once; NaN is left out, and so is what is not later than the last.

        Raises IndexError for an id that was never admitted.
        """
        memory = self._memory
        if len(ids) and int(ids.max()) >= len(memory):
            raise IndexError(f"series {int(ids.max())} was never admitted")
        known = self._trends.memory["count"][ids] > 0
        fresh = np.isfinite(values) & (~known | (timestamps > memory["opened"][ids]))
        ids, timestamps, values, known = ids[fresh], timestamps[fresh], values[fresh], known[fresh]
        opened = np.where(known, memory["opened"][ids], timestamps)
        memory["sum"][ids] += values
        memory["late"][ids] += timestamps - opened
        memory["samples"][ids] += 1
        full = (timestamps - opened >= self._step_ns) | ~known
        ids, timestamps, opened, known = ids[full], timestamps[full], opened[full], known[full]
        samples = memory["samples"][ids]
        at = opened + (memory["late"][ids] / samples).astype(np.int64)
        steps = memory["sum"][ids] / samples
        memory["sum"][ids] = memory["late"][ids] = 0.0
        memory["samples"][ids], memory["opened"][ids] = 0, timestamps
        if not known.all():
            self._trends.begin(ids[~known], steps[~known])
            memory["seen"][ids[~known]] = at[~known]
        if known.any():
            self._step(ids[known], at[known], steps[known])

    def within(
        self, ids: Ids, limits: Floats, horizon_seconds: float, sides: NDArray[np.int8] | None = None
    ) -> Crossing:
        """
        Return when each of ``ids`` [n] will cross its limit [n] (metric's unit); time counts from its last step.

        ``sides`` [n]: +1 = harmful above the limit (default), -1 = below. A level beyond its limit has crossed: at
        once, with certainty. Times are looked for up to four horizons ahead. Pure.
        """
        found = np.full((4, len(ids)), np.nan)
        ready = np.flatnonzero((self._trends.memory["count"][ids] >= self._warm_up) & np.isfinite(limits))
        if len(ready):
            side = np.ones(len(ready)) if sides is None else sides[ready].astype(np.float64)
            chances = self._chances(ids[ready], limits[ready], side, horizon_seconds)
            found[0, ready] = chances[:, len(INSIDE)]
            for row, share in ((1, 0.1), (2, 0.5), (3, 0.9)):
                found[row, ready] = _first_time(chances, share) * horizon_seconds
        return Crossing(*found)

    def outlook(self, ids: Ids) -> Outlook:
        """Return level and trend of each of ``ids`` [n], for an explanation."""
        trends = self._trends
        level, slope = np.zeros((2, len(ids)))
        for k, weight in enumerate(trends.weights(ids)):
            level += weight * trends.memory[f"level{k}"][ids]
            slope += weight * trends.memory[f"slope{k}"][ids]
        silent = trends.memory["count"][ids] < self._warm_up
        level[silent] = slope[silent] = np.nan
        return Outlook(level, slope * SECOND / np.maximum(self._memory["interval"][ids], 1.0))

    def quantiles(self, ids: Ids, steps: Floats, levels: tuple[float, ...]) -> Floats:
        """
        Return where readings of each of ``ids`` [n] lie after ``steps`` [steps] intervals: [n, steps, levels].

        Those of the mixture of all hypotheses, as wide as their checks have shown. NaN before ``warm_up`` steps. Pure.
        """
        memory, trends = self._memory, self._trends
        stretch = np.clip(memory["stretch"][ids].astype(np.float64), NARROWEST, WIDEST)[:, None]
        shape = (len(HYPOTHESES), len(ids), len(steps))
        middle, deviation = np.empty(shape), np.empty(shape)
        for k, hypothesis in enumerate(HYPOTHESES):
            way = trends.ways(k, ids[:, None], steps)
            reading = hypothesis.noise * trends.memory[f"spread{k}"][ids][:, None]
            middle[k] = way.level + way.drift
            deviation[k] = np.sqrt(np.maximum((way.variance + way.drift_variance + reading) * stretch, 1e-300))
        weights = trends.weights(ids)[:, :, None]
        found = np.empty((*shape[1:], len(levels)))
        for place, level in enumerate(levels):
            low, high = (middle - FARTHEST * deviation).min(axis=0), (middle + FARTHEST * deviation).max(axis=0)
            for _ in range(HALVINGS):
                half = 0.5 * (low + high)
                below = (weights * normal_cdf((half - middle) / deviation)).sum(axis=0) < level
                low, high = np.where(below, half, low), np.where(below, high, half)
            found[:, :, place] = 0.5 * (low + high)
        found[trends.memory["count"][ids] < self._warm_up] = np.nan
        return found

    def _step(self, ids: Ids, at: NDArray[np.int64], values: Floats) -> None:
        memory = self._memory
        count = self._trends.memory["count"][ids]
        elapsed = np.maximum(at - memory["seen"][ids], 1).astype(np.float64)
        usual = memory["interval"][ids]
        # A pause is no interval: it moves the usual one by no more than four of them would.
        towards = np.minimum(elapsed, 4.0 * usual) - usual
        interval = np.where(count == 1, elapsed, usual + np.maximum(1.0 / (count + 1.0), SLOWEST) * towards)
        memory["interval"][ids], memory["seen"][ids] = interval, at
        steps = np.clip(elapsed / interval, 0.25, 256.0)
        self._check(ids, steps, values)
        self._trends.step(ids, steps, values)
        self._foretell(ids[(memory["due"][ids] <= 0) & (count + 1 >= self._warm_up)])

    def _check(self, ids: Ids, steps: Floats, values: Floats) -> None:
        """Compare what was foretold some steps ago with what came."""
        memory = self._memory
        due = memory["due"][ids]
        left = np.where(due > 0, due - steps, 0.0)
        ripe = (due > 0) & (left < 0.5)
        # Where a pause ran over the moment, there is nothing to compare.
        usable = ripe & (left > -2.0)
        rows = ids[usable]
        squared = (values[usable] - memory["foretold"][rows]) ** 2 / memory["margin"][rows]
        stretch = memory["stretch"][rows]
        memory["stretch"][rows] = stretch + CHECKED * (np.minimum(squared, WIDEST) - stretch)
        memory["due"][ids] = np.where(ripe, 0.0, left)

    def _foretell(self, ids: Ids) -> None:
        """Put down what is foretold now, to be checked later."""
        if len(ids) == 0:
            return
        steps = np.full(len(ids), float(AHEAD))
        mean, square = np.zeros((2, len(ids)))
        for k, weight in enumerate(self._trends.weights(ids)):
            way = self._trends.ways(k, ids, steps)
            there = way.level + way.drift
            reading = HYPOTHESES[k].noise * self._trends.memory[f"spread{k}"][ids]
            mean += weight * there
            square += weight * (way.variance + way.drift_variance + reading + there**2)
        memory = self._memory
        memory["foretold"][ids], memory["due"][ids] = mean, AHEAD
        memory["margin"][ids] = np.maximum(square - mean**2, 1e-12 * square + 1e-300)

    def _chances(self, ids: Ids, limits: Floats, side: Floats, horizon_seconds: float) -> Floats:
        """Return the probability of having crossed at each of SHARES of the horizon [n, shares]."""
        per_step = np.maximum(self._memory["interval"][ids], 1.0) / SECOND
        stretch = np.clip(self._memory["stretch"][ids].astype(np.float64), NARROWEST, WIDEST)
        steps = SHARES[1:] * (horizon_seconds / per_step)[:, None]
        passed, weighed = np.zeros((len(ids), len(SHARES))), np.zeros((len(ids), 1))
        for k, weights in enumerate(self._trends.weights(ids)):
            rows = np.flatnonzero(weights > NEGLIGIBLE)
            weight = weights[rows, None]
            weighed[rows] += weight
            for at in range(0, len(rows), CHUNK):
                part = slice(at, at + CHUNK)
                some = rows[part]
                chance = self._chance(k, ids[some], limits[some], side[some], stretch[some], steps[some])
                passed[some] += weight[part] * chance
        return np.maximum.accumulate(passed / weighed, axis=1)

    def _chance(
        self, k: int, ids: Ids, limits: Floats, side: Floats, stretch: Floats, steps: Floats
    ) -> NDArray[np.float64]:
        """Return the probability of having crossed at once and after ``steps`` [n, times], under one hypothesis."""
        hypothesis = HYPOTHESES[k]
        chance = np.zeros((len(ids), 1 + steps.shape[1]))
        # Most series are far from their limits, and furthest along at the last of the times: look there first.
        last = self._trends.ways(k, ids, steps[:, -1])
        far = FAR * np.sqrt((last.variance + last.drift_variance) * stretch)
        near = np.flatnonzero(np.maximum(last.drift * side, 0.0) + far > (limits - last.level) * side)
        steps, side, stretch = steps[near], side[near, None], stretch[near, None]
        way = self._trends.ways(k, ids[near, None], steps)
        gap = (limits[near, None] - way.level) * side
        chance[near, :1] = gap <= 0
        # A level that is read now and then crosses later than one that is watched without a pause.
        gap = gap + np.where(gap > 0, BETWEEN_READINGS * np.sqrt(way.wander * stretch), 0.0)
        drift, variance = way.drift * side, np.maximum(way.variance * stretch, 1e-300)
        gap = np.broadcast_to(gap, drift.shape)
        if hypothesis.lasting > 0.0:
            swing = np.sqrt(way.drift_variance * stretch)
            for node, share in NODES:
                chance[near, 1:] += share * first_passage(gap, drift + node * swing, variance)
        elif hypothesis.back < 1.0:
            # What comes back tries again about once in each time that it needs to come back.
            tries = 1.0 - steps * np.log(hypothesis.back)
            chance[near, 1:] = 1.0 - (1.0 - first_passage(gap, drift, variance)) ** tries
        else:
            chance[near, 1:] = first_passage(gap, drift, variance)
        return chance


def _first_time(chances: Floats, share: float) -> Floats:
    """Return at which of SHARES, interpolated, ``chances`` [n, shares] reach ``share``; infinity = at none."""
    after = np.argmax(chances >= share, axis=1)
    never = chances[:, -1] < share
    before = np.maximum(after - 1, 0)
    rows = np.arange(len(chances))
    low, high = chances[rows, before], chances[rows, after]
    part = np.clip((share - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    times = SHARES[before] + part * (SHARES[after] - SHARES[before])
    return np.where(never, np.inf, np.where(after == 0, 0.0, times))
