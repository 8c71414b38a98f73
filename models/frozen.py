"""Says by how much the same value has come longer than ever: a sensor that stands still is no quiet one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

YOUNG_ROWS = 64
"""Nothing is said before so many values."""
LONGER = 2.0
"""A run that is at most so many times as long as the longest before is nothing: records of waiting times are common."""
TAUGHT = 4.0
"""One run makes the longest so many times longer at most: a sensor that froze once may freeze again."""
MOST_ROWS = 250
"""For so many rows at most a run is told; what lasts longer is a new life."""
RESTLESS_VALUES, RESTLESS_SHARE = 1500, 0.1
"""What has changed so often, and repeats itself so seldom, does not rest by itself. With 500 and 0.3 a load of two
digits that idled at a third one was called frozen."""


class Frozen:
    """
    Runs of one value, held against the longest run before and against how often a value repeats at all.

    Where a share ``q`` of values equals the one before, ``n`` more of them have the probability ``q ** n``, so a
    noisy series has stood still after a few rows, and one that mostly rests hardly ever has. Many metrics are
    looked at side by side, each for itself.
    """

    def __init__(self, metrics: int, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._value = np.full(metrics, np.nan)
        self._run = np.zeros(metrics, np.int64)
        self._longest = np.ones(metrics)
        self._values = np.zeros(metrics, np.int64)
        self._repeats = np.zeros(metrics, np.int64)

    def restless(self) -> NDArray[np.bool_]:
        """Return which metrics hardly ever rest by themselves, as far as they are known."""
        changes = self._values - self._repeats
        return np.asarray((changes >= RESTLESS_VALUES) & (self._repeats < RESTLESS_SHARE * self._values))

    def see(self, values: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """
        Return how rare the run that ends at each row is, in decades, and how many rows it has; both [n, metrics].

        ``values`` [n, metrics], NaN = missing; these are passed over.
        """
        there = ~np.isnan(values)
        known = np.vstack((self._value, values))
        newest = np.maximum.accumulate(np.where(np.isnan(known), 0, np.arange(len(known))[:, None]))
        known = np.take_along_axis(known, newest, axis=0)  # each missing one taken from before it
        changed = there & (known[1:] != known[:-1])
        count = np.cumsum(there, axis=0)
        since = np.maximum.accumulate(np.where(changed, count - 1, -1))
        runs = np.where(since < 0, self._run + count, count - since)
        young = there & (self._values + count <= YOUNG_ROWS)
        longest = np.maximum.accumulate(np.maximum(self._longest, np.where(young, runs, 0)))
        ended = np.vstack((self._run, runs[:-1]))
        for row, metric in np.argwhere(changed & (ended > longest)):
            before = longest[row, metric]
            longest[row:, metric] = np.maximum(longest[row:, metric], min(ended[row, metric], TAUGHT * before))
        beyond = runs - LONGER * longest
        usual = there & (beyond <= 0)  # what is strange does not teach how often values repeat
        told = there & (beyond > 0) & (beyond <= self._most_rows)
        a_row = -np.log10((self._repeats + 1.0) / (self._values + 2.0))  # as known before these rows
        self._values += usual.sum(axis=0)
        self._repeats += (usual & (runs > 1)).sum(axis=0)
        self._value, self._run, self._longest = known[-1], runs[-1], longest[-1]
        return np.where(told, beyond * a_row, 0.0), np.where(there, runs, 0)
