"""A light seasonal forecaster: level, trend and profile of many series, with bands from their own past errors."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import HOUR, SECOND
from coldaisle.detector import Ids
from coldaisle.expected import LEVELS
from models.columns import Columns

Floats = NDArray[np.float64]

DAY_HOURS, WEEK_HOURS = 24, 168
BETTER = 0.95
"""A profile is used where its error is below this share of what a simpler one gives, so noise makes no season."""
PLACES = 3
"""A forecast is judged apart by where the series stood: low, in the middle or high in its own range."""
NODES_AHEAD = (1, 2, 3, 5, 8, 12, 18, 24, 36, 48, 72, 96, 144, 192, 288)
"""Steps ahead at which errors are learnt; between them the forecast is interpolated."""
WIDE = 8.0
"""Values further than so many half-ranges from the middle pull no harder."""
TAKEN = 1e9
"""The same of those that live for hours or days, which must follow a jump at once: nothing is too far."""
LEVEL_RATE, TREND_RATE, DAMPING = 0.3, 0.1, 0.9
"""How fast level and trend of the distance from the baseline are learnt, and what a step leaves of the trend."""
WARM_UP = 16
"""Steps before there is a forecast."""
PRIOR = 20.0
"""Steps that the belief in persistence weighs, against what the series' own past says."""
LEFT, RIGHT = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 1, 2, 2])
"""The traits whose products stand in a gram: the upper half of a symmetric 3 x 3 matrix."""
SYMMETRIC, DIAGONAL = np.array([0, 1, 2, 1, 3, 4, 2, 4, 5]), np.array([0, 4, 8])
"""Where the nine of that matrix stand in it, and which of the nine are its diagonal."""
GAUSSIAN = np.array([-2.326, -1.2816, 0.0, 1.2816, 2.326]) * 1.2533
"""Where LEVELS of Gaussian errors lie, in mean absolute errors: what is believed before there are errors."""


class Lasting(Enum):
    """
    For how long a forecaster will live, and so what it can come to know.

    WEEKS: the hours of day and week; it takes a jump far beyond all it has seen for a bad reading. DAYS: the hours of a
    day, but it must follow each jump at once. HOURS: as DAYS, and the hours to come are unknown to it.
    """

    WEEKS = "weeks"
    DAYS = "days"
    HOURS = "hours"


class LightForecaster:
    """
    Forecasts of regular series, a step at a time.

    Expected is a baseline (slow mean, hour of day or hour of week, whichever foretold the series best in the last
    weeks) plus shares of how far the series stands from it, of its recent level and of its damped trend, learnt
    for each step ahead by recursive least squares that forgets. The quantiles come from its own past errors at that
    step ahead, made from as low, middling or high a place: each moves up a little when the truth lies above it and
    down when below, in the proportion of its level, so that coverage comes right under any drift (Gibbs and
    Candes 2021; Angelopoulos, Candes and Tibshirani 2023, quantile tracking). Steps that were not seen are not learnt.

    About 5 KB a series for a horizon of 24 steps.
    """

    version = "1"

    def __init__(self, step_seconds: float, horizon: int, lasting: Lasting = Lasting.WEEKS) -> None:
        self._lasting = lasting
        self._wide = WIDE if lasting is Lasting.WEEKS else TAKEN
        self.step_ns = round(step_seconds * SECOND)
        self.horizon = horizon
        self._ahead = np.array(sorted({n for n in NODES_AHEAD if n < horizon} | {horizon}))
        self._now_and_ahead = np.concatenate([[0], self._ahead])
        nodes, step_hours = len(self._ahead), step_seconds / 3600.0
        self._slow = min(step_hours / (14 * 24.0), 1.0 / 200.0)  # of the slow mean, a step: two weeks, or 200 steps
        self._day_rate, self._week_rate = min(step_hours, 1.0) / 14.0, min(step_hours, 1.0) / 6.0
        self._track = max(self._slow, 1e-3)
        self._forget = 1.0 - min(max(self._slow, 1.0 / 2000.0), 1.0 / 200.0)
        start = np.zeros((nodes, 3), np.float32)
        start[:, :2] = 0.5 * (0.98**self._ahead)[:, None]
        self._start = start.astype(np.float64)
        self._memory = Columns({
            "count": np.int32(0),
            "last": np.int64(-1),  # the step seen last
            "mean": np.float64(0),
            "day": np.zeros(DAY_HOURS, np.float32),
            "day_count": np.zeros(DAY_HOURS, np.float32),
            "week": np.zeros(WEEK_HOURS, np.float32),
            "week_count": np.zeros(WEEK_HOURS, np.float32),
            "errors": np.zeros(3, np.float32),  # mean absolute error of mean, day and week as forecasts
            "low": np.float64(0),  # of its usual range
            "high": np.float64(0),
            "away": np.float64(0),  # from the baseline, at the last step
            "level": np.float64(0),
            "trend": np.float32(0),
            "change": np.float32(0),  # mean absolute change
            "grams": np.zeros((nodes, 6), np.float64),
            "pulls": np.zeros((nodes, 3), np.float64),
            "points": np.full((horizon, nodes), np.nan, np.float32),  # made at a step, for each node ahead
            "traits": np.zeros((horizon, 3), np.float32),
            "places": np.zeros(horizon, np.int8),
            "place": np.int8(0),  # at the last step
            "scale": np.zeros(nodes, np.float32),  # mean absolute error
            "seen": np.zeros((nodes, PLACES), np.float32),
            "bands": np.tile(GAUSSIAN.astype(np.float32), (nodes, PLACES, 1)),
        })  # fmt: skip

    def admit(self, ids: Ids) -> None:
        """Make room; ids already known keep what was learnt."""
        self._memory.reach(ids)

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``."""
        self._memory.clear(ids)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        return self._memory.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent that names the key."""
        self._memory.restore(state)

    def learn(self, ids: Ids, timestamps: NDArray[np.int64], values: Floats) -> None:
        """
        Take note of one sample [n] of each of ``ids``; NaN, and a second one within a step, are left out.

        Raises IndexError for an id that was never admitted.
        """
        memory = self._memory
        if len(ids) and int(ids.max()) >= len(memory):
            raise IndexError(f"series {int(ids.max())} was never admitted")
        steps = timestamps // self.step_ns
        fresh = np.isfinite(values) & (steps > memory["last"][ids])
        ids, steps, values = ids[fresh], steps[fresh], values[fresh]
        if len(ids) == 0:
            return
        first = memory["count"][ids] == 0
        for name in ("mean", "low", "high"):
            memory[name][ids[first]] = values[first]
        self._blank(ids[~first], steps[~first])
        values = self._held(ids, values)
        candidates = self._candidates(ids, steps[:, None])[:, :, 0]
        self._settle(ids, steps, values)
        self._learn_baseline(ids, steps, values, candidates)
        baselines = self._baseline(ids, steps[:, None] + self._now_and_ahead)
        baseline = baselines[:, 0]
        self._learn_shares(ids, steps, values - baseline)
        self._learn_place(ids, values, values - baseline, first)
        memory["count"][ids] += 1
        memory["last"][ids] = steps
        slot = steps % self.horizon
        traits = self._traits(ids)
        memory["points"][ids, slot] = self._points(ids, traits) + baselines[:, 1:]
        memory["traits"][ids, slot] = traits
        memory["places"][ids, slot] = self._place(ids, values)
        memory["place"][ids] = memory["places"][ids, slot]

    def predict(self, ids: Ids) -> Floats:
        """Return quantiles [n, horizon, LEVELS] of the steps after the last one seen; NaN before ``WARM_UP`` steps."""
        memory = self._memory
        nodes = np.arange(len(self._ahead))
        bands = memory["bands"][ids[:, None], nodes, memory["place"][ids][:, None]].astype(np.float64)
        bands = bands * memory["scale"][ids][:, :, None] + self._points(ids, self._traits(ids))[:, :, None]
        steps = np.arange(1, self.horizon + 1)
        after = np.searchsorted(self._ahead, steps)
        before = np.maximum(after - 1, 0)
        gap = np.maximum(self._ahead[after] - self._ahead[before], 1)
        part = np.where(after == before, 0.0, (steps - self._ahead[before]) / gap)[:, None]
        between = bands[:, before] * (1.0 - part) + bands[:, after] * part
        expected = self._baseline(ids, memory["last"][ids][:, None] + steps)
        quantiles = np.sort(between + expected[:, :, None], axis=2)
        quantiles[memory["count"][ids] < WARM_UP] = np.nan
        return quantiles

    def next(self, ids: Ids) -> Floats:
        """Return quantiles [n, LEVELS] of the next step after the last one seen: the first of ``predict``, for less."""
        memory = self._memory
        bands = memory["bands"][ids, 0, memory["place"][ids]].astype(np.float64)
        point = memory["points"][ids, memory["last"][ids] % self.horizon, 0].astype(np.float64)
        quantiles = np.sort(point[:, None] + bands * memory["scale"][ids, :1], axis=1)
        quantiles[memory["count"][ids] < WARM_UP] = np.nan
        return quantiles

    def _blank(self, ids: Ids, steps: NDArray[np.int64]) -> None:
        """Forget what steps that were skipped would have foretold."""
        last = self._memory["last"][ids]
        for skipped in range(1, self.horizon + 1):
            some = last + skipped < steps
            if not some.any():
                return
            ids, steps, last = ids[some], steps[some], last[some]
            self._memory["points"][ids, (last + skipped) % self.horizon] = np.nan

    def _held(self, ids: Ids, values: Floats) -> Floats:
        """Return ``values``, those far outside the usual range held at its edge."""
        memory = self._memory
        low, high = memory["low"][ids], memory["high"][ids]
        half = np.maximum(0.5 * (high - low), memory["change"][ids])
        reach = np.where(memory["count"][ids] < WARM_UP, np.inf, self._wide * half)
        reach[reach == 0] = np.inf
        return np.clip(values, 0.5 * (low + high) - reach, 0.5 * (low + high) + reach)

    def _candidates(self, ids: Ids, steps: NDArray[np.int64]) -> Floats:
        """Return what mean, day and week foretell [n, 3, steps] for ``steps`` [n, steps]."""
        memory, rows = self._memory, ids[:, None]
        hours = steps * self.step_ns // HOUR
        found = np.empty((len(ids), 3, hours.shape[1]))
        found[:, 0] = memory["mean"][rows]
        hour = hours % DAY_HOURS
        found[:, 1] = np.where(memory["day_count"][rows, hour] > 0, memory["day"][rows, hour], found[:, 0])
        hour = hours % WEEK_HOURS
        found[:, 2] = np.where(memory["week_count"][rows, hour] > 0, memory["week"][rows, hour], found[:, 1])
        return found

    def _baseline(self, ids: Ids, steps: NDArray[np.int64]) -> Floats:
        """Return the baseline [n, steps] of each series for ``steps`` [n, steps]."""
        if self._lasting is Lasting.HOURS:
            return np.broadcast_to(self._memory["mean"][ids, None], steps.shape)
        errors = self._memory["errors"][ids]
        simple = np.where(errors[:, 1] < BETTER * errors[:, 0], 1, 0)
        pick = np.where(errors[:, 2] < BETTER * np.minimum(errors[:, 0], errors[:, 1]), 2, simple)
        return np.asarray(self._candidates(ids, steps)[np.arange(len(ids)), pick])

    def _traits(self, ids: Ids) -> Floats:
        memory = self._memory
        traits = np.empty((len(ids), 3))
        for place, name in enumerate(("away", "level", "trend")):
            traits[:, place] = memory[name][ids]
        return traits

    def _points(self, ids: Ids, traits: Floats) -> Floats:
        """Return the distance from the baseline [n, nodes] that is expected at each node ahead."""
        memory = self._memory
        grams = memory["grams"][ids]
        belief = PRIOR * np.maximum(memory["change"][ids].astype(np.float64) ** 2, 1e-30)[:, None]
        matrix = grams[:, :, SYMMETRIC]
        matrix[:, :, DIAGONAL] += belief[:, :, None]
        matrix = matrix.reshape(*grams.shape[:2], 3, 3)
        right = memory["pulls"][ids] + belief[:, :, None] * self._start
        shares = np.linalg.solve(matrix, right[..., None])[..., 0]
        return np.asarray((shares * traits[:, None, :]).sum(axis=2))

    def _place(self, ids: Ids, values: Floats) -> NDArray[np.int8]:
        memory = self._memory
        low, high = memory["low"][ids], memory["high"][ids]
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(high > low, (values - low) / (high - low), 0.5)
        place: NDArray[np.int8] = np.clip(share * PLACES, 0, PLACES - 1).astype(np.int8)
        return place

    def _settle(self, ids: Ids, steps: NDArray[np.int64], values: Floats) -> None:
        """Compare what was foretold for this step with what came, and move the bands."""
        memory = self._memory
        rows, nodes = ids[:, None], np.arange(len(self._ahead))
        slot = (steps[:, None] - self._ahead) % self.horizon
        error = values[:, None] - memory["points"][rows, slot, nodes]
        known = np.isfinite(error)
        at, node = np.nonzero(known)
        if len(at) == 0:
            return
        row, error, place = ids[at], error[known], memory["places"][rows, slot][known]
        seen = memory["seen"][row, node].sum(axis=1)
        scale = memory["scale"][row, node]
        scale = scale + np.maximum(1.0 / (seen + 1.0), self._track) * (np.abs(error) - scale)
        memory["scale"][row, node] = scale
        mine = memory["seen"][row, node, place]
        rate = np.clip(4.0 / (mine + 20.0), 0.02, 0.2)
        bands = memory["bands"][row, node, place]
        below = error[:, None] < bands * scale[:, None]
        memory["bands"][row, node, place] = bands + rate[:, None] * (np.array(LEVELS) - below)
        memory["seen"][row, node, place] = mine + 1.0

    def _learn_baseline(self, ids: Ids, steps: NDArray[np.int64], values: Floats, candidates: Floats) -> None:
        memory = self._memory
        count = memory["count"][ids]
        rate = np.maximum(1.0 / (count + 1.0), self._slow)
        errors = memory["errors"][ids]
        memory["errors"][ids] = errors + rate[:, None] * (np.abs(values[:, None] - candidates) - errors)
        memory["mean"][ids] += rate * (values - memory["mean"][ids])
        hours = steps * self.step_ns // HOUR
        for name, hour, least in (
            ("day", hours % DAY_HOURS, self._day_rate),
            ("week", hours % WEEK_HOURS, self._week_rate),
        ):
            visits = memory[f"{name}_count"][ids, hour]
            old = np.where(visits > 0, memory[name][ids, hour], values)
            memory[name][ids, hour] = old + np.maximum(1.0 / (visits + 1.0), least) * (values - old)
            memory[f"{name}_count"][ids, hour] = visits + 1.0

    def _learn_shares(self, ids: Ids, steps: NDArray[np.int64], away: Floats) -> None:
        memory = self._memory
        rows, nodes = ids[:, None], np.arange(len(self._ahead))
        slot = (steps[:, None] - self._ahead) % self.horizon
        known = np.isfinite(memory["points"][rows, slot, nodes])[:, :, None]
        traits = memory["traits"][rows, slot].astype(np.float64)
        grams = traits[:, :, LEFT] * traits[:, :, RIGHT]
        keep = np.where(known, self._forget, 1.0)
        memory["grams"][ids] = keep * memory["grams"][ids] + np.where(known, grams, 0.0)
        memory["pulls"][ids] = keep * memory["pulls"][ids] + np.where(known, traits * away[:, None, None], 0.0)

    def _learn_place(self, ids: Ids, values: Floats, away: Floats, first: NDArray[np.bool_]) -> None:
        memory = self._memory
        change = np.where(first, 0.0, np.abs(away - memory["away"][ids]))
        rate = np.maximum(1.0 / (memory["count"][ids] + 1.0), self._track)
        memory["change"][ids] += rate * (change - memory["change"][ids])
        level = memory["level"][ids]
        moved = np.where(first, 0.0, LEVEL_RATE * (away - level))
        memory["level"][ids] = np.where(first, away, level + moved)
        memory["trend"][ids] = DAMPING * memory["trend"][ids] + TREND_RATE * (moved - memory["trend"][ids])
        memory["away"][ids] = away
        # The means of what lies above and below the mean: where a series that rests or works usually is.
        above = values > memory["mean"][ids]
        for name, some in (("high", above), ("low", ~above)):
            rows = ids[some]
            memory[name][rows] += rate[some] * (values[some] - memory[name][rows])
