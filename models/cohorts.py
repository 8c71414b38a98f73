"""The medians of many groups at once, however unlike their sizes."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_T = TypeVar("_T", bound=np.generic)

_LARGE = 1024
"""Groups of more members are worth a call of NumPy each: nothing is copied, nothing is padded."""


class _Class(NamedTuple):
    """Groups of like size, side by side; a row a group, short rows filled up with infinity."""

    positions: NDArray[np.int64]  # [groups, width] into the members, len(members) = nobody
    low: NDArray[np.int64]  # [groups] where the lower of the two middle values stands once sorted
    high: NDArray[np.int64]
    groups: NDArray[np.int64]  # [groups]


class Cohorts:
    """Groups that lie one after another: worked out once, then asked for medians tick after tick."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        """``counts`` [groups] is how many members each has, at least one."""
        self.counts = counts
        stops = np.cumsum(counts)
        starts = stops - counts
        large = np.flatnonzero(counts > _LARGE)
        self._large = [(group, int(starts[group]), int(stops[group])) for group in large.tolist()]
        small = np.flatnonzero(counts <= _LARGE)
        # Widths grow by a quarter from class to class, so that at most a fifth of a matrix is padding.
        width_class = np.ceil(np.log(counts[small]) / np.log(1.25)).astype(np.int64)
        self._classes = [
            _class(small[width_class == one], starts, counts, int(counts.sum())) for one in np.unique(width_class)
        ]

    @property
    def of(self) -> NDArray[np.int64]:
        """The group of each member."""
        return self.to_members(np.arange(len(self.counts)))

    def to_members(self, values: NDArray[_T]) -> NDArray[_T]:
        """Return what is said of each group (``values`` [groups]) for each of its members."""
        return np.repeat(values, self.counts)

    def medians(self, values: Floats) -> Floats:
        """Return the median of each group; ``values`` [members], group after group."""
        medians = np.empty(len(self.counts))
        for group, start, stop in self._large:
            medians[group] = _median(values[start:stop])
        if not self._classes:
            return medians
        padded = np.append(values, np.inf)
        for one in self._classes:
            matrix = padded[one.positions]
            matrix.sort(axis=1)
            rows = np.arange(len(matrix))
            medians[one.groups] = (matrix[rows, one.low] + matrix[rows, one.high]) / 2.0
        return medians


def _class(groups: NDArray[np.int64], starts: NDArray[np.int64], counts: NDArray[np.int64], nobody: int) -> _Class:
    within = np.arange(counts[groups].max())
    positions = np.where(within < counts[groups][:, None], starts[groups][:, None] + within, nobody)
    return _Class(positions, (counts[groups] - 1) // 2, counts[groups] // 2, groups)


def _median(values: Floats) -> float:
    half = len(values) // 2
    parted = np.partition(values, half)
    upper = parted[half]
    lower = upper if len(values) % 2 else parted[:half].max()
    return float((lower + upper) / 2.0)
