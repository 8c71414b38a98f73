"""How often normal life is as unusual as now, by what is known of machines and what this one did so far."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from models.budget import SECONDS_PER_DAY

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

BRIDGED_ROWS = 10
"""Runs that are no farther apart are one event."""
STEP = 0.05
HIGHEST = 16.0
USUAL_RATE_PER_DAY, USUAL_RATE_AT, USUAL_ROWS_PER_DAY = 0.2, 4.2, 644.0
USUAL_DECAY = 1.14
"""What is believed of an entity before it has shown its own life: so many false events a day rise so many e-folds
above the median statistic where so many rows come a day, and the rate falls like a Pareto tail. From the normal
halves of 7 servers with one-minute and 6 with five-minute rows, which are not free of faults (docs/detection.md)."""
FEWEST_ROWS_PER_DAY, MOST_ROWS_PER_DAY = 96.0, 8640.0
"""The rate grows with the square root of the rows a day, between what only happens (not at all) and what only chance
makes (as the rows do); so far as has been seen, and not beyond."""
BELIEF_DAYS = 100.0
"""The belief weighs as much as so many days of own life: real faults are part of that life, and ten days of it
taught the threshold to overlook them (docs/detection.md)."""
OTHER_KIND, BUSIER = 1e-8, 20.0
"""The belief is given up only for an entity that contradicts it clearly: before anything is seen, it is of a kind that
nobody saw, whose mean is so many times as high, with this probability (1e-6 to 1e-3 in docs/detection.md)."""
ROWS_PER_EVENT = 20.0
"""So many rows an event stands above a level, whatever the level, in the same normal halves (12 to 40)."""
_LOWEST = -12.0


class Rarity:
    """
    The rate of events above each level of a statistic: a gamma prior and the entity's own counts (empirical Bayes).

    Levels are taken relative to the running median of the statistic's logarithm, so that its unit does not
    matter. With ``n`` own events above a level in ``t`` days the rate is ``(n + d r) / (t + d)``, where
    ``r`` is the usual rate and ``d`` = BELIEF_DAYS. Mixed with it, by their odds after what was seen, is the rate of an
    entity of another kind, ``(n + 1) / (t + 1 / (BUSIER r))``: one that calls ten times as often as was ever
    seen is taken by its own count after a week. An event is a run above the level; runs at most BRIDGED_ROWS
    apart are one.
    """

    def __init__(self) -> None:
        self._levels = np.arange(0.0, HIGHEST, STEP)
        self._usual = USUAL_RATE_PER_DAY * np.exp(-USUAL_DECAY * (self._levels - USUAL_RATE_AT))
        self._rows_per_day = USUAL_ROWS_PER_DAY
        self._events = np.zeros(len(self._levels))
        self._last = np.full(len(self._levels), -(10**9), np.int64)
        self._histogram = np.zeros(int((HIGHEST - _LOWEST) / STEP) + 1)
        self._rows = 0
        self._elapsed_ns = 0
        self._median = 0.0

    def height(self, statistic: Floats) -> Floats:
        """Return how many e-folds ``statistic`` [n] stands above its median."""
        return np.asarray(np.log(np.maximum(statistic, 1e-12)) - self._median)

    def pace(self, rows_per_day: float) -> None:
        """Say how often rows come."""
        self._rows_per_day = rows_per_day

    def rate(self) -> Floats:
        """Return the events a day above each level, never rising with the level."""
        days = self._elapsed_ns / SECOND / SECONDS_PER_DAY
        dense = np.clip(self._rows_per_day, FEWEST_ROWS_PER_DAY, MOST_ROWS_PER_DAY) / USUAL_ROWS_PER_DAY
        usual = np.sqrt(dense) * self._usual
        rate = (self._events + BELIEF_DAYS * usual) / (days + BELIEF_DAYS)
        busy = np.flatnonzero(self._events > 3.0 * (usual * days + 1.0))  # nobody else is near those odds
        for level in busy.tolist() if days > 0 else ():  # times that stand still say nothing of a rate
            own = (self._events[level] + 1.0) / (days + 1.0 / (BUSIER * usual[level]))
            rate[level] += _other_kind(self._events[level], usual[level], days) * (own - rate[level])
        return np.asarray(np.maximum.accumulate(rate[::-1])[::-1])

    def limit(self, budget_events_per_day: float) -> float:
        """Return the height above which events are rarer than the budget."""
        return float(self._levels[min(int((self.rate() > budget_events_per_day).sum()), len(self._levels) - 1)])

    def tail(self, height: Floats) -> Floats:
        """Return the probability (0..1] that a row of normal life stands as high; the usual row has 1/2."""
        probability = np.minimum(ROWS_PER_EVENT * self.rate() / self._rows_per_day, 0.25)
        # Events are counted where they stand out; below that, a straight line to the median.
        probability[0] = 0.5
        first = round(1.0 / STEP)
        probability[: first + 1] = np.geomspace(0.5, min(probability[first], 0.25), first + 1)
        decades = np.log(probability)
        return np.asarray(np.where(
            height >= 0, np.exp(np.interp(height, self._levels, decades)), 1.0 - 0.5 * np.exp(np.minimum(height, 0.0))
        ))  # fmt: skip

    def learn(self, statistic: Floats, elapsed_ns: int) -> None:
        """Count a block's rows and events; ``elapsed_ns`` of time passed."""
        above = self.height(statistic)[None, :] > self._levels[:, None]
        for level in np.flatnonzero(above.any(axis=1)):
            rows = np.flatnonzero(above[level]) + self._rows
            apart = np.diff(np.concatenate(([self._last[level]], rows)))
            self._events[level] += np.count_nonzero(apart > BRIDGED_ROWS + 1)
            self._last[level] = rows[-1]
        self._rows += len(statistic)
        self._elapsed_ns += elapsed_ns
        place = (np.log(np.maximum(statistic, 1e-12)) - _LOWEST) / STEP
        places = np.clip(place, 0, len(self._histogram) - 1).astype(np.int64)
        self._histogram += np.bincount(places, minlength=len(self._histogram))
        beneath = np.cumsum(self._histogram)
        middle = int(np.searchsorted(beneath, 0.5 * beneath[-1]))
        share = 1.0 - (beneath[middle] - 0.5 * beneath[-1]) / max(float(self._histogram[middle]), 1.0)
        self._median = _LOWEST + STEP * (middle + share)


def _other_kind(events: float, usual: float, days: float) -> float:
    """
    Return the probability that an entity with so many events in ``days`` is of no kind that was seen.

    Bayes' rule over two gamma-Poisson (negative binomial) laws of the count: shape BELIEF_DAYS x usual rate and mean
    that rate, or shape 1 and a mean BUSIER times as high.
    """
    shape = BELIEF_DAYS * usual
    seen = (
        math.lgamma(shape + events) - math.lgamma(shape) - math.lgamma(events + 1.0)
        - shape * math.log1p(days / BELIEF_DAYS) - events * math.log1p(BELIEF_DAYS / days)
    )  # fmt: skip
    mean = BUSIER * usual * days
    unseen = -math.log1p(mean) - events * math.log1p(1.0 / mean)
    odds = math.log(OTHER_KIND) + unseen - seen
    return 1.0 / (1.0 + math.exp(-min(odds, 700.0))) if odds > -700.0 else 0.0
