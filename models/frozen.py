"""Says by how much the same value has come longer than ever: a sensor that stands still is no quiet one."""

from __future__ import annotations

import math

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


class Frozen:
    """
    Runs of one value, held against the longest run before and against how often a value repeats at all.

    Where a share ``q`` of values equals the one before, ``n`` more of them have the probability ``q ** n``, so a
    noisy series has stood still after a few rows, and one that mostly rests hardly ever has.
    """

    def __init__(self) -> None:
        self._value = np.nan
        self._run = 0
        self._longest = 1.0
        self._values = 0
        self._repeats = 0

    def see(self, values: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """
        Return how rare the run that ends at each row is, in decades, and how many rows it has.

        ``values`` [n], NaN = missing; these are passed over.
        """
        decades, runs = np.zeros(len(values)), np.zeros(len(values), np.int64)
        a_row = -np.log10((self._repeats + 1.0) / (self._values + 2.0))  # as known before these rows
        for row, value in enumerate(values.tolist()):
            if math.isnan(value):
                continue
            if value != self._value:
                self._longest = max(self._longest, min(self._run, TAUGHT * self._longest))
                self._value, self._run = value, 0
            self._run += 1
            runs[row] = self._run
            if self._values < YOUNG_ROWS:
                self._longest = max(self._longest, self._run)
            beyond = self._run - LONGER * self._longest
            if beyond <= 0:  # what is strange does not teach how often values repeat
                self._values += 1
                self._repeats += self._run > 1
            elif beyond <= MOST_ROWS:
                decades[row] = beyond * a_row
        return decades, runs
