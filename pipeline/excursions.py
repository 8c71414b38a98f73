"""Holds back from the calibrator what a series' rare scores say of normal life until they are over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids
from coldaisle.state import Kept, State
from pipeline.columns import grown

Floats = NDArray[np.float64]

RARE = 0.01
"""Tail probability from which on a score is an excursion: what happens more often teaches at once."""


class Excursions:
    """
    By detector and series: since when its scores are rare, how often, and how far they went.

    A fault is rare and lasts. Were its scores taught while it lasts, one member of 64 would soon be a sixty-fourth of
    normal life, and hide itself. So an excursion teaches once it is over, as often as its far score came; never
    where it was evidence, and after ``patience_seconds`` even though it lasts.
    """

    def __init__(self, detectors: int, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._count = np.zeros((detectors, 0), np.float32)
        self._peak = np.zeros((detectors, 0), np.float32)  # NaN = it was evidence
        self._since = np.zeros((detectors, 0), np.uint32)  # s

    def reset(self, ids: Ids, size: int) -> None:
        """Begin anew with ids; ``size`` is how many series there are."""
        self._count, self._peak = grown(self._count, size, 0), grown(self._peak, size, 0)
        self._since = grown(self._since, size, 0)
        for column in (self._count, self._peak, self._since):
            column[:, ids] = 0

    def hold(
        self, detector: int, ids: Ids, seconds: NDArray[np.uint32], score: Floats, tail: Floats, weight: Floats
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """
        Set the ``weight`` of rare scores to 0; return where excursions are over, how far they went and how often.

        A ``weight`` of 0 that comes in says that the score was evidence. A score that is not a number says nothing.
        """
        count, peak, since = self._count[detector], self._peak[detector], self._since[detector]
        rare = tail <= RARE
        at = np.flatnonzero(rare | (count[ids] > 0))
        nothing = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        at = at[~np.isnan(score[at])]
        if not len(at):
            return nothing
        now, out, far = ids[at], rare[at], np.abs(score[at])
        before = count[now]
        farthest = np.where(before > 0, np.fmax(peak[now], far) + 0.0 * peak[now], far)
        farthest[weight[at] == 0] = np.nan
        began = np.where(before > 0, since[now], seconds[at]).astype(np.uint32)
        over = ~out | (seconds[at] - began >= self._patience_seconds)
        taught = over & ~np.isnan(farthest) & (before > 0)
        told = at[taught], farthest[taught].astype(np.float64), before[taught].astype(np.float64)
        count[now] = np.where(over, 0.0, before + 1.0)
        peak[now] = farthest
        since[now] = began
        weight[at[out]] = 0.0
        return told

    def state(self, size: int) -> State:
        """Return what a snapshot keeps of ``size`` series."""
        columns = ("count", self._count), ("peak", self._peak), ("since", self._since)
        return {name: column[:, :size].copy() for name, column in columns}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept, detectors = Kept(state), len(self._count)
        self._count = kept.array("count", np.float32, detectors, None)
        size = self._count.shape[1]
        self._peak = kept.array("peak", np.float32, detectors, size)
        self._since = kept.array("since", np.uint32, detectors, size)
