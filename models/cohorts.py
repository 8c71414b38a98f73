"""The medians of many groups at once, however unlike their sizes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids

Floats = NDArray[np.float64]


class _Class(NamedTuple):
    """Groups of like size, side by side; a row a group, short rows filled up with infinity."""

    positions: NDArray[np.int64]  # [groups, width] into the sorted members, len(members) = nobody
    low: NDArray[np.int64]  # [groups] where the lower of the two middle values stands once sorted
    high: NDArray[np.int64]
    groups: NDArray[np.int64]  # [groups]


class Cohorts:
    """
    Which samples of a batch belong together, worked out once for batches of equal ids.

    ``members`` are the batch's positions that have enough peers, ``of`` the group (0..) of each of them.
    """

    def __init__(self, ids: Ids, keys: NDArray[np.int64], minimum: int) -> None:
        """``keys`` [n] is each id's group, negative = none; groups of fewer than ``minimum`` are left out."""
        self.ids = ids.copy()
        order = np.argsort(keys, kind="stable")
        order = order[np.searchsorted(keys[order], 0) :]
        _, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
        keep = counts >= minimum
        self.members: NDArray[np.int64] = order[np.repeat(keep, counts)]
        counts = counts[keep]
        starts = np.cumsum(counts) - counts
        self.counts: NDArray[np.int64] = counts
        self.of: NDArray[np.int64] = np.repeat(np.arange(len(counts)), counts)
        # Widths grow by a quarter from class to class, so that at most a fifth of a matrix is padding.
        width_class = np.ceil(np.log(np.maximum(counts, 1)) / np.log(1.25)).astype(np.int64)
        self._classes = [
            self._class(np.flatnonzero(width_class == one), starts, counts) for one in np.unique(width_class)
        ]

    def _class(self, groups: NDArray[np.int64], starts: NDArray[np.int64], counts: NDArray[np.int64]) -> _Class:
        within = np.arange(counts[groups].max())
        positions = np.where(within < counts[groups][:, None], starts[groups][:, None] + within, len(self.members))
        return _Class(positions, (counts[groups] - 1) // 2, counts[groups] // 2, groups)

    def medians(self, values: Floats) -> Floats:
        """Return the median of each group; ``values`` [len(members)] in the order of ``members``."""
        medians = np.empty(len(self.counts))
        padded = np.append(values, np.inf)
        for one in self._classes:
            matrix = padded[one.positions]
            matrix.sort(axis=1)
            rows = np.arange(len(matrix))
            medians[one.groups] = (matrix[rows, one.low] + matrix[rows, one.high]) / 2.0
        return medians
