"""Combines what detectors think of one part of a round: the strangest opinion counts, times their number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Batch, Scores

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STILL_ODD = 2.0
"""Spreads: evidence needs the present sample to be odd too, not only the memory of those before."""


class Opinion(NamedTuple):
    """What one detector thinks of a round."""

    detector: int
    positions: NDArray[np.int64] | None  # in the round; None = all of it
    batch: Batch
    scores: Scores
    smooth: Floats  # filled part by part
    tail: Floats  # filled part by part; infinite = no opinion

    def part(self, start: int, stop: int) -> tuple[slice, NDArray[np.int64] | slice]:
        """Return where the opinion on samples ``start`` to ``stop`` of the round is, and which of them it is on."""
        if self.positions is None:
            return slice(start, stop), slice(None)
        first, last = np.searchsorted(self.positions, (start, stop)).tolist()
        return slice(first, last), self.positions[first:last] - start

    def at(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], Flags]:
        """Return where it speaks of samples of the round, and of which of them it does."""
        if self.positions is None:
            return positions, np.ones(len(positions), np.bool_)
        where = np.minimum(np.searchsorted(self.positions, positions), len(self.positions) - 1)
        return where, self.positions[where] == positions


class Sum(NamedTuple):
    """The strangest opinion on each sample of a part."""

    detector: NDArray[np.int8]
    number: NDArray[np.int8]  # of opinions
    tail: Floats
    expected: Floats
    spread: Floats
    score: Floats  # smoothed, of whoever is farthest

    def of(self, which: NDArray[np.int64]) -> Sum:
        """Return some of the samples."""
        detector, number, *floats = self
        return Sum(detector[which], number[which], *(column[which] for column in floats))


class Bar(NamedTuple):
    """What an opinion on samples must be worth, by detector; a column a sample."""

    threshold: float
    certain_spreads: float
    floor: Floats  # [detectors, samples] in the metric's unit; infinite = no rule speaks of it
    floor_ratio: Floats  # [detectors, samples] of what was expected
    harm: NDArray[np.int8]  # [samples]


class Weighed(NamedTuple):
    """Which samples are evidence by any detector's own rule, and by whom."""

    exceeds: Flags
    calm: Flags  # no detector with a rule sees as much as half of what its rule asks
    detector: NDArray[np.int8]
    expected: Floats
    spread: Floats


def strangest(heard: list[Opinion], start: int, count: int) -> Sum:
    """Return the strangest opinion on each of ``count`` samples of a round from ``start`` on."""
    best, number, who = np.full(count, np.inf), np.zeros(count, np.int8), np.zeros(count, np.int8)
    expected, spread, farthest = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
    for opinion in heard:
        mine, on = opinion.part(start, start + count)
        tail, smooth, told = opinion.tail[mine], opinion.smooth[mine], opinion.scores.expected[mine]
        number[on] += tail < np.inf
        # The first who speaks gives expectation and spread even before anybody is calibrated.
        better = (tail < best[on]) | (np.isnan(expected[on]) & ~np.isnan(told))
        farther = np.abs(smooth) > np.abs(farthest[on])  # never where it is not a number
        pairs = (best, tail, better), (expected, told, better), (spread, opinion.scores.spread[mine], better)
        for into, each, where in (*pairs, (farthest, smooth, farther)):
            if isinstance(on, slice):
                np.copyto(into, each, where=where)
            else:
                into[on[where]] = each[where]
        if isinstance(on, slice):
            who[better] = opinion.detector
        else:
            who[on[better]] = opinion.detector
    tail = best * np.maximum(number, 1)
    np.minimum(tail, 1.0, out=tail)
    tail[number == 0] = np.nan
    return Sum(who, number, tail, expected, spread, farthest)


def weigh(heard: list[Opinion], positions: NDArray[np.int64], values: Floats, found: Sum, bar: Bar) -> Weighed:
    """
    Say which samples (``positions`` in the round, ``values``, and their ``found``) are evidence.

    An opinion counts by the rule for its own detector: what one detector may say nothing about is no reason to
    overhear another. Of several that pass, the one whose rule asks for most speaks.
    """
    count = len(positions)
    exceeds, calm = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    who, expected, spread = found.detector.copy(), found.expected.copy(), found.spread.copy()
    most = np.full(count, -np.inf)
    for opinion in heard:
        where, speaks = opinion.at(positions)
        raw, smooth = opinion.scores.score[where], opinion.smooth[where]
        tail = opinion.tail[where] * np.maximum(found.number, 1)  # infinite where it says nothing
        theirs = opinion.scores.expected[where]
        away = np.abs(values - theirs)
        floor = np.maximum(bar.floor[opinion.detector], bar.floor_ratio[opinion.detector] * np.abs(theirs))
        # Where calibration has lived too little to call anything rare, many spreads that last are believed.
        rare = (tail < bar.threshold) | (np.abs(smooth) >= bar.certain_spreads)
        odd = (np.abs(raw) >= STILL_ODD) & (smooth * raw > 0)
        passes = speaks & rare & odd & (away >= floor) & (bar.harm * smooth >= 0)
        calm &= ~speaks | np.isnan(away) | (away < 0.5 * floor)
        better = passes & (floor > most)
        exceeds |= passes
        most[better], who[better] = floor[better], opinion.detector
        expected[better], spread[better] = theirs[better], opinion.scores.spread[where][better]
    return Weighed(exceeds, calm, who, expected, spread)
